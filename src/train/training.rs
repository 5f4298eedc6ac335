//! A DINO training wherever it runs: what the loop, the snapshots and the checkpoints ask of one.

use candle_core::Device;

use super::candle_dino::CandleDino;
use super::dino::{Dino, DinoStep, State, StepNumbers, Views};
use crate::diagnostic::Failure;
use crate::kernel::on_workers;
use crate::model::{Batch, HeadSizes, Sizes, Tape};

/// A training that takes steps.
pub trait Training {
    /// Takes one step on the images of all parts together; see [`Dino::step`].
    ///
    /// # Errors
    /// When the views do not fit the network, the device refuses, or the loss is not finite.
    fn step(&mut self, parts: &[Views], numbers: &StepNumbers) -> Result<DinoStep, Failure>;

    /// Returns everything that the training is at this moment.
    ///
    /// # Errors
    /// When a device refuses.
    fn state(&mut self) -> Result<&State, Failure>;

    /// Returns the student's representations of the last step's global views, row by row.
    fn seen(&self) -> &[f32];

    /// Returns what the teacher makes of pictures, in evaluation mode, row by row.
    ///
    /// # Errors
    /// When their sides do not divide into patches, or the device refuses.
    fn look(&self, pictures: &Batch<'_>) -> Result<Vec<f32>, Failure>;
}

/// Goes on from a state where the training is to run: on the CPU kernels, or on a GPU.
///
/// Blocks are computed again (`checkpoint_blocks`) on the kernels only. `drop_path` is what [`Dino::drop_path`] takes.
///
/// # Errors
/// When the GPU refuses.
pub(super) fn open_training(
    sizes: &Sizes,
    head: &HeadSizes,
    state: State,
    checkpoint_blocks: bool,
    drop_path: (f64, u64),
    gpu: Option<&Device>,
) -> Result<Box<dyn Training>, Failure> {
    Ok(match gpu {
        Some(device) => Box::new(CandleDino::resume(sizes, head, state, device, drop_path)?),
        None => {
            let dino = Dino::resume(sizes, head, state).checkpoint_blocks(checkpoint_blocks);
            Box::new(dino.drop_path(drop_path.0, drop_path.1))
        }
    })
}

impl Training for Dino {
    fn step(&mut self, parts: &[Views], numbers: &StepNumbers) -> Result<DinoStep, Failure> {
        Dino::step(self, parts, numbers)
    }

    fn state(&mut self) -> Result<&State, Failure> {
        Ok(&self.state)
    }

    fn seen(&self) -> &[f32] {
        Dino::seen(self)
    }

    /// Each picture passes by itself, as in `Features`: the bits of its row do not depend on its company.
    fn look(&self, pictures: &Batch<'_>) -> Result<Vec<f32>, Failure> {
        let (mut tape, mut rows) = (Tape::default(), Vec::new());
        for pixels in pictures.pixels.chunks_exact(pictures.height * pictures.width * 3) {
            let batch = Batch { pixels, n: 1, ..*pictures };
            rows.extend(on_workers(|| self.network().features(&self.state.teacher.backbone, &batch, &mut tape))?);
        }
        Ok(rows)
    }
}
