//! Cross-covariance attention (El-Nouby et al. 2021, eq. 2) on the buffer of q, k and v as the projection leaves it.
//!
//! For each image and head, with q, k, v of N × d (rows 3·D apart): S = (qᵀk) / (|qᵢ||kⱼ|), norms over the tokens; A = softmax(τ·S) over j;
//! out = v·Aᵀ. q and k are never normalised in memory: their norms scale the d × d matrix. Kept: Sᵀ, Aᵀ, 1/|q|, 1/|k|. Transposed, so that
//! softmax and its way back go down the columns: all rows of A at once, a vector of them for each j.
//!
//! Share of a step (`small_12_p8`, by `flow bench dino-step`): 3.5 %, of which its products (`narrow`) are 2.6.

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
struct Head {
    /// Sᵀ, d × d.
    cosine: Vec<f32>,
    /// Aᵀ, d × d.
    attention: Vec<f32>,
    /// 1/|qᵢ| and 1/|kⱼ|.
    rq: Vec<f32>,
    rk: Vec<f32>,
}

/// What forward keeps.
#[derive(Default)]
pub struct Saved {
    heads: Vec<Head>,
}

/// Norms below this count as this (PyTorch's `normalize`).
const EPS: f32 = 1e-12;

/// Returns 1/|column| of q or k.
fn inverse_norms(shape: Shape, qkv: &[f32], index: usize, which: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; shape.head_dim()];
    add_squares(&qkv[shape.start(index, which)..], 3 * shape.dim, shape.tokens, &mut sums);
    sums.into_iter().map(|s| 1.0 / s.sqrt().max(EPS)).collect()
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
        head.cosine.resize(d * d, 0.0);
        head.attention.resize(d * d, 0.0);
        // SAFETY: nobody else has it.
        unsafe { narrow(k.t(), q, &Shared::new(&mut head.cosine), 0, d, None) };
        head.rq = inverse_norms(shape, qkv, index, 0);
        head.rk = inverse_norms(shape, qkv, index, 1);
        soften(&mut head.cosine, &head.rq, &head.rk, temperature[index % shape.heads], &mut head.attention);
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
            let (mut along_q, mut along_k) = (vec![0.0; d], vec![0.0; d]);
            let kept = (&head.attention[..], &head.cosine[..]);
            let tau = temperature[index % shape.heads];
            let d_tau = soften_backward(&mut grad, kept, (&head.rq, &head.rk), tau, &mut along_q, &mut along_k);
            transpose(&grad, d, d, &mut turned);
            for (x, along, r, other, product, to) in [(q, along_q, &head.rq, k, &grad, to_q), (k, along_k, &head.rk, q, &turned, to_k)] {
                // Through the norm: what points along q itself is taken out again.
                let pull: Vec<f32> = along.iter().zip(r).map(|(along, r)| along * r * r).collect();
                unsafe { narrow(other, Matrix::new(product, d, d), &target, to, apart, Some((x, &pull))) };
            }
            d_tau
        })
        .collect();
    taus.iter().enumerate().for_each(|(index, tau)| d_temperature[index % shape.heads] += tau);
}
