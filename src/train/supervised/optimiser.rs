//! Adam and AdamW over a flat list of parameters, and adaptive clipping of its gradient.

use rayon::prelude::*;

use super::encoder::Tensor;
use super::params::Optimiser;
use crate::kernel::{on_workers, vectorised};

/// How many numbers one thread takes at a time, about.
const STRETCH: usize = 8192;

const BETA: (f32, f32) = (0.9, 0.999);

/// Moments of a flat list of parameters.
pub(crate) struct Adam {
    kind: Optimiser,
    weight_decay: f32,
    layer_decay: f64,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Adam {
    /// Starts with moments of 0; a layer's learning rate is `layer_decay` times that of the one above it.
    pub fn new(kind: Optimiser, weight_decay: f64, layer_decay: f64, n: usize) -> Self {
        Self { kind, weight_decay: weight_decay as f32, layer_decay, first: vec![0.0; n], second: vec![0.0; n], steps: 0 }
    }

    /// Moves the parameters by one step; betas 0.9 and 0.999, epsilon 1e-8, as PyTorch.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], tensors: &[Tensor], rate: f64) {
        self.steps += 1;
        let (bias_1, bias_2) = (1.0 - f64::from(BETA.0).powi(self.steps), 1.0 - f64::from(BETA.1).powi(self.steps));
        let root = (1.0 / bias_2.sqrt()) as f32;
        for tensor in tensors {
            let rate = rate * self.layer_decay.powi(tensor.below_top as i32);
            let size = (rate / bias_1) as f32;
            let decay = if tensor.decays { self.weight_decay } else { 0.0 };
            let (in_gradient, in_weights) = match self.kind {
                Optimiser::Adam => (decay, 0.0),
                Optimiser::AdamW => (0.0, decay * rate as f32),
            };
            let pass = Pass { in_gradient, in_weights, size, root };
            let range = || tensor.range.clone();
            let moments = self.first[range()].par_chunks_mut(STRETCH).zip(self.second[range()].par_chunks_mut(STRETCH));
            let stretches = parameters[range()].par_chunks_mut(STRETCH).zip(gradient[range()].par_chunks(STRETCH)).zip(moments);
            on_workers(|| stretches.for_each(|((p, g), (m, v))| step_stretch(pass, p, g, m, v)));
        }
    }
}

/// What one tensor's step uses.
#[derive(Clone, Copy)]
struct Pass {
    /// Weight decay as Adam has it, and as AdamW has it.
    in_gradient: f32,
    in_weights: f32,
    size: f32,
    /// 1/√(1 - β2^t)
    root: f32,
}

vectorised! {
    fn step_stretch(pass: Pass, parameters: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((p, g), m), v) in parameters.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g + pass.in_gradient * *p;
            *m = BETA.0 * *m + (1.0 - BETA.0) * g;
            *v = BETA.1 * *v + (1.0 - BETA.1) * g * g;
            *p -= pass.in_weights * *p + pass.size * *m / (v.sqrt() * pass.root + 1e-8);
        }
    }
}

/// Shortens the gradient of every unit to at most `factor` times the length of its weights (Brock et al. 2021; weights count as at least 1e-3).
pub(crate) fn clip_adaptively(parameters: &[f32], gradient: &mut [f32], tensors: &[Tensor], factor: f64) {
    let length = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let clip = |weights: &[f32], gradient: &mut [f32]| {
        let limit = factor * length(weights).max(1e-3);
        let size = length(gradient);
        if size > limit {
            let scale = (limit / size.max(1e-6)) as f32;
            gradient.iter_mut().for_each(|g| *g *= scale);
        }
    };
    for tensor in tensors {
        let stretch = tensor.unit * (STRETCH / tensor.unit).max(1);
        let weights = parameters[tensor.range.clone()].par_chunks(stretch);
        let stretches = gradient[tensor.range.clone()].par_chunks_mut(stretch).zip(weights);
        on_workers(|| {
            stretches.for_each(|(gradient, weights)| {
                gradient.chunks_mut(tensor.unit).zip(weights.chunks(tensor.unit)).for_each(|(gradient, weights)| clip(weights, gradient));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<Tensor> {
        vec![Tensor { range: 0..2, unit: 1, decays: true, below_top: 1 }, Tensor { range: 2..3, unit: 1, decays: false, below_top: 0 }]
    }

    // torch.optim.AdamW([p], lr=0.1, weight_decay=0.5) and Adam(weight_decay=0.5): the first step is lr · sign(g), whatever its size.
    #[test]
    fn the_first_step_is_the_rate_in_the_direction_of_the_sign() {
        let gradient = [3.0, -0.001, 7.0];
        let mut p = [1.0, 1.0, 1.0];
        Adam::new(Optimiser::AdamW, 0.5, 1.0, 3).step(&mut p, &gradient, &tensors(), 0.1);
        assert!(p.iter().zip([0.85, 1.05, 0.9]).all(|(a, b)| (a - b).abs() < 1e-5), "{p:?}");
        let mut p = [1.0, 1.0, 1.0];
        Adam::new(Optimiser::Adam, 0.5, 1.0, 3).step(&mut p, &gradient, &tensors(), 0.1);
        assert!(p.iter().zip([0.9, 0.9, 0.9]).all(|(a, b)| (a - b).abs() < 1e-5), "{p:?}");
        // A layer further down goes half as far, and its weight decay with it.
        let mut p = [1.0, 1.0, 1.0];
        Adam::new(Optimiser::AdamW, 0.5, 0.5, 3).step(&mut p, &gradient, &tensors(), 0.1);
        assert!(p.iter().zip([0.925, 1.025, 0.9]).all(|(a, b)| (a - b).abs() < 1e-5), "{p:?}");
    }

    #[test]
    fn a_gradient_is_clipped_unit_by_unit() {
        let mut gradient = [3.0, 0.01, 7.0];
        clip_adaptively(&[10.0, 10.0, 0.0], &mut gradient, &tensors(), 0.1);
        assert_eq!(gradient, [1.0, 0.01, 1e-4]);
    }
}
