//! Rows sorted by class, and what a row of each class counts. Unaware of features.

use super::params::ClassWeight;

/// The rows of one class, as numbers of points, in the order in which they were given.
pub(crate) struct ClassRows {
    pub class: usize,
    pub points: Vec<usize>,
}

/// Sorts rows by class: what every classifier starts from. Classes ascend and have at least one row.
pub(crate) fn by_class(labels: impl Iterator<Item = usize>) -> Vec<ClassRows> {
    let mut groups = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for (row, class) in labels.enumerate() {
        groups.entry(class).or_default().push(row);
    }
    groups.into_iter().map(|(class, points)| ClassRows { class, points }).collect()
}

/// What one row of each class counts.
pub(crate) fn class_weights(groups: &[ClassRows], how: ClassWeight) -> Vec<f64> {
    let total: usize = groups.iter().map(|g| g.points.len()).sum();
    groups
        .iter()
        .map(|g| match how {
            ClassWeight::Balanced => total as f64 / (groups.len() * g.points.len()) as f64,
            ClassWeight::Uniform => 1.0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // compute_class_weight("balanced", classes=[3, 7], y=[7, 3, 7, 7])
    #[test]
    fn balanced_weights_are_scikit_learns() {
        let groups = by_class([7, 3, 7, 7].into_iter());
        assert_eq!(groups.iter().map(|g| (g.class, g.points.clone())).collect::<Vec<_>>(), [(3, vec![1]), (7, vec![0, 2, 3])]);
        assert_eq!(class_weights(&groups, ClassWeight::Balanced), [2.0, 4.0 / 6.0]);
    }
}
