//! The area under the ROC curve of each class against the rest, with scikit-learn's conventions.
//!
//! An area is the share of pairs (row of the class, other row) in which the row of the class has the higher score, equal scores counting
//! half (Hanley and McNeil 1982, Radiology 143(1):29), which is what the trapezoids of `roc_curve` sum to. Counted in whole numbers.

use serde::{Deserialize, Serialize};

/// The areas of all classes, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RocAuc {
    by_class: Vec<Option<f64>>,
}

impl RocAuc {
    /// Judges the scores of rows whose true classes are `truth`; `scores(class)` has one score per row, or is none where the class was not learnt.
    ///
    /// A class has no area where it was not learnt, or where no row or every row is of it (scikit-learn: NaN).
    ///
    /// # Panics
    /// If there are not as many scores as rows.
    pub fn of(classes: usize, truth: &[usize], scores: impl Fn(usize) -> Option<Vec<f64>>) -> Self {
        let by_class = (0..classes).map(|class| area(truth.iter().map(|t| *t == class), scores(class)?)).collect();
        Self { by_class }
    }

    /// Averages the areas of several judgements of the same classes; a class that has none in any has none.
    pub fn mean<'a>(of: impl Iterator<Item = &'a Self> + Clone, classes: usize) -> Self {
        let mean = |class: usize| {
            let areas = of.clone().map(|areas| areas.of_class(class)).collect::<Option<Vec<f64>>>()?;
            (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
        };
        Self { by_class: (0..classes).map(mean).collect() }
    }

    /// Returns the area of a class; none where it is not defined.
    pub fn of_class(&self, class: usize) -> Option<f64> {
        self.by_class.get(class).copied().flatten()
    }

    /// Returns the mean area over the classes (`roc_auc_score(multi_class="ovr")`), none where any class has none: scikit-learn's is NaN then.
    /// Of two classes it is the area of the second, whose scores are those that scikit-learn asks for.
    pub fn macro_average(&self) -> Option<f64> {
        if let [_, second] = self.by_class[..] {
            return second;
        }
        let areas = self.by_class.iter().copied().collect::<Option<Vec<f64>>>()?;
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }
}

/// The area of one class; none without rows of it or without others.
fn area(is_of_class: impl ExactSizeIterator<Item = bool>, scores: Vec<f64>) -> Option<f64> {
    assert_eq!(is_of_class.len(), scores.len(), "one score per row");
    let (mut of_class, mut others) = (Vec::new(), Vec::with_capacity(scores.len()));
    for (mine, score) in is_of_class.zip(scores) {
        // A sum with 0 makes one zero of both, which are equal but do not sort so.
        if mine { &mut of_class } else { &mut others }.push(score + 0.0);
    }
    of_class.sort_unstable_by(f64::total_cmp);
    others.sort_unstable_by(f64::total_cmp);
    // For each row of the class, twice the others below it and once those beside it.
    let (mut below, mut up_to, mut twice) = (0, 0, 0u64);
    for score in &of_class {
        while others.get(below).is_some_and(|other| other < score) {
            below += 1;
        }
        up_to = up_to.max(below);
        while others.get(up_to).is_some_and(|other| other <= score) {
            up_to += 1;
        }
        twice += (below + up_to) as u64;
    }
    let pairs = of_class.len() as f64 * others.len() as f64;
    (pairs > 0.0).then(|| twice as f64 / (2.0 * pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() {
        let truth = [0, 0, 1, 1, 1];
        let of = |scores: [f64; 5]| RocAuc::of(2, &truth, |class| Some(scores.map(|s| if class == 1 { s } else { -s }).to_vec()));
        assert_eq!(of([0.1, 0.2, 0.3, 0.4, 0.5]).macro_average(), Some(1.0));
        assert_eq!(of([0.5, 0.4, 0.3, 0.2, 0.1]).macro_average(), Some(0.0));
        assert_eq!(of([0.0, -0.0, 0.0, -0.0, 0.0]).macro_average(), Some(0.5));
        // Of six pairs four are right and one is a tie.
        assert_eq!(of([0.3, 0.1, 0.2, 0.3, 0.4]).by_class, [Some(0.75), Some(0.75)]);
    }

    #[test]
    fn what_is_not_defined_is_not_zero() {
        let rows = |truth: &[usize], learnt: usize| {
            RocAuc::of(3, truth, |class| (class != learnt).then(|| truth.iter().map(|t| if *t == class { 1.0 } else { 0.0 }).collect()))
        };
        let absent = rows(&[0, 1, 0], 9);
        assert_eq!((absent.by_class.as_slice(), absent.macro_average()), (&[Some(1.0), Some(1.0), None][..], None));
        let unlearnt = rows(&[0, 1, 2], 1);
        assert_eq!((unlearnt.by_class.as_slice(), unlearnt.macro_average()), (&[Some(1.0), None, Some(1.0)][..], None));
        assert_eq!(rows(&[2, 2], 9).by_class, [None, None, None]);
        let whole = rows(&[0, 1, 2], 9);
        assert_eq!(RocAuc::mean([&whole, &unlearnt].into_iter(), 3), unlearnt);
    }
}
