//! A class-attention block (Touvron et al. 2021, CaiT, as XCiT changed it): only the class token asks, and the patch tokens change too.
//!
//! u = LN1 x; c = attention(q of u[0]; k, v of all u)·Wᵀ + b; x += γ1·(c, u[1..]); x = LN2 x (all tokens, or the class token alone);
//! x[0] += γ2·MLP(x[0]); x[1..] is doubled: a quirk of the published code that the weights expect.

use std::ops::Range;

use rayon::prelude::*;

use super::block::Scratch;
use super::linear::{Linear, Norm};
use crate::kernel::{
    Askers, LayerNorm, add_column_sums, affine, class_attention_backward, class_attention_forward, gelu, gelu_backward, layer_norm,
    layer_norm_backward,
};
use crate::model::{Layout, XcitSizes};

/// Where a class-attention block's parameters lie.
pub struct ClassBlock {
    norm1: Norm,
    norm2: Norm,
    gamma1: Range<usize>,
    gamma2: Range<usize>,
    q: Linear,
    k: Linear,
    v: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
    dim: usize,
    heads: usize,
    tokens_norm: bool,
}

/// What a class-attention block keeps for its backward pass.
#[derive(Default)]
pub struct ClassTape {
    ln1: LayerNorm,
    /// Scaled by 1/√d.
    q: Vec<f32>,
    /// What q asks of the tokens before their keys are made: (image, head, channel).
    asked: Vec<f32>,
    /// Softmax rows of the class token: (image, head, token).
    pub attention: Vec<f32>,
    /// The tokens so weighted, before their values are made: (image, head, channel).
    pooled: Vec<f32>,
    context: Vec<f32>,
    projected: Vec<f32>,
    ln2: LayerNorm,
    /// The class tokens before the MLP.
    class: Vec<f32>,
    hidden: Vec<f32>,
    hidden_slope: Vec<f32>,
    mlp: Vec<f32>,
}

/// Returns row 0 of each image.
fn class_rows(x: &[f32], tokens: usize, dim: usize) -> Vec<f32> {
    x.chunks_exact(tokens * dim).flat_map(|image| image[..dim].iter().copied()).collect()
}

fn set_class_rows(x: &mut [f32], tokens: usize, dim: usize, rows: &[f32]) {
    x.chunks_exact_mut(tokens * dim).zip(rows.chunks_exact(dim)).for_each(|(image, row)| image[..dim].copy_from_slice(row));
}

impl ClassBlock {
    /// Finds the parameters of class-attention block `i`.
    pub fn find(layout: &Layout, sizes: &XcitSizes, i: usize) -> Self {
        let name = |part: &str| format!("cls_attn_blocks.{i}.{part}");
        let d = sizes.dim;
        let linear = |part: &str, inputs, outputs| Linear::find(layout, &name(part), inputs, outputs);
        Self {
            norm1: Norm::find(layout, &name("norm1")),
            norm2: Norm::find(layout, &name("norm2")),
            gamma1: layout.at(&name("gamma1")),
            gamma2: layout.at(&name("gamma2")),
            q: linear("attn.q", d, d),
            k: linear("attn.k", d, d),
            v: linear("attn.v", d, d),
            proj: linear("attn.proj", d, d),
            fc1: linear("mlp.fc1", d, 4 * d),
            fc2: linear("mlp.fc2", 4 * d, d),
            dim: d,
            heads: sizes.heads,
            tokens_norm: sizes.tokens_norm,
        }
    }

    /// Changes x (images × `tokens` × D, class token first) in place; `u` is room, as long.
    pub fn forward(&self, p: &[f32], tokens: usize, x: &mut Vec<f32>, tape: &mut ClassTape, u: &mut Vec<f32>) {
        let d = self.dim;
        layer_norm(x, self.norm1.values(p), Some(&mut tape.ln1), u);
        self.q.forward(p, &class_rows(u, tokens, d), &mut tape.q);
        let scale = self.scale();
        tape.q.iter_mut().for_each(|q| *q *= scale);
        self.k.heads_input(p, &tape.q, self.heads, &mut tape.asked);
        class_attention_forward(self.askers(tokens), u, &tape.asked, &mut tape.attention, &mut tape.pooled);
        self.v.heads_forward(p, &tape.pooled, self.heads, true, &mut tape.context);
        self.proj.forward(p, &tape.context, &mut tape.projected);
        let gamma = &p[self.gamma1.clone()];
        let images = x.par_chunks_exact_mut(tokens * d).zip(u.par_chunks_exact(tokens * d)).zip(tape.projected.par_chunks_exact(d));
        images.for_each(|((x, u), c)| {
            for (n, (x, u)) in x.chunks_exact_mut(d).zip(u.chunks_exact(d)).enumerate() {
                let y = if n == 0 { c } else { u };
                x.iter_mut().zip(y).zip(gamma).for_each(|((x, y), g)| *x += g * y);
            }
        });

        if self.tokens_norm {
            layer_norm(x, self.norm2.values(p), Some(&mut tape.ln2), u);
            std::mem::swap(x, u);
            tape.class = class_rows(x, tokens, d);
        } else {
            layer_norm(&class_rows(x, tokens, d), self.norm2.values(p), Some(&mut tape.ln2), &mut tape.class);
        }
        self.fc1.forward_without_bias(p, &tape.class, &mut tape.hidden);
        tape.hidden_slope.resize(tape.hidden.len(), 0.0);
        gelu(&mut tape.hidden, &mut tape.hidden_slope, &p[self.fc1.bias.clone()]);
        self.fc2.forward(p, &tape.hidden, &mut tape.mlp);
        let gamma = &p[self.gamma2.clone()];
        let images = x.par_chunks_exact_mut(tokens * d).zip(tape.class.par_chunks_exact(d)).zip(tape.mlp.par_chunks_exact(d));
        images.for_each(|((x, class), m)| {
            let (first, patches) = x.split_at_mut(d);
            first.iter_mut().zip(class).zip(m).zip(gamma).for_each(|(((x, c), m), g)| *x = c + g * m);
            patches.iter_mut().for_each(|x| *x *= 2.0);
        });
    }

