//! Elementwise passes: exp, GELU with its derivative, bias and scale.
//!
//! Shares of a step (`small_12_p8`, by `flow bench dino-step`): GELU 3 %, the others 1.7 %.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::fold_pairs;
use super::level::{mul_add, vectorised};
use super::pieces::PIECES;

/// e^x for x in about ±87, relative error below 2e-7 (Cephes' polynomial, split of ln 2 in two).
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // 1.5 · 2^23 rounds to a whole number n, and leaves it in the lowest bits: a cast would be done lane by lane.
    let shifted = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = mul_add::<FUSED>(n, 2.121_944_4e-4, mul_add::<FUSED>(n, -0.693_359_4, x));
    let p = 1.987_569_1e-4_f32;
    let p = mul_add::<FUSED>(p, r, 1.398_2e-3);
    let p = mul_add::<FUSED>(p, r, 8.333_452e-3);
    let p = mul_add::<FUSED>(p, r, 4.166_579_6e-2);
    let p = mul_add::<FUSED>(p, r, 1.666_666_5e-1);
    let p = mul_add::<FUSED>(p, r, 5.000_000_3e-1);
    let p = mul_add::<FUSED>(p, r * r, r) + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// Returns x·Φ(x) and its derivative Φ(x) + x·φ(x) (Hendrycks and Gimpel 2016, the exact form).
///
/// Φ by Abramowitz and Stegun 7.1.26, absolute error below 1e-7 beside the rounding of f32.
#[inline(always)]
fn gelu_one<const FUSED: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / mul_add::<FUSED>(z, 0.327_591_1, 1.0);
    let density = exp::<FUSED>(-z * z);
    // The formula's numbers halved, for half of erfc(z): the tail, from which both sides of Φ follow without cancellation.
    let p = mul_add::<FUSED>(0.530_702_7, t, -0.726_576);
    let p = mul_add::<FUSED>(p, t, 0.710_706_9);
    let p = mul_add::<FUSED>(p, t, -0.142_248_37);
    let p = mul_add::<FUSED>(p, t, 0.127_414_8);
    let tail = p * t * density;
    let phi = if x >= 0.0 { 1.0 - tail } else { tail };
    (x * phi, mul_add::<FUSED>(x * density, 0.398_942_3, phi))
}

vectorised! {
    fn gelu_rows(values: &mut [f32], slopes: &mut [f32], bias: &[f32]) {
        for (row, slope) in values.chunks_exact_mut(bias.len()).zip(slopes.chunks_exact_mut(bias.len())) {
            for ((x, s), b) in row.iter_mut().zip(slope.iter_mut()).zip(bias) {
                let (y, d) = gelu_one::<FUSED>(*x + *b);
                *x = y;
                *s = d;
            }
        }
    }
}

vectorised! {
    fn gelu_rows_only(values: &mut [f32], bias: &[f32]) {
        for row in values.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x = gelu_one::<FUSED>(*x + *b).0);
        }
    }
}

/// values = GELU(values + bias), row by row, where no backward pass follows.
pub fn gelu_only(values: &mut [f32], bias: &[f32]) {
    let _timer = timed(Group::Gelu);
    let rows = (16_384 / bias.len()).max(1);
    values.par_chunks_mut(rows * bias.len()).for_each(|v| gelu_rows_only(v, bias));
}

/// values = GELU(values + bias), row by row; `slopes` gets the derivative, which backward needs in place of the input.
pub fn gelu(values: &mut [f32], slopes: &mut [f32], bias: &[f32]) {
    let _timer = timed(Group::Gelu);
    let columns = bias.len();
    let rows = (16_384 / columns).max(1);
    values.par_chunks_mut(rows * columns).zip(slopes.par_chunks_mut(rows * columns)).for_each(|(v, s)| gelu_rows(v, s, bias));
}

vectorised! {
    /// values *= by, on this thread alone.
    pub fn multiply_one(values: &mut [f32], by: &[f32]) {
        values.iter_mut().zip(by).for_each(|(v, b)| *v *= *b);
    }
}

/// values *= by, element by element.
pub fn multiply(values: &mut [f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    values.par_chunks_mut(16_384).zip(by.par_chunks(16_384)).for_each(|(v, b)| multiply_one(v, b));
}

vectorised! {
    fn multiply_and_sum_rows(d: &mut [f32], slopes: &[f32], sums: &mut [f32]) {
        for (row, slope) in d.chunks_exact_mut(sums.len()).zip(slopes.chunks_exact(sums.len())) {
            for ((d, s), sum) in row.iter_mut().zip(slope).zip(sums.iter_mut()) {
                *d *= *s;
                *sum += *d;
            }
        }
    }
}

/// The gradient before a GELU from the one behind it: d *= slopes; the sums of the rows are added to `bias_grad`.
pub fn gelu_backward(d: &mut [f32], slopes: &[f32], bias_grad: &mut [f32]) {
    let _timer = timed(Group::Gelu);
    let columns = bias_grad.len();
    let length = (d.len() / columns).div_ceil(PIECES).max(1) * columns;
    let pieces = d.par_chunks_mut(length).zip(slopes.par_chunks(length)).map(|(d, slopes)| {
        let mut sums = vec![0.0; columns];
        multiply_and_sum_rows(d, slopes, &mut sums);
        sums
    });
    for sums in pieces.collect::<Vec<_>>() {
        bias_grad.iter_mut().zip(sums).for_each(|(grad, sum)| *grad += sum);
    }
}

vectorised! {
    /// sums += the sum of all rows, on this thread alone.
    pub fn sum_rows(values: &[f32], sums: &mut [f32]) {
        for row in values.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(s, x)| *s += *x);
        }
    }
}

