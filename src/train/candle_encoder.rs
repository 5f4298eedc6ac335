//! The backbone as supervised training and feature extraction meet it, in candle operations: the twin of [`Backbone`](super::Backbone) that
//! GPUs use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::encoder::{batch, tensors};
use super::supervised::{self, Encoder};
use crate::diagnostic::{Context, Failure};
use crate::model::{CandleNetwork, DropPath, Sizes, Weights, download};
use crate::random::Stream;

/// A network with its weights, on a device and in the main memory.
///
/// The optimiser works on the weights in the main memory; they go to the device when they are next needed there.
pub struct CandleBackbone {
    sizes: Sizes,
    weights: Weights,
    /// One pass at a time, so that memory is that of one; others make their pictures meanwhile.
    device: Mutex<OnDevice>,
    /// The branches that the next pass in training leaves out: how many, and where the draws start.
    leaves_out: Option<(f64, Stream)>,
}

struct OnDevice {
    network: CandleNetwork,
    /// The weights in the main memory have been touched since they were copied.
    stale: bool,
}

/// Pictures that pass together: enough to keep a GPU busy.
const AT_ONCE: usize = 64;

impl CandleBackbone {
    /// Joins sizes and weights.
    ///
    /// # Errors
    /// When the weights are not those of such a network, or the device refuses.
    pub fn new(sizes: &Sizes, weights: Weights, device: &Device) -> Result<Self, Failure> {
        let network = CandleNetwork::new(sizes, &weights, DType::F32, device)?;
        Ok(Self { sizes: sizes.clone(), weights, device: Mutex::new(OnDevice { network, stale: false }), leaves_out: None })
    }

    fn device(&self) -> MutexGuard<'_, OnDevice> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&mut self) {
        self.device.get_mut().unwrap_or_else(PoisonError::into_inner).stale = true;
    }
}

impl OnDevice {
    /// Brings the weights on the device up to date.
    fn refresh(&mut self, weights: &Weights) -> Result<&CandleNetwork, Failure> {
        if self.stale {
            self.network.tensors().set(weights)?;
            self.stale = false;
        }
        Ok(&self.network)
    }
}

impl Encoder for CandleBackbone {
    fn dim(&self) -> usize {
        self.sizes.dim()
    }

    fn at_once(&self, _side: usize) -> usize {
        AT_ONCE
    }

    fn tensors(&self) -> Vec<supervised::Tensor> {
        tensors(&self.sizes, &self.weights)
    }

    fn parameters(&self) -> &[f32] {
        &self.weights.params
    }

    fn parameters_mut(&mut self) -> &mut [f32] {
        self.touched();
        &mut self.weights.params
    }

    fn embed(&self, pictures: &[f32], side: usize, features: &mut Vec<f32>) -> Result<(), Failure> {
        let mut device = self.device();
        let network = device.refresh(&self.weights)?;
        for pixels in pictures.chunks(AT_ONCE * side * side * 3) {
            features.extend(download(&network.without_gradient().features(&batch(pixels, side))?)?);
        }
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
        let device = self.device.get_mut().unwrap_or_else(PoisonError::into_inner);
        let network = device.refresh(&self.weights)?;
        let batch = batch(pictures, side);
        let drop = self.leaves_out.take().map(|(rate, draws)| DropPath::draw(rate, self.sizes.depth(), batch.n, draws));
        let made = network.forward(&batch, drop.as_ref())?;
        let features = download(&made)?;
        let mut d = vec![0.0; features.len()];
        loss(&features, &mut d);
        // The gradient of Σ features · d is what the loss's own gradient, d, comes to.
        let back = || (&made * Tensor::from_vec(d, made.shape(), made.device())?)?.sum_all()?.backward();
        let store = back().doing(|| "the way back through the network")?;
        for (entry, var) in network.tensors().params() {
            let own = &mut gradient[entry.range()];
            match store.get(var) {
                Some(found) => own.copy_from_slice(&download(found)?),
                None => own.fill(0.0),
            }
        }
        for (entry, var) in network.tensors().buffers() {
            self.weights.buffers[entry.range()].copy_from_slice(&download(var)?);
        }
        Ok(())
    }

    fn statistics(&self) -> Vec<f32> {
        self.weights.buffers.clone()
    }

    fn set_statistics(&mut self, statistics: &[f32]) {
        self.touched();
        self.weights.buffers.copy_from_slice(statistics);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Backbone;
    use super::*;
    use crate::model::{Vit, Xcit};

    /// Two encoders of the same start, one on the kernels and one in candle operations.
    fn both(sizes: &Sizes) -> [Box<dyn Encoder>; 2] {
        let start = Weights::start(Arc::new(sizes.layout()), 4);
        let candle = CandleBackbone::new(sizes, start.clone(), &Device::Cpu).unwrap();
        [Box::new(Backbone::new(sizes, start)), Box::new(candle)]
    }

    fn close(a: &[f32], b: &[f32], what: &str) {
        let size = a.iter().map(|x| x.abs()).fold(1e-3, f32::max);
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(a.len() == b.len() && off < 1e-3 * size, "{what}: {off} of {size}");
    }

    #[test]
    fn features_gradients_and_statistics_are_those_of_the_kernels_before_and_after_a_step() {
        let xcit = Xcit { dim: Some(16), depth: Some(2), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let vit = Vit { dim: Some(16), depth: Some(2), heads: Some(2), patch: Some(4), ..Vit::default() }.sizes().unwrap();
        for sizes in [xcit, vit] {
            let mut draws = Stream::new(2, "pictures").draws();
            let pictures: Vec<f32> = (0..3 * 16 * 16 * 3).map(|_| draws.normal() as f32).collect();
            let outcome = both(&sizes).map(|mut encoder| {
                let (mut features, mut gradient) = (Vec::new(), vec![0.0; encoder.parameters().len()]);
                encoder.leave_out(0.5, Stream::new(8, "branches"));
                let mut loss = |features: &[f32], d: &mut [f32]| d.iter_mut().zip(features).for_each(|(d, f)| *d = f * f - 0.3);
                encoder.learn(&pictures, 16, &mut loss, &mut gradient).unwrap();
                encoder.parameters_mut().iter_mut().zip(&gradient).for_each(|(p, g)| *p -= 1e-4 * g);
                encoder.embed(&pictures, 16, &mut features).unwrap();
                (features, gradient, encoder.statistics())
            });
            let [(features, gradient, statistics), (candle_features, candle_gradient, candle_statistics)] = outcome;
            close(&features, &candle_features, "features");
            close(&gradient, &candle_gradient, "gradient");
            close(&statistics, &candle_statistics, "statistics");
        }
    }
}
