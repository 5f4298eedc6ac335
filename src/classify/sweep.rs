//! The few-label sweep: which classifier, how many labels per class, how often.
//!
//! A cell (classifier, n) depends on the study alone. A sweep of many cells gives the same bits as each cell alone, but
//! multiplies test rows with training rows once for all of them: first all models are fitted, then the test rows go past them in blocks.

use std::sync::atomic::AtomicU64;

use rayon::prelude::*;

use super::board::{Board, Job};
use super::model::{Fitted, common_points, fit};
use super::params::{Classifier, refuse};
use super::pass::{Exam, Watch, at_once, n_blocks, tallies};
use super::platt::FOLDS_OF;
use super::study::Study;
use super::sweep_by_draw::sweep_by_draw;
use super::table::{Cell, Judged};
use crate::diagnostic::Failure;
use crate::random::Stream;
use crate::stage::Monitor;

/// Runs all repeats of one classifier with `per_class` labelled rows per class.
///
/// # Errors
/// When the parameters have mistakes, a fit fails, or the monitor interrupts.
pub fn cell(study: &Study, classifier: &Classifier, per_class: usize, monitor: &dyn Monitor) -> Result<Cell, Failure> {
    let mut cells = sweep(study, &[(classifier.clone(), per_class)], monitor)?;
    cells.pop().ok_or_else(|| Failure::new("the sweep made no cell"))
}

/// Runs many cells at once; the result of each is that of [`cell`], bit for bit, in the order wanted.
///
/// # Errors
/// As [`cell`].
pub fn sweep(study: &Study, wanted: &[(Classifier, usize)], monitor: &dyn Monitor) -> Result<Vec<Cell>, Failure> {
    Ok(judged_sweep(study, wanted, monitor)?.into_iter().map(|judged| judged.cell).collect())
}

/// Runs many cells at once as [`sweep`] does, with the resamples that the protocol wants.
///
/// # Errors
/// As [`cell`].
pub fn judged_sweep(study: &Study, wanted: &[(Classifier, usize)], monitor: &dyn Monitor) -> Result<Vec<Judged>, Failure> {
    Ok(judged_sweeps(&[study], wanted, monitor)?.pop().unwrap_or_default())
}

/// Runs many cells at once on several sets of test rows: the studies share their training rows, and each has its list of cells. What is
/// said of one set depends on no other.
///
/// # Errors
/// As [`cell`].
pub fn judged_sweeps(studies: &[&Study], wanted: &[(Classifier, usize)], monitor: &dyn Monitor) -> Result<Vec<Vec<Judged>>, Failure> {
    for (classifier, per_class) in wanted {
        refuse(classifier.name(), &classifier.check())?;
        if *per_class == 0 {
            return Err(Failure::new("`per_class` must be at least 1, got 0"));
        }
    }
    match studies.first() {
        None => Ok(Vec::new()),
        Some(first) if first.protocol.transform.is_empty() => FittedSweep::fit(studies, wanted, monitor)?.predict(),
        Some(first) => sweep_by_draw(first, studies, wanted, monitor),
    }
}

/// The name of the draws of a repeat's cross-validations.
pub(crate) fn folds(study: &Study, repeat: usize) -> Stream {
    Stream::new(study.roster.seed, FOLDS_OF).at(repeat as u64)
}

/// The first half of a sweep: all models of all cells fitted, no test row seen.
pub(crate) struct FittedSweep<'a> {
    studies: &'a [&'a Study],
    wanted: &'a [(Classifier, usize)],
    jobs: Vec<Job>,
    fitted: Vec<Fitted>,
    /// Models that go past the test rows at once.
    at_once: usize,
    watch: Watch<'a>,
}

