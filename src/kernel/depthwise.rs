//! 3x3 convolution of each channel by itself, zero padding 1, on token-major maps (B, H, W, C).
//!
//! out[y, x, c] = b[c] + Σ w[t, c] · in[y + dy, x + dx, c] over the nine taps t = (dy, dx). The gradient of the input is the same
//! with the taps reversed. Memory-bound: each value is read nine times from the inner cache.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::level::vectorised;
use super::pieces::column_sums;

/// The size of a batch of maps.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

vectorised! {
    /// One row of pixels: `rows` are the input rows above, at and below it; `taps` is 9 × C.
    fn row_forward(rows: &[&[f32]; 3], taps: &[f32], bias: &[f32], zeros: &[f32], out: &mut [f32], add: bool) {
        let c = bias.len();
        let width = out.len() / c;
        let tap = |i: usize| &taps[i * c..(i + 1) * c];
        for x in 0..width {
            let left = |r: usize| if x > 0 { &rows[r][(x - 1) * c..x * c] } else { zeros };
            let mid = |r: usize| &rows[r][x * c..(x + 1) * c];
            let right = |r: usize| if x + 1 < width { &rows[r][(x + 1) * c..(x + 2) * c] } else { zeros };
            let (a0, a1, a2) = (left(0), mid(0), right(0));
            let (b0, b1, b2) = (left(1), mid(1), right(1));
            let (c0, c1, c2) = (left(2), mid(2), right(2));
            let (t0, t1, t2, t3, t4) = (tap(0), tap(1), tap(2), tap(3), tap(4));
            let (t5, t6, t7, t8) = (tap(5), tap(6), tap(7), tap(8));
            let o = &mut out[x * c..(x + 1) * c];
            for i in 0..c {
                let top = a0[i] * t0[i] + a1[i] * t1[i] + a2[i] * t2[i];
                let middle = b0[i] * t3[i] + b1[i] * t4[i] + b2[i] * t5[i];
                let bottom = c0[i] * t6[i] + c1[i] * t7[i] + c2[i] * t8[i];
                let sum = bias[i] + top + middle + bottom;
                o[i] = if add { o[i] + sum } else { sum };
            }
        }
    }
}

vectorised! {
    /// Adds d · input for the nine taps, and d, of one row of pixels to `sums` (10 × C).
    fn row_weights(rows: &[&[f32]; 3], d: &[f32], zeros: &[f32], sums: &mut [f32]) {
        let c = sums.len() / 10;
        let width = d.len() / c;
        for x in 0..width {
            let d = &d[x * c..(x + 1) * c];
            for (r, row) in rows.iter().enumerate() {
                for k in 0..3 {
                    let at = x + k;
                    let input = if at >= 1 && at <= width { &row[(at - 1) * c..at * c] } else { zeros };
                    let sum = &mut sums[(r * 3 + k) * c..(r * 3 + k + 1) * c];
                    for i in 0..c {
                        sum[i] += d[i] * input[i];
                    }
                }
            }
            let sum = &mut sums[9 * c..];
            for i in 0..c {
                sum[i] += d[i];
            }
        }
    }
}

impl Maps {
    fn row_length(self) -> usize {
        self.width * self.channels
    }

    /// Returns the input rows above, at and below row `row` (counted over the batch); `empty` beyond the edges.
    fn around<'a>(self, input: &'a [f32], row: usize, empty: &'a [f32]) -> [&'a [f32]; 3] {
        let length = self.row_length();
        let y = row % self.height;
        let at = |r: usize| &input[r * length..(r + 1) * length];
        [if y > 0 { at(row - 1) } else { empty }, at(row), if y + 1 < self.height { at(row + 1) } else { empty }]
    }
}

/// Convolves; `taps` is 9 × C. With `add` the result is added to `out`; `reverse` takes the taps from the last (the input's gradient).
pub fn depthwise(maps: Maps, input: &[f32], taps: &[f32], bias: &[f32], reverse: bool, add: bool, out: &mut [f32]) {
    let _timer = timed(Group::Depthwise);
    let c = maps.channels;
    let reversed: Vec<f32> =
        if reverse { (0..9).rev().flat_map(|t| taps[t * c..(t + 1) * c].iter().copied()).collect() } else { Vec::new() };
    let taps = if reverse { &reversed } else { taps };
    let zeros = vec![0.0; maps.row_length()];
    out.par_chunks_mut(maps.row_length())
        .enumerate()
        .for_each(|(row, out)| row_forward(&maps.around(input, row, &zeros), taps, bias, &zeros[..c], out, add));
}

/// Returns the gradients of taps and bias (10 × C, bias last).
pub fn depthwise_weights(maps: Maps, input: &[f32], d: &[f32]) -> Vec<f32> {
    let _timer = timed(Group::Depthwise);
    let c = maps.channels;
    let zeros = vec![0.0; maps.row_length()];
    let mut sums = vec![0.0; 10 * c];
    column_sums(maps.batch * maps.height, 10 * c, &mut sums, |range, partial| {
        for row in range {
            let d = &d[row * maps.row_length()..(row + 1) * maps.row_length()];
            row_weights(&maps.around(input, row, &zeros), d, &zeros[..c], partial);
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_that_of_the_definition_and_its_gradients_are_its_transpose() {
        let maps = Maps { batch: 2, height: 3, width: 4, channels: 5 };
        let numbers = |n: usize, k: usize| -> Vec<f32> { (0..n).map(|i| ((i * k + 3) % 17) as f32 / 8.0 - 1.0).collect() };
        let n = 2 * 3 * 4 * 5;
        let (x, taps, bias, d) = (numbers(n, 7), numbers(45, 5), numbers(5, 3), numbers(n, 11));
        let mut y = vec![0.0; n];
        depthwise(maps, &x, &taps, &bias, false, false, &mut y);
        let at = |b: usize, yy: isize, xx: isize, c: usize| match (0..3).contains(&yy) && (0..4).contains(&xx) {
            true => x[((b * 3 + yy as usize) * 4 + xx as usize) * 5 + c],
            false => 0.0,
        };
        let expected: f32 =
            bias[2] + (0..9).map(|t| taps[t * 5 + 2] * at(1, 2 + t as isize / 3 - 1, 3 + t as isize % 3 - 1, 2)).sum::<f32>();
        assert!((y[((3 + 2) * 4 + 3) * 5 + 2] - expected).abs() < 1e-5);

        // <d, conv(x)> = <conv'(d), x> + <bias sums>, and = <tap sums, taps> + <bias sums>.
        let mut dx = vec![0.0; n];
        depthwise(maps, &d, &taps, &[0.0; 5], true, false, &mut dx);
        let sums = depthwise_weights(maps, &x, &d);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let with_bias = dot(&sums[45..], &bias);
        assert!((dot(&d, &y) - dot(&dx, &x) - with_bias).abs() < 1e-3);
        assert!((dot(&d, &y) - dot(&sums[..45], &taps) - with_bias).abs() < 1e-3);
    }
}
