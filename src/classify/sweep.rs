//! The few-label sweep: which classifier, how many labels per class, how often.
//!
//! A cell (classifier, n) depends on the study alone. A sweep of many cells gives the same bits as each cell alone, but
//! multiplies test rows with training rows once for all of them: first all models are fitted, then the test rows go past them in blocks.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::groups::ClassRows;
use super::knn::{KnnModel, Scratch};
use super::logistic::{FittedLogistic, ReadyLogistic};
use super::metrics::Confusion;
use super::params::{Classifier, refuse};
use super::predictions::Scores;
use super::products::{Block, Points, WIDTH};
use super::resample::{Resampling, Right};
use super::study::Study;
use super::svm::SvmModel;
use super::table::{Cell, Judged, Run};
use crate::diagnostic::Failure;
use crate::stage::Monitor;

/// Memory for blocks of inner products that are in work at once, in bytes.
const BLOCK_MEMORY: usize = 4 << 30;

/// One model to fit: place of the cell among those wanted, and the repeat.
struct Job {
    cell: usize,
    repeat: usize,
}

/// A model on numbered points.
enum Model {
    Svm(SvmModel<f32>),
    Logistic(ReadyLogistic<f32>),
    Knn(KnnModel),
}

impl Model {
    /// Returns the classes it knows, ascending.
    fn classes(&self) -> Vec<usize> {
        match self {
            Self::Svm(model) => model.classes().collect(),
            Self::Logistic(model) => model.classes().to_vec(),
            Self::Knn(model) => model.classes().to_vec(),
        }
    }

    /// Returns the class of each query of the block, and scores if asked.
    fn predict(&self, points: &Points<f32>, block: &Block<f32>, scratch: &mut Scratch<f32>, classes: usize) -> Predicted {
        let mut out = vec![0usize; block.used()];
        let mut scores = vec![0f32; block.used() * classes];
        let wanted = (classes > 0).then_some(&mut scores[..]);
        match self {
            Self::Svm(model) => model.predict_block(points, block, &mut out, wanted),
            Self::Logistic(model) => model.predict_block(block, &mut out, wanted),
            Self::Knn(model) => model.predict_block(points, block, scratch, &mut out, wanted),
        }
        (out, scores)
    }
}

/// Classes of the queries of a block, and queries × classes, scores; none where they were not asked for.
type Predicted = (Vec<usize>, Vec<f32>);

/// A fitted model and what its row of results needs.
struct Fitted {
    model: Model,
    rows_used: usize,
    converged: bool,
}

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
    FittedSweep::fit(study, wanted, monitor)?.predict()
}

/// The first half of a sweep: all models of all cells fitted, no test row seen.
pub(crate) struct FittedSweep<'a> {
    study: &'a Study,
    wanted: &'a [(Classifier, usize)],
    jobs: Vec<Job>,
    fitted: Vec<Fitted>,
    watch: Watch<'a>,
}

impl<'a> FittedSweep<'a> {
    /// Fits every repeat of every cell.
    ///
    /// # Errors
    /// As [`cell`].
    pub fn fit(study: &'a Study, wanted: &'a [(Classifier, usize)], monitor: &'a dyn Monitor) -> Result<Self, Failure> {
        for (classifier, per_class) in wanted {
            refuse(classifier.name(), &classifier.check())?;
            if *per_class == 0 {
                return Err(Failure::new("`per_class` must be at least 1, got 0"));
            }
        }
        let repeats = study.protocol.repeats;
        let mut jobs: Vec<Job> = (0..wanted.len()).flat_map(|cell| (0..repeats).map(move |repeat| Job { cell, repeat })).collect();
        // The longest first, so that no thread is left with one at the end.
        jobs.sort_by_key(|job| (std::cmp::Reverse(wanted[job.cell].1), job.cell, job.repeat));
        let n_blocks = study.test.nrows().div_ceil(WIDTH);
        let watch = Watch { monitor, done: AtomicU64::new(0), total: (jobs.len() + n_blocks) as u64 };

        // Few jobs share out their insides, many are shared out themselves; no bit depends on it.
        let share = jobs.len() < 2 * rayon::current_num_threads();
        let fitted = jobs
            .par_iter()
            .with_max_len(1)
            .map(|job| {
                watch.step()?;
                let (classifier, per_class) = &wanted[job.cell];
                fit(study, classifier, &study.rows(job.repeat, *per_class), share)
            })
            .collect::<Result<Vec<Fitted>, Failure>>()?;
        Ok(Self { study, wanted, jobs, fitted, watch })
    }

