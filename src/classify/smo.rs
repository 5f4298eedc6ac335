//! One binary support vector machine: sequential minimal optimisation with second-order working sets.
//!
//! The steps, their order and all ties are those of libsvm's `Solver` without shrinking (Fan, Chen and Lin 2005; Chang and Lin 2011).
//! Where libsvm keeps the gradient G, this keeps f = -y G, which needs no signs in the update. Unaware of kernels and of further classes.

use super::dense::{Real, vectored};

/// The kernel of two classes: rows of the first (y = +1), then of the second (y = -1).
///
/// A kernel row is two slices, so that the blocks of a class can be shared by all its pairs.
pub(crate) struct Pair<'a, F> {
    pub n_first: usize,
    pub n_second: usize,
    /// first × first.
    pub first: &'a [F],
    /// first × second.
    pub across: &'a [F],
    /// second × first.
    pub across_transposed: &'a [F],
    /// second × second.
    pub second: &'a [F],
    /// The largest coefficients, after class weights.
    pub c_first: f64,
    pub c_second: f64,
}

/// What was learnt: decision(x) = Σ coefficient · kernel(row, x) - rho.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Machine {
    /// y · alpha, rows of the first class, then of the second.
    pub coefficients: Vec<f64>,
    pub rho: f64,
    pub iterations: usize,
    pub converged: bool,
}

/// libsvm's stand-in for a curvature that is not positive.
const TAU: f64 = 1e-12;

impl<F: Real> Pair<'_, F> {
    /// Returns the kernel of a row with the rows of the first and of the second class.
    pub fn row(&self, i: usize) -> (&[F], &[F]) {
        let (a, b) = (self.n_first, self.n_second);
        if i < a {
            (&self.first[i * a..(i + 1) * a], &self.across[i * b..(i + 1) * b])
        } else {
            let i = i - a;
            (&self.across_transposed[i * a..(i + 1) * a], &self.second[i * b..(i + 1) * b])
        }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        let (first, second) = self.row(i);
        if j < self.n_first { first[j] } else { second[j - self.n_first] }.wide()
    }

    fn diagonal(&self, i: usize) -> f64 {
        self.at(i, i)
    }

    fn y(&self, i: usize) -> f64 {
        if i < self.n_first { 1.0 } else { -1.0 }
    }

    fn c(&self, i: usize) -> f64 {
        if i < self.n_first { self.c_first } else { self.c_second }
    }
}

/// Fits one machine until no pair of rows violates optimality by `tolerance`.
pub(crate) fn solve<F: Real>(pair: &Pair<'_, F>, tolerance: f64) -> Machine {
    let n = pair.n_first + pair.n_second;
    let limit = (100 * n).max(10_000_000);
    let mut alpha = vec![0.0; n];
    let mut f: Vec<f64> = (0..n).map(|i| pair.y(i)).collect();
    let diagonal: Vec<f64> = (0..n).map(|i| pair.diagonal(i)).collect();
    // 0 where the row may move that way, -inf (up) or +inf (low) where its coefficient is at the bound.
    let mut up: Vec<f64> = (0..n).map(|i| if i < pair.n_first { 0.0 } else { f64::NEG_INFINITY }).collect();
    let mut low: Vec<f64> = (0..n).map(|i| if i < pair.n_first { f64::INFINITY } else { 0.0 }).collect();
    let mut gain = vec![0.0; n];

    let mut iterations = 0;
    let mut converged = false;
    while iterations < limit {
        let Some((i, j)) = working_set(pair, &f, &up, &low, &diagonal, &mut gain, tolerance) else {
            converged = true;
            break;
        };
        iterations += 1;
        let (old_i, old_j) = (alpha[i], alpha[j]);
        (alpha[i], alpha[j]) = step(pair, &f, &diagonal, &alpha, i, j);
        for t in [i, j] {
            let (below, above) = (alpha[t] < pair.c(t), alpha[t] > 0.0);
            let (may_rise, may_fall) = if t < pair.n_first { (below, above) } else { (above, below) };
            up[t] = if may_rise { 0.0 } else { f64::NEG_INFINITY };
            low[t] = if may_fall { 0.0 } else { f64::INFINITY };
        }
        let (by_i, by_j) = (pair.y(i) * (alpha[i] - old_i), pair.y(j) * (alpha[j] - old_j));
        let ((i_first, i_second), (j_first, j_second)) = (pair.row(i), pair.row(j));
        let (f_first, f_second) = f.split_at_mut(pair.n_first);
        subtract(f_first, i_first, by_i, j_first, by_j);
        subtract(f_second, i_second, by_i, j_second, by_j);
    }
    let rho = rho(pair, &f, &alpha);
    let coefficients = alpha.iter().enumerate().map(|(i, a)| pair.y(i) * a).collect();
    Machine { coefficients, rho, iterations, converged }
}

