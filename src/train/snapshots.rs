//! What the teacher makes of some pictures every so many steps, for whoever wants to watch a training from outside.
//!
//! No label is known here: a watcher that knows some reads the snapshots afterwards.

use super::dino::Dino;
use crate::data;
use crate::diagnostic::Failure;
use crate::kernel::on_workers;
use crate::model::{Batch, Tape};

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

impl Snapshots {
    /// Looks once. Each picture passes by itself, as in `Features`: the bits of its row do not depend on its company.
    pub fn take(&mut self, step: u64, dino: &Dino, pictures: &dyn data::Views) -> Result<(), Failure> {
        let side = pictures.side(0);
        let (mut pixels, mut tape) = (vec![0.0; side * side * 3], Tape::default());
        for image in 0..pictures.n_images() {
            pictures.fill(image, 0, 0, &mut pixels)?;
            let batch = Batch { pixels: &pixels, n: 1, height: side, width: side };
            let row = on_workers(|| dino.network().features(&dino.state.teacher.backbone, &batch, &mut tape))?;
            self.features.extend(row);
        }
        self.steps.push(step);
        Ok(())
    }
}