impl<'a> FittedSweep<'a> {
    /// Fits every repeat of every cell on the training rows of the first study, which all share.
    ///
    /// # Errors
    /// When a fit fails or the monitor interrupts.
    pub fn fit(studies: &'a [&'a Study], wanted: &'a [(Classifier, usize)], monitor: &'a dyn Monitor) -> Result<Self, Failure> {
        let study = studies.first().ok_or_else(|| Failure::new("a sweep needs a study, got none"))?;
        let repeats = study.protocol.repeats;
        let mut jobs: Vec<Job> = (0..wanted.len()).flat_map(|cell| (0..repeats).map(move |repeat| Job { cell, repeat })).collect();
        // The longest first, so that no thread is left with one at the end.
        jobs.sort_by_key(|job| (std::cmp::Reverse(wanted[job.cell].1), job.cell, job.repeat));
        let any_double = wanted.iter().any(|(classifier, _)| classifier.is_double());
        let at_once = at_once(studies, jobs.len(), any_double);
        let passes = jobs.len().div_ceil(at_once);
        let watch = Watch { monitor, done: AtomicU64::new(0), total: (jobs.len() + passes * n_blocks(studies)) as u64 };

        // Few jobs share out their insides, many are shared out themselves; no bit depends on it.
        let share = jobs.len() < 2 * rayon::current_num_threads();
        let fitted = jobs
            .par_iter()
            .with_max_len(1)
            .map(|job| {
                watch.step()?;
                let (classifier, per_class) = &wanted[job.cell];
                fit(study.train.view(), classifier, &study.rows(job.repeat, *per_class), &folds(study, job.repeat), share)
            })
            .collect::<Result<Vec<Fitted>, Failure>>()?;
        Ok(Self { studies, wanted, jobs, fitted, at_once, watch })
    }

    /// The second half: takes the test rows past the models, and draws them again for the resamples; the cells of each study.
    ///
    /// # Errors
    /// When the monitor interrupts.
    pub fn predict(self) -> Result<Vec<Vec<Judged>>, Failure> {
        let Self { studies, wanted, jobs, mut fitted, at_once, watch } = self;
        let mut boards: Vec<Board<'_>> = studies.iter().map(|study| Board::new(study, wanted)).collect();
        for (fitted, jobs) in fitted.chunks_mut(at_once).zip(jobs.chunks(at_once)) {
            let Some(first) = studies.first() else { break };
            let points = common_points(first.train.view(), fitted);
            for board in &mut boards {
                let exam = Exam { study: board.study, rows: board.study.test.view(), resampling: &board.resampling };
                let keep: Vec<bool> = jobs.iter().map(|job| board.keeps(job)).collect();
                let tallies = tallies(&exam, &points, fitted, &keep, &watch)?;
                board.note(jobs, fitted, tallies);
            }
        }
        boards.into_iter().map(|board| board.judged(watch.monitor)).collect()
    }
}

impl Classifier {
    /// Returns the name with every parameter that differs from its default: `SVM`, `LR c=2.5`.
    pub fn label(&self) -> String {
        let params = match self {
            Self::Svm(p) => serde_json::to_value(p),
            Self::LogisticRegression(p) => serde_json::to_value(p),
            Self::Knn(p) => serde_json::to_value(p),
        };
        let mut label = self.name().to_string();
        if let Ok(serde_json::Value::Object(params)) = params {
            for (name, value) in params {
                label += &format!(" {name}={}", value.to_string().replace('"', ""));
            }
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::features::Features;
    use super::super::metrics::Confusion;
    use super::super::params::{Knn, LogisticRegression, Protocol, Svm};
    use super::super::roc::RocAuc;
    use super::*;
    use crate::random::Stream;
    use crate::stage::Silent;

    fn study(per_class: usize, n_test: usize, dim: usize, repeats: usize) -> Study {
        clouds(4, per_class, n_test, dim, repeats)
    }

    /// Normal clouds of unit width around random centres.
    fn clouds(classes: usize, per_class: usize, n_test: usize, dim: usize, repeats: usize) -> Study {
        let mut draws = Stream::new(5, "test clouds").draws();
        let centres: Vec<f64> = (0..classes * dim).map(|_| draws.normal() * 0.6).collect();
        let n = classes * per_class + n_test;
        let values = ndarray::Array2::from_shape_simple_fn((n, dim), || draws.normal() as f32);
        let values = ndarray::Array2::from_shape_fn((n, dim), |(i, d)| values[(i, d)] + centres[i % classes * dim + d] as f32);
        let ids: Vec<String> = (0..n).map(|i| format!("{i:05}")).collect();
        let labels: BTreeMap<String, String> = ids.iter().enumerate().map(|(i, id)| (id.clone(), format!("c{}", i % classes))).collect();
        let (train, test) = ids.split_at(classes * per_class);
        let how = Protocol { repeats, keep_predictions: 1, ..Protocol::default() };
        Study::new(&Features::new(ids.clone(), values).unwrap(), &labels, train, test, &how, 3).unwrap()
    }

    fn wanted(sizes: &[usize]) -> Vec<(Classifier, usize)> {
        let classifiers = [
            Classifier::Svm(Svm::default()),
            Classifier::LogisticRegression(LogisticRegression::default()),
            Classifier::Knn(Knn::default()),
        ];
        classifiers.iter().flat_map(|c| sizes.iter().map(move |&n| (c.clone(), n))).collect()
    }

    #[test]
    fn a_sweep_is_its_cells_bit_for_bit_on_any_number_of_threads() {
        let study = study(60, 300, 20, 3);
        let wanted = wanted(&[1, 5, 40, 1000]);
        let together = sweep(&study, &wanted, &Silent).unwrap();
        for ((classifier, per_class), expected) in wanted.iter().zip(&together) {
            assert_eq!(&cell(&study, classifier, *per_class, &Silent).unwrap(), expected);
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| sweep(&study, &wanted, &Silent)).unwrap(), together);
        }
    }

