//! The half of a block that both families share: x += γ·(GELU(LN x·W1ᵀ + b1)·W2ᵀ + b2).

use std::ops::Range;

use super::block::Scratch;
use super::linear::{Linear, Norm, Scaled};
use crate::kernel::{LayerNorm, affine, gelu, gelu_backward, gelu_only, layer_norm, layer_norm_backward};
use crate::model::Layout;

/// Where the parameters lie.
pub struct Mlp {
    norm: Norm,
    fc1: Linear,
    fc2: Scaled,
}

/// What is kept for a backward pass: nine numbers per token and channel.
#[derive(Default)]
pub struct MlpTape {
    norm: LayerNorm,
    hidden: Vec<f32>,
    slope: Vec<f32>,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A backward pass may follow.
    Learn,
    /// None follows.
    Look,
    /// None follows, and there are so few rows that the branch's output is smaller than W2.
    LookAtFew,
}

/// GELU of x + bias, and its slope where a backward pass may follow.
pub(super) fn gelu_for(learn: bool, x: &mut [f32], slope: &mut Vec<f32>, bias: &[f32]) {
    if learn {
        slope.resize(x.len(), 0.0);
        gelu(x, slope, bias);
    } else {
        gelu_only(x, bias);
    }
}

/// The gradient of a branch from that of the stream: s·d of each image, made in `room`, or `d` itself.
pub(super) fn of_branch<'a>(factors: Option<&[f32]>, d: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
    let Some(factors) = factors else { return d };
    let image = d.len() / factors.len();
    room.clear();
    d.chunks_exact(image).zip(factors).for_each(|(d, factor)| room.extend(d.iter().map(|d| d * factor)));
    room
}

impl Mlp {
    /// Finds the parameters of a block's: `norm2`, `mlp.fc1` (D to 4 D), `mlp.fc2`, and γ where there is one.
    pub fn find(layout: &Layout, block: &str, dim: usize, gamma: Option<Range<usize>>) -> Self {
        Self {
            norm: Norm::find(layout, &format!("{block}.norm2")),
            fc1: Linear::find(layout, &format!("{block}.mlp.fc1"), dim, 4 * dim),
            fc2: Scaled { linear: Linear::find(layout, &format!("{block}.mlp.fc2"), 4 * dim, dim), gamma },
        }
    }

    /// Changes rows of the stream in place; `u` is room.
    pub fn forward(&self, p: &[f32], purpose: Purpose, x: &mut [f32], tape: &mut MlpTape, u: &mut Vec<f32>) {
        let learn = purpose == Purpose::Learn;
        layer_norm(x, self.norm.values(p), learn.then_some(&mut tape.norm), u);
        self.fc1.forward_without_bias(p, u, &mut tape.hidden);
        gelu_for(learn, &mut tape.hidden, &mut tape.slope, &p[self.fc1.bias.clone()]);
        match purpose {
            Purpose::LookAtFew => self.fc2.forward_few(p, &tape.hidden, x, u),
            _ => self.fc2.forward(p, &tape.hidden, x),
        }
    }

    /// Turns the gradient `d` of the stream behind it into that before it, in place, and adds the parameters' gradients. `factors` is what
    /// drop path multiplied the images' branches by, if it did.
    pub fn backward(&self, p: &[f32], factors: Option<&[f32]>, tape: &MlpTape, d: &mut [f32], grads: &mut [f32], scratch: &mut Scratch) {
        let Scratch { a: u, b: du, wide, .. } = scratch;
        self.fc2.backward(p, &tape.hidden, of_branch(factors, d, du), wide, grads);
        gelu_backward(wide, &tape.slope, &mut grads[self.fc1.bias.clone()]);
        let (w, b) = self.norm.values(p);
        affine(&tape.norm.normalised, w, b, u);
        self.fc1.backward_params(u, wide, false, grads);
        self.fc1.backward_input(p, wide, false, du);
        self.norm.add(layer_norm_backward(du, &tape.norm, w, d), grads);
    }
}
