//! When to stop, and which checkpoint was best.

use serde::{Deserialize, Serialize};

use super::params::Stop;

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The validation balanced accuracy no longer rose.
    NoGain,
    /// All steps were made.
    LastStep,
    /// Nothing was held out: the fixed number of steps was made.
    Blind,
}

/// Watches the validation balanced accuracy.
pub(crate) struct Watch {
    warm_up: usize,
    patience: usize,
    min_gain: f64,
    evaluations: usize,
    /// Value of the last gain, and evaluations since.
    level: f64,
    waiting: usize,
    best: f64,
}

/// What an evaluation comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The best so far: keep this checkpoint.
    pub best: bool,
    pub stop: bool,
}

impl Watch {
    /// `images`: labelled images of the repeat.
    pub fn new(how: &Stop, images: usize) -> Self {
        let patience = how.patience.unwrap_or((5 * images / 100).clamp(2, 25));
        let nothing = f64::NEG_INFINITY;
        Self { warm_up: how.warm_up, patience, min_gain: how.min_gain, evaluations: 0, level: nothing, waiting: 0, best: nothing }
    }

    /// Hears the validation balanced accuracy of an evaluation.
    pub fn hear(&mut self, value: f64) -> Verdict {
        self.evaluations += 1;
        let best = value > self.best;
        if best {
            self.best = value;
        }
        if self.level == f64::NEG_INFINITY || value > self.level * (1.0 + self.min_gain) {
            self.level = value;
            self.waiting = 0;
        } else {
            self.waiting += 1;
        }
        Verdict { best, stop: self.evaluations > self.warm_up && self.waiting >= self.patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(how: &Stop, values: &[f64]) -> Vec<(bool, bool)> {
        let mut watch = Watch::new(how, 100);
        values.iter().map(|v| watch.hear(*v)).map(|v| (v.best, v.stop)).collect()
    }

    #[test]
    fn a_gain_below_half_a_percent_is_kept_but_does_not_prolong() {
        let how = Stop { warm_up: 0, patience: Some(2), ..Stop::default() };
        let seen = verdicts(&how, &[0.8, 0.801, 0.802]);
        assert_eq!(seen, [(true, false), (true, false), (true, true)]);
        assert_eq!(verdicts(&how, &[0.8, 0.7, 0.9, 0.9])[3], (false, false));
    }

    #[test]
    fn nothing_stops_during_the_warm_up() {
        let how = Stop { warm_up: 5, patience: Some(1), ..Stop::default() };
        let stops: Vec<bool> = verdicts(&how, &[0.5; 7]).into_iter().map(|v| v.1).collect();
        assert_eq!(stops, [false, false, false, false, false, true, true]);
    }
}