    #[test]
    fn more_labels_make_better_classifiers_and_rows_say_how_many_were_used() {
        let study = study(60, 300, 20, 4);
        let cells = sweep(&study, &wanted(&[1, 50, 1000]), &Silent).unwrap();
        for of_classifier in cells.chunks(3) {
            let accuracy: Vec<f64> = of_classifier.iter().map(|c| c.runs[0].confusion.balanced_accuracy()).collect();
            assert!(accuracy[0] + 0.1 < accuracy[1] && accuracy[2] > 0.8, "{} {accuracy:?}", of_classifier[0].classifier);
            assert_eq!(of_classifier.iter().map(|c| c.runs[0].rows_used).collect::<Vec<_>>(), [4, 200, 240]);
        }
    }

    #[test]
    fn kept_predictions_are_those_that_were_counted() {
        let study = study(20, 300, 8, 2);
        for cell in sweep(&study, &wanted(&[5]), &Silent).unwrap() {
            let predicted = cell.runs[0].predictions.as_ref().unwrap();
            let truth = study.roster.test.iter().map(|(_, class)| *class);
            assert_eq!(Confusion::of(4, truth.zip(predicted.iter().copied())), cell.runs[0].confusion);
            assert_eq!((&cell.runs[1].predictions, &cell.runs[1].scores), (&None, &None));
        }
    }

    #[test]
    fn kept_scores_are_the_probabilities_of_the_same_classifier_fitted_alone() {
        let study = study(20, 300, 8, 1);
        for (cell, (classifier, n)) in sweep(&study, &wanted(&[5]), &Silent).unwrap().iter().zip(wanted(&[5])) {
            let scores = cell.runs[0].scores.as_ref().unwrap();
            let drawn = study.rows(0, n);
            let rows: Vec<usize> = drawn.iter().flat_map(|g| g.points.clone()).collect();
            let classes = drawn.iter().flat_map(|g| g.points.iter().map(|_| g.class)).collect();
            let alone = classifier.fit(study.train.select(ndarray::Axis(0), &rows), classes).unwrap();
            assert_eq!((scores.classes.as_slice(), scores.values.len()), (&[0, 1, 2, 3][..], 4 * 300));
            let Some(expected) = alone.probabilities(&study.test) else { continue };
            let apart = expected.indexed_iter().map(|((row, class), b)| (scores.of(row, class).unwrap() - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-5, "{} {apart}", cell.classifier);
        }
    }

    #[test]
    fn tightly_solved_machines_are_in_double_precision_whatever_stands_beside_them() {
        let study = study(20, 300, 8, 2);
        let tight = Svm { tolerance: 1e-9, ..Svm::default() };
        let mut wanted = wanted(&[5]);
        wanted.insert(1, (Classifier::Svm(tight.clone()), 5));
        let together = sweep(&study, &wanted, &Silent).unwrap();
        assert_eq!(cell(&study, &wanted[1].0, 5, &Silent).unwrap(), together[1]);
        assert_eq!(cell(&study, &wanted[0].0, 5, &Silent).unwrap(), together[0]);
        let [usual, precise] = [0, 1].map(|at| together[at].runs[0].scores.as_ref().unwrap());
        let apart = usual.of_class(2).unwrap().into_iter().zip(precise.of_class(2).unwrap()).map(|(a, b)| (a - b).abs());
        let (near, far): (Vec<f64>, Vec<f64>) = apart.partition(|apart| *apart < 1e-2);
        // A decision about zero may turn a vote, which is a whole number.
        assert!(near.iter().any(|apart| *apart > 0.0) && far.len() < 5, "{far:?}");
        let text = serde_json::to_string(&together).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Cell>>(&text).unwrap(), together);
    }

