//! Cross-covariance attention (El-Nouby et al. 2021, eq. 2) on the buffer of q, k and v as the projection leaves it.
//!
//! For each image and head, with q, k, v of N × d (rows 3·D apart): S = (qᵀk) / (|qᵢ||kⱼ|), norms over the tokens; A = softmax(τ·S) over j;
//! out = v·Aᵀ. q and k are never normalised in memory: their norms scale the d × d matrix. Kept: S, A, 1/|q|, 1/|k|.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::{fold, largest};
use super::level::{mul_add, vectorised};
use super::matmul::{Matrix, Shared, Start, matmul_one};
use super::pointwise::exp;
use super::qkv::Shape;

/// What forward keeps for one (image, head).
#[derive(Clone, Default)]
struct Head {
    /// S, d × d.
    cosine: Vec<f32>,
    /// A, d × d.
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
        head.cosine.resize(d * d, 0.0);
        matmul_one(shape.part(qkv, index, 0).t(), shape.part(qkv, index, 1), &mut head.cosine, d, Start::Nothing);
        head.rq = inverse_norms(shape, qkv, index, 0);
        head.rk = inverse_norms(shape, qkv, index, 1);
        let tau = temperature[index % shape.heads];
        head.attention.resize(d * d, 0.0);
        soften(&mut head.cosine, &head.rq, &head.rk, tau, &mut head.attention);
        // SAFETY: each (image, head) has columns of its own.
        unsafe {
            target.matmul(
                shape.part(qkv, index, 2),
                Matrix::new(&head.attention, d, d).t(),
                shape.out_start(index),
                shape.dim,
                Start::Nothing,
            )
        };
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
    /// qᵀk becomes S, and out A.
    fn soften(products: &mut [f32], rq: &[f32], rk: &[f32], tau: f32, out: &mut [f32]) {
        let d = rk.len();
        for ((row, rq), out) in products.chunks_exact_mut(d).zip(rq).zip(out.chunks_exact_mut(d)) {
            row.iter_mut().zip(rk).for_each(|(s, rk)| *s *= rq * rk);
            let max = largest(row, |s| s * tau);
            out.iter_mut().zip(&*row).for_each(|(o, s)| *o = exp::<FUSED>(mul_add::<FUSED>(*s, tau, -max)));
            let sum = fold(out, |sum, x| sum + x);
            out.iter_mut().for_each(|o| *o /= sum);
        }
    }
}

vectorised! {
    /// d -= x · pull, number by number.
    fn take_out(d: &mut [f32], x: &[f32], pull: &[f32]) {
        d.iter_mut().zip(x).zip(pull).for_each(|((d, x), p)| *d = mul_add::<FUSED>(-*x, *p, *d));
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
    let d = shape.head_dim();
    d_qkv.resize(qkv.len(), 0.0);
    let target = Shared::new(d_qkv);
    let taus: Vec<f32> = saved
        .heads
        .par_iter()
        .enumerate()
        .map(|(index, head)| {
            let d_out = Matrix::strided(&d_out[shape.out_start(index)..], shape.tokens, d, shape.dim, 1);
            // SAFETY, here and below: each (image, head) has columns of its own.
            unsafe { target.matmul(d_out, Matrix::new(&head.attention, d, d), shape.start(index, 2), 3 * shape.dim, Start::Nothing) };
            // dA, turned in place into d(qᵀk).
            let mut grad = vec![0.0; d * d];
            matmul_one(d_out.t(), shape.part(qkv, index, 2), &mut grad, d, Start::Nothing);
            let tau = temperature[index % shape.heads];
            let mut d_tau = 0.0;
            let (mut along_q, mut along_k) = (vec![0.0; d], vec![0.0; d]);
            for i in 0..d {
                let row = &mut grad[i * d..(i + 1) * d];
                let (a, s) = (&head.attention[i * d..(i + 1) * d], &head.cosine[i * d..(i + 1) * d]);
                let dot: f32 = row.iter().zip(a).map(|(g, a)| g * a).sum();
                for j in 0..d {
                    let d_logit = a[j] * (row[j] - dot);
                    d_tau += d_logit * s[j];
                    let d_cosine = d_logit * tau;
                    along_q[i] += d_cosine * s[j];
                    along_k[j] += d_cosine * s[j];
                    row[j] = d_cosine * head.rq[i] * head.rk[j];
                }
            }
            let grad = Matrix::new(&grad, d, d);
            for (which, other, product, along, r) in [(0, 1, grad.t(), &along_q, &head.rq), (1, 0, grad, &along_k, &head.rk)] {
                // Through the norm: what points along q itself is taken out again.
                let pull: Vec<f32> = along.iter().zip(r).map(|(a, r)| a * r * r).collect();
                let start = shape.start(index, which);
                unsafe { target.matmul(shape.part(qkv, index, other), product, start, 3 * shape.dim, Start::Nothing) };
                for n in 0..shape.tokens {
                    let at = start + n * 3 * shape.dim;
                    unsafe { target.row(at, d, |row| take_out(row, &qkv[at..at + d], &pull)) };
                }
            }
            d_tau
        })
        .collect();
    taus.iter().enumerate().for_each(|(index, tau)| d_temperature[index % shape.heads] += tau);
}
