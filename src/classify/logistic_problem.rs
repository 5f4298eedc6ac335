//! Value and gradient of a multinomial logistic regression, exact at an anchor, and the way to the minimum.

use std::ops::Range;

use super::dense::{Real, exponentials, lane_sum, multiply, rows, spread, vectored};
use super::lbfgs::{Ending, Memory, minimise};
use super::products::Points;

/// Rows whose share of value and gradient is summed at once.
const CHUNK: usize = 512;

/// The rows, their classes and weights, ready for the solver.
///
/// Value and gradient are known exactly (products in f64) at one point, the anchor. Elsewhere only what differs from there goes through
/// products, in f32: near the anchor they are as good as products in f64, and twice as fast. Logits of a chunk of rows lie class by class,
/// so that a loop over rows uses the vector unit.
pub(super) struct Problem<'a, F> {
    pub points: &'a Points<F>,
    /// The points that take part, in order.
    pub rows: Vec<usize>,
    /// The same rows rounded: rows × dimensions.
    pub x: Vec<f32>,
    /// Place of each row's class among the classes.
    pub y: Vec<usize>,
    pub weight: Vec<f64>,
    pub dim: usize,
    /// Rows of W.
    pub outputs: usize,
    pub penalty: f64,
    pub share: bool,
}

/// Where value and gradient are known exactly.
struct Anchor {
    /// W row by row, then b.
    at: Vec<f64>,
    /// Outputs × rows for each chunk of rows.
    logits: Vec<f64>,
    /// weight · (probability - truth), laid out as the logits.
    residuals: Vec<f64>,
    /// Of the loss without the penalty, by W and b.
    gradient: Vec<f64>,
}

/// What a chunk of rows adds: its loss, and its part of the gradient by W and by b.
struct Share {
    loss: f64,
    w: Vec<f64>,
    b: Vec<f64>,
}

