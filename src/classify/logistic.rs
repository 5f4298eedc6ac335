//! Multinomial logistic regression with an L2 penalty, solved tightly in f64.
//!
//! minimise |W|²/(2c) + Σ weight · -log softmax(W x + b)[class]; the intercept b is not penalised. With two classes W has one row and
//! the sigmoid stands for the softmax, as in scikit-learn: half the penalty of a softmax of two rows.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Data, Ix2};

use super::dense::{Real, multiply, rows, rows_mut};
use super::guard::Checked;
use super::lbfgs::{Ending, minimise};
use super::params::{LogisticRegression, Solver};
use super::products::{Block, Points, WIDTH};
use super::svm::{ClassRows, by_class, class_weights, predict_blocks, spread};
use crate::diagnostic::{Failure, count};

/// Rows whose share of value and gradient is summed at once.
const CHUNK: usize = 512;

/// A fitted logistic regression.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedLogistic {
    classes: Vec<usize>,
    /// Classes × dimensions; one row for the second class when there are two.
    coefficients: Array2<f64>,
    intercepts: Array1<f64>,
    ending: Ending,
}

/// The rows, their classes and weights, ready for the solver.
struct Problem {
    /// Rows × dimensions.
    x: Vec<f64>,
    /// Place of each row's class among the classes.
    y: Vec<usize>,
    weight: Vec<f64>,
    dim: usize,
    /// Rows of W.
    outputs: usize,
    penalty: f64,
    share: bool,
}

impl Problem {
    /// Writes the gradient at (W row by row, b) and returns the value.
    fn value_and_gradient(&self, at: &[f64], gradient: &mut [f64]) -> f64 {
        let (w, b) = at.split_at(self.outputs * self.dim);
        let n_chunks = self.y.len().div_ceil(CHUNK);
        let (w_gradient, b_gradient) = gradient.split_at_mut(w.len());
        let mut value = 0.5 * self.penalty * w.iter().map(|w| w * w).sum::<f64>();
        w_gradient.iter_mut().zip(w).for_each(|(g, w)| *g = self.penalty * w);
        b_gradient.fill(0.0);
        // Partial sums of fixed chunks, added in order: the same bits on one thread and on many.
        let parts = spread(self.share, n_chunks, |chunk| {
            let mut residual = Vec::new();
            let loss = self.residual(chunk, w, b, &mut residual);
            let mut part = vec![0.0; w.len()];
            self.pull(chunk, &residual, &mut part);
            (loss, residual, part)
        });
        for (loss, residual, part) in &parts {
            value += loss;
            w_gradient.iter_mut().zip(part).for_each(|(g, p)| *g += p);
            for row in residual.chunks_exact(self.outputs) {
                b_gradient.iter_mut().zip(row).for_each(|(g, r)| *g += r);
            }
        }
        value
    }

    fn chunk(&self, chunk: usize) -> std::ops::Range<usize> {
        chunk * CHUNK..((chunk + 1) * CHUNK).min(self.y.len())
    }

    /// Writes weight · (probability - truth) for the chunk's rows and returns their loss.
    fn residual(&self, chunk: usize, w: &[f64], b: &[f64], out: &mut Vec<f64>) -> f64 {
        let range = self.chunk(chunk);
        let n = range.len();
        out.clear();
        out.resize(n * self.outputs, 0.0);
        let x = rows(&self.x[range.start * self.dim..range.end * self.dim], n, self.dim);
        multiply(rows_mut(out, n, self.outputs), false, x, rows(w, self.outputs, self.dim).transpose());
        let mut loss = 0.0;
        for (row, i) in out.chunks_exact_mut(self.outputs).zip(range) {
            row.iter_mut().zip(b).for_each(|(z, b)| *z += b);
            let weight = self.weight[i];
            loss += weight * if self.outputs == 1 { sigmoid_residual(row, self.y[i]) } else { softmax_residual(row, self.y[i]) };
            row.iter_mut().for_each(|r| *r *= weight);
        }
        loss
    }

    /// gradient = residualᵀ · x of the chunk.
    fn pull(&self, chunk: usize, residual: &[f64], gradient: &mut [f64]) {
        let range = self.chunk(chunk);
        let n = range.len();
        let x = rows(&self.x[range.start * self.dim..range.end * self.dim], n, self.dim);
        multiply(rows_mut(gradient, self.outputs, self.dim), false, rows(residual, n, self.outputs).transpose(), x);
    }
}

