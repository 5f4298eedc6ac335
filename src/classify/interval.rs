//! Intervals and paired differences from resampled values.

use serde::{Deserialize, Serialize};

/// The share of resamples that lie in an interval.
const LEVEL: f64 = 0.95;

/// The middle 95 % of resampled values (Efron's percentile interval).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The whole interval of the difference lies above zero.
    Better,
    Worse,
    /// The interval holds zero.
    NotToldApart,
}

impl Interval {
    /// Returns the interval of resampled values; none without any, or when one is not a number.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        if sorted.is_empty() || sorted.iter().any(|v| !v.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let out = (1.0 - LEVEL) / 2.0;
        Some(Self { low: quantile(&sorted, out), high: quantile(&sorted, 1.0 - out) })
    }

    /// Returns the interval of the differences of two cells, resample by resample; none when they do not have the same resamples.
    pub fn of_difference(a: &[f32], b: &[f32]) -> Option<Self> {
        if a.len() != b.len() {
            return None;
        }
        Self::of(a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)))
    }

    /// Returns what an interval of differences says of the first against the second.
    pub fn verdict(self) -> Verdict {
        if self.low > 0.0 {
            Verdict::Better
        } else if self.high < 0.0 {
            Verdict::Worse
        } else {
            Verdict::NotToldApart
        }
    }
}

/// The quantile of sorted values, linear between neighbours (`numpy.quantile`'s default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    // numpy 2.4: quantile([3, 1, 4, 1, 5, 9, 2, 6], [.025, .975]) = [1.0, 8.475]
    #[test]
    fn intervals_are_numpys_quantiles() {
        let interval = Interval::of([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0].into_iter()).unwrap();
        assert!((interval.low - 1.0).abs() < 1e-12 && (interval.high - 8.475).abs() < 1e-12, "{interval:?}");
        assert_eq!(Interval::of([f64::NAN].into_iter()).or(Interval::of(std::iter::empty())), None);
    }

    #[test]
    fn a_small_difference_that_is_always_there_is_told_although_the_intervals_overlap() {
        let a: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
        let b: Vec<f32> = a.iter().map(|v| v - 0.01).collect();
        let verdict = |a: &[f32], b: &[f32]| Interval::of_difference(a, b).map(Interval::verdict);
        assert_eq!([verdict(&a, &b), verdict(&b, &a), verdict(&a, &a)], [Verdict::Better, Verdict::Worse, Verdict::NotToldApart].map(Some));
        assert_eq!(verdict(&a, &b[1..]), None);
    }
}
