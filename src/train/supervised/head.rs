//! The linear layer on top of the features, and the weighted cross-entropy.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::random::Stream;

/// classes × dimensions weights, then one bias per class, as one flat list.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    pub dim: usize,
    pub classes: usize,
    pub parameters: Vec<f32>,
}

impl Linear {
    /// Weights from a normal of deviation 0.02 cut at ±2, biases 0.
    pub fn new(dim: usize, classes: usize, draws: &Stream) -> Self {
        let mut draws = draws.draws();
        let mut parameters: Vec<f32> = (0..classes * dim).map(|_| draws.truncated_normal(0.02, 2.0) as f32).collect();
        parameters.resize(classes * (dim + 1), 0.0);
        Self { dim, classes, parameters }
    }

    /// Returns classes × dimensions.
    pub fn weights(&self) -> &[f32] {
        &self.parameters[..self.classes * self.dim]
    }

    /// Returns one bias per class.
    pub fn biases(&self) -> &[f32] {
        &self.parameters[self.classes * self.dim..]
    }

    /// Returns rows × classes.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let n = features.len() / self.dim;
        let mut out = self.biases().repeat(n);
        let (f, w) = (rows(features, n, self.dim), rows(self.weights(), self.classes, self.dim));
        matmul(rows_mut(&mut out, n, self.classes), Accum::Add, f, w.transpose(), 1.0, Par::Seq);
        out
    }

    /// Returns the class with the largest logit of each row, the lowest among equals.
    pub fn predict(&self, features: &[f32]) -> Vec<usize> {
        largest(&self.logits(features), self.classes)
    }

    /// Writes the gradients by the parameters and, where wanted, by the features; returns the loss.
    ///
    /// The loss is Σ weight · -log probability of the truth / Σ weight over the rows, as PyTorch's weighted cross-entropy.
    pub fn cross_entropy(
        &self,
        features: &[f32],
        truth: &[usize],
        class_weights: &[f32],
        gradient: &mut [f32],
        by_features: Option<&mut [f32]>,
    ) -> f64 {
        let n = truth.len();
        let mut residuals = self.logits(features);
        let total: f64 = truth.iter().map(|&t| f64::from(class_weights[t])).sum();
        let mut loss = 0.0;
        let (by_weights, by_biases) = gradient.split_at_mut(self.classes * self.dim);
        by_biases.fill(0.0);
        for (row, &truth) in residuals.chunks_exact_mut(self.classes).zip(truth) {
            let share = f64::from(class_weights[truth]) / total;
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let own = f64::from(row[truth] - highest);
            let sum: f64 = row.iter().map(|z| f64::from(z - highest).exp()).sum();
            loss += share * (sum.ln() - own);
            for (class, z) in row.iter_mut().enumerate() {
                let probability = f64::from(*z - highest).exp() / sum;
                *z = (share * (probability - f64::from(u8::from(class == truth)))) as f32;
                by_biases[class] += *z;
            }
        }
        let r = rows(&residuals, n, self.classes);
        matmul(rows_mut(by_weights, self.classes, self.dim), Accum::Replace, r.transpose(), rows(features, n, self.dim), 1.0, Par::Seq);
        if let Some(out) = by_features {
            matmul(rows_mut(out, n, self.dim), Accum::Replace, r, rows(self.weights(), self.classes, self.dim), 1.0, Par::Seq);
        }
        loss
    }
}

/// Returns the place of the largest of each row's logits, the first among equals.
pub(crate) fn largest(logits: &[f32], classes: usize) -> Vec<usize> {
    let best = |row: &[f32]| (1..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
    logits.chunks_exact(classes).map(best).collect()
}

/// Returns the probability of one class for each row of logits.
pub(crate) fn probabilities(logits: &[f32], classes: usize, class: usize) -> Vec<f64> {
    let of_row = |row: &[f32]| {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|z| f64::from(z - highest).exp()).sum();
        f64::from(row[class] - highest).exp() / sum
    };
    logits.chunks_exact(classes).map(of_row).collect()
}

fn rows(data: &[f32], n: usize, dim: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(data, n, dim)
}

fn rows_mut(data: &mut [f32], n: usize, dim: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(data, n, dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_the_slopes_of_the_loss() {
        let head = Linear::new(3, 4, &Stream::new(1, "head"));
        let features: Vec<f32> = (0..15).map(|i| (i as f32).sin()).collect();
        let (truth, weights) = ([0, 3, 1, 1, 2], [0.5, 1.0, 1.5, 1.0]);
        let loss = |head: &Linear, features: &[f32]| head.cross_entropy(features, &truth, &weights, &mut [0.0; 16], None);
        let (mut by_parameters, mut by_features) = ([0.0; 16], [0.0; 15]);
        head.cross_entropy(&features, &truth, &weights, &mut by_parameters, Some(&mut by_features));
        let step = 1e-2f32;
        for (i, by_parameter) in by_parameters.into_iter().enumerate() {
            let [mut a, mut b] = [head.clone(), head.clone()];
            a.parameters[i] += step;
            b.parameters[i] -= step;
            let slope = (loss(&a, &features) - loss(&b, &features)) / f64::from(2.0 * step);
            assert!((slope - f64::from(by_parameter)).abs() < 1e-4, "parameter {i}");
        }
        for (i, by_feature) in by_features.into_iter().enumerate() {
            let [mut a, mut b] = [features.clone(), features.clone()];
            a[i] += step;
            b[i] -= step;
            let slope = (loss(&head, &a) - loss(&head, &b)) / f64::from(2.0 * step);
            assert!((slope - f64::from(by_feature)).abs() < 1e-4, "feature {i}");
        }
    }

    #[test]
    fn a_loss_of_any_size_stays_finite() {
        let head = Linear { dim: 1, classes: 2, parameters: vec![1.0, 0.0, 0.0, 0.0] };
        assert_eq!(head.cross_entropy(&[1e4], &[1], &[1.0, 1.0], &mut [0.0; 4], None), 1e4);
    }
}