    #[test]
    fn areas_under_curves_are_those_of_the_scores_that_are_kept_however_many_models_go_past_at_once() {
        let mut study = study(20, 300, 8, 2);
        study.protocol.roc_auc = true;
        study.protocol.keep_predictions = 2;
        let wanted = wanted(&[1, 5]);
        let together = judged_sweep(&study, &wanted, &Silent).unwrap();
        let truth: Vec<usize> = study.roster.test.iter().map(|(_, class)| *class).collect();
        for run in together.iter().flat_map(|judged| &judged.cell.runs) {
            let scores = run.scores.as_ref().unwrap();
            assert_eq!(run.roc_auc, Some(RocAuc::of(4, &truth, |class| scores.of_class(class))));
            assert!((0.6..1.0).contains(&run.roc_auc.as_ref().unwrap().macro_average().unwrap()), "{:?}", run.roc_auc);
        }
        study.protocol.keep_predictions = 0;
        for at_once in [1, 5, 12] {
            let studies = [&study];
            let few = FittedSweep { at_once, ..FittedSweep::fit(&studies, &wanted, &Silent).unwrap() };
            for (few, all) in few.predict().unwrap()[0].iter().zip(&together) {
                assert_eq!(few.resampled, all.resampled);
                for (few, all) in few.cell.runs.iter().zip(&all.cell.runs) {
                    assert_eq!((&few.confusion, &few.roc_auc, &few.scores), (&all.confusion, &all.roc_auc, &None));
                }
            }
        }
    }

    #[test]
    fn labels_of_classifiers_tell_them_apart() {
        assert_eq!(Classifier::Svm(Svm::default()).label(), "SVM");
        assert_eq!(Classifier::LogisticRegression(LogisticRegression { c: 2.5, ..Default::default() }).label(), "LR c=2.5");
        let one = vec![(Classifier::Knn(Knn { k: 0, ..Knn::default() }), 5)];
        assert_eq!(sweep(&study(5, 5, 3, 1), &one, &Silent).unwrap_err().message(), "KNN: `k` must be at least 1, got 0");
    }

    #[test]
    fn an_interruption_ends_the_sweep() {
        struct Stop;
        impl Monitor for Stop {
            fn interrupted(&self) -> bool {
                true
            }
        }
        assert!(sweep(&study(5, 5, 3, 1), &wanted(&[1]), &Stop).unwrap_err().is_interruption());
    }

    /// 4,200 training and 1,800 test rows of 192 dimensions, six sizes, 100 repeats, three classifiers: run with `--ignored` to see the time.
    #[test]
    #[ignore = "measures"]
    fn the_demo_sweep_takes_seconds() {
        let study = clouds(7, 600, 1800, 192, 100);
        let wanted = wanted(&[1, 5, 10, 25, 50, 100]);
        for part in [&wanted[..], &wanted[..6], &wanted[6..12], &wanted[12..]] {
            let start = std::time::Instant::now();
            sweep(&study, part, &Silent).unwrap();
            let line = format!("{} cells from {}: {:.2} s\n", part.len(), part[0].0.name(), start.elapsed().as_secs_f64());
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        }
    }
}
