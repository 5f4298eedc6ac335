//! Confusion matrices and what follows from them, with scikit-learn's conventions.

use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Row by row: `counts[truth * classes + predicted]`.
    counts: Vec<u64>,
    classes: usize,
}

impl Confusion {
    /// Starts at zero.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![0; classes * classes], classes }
    }

    /// Counts pairs of (truth, prediction).
    pub fn of(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self::new(classes);
        pairs.into_iter().for_each(|(truth, predicted)| confusion.count(truth, predicted));
        confusion
    }

    /// Counts one row.
    pub fn count(&mut self, truth: usize, predicted: usize) {
        assert!(truth < self.classes && predicted < self.classes, "a class lies beyond {} classes", self.classes);
        self.counts[truth * self.classes + predicted] += 1;
    }

    /// Adds the counts of another matrix of the same classes.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "confusion matrices of different classes");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// Returns how many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Returns how often rows of `truth` were taken for `predicted`.
    pub fn at(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// Returns the rows of a true class.
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class * self.classes..(class + 1) * self.classes].iter().sum()
    }

    /// Returns how often a class was predicted.
    pub fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|truth| self.at(truth, class)).sum()
    }

    /// Returns the share of a class's rows that were found; none when the class has no rows.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.at(class, class), self.support(class))
    }

    /// Returns the share of a class's predictions that were right; none when it was never predicted.
    pub fn precision(&self, class: usize) -> Option<f64> {
        share(self.at(class, class), self.predicted(class))
    }

    /// Returns the harmonic mean of precision and recall; none when the class is neither there nor predicted.
    pub fn f1(&self, class: usize) -> Option<f64> {
        share(2 * self.at(class, class), self.support(class) + self.predicted(class))
    }

    /// Returns the mean recall over the classes that have rows (`balanced_accuracy_score`).
    pub fn balanced_accuracy(&self) -> f64 {
        mean((0..self.classes).filter_map(|class| self.recall(class)))
    }

    /// Returns the share of rows predicted right (`accuracy_score`).
    pub fn accuracy(&self) -> f64 {
        let right = (0..self.classes).map(|class| self.at(class, class)).sum();
        share(right, self.counts.iter().sum()).unwrap_or(f64::NAN)
    }

    /// Returns the mean F1 over the classes that are there or predicted (`f1_score(average="macro")`).
    pub fn macro_f1(&self) -> f64 {
        mean((0..self.classes).filter_map(|class| self.f1(class)))
    }

    /// Returns the mean F1 over all rows, each counting that of its true class (`f1_score(average="weighted")`).
    pub fn weighted_f1(&self) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let sum: f64 = (0..self.classes).map(|class| self.f1(class).unwrap_or(0.0) * self.support(class) as f64).sum();
        if all > 0 { sum / all as f64 } else { f64::NAN }
    }

    /// Returns the share of a class's rows that were taken for the class itself or for one of its neighbours; none when it has no rows.
    ///
    /// Where classes are stages of one development, a neighbour is a forgivable answer (as in Matek et al. 2021, Blood 138(20):1917).
    pub fn tolerant_recall(&self, class: usize, neighbours: &[usize]) -> Option<f64> {
        let near = (0..self.classes).filter(|other| *other == class || neighbours.contains(other));
        share(near.map(|other| self.at(class, other)).sum(), self.support(class))
    }

    /// Returns the mean recall over the classes that are there or predicted, an absent class counting 0 (`recall_score(average="macro")`).
    pub fn macro_recall(&self) -> f64 {
        let involved = (0..self.classes).filter(|&class| self.support(class) + self.predicted(class) > 0);
        mean(involved.map(|class| self.recall(class).unwrap_or(0.0)))
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// NaN for nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

/// Returns mean and sample standard deviation (divisor n - 1); the deviation of a single value is 0.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let centre = mean(values.iter().copied());
    if values.len() < 2 {
        return (centre, 0.0);
    }
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    (centre, (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_without_rows_does_not_dilute_balanced_accuracy() {
        let confusion = Confusion::of(3, [(0, 0), (0, 1), (1, 1)]);
        assert_eq!(confusion.balanced_accuracy(), 0.75);
        assert_eq!(confusion.recall(2), None);
    }

    #[test]
    fn a_neighbour_is_forgiven_in_one_direction_only() {
        let confusion = Confusion::of(3, [(0, 0), (0, 1), (0, 2), (0, 2), (1, 0)]);
        assert_eq!([confusion.tolerant_recall(0, &[1]), confusion.tolerant_recall(0, &[1, 2, 0])], [Some(0.5), Some(1.0)]);
        assert_eq!([confusion.tolerant_recall(1, &[]), confusion.tolerant_recall(2, &[0])], [Some(0.0), None]);
    }
}