/// Turns logits into probability - truth and returns -log probability of the truth; right for logits of any size.
fn softmax_residual(row: &mut [f64], truth: usize) -> f64 {
    let highest = row.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z));
    let own = row[truth] - highest;
    let mut sum = 0.0;
    for z in row.iter_mut() {
        *z = (*z - highest).exp();
        sum += *z;
    }
    row.iter_mut().for_each(|p| *p /= sum);
    row[truth] -= 1.0;
    sum.ln() - own
}

/// The same for one logit that speaks for class 1.
fn sigmoid_residual(row: &mut [f64], truth: usize) -> f64 {
    let z = row[0];
    let small = (-z.abs()).exp();
    let probability = if z >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
    // Where the logit speaks for the truth, 1 - probability is made without cancellation.
    row[0] = match truth {
        1 if z >= 0.0 => -small / (1.0 + small),
        1 => probability - 1.0,
        _ => probability,
    };
    let against = if truth == 1 { -z } else { z };
    against.max(0.0) + small.ln_1p()
}

impl FittedLogistic {
    /// Fits on some of the points; `share` lets chunks of rows run on several threads, with the same result.
    pub(crate) fn on<F: Real>(points: &Points<F>, groups: &[ClassRows], how: &LogisticRegression, share: bool) -> Result<Self, Failure> {
        if groups.len() < 2 {
            return Err(Failure::new(format!("logistic regression needs rows of at least 2 classes, got {}", groups.len())));
        }
        if how.solver == Solver::Linfa {
            return super::logistic_linfa::fit(points, groups, how);
        }
        let classes: Vec<usize> = groups.iter().map(|g| g.class).collect();
        let dim = points.dim();
        let weights = class_weights(groups, how.class_weight);
        let rows = || groups.iter().enumerate().flat_map(|(place, g)| g.points.iter().map(move |&p| (place, p)));
        let problem = Problem {
            x: rows().flat_map(|(_, p)| points.row(p).iter().map(|v| v.wide())).collect(),
            y: rows().map(|(place, _)| place).collect(),
            weight: rows().map(|(place, _)| weights[place]).collect(),
            dim,
            outputs: if classes.len() == 2 { 1 } else { classes.len() },
            penalty: 1.0 / how.c,
            share,
        };
        let mut at = vec![0.0; problem.outputs * (dim + 1)];
        let ending = minimise(&mut at, how.tolerance, how.max_iter, |at, gradient| problem.value_and_gradient(at, gradient));
        let intercepts = Array1::from_vec(at.split_off(problem.outputs * dim));
        let coefficients = Array2::from_shape_fn((problem.outputs, dim), |(o, d)| at[o * dim + d]);
        Ok(Self { classes, coefficients, intercepts, ending })
    }

    pub(crate) fn from_parts(classes: Vec<usize>, coefficients: Array2<f64>, intercepts: Array1<f64>) -> Self {
        Self { classes, coefficients, intercepts, ending: Ending { iterations: 0, converged: true } }
    }

    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Returns classes × dimensions; a single row, for the second class, when there are two.
    pub fn coefficients(&self) -> ArrayView2<'_, f64> {
        self.coefficients.view()
    }

    /// Returns one intercept per row of the coefficients.
    pub fn intercepts(&self) -> &Array1<f64> {
        &self.intercepts
    }

    /// Returns the iterations taken; 0 when linfa did the work and does not tell.
    pub fn iterations(&self) -> usize {
        self.ending.iterations
    }

    /// Returns whether the tolerance was met.
    pub fn converged(&self) -> bool {
        self.ending.converged
    }

    /// Returns queries × classes, rows sum to one.
    pub fn probabilities<F: Real, D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> Array2<f64> {
        let wide = queries.mapv(Real::wide);
        let mut logits = wide.dot(&self.coefficients.t()) + &self.intercepts;
        if self.classes.len() == 2 {
            let mut out = Array2::zeros((queries.nrows(), 2));
            for (mut row, z) in out.rows_mut().into_iter().zip(&logits) {
                let mut one = [*z];
                sigmoid_residual(&mut one, 0);
                row[1] = one[0];
                row[0] = 1.0 - one[0];
            }
            return out;
        }
        for mut row in logits.rows_mut() {
            let highest = row.fold(f64::NEG_INFINITY, |m, &z| m.max(z));
            row.mapv_inplace(|z| (z - highest).exp());
            let sum = row.sum();
            row.mapv_inplace(|p| p / sum);
        }
        logits
    }

    /// Returns the form that predicts blocks of queries.
    pub(crate) fn ready<F: Real>(&self) -> ReadyLogistic<F> {
        ReadyLogistic {
            classes: self.classes.clone(),
            coefficients: self.coefficients.iter().map(|&w| F::of(w)).collect(),
            intercepts: self.intercepts.iter().map(|&b| F::of(b)).collect(),
        }
    }
}

