//! How a training went: figures every few steps, and a verdict in words.
//!
//! Nothing here depends on the clock or the machine: the curve is an artefact and must have the same bytes every time.

use serde::{Deserialize, Serialize};

/// The figures of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveRow {
    pub step: u64,
    pub epoch: f64,
    pub loss: f64,
    /// Mean entropy of the teacher's distributions, in nats: the floor of the loss.
    pub teacher_entropy: f64,
    /// Loss less the teacher's entropy: what the student still has to learn.
    pub kl: f64,
    /// Entropy of the teacher's mean distribution over the batch, in nats.
    pub teacher_spread: f64,
    pub centre_norm: f64,
    /// Near 1 when representations fill the sphere, 0 when all are the same.
    pub feature_std: f64,
    /// In how many directions the student's representations of the step's global views vary.
    pub effective_rank: f64,
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub teacher_momentum: f64,
    pub teacher_temp: f64,
}

/// What the figures come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Learning,
    /// The teacher says nothing: every prototype is as likely as any other.
    UniformCollapse,
    /// The teacher says the same of every image.
    OneCodeCollapse,
    Diverging,
    /// Too few steps to tell.
    TooEarly,
}

/// A training's curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What was trained: `DINO`, `supervised`.
    pub what: String,
    /// ln of the number of prototypes: the loss of a network that knows nothing.
    pub ln_k: f64,
    pub steps: u64,
    pub steps_per_epoch: u64,
    pub rows: Vec<CurveRow>,
    pub verdict: Verdict,
}

impl Verdict {
    /// Judges the last tenth of the rows.
    pub fn of(rows: &[CurveRow], ln_k: f64) -> Self {
        let last = &rows[rows.len() - rows.len().div_ceil(10).min(rows.len())..];
        let (Some(first), false) = (rows.first(), last.is_empty() || rows.len() < 4) else { return Self::TooEarly };
        let mean = |of: fn(&CurveRow) -> f64| last.iter().map(of).sum::<f64>() / last.len() as f64;
        let (loss, entropy, spread, std) =
            (mean(|r| r.loss), mean(|r| r.teacher_entropy), mean(|r| r.teacher_spread), mean(|r| r.feature_std));
        match () {
            () if !loss.is_finite() || loss > 1.5 * ln_k.max(first.loss) => Self::Diverging,
            // A teacher below its temperature's noise is told from one that has sharpened by what it says on average.
            () if spread < 0.1 * ln_k || std < 0.02 => Self::OneCodeCollapse,
            () if entropy > 0.98 * ln_k => Self::UniformCollapse,
            () => Self::Learning,
        }
    }

    /// Whether the training comes to nothing.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::UniformCollapse | Self::OneCodeCollapse | Self::Diverging)
    }

    /// Returns the verdict and, where it is bad, the remedy.
    pub fn words(self) -> String {
        match self.remedy() {
            "" => self.name().to_string(),
            // Where nothing needs to be explained the remedy follows at once.
            remedy => format!("{}{}{remedy}", self.name(), if self == Self::Diverging { ": " } else { "; " }),
        }
    }

    /// Returns the verdict alone.
    pub fn name(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::UniformCollapse => "uniform collapse: the teacher prefers no prototype",
            Self::OneCodeCollapse => "one-code collapse: all images look the same to the teacher",
            Self::Diverging => "diverging",
            Self::TooEarly => "too few steps to tell",
        }
    }

    /// Returns what may help; nothing where nothing is wrong.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UniformCollapse => "lower `teacher_temp`, or train for longer",
            Self::OneCodeCollapse => "raise `teacher_temp`, lower `lr`, or raise `momentum`",
            Self::Diverging => "lower `lr` or raise `warm_up_epochs`",
            Self::Learning | Self::TooEarly => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(loss: f64, entropy: f64, spread: f64, std: f64) -> Vec<CurveRow> {
        let row = |step| CurveRow {
            step,
            epoch: 0.0,
            loss,
            teacher_entropy: entropy,
            kl: loss - entropy,
            teacher_spread: spread,
            centre_norm: 0.0,
            feature_std: std,
            effective_rank: 0.0,
            learning_rate: 0.0,
            weight_decay: 0.0,
            teacher_momentum: 0.0,
            teacher_temp: 0.0,
        };
        (0..40).map(row).collect()
    }

    #[test]
    fn each_way_to_fail_has_its_name() {
        let ln_k = 1024f64.ln();
        let verdict = |rows: Vec<CurveRow>| Verdict::of(&rows, ln_k);
        assert_eq!(verdict(rows(4.0, 2.0, 6.0, 0.7)), Verdict::Learning);
        assert_eq!(verdict(rows(ln_k, ln_k, ln_k, 0.7)), Verdict::UniformCollapse);
        assert_eq!(verdict(rows(0.01, 0.01, 0.01, 0.7)), Verdict::OneCodeCollapse);
        assert_eq!(verdict(rows(f64::NAN, 1.0, 6.0, 0.7)), Verdict::Diverging);
        assert_eq!(verdict(rows(4.0, 2.0, 6.0, 0.7)[..2].to_vec()), Verdict::TooEarly);
        assert_eq!(Verdict::Diverging.words(), "diverging: lower `lr` or raise `warm_up_epochs`");
        assert!(Verdict::UniformCollapse.words().ends_with("prefers no prototype; lower `teacher_temp`, or train for longer"));
        assert_eq!((Verdict::Learning.words().as_str(), Verdict::Learning.is_bad()), ("learning", false));
    }
}
