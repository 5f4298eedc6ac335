//! Cross-covariance attention (El-Nouby et al. 2021, eq. 2) on the buffer of q, k and v as the projection leaves it.
//!
//! For each image and head, with q, k, v of N × d (rows 3·D apart): S = (qᵀk) / (|qᵢ||kⱼ|), norms over the tokens; A = softmax(τ·S) over j;
//! out = v·Aᵀ. q and k are never normalised in memory: their norms scale the d × d matrix. Kept: Sᵀ, Aᵀ, 1/|q|, 1/|k|. Transposed, so that
//! softmax and its way back go down the columns: all rows of A at once, a vector of them for each j.
//!
//! Share of a step (`small_12_p8`, by `flow bench dino-step`): 2.8 %, with what goes by Gram matrices (`model::cpu::xca_gram`).

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::fold_pairs;
use super::level::{mul_add, vectorised};
use super::matmul::{Matrix, Shared};
use super::narrow::narrow;
use super::pointwise::exp;
use super::qkv::Shape;
use super::transpose::transpose;

/// What forward keeps for one (image, head).
#[derive(Clone, Default)]
pub struct Head {
    /// Sᵀ, d × d.
    cosine: Vec<f32>,
    /// Aᵀ, d × d.
    pub attention: Vec<f32>,
    /// 1/|qᵢ| and 1/|kⱼ|.
    rq: Vec<f32>,
    rk: Vec<f32>,
}

impl Head {
    /// Makes A from kᵀq (d × d), which `product` writes over zeros, and the squares |q|² and |k|² of each channel.
    pub fn attend(&mut self, product: impl FnOnce(&mut [f32]), squares: [Vec<f32>; 2], tau: f32) {
        let d = squares[0].len();
        self.cosine.clear();
        self.cosine.resize(d * d, 0.0);
        self.attention.resize(d * d, 0.0);
        product(&mut self.cosine);
        [self.rq, self.rk] = squares.map(|squares| squares.into_iter().map(|s| 1.0 / s.max(0.0).sqrt().max(EPS)).collect());
        soften(&mut self.cosine, &self.rq, &self.rk, tau, &mut self.attention);
    }

    /// Turns dAᵀ into the gradient of kᵀq. What points along q and k themselves is taken out again, for they went through their norms: returns
    /// by how much, for dq = k·(grad) - q ∘ pull, dk = q·(grad)ᵀ - k ∘ pull; and the gradient of τ.
    pub fn back(&self, grad: &mut [f32], tau: f32) -> ([Vec<f32>; 2], f32) {
        let (mut along_q, mut along_k) = (vec![0.0; self.rq.len()], vec![0.0; self.rk.len()]);
        let kept = (&self.attention[..], &self.cosine[..]);
        let d_tau = soften_backward(grad, kept, (&self.rq, &self.rk), tau, &mut along_q, &mut along_k);
        for (along, r) in [(&mut along_q, &self.rq), (&mut along_k, &self.rk)] {
            along.iter_mut().zip(r).for_each(|(along, r)| *along = *along * r * r);
        }
        ([along_q, along_k], d_tau)
    }
}

/// What forward keeps.
#[derive(Default)]
pub struct Saved {
    heads: Vec<Head>,
}

/// Norms below this count as this (PyTorch's `normalize`).
const EPS: f32 = 1e-12;

/// Returns |column|² of q or k.
fn squares(shape: Shape, qkv: &[f32], index: usize, which: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; shape.head_dim()];
    add_squares(&qkv[shape.start(index, which)..], 3 * shape.dim, shape.tokens, &mut sums);
    sums
}

/// out (B·N × D) from qkv (B·N × 3D); `temperature` holds τ of each head.
pub fn forward(shape: Shape, qkv: &[f32], temperature: &[f32], saved: &mut Saved, out: &mut Vec<f32>) {
    let _timer = timed(Group::Attention);
    let d = shape.head_dim();
    out.resize(shape.batch * shape.tokens * shape.dim, 0.0);
    saved.heads.resize(shape.batch * shape.heads, Head::default());
    let target = Shared::new(out);
    saved.heads.par_iter_mut().enumerate().for_each(|(index, head)| {
        let [q, k, v] = [0, 1, 2].map(|which| shape.part(qkv, index, which));
        // SAFETY: nobody else has it.
        let product = |out: &mut [f32]| unsafe { narrow(k.t(), q, &Shared::new(out), 0, d, None) };
        head.attend(product, [0, 1].map(|which| squares(shape, qkv, index, which)), temperature[index % shape.heads]);
        // SAFETY: each (image, head) has columns of its own.
        unsafe { narrow(v, Matrix::new(&head.attention, d, d), &target, shape.out_start(index), shape.dim, None) };
    });
}

vectorised! {
    /// Adds to each column the squares of its numbers in so many rows.
    fn add_squares(values: &[f32], stride: usize, rows: usize, sums: &mut [f32]) {
        for row in values.chunks(stride).take(rows) {
            sums.iter_mut().zip(row).for_each(|(s, x)| *s = mul_add::<FUSED>(*x, *x, *s));
        }
    }
}

