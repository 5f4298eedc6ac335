//! Multinomial logistic regression with an L2 penalty, solved tightly in f64 with products in f32.
//!
//! minimise |W|²/(2c) + Σ weight · -log softmax(W x + b)[class]; the intercept b is not penalised. With two classes W has one row and
//! the sigmoid stands for the softmax, as in scikit-learn: half the penalty of a softmax of two rows.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Data, Ix2};

use super::dense::{Real, multiply, rows};
use super::groups::{ClassRows, by_class, class_weights};
use super::guard::Checked;
use super::lbfgs::Ending;
use super::logistic_problem::{Problem, sigmoid};
use super::params::{LogisticRegression, Solver, Stop};
use super::products::{Block, Points, WIDTH, predict_blocks};
use crate::diagnostic::{Failure, count};

/// A fitted logistic regression.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedLogistic {
    classes: Vec<usize>,
    /// Classes × dimensions; one row for the second class when there are two.
    coefficients: Array2<f64>,
    intercepts: Array1<f64>,
    ending: Ending,
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
        let chosen: Vec<usize> = rows().map(|(_, point)| point).collect();
        let mut x = Vec::with_capacity(chosen.len() * dim);
        chosen.iter().for_each(|point| x.extend(points.row(*point).iter().map(|v| v.wide() as f32)));
        let problem = Problem {
            points,
            x,
            rows: chosen,
            y: rows().map(|(place, _)| place).collect(),
            weight: rows().map(|(place, _)| weights[place]).collect(),
            dim,
            outputs,
            penalty: 1.0 / how.c,
            share,
        };
        let counted = match how.stop {
            Stop::Sum => 1.0,
            Stop::Mean => problem.weight.iter().sum(),
        };
        let (mut at, ending) = problem.solve(how.tolerance * counted, how.max_iter);
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
    pub fn predict_block(&self, block: &Block<F>, out: &mut [usize], scores: Option<&mut [f64]>) {
        let outputs = self.intercepts.len();
        let dim = self.coefficients.len() / outputs;
        let mut logits = vec![F::default(); outputs * WIDTH];
        let w = rows(&self.coefficients, outputs, dim);
        multiply(&mut logits, false, w, rows(block.queries(), WIDTH, dim).t());
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
                row.copy_from_slice(&[sigmoid(-z), sigmoid(z)]);
                continue;
            }
            let highest = (0..outputs).map(|class| logit(class, query).wide()).fold(f64::NEG_INFINITY, f64::max);
            let power = |class: usize| (logit(class, query).wide() - highest).exp();
            let sum: f64 = (0..outputs).map(power).sum();
            row.iter_mut().enumerate().for_each(|(class, score)| *score = power(class) / sum);
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
    fn the_rule_of_the_mean_stops_earlier_than_that_of_the_sum_and_near_it() {
        let x = Array2::from_shape_fn((600, 3), |(i, d)| ((3 * i + d) as f64 * 0.37).sin() + (i % 3 == d) as u8 as f64);
        let y = Array1::from_shape_fn(600, |i| i % 3);
        let fit = |stop| LogisticRegression { stop, ..LogisticRegression::default() }.fit(&DatasetBase::new(x.clone(), y.clone())).unwrap();
        let (sum, mean) = (fit(Stop::Sum), fit(Stop::Mean));
        assert!(mean.converged() && sum.converged() && mean.iterations() < sum.iterations());
        let apart = (&sum.probabilities(&x) - &mean.probabilities(&x)).fold(0.0, |m: f64, d| m.max(d.abs()));
        assert!(apart > 0.0 && apart < 1e-2, "{apart}");
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
