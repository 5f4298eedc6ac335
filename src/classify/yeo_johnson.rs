//! Yeo and Johnson's power transform (Biometrika 87, 2000), its exponent by maximum likelihood, then mean 0 and variance 1.
//!
//! The conventions are those of scikit-learn's `PowerTransformer` on scipy's `yeojohnson_normmax`: the same bounds and the same
//! bounded Brent search, so that features whose likelihood is flat or monotone end at the same exponent.

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use super::dense::{lane_sum, vectored};
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
/// Values that are transformed and summed at once, in the nearest cache.
const LEAF: usize = 256;

impl YeoJohnson {
    /// Fits each feature by itself. Rows must be finite, and at least one.
    pub fn fit(x: ArrayView2<'_, f64>) -> Self {
        let (n, dim) = x.dim();
        let x = x.as_standard_layout();
        let rows = x.as_slice().unwrap_or_default();
        let firsts: Vec<usize> = (0..dim).step_by(TOGETHER).collect();
        let few = |columns: &mut Vec<f64>, first: usize| -> Vec<Feature> {
            let some = TOGETHER.min(dim - first);
            columns.resize(some * n, 0.0);
            for (i, row) in rows.chunks_exact(dim).enumerate() {
                row[first..first + some].iter().enumerate().for_each(|(column, v)| columns[column * n + i] = *v);
            }
            columns.chunks_exact_mut(n.max(1)).map(Feature::fit).collect()
        };
        let mut features: Vec<Feature> = firsts.into_par_iter().map_init(Vec::new, few).flatten_iter().collect();
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

/// A fitted feature.
struct Feature {
    /// Mean and standard deviation before the power.
    mean: f64,
    spread: f64,
    /// Exponent, and mean and scale after the power.
    power: [f64; 3],
}

impl Feature {
    /// Fits on the values of a feature, and leaves their logs in their place.
    fn fit(values: &mut [f64]) -> Self {
        let before = Moments::of(values, |v| v);
        let bounds = bounds(values);
        vectored(
            #[inline(always)]
            || values.iter_mut().for_each(|v| *v = signed_log(*v)),
        );
        let lambda = if before.are_of_a_constant() { 1.0 } else { most_likely(values, bounds) };
        let after = Moments::of_powers(values, lambda);
        let scale = if after.are_of_a_constant() { 1.0 } else { after.variance().sqrt() };
        Self { mean: before.mean, spread: before.variance().sqrt(), power: [lambda, after.mean, scale] }
    }
}

/// Number, mean and sum of squared deviations of some values.
#[derive(Clone, Copy)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of what `f` makes of the values, in one pass: by halves, as numpy sums. Where the likelihood is flat, the rounding of a plain sum
    /// would decide where the search ends.
    fn of(values: &[f64], f: impl Fn(f64) -> f64 + Copy) -> Self {
        if values.len() > LEAF {
            let (left, right) = values.split_at(values.len() / 2 / 8 * 8);
            return Self::of(left, f).and(Self::of(right, f));
        }
        let mut made = [0.0; LEAF];
        let made = &mut made[..values.len()];
        vectored(
            #[inline(always)]
            || {
                made.iter_mut().zip(values).for_each(|(made, v)| *made = f(*v));
                let n = made.len() as f64;
                let mean = lane_sum(made, |v| v) / n;
                Self { n, mean, squares: lane_sum(made, |v| (v - mean) * (v - mean)) }
            },
        )
    }

    /// Of the power transforms of values given by their logs.
    fn of_powers(logs: &[f64], lambda: f64) -> Self {
        Self::of(
            logs,
            #[inline(always)]
            |log| power_of_log(log, lambda),
        )
    }

    /// Of these and those values (Chan, Golub and LeVeque 1979).
    fn and(self, those: Self) -> Self {
        let (n, apart) = (self.n + those.n, those.mean - self.mean);
        let between = apart * apart * (self.n * those.n / n);
        Self { n, mean: self.mean + apart * (those.n / n), squares: self.squares + those.squares + between }
    }

    /// The mean squared deviation (divisor n).
    fn variance(self) -> f64 {
        self.squares / self.n
    }

    /// scikit-learn's test: is the variance no more than rounding makes of equal values?
    fn are_of_a_constant(self) -> bool {
        let Self { n, mean, .. } = self;
        self.variance() <= n * f64::EPSILON * self.variance() + (n * mean * f64::EPSILON).powi(2)
    }
}

/// The exponent of the largest likelihood within the bounds, of values given by their logs.
fn most_likely(logs: &[f64], (low, high): (f64, f64)) -> f64 {
    let n = logs.len() as f64;
    let signed_logs: f64 = logs.iter().sum();
    let cost = |lambda: f64| {
        let variance = Moments::of_powers(logs, lambda).variance();
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
    fn moments_in_one_pass_are_those_of_two_however_far_from_zero() {
        for (n, far) in [(1, 3.0), (255, 0.0), (256, 1e3), (5001, 1e6)] {
            let values: Vec<f64> = (0..n).map(|i| far + f64::from(i * i % 1013) / 500.0).collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            let found = Moments::of(&values, |v| v);
            assert!((found.mean - mean).abs() <= 1e-14 * mean.abs(), "{n}: {} {mean}", found.mean);
            assert!((found.variance() - variance).abs() <= 1e-9 * variance, "{n}: {} {variance}", found.variance());
        }
    }

    #[test]
    fn values_whose_logarithm_is_even_ask_for_the_logarithm() {
        let mut x: Vec<f64> = (0..400).map(|i| (f64::from(i) / 100.0).exp_m1()).collect();
        let [lambda, _, _] = Feature::fit(&mut x).power;
        assert!(lambda.abs() < 0.15, "{lambda}");
    }
}
