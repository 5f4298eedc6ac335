//! Yeo and Johnson's power transform (Biometrika 87, 2000), its exponent by maximum likelihood, then mean 0 and variance 1.
//!
//! The conventions are those of scikit-learn's `PowerTransformer` on scipy's `yeojohnson_normmax`: the same bounds and the same
//! bounded Brent search, so that features whose likelihood is flat or monotone end at the same exponent.

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use super::dense::vectored;
use super::exponential::{exp_m1, ln_1p};

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

/// Features that are fitted one after another on one thread: a cache line of a row.
const TOGETHER: usize = 8;

impl YeoJohnson {
    /// Fits each feature by itself. Rows must be finite, and at least one.
    pub fn fit(x: ArrayView2<'_, f64>) -> Self {
        let x = x.as_standard_layout();
        let firsts: Vec<usize> = (0..x.ncols()).step_by(TOGETHER).collect();
        let few = |first: usize| -> Vec<Feature> {
            let some = x.slice(ndarray::s![.., first..(first + TOGETHER).min(x.ncols())]);
            some.t().as_standard_layout().rows().into_iter().map(|values| Feature::fit(values.as_slice().unwrap_or_default())).collect()
        };
        let mut features: Vec<Feature> = firsts.into_par_iter().flat_map_iter(few).collect();
        let empty = EMPTY * features.iter().map(|feature| feature.spread).fold(0.0, f64::max);
        features.iter_mut().filter(|feature| feature.spread <= empty).for_each(|feature| feature.power = [1.0, feature.mean, 1.0]);
        let part = |i: usize| features.iter().map(|feature| feature.power[i]).collect();
        Self { lambdas: part(0), mean: part(1), scale: part(2) }
    }

    /// Transforms rows.
    pub fn apply(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut out = x.as_standard_layout().into_owned();
        if let Some(rows) = out.as_slice_mut() {
            rows.par_chunks_mut(256 * self.lambdas.len().max(1)).for_each(|rows| self.apply_rows(rows));
        }
        out
    }

    /// Transforms rows that follow one another, on this thread.
    pub(super) fn apply_rows(&self, rows: &mut [f64]) {
        let (Some(lambdas), Some(mean), Some(scale)) = (self.lambdas.as_slice(), self.mean.as_slice(), self.scale.as_slice()) else {
            return;
        };
        for row in rows.chunks_exact_mut(lambdas.len().max(1)) {
            vectored(
                #[inline(always)]
                || {
                    let n = row.len();
                    let (lambdas, mean, scale) = (&lambdas[..n], &mean[..n], &scale[..n]);
                    for i in 0..n {
                        row[i] = (power(row[i], lambdas[i]) - mean[i]) / scale[i];
                    }
                },
            );
        }
    }
}

/// The power transform of one value.
#[inline(always)]
pub fn power(x: f64, lambda: f64) -> f64 {
    power_of_log(signed_log(x), lambda)
}

/// log(1 + |x|) with the sign of x, which does not change while lambda is sought.
#[inline(always)]
fn signed_log(x: f64) -> f64 {
    let log = ln_1p(x.abs());
    if x < 0.0 { -log } else { log }
}

/// The power transform of a value given by its [`signed_log`].
#[inline(always)]
fn power_of_log(log: f64, lambda: f64) -> f64 {
    let lambda = if log < 0.0 { 2.0 - lambda } else { lambda };
    // Where lambda is zero the limit is the logarithm itself.
    let limit = lambda.abs() < f64::EPSILON;
    let divisor = if limit { 1.0 } else { lambda };
    let magnitude = exp_m1(lambda * log.abs()) / divisor;
    (if limit { log } else { magnitude }).abs().copysign(log)
}

/// Writes the power transform of values given by their logs.
fn transform(out: &mut [f64], logs: &[f64], lambda: f64) {
    vectored(
        #[inline(always)]
        || out.iter_mut().zip(logs).for_each(|(out, log)| *out = power_of_log(*log, lambda)),
    );
}

/// A fitted feature.
struct Feature {
    /// Mean and standard deviation before the power.
    mean: f64,
    spread: f64,
    /// Exponent, and mean and scale after the power.
    power: [f64; 3],
}

impl Feature {
    fn fit(x: &[f64]) -> Self {
        let (before, variance) = moments(x);
        let mut logs = vec![0.0; x.len()];
        vectored(
            #[inline(always)]
            || logs.iter_mut().zip(x).for_each(|(log, x)| *log = signed_log(*x)),
        );
        let mut transformed = vec![0.0; x.len()];
        let lambda = if is_constant(variance, before, x.len()) { 1.0 } else { most_likely(&logs, bounds(x), &mut transformed) };
        transform(&mut transformed, &logs, lambda);
        let (mean, after) = moments(&transformed);
        let scale = if is_constant(after, mean, x.len()) { 1.0 } else { after.sqrt() };
        Self { mean: before, spread: variance.sqrt(), power: [lambda, mean, scale] }
    }
}

/// scikit-learn's test: is the variance no more than rounding makes of equal values?
fn is_constant(variance: f64, mean: f64, n: usize) -> bool {
    let n = n as f64;
    variance <= n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2)
}

/// Mean and variance (divisor n), in two passes.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = sum(values, |v| v) / n;
    (mean, sum(values, |v| (v - mean) * (v - mean)) / n)
}

/// The sum of `f` over values, by halves, as numpy's: where the likelihood is flat, the rounding of a plain sum would decide where the
/// search ends.
fn sum(values: &[f64], f: impl Fn(f64) -> f64 + Copy) -> f64 {
    if values.len() > 128 {
        let (left, right) = values.split_at(values.len() / 2 / 8 * 8);
        return sum(left, f) + sum(right, f);
    }
    let (some, rest) = values.as_chunks::<8>();
    let lanes = vectored(
        #[inline(always)]
        || {
            let mut lanes = [0.0; 8];
            some.iter().for_each(|eight| lanes.iter_mut().zip(eight).for_each(|(lane, v)| *lane += f(*v)));
            lanes
        },
    );
    let [a, b, c, d, e, g, h, i] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + g) + (h + i)), |sum, v| sum + f(*v))
}

/// The exponent of the largest likelihood within the bounds, of values given by their logs; `transformed` is scratch.
fn most_likely(logs: &[f64], (low, high): (f64, f64), transformed: &mut [f64]) -> f64 {
    let n = logs.len() as f64;
    let signed_logs: f64 = logs.iter().sum();
    let cost = |lambda: f64| {
        transform(transformed, logs, lambda);
        let variance = moments(transformed).1;
        if variance < f64::MIN_POSITIVE { f64::INFINITY } else { n / 2.0 * variance.ln() - (lambda - 1.0) * signed_logs }
    };
    bounded_minimum(cost, low, high, 1.48e-8)
}

/// scipy's bounds: values 20 times as large as any seen can still be transformed, in half the exponent range.
fn bounds(x: &[f64]) -> (f64, f64) {
    let largest = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
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
        let x: Vec<f64> = (0..400).map(|i| (f64::from(i) / 100.0).exp_m1()).collect();
        let [lambda, _, _] = Feature::fit(&x).power;
        assert!(lambda.abs() < 0.15, "{lambda}");
    }
}