    /// The second half: takes the test rows past the models, and draws them again for the resamples.
    ///
    /// # Errors
    /// When the monitor interrupts.
    pub fn predict(self) -> Result<Vec<Judged>, Failure> {
        let Self { study, wanted, jobs, mut fitted, watch } = self;
        let points = common_points(study, &mut fitted);
        let resampling = Resampling::new(&study.roster, study.protocol.resamples);
        let tallies = predict(study, &points, &jobs, &fitted, &resampling, &watch)?;

        let runs = || Vec::with_capacity(study.protocol.repeats);
        let mut cells: Vec<Cell> =
            wanted.iter().map(|(classifier, n)| Cell { classifier: classifier.label(), per_class: *n, runs: runs() }).collect();
        let mut right = vec![Vec::new(); wanted.len()];
        // Jobs of a cell come by repeat, so its draws do too.
        for ((job, fitted), tally) in jobs.iter().zip(fitted).zip(tallies) {
            let kept = job.repeat < study.protocol.keep_predictions;
            cells[job.cell].runs.push(Run {
                repeat: job.repeat,
                rows_used: fitted.rows_used,
                converged: fitted.converged,
                confusion: tally.confusion,
                predictions: kept.then_some(tally.predictions),
                scores: kept.then(|| Scores { classes: fitted.model.classes(), values: tally.scores }),
            });
            right[job.cell].push(tally.right);
        }
        cells.iter_mut().for_each(|cell| cell.runs.sort_by_key(|run| run.repeat));
        let resampled = resampling.values(&right, watch.monitor)?;
        Ok(cells.into_iter().zip(resampled).map(|(cell, resampled)| Judged { cell, resampled }).collect())
    }
}

/// Fits one model on drawn training rows.
fn fit(study: &Study, classifier: &Classifier, rows: &[ClassRows], share: bool) -> Result<Fitted, Failure> {
    let chosen: Vec<usize> = rows.iter().flat_map(|g| g.points.iter().copied()).collect();
    let rows_used = chosen.len();
    let (model, converged) = match classifier {
        Classifier::Knn(how) => (Model::Knn(KnnModel::new(rows, how)), true),
        Classifier::Svm(how) => {
            let (points, groups) = own_points(study, rows, &chosen);
            let mut model = SvmModel::fit(&points, &groups, how, share)?;
            model.renumber(|place| chosen[place]);
            let converged = model.converged;
            (Model::Svm(model), converged)
        }
        Classifier::LogisticRegression(how) => {
            let (points, groups) = own_points(study, rows, &chosen);
            let fitted = FittedLogistic::on(&points, &groups, how, share)?;
            (Model::Logistic(fitted.ready()), fitted.converged())
        }
    };
    Ok(Fitted { model, rows_used, converged })
}

/// The drawn rows as points of their own, numbered from 0 class by class.
fn own_points(study: &Study, rows: &[ClassRows], chosen: &[usize]) -> (Points<f32>, Vec<ClassRows>) {
    let mut at = 0;
    let groups = rows
        .iter()
        .map(|g| {
            let first = at;
            at += g.points.len();
            ClassRows { class: g.class, points: (first..at).collect() }
        })
        .collect();
    (Points::gather(study.train.view(), chosen.iter().copied()), groups)
}

