//! 3x3 convolution of each channel by itself, zero padding 1, on token-major maps (B, H, W, C).
//!
//! out[y, x, c] = b[c] + Σ w[t, c] · in[y + dy, x + dx, c] over the nine taps t = (dy, dx). The gradient of the input is the same
//! with the taps reversed. Sixteen channels slide along a row of pixels at a time, so that taps, sums and the nine values around a pixel
//! stay in registers.
//! Nothing is kept. Share of a step (`small_12_p8`, by `flow bench dino-step`): 2.4 %.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::level::{mul_add, vectorised};
use super::pieces::column_sums;

/// The size of a batch of maps.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// So many neighbouring channels of one pixel; 0 where the row is not as long.
#[inline(always)]
fn channels<const L: usize>(row: &[f32], at: usize) -> [f32; L] {
    row.get(at..at + L).and_then(|some| some.try_into().ok()).unwrap_or([0.0; L])
}

/// The nine values around a pixel, which slides along a row: each value is loaded once for each of the three rows of pixels that need it.
struct Window<'a, const L: usize> {
    rows: &'a [&'a [f32]; 3],
    /// Columns left of the pixel, at it and right of it, from the top.
    columns: [[[f32; L]; 3]; 3],
    /// Where the column after these starts.
    next: usize,
    step: usize,
}

impl<'a, const L: usize> Window<'a, L> {
    /// Stands before the first pixel of the rows, whose pixels have `step` channels, at channel `first`.
    #[inline(always)]
    fn before(rows: &'a [&'a [f32]; 3], step: usize, first: usize) -> Self {
        let zero = [[0.0; L]; 3];
        Self { rows, columns: [zero, zero, rows.map(|row| channels(row, first))], next: first + step, step }
    }

    #[inline(always)]
    fn slide(&mut self) {
        let right = self.rows.map(|row| channels(row, self.next));
        self.columns = [self.columns[1], self.columns[2], right];
        self.next += self.step;
    }
}

#[inline(always)]
fn forward_block<const L: usize, const FUSED: bool>(
    rows: &[&[f32]; 3],
    taps: &[f32],
    bias: &[f32],
    first: usize,
    out: &mut [f32],
    add: bool,
) {
    let c = bias.len();
    let (taps, bias): ([[f32; L]; 9], [f32; L]) = (std::array::from_fn(|t| channels(taps, t * c + first)), channels(bias, first));
    let mut window = Window::<L>::before(rows, c, first);
    for pixel in out.chunks_exact_mut(c) {
        window.slide();
        let [left, here, right] = &window.columns;
        let sum: [f32; L] = std::array::from_fn(|l| {
            let of = |r: usize, sum: f32| {
                let sum = mul_add::<FUSED>(left[r][l], taps[3 * r][l], sum);
                mul_add::<FUSED>(right[r][l], taps[3 * r + 2][l], mul_add::<FUSED>(here[r][l], taps[3 * r + 1][l], sum))
            };
            of(2, of(1, of(0, bias[l])))
        });
        let out = &mut pixel[first..first + L];
        match add {
            true => out.iter_mut().zip(sum).for_each(|(out, sum)| *out += sum),
            false => out.copy_from_slice(&sum),
        }
    }
}

#[inline(always)]
fn weights_block<const L: usize, const FUSED: bool>(rows: &[&[f32]; 3], d: &[f32], first: usize, sums: &mut [f32]) {
    let c = sums.len() / 10;
    let mut own: [[f32; L]; 10] = std::array::from_fn(|t| channels(sums, t * c + first));
    let mut window = Window::<L>::before(rows, c, first);
    for at in (first..d.len()).step_by(c) {
        window.slide();
        let d: [f32; L] = channels(d, at);
        for r in 0..3 {
            for k in 0..3 {
                for l in 0..L {
                    own[3 * r + k][l] = mul_add::<FUSED>(d[l], window.columns[k][r][l], own[3 * r + k][l]);
                }
            }
        }
        for l in 0..L {
            own[9][l] += d[l];
        }
    }
    for (t, own) in own.iter().enumerate() {
        sums[t * c + first..t * c + first + L].copy_from_slice(own);
    }
}

vectorised! {
    /// One row of pixels: `rows` are the input rows above, at and below it; `taps` is 9 × C.
    fn row_forward(rows: &[&[f32]; 3], taps: &[f32], bias: &[f32], out: &mut [f32], add: bool) {
        let (c, mut first) = (bias.len(), 0);
        while first + 16 <= c {
            forward_block::<16, FUSED>(rows, taps, bias, first, out, add);
            first += 16;
        }
        for first in first..c {
            forward_block::<1, FUSED>(rows, taps, bias, first, out, add);
        }
    }
}

vectorised! {
    /// Adds d · input for the nine taps, and d, of one row of pixels to `sums` (10 × C).
    fn row_weights(rows: &[&[f32]; 3], d: &[f32], sums: &mut [f32]) {
        let (c, mut first) = (sums.len() / 10, 0);
        while first + 16 <= c {
            weights_block::<16, FUSED>(rows, d, first, sums);
            first += 16;
        }
        for first in first..c {
            weights_block::<1, FUSED>(rows, d, first, sums);
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
        .for_each(|(row, out)| row_forward(&maps.around(input, row, &zeros), taps, bias, out, add));
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
            row_weights(&maps.around(input, row, &zeros), d, partial);
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_that_of_the_definition_and_its_gradients_are_its_transpose() {
        // A few channels alone, and some after the sixteens.
        for c in [5, 37] {
            let maps = Maps { batch: 2, height: 3, width: 4, channels: c };
            let numbers = |n: usize, k: usize| -> Vec<f32> { (0..n).map(|i| ((i * k + 3) % 17) as f32 / 8.0 - 1.0).collect() };
            let n = 2 * 3 * 4 * c;
            let (x, taps, bias, d) = (numbers(n, 7), numbers(9 * c, 5), numbers(c, 3), numbers(n, 11));
            let mut y = vec![0.0; n];
            depthwise(maps, &x, &taps, &bias, false, false, &mut y);
            let at = |b: usize, yy: isize, xx: isize, i: usize| match (0..3).contains(&yy) && (0..4).contains(&xx) {
                true => x[((b * 3 + yy as usize) * 4 + xx as usize) * c + i],
                false => 0.0,
            };
            let expected: f32 =
                bias[2] + (0..9).map(|t| taps[t * c + 2] * at(1, 2 + t as isize / 3 - 1, 3 + t as isize % 3 - 1, 2)).sum::<f32>();
            assert!((y[((3 + 2) * 4 + 3) * c + 2] - expected).abs() < 1e-5);

            // <d, conv(x)> = <conv'(d), x> + <bias sums>, and = <tap sums, taps> + <bias sums>.
            let mut dx = vec![0.0; n];
            depthwise(maps, &d, &taps, &vec![0.0; c], true, false, &mut dx);
            let sums = depthwise_weights(maps, &x, &d);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let with_bias = dot(&sums[9 * c..], &bias);
            assert!((dot(&d, &y) - dot(&dx, &x) - with_bias).abs() < 1e-3);
            assert!((dot(&d, &y) - dot(&sums[..9 * c], &taps) - with_bias).abs() < 1e-3);
        }
    }
}
