//! Finished repeats as pieces, so that a training that was cut off goes on where a repeat begins, and one that is to be longer trains
//! only what is new.

use serde::{Deserialize, Serialize};

use super::repeat::Course;
use super::stop::Ending;
use crate::classify::Run;
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::stage::Pieces;

/// A repeat as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub run: Run,
    pub course: Course,
    /// The best checkpoint, where it is wanted. A piece of its own: it may be large, and few are ever read.
    #[serde(skip)]
    pub checkpoint: Option<Vec<f32>>,
}

/// Counts those that made their last step before their validation said stop.
pub(crate) fn cut_short(repeats: &[Finished]) -> usize {
    repeats.iter().filter(|finished| finished.course.ending == Ending::LastStep).count()
}

/// The repeats of one method with one number of labels.
pub(crate) struct Repeats<'a> {
    pub pieces: &'a dyn Pieces,
    /// Digest of everything that decides a result, but the scope of the pieces and the repeat.
    pub of: Digest,
}

impl Repeats<'_> {
    fn name(&self, repeat: usize, what: &str) -> Digest {
        Digest::of_json(&serde_json::json!([self.of, repeat, what]))
    }

    /// Returns a finished repeat if one of just this work is kept, with its checkpoint if that is wanted.
    pub fn find(&self, repeat: usize, with_checkpoint: bool) -> Option<Finished> {
        let mut finished: Finished = serde_json::from_slice(&self.pieces.get(&self.name(repeat, "record"))?).ok()?;
        if with_checkpoint {
            let bytes = self.pieces.get(&self.name(repeat, "checkpoint"))?;
            finished.checkpoint = Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect());
        }
        Some(finished)
    }

    /// Keeps a finished repeat.
    pub fn keep(&self, finished: &Finished) -> Result<(), Failure> {
        let repeat = finished.run.repeat;
        if let Some(checkpoint) = &finished.checkpoint {
            let bytes: Vec<u8> = checkpoint.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.pieces.put(self.name(repeat, "checkpoint"), &bytes);
        }
        let text = serde_json::to_vec(finished).doing(|| "cannot keep a finished repeat")?;
        self.pieces.put(self.name(repeat, "record"), &text);
        // It took long to make.
        self.pieces.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Confusion;
    use crate::stage::Memory;

    #[test]
    fn a_kept_repeat_is_found_by_the_same_work_only() {
        let run = Run {
            repeat: 2,
            rows_used: 3,
            converged: true,
            confusion: Confusion::of(2, [(0, 0)]),
            predictions: None,
            scores: None,
            roc_auc: None,
        };
        let course = Course { ending: Ending::Blind, best_step: 4, curve: Vec::new() };
        let bare = Finished { run, course, checkpoint: None };
        let whole = Finished { checkpoint: Some(vec![1.0, -2.5]), ..bare.clone() };
        let pieces = Memory::default();
        let repeats = |what: &[u8]| Repeats { pieces: &pieces, of: Digest::of(what) };
        repeats(b"a").keep(&bare).unwrap();
        assert_eq!([repeats(b"a").find(2, false), repeats(b"a").find(2, true)], [Some(bare.clone()), None]);
        repeats(b"a").keep(&whole).unwrap();
        assert_eq!([repeats(b"a").find(2, false), repeats(b"a").find(2, true)], [Some(bare), Some(whole)]);
        assert_eq!([repeats(b"b").find(2, false), repeats(b"a").find(1, false)], [None, None]);
    }
}
