//! A sweep whose transform is fitted on the labelled rows of each draw and of nothing else, as the published code of the paper does it.
//!
//! Draw by draw: transform, all classifiers of that draw, then the test rows of every set past them. Draws share no distances, so this costs
//! far more than a transform that is fitted once on the training rows; memory is that of one draw.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::board::{Board, Job};
use super::model::{Fitted, common_points, fit, numbered};
use super::params::Classifier;
use super::pass::{Exam, Watch, n_blocks, tallies};
use super::study::Study;
use super::sweep::folds;
use super::table::Judged;
use super::transform::FittedTransform;
use crate::diagnostic::{Failure, count};
use crate::stage::Monitor;

/// Runs all cells on the training rows of `first`, which all studies share, and returns the cells of each study.
pub(crate) fn sweep_by_draw(
    first: &Study,
    studies: &[&Study],
    wanted: &[(Classifier, usize)],
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<Judged>>, Failure> {
    let repeats = first.protocol.repeats;
    let sizes: BTreeSet<usize> = wanted.iter().map(|(_, n)| *n).collect();
    let total = wanted.len() * repeats + sizes.len() * repeats * n_blocks(studies);
    let watch = Watch { monitor, done: AtomicU64::new(0), total: total as u64 };
    let mut boards: Vec<Board<'_>> = studies.iter().map(|study| Board::new(study, wanted)).collect();
    for n in sizes {
        for repeat in 0..repeats {
            let drawn = first.rows(repeat, n);
            let chosen: Vec<usize> = drawn.iter().flat_map(|g| g.points.iter().copied()).collect();
            let rows = first.train.select(Axis(0), &chosen).mapv(f64::from);
            let what = || format!("draw {repeat} of {}", count(n, "label"));
            let (transform, rows) = FittedTransform::on(rows, &first.protocol.transform).map_err(|f| f.while_doing(what()))?;
            let train = finite(rows.mapv(|v| v as f32)).map_err(|f| f.while_doing(what()))?;
            let (groups, folds) = (numbered(&drawn), folds(first, repeat));
            let jobs: Vec<Job> = (0..wanted.len()).filter(|cell| wanted[*cell].1 == n).map(|cell| Job { cell, repeat }).collect();
            let mut fitted = jobs
                .par_iter()
                .with_max_len(1)
                .map(|job| {
                    watch.step()?;
                    fit(train.view(), &wanted[job.cell].0, &groups, &folds, true)
                })
                .collect::<Result<Vec<Fitted>, Failure>>()?;
            let points = common_points(train.view(), &mut fitted);
            for board in &mut boards {
                let test = transform.apply_to(board.study.test.view()).and_then(finite).map_err(|f| f.while_doing(what()))?;
                let exam = Exam { study: board.study, rows: test.view(), resampling: &board.resampling };
                let keep: Vec<bool> = jobs.iter().map(|job| board.keeps(job)).collect();
                let tallies = tallies(&exam, &points, &fitted, &keep, &watch)?;
                board.note(&jobs, &fitted, tallies);
            }
        }
    }
    boards.into_iter().map(|board| board.judged(monitor)).collect()
}

/// Makes sure that classifiers can work with these rows.
fn finite(rows: Array2<f32>) -> Result<Array2<f32>, Failure> {
    match rows.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(Failure::new(format!("a feature is {value} after the transform, expected a finite number"))),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Features;
    use super::super::metrics::Confusion;
    use super::super::params::{Knn, LogisticRegression, Protocol, Svm, TransformStep};
    use super::super::sweep::judged_sweep;
    use super::*;
    use crate::random::Stream;
    use crate::stage::Silent;

    fn study(steps: &[TransformStep]) -> Study {
        let mut draws = Stream::new(8, "skewed clouds").draws();
        // Products of exponentials: what a power transform is for.
        let values = Array2::from_shape_fn((160, 6), |(i, d)| (draws.normal() + if d == i % 3 { 1.5 } else { 0.0 }).exp() as f32);
        let ids: Vec<String> = (0..160).map(|i| format!("{i:03}")).collect();
        let labels = ids.iter().enumerate().map(|(i, id)| (id.clone(), format!("c{}", i % 3))).collect();
        let how = Protocol { repeats: 2, keep_predictions: 2, resamples: 10, transform: steps.to_vec(), ..Protocol::default() };
        Study::new(&Features::new(ids.clone(), values).unwrap(), &labels, &ids[..90], &ids[90..], &how, 3).unwrap()
    }

    fn wanted() -> Vec<(Classifier, usize)> {
        let classifiers = [
            Classifier::Svm(Svm::default()),
            Classifier::LogisticRegression(LogisticRegression::default()),
            Classifier::Knn(Knn { k: 3, ..Knn::default() }),
        ];
        classifiers.iter().flat_map(|c| [1, 10].map(|n| (c.clone(), n))).collect()
    }

    #[test]
    fn each_draw_is_learnt_and_predicted_through_a_transform_of_its_own_rows() {
        let steps = [TransformStep::YeoJohnson, TransformStep::Pca];
        let study = study(&steps);
        let wanted = wanted();
        let cells = judged_sweep(&study, &wanted, &Silent).unwrap();
        for ((classifier, n), judged) in wanted.iter().zip(&cells) {
            for run in &judged.cell.runs {
                let drawn = study.rows(run.repeat, *n);
                let rows: Vec<usize> = drawn.iter().flat_map(|g| g.points.clone()).collect();
                let classes = drawn.iter().flat_map(|g| g.points.iter().map(|_| g.class)).collect();
                let rows = study.train.select(Axis(0), &rows);
                let (transform, _) = FittedTransform::on(rows.mapv(f64::from), &steps).unwrap();
                let alone = classifier.fit(transform.apply_to(rows.view()).unwrap(), classes).unwrap();
                let predicted = alone.predict(&transform.apply_to(study.test.view()).unwrap());
                let truth = study.roster.test.iter().map(|(_, class)| *class);
                assert_eq!(Confusion::of(3, truth.zip(predicted)), run.confusion, "{} {n} {}", judged.cell.classifier, run.repeat);
            }
            assert_eq!((judged.cell.runs.len(), judged.resampled.len()), (2, 10));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| judged_sweep(&study, &wanted, &Silent)).unwrap(), cells);
    }

    #[test]
    fn a_study_that_transforms_by_draw_is_another_study() {
        let plain = study(&[]);
        let by_draw = study(&[TransformStep::YeoJohnson]);
        assert_ne!(plain.digest(), by_draw.digest());
        let [plain, by_draw] = [plain, by_draw].map(|study| judged_sweep(&study, &wanted(), &Silent).unwrap());
        assert_ne!(plain, by_draw);
    }
}