/// f -= a · x + b · y
fn subtract<F: Real>(f: &mut [f64], x: &[F], a: f64, y: &[F], b: f64) {
    vectored(
        #[inline(always)]
        || {
            for ((f, x), y) in f.iter_mut().zip(x).zip(y) {
                *f -= x.wide() * a + y.wide() * b;
            }
        },
    );
}

/// Selects the most violating row i and the partner j that promises the largest decrease; none when optimal.
///
/// Among equals the last wins, as libsvm's `>=` has it.
fn working_set<F: Real>(
    pair: &Pair<'_, F>,
    f: &[f64],
    up: &[f64],
    low: &[f64],
    diagonal: &[f64],
    gain: &mut [f64],
    tolerance: f64,
) -> Option<(usize, usize)> {
    let highest = largest(f, up, |f, up| f + up);
    if highest == f64::NEG_INFINITY {
        return None;
    }
    let i = last(f, up, |f, up| f + up == highest)?;
    let (first, second) = pair.row(i);
    let split = pair.n_first;
    let (gain_first, gain_second) = gain.split_at_mut(split);
    let a = gains(gain_first, &f[..split], &low[..split], first, &diagonal[..split], highest, diagonal[i]);
    let b = gains(gain_second, &f[split..], &low[split..], second, &diagonal[split..], highest, diagonal[i]);
    let lowest = a.lowest.min(b.lowest);
    let best = if b.best >= a.best { b.best } else { a.best };
    if highest - lowest < tolerance || best <= 0.0 {
        return None;
    }
    let j = last(gain, gain, |gain, _| gain == best)?;
    Some((i, j))
}

/// The last place of which this holds, looked for in many places at once.
fn last(a: &[f64], b: &[f64], holds: impl Fn(f64, f64) -> bool) -> Option<usize> {
    const MANY: usize = 32;
    let mut end = a.len();
    for (a, b) in a.rchunks(MANY).zip(b.rchunks(MANY)) {
        let here = vectored(
            #[inline(always)]
            || a.iter().zip(b).fold(false, |here, (a, b)| here | holds(*a, *b)),
        );
        end -= a.len();
        if here {
            return a.iter().zip(b).rposition(|(a, b)| holds(*a, *b)).map(|at| end + at);
        }
    }
    None
}