vectorised! {
    /// kᵀq becomes Sᵀ, and out Aᵀ.
    fn soften(products: &mut [f32], rq: &[f32], rk: &[f32], tau: f32, out: &mut [f32]) {
        let d = rq.len();
        let (mut largest, mut sum) = (vec![f32::NEG_INFINITY; d], vec![0.0f32; d]);
        for (row, rk) in products.chunks_exact_mut(d).zip(rk) {
            for ((s, rq), largest) in row.iter_mut().zip(rq).zip(&mut largest) {
                *s *= rq * rk;
                let logit = *s * tau;
                *largest = if logit > *largest { logit } else { *largest };
            }
        }
        for (row, out) in products.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            for (((s, out), largest), sum) in row.iter().zip(out).zip(&largest).zip(&mut sum) {
                *out = exp::<FUSED>(mul_add::<FUSED>(*s, tau, -largest));
                *sum += *out;
            }
        }
        sum.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
        out.chunks_exact_mut(d).for_each(|out| out.iter_mut().zip(&sum).for_each(|(out, sum)| *out *= sum));
    }
}

vectorised! {
    /// Turns dAᵀ into that of kᵀq, and returns that of τ. Writes how far the gradients of q and k point along q and k themselves.
    fn soften_backward(grad: &mut [f32], kept: (&[f32], &[f32]), norms: (&[f32], &[f32]), tau: f32, along_q: &mut [f32], along_k: &mut [f32]) -> f32 {
        let ((attention, cosine), (rq, rk)) = (kept, norms);
        let d = rq.len();
        let mut mean = vec![0.0f32; d];
        for (g, a) in grad.chunks_exact(d).zip(attention.chunks_exact(d)) {
            mean.iter_mut().zip(g).zip(a).for_each(|((mean, g), a)| *mean = mul_add::<FUSED>(*g, *a, *mean));
        }
        let rows = grad.chunks_exact_mut(d).zip(attention.chunks_exact(d)).zip(cosine.chunks_exact(d));
        for (((g, a), s), (rk, along_k)) in rows.zip(rk.iter().zip(along_k)) {
            for (((g, a), mean), (s, along_q)) in g.iter_mut().zip(a).zip(&mean).zip(s.iter().zip(&mut *along_q)) {
                *g = a * (*g - mean);
                *along_q = mul_add::<FUSED>(*g, *s, *along_q);
            }
            *along_k = tau * fold_pairs(g, s, |sum, g, s| mul_add::<FUSED>(g, s, sum));
            let scale = tau * rk;
            g.iter_mut().zip(rq).for_each(|(g, rq)| *g *= scale * rq);
        }
        let of_tau = along_q.iter().sum();
        along_q.iter_mut().for_each(|along| *along *= tau);
        of_tau
    }
}

/// The gradient of qkv from that of out; those of the temperatures are added to `d_temperature`.
pub fn backward(
    shape: Shape,
    qkv: &[f32],
    temperature: &[f32],
    saved: &Saved,
    d_out: &[f32],
    d_qkv: &mut Vec<f32>,
    d_temperature: &mut [f32],
) {
    let _timer = timed(Group::Attention);
    let (d, apart) = (shape.head_dim(), 3 * shape.dim);
    d_qkv.resize(qkv.len(), 0.0);
    let target = Shared::new(d_qkv);
    let taus: Vec<f32> = saved
        .heads
        .par_iter()
        .enumerate()
        .map(|(index, head)| {
            let [q, k, v] = [0, 1, 2].map(|which| shape.part(qkv, index, which));
            let [to_q, to_k, to_v] = [0, 1, 2].map(|which| shape.start(index, which));
            let d_out = Matrix::strided(&d_out[shape.out_start(index)..], shape.tokens, d, shape.dim, 1);
            let (mut grad, mut turned) = (vec![0.0; d * d], vec![0.0; d * d]);
            transpose(&head.attention, d, d, &mut turned);
            // SAFETY, here and below: each (image, head) has columns of its own.
            unsafe { narrow(d_out, Matrix::new(&turned, d, d), &target, to_v, apart, None) };
            unsafe { narrow(v.t(), d_out, &Shared::new(&mut grad), 0, d, None) };
            let ([pull_q, pull_k], d_tau) = head.back(&mut grad, temperature[index % shape.heads]);
            transpose(&grad, d, d, &mut turned);
            for (x, pull, other, product, to) in [(q, &pull_q, k, &grad, to_q), (k, &pull_k, q, &turned, to_k)] {
                unsafe { narrow(other, Matrix::new(product, d, d), &target, to, apart, Some((x, pull))) };
            }
            d_tau
        })
        .collect();
    taus.iter().enumerate().for_each(|(index, tau)| d_temperature[index % shape.heads] += tau);
}