    fn askers(&self, tokens: usize) -> Askers {
        Askers { tokens, dim: self.dim, heads: self.heads }
    }

    fn scale(&self) -> f32 {
        1.0 / ((self.dim / self.heads) as f32).sqrt()
    }

    /// Turns the gradient `d` of the tokens behind the block into that before it, in place, and adds the parameters' gradients.
    pub fn backward(&self, p: &[f32], tokens: usize, tape: &ClassTape, grad: &mut Vec<f32>, grads: &mut [f32], scratch: &mut Scratch) {
        let d = self.dim;
        let mut class = class_rows(grad, tokens, d);
        let mut dm = class.clone();
        let gamma = &p[self.gamma2.clone()];
        for (d_row, m_row) in dm.chunks_exact_mut(d).zip(tape.mlp.chunks_exact(d)) {
            for i in 0..d {
                grads[self.gamma2.start + i] += d_row[i] * m_row[i];
                d_row[i] *= gamma[i];
            }
        }
        self.fc2.backward_params(&tape.hidden, &dm, true, grads);
        let mut dh = Vec::new();
        self.fc2.backward_input(p, &dm, false, &mut dh);
        gelu_backward(&mut dh, &tape.hidden_slope, &mut grads[self.fc1.bias.clone()]);
        self.fc1.backward_params(&tape.class, &dh, false, grads);
        self.fc1.backward_input(p, &dh, true, &mut class);
        grad.par_chunks_exact_mut(tokens * d).for_each(|image| image[d..].iter_mut().for_each(|x| *x *= 2.0));

        let (w, _) = self.norm2.values(p);
        if self.tokens_norm {
            set_class_rows(grad, tokens, d, &class);
            let before = &mut scratch.b;
            before.clear();
            before.resize(grad.len(), 0.0);
            self.norm2.add(layer_norm_backward(grad, &tape.ln2, w, before), grads);
            std::mem::swap(grad, before);
        } else {
            let mut before = vec![0.0; class.len()];
            self.norm2.add(layer_norm_backward(&class, &tape.ln2, w, &mut before), grads);
            set_class_rows(grad, tokens, d, &before);
        }
        self.backward_attention(p, tokens, tape, grad, grads, scratch);
    }

    fn backward_attention(&self, p: &[f32], tokens: usize, tape: &ClassTape, grad: &mut [f32], grads: &mut [f32], scratch: &mut Scratch) {
        let d = self.dim;
        let Scratch { a: u, b: du, .. } = scratch;
        let (w, b) = self.norm1.values(p);
        affine(&tape.ln1.normalised, w, b, u);
        let gamma = &p[self.gamma1.clone()];
        let mut dc = class_rows(grad, tokens, d);
        let mut d_gamma = vec![0.0; d];
        crate::kernel::column_sums(grad.len() / d, d, &mut d_gamma, |range, partial| {
            for row in range {
                let at = row * d..(row + 1) * d;
                let y = if row % tokens == 0 { &tape.projected[row / tokens * d..][..d] } else { &u[at.clone()] };
                partial.iter_mut().zip(&grad[at]).zip(y).for_each(|((s, g), y)| *s += g * y);
            }
        });
        grads[self.gamma1.clone()].iter_mut().zip(&d_gamma).for_each(|(g, d)| *g += d);
        // du starts as what the residual takes from u; the class token's place is taken by the attention.
        du.resize(grad.len(), 0.0);
        du.par_chunks_exact_mut(tokens * d).zip(grad.par_chunks_exact(tokens * d)).for_each(|(du, grad)| {
            du[..d].fill(0.0);
            for (du, grad) in du[d..].chunks_exact_mut(d).zip(grad[d..].chunks_exact(d)) {
                du.iter_mut().zip(grad).zip(gamma).for_each(|((du, x), g)| *du = x * g);
            }
        });
        dc.chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(gamma).for_each(|(x, g)| *x *= g));

        self.proj.backward_params(&tape.context, &dc, true, grads);
        let mut d_context = Vec::new();
        self.proj.backward_input(p, &dc, false, &mut d_context);
        add_column_sums(&d_context, &mut grads[self.v.bias.clone()]);
        let (mut d_pooled, mut d_asked, mut dq) = (Vec::new(), Vec::new(), Vec::new());
        self.v.heads_params(&tape.pooled, &d_context, self.heads, grads);
        self.v.heads_input(p, &d_context, self.heads, &mut d_pooled);
        class_attention_backward(self.askers(tokens), u, &tape.asked, &tape.attention, &d_pooled, &mut d_asked, du);
        // The keys' bias moves every score alike: its gradient is 0.
        self.k.heads_params(&d_asked, &tape.q, self.heads, grads);
        self.k.heads_forward(p, &d_asked, self.heads, false, &mut dq);
        let scale = self.scale();
        dq.iter_mut().for_each(|d| *d *= scale);
        self.q.backward_params(&class_rows(u, tokens, d), &dq, true, grads);
        let mut d_class = class_rows(du, tokens, d);
        self.q.backward_input(p, &dq, true, &mut d_class);
        set_class_rows(du, tokens, d, &d_class);
        self.norm1.add(layer_norm_backward(du, &tape.ln1, w, grad), grads);
    }
}
