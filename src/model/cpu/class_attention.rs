//! A class-attention block (Touvron et al. 2021, CaiT, as XCiT changed it): only the class token asks, and the patch tokens change too.
//!
//! u = LN1 x; c = attention(q of u[0]; k, v of all u)·Wᵀ + b; x += γ1·(c, u[1..]); x = LN2 x (all tokens, or the class token alone);
//! x[0] += γ2·MLP(x[0]); x[1..] is doubled: a quirk of the published code that the weights expect.

use std::ops::Range;

use rayon::prelude::*;

use super::linear::{Linear, Norm};
use crate::kernel::{LayerNorm, affine, exp, gelu, gelu_backward, layer_norm, layer_norm_backward};
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
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Softmax rows of the class token: (image, head, token).
    pub attention: Vec<f32>,
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

    /// Changes x (images × `tokens` × D, class token first) in place.
    pub fn forward(&self, p: &[f32], tokens: usize, x: &mut [f32], tape: &mut ClassTape, u: &mut Vec<f32>) {
        let d = self.dim;
        layer_norm(x, d, &mut tape.ln1);
        let (w, b) = self.norm1.values(p);
        affine(&tape.ln1.normalised, w, b, u);
        self.q.forward(p, &class_rows(u, tokens, d), &mut tape.q);
        self.k.forward(p, u, &mut tape.k);
        self.v.forward(p, u, &mut tape.v);
        self.attend(tokens, tape);
        self.proj.forward(p, &tape.context, &mut tape.projected);
        let gamma = &p[self.gamma1.clone()];
        let images = x.par_chunks_exact_mut(tokens * d).zip(u.par_chunks_exact(tokens * d)).zip(tape.projected.par_chunks_exact(d));
        images.for_each(|((x, u), c)| {
            for (n, (x, u)) in x.chunks_exact_mut(d).zip(u.chunks_exact(d)).enumerate() {
                let y = if n == 0 { c } else { u };
                x.iter_mut().zip(y).zip(gamma).for_each(|((x, y), g)| *x += g * y);
            }
        });

        let (w, b) = self.norm2.values(p);
        if self.tokens_norm {
            layer_norm(x, d, &mut tape.ln2);
            affine(&tape.ln2.normalised, w, b, u);
            x.copy_from_slice(u);
            tape.class = class_rows(x, tokens, d);
        } else {
            layer_norm(&class_rows(x, tokens, d), d, &mut tape.ln2);
            affine(&tape.ln2.normalised, w, b, &mut tape.class);
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

    /// Softmax over the tokens of (q·k)/√d, and the sum of v so weighted, for each image and head.
    fn attend(&self, tokens: usize, tape: &mut ClassTape) {
        let (d, h) = (self.dim, self.dim / self.heads);
        let images = tape.q.len() / d;
        let scale = 1.0 / (h as f32).sqrt();
        tape.attention.resize(images * self.heads * tokens, 0.0);
        tape.context.resize(images * d, 0.0);
        let heads = tape.attention.par_chunks_exact_mut(tokens).zip(tape.context.par_chunks_exact_mut(h)).enumerate();
        heads.for_each(|(index, (weights, context))| {
            let (image, head) = (index / self.heads, index % self.heads);
            let q = &tape.q[image * d + head * h..][..h];
            let row = |n: usize| (image * tokens + n) * d + head * h..(image * tokens + n) * d + (head + 1) * h;
            for (n, weight) in weights.iter_mut().enumerate() {
                *weight = scale * q.iter().zip(&tape.k[row(n)]).map(|(q, k)| q * k).sum::<f32>();
            }
            let max = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            weights.iter_mut().for_each(|w| *w = exp(*w - max));
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            context.fill(0.0);
            for (n, weight) in weights.iter().enumerate() {
                context.iter_mut().zip(&tape.v[row(n)]).for_each(|(c, v)| *c += weight * v);
            }
        });
    }

    /// Turns the gradient `d` of the tokens behind the block into that before it, in place, and adds the parameters' gradients.
    pub fn backward(&self, p: &[f32], tokens: usize, tape: &ClassTape, grad: &mut Vec<f32>, grads: &mut [f32], u: &mut Vec<f32>) {
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
            let mut before = vec![0.0; grad.len()];
            self.norm2.add(layer_norm_backward(grad, &tape.ln2, w, &mut before), grads);
            *grad = before;
        } else {
            let mut before = vec![0.0; class.len()];
            self.norm2.add(layer_norm_backward(&class, &tape.ln2, w, &mut before), grads);
            set_class_rows(grad, tokens, d, &before);
        }
        self.backward_attention(p, tokens, tape, grad, grads, u);
    }

    fn backward_attention(&self, p: &[f32], tokens: usize, tape: &ClassTape, grad: &mut [f32], grads: &mut [f32], u: &mut Vec<f32>) {
        let d = self.dim;
        let (w, b) = self.norm1.values(p);
        affine(&tape.ln1.normalised, w, b, u);
        let gamma = &p[self.gamma1.clone()];
        // du starts as what the residual takes from u; the class token's place is taken by the attention.
        let mut du = grad.to_vec();
        let mut dc = class_rows(grad, tokens, d);
        let mut d_gamma = vec![0.0; d];
        crate::kernel::column_sums(du.len() / d, d, &mut d_gamma, |range, partial| {
            for row in range {
                let at = row * d..(row + 1) * d;
                let y = if row % tokens == 0 { &tape.projected[row / tokens * d..][..d] } else { &u[at.clone()] };
                partial.iter_mut().zip(&grad[at]).zip(y).for_each(|((s, g), y)| *s += g * y);
            }
        });
        grads[self.gamma1.clone()].iter_mut().zip(&d_gamma).for_each(|(g, d)| *g += d);
        du.par_chunks_exact_mut(tokens * d).for_each(|image| {
            image[..d].fill(0.0);
            image[d..].chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(gamma).for_each(|(x, g)| *x *= g));
        });
        dc.chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(gamma).for_each(|(x, g)| *x *= g));

        self.proj.backward_params(&tape.context, &dc, true, grads);
        let mut d_context = Vec::new();
        self.proj.backward_input(p, &dc, false, &mut d_context);
        let (dq, dk, dv) = self.backward_attend(tokens, tape, &d_context);
        self.k.backward_params(u, &dk, true, grads);
        self.k.backward_input(p, &dk, true, &mut du);
        self.v.backward_params(u, &dv, true, grads);
        self.v.backward_input(p, &dv, true, &mut du);
        self.q.backward_params(&class_rows(u, tokens, d), &dq, true, grads);
        let mut d_class = class_rows(&du, tokens, d);
        self.q.backward_input(p, &dq, true, &mut d_class);
        set_class_rows(&mut du, tokens, d, &d_class);
        self.norm1.add(layer_norm_backward(&du, &tape.ln1, w, grad), grads);
    }

    /// The gradients of q, k and v from that of the context.
    fn backward_attend(&self, tokens: usize, tape: &ClassTape, d_context: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (d, h) = (self.dim, self.dim / self.heads);
        let scale = 1.0 / (h as f32).sqrt();
        let (mut dq, mut dk, mut dv) = (vec![0.0; tape.q.len()], vec![0.0; tape.k.len()], vec![0.0; tape.v.len()]);
        let images = dk.par_chunks_exact_mut(tokens * d).zip(dv.par_chunks_exact_mut(tokens * d)).zip(dq.par_chunks_exact_mut(d));
        images.enumerate().for_each(|(image, ((dk, dv), dq))| {
            let first = image * tokens * d;
            for head in 0..self.heads {
                let part = head * h..(head + 1) * h;
                let weights = &tape.attention[(image * self.heads + head) * tokens..][..tokens];
                let dc = &d_context[image * d..][part.clone()];
                let q = &tape.q[image * d..][part.clone()];
                let at = |n: usize| n * d + part.start..n * d + part.end;
                let rows = |from: &[f32], n: usize| -> f32 { from[first..][at(n)].iter().zip(dc).map(|(v, d)| v * d).sum() };
                let da: Vec<f32> = (0..tokens).map(|n| rows(&tape.v, n)).collect();
                let mean: f32 = da.iter().zip(weights).map(|(a, w)| a * w).sum();
                for n in 0..tokens {
                    dv[at(n)].iter_mut().zip(dc).for_each(|(v, d)| *v = weights[n] * d);
                    let ds = weights[n] * (da[n] - mean) * scale;
                    dk[at(n)].iter_mut().zip(q).for_each(|(k, q)| *k = ds * q);
                    let k = &tape.k[first..][at(n)];
                    dq[part.clone()].iter_mut().zip(k).for_each(|(q, k)| *q += ds * k);
                }
            }
        });
        (dq, dk, dv)
    }
}