/// sums += the sum of all rows.
pub fn add_column_sums(values: &[f32], sums: &mut [f32]) {
    let _timer = timed(Group::Pointwise);
    let columns = sums.len();
    super::column_sums(values.len() / columns, columns, sums, |range, partial| {
        sum_rows(&values[range.start * columns..range.end * columns], partial);
    });
}

vectorised! {
    fn scale(values: &mut [f32], by: f32) {
        values.iter_mut().for_each(|v| *v *= by);
    }
}

vectorised! {
    fn scaled(values: &mut [f32], others: &[f32], by: f32) {
        values.iter_mut().zip(others).for_each(|(v, x)| *v = by * *x);
    }
}

vectorised! {
    /// values += by · others, on this thread alone.
    pub fn add_scaled(values: &mut [f32], others: &[f32], by: f32) {
        values.iter_mut().zip(others).for_each(|(v, x)| *v = mul_add::<FUSED>(by, *x, *v));
    }
}

vectorised! {
    /// Returns the scalar product, on this thread alone.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        fold_pairs(a, b, |sum, x, y| mul_add::<FUSED>(x, y, sum))
    }
}

/// Row r is multiplied by by[r].
pub fn scale_rows(values: &mut [f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    let columns = values.len() / by.len();
    values.par_chunks_mut(columns).zip(by).with_min_len(16).for_each(|(row, by)| scale(row, *by));
}

/// values = others, of which row r is multiplied by by[r].
pub fn scaled_rows(values: &mut [f32], others: &[f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    let columns = values.len() / by.len();
    let rows = values.par_chunks_mut(columns).zip(others.par_chunks(columns)).zip(by);
    rows.with_min_len(16).for_each(|((row, other), by)| scaled(row, other, *by));
}

/// values += others, of which row r is multiplied by by[r].
pub fn add_scaled_rows(values: &mut [f32], others: &[f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    let columns = values.len() / by.len();
    let rows = values.par_chunks_mut(columns).zip(others.par_chunks(columns)).zip(by);
    rows.with_min_len(16).for_each(|((row, other), by)| add_scaled(row, other, *by));
}

vectorised! {
    fn scaled_columns(values: &mut [f32], others: &[f32], by: &[f32]) {
        for (row, other) in values.chunks_exact_mut(by.len()).zip(others.chunks_exact(by.len())) {
            row.iter_mut().zip(other).zip(by).for_each(|((v, x), b)| *v = mul_add::<FUSED>(*b, *x, *v));
        }
    }
}

/// values += others, of which column c is multiplied by by[c].
pub fn add_scaled_columns(values: &mut [f32], others: &[f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    let block = (16_384 / by.len()).max(1) * by.len();
    values.par_chunks_mut(block).zip(others.par_chunks(block)).for_each(|(v, x)| scaled_columns(v, x, by));
}

/// Returns the scalar product of each of `rows` rows of `a` with that of `b`.
pub fn row_dots(a: &[f32], b: &[f32], rows: usize) -> Vec<f32> {
    let _timer = timed(Group::Pointwise);
    let columns = a.len() / rows;
    a.par_chunks(columns).zip(b.par_chunks(columns)).with_min_len(16).map(|(a, b)| dot(a, b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place() {
        for i in -8000..8000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp::<false>(x)) / exact - 1.0).abs() < 2.5e-7, "{x}");
            assert!((f64::from(exp::<true>(x)) / exact - 1.0).abs() < 2.5e-7, "{x}, fused");
        }
    }

    #[test]
    fn passes_over_rows_are_those_of_their_definitions() {
        let a: Vec<f32> = (0..3 * 70).map(|i| i as f32 / 100.0).collect();
        let dots = row_dots(&a, &a, 3);
        for (r, dot) in dots.iter().enumerate() {
            let exact: f64 = a[r * 70..(r + 1) * 70].iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((f64::from(*dot) / exact - 1.0).abs() < 1e-6);
        }
        let mut scaled = a.clone();
        scale_rows(&mut scaled, &[1.0, 2.0, 0.5]);
        let mut added = vec![0.0; a.len()];
        add_scaled_rows(&mut added, &a, &[1.0, 2.0, 0.5]);
        assert!(scaled == added && scaled[70] == 2.0 * a[70] && scaled[209] == 0.5 * a[209]);
        scaled_rows(&mut scaled, &a, &[1.0, 2.0, 0.5]);
        assert!(scaled == added);
        let mut columns = a[..6].to_vec();
        add_scaled_columns(&mut columns, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, -1.0]);
        assert_eq!(columns, [a[0] + 1.0, a[1], a[2] - 3.0, a[3] + 4.0, a[4], a[5] - 6.0]);
    }

    #[test]
    fn gelu_and_its_slope_are_those_of_the_exact_form() {
        // scipy 1.14: x * norm.cdf(x), norm.cdf(x) + x * norm.pdf(x)
        for (x, y, slope) in [
            (-3.0f32, -0.004_049_694, -0.011_945_647),
            (-0.5, -0.154_268_77, 0.132_504_33),
            (0.0, 0.0, 0.5),
            (0.7, 0.530_625_5, 0.976_613_9),
            (4.0, 3.999_873_3, 1.000_503_6),
        ] {
            let (mut value, mut d) = (vec![x - 0.25; 3], vec![0.0; 3]);
            gelu(&mut value, &mut d, &[0.25; 3]);
            assert!((value[1] - y).abs() < 1e-6 && (d[1] - slope).abs() < 1e-6, "{x}: {} {}", value[1], d[1]);
            let mut only = vec![x - 0.25; 3];
            gelu_only(&mut only, &[0.25; 3]);
            assert_eq!(only, value);
        }
    }
}
