//! The labelled rows of one repeat: those to learn from and those to validate on. Unaware of pictures.

use super::params::Stop;
use crate::classify::{ClassWeight, Roster};

/// A labelled row: its place in the order of the roster's training rows, and its class.
pub(crate) type Row = (usize, usize);

/// What one repeat has to work with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subset {
    pub learn: Vec<Row>,
    /// Empty when the smallest class is too small to hold anything out.
    pub validate: Vec<Row>,
}

impl Subset {
    /// Splits the sweep's own draw, class by class: the rows drawn last are held out.
    pub fn draw(roster: &Roster, repeat: usize, per_class: usize, how: &Stop) -> Self {
        let drawn = roster.draw(repeat, per_class);
        let smallest = drawn.iter().map(Vec::len).filter(|n| *n > 0).min().unwrap_or(0);
        let mut subset = Self { learn: Vec::new(), validate: Vec::new() };
        let mut first = 0;
        for (class, (rows, all)) in drawn.iter().zip(&roster.train).enumerate() {
            let held = if smallest < how.validate_from { 0 } else { held_out(rows.len(), how.validation) };
            let (learn, validate) = rows.split_at(rows.len() - held);
            subset.learn.extend(learn.iter().map(|row| (first + row, class)));
            subset.validate.extend(validate.iter().map(|row| (first + row, class)));
            first += all.len();
        }
        subset
    }

    /// Returns the labelled rows together.
    pub fn len(&self) -> usize {
        self.learn.len() + self.validate.len()
    }

    /// Returns what a row of each class counts: inverse to the class's rows, on average 1 over the classes there are.
    pub fn class_weights(&self, classes: usize, how: ClassWeight) -> Vec<f32> {
        let mut counts = vec![0usize; classes];
        self.learn.iter().for_each(|(_, class)| counts[*class] += 1);
        let present = counts.iter().filter(|n| **n > 0).count() as f64;
        let sum: f64 = counts.iter().filter(|n| **n > 0).map(|n| 1.0 / *n as f64).sum();
        let weight = |n: &usize| match (how, *n) {
            (_, 0) => 0.0,
            (ClassWeight::Uniform, _) => 1.0,
            (ClassWeight::Balanced, n) => (present / (n as f64 * sum)) as f32,
        };
        counts.iter().map(weight).collect()
    }
}

/// A share of n, at least one and never all.
fn held_out(n: usize, share: f64) -> usize {
    if n < 2 { 0 } else { ((n as f64 * share).round() as usize).clamp(1, n - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(learn: &[usize]) -> Subset {
        let learn = learn.iter().enumerate().flat_map(|(class, n)| (0..*n).map(move |i| (i, class))).collect();
        Subset { learn, validate: Vec::new() }
    }

    #[test]
    fn class_weights_are_inverse_to_the_rows_and_one_on_average() {
        let weights = subset(&[1, 3, 0]).class_weights(3, ClassWeight::Balanced);
        assert_eq!(weights, [1.5, 0.5, 0.0]);
        assert_eq!(subset(&[1, 3]).class_weights(2, ClassWeight::Uniform), [1.0, 1.0]);
    }

    #[test]
    fn something_is_held_out_but_never_everything() {
        assert_eq!([2, 4, 10, 100].map(|n| held_out(n, 0.3)), [1, 1, 3, 30]);
    }
}
