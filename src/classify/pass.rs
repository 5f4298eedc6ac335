//! Test rows past fitted models, block by block: what each says of every row, counted as it comes.

use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::knn::Scratch;
use super::metrics::Confusion;
use super::model::{Fitted, Measured, Predicted, Queries};
use super::predictions::Scores;
use super::products::WIDTH;
use super::resample::{Resampling, Right};
use super::roc::RocAuc;
use super::study::Study;
use crate::diagnostic::Failure;
use crate::stage::Monitor;

/// Memory for blocks of inner products that are in work at once, in bytes.
const BLOCK_MEMORY: usize = 4 << 30;
/// Memory for scores that are held until every test row has one, in bytes.
const SCORE_MEMORY: usize = 1 << 30;

/// What the blocks of one model come to.
pub(crate) struct Tally {
    pub confusion: Confusion,
    /// Empty unless they are kept.
    pub predictions: Vec<usize>,
    pub right: Right,
    pub scores: Option<Scores>,
    pub roc_auc: Option<RocAuc>,
}

/// Rows to predict, and how what is said of them is judged.
pub(crate) struct Exam<'a> {
    pub study: &'a Study,
    /// The features of the study's test rows, as the models are to see them.
    pub rows: ArrayView2<'a, f32>,
    pub resampling: &'a Resampling<'a>,
}

/// Returns how many blocks the test rows of all studies make.
pub(crate) fn n_blocks(studies: &[&Study]) -> usize {
    studies.iter().map(|study| study.test.nrows().div_ceil(WIDTH)).sum()
}

/// Returns how many models go past the test rows at once: as many as there are, unless areas under curves want all scores of each.
pub(crate) fn at_once(studies: &[&Study], models: usize, any_double: bool) -> usize {
    let score = if any_double { size_of::<f64>() } else { size_of::<f32>() };
    let ranked = studies.iter().filter(|study| study.protocol.roc_auc);
    let bytes = ranked.map(|study| study.test.nrows() * study.roster.classes.len() * score).max();
    bytes.map_or(models, |bytes| SCORE_MEMORY / bytes.max(1)).clamp(1, models.max(1))
}

/// Takes the test rows past all models, block by block; one tally per model. `keep` says whose single predictions stay.
pub(crate) fn tallies(
    exam: &Exam<'_>,
    points: &Measured,
    fitted: &[Fitted],
    keep: &[bool],
    watch: &Watch<'_>,
) -> Result<Vec<Tally>, Failure> {
    let Exam { study, rows, resampling } = exam;
    let classes = study.roster.classes.len();
    let ranked = study.protocol.roc_auc;
    let none = |(fitted, keep): (&Fitted, &bool)| Tally {
        confusion: Confusion::new(classes),
        predictions: Vec::new(),
        right: resampling.none_right(),
        scores: (*keep || ranked).then(|| fitted.model.no_scores(rows.nrows())),
        roc_auc: None,
    };
    let mut tallies: Vec<Tally> = fitted.iter().zip(keep).map(none).collect();
    // How many scores a model's rows have: none where nobody asks.
    let columns: Vec<usize> = tallies.iter().map(|tally| tally.scores.as_ref().map_or(0, |scores| scores.classes.len())).collect();
    let blocks: Vec<usize> = (0..rows.nrows().div_ceil(WIDTH)).collect();
    let most = (BLOCK_MEMORY / points.block_bytes()).clamp(1, rayon::current_num_threads());
    let mut rooms: Vec<Queries> = std::iter::repeat_with(Queries::default).take(most).collect();
    for batch in blocks.chunks(most) {
        // The models are shared out too, so that a batch of one block, or a block on the way out, leaves no thread idle.
        let parts = batch
            .par_iter()
            .zip(&mut rooms)
            .map(|(&at, queries)| {
                watch.step()?;
                points.fill(queries, *rows, at * WIDTH);
                let of_model = |scratch: &mut Scratch<f32>, (fitted, columns): (&Fitted, &usize)| {
                    fitted.model.predict(points, queries, scratch, *columns)
                };
                Ok(fitted.par_iter().zip(&columns).map_init(Scratch::new, of_model).collect::<Vec<Predicted>>())
            })
            .collect::<Result<Vec<Vec<Predicted>>, Failure>>()?;
        for (&at, of_models) in batch.iter().zip(parts) {
            let truth = &study.roster.test[at * WIDTH..];
            for ((tally, keep), (predicted, scores)) in tallies.iter_mut().zip(keep).zip(of_models) {
                for (row, ((_, truth), &predicted)) in truth.iter().zip(&predicted).enumerate() {
                    tally.confusion.count(*truth, predicted);
                    if *truth == predicted {
                        resampling.note(&mut tally.right, at * WIDTH + row);
                    }
                }
                if let Some(all) = &mut tally.scores {
                    all.values.extend(&scores);
                }
                if *keep {
                    tally.predictions.extend(predicted);
                }
            }
        }
    }
    if ranked {
        let truth: Vec<usize> = study.roster.test.iter().map(|(_, class)| *class).collect();
        tallies.par_iter_mut().with_max_len(1).zip(keep).for_each(|(tally, keep)| {
            let scores = if *keep { tally.scores.clone() } else { tally.scores.take() };
            tally.roc_auc = scores.map(|scores| RocAuc::of(classes, &truth, |class| scores.of_class(class)));
        });
    }
    Ok(tallies)
}

/// Counts finished pieces and listens for the wish to stop.
pub(crate) struct Watch<'a> {
    pub monitor: &'a dyn Monitor,
    pub done: AtomicU64,
    pub total: u64,
}

impl Watch<'_> {
    /// Counts one piece.
    ///
    /// # Errors
    /// When the monitor interrupts.
    pub fn step(&self) -> Result<(), Failure> {
        if self.monitor.interrupted() {
            return Err(Failure::interrupted());
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.monitor.progress(done, self.total, "part", &[]);
        Ok(())
    }
}
