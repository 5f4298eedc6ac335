//! Batch normalisation (Ioffe and Szegedy 2015) over all rows, channel by channel.
//!
//! Training: y = x̂·w + b with mean and biased variance of the batch; running statistics move by 0.1 towards the batch's mean and
//! unbiased variance, as PyTorch's. Forward keeps x̂ and rstd.
//! Share of a step (`small_12_p8`, by `perf`): 1 %.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::layer_norm::affine_sums;
use super::level::{mul_add, vectorised};
use super::pieces::column_sums;
use super::pointwise::add_column_sums;

const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// What a batch norm keeps for its backward pass.
#[derive(Default)]
pub struct BatchNorm {
    /// Rows × channels.
    pub normalised: Vec<f32>,
    /// One per channel.
    pub rstd: Vec<f32>,
}

vectorised! {
    fn squares(x: &[f32], mean: &[f32], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            for ((s, v), m) in sums.iter_mut().zip(row).zip(mean) {
                *s = mul_add::<FUSED>(*v - *m, *v - *m, *s);
            }
        }
    }
}

/// What makes y of the numbers of a channel: its mean and rstd, weight and bias.
#[derive(Clone, Copy)]
struct Channels<'a> {
    mean: &'a [f32],
    rstd: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

vectorised! {
    /// x becomes x̂, and out y.
    fn normalise(of: Channels<'_>, x: &mut [f32], out: &mut [f32]) {
        let columns = of.mean.len();
        // Lengths that the compiler knows to be equal.
        let (rstd, weight, bias) = (&of.rstd[..columns], &of.weight[..columns], &of.bias[..columns]);
        for (x, out) in x.chunks_exact_mut(columns).zip(out.chunks_exact_mut(columns)) {
            for i in 0..columns {
                x[i] = (x[i] - of.mean[i]) * rstd[i];
                out[i] = mul_add::<FUSED>(x[i], weight[i], bias[i]);
            }
        }
    }
}

/// As [`normalise`], on all threads.
fn normalise_all(of: Channels<'_>, x: &mut [f32], out: &mut Vec<f32>) {
    out.resize(x.len(), 0.0);
    let block = (16_384 / of.mean.len()).max(1) * of.mean.len();
    x.par_chunks_mut(block).zip(out.par_chunks_mut(block)).for_each(|(x, out)| normalise(of, x, out));
}

/// Normalises the rows in `saved.normalised` in place by their own statistics, and moves the running ones; out = y.
pub fn batch_norm_train(
    saved: &mut BatchNorm,
    (running_mean, running_var): (&mut [f32], &mut [f32]),
    (weight, bias): (&[f32], &[f32]),
    out: &mut Vec<f32>,
) {
    let columns = running_mean.len();
    let rows = saved.normalised.len() / columns;
    let mut mean = vec![0.0; columns];
    add_column_sums(&saved.normalised, &mut mean);
    let _timer = timed(Group::Norms);
    mean.iter_mut().for_each(|m| *m /= rows as f32);
    let mut var = vec![0.0; columns];
    column_sums(rows, columns, &mut var, |range, partial| {
        squares(&saved.normalised[range.start * columns..range.end * columns], &mean, partial);
    });
    saved.rstd = var.iter().map(|v| 1.0 / (v / rows as f32 + EPS).sqrt()).collect();
    // A single row has no unbiased variance; PyTorch refuses it, we leave the running one as it is.
    let unbiased = if rows > 1 { 1.0 / (rows - 1) as f32 } else { f32::NAN };
    for c in 0..columns {
        running_mean[c] += MOMENTUM * (mean[c] - running_mean[c]);
        if rows > 1 {
            running_var[c] += MOMENTUM * (var[c] * unbiased - running_var[c]);
        }
    }
    normalise_all(Channels { mean: &mean, rstd: &saved.rstd, weight, bias }, &mut saved.normalised, out);
}

/// Normalises rows in place by the running statistics; out = y.
pub fn batch_norm_eval(x: &mut [f32], (running_mean, running_var): (&[f32], &[f32]), (weight, bias): (&[f32], &[f32]), out: &mut Vec<f32>) {
    let _timer = timed(Group::Norms);
    let rstd: Vec<f32> = running_var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
    normalise_all(Channels { mean: running_mean, rstd: &rstd, weight, bias }, x, out);
}

vectorised! {
    fn backward_rows(d: &mut [f32], normalised: &[f32], scale: &[f32], shift: &[f32], slope: &[f32]) {
        let columns = scale.len();
        let (shift, slope) = (&shift[..columns], &slope[..columns]);
        for (d, x) in d.chunks_exact_mut(columns).zip(normalised.chunks_exact(columns)) {
            for i in 0..columns {
                d[i] = mul_add::<FUSED>(-x[i], slope[i], mul_add::<FUSED>(d[i], scale[i], -shift[i]));
            }
        }
    }
}

impl BatchNorm {
    /// Turns the gradient of the output into that of the input, in place; returns those of weight and bias.
    pub fn backward(&self, d: &mut [f32], weight: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let _timer = timed(Group::Norms);
        let columns = weight.len();
        let rows = d.len() / columns;
        let mut sums = vec![0.0; 2 * columns];
        column_sums(rows, 2 * columns, &mut sums, |range, partial| {
            let range = range.start * columns..range.end * columns;
            affine_sums(&d[range.clone()], &self.normalised[range], partial);
        });
        let (bias_grad, weight_grad) = sums.split_at(columns);
        let scale: Vec<f32> = weight.iter().zip(&self.rstd).map(|(w, r)| w * r).collect();
        let by_rows = |sums: &[f32]| -> Vec<f32> { scale.iter().zip(sums).map(|(s, x)| s * x / rows as f32).collect() };
        let (shift, slope) = (by_rows(bias_grad), by_rows(weight_grad));
        let size = (16_384 / columns).max(1) * columns;
        d.par_chunks_mut(size).zip(self.normalised.par_chunks(size)).for_each(|(d, x)| backward_rows(d, x, &scale, &shift, &slope));
        (weight_grad.to_vec(), bias_grad.to_vec())
    }
}
