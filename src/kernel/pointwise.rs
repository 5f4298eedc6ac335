//! Elementwise passes: exp, GELU with its derivative, bias and scale.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::level::vectorised;
use super::pieces::each_row_block;

/// e^x for x in about ±87, relative error below 2e-7 (Cephes' polynomial, split of ln 2 in two).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_3e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// Returns x·Φ(x) and its derivative Φ(x) + x·φ(x) (Hendrycks and Gimpel 2016, the exact form).
///
/// Φ by Abramowitz and Stegun 7.1.26, absolute error below 1e-7 beside the rounding of f32.
#[inline(always)]
fn gelu_one(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let density = exp(-z * z);
    let poly = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    // Half of erfc(z): the tail, from which both sides of Φ follow without cancellation.
    let tail = 0.5 * poly * density;
    let phi = if x >= 0.0 { 1.0 - tail } else { tail };
    (x * phi, phi + x * density * 0.398_942_3)
}

vectorised! {
    fn gelu_rows(values: &mut [f32], slopes: &mut [f32], bias: &[f32]) {
        for (row, slope) in values.chunks_exact_mut(bias.len()).zip(slopes.chunks_exact_mut(bias.len())) {
            for ((x, s), b) in row.iter_mut().zip(slope.iter_mut()).zip(bias) {
                let (y, d) = gelu_one(*x + *b);
                *x = y;
                *s = d;
            }
        }
    }
}

/// values = GELU(values + bias), row by row; `slopes` gets the derivative, which backward needs in place of the input.
pub fn gelu(values: &mut [f32], slopes: &mut [f32], bias: &[f32]) {
    let _timer = timed(Group::Gelu);
    let columns = bias.len();
    let rows = (16_384 / columns).max(1);
    values.par_chunks_mut(rows * columns).zip(slopes.par_chunks_mut(rows * columns)).for_each(|(v, s)| gelu_rows(v, s, bias));
}

vectorised! {
    fn multiply_block(values: &mut [f32], by: &[f32]) {
        values.iter_mut().zip(by).for_each(|(v, b)| *v *= *b);
    }
}

/// values *= by, element by element.
pub fn multiply(values: &mut [f32], by: &[f32]) {
    let _timer = timed(Group::Pointwise);
    values.par_chunks_mut(16_384).zip(by.par_chunks(16_384)).for_each(|(v, b)| multiply_block(v, b));
}

/// The gradient before a GELU from the one behind it: d *= slopes; the sums of the rows are added to `bias_grad`.
pub fn gelu_backward(d: &mut [f32], slopes: &[f32], bias_grad: &mut [f32]) {
    multiply(d, slopes);
    add_column_sums(d, bias_grad);
}

vectorised! {
    fn sum_rows(values: &[f32], sums: &mut [f32]) {
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

/// Every row becomes `row`.
pub fn fill_rows(values: &mut [f32], row: &[f32]) {
    let _timer = timed(Group::Pointwise);
    each_row_block(values, row.len(), |_, block| block.chunks_exact_mut(row.len()).for_each(|r| r.copy_from_slice(row)));
}

vectorised! {
    fn add_row_block(values: &mut [f32], row: &[f32]) {
        for out in values.chunks_exact_mut(row.len()) {
            out.iter_mut().zip(row).for_each(|(v, x)| *v += *x);
        }
    }
}

/// Every row has `row` added.
pub fn add_rows(values: &mut [f32], row: &[f32]) {
    let _timer = timed(Group::Pointwise);
    each_row_block(values, row.len(), |_, block| add_row_block(block, row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place() {
        for i in -8000..8000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}");
        }
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
        }
    }
}
