//! A support vector classifier with its own support vectors, behind linfa's traits.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, Data, Ix2};

use super::dense::Real;
use super::groups::by_class;
use super::guard::Checked;
use super::params::Svm;
use super::platt::FOLDS_OF;
use super::products::{Block, Points, each_block, predict_blocks};
use super::svm::SvmModel;
use crate::diagnostic::Failure;
use crate::random::Stream;

/// A support vector classifier with its own support vectors.
#[derive(Clone, Debug)]
pub struct FittedSvm<F> {
    model: SvmModel<F>,
    points: Points<F>,
}

impl<F: Real> FittedSvm<F> {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> Vec<usize> {
        self.model.classes().collect()
    }

    /// Returns how many support vectors each class has.
    pub fn n_support(&self) -> Vec<usize> {
        self.model.supports.iter().map(|s| s.points.len()).collect()
    }

    /// Returns gamma as used.
    pub fn gamma(&self) -> f64 {
        self.model.gamma
    }

    /// Returns the steps taken by all machines together.
    pub fn iterations(&self) -> usize {
        self.model.iterations
    }

    /// Returns whether every machine met its tolerance.
    pub fn converged(&self) -> bool {
        self.model.converged
    }

    /// Returns queries × classes, Platt's probabilities; none unless they were asked for.
    pub fn probabilities<D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> Option<Array2<f64>> {
        let classes = self.model.supports.len();
        let of_block = |block: &Block<F>| {
            let (mut out, mut scores) = (vec![0; block.used()], vec![0.0; block.used() * classes]);
            self.model.predict_block(&self.points, block, &mut out, Some(&mut scores));
            scores
        };
        let wanted = !self.model.sigmoids.is_empty();
        wanted
            .then(|| each_block(&self.points, queries.view(), of_block))
            .and_then(|all| Array2::from_shape_vec((queries.nrows(), classes), all).ok())
    }

    /// Returns queries × pairs (0,1), (0,2) .. (1,2) ..: above 0 speaks for the first class of the pair.
    pub fn decision_values<D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> Array2<F> {
        let pairs = self.model.rho.len();
        let all = each_block(&self.points, queries.view(), |block| {
            let mut out = vec![F::default(); block.used() * pairs];
            let mut at = 0;
            self.model.decisions(&self.points, block, |_, _, decision| {
                for (query, &d) in decision.iter().enumerate().take(block.used()) {
                    out[query * pairs + at] = d;
                }
                at += 1;
            });
            out
        });
        Array2::from_shape_fn((queries.nrows(), pairs), |(i, j)| all[i * pairs + j])
    }
}

impl<F: Real, D: Data<Elem = F>, T: AsSingleTargets<Elem = usize>> Fit<ArrayBase<D, Ix2>, T, Failure> for Checked<Svm> {
    type Object = FittedSvm<F>;

    /// Fits on rows of any classes; folds for probabilities are drawn from seed 0.
    ///
    /// # Errors
    /// When there are rows of fewer than two classes, or the kernel does not fit into memory.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedSvm<F>, Failure> {
        let all = Points::all(dataset.records.view());
        let groups = by_class(dataset.targets.as_single_targets().iter().copied());
        let mut model = SvmModel::fit(&all, &groups, self, &Stream::new(0, FOLDS_OF), true)?;
        let kept = model.support_points();
        let points = Points::gather(dataset.records.view(), kept.iter().copied());
        model.renumber(|old| kept.partition_point(|&k| k < old));
        Ok(FittedSvm { model, points })
    }
}

impl<F: Real, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for FittedSvm<F> {
    fn predict_inplace<'a>(&'a self, queries: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        assert_eq!(queries.nrows(), y.len(), "one class per query");
        predict_blocks(&self.points, queries, y, |block, out| self.model.predict_block(&self.points, block, out, None));
    }

    fn default_target(&self, queries: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(queries.nrows())
    }
}

#[cfg(test)]
mod tests {
    use super::super::params::{Kernel, Rule};
    use super::*;
    use linfa::traits::Predict;
    use ndarray::array;

    #[test]
    fn a_linear_machine_separates_three_corners() {
        let x = array![[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.1], [0.0, 5.0], [0.1, 5.1]];
        let data = DatasetBase::new(x.clone(), array![4usize, 4, 7, 7, 9, 9]);
        let fitted = Svm { kernel: Kernel::Linear, ..Svm::default() }.fit(&data).unwrap();
        assert_eq!(fitted.predict(&x), array![4, 4, 7, 7, 9, 9]);
        assert_eq!(fitted.classes(), [4, 7, 9]);
    }

    // SVC(class_weight="balanced", tol=1e-10).fit(x, y).decision_function(queries), scikit-learn 1.9.1; of two classes for the second.
    #[test]
    fn scores_are_scikit_learns_decision_function() {
        let x = array![[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 1.0], [0.0, 5.0], [1.0, 6.0]];
        let queries: Array2<f64> = array![[2.0, 1.0], [0.0, 3.0], [4.0, 4.0]];
        let scores = |rows: usize| {
            let data = DatasetBase::new(x.slice(ndarray::s![..rows, ..]).to_owned(), Array1::from_shape_fn(rows, |i| i / 2));
            let fitted: FittedSvm<f64> = Svm { tolerance: 1e-10, ..Svm::default() }.fit(&data).unwrap();
            let (mut out, mut scores) = ([0; 3], vec![0.0; 3 * rows / 2]);
            let mut block = Block::default();
            block.fill(&fitted.points, queries.view(), 0);
            fitted.model.predict_block(&fitted.points, &block, &mut out, Some(&mut scores));
            assert_eq!(fitted.predict(&queries).to_vec(), out);
            scores
        };
        let three = [2.17781339, 0.93158008, -0.15650571, 1.06099745, -0.16994885, 2.14979982, -0.10100624, 2.05970855, 1.05933345];
        let two = [0.49561275, -0.49561275, 0.39965657, -0.39965657, -0.19737633, 0.19737633];
        let apart = |found: Vec<f64>, expected: &[f64]| found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart(scores(6), &three) < 1e-6 && apart(scores(4), &two) < 1e-6);
    }

    #[test]
    fn the_largest_probability_names_the_class_where_it_is_asked_to() {
        let x = Array2::from_shape_fn((90, 2), |(i, d)| ((i * (d + 3)) as f64 * 0.7).sin() * 1.5 + if d == i % 3 { 1.0 } else { 0.0 });
        let data = DatasetBase::new(x.clone(), Array1::from_shape_fn(90, |i| i % 3));
        let fit = |predict| -> FittedSvm<f64> { Svm { probability: true, predict, ..Svm::default() }.fit(&data).unwrap() };
        let (votes, largest) = (fit(Rule::Votes), fit(Rule::Probability));
        let x = Array2::from_shape_fn((400, 2), |(i, d)| [i % 20, i / 20][d] as f64 * 0.3 - 3.0);
        let probabilities = largest.probabilities(&x).unwrap();
        assert_eq!(votes.probabilities(&x).unwrap(), probabilities);
        let named = largest.predict(&x);
        for (row, class) in probabilities.rows().into_iter().zip(&named) {
            assert!(row.iter().all(|p| *p <= row[*class]), "{row} {class}");
        }
        assert_ne!(votes.predict(&x), named);
    }

    #[test]
    fn one_class_is_refused_by_name() {
        let data = DatasetBase::new(array![[0.0], [1.0]], array![0usize, 0]);
        let failure = Svm::default().fit(&data).unwrap_err();
        assert_eq!(failure.message(), "a support vector machine needs rows of at least 2 classes, got 1");
    }
}