impl<F: Real> Problem<'_, F> {
    fn n(&self) -> usize {
        self.y.len()
    }

    fn chunks<T: Send>(&self, work: impl Fn(Range<usize>) -> T + Send + Sync) -> Vec<T> {
        spread(self.share, self.n().div_ceil(CHUNK), |chunk| work(chunk * CHUNK..((chunk + 1) * CHUNK).min(self.n())))
    }

    /// Finds logits, residuals and gradient at a point with products in f64.
    fn anchor(&self, at: &[f64]) -> Anchor {
        let (w, b) = at.split_at(self.outputs * self.dim);
        let (outputs, dim) = (self.outputs, self.dim);
        let parts = self.chunks(|range| {
            let n = range.len();
            let mut x: Vec<f64> = Vec::with_capacity(n * dim);
            self.rows[range.clone()].iter().for_each(|row| x.extend(self.points.row(*row).iter().map(|v| v.wide())));
            let mut logits = vec![0.0; outputs * n];
            multiply(&mut logits, false, rows(w, outputs, dim), rows(&x, n, dim).t());
            logits.chunks_exact_mut(n).zip(b).for_each(|(row, b)| row.iter_mut().for_each(|z| *z += b));
            let mut residuals = logits.clone();
            self.residuals(&mut residuals, range);
            let mut by_w = vec![0.0; w.len()];
            multiply(&mut by_w, false, rows(&residuals, outputs, n), rows(&x, n, dim));
            (logits, residuals, by_w)
        });
        let mut anchor = Anchor { at: at.to_vec(), logits: Vec::new(), residuals: Vec::new(), gradient: vec![0.0; at.len()] };
        for (logits, residuals, by_w) in parts {
            anchor.gradient.iter_mut().zip(by_w).for_each(|(g, p)| *g += p);
            let by_b = anchor.gradient[w.len()..].iter_mut();
            by_b.zip(residuals.chunks_exact(residuals.len() / outputs)).for_each(|(g, row)| *g += lane_sum(row, |r| r));
            anchor.logits.extend(logits);
            anchor.residuals.extend(residuals);
        }
        anchor
    }

    /// Returns the largest entry of the gradient at the anchor.
    fn steepness(&self, anchor: &Anchor) -> f64 {
        let penalised = self.outputs * self.dim;
        let whole = anchor.gradient.iter().zip(&anchor.at).enumerate();
        whole.map(|(i, (g, w))| if i < penalised { g + self.penalty * w } else { *g }).fold(0.0, |m: f64, g| m.max(g.abs()))
    }

    /// Writes the gradient at (W row by row, b) and returns the value.
    fn value_and_gradient(&self, anchor: &Anchor, at: &[f64], gradient: &mut [f64]) -> f64 {
        let moved: Vec<f64> = at.iter().zip(&anchor.at).map(|(at, was)| at - was).collect();
        let (w_moved, b_moved) = moved.split_at(self.outputs * self.dim);
        let w_moved: Vec<f32> = w_moved.iter().map(|w| *w as f32).collect();
        // Partial sums of fixed chunks, added in order: the same bits on one thread and on many.
        let parts = self.chunks(|range| self.part(anchor, range, &w_moved, b_moved));
        gradient.copy_from_slice(&anchor.gradient);
        let (w, _) = at.split_at(w_moved.len());
        let mut value = 0.5 * self.penalty * w.iter().map(|w| w * w).sum::<f64>();
        let (by_w, by_b) = gradient.split_at_mut(w.len());
        by_w.iter_mut().zip(w).for_each(|(g, w)| *g += self.penalty * w);
        for part in parts {
            value += part.loss;
            by_w.iter_mut().zip(part.w).for_each(|(g, p)| *g += p);
            by_b.iter_mut().zip(part.b).for_each(|(g, p)| *g += p);
        }
        value
    }

    /// Returns the loss of a chunk of rows, and how its gradient differs from that at the anchor.
    fn part(&self, anchor: &Anchor, range: Range<usize>, w_moved: &[f32], b_moved: &[f64]) -> Share {
        let (n, outputs, dim) = (range.len(), self.outputs, self.dim);
        let x = rows(&self.x[range.start * dim..range.end * dim], n, dim);
        let mut narrow = vec![0.0f32; outputs * n];
        multiply(&mut narrow, false, rows(w_moved, outputs, dim), x.t());
        let there = range.start * outputs..range.end * outputs;
        let mut moving = anchor.logits[there.clone()].to_vec();
        for ((row, moved), b) in moving.chunks_exact_mut(n).zip(narrow.chunks_exact(n)).zip(b_moved) {
            row.iter_mut().zip(moved).for_each(|(z, moved)| *z = (*z + f64::from(*moved)) + b);
        }
        let loss = self.residuals(&mut moving, range);
        moving.iter_mut().zip(&anchor.residuals[there]).for_each(|(r, was)| *r -= was);
        let b = moving.chunks_exact(n).map(|row| lane_sum(row, |r| r)).collect();
        narrow.iter_mut().zip(&moving).for_each(|(n, r)| *n = *r as f32);
        let mut by_w = vec![0.0f32; w_moved.len()];
        multiply(&mut by_w, false, rows(&narrow, outputs, n), x);
        Share { loss, w: by_w.into_iter().map(f64::from).collect(), b }
    }

    /// Turns logits of these rows into weight · (probability - truth), and returns their loss.
    fn residuals(&self, logits: &mut [f64], range: Range<usize>) -> f64 {
        let (truth, weights) = (&self.y[range.clone()], &self.weight[range]);
        if self.outputs == 1 { sigmoid_residuals(logits, truth, weights) } else { softmax_residuals(logits, truth, weights) }
    }

    /// Minimises from zero until no entry of the gradient exceeds `tolerance`. Returns W row by row, then b.
    pub fn solve(&self, tolerance: f64, max_iter: usize) -> (Vec<f64>, Ending) {
        let mut anchor = self.anchor(&vec![0.0; self.outputs * (self.dim + 1)]);
        let mut memory = Memory::default();
        let mut iterations = 0;
        // What products in f32 can still tell of the gradient's sum over so many rows, far from the anchor.
        let mut target = (0.9 * tolerance).max(self.n() as f64 * 1e-6);
        loop {
            let mut at = anchor.at.clone();
            let value = |at: &[f64], gradient: &mut [f64]| self.value_and_gradient(&anchor, at, gradient);
            let ending = minimise(&mut at, target, max_iter - iterations, &mut memory, value);
            iterations += ending.iterations;
            anchor = self.anchor(&at);
            let converged = self.steepness(&anchor) <= tolerance;
            // What cannot be lowered any more in f64 is the minimum as well as it can be told.
            let stuck = ending.converged && ending.iterations == 0;
            if converged || stuck || iterations >= max_iter {
                return (at, Ending { iterations, converged: converged || stuck });
            }
            target = 0.9 * tolerance;
        }
    }
}

