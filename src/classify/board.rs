//! Cells in the making: what models come to on one set of test rows, gathered until every repeat is there.

use super::model::Fitted;
use super::params::Classifier;
use super::pass::Tally;
use super::resample::{Resampling, Right};
use super::study::Study;
use super::table::{Cell, Judged, Run};
use crate::diagnostic::Failure;
use crate::stage::Monitor;

/// One model to fit: place of the cell among those wanted, and the repeat.
pub(crate) struct Job {
    pub cell: usize,
    pub repeat: usize,
}

/// The cells of one study.
pub(crate) struct Board<'a> {
    pub study: &'a Study,
    pub resampling: Resampling<'a>,
    cells: Vec<Cell>,
    /// For each cell which rows its draws predicted right.
    right: Vec<Vec<Right>>,
}

impl<'a> Board<'a> {
    /// Starts without any run.
    pub fn new(study: &'a Study, wanted: &[(Classifier, usize)]) -> Self {
        let runs = || Vec::with_capacity(study.protocol.repeats);
        let cell = |(classifier, n): &(Classifier, usize)| Cell { classifier: classifier.label(), per_class: *n, runs: runs() };
        let resampling = Resampling::new(&study.roster, study.protocol.resamples);
        Self { study, resampling, cells: wanted.iter().map(cell).collect(), right: vec![Vec::new(); wanted.len()] }
    }

    /// Returns whether a job's single predictions are kept.
    pub fn keeps(&self, job: &Job) -> bool {
        job.repeat < self.study.protocol.keep_predictions
    }

    /// Takes in what models came to. Jobs of a cell come by repeat, so that its draws do too.
    pub fn note(&mut self, jobs: &[Job], fitted: &[Fitted], tallies: Vec<Tally>) {
        for ((job, fitted), tally) in jobs.iter().zip(fitted).zip(tallies) {
            let keep = self.keeps(job);
            self.cells[job.cell].runs.push(Run {
                repeat: job.repeat,
                rows_used: fitted.rows_used,
                converged: fitted.converged,
                confusion: tally.confusion,
                predictions: keep.then_some(tally.predictions),
                scores: tally.scores,
                roc_auc: tally.roc_auc,
            });
            self.right[job.cell].push(tally.right);
        }
    }

    /// Draws test rows and draws again for the finished cells.
    ///
    /// # Errors
    /// When the monitor interrupts.
    pub fn judged(self, monitor: &dyn Monitor) -> Result<Vec<Judged>, Failure> {
        let resampled = self.resampling.values(&self.right, monitor)?;
        Ok(self.cells.into_iter().zip(resampled).map(|(cell, resampled)| Judged { cell, resampled }).collect())
    }
}
