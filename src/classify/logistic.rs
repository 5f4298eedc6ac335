//! Multinomial logistic regression with an L2 penalty, solved tightly: the way there with products in f32, the end in f64.
//!
//! minimise |W|²/(2c) + Σ weight · -log softmax(W x + b)[class]; the intercept b is not penalised. With two classes W has one row and
//! the sigmoid stands for the softmax, as in scikit-learn: half the penalty of a softmax of two rows.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Data, Ix2};

use super::dense::{Real, exponentials, multiply, rows, rows_mut, spread};
use super::groups::{ClassRows, by_class, class_weights};
use super::guard::Checked;
use super::lbfgs::{Ending, Memory, minimise};
use super::params::{LogisticRegression, Solver};
use super::products::{Block, Points, WIDTH, predict_blocks};
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
struct Problem<F> {
    /// Rows × dimensions.
    x: Vec<F>,
    /// Place of each row's class among the classes.
    y: Vec<usize>,
    weight: Vec<f64>,
    dim: usize,
    /// Rows of W.
    outputs: usize,
    penalty: f64,
    share: bool,
}

impl<F: Real> Problem<F> {
    /// Writes the gradient at (W row by row, b) and returns the value.
    fn value_and_gradient(&self, at: &[f64], gradient: &mut [f64]) -> f64 {
        let (w, b) = at.split_at(self.outputs * self.dim);
        let n_chunks = self.y.len().div_ceil(CHUNK);
        let (w_gradient, b_gradient) = gradient.split_at_mut(w.len());
        let mut value = 0.5 * self.penalty * w.iter().map(|w| w * w).sum::<f64>();
        w_gradient.iter_mut().zip(w).for_each(|(g, w)| *g = self.penalty * w);
        b_gradient.fill(0.0);
        // Partial sums of fixed chunks, added in order: the same bits on one thread and on many.
        let narrow: Vec<F> = w.iter().map(|&w| F::of(w)).collect();
        let parts = spread(self.share, n_chunks, |chunk| self.part(chunk, &narrow, b));
        for (loss, w_part, b_part) in &parts {
            value += loss;
            w_gradient.iter_mut().zip(w_part).for_each(|(g, p)| *g += p.wide());
            b_gradient.iter_mut().zip(b_part).for_each(|(g, p)| *g += p);
        }
        value
    }

    /// Returns the loss of a chunk of rows and its gradient by W and b.
    fn part(&self, chunk: usize, w: &[F], b: &[f64]) -> (f64, Vec<F>, Vec<f64>) {
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(self.y.len());
        let (n, outputs) = (range.len(), self.outputs);
        let x = rows(&self.x[range.start * self.dim..range.end * self.dim], n, self.dim);
        let mut narrow = vec![F::default(); n * outputs];
        multiply(rows_mut(&mut narrow, n, outputs), false, x, rows(w, outputs, self.dim).transpose());
        let mut logits: Vec<f64> = narrow.iter().map(|z| z.wide()).collect();
        logits.chunks_exact_mut(outputs).for_each(|row| row.iter_mut().zip(b).for_each(|(z, b)| *z += b));
        let (truth, weights) = (&self.y[range.clone()], &self.weight[range]);
        let loss =
            if outputs == 1 { sigmoid_residuals(&mut logits, truth, weights) } else { softmax_residuals(&mut logits, truth, weights) };
        let mut b_part = vec![0.0; outputs];
        for row in logits.chunks_exact(outputs) {
            b_part.iter_mut().zip(row).for_each(|(g, r)| *g += r);
        }
        narrow.iter_mut().zip(&logits).for_each(|(n, r)| *n = F::of(*r));
        let mut w_part = vec![F::default(); w.len()];
        multiply(rows_mut(&mut w_part, outputs, self.dim), false, rows(&narrow, n, outputs).transpose(), x);
        (loss, w_part, b_part)
    }
}