/// Gathers the training rows that any model measures distances to, and moves the models onto them.
fn common_points(study: &Study, fitted: &mut [Fitted]) -> Points<f32> {
    let mut used = vec![false; study.train.nrows()];
    for f in fitted.iter() {
        match &f.model {
            Model::Svm(model) => model.support_points().into_iter().for_each(|p| used[p] = true),
            Model::Knn(model) => model.points().iter().for_each(|&p| used[p] = true),
            Model::Logistic(_) => {}
        }
    }
    let rows: Vec<usize> = (0..used.len()).filter(|&p| used[p]).collect();
    let mut place = vec![usize::MAX; used.len()];
    rows.iter().enumerate().for_each(|(new, &old)| place[old] = new);
    for f in fitted {
        match &mut f.model {
            Model::Svm(model) => model.renumber(|p| place[p]),
            Model::Knn(model) => model.renumber(|p| place[p]),
            Model::Logistic(_) => {}
        }
    }
    Points::gather(study.train.view(), rows.into_iter())
}

/// What the blocks of one job come to.
struct Tally {
    confusion: Confusion,
    predictions: Vec<usize>,
    right: Right,
    scores: Vec<f32>,
}

/// Takes the test rows past all models, block by block; one tally per job.
fn predict(
    study: &Study,
    points: &Points<f32>,
    jobs: &[Job],
    fitted: &[Fitted],
    resampling: &Resampling<'_>,
    watch: &Watch<'_>,
) -> Result<Vec<Tally>, Failure> {
    let classes = study.roster.classes.len();
    let n_blocks = study.test.nrows().div_ceil(WIDTH);
    let keep = |job: &Job| job.repeat < study.protocol.keep_predictions;
    let none = || Tally { confusion: Confusion::new(classes), predictions: Vec::new(), scores: Vec::new(), right: resampling.none_right() };
    let mut tallies: Vec<Tally> = jobs.iter().map(|_| none()).collect();
    // How many scores a job's rows have: none where they are not kept.
    let columns: Vec<usize> = jobs.iter().zip(fitted).map(|(job, f)| if keep(job) { f.model.classes().len() } else { 0 }).collect();
    let block_bytes = (points.len().max(1) * WIDTH) * size_of::<f32>();
    let at_once = (BLOCK_MEMORY / block_bytes).clamp(1, rayon::current_num_threads());
    let blocks: Vec<usize> = (0..n_blocks).collect();
    for batch in blocks.chunks(at_once) {
        // The jobs are shared out too, so that a batch of one block, or a block on the way out, leaves no thread idle.
        let parts = batch
            .par_iter()
            .map(|&at| {
                watch.step()?;
                let block = Block::new(points, study.test.view(), at * WIDTH);
                let per_job = |scratch: &mut Scratch<f32>, (fitted, columns): (&Fitted, &usize)| {
                    fitted.model.predict(points, &block, scratch, *columns)
                };
                Ok(fitted.par_iter().zip(&columns).map_init(Scratch::new, per_job).collect::<Vec<Predicted>>())
            })
            .collect::<Result<Vec<Vec<Predicted>>, Failure>>()?;
        for (&at, per_job) in batch.iter().zip(parts) {
            let truth = &study.roster.test[at * WIDTH..];
            for ((tally, job), (predicted, scores)) in tallies.iter_mut().zip(jobs).zip(per_job) {
                for (row, ((_, truth), &predicted)) in truth.iter().zip(&predicted).enumerate() {
                    tally.confusion.count(*truth, predicted);
                    if *truth == predicted {
                        resampling.note(&mut tally.right, at * WIDTH + row);
                    }
                }
                if keep(job) {
                    tally.predictions.extend(predicted);
                    tally.scores.extend(scores);
                }
            }
        }
    }
    Ok(tallies)
}

/// Counts finished pieces and listens for the wish to stop.
struct Watch<'a> {
    monitor: &'a dyn Monitor,
    done: AtomicU64,
    total: u64,
}

impl Watch<'_> {
    fn step(&self) -> Result<(), Failure> {
        if self.monitor.interrupted() {
            return Err(Failure::interrupted());
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.monitor.progress(done, self.total, "part", &[]);
        Ok(())
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
    use super::super::params::{Knn, LogisticRegression, Protocol, Svm};
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
            let apart = scores.values.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-5, "{} {apart}", cell.classifier);
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
