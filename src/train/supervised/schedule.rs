//! The learning rate from step to step.

use super::params::{Plateau, Schedule};

/// A schedule and where it stands.
pub(crate) struct Rate<'a> {
    largest: f64,
    schedule: &'a Schedule,
    factor: f64,
    steps: usize,
    /// Moving average of the loss, its best value, steps since that and steps of rest left.
    averaged: Option<f64>,
    best: f64,
    waiting: usize,
    resting: usize,
}

impl<'a> Rate<'a> {
    pub fn new(largest: f64, schedule: &'a Schedule) -> Self {
        Self { largest, schedule, factor: 1.0, steps: 0, averaged: None, best: f64::INFINITY, waiting: 0, resting: 0 }
    }

    /// Returns the rate of the next step.
    pub fn next(&self) -> f64 {
        let rising = match self.schedule {
            Schedule::Plateau(p) if self.steps < p.warm_up => (self.steps + 1) as f64 / p.warm_up as f64,
            _ => 1.0,
        };
        self.largest * self.factor * rising
    }

    /// Hears the loss of the step just made.
    pub fn after(&mut self, loss: f64) {
        self.steps += 1;
        let Schedule::Plateau(how) = self.schedule else { return };
        let averaged = self.averaged.map_or(loss, |a| a + how.smoothing * (loss - a));
        self.averaged = Some(averaged);
        if self.steps > how.warm_up {
            self.watch(averaged, how);
        }
    }

    fn watch(&mut self, averaged: f64, how: &Plateau) {
        if averaged < self.best {
            self.best = averaged;
            self.waiting = 0;
        } else if self.resting == 0 {
            self.waiting += 1;
        }
        self.resting = self.resting.saturating_sub(1);
        if self.waiting > how.patience {
            self.factor *= how.factor;
            self.waiting = 0;
            self.resting = how.cooldown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_halves_once_per_plateau_and_rest() {
        let schedule = Schedule::Plateau(Plateau { patience: 3, cooldown: 5, warm_up: 4, smoothing: 1.0, ..Plateau::default() });
        let mut rate = Rate::new(0.8, &schedule);
        let mut seen = Vec::new();
        for _ in 0..20 {
            seen.push(rate.next());
            rate.after(1.0);
        }
        assert_eq!(seen[..5], [0.2, 0.4, 0.6000000000000001, 0.8, 0.8]);
        assert_eq!(seen.iter().filter(|r| **r == 0.4).count(), 1 + 9);
        assert_eq!(seen[19], 0.2);
    }

    #[test]
    fn a_falling_loss_keeps_the_rate() {
        let schedule = Schedule::Plateau(Plateau { patience: 1, warm_up: 0, ..Plateau::default() });
        let mut rate = Rate::new(1.0, &schedule);
        (0..100).for_each(|i| rate.after(1.0 - f64::from(i) * 1e-3));
        assert_eq!(rate.next(), 1.0);
    }
}
