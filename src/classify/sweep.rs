//! The few-label sweep: which classifier, how many labels per class, how often.
//!
//! A cell (classifier, n) depends on the study alone. A sweep of many cells gives the same bits as each cell alone, but
//! multiplies test rows with training rows once for all of them: first all models are fitted, then the test rows go past them in blocks.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::knn::{KnnModel, Scratch};
use super::logistic::{FittedLogistic, ReadyLogistic};
use super::metrics::Confusion;
use super::params::{Classifier, refuse};
use super::products::{Block, Points, WIDTH};
use super::study::Study;
use super::svm::{ClassRows, SvmModel};
use super::table::{Cell, Run};
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
    let mut fitted = jobs
        .par_iter()
        .with_max_len(1)
        .map(|job| {
            watch.step()?;
            let (classifier, per_class) = &wanted[job.cell];
            fit(study, classifier, &study.rows(job.repeat, *per_class), share)
        })
        .collect::<Result<Vec<Fitted>, Failure>>()?;
    let points = common_points(study, &mut fitted);
    let tallies = predict(study, &points, &jobs, &fitted, &watch)?;

    let mut cells: Vec<Cell> = wanted
        .iter()
        .map(|(classifier, per_class)| Cell { classifier: classifier.label(), per_class: *per_class, runs: Vec::with_capacity(repeats) })
        .collect();
    for ((job, fitted), tally) in jobs.iter().zip(fitted).zip(tallies) {
        cells[job.cell].runs.push(Run {
            repeat: job.repeat,
            rows_used: fitted.rows_used,
            converged: fitted.converged,
            confusion: tally.confusion,
            predictions: (job.repeat < study.protocol.keep_predictions).then_some(tally.predictions),
        });
    }
    cells.iter_mut().for_each(|cell| cell.runs.sort_by_key(|run| run.repeat));
    Ok(cells)
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
}

/// Takes the test rows past all models, block by block; one tally per job.
fn predict(study: &Study, points: &Points<f32>, jobs: &[Job], fitted: &[Fitted], watch: &Watch<'_>) -> Result<Vec<Tally>, Failure> {
    let classes = study.roster.classes.len();
    let n_blocks = study.test.nrows().div_ceil(WIDTH);
    let keep = |job: &Job| job.repeat < study.protocol.keep_predictions;
    let mut tallies: Vec<Tally> = jobs.iter().map(|_| Tally { confusion: Confusion::new(classes), predictions: Vec::new() }).collect();
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
                let per_job = |fitted: &Fitted, scratch: &mut Scratch<f32>| {
                    let mut out = vec![0usize; block.used()];
                    match &fitted.model {
                        Model::Svm(model) => model.predict_block(points, &block, &mut out),
                        Model::Logistic(model) => model.predict_block(&block, &mut out),
                        Model::Knn(model) => model.predict_block(points, &block, scratch, &mut out),
                    }
                    out
                };
                Ok(fitted.par_iter().map_init(Scratch::new, |scratch, f| per_job(f, scratch)).collect::<Vec<Vec<usize>>>())
            })
            .collect::<Result<Vec<Vec<Vec<usize>>>, Failure>>()?;
        for (&at, per_job) in batch.iter().zip(parts) {
            let truth = &study.roster.test[at * WIDTH..];
            for ((tally, job), predicted) in tallies.iter_mut().zip(jobs).zip(per_job) {
                truth.iter().zip(&predicted).for_each(|((_, truth), &predicted)| tally.confusion.count(*truth, predicted));
                if keep(job) {
                    tally.predictions.extend(predicted);
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