/// Turns rows of logits into weight · (probability - truth) and returns the sum of weight · -log probability of the truth.
///
/// Right for logits of any size.
fn softmax_residuals(logits: &mut [f64], truth: &[usize], weights: &[f64]) -> f64 {
    let outputs = logits.len() / truth.len();
    let mut loss = 0.0;
    for ((row, &truth), weight) in logits.chunks_exact_mut(outputs).zip(truth).zip(weights) {
        let highest = row.iter().fold(f64::NEG_INFINITY, |m, &z| if z > m { z } else { m });
        row.iter_mut().for_each(|z| *z -= highest);
        loss -= weight * row[truth];
    }
    exponentials(logits);
    for ((row, &truth), weight) in logits.chunks_exact_mut(outputs).zip(truth).zip(weights) {
        let sum: f64 = row.iter().sum();
        loss += weight * sum.ln();
        let scale = weight / sum;
        row.iter_mut().for_each(|p| *p *= scale);
        row[truth] -= weight;
    }
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
fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
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
        let outputs = if classes.len() == 2 { 1 } else { classes.len() };
        let y: Vec<usize> = rows().map(|(place, _)| place).collect();
        let weight: Vec<f64> = rows().map(|(place, _)| weights[place]).collect();
        let penalty = 1.0 / how.c;

        let mut at = vec![0.0; outputs * (dim + 1)];
        let mut memory = Memory::default();
        let mut before = 0;
        // What products in f32 can still tell of the gradient's sum over so many rows.
        let coarse = y.len() as f64 * 1e-6;
        if how.tolerance < coarse {
            let x = rows().flat_map(|(_, p)| points.row(p).iter().map(|v| v.wide() as f32)).collect();
            let problem = Problem { x, y: y.clone(), weight: weight.clone(), dim, outputs, penalty, share };
            before = minimise(&mut at, coarse, how.max_iter, &mut memory, |at, g| problem.value_and_gradient(at, g)).iterations;
        }
        let x = rows().flat_map(|(_, p)| points.row(p).iter().map(|v| v.wide())).collect();
        let problem: Problem<f64> = Problem { x, y, weight, dim, outputs, penalty, share };
        let mut ending = minimise(&mut at, how.tolerance, how.max_iter - before, &mut memory, |at, g| problem.value_and_gradient(at, g));
        ending.iterations += before;
        let intercepts = Array1::from_vec(at.split_off(outputs * dim));
        let coefficients = Array2::from_shape_fn((outputs, dim), |(o, d)| at[o * dim + d]);
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
                row[1] = sigmoid(*z);
                row[0] = sigmoid(-*z);
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
    /// Returns the fitted classes, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Writes the class of each query: the largest logit, the lowest class among equals. If asked, also queries × classes, probabilities.
    pub fn predict_block(&self, block: &Block<F>, out: &mut [usize], scores: Option<&mut [f32]>) {
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
        for (query, row) in scores.into_iter().flat_map(|scores| scores.chunks_exact_mut(self.classes.len())).enumerate() {
            if outputs == 1 {
                let z = logit(0, query).wide();
                row.copy_from_slice(&[sigmoid(-z) as f32, sigmoid(z) as f32]);
                continue;
            }
            let highest = (0..outputs).map(|class| logit(class, query).wide()).fold(f64::NEG_INFINITY, f64::max);
            let power = |class: usize| (logit(class, query).wide() - highest).exp();
            let sum: f64 = (0..outputs).map(power).sum();
            row.iter_mut().enumerate().for_each(|(class, score)| *score = (power(class) / sum) as f32);
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
        predict_blocks(&none, queries, y, |block, out| ready.predict_block(block, out, None));
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
        // The second row lies far below the first: a maximum over both would lose it.
        let mut rows = [900.0, 0.0, 0.0, -900.0, -900.0, -1000.0];
        let loss = softmax_residuals(&mut rows, &[0, 2], &[1.0, 1.0]);
        assert!((loss - (100.0 + 2f64.ln())).abs() < 1e-12);
        assert!((rows[3] - 0.5).abs() < 1e-15 && (rows[5] + 1.0).abs() < 1e-15);
        let mut rows = [800.0, -800.0, -800.0];
        assert_eq!(sigmoid_residuals(&mut rows, &[0, 1, 0], &[1.0, 2.0, 1.0]), 2400.0);
        assert_eq!(rows, [1.0, -2.0, 0.0]);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_value_and_threads_change_no_bit() {
        for outputs in [1, 3] {
            let n = 1300;
            let mut problem = Problem {
                x: (0..n * 4).map(|i| (f64::from(i) * 0.7).sin()).collect::<Vec<f64>>(),
                y: (0..n as usize).map(|i| i % outputs.max(2)).collect(),
                weight: (0..n).map(|i| 1.0 + f64::from(i % 5)).collect(),
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
