//! One block of a vision transformer: x += s·γ1·MHSA(LN1 x); x += s·γ2·MLP(LN2 x), with LayerScale γ and drop path's s where there are any.

use super::block::Scratch;
use super::linear::{Linear, Norm, Scaled};
use super::mlp::{Mlp, MlpTape, Purpose, of_branch};
use crate::kernel::{
    AttentionSaved, LayerNorm, QkvShape, affine, attend_row, attention_backward, attention_forward, attention_row, layer_norm,
    layer_norm_backward,
};
use crate::model::{Layout, VitSizes};

/// Where a block's parameters lie.
pub struct VitBlock {
    norm1: Norm,
    qkv: Linear,
    proj: Scaled,
    mlp: Mlp,
}

/// What a block keeps for its backward pass: about 14 numbers per token and channel.
#[derive(Default)]
pub struct VitBlockTape {
    ln1: LayerNorm,
    qkv: Vec<f32>,
    attention: AttentionSaved,
    attended: Vec<f32>,
    mlp: MlpTape,
}

/// What drop path multiplies the images' attention and MLP by; none where all are kept.
pub type Kept<'a> = Option<[&'a [f32]; 2]>;

impl VitBlock {
    /// Finds the parameters of block `i`.
    pub fn find(layout: &Layout, sizes: &VitSizes, i: usize) -> Self {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let d = sizes.dim;
        let linear = |part: &str, inputs, outputs| Linear::find(layout, &name(part), inputs, outputs);
        let gamma = |part: &str| sizes.layer_scale.map(|_| layout.at(&name(part)));
        Self {
            norm1: Norm::find(layout, &name("norm1")),
            qkv: linear("attn.qkv", d, 3 * d),
            proj: Scaled { linear: linear("attn.proj", d, d), gamma: gamma("ls1.gamma") },
            mlp: Mlp::find(layout, &format!("blocks.{i}"), d, gamma("ls2.gamma")),
        }
    }

    /// Changes the stream x (B·T × D) in place. With `learn`, a backward pass may follow.
    pub fn forward(
        &self,
        p: &[f32],
        shape: QkvShape,
        learn: bool,
        kept: Kept<'_>,
        x: &mut [f32],
        tape: &mut VitBlockTape,
        scratch: &mut Scratch,
    ) {
        let Scratch { a: u, b: before, .. } = scratch;
        keep(kept, x, before);
        layer_norm(x, self.norm1.values(p), learn.then_some(&mut tape.ln1), u);
        self.qkv.forward(p, u, &mut tape.qkv);
        attention_forward(shape, &tape.qkv, &mut tape.attention, &mut tape.attended);
        match learn {
            true => self.proj.forward(p, &tape.attended, x),
            false => self.proj.forward_few(p, &tape.attended, x, u),
        }
        leave_out(kept.map(|kept| kept[0]), before, x);

        keep(kept, x, before);
        self.mlp.forward(p, if learn { Purpose::Learn } else { Purpose::LookAtFew }, x, &mut tape.mlp, u);
        leave_out(kept.map(|kept| kept[1]), before, x);
    }

    /// Returns the class tokens (B × D) behind the block and leaves out what they do not need: all but k and v of the other tokens, five
    /// sixths of the products. For the last block, where no backward pass follows.
    pub fn forward_class(&self, p: &[f32], shape: QkvShape, x: &[f32], tape: &mut VitBlockTape, scratch: &mut Scratch) -> Vec<f32> {
        let (d, u) = (shape.dim, &mut scratch.a);
        layer_norm(x, self.norm1.values(p), None, u);
        tape.qkv.resize(3 * u.len(), 0.0);
        self.qkv.forward_part(p, u, 1, d..3 * d, &mut tape.qkv);
        self.qkv.forward_part(p, u, shape.tokens, 0..d, &mut tape.qkv);
        let mut class: Vec<f32> = x.chunks_exact(shape.tokens * d).flat_map(|image| image[..d].iter().copied()).collect();
        self.proj.forward_few(p, &attend_row(shape, &tape.qkv), &mut class, u);
        self.mlp.forward(p, Purpose::LookAtFew, &mut class, &mut tape.mlp, u);
        class
    }

    /// Returns how the class token attended in the last forward pass: B × heads × T, each row of sum 1.
    pub fn class_attention(&self, shape: QkvShape, tape: &VitBlockTape) -> Vec<f32> {
        attention_row(shape, &tape.qkv)
    }

    /// Turns the gradient `d` of the stream behind the block into that before it, in place, and adds the parameters' gradients.
    pub fn backward(
        &self,
        p: &[f32],
        shape: QkvShape,
        kept: Kept<'_>,
        tape: &VitBlockTape,
        d: &mut [f32],
        grads: &mut [f32],
        scratch: &mut Scratch,
    ) {
        self.mlp.backward(p, kept.map(|kept| kept[1]), &tape.mlp, d, grads, scratch);
        let Scratch { a: u, b: du, wide, .. } = scratch;
        self.proj.backward(p, &tape.attended, of_branch(kept.map(|kept| kept[0]), d, du), u, grads);
        attention_backward(shape, &tape.qkv, &tape.attention, u, wide);
        let (w, b) = self.norm1.values(p);
        affine(&tape.ln1.normalised, w, b, u);
        self.qkv.backward_params(u, wide, true, grads);
        self.qkv.backward_input(p, wide, false, du);
        self.norm1.add(layer_norm_backward(du, &tape.ln1, w, d), grads);
    }
}

/// Remembers the stream before a branch of which some images may be left out.
fn keep(kept: Kept<'_>, x: &[f32], before: &mut Vec<f32>) {
    if kept.is_some() {
        before.clear();
        before.extend_from_slice(x);
    }
}

/// x = before + s·(x - before), image by image.
fn leave_out(factors: Option<&[f32]>, before: &[f32], x: &mut [f32]) {
    let Some(factors) = factors else { return };
    let image = x.len() / factors.len();
    for ((x, before), factor) in x.chunks_exact_mut(image).zip(before.chunks_exact(image)).zip(factors) {
        x.iter_mut().zip(before).for_each(|(x, b)| *x = b + factor * (*x - b));
    }
}
