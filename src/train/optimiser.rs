//! Gradient clipping, AdamW and the teacher's average in one pass over the arena.
//!
//! AGC: Brock et al. 2021 (arXiv:2102.06171), as timm's `adaptive_clip_grad`. AdamW: Loshchilov and Hutter 2019, as PyTorch's. The teacher:
//! t = momentum · t + (1 - momentum) · p (Caron et al. 2021). Memory is what it costs: parameter, gradient, two moments and the teacher come
//! by once, 32 bytes to read and write for each parameter and its gradient, 8 for the teacher's.
//! Share of a step (`small_12_p8`, by `flow bench dino-step`): 1.2 %.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kernel::clock::{Group, timed};
use crate::kernel::lanes::fold;
use crate::kernel::{mul_add, vectorised};
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
pub(super) const AGC_EPS: f32 = 1e-3;

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
    /// How much of the teacher stays.
    keep: f32,
}

/// The teacher that follows the parameters, and its momentum.
pub struct Follower<'a> {
    pub params: &'a mut [f32],
    pub momentum: f64,
}

/// A stretch of whole units.
struct Stretch<'a> {
    p: &'a mut [f32],
    g: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    teacher: &'a mut [f32],
}

impl Adam {
    /// Starts with moments of 0.
    pub fn new(layout: Arc<Layout>) -> Self {
        let n = layout.n_params();
        Self { first: vec![0.0; n], second: vec![0.0; n], steps: vec![0; layout.params().len()], layout }
    }

    /// Takes a step, after which the teacher follows. The gradients become 0.
    ///
    /// `rate` says how much of the learning rate a tensor gets; with 0 it takes no step.
    pub fn step(
        &mut self,
        params: &mut [f32],
        grads: &mut [f32],
        hyper: &Hyper,
        mut teacher: Option<Follower<'_>>,
        rate: impl Fn(&Entry) -> f64,
    ) {
        let _timer = timed(Group::Optimiser);
        let layout = self.layout.clone();
        for (i, entry) in layout.params().iter().enumerate() {
            let range = entry.range();
            let unit = if entry.shape.len() <= 1 { entry.len() } else { entry.len() / entry.shape[0] };
            let size = unit * (8192 / unit).max(1);
            let (p, g) = (&mut params[range.clone()], &mut grads[range.clone()]);
            let teacher = teacher.as_mut().map(|t| (&mut t.params[range.clone()], t.momentum));
            let lr = hyper.lr * rate(entry);
            if rate(entry) == 0.0 {
                g.par_chunks_mut(size).for_each(|g| g.fill(0.0));
                if let Some((teacher, momentum)) = teacher {
                    let follow = teacher.par_chunks_mut(size).zip(p.par_chunks(size));
                    follow.for_each(|(t, p)| average(t, p, momentum as f32));
                }
                continue;
            }
            self.steps[i] += 1;
            let t = self.steps[i] as i32;
            let factor = match hyper.clip {
                Clip::Tensor(limit) => {
                    let norm = g.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                    (limit / (norm + 1e-6)).min(1.0) as f32
                }
                _ => 1.0,
            };
            let (teacher, momentum) = teacher.unwrap_or_default();
            let pass = Pass {
                rate: (lr / (1.0 - hyper.beta1.powi(t))) as f32,
                decay: if entry.decays() { (1.0 - lr * hyper.weight_decay) as f32 } else { 1.0 },
                beta1: hyper.beta1 as f32,
                beta2: hyper.beta2 as f32,
                second_scale: (1.0 / (1.0 - hyper.beta2.powi(t)).sqrt()) as f32,
                eps: hyper.eps as f32,
                clip: hyper.clip,
                factor,
                keep: momentum as f32,
            };
            let (m, v) = (&mut self.first[range.clone()], &mut self.second[range]);
            // Without a teacher every stretch gets an empty one.
            let mut teachers: Vec<&mut [f32]> = teacher.chunks_mut(size).collect();
            teachers.resize_with(p.len().div_ceil(size), Default::default);
            p.par_chunks_mut(size)
                .zip(g.par_chunks_mut(size))
                .zip(m.par_chunks_mut(size))
                .zip(v.par_chunks_mut(size))
                .zip(teachers)
                .for_each(|((((p, g), m), v), teacher)| step_units(&pass, unit, Stretch { p, g, m, v, teacher }));
        }
    }
}

vectorised! {
    fn step_units(pass: &Pass, unit: usize, stretch: Stretch<'_>) {
        let Stretch { p, g, m, v, teacher } = stretch;
        let norm = |x: &[f32]| fold(x, |sum, x| mul_add::<FUSED>(x, x, sum)).sqrt();
        for ((p, g), (m, v)) in p.chunks_mut(unit).zip(g.chunks_mut(unit)).zip(m.chunks_mut(unit).zip(v.chunks_mut(unit))) {
            let factor = match pass.clip {
                Clip::Agc(share) => {
                    let limit = share as f32 * norm(p).max(AGC_EPS);
                    let size = norm(g);
                    if size < limit { 1.0 } else { limit / size.max(1e-6) }
                }
                _ => pass.factor,
            };
            for (((p, g), m), v) in p.iter_mut().zip(g.iter_mut()).zip(m.iter_mut()).zip(v.iter_mut()) {
                let clipped = *g * factor;
                *m = mul_add::<FUSED>(pass.beta1, *m, (1.0 - pass.beta1) * clipped);
                *v = mul_add::<FUSED>(pass.beta2, *v, (1.0 - pass.beta2) * clipped * clipped);
                *p = mul_add::<FUSED>(*p, pass.decay, -pass.rate * *m / mul_add::<FUSED>(v.sqrt(), pass.second_scale, pass.eps));
                *g = 0.0;
            }
        }
        // The stretch is still in the inner cache.
        teacher.iter_mut().zip(p.iter()).for_each(|(t, p)| *t = mul_add::<FUSED>(*t, pass.keep, *p * (1.0 - pass.keep)));
    }
}

vectorised! {
    fn average(teacher: &mut [f32], student: &[f32], keep: f32) {
        teacher.iter_mut().zip(student).for_each(|(t, p)| *t = mul_add::<FUSED>(*t, keep, *p * (1.0 - keep)));
    }
}
