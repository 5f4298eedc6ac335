//! Layer normalisation (Ba et al. 2016) over the channels of each row.
//!
//! y = x̂·w + b with x̂ = (x − mean)·rstd, rstd = 1/√(var + eps). Forward keeps x̂ and rstd; y is made again where it is needed.
//! Share of a step (`small_12_p8`, by `perf`): 3 %.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::{LANES, fold, total};
use super::level::{mul_add, vectorised};
use super::matmul::Shared;
use super::pieces::column_sums;

/// What a layer norm keeps for its backward pass.
#[derive(Default)]
pub struct LayerNorm {
    /// Rows × channels.
    pub normalised: Vec<f32>,
    /// One per row.
    pub rstd: Vec<f32>,
}

const EPS: f32 = 1e-6;

vectorised! {
    /// Normalises rows; keeps x̂ and rstd, or neither where they are empty.
    fn forward_rows(x: &[f32], weight: &[f32], bias: &[f32], normalised: &mut [f32], rstd: &mut [f32], out: &mut [f32]) {
        let columns = weight.len();
        for (row, (x, out)) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)).enumerate() {
            let mean = fold(x, |sum, x| sum + x) / columns as f32;
            let squares = fold(x, |sum, x| mul_add::<FUSED>(x - mean, x - mean, sum));
            let r = 1.0 / (squares / columns as f32 + EPS).sqrt();
            if let Some(kept) = normalised.get_mut(row * columns..(row + 1) * columns) {
                rstd[row] = r;
                for ((((out, kept), x), w), b) in out.iter_mut().zip(kept).zip(x).zip(weight).zip(bias) {
                    *kept = (*x - mean) * r;
                    *out = mul_add::<FUSED>(*kept, *w, *b);
                }
            } else {
                for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                    *out = mul_add::<FUSED>((*x - mean) * r, *w, *b);
                }
            }
        }
    }
}

/// out = y of every row of `x`; what a backward pass needs is kept where `kept` is given.
pub fn layer_norm(x: &[f32], (weight, bias): (&[f32], &[f32]), kept: Option<&mut LayerNorm>, out: &mut Vec<f32>) {
    let _timer = timed(Group::Norms);
    let columns = weight.len();
    out.resize(x.len(), 0.0);
    let block = (16_384 / columns).max(1);
    let blocks = x.par_chunks(block * columns).zip(out.par_chunks_mut(block * columns));
    if let Some(LayerNorm { normalised, rstd }) = kept {
        normalised.resize(x.len(), 0.0);
        rstd.resize(x.len() / columns, 0.0);
        let kept = normalised.par_chunks_mut(block * columns).zip(rstd.par_chunks_mut(block));
        blocks.zip(kept).for_each(|((x, out), (normalised, rstd))| forward_rows(x, weight, bias, normalised, rstd, out));
    } else {
        blocks.for_each(|(x, out)| forward_rows(x, weight, bias, &mut [], &mut [], out));
    }
}

vectorised! {
    fn affine_rows(normalised: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
        for (x, y) in normalised.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = mul_add::<FUSED>(*x, *w, *b);
            }
        }
    }
}

/// out = normalised · weight + bias, channel by channel.
pub fn affine(normalised: &[f32], weight: &[f32], bias: &[f32], out: &mut Vec<f32>) {
    let _timer = timed(Group::Norms);
    out.resize(normalised.len(), 0.0);
    let block = (16_384 / weight.len()).max(1) * weight.len();
    normalised.par_chunks(block).zip(out.par_chunks_mut(block)).for_each(|(x, y)| affine_rows(x, weight, bias, y));
}

vectorised! {
    fn backward_rows(d: &[f32], normalised: &[f32], rstd: &[f32], weight: &[f32], dx: &mut [f32]) {
        let columns = weight.len();
        let rows = d.chunks_exact(columns).zip(normalised.chunks_exact(columns)).zip(dx.chunks_exact_mut(columns)).zip(rstd);
        for (((d, x), out), r) in rows {
            let (mut sums, mut sums_x) = ([0.0f32; LANES], [0.0f32; LANES]);
            let (d_chunks, d_rest) = d.as_chunks::<LANES>();
            let (x_chunks, x_rest) = x.as_chunks::<LANES>();
            let (w_chunks, w_rest) = weight.as_chunks::<LANES>();
            for ((d, x), w) in d_chunks.iter().zip(x_chunks).zip(w_chunks) {
                for l in 0..LANES {
                    let g = d[l] * w[l];
                    sums[l] += g;
                    sums_x[l] = mul_add::<FUSED>(g, x[l], sums_x[l]);
                }
            }
            let (mut last, mut last_x) = (0.0, 0.0);
            for ((d, x), w) in d_rest.iter().zip(x_rest).zip(w_rest) {
                last += d * w;
                last_x = mul_add::<FUSED>(d * w, *x, last_x);
            }
            let (mean, mean_x) = ((total(sums) + last) / columns as f32, (total(sums_x) + last_x) / columns as f32);
            for (((out, d), x), w) in out.iter_mut().zip(d).zip(x).zip(weight) {
                *out = mul_add::<FUSED>(mul_add::<FUSED>(-*x, mean_x, mul_add::<FUSED>(*d, *w, -mean)), *r, *out);
            }
        }
    }
}

vectorised! {
    /// sums[..C] += Σ d, sums[C..] += Σ d·x̂ over the rows.
    pub(super) fn affine_sums(d: &[f32], normalised: &[f32], sums: &mut [f32]) {
        let columns = sums.len() / 2;
        let (sum, sum_x) = sums.split_at_mut(columns);
        for (d, x) in d.chunks_exact(columns).zip(normalised.chunks_exact(columns)) {
            for (((s, sx), d), x) in sum.iter_mut().zip(sum_x.iter_mut()).zip(d).zip(x) {
                *s += *d;
                *sx = mul_add::<FUSED>(*d, *x, *sx);
            }
        }
    }
}

/// Adds the gradient of the input to `dx`, and returns those of weight and bias.
pub fn layer_norm_backward(d: &[f32], saved: &LayerNorm, weight: &[f32], dx: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
    let _timer = timed(Group::Norms);
    let columns = weight.len();
    let block = (16_384 / columns).max(1);
    let (x, target) = (&saved.normalised, Shared::new(dx));
    let mut sums = vec![0.0; 2 * columns];
    // Both while a block is in the inner cache.
    column_sums(d.len() / columns, 2 * columns, &mut sums, |range, partial| {
        for first in range.clone().step_by(block) {
            let rows = first..range.end.min(first + block);
            let at = rows.start * columns..rows.end * columns;
            let (d, x) = (&d[at.clone()], &x[at.clone()]);
            // SAFETY: each range of rows is given to one thread.
            unsafe { target.row(at.start, at.len(), |dx| backward_rows(d, x, &saved.rstd[rows], weight, dx)) };
            affine_sums(d, x, partial);
        }
    });
    let bias = sums[..columns].to_vec();
    sums.drain(..columns);
    (sums, bias)
}
