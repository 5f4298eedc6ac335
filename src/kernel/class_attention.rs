//! Attention of one token to all others (Touvron et al. 2021, CaiT), without making keys and values of the others.
//!
//! For each image and head, with tokens u_n of D channels, keys K·u_n + b and values V·u_n + c: the score of token n is
//! q·(K·u_n + b) = (Kᵀq)·u_n + q·b, whose last part all tokens share, so that softmax takes it out; and
//! Σ a_n (V·u_n + c) = V·(Σ a_n u_n) + c, since Σ a_n = 1. With `asked` = Kᵀq and `pooled` = Σ a_n u_n for every head, tokens are met by
//! H·D numbers instead of D·D: of 2·T·D² operations 2·T·H·D are left, and nothing as large as the tokens is kept.
//!
//! Cost: too little to see in a step; two projections of all tokens were a fortieth of it.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::{fold, largest};
use super::level::vectorised;
use super::matmul::{Matrix, Start, matmul_one};
use super::pointwise::{dot, exp};

/// Sizes of a batch of tokens: images × `tokens` × `dim`, with `heads` askers for each image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Askers {
    pub tokens: usize,
    pub dim: usize,
    pub heads: usize,
}

/// out (H × T) = rows (H × D) · uᵀ (D × T): too few rows for a product, which would gather u first.
fn scores(rows: &[f32], u: &[f32], dim: usize, out: &mut [f32]) {
    let tokens = u.len() / dim;
    for (n, token) in u.chunks_exact(dim).enumerate() {
        for (h, row) in rows.chunks_exact(dim).enumerate() {
            out[h * tokens + n] = dot(row, token);
        }
    }
}

vectorised! {
    fn soften(row: &mut [f32]) {
        let max = largest(row, |x| x);
        row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - max));
        let sum = fold(row, |sum, x| sum + x);
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

/// From u (B·T × D) and `asked` (B·H × D), which holds the scale: `attention` (B·H × T), rows of sum 1, and `pooled` (B·H × D).
pub fn forward(shape: Askers, u: &[f32], asked: &[f32], attention: &mut Vec<f32>, pooled: &mut Vec<f32>) {
    let _timer = timed(Group::Attention);
    let Askers { tokens, dim, heads } = shape;
    attention.resize(asked.len() / dim * tokens, 0.0);
    pooled.resize(asked.len(), 0.0);
    let outs = attention.par_chunks_exact_mut(heads * tokens).zip(pooled.par_chunks_exact_mut(heads * dim));
    outs.zip(u.par_chunks_exact(tokens * dim)).zip(asked.par_chunks_exact(heads * dim)).for_each(|(((weights, pooled), u), asked)| {
        scores(asked, u, dim, weights);
        weights.chunks_exact_mut(tokens).for_each(soften);
        matmul_one(Matrix::new(weights, heads, tokens), Matrix::new(u, tokens, dim), pooled, dim, Start::Nothing);
    });
}

/// From the gradient of `pooled`: that of `asked`, and what is added to that of u.
pub fn backward(shape: Askers, u: &[f32], asked: &[f32], attention: &[f32], d_pooled: &[f32], d_asked: &mut Vec<f32>, du: &mut [f32]) {
    let _timer = timed(Group::Attention);
    let Askers { tokens, dim, heads } = shape;
    d_asked.resize(asked.len(), 0.0);
    let targets =
        du.par_chunks_exact_mut(tokens * dim).zip(d_asked.par_chunks_exact_mut(heads * dim)).zip(u.par_chunks_exact(tokens * dim));
    let given =
        asked.par_chunks_exact(heads * dim).zip(attention.par_chunks_exact(heads * tokens)).zip(d_pooled.par_chunks_exact(heads * dim));
    targets.zip(given).for_each(|(((du, d_asked), u), ((asked, weights), d_pooled))| {
        // u_n gains Σ_h a_hn d_pooled_h + Σ_h ds_hn asked_h: one product over 2 H.
        let mut factors = [weights, &vec![0.0; weights.len()]].concat();
        let (_, ds) = factors.split_at_mut(weights.len());
        scores(d_pooled, u, dim, ds);
        for (ds, weights) in ds.chunks_exact_mut(tokens).zip(weights.chunks_exact(tokens)) {
            let mean = dot(ds, weights);
            ds.iter_mut().zip(weights).for_each(|(d, w)| *d = w * (*d - mean));
        }
        matmul_one(Matrix::new(ds, heads, tokens), Matrix::new(u, tokens, dim), d_asked, dim, Start::Nothing);
        let rows = [d_pooled, asked].concat();
        matmul_one(Matrix::new(&factors, 2 * heads, tokens).t(), Matrix::new(&rows, 2 * heads, dim), du, dim, Start::Target);
    });
}
