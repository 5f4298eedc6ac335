//! Learning curves: an inverse power law through accuracies at numbers of labels.
//!
//! accuracy(n) = a - b n^-c, by least squares (Cortes et al. 1994; Figueroa et al. 2012, "Predicting sample size required for
//! classification performance", BMC Med. Inform. Decis. Mak. 12:8). For a given c the best a and b are a straight line, so only c is searched.

use serde::{Deserialize, Serialize};

/// Exponents between which c is searched: below, the curve cannot be told from a logarithm; above, it is flat from the first point on.
const EXPONENTS: (f64, f64) = (0.02, 5.0);
const STEPS: usize = 60;

/// accuracy(n) = a - b n^-c.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// What the accuracy tends to.
    pub a: f64,
    pub b: f64,
    pub c: f64,
}

impl PowerLaw {
    /// Returns the least-squares curve through points (labels, accuracy); none with fewer than four different numbers of labels, and none when
    /// the points do not rise ever more slowly, as such a curve does.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let mut sizes: Vec<f64> = points.iter().map(|p| p.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if sizes.len() < 4 || points.iter().any(|(n, y)| !(n.is_finite() && *n > 0.0 && y.is_finite())) {
            return None;
        }
        let (low, high) = (EXPONENTS.0.ln(), EXPONENTS.1.ln());
        let exponent = |step: f64| (low + (high - low) * step / STEPS as f64).exp();
        let error = |step: f64| Self::line(points, exponent(step)).1;
        let best = (0..=STEPS).min_by(|a, b| error(*a as f64).total_cmp(&error(*b as f64)))?;
        if best == 0 || best == STEPS {
            return None;
        }
        let step = golden_section(&error, best as f64 - 1.0, best as f64 + 1.0);
        Some(Self::line(points, exponent(step)).0).filter(|law| law.b > 0.0)
    }

    /// Returns the accuracy at `n` labels, at most 1.
    pub fn at(self, n: f64) -> f64 {
        (self.a - self.b * n.powf(-self.c)).min(1.0)
    }

    /// The best a and b for an exponent, and the sum of squares that they leave.
    fn line(points: &[(f64, f64)], c: f64) -> (Self, f64) {
        let count = points.len() as f64;
        let x = |n: f64| n.powf(-c);
        let (mean_x, mean_y) = (points.iter().map(|p| x(p.0)).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
        let (sxx, sxy) = points.iter().fold((0.0, 0.0), |(sxx, sxy), (n, y)| {
            let dx = x(*n) - mean_x;
            (sxx + dx * dx, sxy + dx * (y - mean_y))
        });
        let slope = sxy / sxx;
        let law = Self { a: mean_y - slope * mean_x, b: -slope, c };
        (law, points.iter().map(|(n, y)| (law.a - law.b * x(*n) - y).powi(2)).sum())
    }
}

/// The place of the least value between two places, where there is one valley between them (Kiefer 1953).
fn golden_section(f: &dyn Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..60 {
        let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
        if f(left) < f(right) { high = right } else { low = left }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    // scipy 1.17.1: curve_fit(lambda n, a, b, c: a - b * n**-c, n, y, p0=[.8, 1, .5], xtol=1e-14, ftol=1e-14) on Table 1 of the paper.
    #[test]
    fn the_curve_is_scipys() {
        let points = [(5.0, 0.48), (10.0, 0.56), (25.0, 0.65), (50.0, 0.70), (100.0, 0.72), (250.0, 0.73)];
        let law = PowerLaw::fit(&points).unwrap();
        for (own, theirs) in [(law.a, 0.7711987), (law.b, 0.7276373), (law.c, 0.5591611)] {
            assert!((own - theirs).abs() < 1e-5, "{law:?}");
        }
        assert!((law.at(500.0) - 0.7486689).abs() < 1e-6);
    }

    #[test]
    fn points_that_are_no_such_curve_have_none() {
        let at = |f: fn(f64) -> f64| [5.0, 10.0, 25.0, 50.0, 100.0].map(|n| (n, f(n)));
        for (what, points) in [("falling", at(|n| 0.9 - 0.001 * n)), ("ever faster", at(|n| 0.1 + 0.008 * n)), ("flat", at(|_| 0.5))] {
            assert_eq!(PowerLaw::fit(&points), None, "{what}");
        }
        assert_eq!(PowerLaw::fit(&[(5.0, 0.4), (10.0, 0.5), (25.0, 0.6)]), None, "three points fit any such curve");
        let exact = PowerLaw::fit(&at(|n| 0.8 - 0.9 * n.powf(-0.6))).unwrap();
        assert!((exact.a - 0.8).abs() < 1e-6 && (exact.c - 0.6).abs() < 1e-6, "{exact:?}");
    }
}