/// Coefficients rounded to the type of the queries.
#[derive(Clone, Debug)]
pub(crate) struct ReadyLogistic<F> {
    classes: Vec<usize>,
    coefficients: Vec<F>,
    intercepts: Vec<F>,
}

impl<F: Real> ReadyLogistic<F> {
    /// Writes the class of each query: the largest logit, the lowest class among equals.
    pub fn predict_block(&self, block: &Block<F>, out: &mut [usize]) {
        let outputs = self.intercepts.len();
        let dim = self.coefficients.len() / outputs;
        let mut logits = vec![F::default(); outputs * WIDTH];
        let w = rows(&self.coefficients, outputs, dim);
        multiply(rows_mut(&mut logits, outputs, WIDTH), false, w, rows(block.queries(), WIDTH, dim).transpose());
        let logit = |class: usize, query: usize| logits[class * WIDTH + query] + self.intercepts[class];
        for (query, out) in out.iter_mut().enumerate().take(block.used()) {
            let mut winner = 0;
            if outputs == 1 {
                winner = usize::from(logit(0, query) > F::default());
            } else {
                for class in 1..outputs {
                    if logit(class, query) > logit(winner, query) {
                        winner = class;
                    }
                }
            }
            *out = self.classes[winner];
        }
    }
}

impl<F: Real, D: Data<Elem = F>, T: AsSingleTargets<Elem = usize>> Fit<ArrayBase<D, Ix2>, T, Failure> for Checked<LogisticRegression> {
    type Object = FittedLogistic;

    /// Fits on rows of any classes.
    ///
    /// # Errors
    /// When there are rows of fewer than two classes.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedLogistic, Failure> {
        let points = Points::all(dataset.records.view());
        let groups = by_class(dataset.targets.as_single_targets().iter().copied());
        FittedLogistic::on(&points, &groups, self, true)
    }
}

impl<F: Real, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for FittedLogistic {
    fn predict_inplace<'a>(&'a self, queries: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        let (found, known) = (queries.ncols(), self.coefficients.ncols());
        assert!(found == known && queries.nrows() == y.len(), "queries have {}, expected {known}", count(found, "dimension"));
        let ready = self.ready::<F>();
        let none = Points::gather(queries.view(), std::iter::empty());
        predict_blocks(&none, queries, y, |block, out| ready.predict_block(block, out));
    }

    fn default_target(&self, queries: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(queries.nrows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn logits_of_any_size_keep_loss_and_gradient_right() {
        let mut row = [-900.0, -900.0, -1000.0];
        assert!((softmax_residual(&mut row, 2) - (100.0 + 2f64.ln())).abs() < 1e-12);
        let mut row = [800.0];
        assert_eq!(sigmoid_residual(&mut row, 0), 800.0);
        assert_eq!(row, [1.0]);
        let mut row = [-800.0];
        assert_eq!(sigmoid_residual(&mut row, 1), 800.0);
        assert_eq!(row, [-1.0]);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_value_and_threads_change_no_bit() {
        for outputs in [1, 3] {
            let n = 1300;
            let mut problem = Problem {
                x: (0..n * 4).map(|i| (i as f64 * 0.7).sin()).collect(),
                y: (0..n).map(|i| i % outputs.max(2)).collect(),
                weight: (0..n).map(|i| 1.0 + (i % 5) as f64).collect(),
                dim: 4,
                outputs,
                penalty: 0.5,
                share: false,
            };
            let at: Vec<f64> = (0..outputs * 5).map(|i| (i as f64).cos()).collect();
            let mut gradient = vec![0.0; at.len()];
            let value = problem.value_and_gradient(&at, &mut gradient);
            for i in 0..at.len() {
                let shifted = |by: f64| {
                    let mut there = at.clone();
                    there[i] += by;
                    problem.value_and_gradient(&there, &mut vec![0.0; at.len()])
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-5 * (1.0 + slope.abs()), "{i}: {slope} {}", gradient[i]);
            }
            problem.share = true;
            let mut shared = vec![0.0; at.len()];
            assert_eq!(problem.value_and_gradient(&at, &mut shared).to_bits(), value.to_bits());
            assert_eq!(shared, gradient);
        }
    }

    #[test]
    fn a_separable_pair_is_told_apart() {
        let x = array![[0.0f32], [1.0], [4.0], [5.0]];
        let fitted = LogisticRegression::default().fit(&DatasetBase::new(x.clone(), array![3usize, 3, 5, 5])).unwrap();
        let mut y = Array1::zeros(4);
        fitted.predict_inplace(&x, &mut y);
        assert_eq!(y, array![3, 3, 5, 5]);
    }
}
