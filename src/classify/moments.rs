//! Means and squared deviations of many values in one pass, in a fixed order: by halves, as numpy sums.

use super::dense::{lane_sum, vectored};

/// Values that are made and summed at once, in the nearest cache.
const LEAF: usize = 256;

/// Number, mean and sum of squared deviations of some values.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    n: f64,
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// Of what `f` makes of the values, in one pass: by halves, as numpy sums. Where the likelihood is flat, the rounding of a plain sum
    /// would decide where the search ends.
    pub fn of(values: &[f64], f: impl Fn(f64) -> f64 + Copy) -> Self {
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

    /// Of these and those values (Chan, Golub and LeVeque 1979).
    fn and(self, those: Self) -> Self {
        let (n, apart) = (self.n + those.n, those.mean - self.mean);
        let between = apart * apart * (self.n * those.n / n);
        Self { n, mean: self.mean + apart * (those.n / n), squares: self.squares + those.squares + between }
    }

    /// The mean squared deviation (divisor n).
    pub fn variance(self) -> f64 {
        self.squares / self.n
    }

    /// scikit-learn's test: is the variance no more than rounding makes of equal values?
    pub fn are_of_a_constant(self) -> bool {
        let Self { n, mean, .. } = self;
        self.variance() <= n * f64::EPSILON * self.variance() + (n * mean * f64::EPSILON).powi(2)
    }
}

/// Number, means, squared deviations of the first and products of the deviations, of pairs of values.
#[derive(Clone, Copy)]
pub(super) struct PairMoments {
    n: f64,
    means: [f64; 2],
    squares: f64,
    products: f64,
}

impl PairMoments {
    /// Of the pairs that `f` makes of some values and writes into the two slices, as [`Moments::of`].
    pub fn of(values: &[f64], f: impl Fn(&[f64], &mut [f64], &mut [f64]) + Copy) -> Self {
        if values.len() > LEAF {
            let (left, right) = values.split_at(values.len() / 2 / 8 * 8);
            return Self::of(left, f).and(Self::of(right, f));
        }
        let mut made = [[0.0; LEAF]; 2];
        let [first, second] = &mut made;
        let (first, second) = (&mut first[..values.len()], &mut second[..values.len()]);
        vectored(
            #[inline(always)]
            || {
                f(values, first, second);
                let n = values.len() as f64;
                let means = [lane_sum(first, |v| v) / n, lane_sum(second, |v| v) / n];
                let squares = lane_sum(first, |v| (v - means[0]) * (v - means[0]));
                second.iter_mut().zip(&*first).for_each(|(b, a)| *b = (*a - means[0]) * (*b - means[1]));
                Self { n, means, squares, products: lane_sum(second, |v| v) }
            },
        )
    }

    /// Of these and those pairs.
    fn and(self, those: Self) -> Self {
        let n = self.n + those.n;
        let apart = [those.means[0] - self.means[0], those.means[1] - self.means[1]];
        let (share, weight) = (those.n / n, self.n * those.n / n);
        Self {
            n,
            means: [self.means[0] + apart[0] * share, self.means[1] + apart[1] * share],
            squares: self.squares + those.squares + apart[0] * apart[0] * weight,
            products: self.products + those.products + apart[0] * apart[1] * weight,
        }
    }

    /// The slope of the line that foretells the second of a pair by the first: covariance over variance.
    pub fn slope(self) -> f64 {
        self.products / self.squares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_slope_of_pairs_is_that_of_their_line_however_far_from_zero() {
        for (n, far) in [(2, 0.0), (256, 1e3), (5001, 1e6)] {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * i % 1013) / 500.0).collect();
            let pairs = |second: fn(f64) -> f64| {
                PairMoments::of(&values, |values, a, b| {
                    a.iter_mut().zip(values).for_each(|(a, v)| *a = far + v);
                    b.iter_mut().zip(values).for_each(|(b, v)| *b = second(*v));
                })
            };
            let exact = pairs(|v| 3.0 - 0.7 * v).slope();
            assert!((exact + 0.7).abs() < 1e-9, "{n}: {exact}");
            let mean = |f: &dyn Fn(f64) -> f64| values.iter().map(|v| f(*v)).sum::<f64>() / f64::from(n);
            let (a, b) = (mean(&|v| v), mean(&|v| (v * 5.0).sin()));
            let expected = mean(&|v| (v - a) * ((v * 5.0).sin() - b)) / mean(&|v| (v - a) * (v - a));
            let found = pairs(|v| (v * 5.0).sin()).slope();
            assert!((found - expected).abs() < 1e-9, "{n}: {found} {expected}");
        }
    }
}
