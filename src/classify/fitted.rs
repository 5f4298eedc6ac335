//! A classifier fitted for use: on all rows given, with its own points, ready to name classes of new rows.

use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, Predict};
use ndarray::{Array1, Array2};

use super::fitted_svm::FittedSvm;
use super::knn::FittedKnn;
use super::logistic::FittedLogistic;
use super::params::Classifier;
use crate::diagnostic::{Failure, count};

/// Any of the three classifiers, fitted.
#[derive(Clone, Debug)]
pub enum FittedClassifier {
    Svm(FittedSvm<f32>),
    LogisticRegression(FittedLogistic),
    Knn(FittedKnn<f32>),
}

impl Classifier {
    /// Fits on rows × dimensions and one class per row.
    ///
    /// # Errors
    /// When rows and classes differ in number, the parameters have mistakes, or the fit fails.
    pub fn fit(&self, rows: Array2<f32>, classes: Array1<usize>) -> Result<FittedClassifier, Failure> {
        if rows.nrows() != classes.len() {
            return Err(Failure::new(format!("{} have {}", count(rows.nrows(), "row"), count(classes.len(), "label"))));
        }
        let data = DatasetBase::new(rows, classes);
        Ok(match self {
            Self::Svm(how) => FittedClassifier::Svm(how.fit(&data)?),
            Self::LogisticRegression(how) => FittedClassifier::LogisticRegression(how.fit(&data)?),
            Self::Knn(how) => FittedClassifier::Knn(how.fit(&data)?),
        })
    }
}

impl FittedClassifier {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> Vec<usize> {
        match self {
            Self::Svm(fitted) => fitted.classes(),
            Self::LogisticRegression(fitted) => fitted.classes().to_vec(),
            Self::Knn(fitted) => fitted.classes().to_vec(),
        }
    }

    /// Returns the class of each row.
    pub fn predict(&self, rows: &Array2<f32>) -> Array1<usize> {
        match self {
            Self::Svm(fitted) => fitted.predict(rows),
            Self::LogisticRegression(fitted) => fitted.predict(rows),
            Self::Knn(fitted) => fitted.predict(rows),
        }
    }

    /// Returns rows × classes that sum to one; none for a support vector machine that was not asked for them.
    pub fn probabilities(&self, rows: &Array2<f32>) -> Option<Array2<f64>> {
        match self {
            Self::Svm(fitted) => fitted.probabilities(rows),
            Self::LogisticRegression(fitted) => Some(fitted.probabilities(rows)),
            Self::Knn(fitted) => Some(fitted.probabilities(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::params::{Knn, LogisticRegression, Svm};
    use super::*;

    #[test]
    fn every_classifier_learns_two_heaps_and_names_its_classes() {
        let rows = Array2::from_shape_fn((20, 2), |(i, j)| if i < 10 { 0.0 } else { 3.0 } + ((i + j) as f32).sin() * 0.3);
        let classes = Array1::from_shape_fn(20, |i| if i < 10 { 2 } else { 5 });
        for classifier in [
            Classifier::Svm(Svm::default()),
            Classifier::Svm(Svm { probability: true, ..Svm::default() }),
            Classifier::LogisticRegression(LogisticRegression::default()),
            Classifier::Knn(Knn::default()),
        ] {
            let fitted = classifier.fit(rows.clone(), classes.clone()).unwrap();
            assert_eq!(fitted.classes(), [2, 5]);
            assert_eq!(fitted.predict(&rows), classes);
            if let Some(probabilities) = fitted.probabilities(&rows) {
                assert!(probabilities.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12));
            }
        }
        let failure = Classifier::Knn(Knn::default()).fit(rows, Array1::zeros(3)).unwrap_err();
        assert_eq!(failure.message(), "20 rows have 3 labels");
    }
}
