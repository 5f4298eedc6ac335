//! The backbone as supervised training, probes and feature extraction meet it: weights and the CPU kernels together.

use std::sync::Mutex;

use candle_core::Device;

use super::candle_encoder::CandleBackbone;
use super::supervised::{Encoder, Tensor};
use crate::diagnostic::Failure;
use crate::kernel::{on_workers, rows_stand_alone};
use crate::model::{Batch, DropPath, Entry, Network, Sizes, Tape, Weights};
use crate::random::Stream;

/// A picture's weights are laid out for its products once for all pictures of a call, and a LayerScale is folded into them: worth it up to
/// about so many tokens, beyond which buffers no longer lie near.
const TOKENS: usize = 1024;

/// A network with its weights.
pub struct Backbone {
    network: Network,
    weights: Weights,
    /// Buffers not in use now. One for each picture that is embedded at a time, so that nobody waits for another's.
    tapes: Mutex<Vec<Tape>>,
    /// The branches that the next pass in training leaves out: how many, and where the draws start.
    leaves_out: Option<(f64, Stream)>,
}

impl Backbone {
    /// Joins sizes and weights.
    pub fn new(sizes: &Sizes, weights: Weights) -> Self {
        Self { network: Network::new(sizes, weights.layout.clone()), weights, tapes: Mutex::default(), leaves_out: None }
    }
}

/// Opens a network where it is to run: on the CPU kernels, or on a GPU.
///
/// # Errors
/// When the weights are not those of such a network, or the GPU refuses.
pub fn open_backbone(sizes: &Sizes, weights: Weights, gpu: Option<&Device>) -> Result<Box<dyn Encoder>, Failure> {
    Ok(match gpu {
        Some(device) => Box::new(CandleBackbone::new(sizes, weights, device)?),
        None => Box::new(Backbone::new(sizes, weights)),
    })
}

/// Square pictures, one after another.
pub(super) fn batch(pixels: &[f32], side: usize) -> Batch<'_> {
    Batch { pixels, n: pixels.len() / (side * side * 3).max(1), height: side, width: side }
}

/// The tensors of a network's parameters, as optimisers go through them.
pub(super) fn tensors(sizes: &Sizes, weights: &Weights) -> Vec<Tensor> {
    let unit = |len: usize, shape: &[usize]| if shape.len() > 1 { len / shape[0] } else { len };
    let tensor = |e: &Entry| Tensor {
        range: e.range(),
        unit: unit(e.len(), &e.shape),
        decays: e.decays(),
        below_top: sizes.top_layer() - sizes.layer(&e.name),
    };
    weights.layout.params().iter().map(tensor).collect()
}

impl Encoder for Backbone {
    fn dim(&self) -> usize {
        self.network.sizes().dim()
    }

    fn at_once(&self, side: usize) -> usize {
        let tokens = (side / self.network.sizes().patch()).pow(2).max(1);
        if rows_stand_alone() { ((TOKENS + tokens / 2) / tokens).max(1) } else { 1 }
    }

    fn tensors(&self) -> Vec<Tensor> {
        tensors(self.network.sizes(), &self.weights)
    }

    fn parameters(&self) -> &[f32] {
        &self.weights.params
    }

    fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.weights.params
    }

    fn embed(&self, pictures: &[f32], side: usize, features: &mut Vec<f32>) -> Result<(), Failure> {
        let tapes = || self.tapes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Never held while kernels run: a worker that waits inside one may take up another picture meanwhile.
        let mut tape = tapes().pop().unwrap_or_default();
        let made = on_workers(|| self.network.features(&self.weights, &batch(pictures, side), &mut tape));
        tapes().push(tape);
        features.extend(made?);
        Ok(())
    }

    fn leave_out(&mut self, rate: f64, draws: Stream) {
        self.leaves_out = Some((rate, draws));
    }

    fn learn(
        &mut self,
        pictures: &[f32],
        side: usize,
        loss: &mut dyn FnMut(&[f32], &mut [f32]),
        gradient: &mut [f32],
    ) -> Result<(), Failure> {
        let tapes = self.tapes.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tapes.is_empty() {
            tapes.push(Tape::default());
        }
        let tape = &mut tapes[0];
        let batch = batch(pictures, side);
        let depth = self.network.sizes().depth();
        tape.set_drop_path(self.leaves_out.take().map(|(rate, draws)| DropPath::draw(rate, depth, batch.n, draws)));
        let Weights { params, buffers, .. } = &mut self.weights;
        let features = on_workers(|| self.network.forward(params, buffers, &batch, tape))?;
        let mut d = vec![0.0; features.len()];
        loss(&features, &mut d);
        gradient.fill(0.0);
        on_workers(|| self.network.backward(params, &batch, tape, &d, gradient, None))
    }

    fn statistics(&self) -> Vec<f32> {
        self.weights.buffers.clone()
    }

    fn set_statistics(&mut self, statistics: &[f32]) {
        self.weights.buffers.copy_from_slice(statistics);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_row_of_features_has_the_same_bits_alone_and_in_company() {
        for (variant, side) in [("nano_12_p16", 96), ("vit_tiny_p16", 96)] {
            let sizes = Sizes::named(variant).unwrap();
            let network = Backbone::new(&sizes, Weights::start(Arc::new(sizes.layout()), 1));
            let at_once = network.at_once(side);
            assert_eq!(at_once > 1, rows_stand_alone(), "{variant}");
            let mut draws = Stream::new(1, "pictures").draws();
            let pictures: Vec<f32> = (0..at_once * side * side * 3).map(|_| draws.normal() as f32).collect();
            let (mut together, mut alone) = (Vec::new(), Vec::new());
            network.embed(&pictures, side, &mut together).unwrap();
            pictures.chunks(side * side * 3).for_each(|picture| network.embed(picture, side, &mut alone).unwrap());
            assert!(together == alone, "{variant}");
        }
    }
}
