//! Cross-covariance attention with its projections (El-Nouby et al. 2021, eq. 2): x += γ·(XCA(u)·Wᵀ + b).
//!
//! Two ways, which give the same but for rounding: by q, k and v of every token, or, where an image has many tokens beside channels
//! ([`XcitSizes::attends_by_gram`]), by the tokens' Gram matrix (`xca_gram`).

use std::ops::Range;

use super::block::Scratch;
use super::linear::{Linear, Scaled};
use super::xca_gram::GramTape;
use super::xca_gram_back::ImageWork;
use crate::kernel::{Maps, QkvShape, XcaSaved, xca_backward, xca_forward};
use crate::model::{Layout, XcitSizes};

/// Where its parameters lie.
pub struct Xca {
    pub(super) temperature: Range<usize>,
    pub(super) qkv: Linear,
    pub(super) proj: Scaled,
    pub(super) sizes: XcitSizes,
}

/// What it keeps for its backward pass, in one way or the other.
#[derive(Default)]
pub struct XcaTape {
    qkv: Vec<f32>,
    saved: XcaSaved,
    attended: Vec<f32>,
    gram: GramTape,
}

impl Xca {
    /// Finds the parameters of block `i`.
    pub fn find(layout: &Layout, sizes: &XcitSizes, i: usize) -> Self {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let d = sizes.dim;
        Self {
            temperature: layout.at(&name("attn.temperature")),
            qkv: Linear::find(layout, &name("attn.qkv"), d, 3 * d),
            proj: Scaled { linear: Linear::find(layout, &name("attn.proj"), d, d), gamma: Some(layout.at(&name("gamma1"))) },
            sizes: sizes.clone(),
        }
    }

    fn shape(&self, maps: Maps) -> QkvShape {
        QkvShape { batch: maps.batch, tokens: maps.height * maps.width, dim: self.sizes.dim, heads: self.sizes.heads }
    }

    /// Adds the branch's output from the normalised tokens u (B·N × D) to the stream x.
    pub fn forward(&self, p: &[f32], maps: Maps, u: &[f32], x: &mut [f32], tape: &mut XcaTape, work: &mut Vec<ImageWork>) {
        let shape = self.shape(maps);
        if self.sizes.attends_by_gram(shape.tokens) {
            return self.forward_by_gram(p, maps.batch, u, x, &mut tape.gram, work);
        }
        self.qkv.forward(p, u, &mut tape.qkv);
        xca_forward(shape, &tape.qkv, &p[self.temperature.clone()], &mut tape.saved, &mut tape.attended);
        self.proj.forward(p, &tape.attended, x);
    }

    /// From the gradient `d` of the stream: leaves u, as `tokens` makes it again, in `scratch.a` and its gradient in `scratch.b`; adds those of the
    /// parameters.
    pub fn backward(
        &self,
        p: &[f32],
        maps: Maps,
        tape: &XcaTape,
        tokens: impl FnOnce(&mut Vec<f32>),
        d: &[f32],
        grads: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Scratch { a: u, b: du, wide, images } = scratch;
        let shape = self.shape(maps);
        if self.sizes.attends_by_gram(shape.tokens) {
            tokens(u);
            return self.backward_by_gram(p, maps.batch, &tape.gram, (u, d), du, grads, images);
        }
        self.proj.backward(p, &tape.attended, d, u, grads);
        let taus = &mut grads[self.temperature.clone()];
        xca_backward(shape, &tape.qkv, &p[self.temperature.clone()], &tape.saved, u, wide, taus);
        tokens(u);
        wide.truncate(tape.qkv.len());
        self.qkv.backward_params(u, wide, true, grads);
        self.qkv.backward_input(p, wide, false, du);
    }
}
