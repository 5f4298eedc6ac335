//! What the teacher makes of some pictures every so many steps, for whoever wants to watch a training from outside.
//!
//! No label is known here: a watcher that knows some reads the snapshots afterwards.

use super::training::Training;
use crate::data;
use crate::diagnostic::Failure;
use crate::model::Batch;

/// Which pictures are looked at, and how often.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub pictures: &'a dyn data::Views,
    /// Steps between two looks; by default a twentieth of all.
    pub every: Option<usize>,
}

/// The teacher's representations at some steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshots {
    /// Steps that were taken before each look.
    pub steps: Vec<u64>,
    /// Looks × pictures × D.
    pub features: Vec<f32>,
}

/// Pictures that are in memory at a time.
const SOME: usize = 32;

impl Snapshots {
    /// Looks once.
    pub fn take(&mut self, step: u64, training: &dyn Training, pictures: &dyn data::Views) -> Result<(), Failure> {
        let side = pictures.side(0);
        let size = side * side * 3;
        let mut pixels = vec![0.0; SOME.min(pictures.n_images()) * size];
        for first in (0..pictures.n_images()).step_by(SOME) {
            let n = SOME.min(pictures.n_images() - first);
            let pixels = &mut pixels[..n * size];
            pixels.chunks_exact_mut(size).enumerate().try_for_each(|(i, pixels)| pictures.fill(first + i, 0, 0, pixels))?;
            self.features.extend(training.look(&Batch { pixels, n, height: side, width: side })?);
        }
        self.steps.push(step);
        Ok(())
    }
}
