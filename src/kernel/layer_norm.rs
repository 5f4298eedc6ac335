//! Layer normalisation (Ba et al. 2016) over the channels of each row.
//!
//! y = x̂·w + b with x̂ = (x − mean)·rstd, rstd = 1/√(var + eps). Forward keeps x̂ and rstd; y is made again where it is needed.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::level::vectorised;
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
    fn forward_rows(x: &[f32], columns: usize, normalised: &mut [f32], rstd: &mut [f32]) {
        for ((x, out), r) in x.chunks_exact(columns).zip(normalised.chunks_exact_mut(columns)).zip(rstd) {
            let mean = sum(x) / columns as f32;
            let mut squares = [0.0f32; 16];
            let (chunks, rest) = x.as_chunks::<16>();
            for chunk in chunks {
                squares.iter_mut().zip(chunk).for_each(|(s, v)| *s += (v - mean) * (v - mean));
            }
            let tail: f32 = rest.iter().map(|v| (v - mean) * (v - mean)).sum();
            let var = (squares.iter().sum::<f32>() + tail) / columns as f32;
            *r = 1.0 / (var + EPS).sqrt();
            out.iter_mut().zip(x).for_each(|(o, v)| *o = (v - mean) * *r);
        }
    }
}

/// Sum in sixteen lanes, so that the compiler may use wide registers.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(s, v)| *s += v);
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Normalises every row of `x` into `saved`.
pub fn layer_norm(x: &[f32], columns: usize, saved: &mut LayerNorm) {
    let _timer = timed(Group::Norms);
    let rows = x.len() / columns;
    saved.normalised.resize(x.len(), 0.0);
    saved.rstd.resize(rows, 0.0);
    let block = (16_384 / columns).max(1);
    let pieces = x.par_chunks(block * columns).zip(saved.normalised.par_chunks_mut(block * columns));
    pieces.zip(saved.rstd.par_chunks_mut(block)).for_each(|((x, out), rstd)| forward_rows(x, columns, out, rstd));
}

vectorised! {
    fn affine_rows(normalised: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
        for (x, y) in normalised.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = *x * *w + *b;
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
            let (mut s, mut sx) = ([0.0f32; 8], [0.0f32; 8]);
            let n = columns / 8 * 8;
            for i in (0..n).step_by(8) {
                for l in 0..8 {
                    let g = d[i + l] * weight[i + l];
                    s[l] += g;
                    sx[l] += g * x[i + l];
                }
            }
            for i in n..columns {
                s[0] += d[i] * weight[i];
                sx[0] += d[i] * weight[i] * x[i];
            }
            let mean = s.iter().sum::<f32>() / columns as f32;
            let mean_x = sx.iter().sum::<f32>() / columns as f32;
            for i in 0..columns {
                out[i] += (d[i] * weight[i] - mean - x[i] * mean_x) * *r;
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
                *sx += *d * *x;
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