/// Turns logits, classes × rows, into weight · (probability - truth) and returns the sum of weight · -log probability of the truth.
///
/// Right for logits of any size.
fn softmax_residuals(logits: &mut [f64], truth: &[usize], weights: &[f64]) -> f64 {
    let n = truth.len();
    let mut highest = vec![f64::NEG_INFINITY; n];
    vectored(
        #[inline(always)]
        || {
            for row in logits.chunks_exact(n) {
                highest.iter_mut().zip(row).for_each(|(high, &z)| *high = if z > *high { z } else { *high });
            }
            logits.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(&highest).for_each(|(z, high)| *z -= high));
        },
    );
    let of_truth = truth.iter().zip(weights).enumerate();
    let mut loss = of_truth.clone().map(|(row, (truth, weight))| -weight * logits[truth * n + row]).sum::<f64>();
    exponentials(logits);
    let mut sums = vec![0.0; n];
    vectored(
        #[inline(always)]
        || logits.chunks_exact(n).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += p)),
    );
    loss += sums.iter().zip(weights).map(|(sum, weight)| weight * sum.ln()).sum::<f64>();
    vectored(
        #[inline(always)]
        || {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum = weight / *sum);
            logits.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(&sums).for_each(|(p, scale)| *p *= scale));
        },
    );
    of_truth.for_each(|(row, (truth, weight))| logits[truth * n + row] -= weight);
    loss
}

/// The same for one logit per row that speaks for class 1.
fn sigmoid_residuals(logits: &mut [f64], truth: &[usize], weights: &[f64]) -> f64 {
    let mut loss = 0.0;
    for ((z, &truth), weight) in logits.iter_mut().zip(truth).zip(weights) {
        let against = if truth == 1 { -*z } else { *z };
        loss += weight * (against.max(0.0) + (-against.abs()).exp().ln_1p());
        let miss = weight * sigmoid(against);
        *z = if truth == 1 { -miss } else { miss };
    }
    loss
}

/// 1 / (1 + exp(-z)) without overflow or cancellation.
pub(super) fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn logits_of_any_size_keep_loss_and_gradient_right() {
        // The second row lies far below the first: a maximum over both would lose it.
        let mut logits = [900.0, -900.0, 0.0, -900.0, 0.0, -1000.0];
        let loss = softmax_residuals(&mut logits, &[0, 2], &[1.0, 1.0]);
        assert!((loss - (100.0 + 2f64.ln())).abs() < 1e-12);
        assert!((logits[1] - 0.5).abs() < 1e-15 && (logits[5] + 1.0).abs() < 1e-15);
        let mut rows = [800.0, -800.0, -800.0];
        assert_eq!(sigmoid_residuals(&mut rows, &[0, 1, 0], &[1.0, 2.0, 1.0]), 2400.0);
        assert_eq!(rows, [1.0, -2.0, 0.0]);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_value_and_threads_change_no_bit() {
        for outputs in [1, 3] {
            let n = 1300;
            let points = Points::all(Array2::from_shape_fn((n, 4), |(i, d)| ((4 * i + d) as f64 * 0.7).sin()).view());
            let mut problem = Problem {
                x: (0..n).flat_map(|i| points.row(i).iter().map(|v| *v as f32)).collect(),
                points: &points,
                rows: (0..n).collect(),
                y: (0..n).map(|i| i % outputs.max(2)).collect(),
                weight: (0..n).map(|i| 1.0 + (i % 5) as f64).collect(),
                dim: 4,
                outputs,
                penalty: 0.5,
                share: false,
            };
            let at: Vec<f64> = (0..outputs * 5).map(|i| (i as f64).cos()).collect();
            // From an anchor a little way off, as it is used.
            let anchor = problem.anchor(&at.iter().map(|w| w + 1e-3).collect::<Vec<_>>());
            let mut gradient = vec![0.0; at.len()];
            let value = problem.value_and_gradient(&anchor, &at, &mut gradient);
            for i in 0..at.len() {
                let shifted = |by: f64| {
                    let mut there = at.clone();
                    there[i] += by;
                    problem.value_and_gradient(&problem.anchor(&there), &there, &mut vec![0.0; at.len()])
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-5 * (1.0 + slope.abs()), "{i}: {slope} {}", gradient[i]);
            }
            let exact = problem.steepness(&problem.anchor(&at));
            assert!((exact - gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()))).abs() < 1e-6 * exact);
            problem.share = true;
            let mut shared = vec![0.0; at.len()];
            assert_eq!(problem.value_and_gradient(&anchor, &at, &mut shared).to_bits(), value.to_bits());
            assert_eq!(shared, gradient);
        }
    }
}
