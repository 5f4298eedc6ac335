//! Yeo and Johnson's power transform (Biometrika 87, 2000), its exponent by maximum likelihood, then mean 0 and variance 1.
//!
//! The conventions are those of scikit-learn's `PowerTransformer` on scipy's `yeojohnson_normmax`: the same bounds and the same
//! bounded Brent search, so that features whose likelihood is flat or monotone end at the same exponent.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

/// A feature whose deviation is below this share of the largest counts as constant: the rounding noise of an axis that a rotation left empty.
const EMPTY: f64 = 1e-11;

/// A fitted transform: one exponent, mean and scale per feature.
#[derive(Clone, Debug, PartialEq)]
pub struct YeoJohnson {
    pub lambdas: Array1<f64>,
    /// Mean after the power.
    pub mean: Array1<f64>,
    /// Standard deviation after the power (divisor rows); 1 where there is none.
    pub scale: Array1<f64>,
}

impl YeoJohnson {
    /// Fits each feature by itself. Rows must be finite, and at least one.
    pub fn fit(x: ArrayView2<'_, f64>) -> Self {
        let spreads: Vec<f64> =
            (0..x.ncols()).into_par_iter().map(|column| moments(x.column(column).to_vec().into_iter()).1.sqrt()).collect();
        let empty = EMPTY * spreads.iter().copied().fold(0.0, f64::max);
        let fitted: Vec<[f64; 3]> =
            (0..x.ncols()).into_par_iter().map(|column| fit_feature(x.column(column).to_owned().view(), empty)).collect();
        let part = |i: usize| fitted.iter().map(|f| f[i]).collect();
        Self { lambdas: part(0), mean: part(1), scale: part(2) }
    }

    /// Transforms rows.
    pub fn apply(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut out = x.to_owned();
        out.axis_chunks_iter_mut(ndarray::Axis(0), 256).into_par_iter().for_each(|mut rows| {
            for mut row in rows.rows_mut() {
                for (i, v) in row.iter_mut().enumerate() {
                    *v = (power(*v, self.lambdas[i]) - self.mean[i]) / self.scale[i];
                }
            }
        });
        out
    }
}

/// The power transform of one value.
pub fn power(x: f64, lambda: f64) -> f64 {
    power_of_log(x.abs().ln_1p(), x >= 0.0, lambda)
}

/// The same from log(1 + |x|), which does not change while lambda is sought.
fn power_of_log(log: f64, positive: bool, lambda: f64) -> f64 {
    let lambda = if positive { lambda } else { 2.0 - lambda };
    let magnitude = if lambda.abs() < f64::EPSILON { log } else { (lambda * log).exp_m1() / lambda };
    if positive { magnitude } else { -magnitude }
}

/// Returns lambda, mean and scale of one feature; a deviation of up to `empty` is none.
fn fit_feature(x: ArrayView1<'_, f64>, empty: f64) -> [f64; 3] {
    let (mean, variance) = moments(x.iter().copied());
    if variance.sqrt() <= empty {
        return [1.0, mean, 1.0];
    }
    let lambda = if is_constant(variance, mean, x.len()) { 1.0 } else { most_likely(x) };
    let (mean, variance) = moments(x.iter().map(|&v| power(v, lambda)));
    let scale = if is_constant(variance, mean, x.len()) { 1.0 } else { variance.sqrt() };
    [lambda, mean, scale]
}

/// scikit-learn's test: is the variance no more than rounding makes of equal values?
fn is_constant(variance: f64, mean: f64, n: usize) -> bool {
    let n = n as f64;
    variance <= n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2)
}

/// Mean and variance (divisor n), in two passes.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (sum, n) = values.clone().fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    let mean = sum / n as f64;
    (mean, values.map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64)
}

/// A sum by halves, as numpy's: where the likelihood is flat, the rounding of a plain sum would decide where the search ends.
fn sum(values: &[f64]) -> f64 {
    if values.len() > 128 {
        let (left, right) = values.split_at(values.len() / 2 / 8 * 8);
        return sum(left) + sum(right);
    }
    let mut lanes = [0.0; 8];
    let (some, rest) = values.as_chunks::<8>();
    some.iter().for_each(|eight| lanes.iter_mut().zip(eight).for_each(|(lane, v)| *lane += v));
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, v| sum + v)
}