/// The largest of `of(a, b)`, without order among lanes: a maximum does not depend on it.
fn largest(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> f64 {
    vectored(
        #[inline(always)]
        || {
            let mut lanes = [f64::NEG_INFINITY; 8];
            let (xs, ys) = (a.chunks_exact(8), b.chunks_exact(8));
            let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
            for (x, y) in xs.zip(ys) {
                for lane in 0..8 {
                    let value = of(x[lane], y[lane]);
                    lanes[lane] = if value > lanes[lane] { value } else { lanes[lane] };
                }
            }
            let rest = x_rest.iter().zip(y_rest).map(|(x, y)| of(*x, *y));
            lanes.into_iter().chain(rest).fold(f64::NEG_INFINITY, |m, v| if v > m { v } else { m })
        },
    )
}

struct Gains {
    /// The smallest f among rows that may go low.
    lowest: f64,
    /// The largest decrease promised; 0 when none is.
    best: f64,
}

/// Writes (highest - f)² / curvature for every row that may go low and lies below `highest`, and 0 for the others.
fn gains<F: Real>(gain: &mut [f64], f: &[f64], low: &[f64], kernel: &[F], diagonal: &[f64], highest: f64, diagonal_i: f64) -> Gains {
    vectored(
        #[inline(always)]
        || {
            // No sums over rows here, and no branch around the division: so many rows go at once.
            for ((((gain, f), low), kernel), diagonal) in gain.iter_mut().zip(f).zip(low).zip(kernel).zip(diagonal) {
                let fall = highest - (f + low);
                let fall = if fall > 0.0 { fall } else { 0.0 };
                let curvature = diagonal_i + diagonal - 2.0 * kernel.wide();
                let curvature = if curvature > 0.0 { curvature } else { TAU };
                *gain = fall * fall / curvature;
            }
        },
    );
    Gains { lowest: -largest(f, low, |f, low| -(f + low)), best: largest(gain, gain, |gain, _| gain).max(0.0) }
}

/// Solves the problem of two coefficients and clips it to the box, exactly as libsvm orders its cases.
fn step<F: Real>(pair: &Pair<'_, F>, f: &[f64], diagonal: &[f64], alpha: &[f64], i: usize, j: usize) -> (f64, f64) {
    let (y_i, y_j, c_i, c_j) = (pair.y(i), pair.y(j), pair.c(i), pair.c(j));
    let (g_i, g_j) = (-y_i * f[i], -y_j * f[j]);
    let curvature = diagonal[i] + diagonal[j] - 2.0 * pair.at(i, j);
    let curvature = if curvature <= 0.0 { TAU } else { curvature };
    let (mut a, mut b) = (alpha[i], alpha[j]);
    if y_i != y_j {
        let delta = (-g_i - g_j) / curvature;
        let difference = a - b;
        a += delta;
        b += delta;
        if difference > 0.0 {
            if b < 0.0 {
                (a, b) = (difference, 0.0);
            }
        } else if a < 0.0 {
            (a, b) = (0.0, -difference);
        }
        if difference > c_i - c_j {
            if a > c_i {
                (a, b) = (c_i, c_i - difference);
            }
        } else if b > c_j {
            (a, b) = (c_j + difference, c_j);
        }
    } else {
        let delta = (g_i - g_j) / curvature;
        let sum = a + b;
        a -= delta;
        b += delta;
        if sum > c_i {
            if a > c_i {
                (a, b) = (c_i, sum - c_i);
            }
        } else if b < 0.0 {
            (a, b) = (sum, 0.0);
        }
        if sum > c_j {
            if b > c_j {
                (a, b) = (sum - c_j, c_j);
            }
        } else if a < 0.0 {
            (a, b) = (0.0, sum);
        }
    }
    (a, b)
}

/// The threshold: the mean over free rows, or the middle of what the bounded rows allow.
fn rho<F: Real>(pair: &Pair<'_, F>, f: &[f64], alpha: &[f64]) -> f64 {
    let (mut above, mut below) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut n_free, mut sum) = (0usize, 0.0);
    for (t, (&f, &a)) in f.iter().zip(alpha).enumerate() {
        let height = -f;
        let first = pair.y(t) > 0.0;
        if a >= pair.c(t) {
            if first { below = below.max(height) } else { above = above.min(height) }
        } else if a <= 0.0 {
            if first { above = above.min(height) } else { below = below.max(height) }
        } else {
            n_free += 1;
            sum += height;
        }
    }
    if n_free > 0 { sum / n_free as f64 } else { (above + below) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_meet_in_the_middle() {
        // Kernel of two points with K(x, y) = exp(-1): alpha = 1 / (1 - exp(-1)) is beyond C = 1, so both are at the bound and rho is 0.
        let k = (-1.0f64).exp();
        let pair = Pair {
            n_first: 1,
            n_second: 1,
            first: &[1.0],
            across: &[k],
            across_transposed: &[k],
            second: &[1.0],
            c_first: 1.0,
            c_second: 1.0,
        };
        let machine = solve(&pair, 1e-3);
        assert_eq!(machine.coefficients, [1.0, -1.0]);
        assert_eq!(machine.rho, 0.0);
        assert!(machine.converged);
    }
}
