//! Yeo and Johnson's power transform (Biometrika 87, 2000), its exponent by maximum likelihood, then mean 0 and variance 1.
//!
//! The conventions are those of scikit-learn's `PowerTransformer`; `likelihood` finds the exponent.

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use super::dense::vectored;
use super::exponential::{exp_m1, ln_1p};
use super::likelihood::{bounds, most_likely};
use super::moments::Moments;

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
pub(super) fn power_of_log(log: f64, lambda: f64) -> f64 {
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
        let after = Moments::of(
            values,
            #[inline(always)]
            |log| power_of_log(log, lambda),
        );
        let scale = if after.are_of_a_constant() { 1.0 } else { after.variance().sqrt() };
        Self { mean: before.mean, spread: before.variance().sqrt(), power: [lambda, after.mean, scale] }
    }
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
        let mut x: Vec<f64> = (0..400).map(|i| (f64::from(i) / 100.0).exp_m1()).collect();
        let [lambda, _, _] = Feature::fit(&mut x).power;
        assert!(lambda.abs() < 0.15, "{lambda}");
    }
}
