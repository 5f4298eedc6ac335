//! Gradient clipping and AdamW in one pass over the arena, and the teacher's average.
//!
//! AGC: Brock et al. 2021 (arXiv:2102.06171), as timm's `adaptive_clip_grad`. AdamW: Loshchilov and Hutter 2019, as PyTorch's.
//! Each value is read once: parameter, gradient, two moments.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kernel::clock::{Group, timed};
use crate::model::{Entry, Layout};

/// How gradients are clipped before the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Unit by unit (row of a matrix, or a whole vector): at most so much of the unit's own norm.
    Agc(f64),
    /// Each tensor's norm to at most this.
    Tensor(f64),
    Off,
}

/// What one step uses.
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    pub lr: f64,
    pub weight_decay: f64,
    pub clip: Clip,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
}

impl Hyper {
    /// PyTorch's defaults beside the given rate and decay.
    pub fn new(lr: f64, weight_decay: f64, clip: Clip) -> Self {
        Self { lr, weight_decay, clip, beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// AdamW's moments over one arena, and how many steps each tensor has taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    layout: Arc<Layout>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// A frozen tensor takes no steps, so its bias correction starts when it is released.
    pub steps: Vec<u64>,
}

/// Norms of a unit below this count as this (timm's `eps`).
const AGC_EPS: f32 = 1e-3;

/// One tensor's numbers for the pass.
struct Pass {
    rate: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    /// 1/√(1 - β2^t)
    second_scale: f32,
    eps: f32,
    clip: Clip,
    /// Factor on the gradient of the whole tensor.
    factor: f32,
}

impl Adam {
    /// Starts with moments of 0.
    pub fn new(layout: Arc<Layout>) -> Self {
        let n = layout.n_params();
        Self { first: vec![0.0; n], second: vec![0.0; n], steps: vec![0; layout.params().len()], layout }
    }

    /// Takes a step with every tensor for which `moves` says so. Gradients are used up.
    pub fn step(&mut self, params: &mut [f32], grads: &mut [f32], hyper: &Hyper, moves: impl Fn(&Entry) -> bool) {
        let _timer = timed(Group::Optimiser);
        let layout = self.layout.clone();
        for (i, entry) in layout.params().iter().enumerate().filter(|(_, e)| moves(e)) {
            self.steps[i] += 1;
            let t = self.steps[i] as i32;
            let range = entry.range();
            let factor = match hyper.clip {
                Clip::Tensor(limit) => {
                    let norm = grads[range.clone()].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                    (limit / (norm + 1e-6)).min(1.0) as f32
                }
                _ => 1.0,
            };
            let pass = Pass {
                rate: (hyper.lr / (1.0 - hyper.beta1.powi(t))) as f32,
                decay: if entry.decays() { (1.0 - hyper.lr * hyper.weight_decay) as f32 } else { 1.0 },
                beta1: hyper.beta1 as f32,
                beta2: hyper.beta2 as f32,
                second_scale: (1.0 / (1.0 - hyper.beta2.powi(t)).sqrt()) as f32,
                eps: hyper.eps as f32,
                clip: hyper.clip,
                factor,
            };
            let unit = if entry.shape.len() <= 1 { entry.len() } else { entry.len() / entry.shape[0] };
            let size = unit * (8192 / unit).max(1);
            params[range.clone()]
                .par_chunks_mut(size)
                .zip(grads[range.clone()].par_chunks_mut(size))
                .zip(self.first[range.clone()].par_chunks_mut(size))
                .zip(self.second[range].par_chunks_mut(size))
                .for_each(|(((p, g), m), v)| pass.rows(unit, p, g, m, v));
        }
    }
}

impl Pass {
    fn rows(&self, unit: usize, p: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let units = p.chunks_mut(unit).zip(g.chunks_mut(unit)).zip(m.chunks_mut(unit)).zip(v.chunks_mut(unit));
        for (((p, g), m), v) in units {
            let factor = match self.clip {
                Clip::Agc(share) => {
                    let limit = share as f32 * norm(p).max(AGC_EPS);
                    let size = norm(g);
                    if size < limit { 1.0 } else { limit / size.max(1e-6) }
                }
                _ => self.factor,
            };
            for (((p, g), m), v) in p.iter_mut().zip(g.iter()).zip(m.iter_mut()).zip(v.iter_mut()) {
                let g = g * factor;
                *m = self.beta1 * *m + (1.0 - self.beta1) * g;
                *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
                *p = *p * self.decay - self.rate * *m / (v.sqrt() * self.second_scale + self.eps);
            }
        }
    }
}

/// Euclidean norm in sixteen lanes.
fn norm(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(s, v)| *s += v * v);
    }
    (lanes.iter().sum::<f32>() + rest.iter().map(|v| v * v).sum::<f32>()).sqrt()
}

/// teacher = momentum · teacher + (1 - momentum) · student.
pub fn average(teacher: &mut [f32], student: &[f32], momentum: f64) {
    let _timer = timed(Group::Optimiser);
    let (keep, take) = (momentum as f32, (1.0 - momentum) as f32);
    teacher
        .par_chunks_mut(16_384)
        .zip(student.par_chunks(16_384))
        .for_each(|(t, s)| t.iter_mut().zip(s).for_each(|(t, s)| *t = *t * keep + s * take));
}
