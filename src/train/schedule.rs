//! Quantities that change over the steps of a training.

use std::f64::consts::PI;

/// From `from` to `to` along half a cosine, after a linear warm-up from 0 (facebookresearch/dino, `cosine_scheduler`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    pub from: f64,
    pub to: f64,
    /// All steps, the warm-up's included.
    pub steps: u64,
    pub warm_up: u64,
}

impl Cosine {
    /// Returns the value at step `s`, counted from 0.
    pub fn at(&self, s: u64) -> f64 {
        if s < self.warm_up {
            // linspace(0, from, warm_up), both ends included.
            return if self.warm_up == 1 { 0.0 } else { self.from * s as f64 / (self.warm_up - 1) as f64 };
        }
        let left = (self.steps.saturating_sub(self.warm_up)).max(1) as f64;
        let progress = ((s - self.warm_up) as f64 / left).min(1.0);
        self.to + 0.5 * (self.from - self.to) * (1.0 + (PI * progress).cos())
    }
}

/// Returns the value at step `s` of a straight line from `from` to `to` over `steps`, and `to` after it.
pub fn warm_up(from: f64, to: f64, steps: u64, s: u64) -> f64 {
    if steps == 0 { to } else { from + (to - from) * (s as f64 / steps as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_published_schedules() {
        let decay = Cosine { from: 0.04, to: 0.4, steps: 100, warm_up: 0 };
        assert!((decay.at(50) - 0.22).abs() < 1e-12);
        // make.py's learning rate: cosine(1e-3, 1e-6, 5, s, warmup=2).
        let rate = Cosine { from: 1e-3, to: 1e-6, steps: 5, warm_up: 2 };
        let expected = [0.0, 1e-3, 1e-3, 7.502_5e-4, 2.507_5e-4];
        expected.iter().enumerate().for_each(|(s, e)| assert!((rate.at(s as u64) - e).abs() < 1e-15));
        assert_eq!([warm_up(0.02, 0.04, 3, 0), warm_up(0.02, 0.04, 3, 9), warm_up(0.02, 0.04, 0, 0)], [0.02, 0.04, 0.04]);
    }
}