/// The exponent of the largest likelihood within the bounds that keep the transform finite.
fn most_likely(x: ArrayView1<'_, f64>) -> f64 {
    let logs: Vec<(f64, bool)> = x.iter().map(|&v| (v.abs().ln_1p(), v >= 0.0)).collect();
    let n = logs.len() as f64;
    let signed_logs: f64 = logs.iter().map(|&(log, positive)| if positive { log } else { -log }).sum();
    let mut transformed = vec![0.0; logs.len()];
    let cost = |lambda: f64| {
        for (out, &(log, positive)) in transformed.iter_mut().zip(&logs) {
            *out = power_of_log(log, positive, lambda);
        }
        let mean = sum(&transformed) / n;
        transformed.iter_mut().for_each(|v| *v = (*v - mean).powi(2));
        let variance = sum(&transformed) / n;
        if variance < f64::MIN_POSITIVE { f64::INFINITY } else { n / 2.0 * variance.ln() - (lambda - 1.0) * signed_logs }
    };
    let (low, high) = bounds(x);
    bounded_minimum(cost, low, high, 1.48e-8)
}

/// scipy's bounds: values 20 times as large as any seen can still be transformed, in half the exponent range.
fn bounds(x: ArrayView1<'_, f64>) -> (f64, f64) {
    let largest = x.fold(0.0f64, |m, v| m.max(v.abs()));
    let log = (20.0 * largest).ln_1p();
    let low = (f64::MIN_POSITIVE.ln() - f64::EPSILON.ln()) / 2.0 / log;
    let high = (f64::MAX.ln() + f64::EPSILON.ln()) / 2.0 / log;
    if x.iter().all(|v| *v < 0.0) {
        (2.0 - high, 2.0 - low)
    } else if x.iter().any(|v| *v < 0.0) {
        ((2.0 - high).max(low), (2.0 - low).min(high))
    } else {
        (low, high)
    }
}

/// Brent's bounded minimisation, step by step as scipy's `fminbound` (Forsythe, Malcolm and Moler 1977, `FMIN`).
fn bounded_minimum(mut f: impl FnMut(f64) -> f64, low: f64, high: f64, tolerance: f64) -> f64 {
    let root_epsilon = 2.2e-16f64.sqrt();
    let golden = 0.5 * (3.0 - 5f64.sqrt());
    let (mut a, mut b) = (low, high);
    let mut second = a + golden * (b - a);
    let (mut third, mut best) = (second, second);
    let (mut step, mut previous) = (0.0f64, 0.0f64);
    let mut f_best = f(best);
    let (mut f_second, mut f_third) = (f_best, f_best);
    let mut middle = 0.5 * (a + b);
    let mut tol1 = root_epsilon * best.abs() + tolerance / 3.0;
    let mut tol2 = 2.0 * tol1;
    for _ in 1..500 {
        if (best - middle).abs() <= tol2 - 0.5 * (b - a) {
            break;
        }
        let mut by_golden = true;
        if previous.abs() > tol1 {
            let r = (best - second) * (f_best - f_third);
            let mut q = (best - third) * (f_best - f_second);
            let mut p = (best - third) * q - (best - second) * r;
            q = 2.0 * (q - r);
            if q > 0.0 {
                p = -p;
            }
            q = q.abs();
            let before = previous;
            previous = step;
            if p.abs() < (0.5 * q * before).abs() && p > q * (a - best) && p < q * (b - best) {
                by_golden = false;
                step = p / q;
                let x = best + step;
                if x - a < tol2 || b - x < tol2 {
                    step = tol1 * if middle - best >= 0.0 { 1.0 } else { -1.0 };
                }
            }
        }
        if by_golden {
            previous = if best >= middle { a - best } else { b - best };
            step = golden * previous;
        }
        let x = best + if step >= 0.0 { 1.0 } else { -1.0 } * step.abs().max(tol1);
        let f_x = f(x);
        if f_x <= f_best {
            if x >= best {
                a = best
            } else {
                b = best
            }
            (third, f_third) = (second, f_second);
            (second, f_second) = (best, f_best);
            (best, f_best) = (x, f_x);
        } else {
            if x < best {
                a = x
            } else {
                b = x
            }
            if f_x <= f_second || second == best {
                (third, f_third) = (second, f_second);
                (second, f_second) = (x, f_x);
            } else if f_x <= f_third || third == best || third == second {
                (third, f_third) = (x, f_x);
            }
        }
        middle = 0.5 * (a + b);
        tol1 = root_epsilon * best.abs() + tolerance / 3.0;
        tol2 = 2.0 * tol1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponent_one_is_the_identity_and_two_mirrors_zero() {
        for x in [-3.0, -1e-9, 0.0, 0.25, 40.0] {
            assert!((power(x, 1.0) - x).abs() < 1e-12);
            assert!((power(x, 2.0) + power(-x, 0.0)).abs() < 1e-9);
        }
    }

    #[test]
    fn values_whose_logarithm_is_even_ask_for_the_logarithm() {
        let x: Array1<f64> = (0..400).map(|i| (f64::from(i) / 100.0).exp_m1()).collect();
        let [lambda, _, _] = fit_feature(x.view(), 0.0);
        assert!(lambda.abs() < 0.15, "{lambda}");
    }
}
