//! What a user writes: how a network, or a linear layer on a frozen one, is trained with labels.
//!
//! Sources: Nielsen et al. (arXiv 2304.05163) for what is trained and when it stops; where the paper gives no number, its published code.

use serde::{Deserialize, Serialize};

use crate::classify::ClassWeight;

crate::params! {
    /// The deep-learning baseline: network and linear layer, all weights trained.
    pub struct Supervised {
        pub optimiser: Optimiser = Optimiser::AdamW,
        /// Largest learning rate.
        pub rate: f64 = 1e-4,
        pub weight_decay: f64 = 0.05,
        /// Gradients are clipped to this share of their weights, unit by unit (Brock et al., arXiv 2102.06171); none: not clipped.
        pub clip: Option<f64> = Some(0.16),
        pub schedule: Schedule = Schedule::Plateau(Plateau::default()),
        /// Images per step; all of them when there are fewer.
        pub batch: usize = 64,
        /// Balanced: classes weigh inversely to their images, on average 1.
        pub class_weight: ClassWeight = ClassWeight::Balanced,
        /// Steps at the start in which the linear layer learns alone, on the features that the network gives outside training: a pretrained
        /// network is spared the gradients of a layer that knows nothing yet (Kumar et al., arXiv 2202.10054).
        pub head_warm_up: usize = 0,
        /// Learning rate of each layer of the network, of what the one above it gets (Clark et al., arXiv 2003.10555; timm's `layer_decay`).
        pub layer_decay: f64 = 1.0,
        /// Stochastic depth: share of images whose branches the last block leaves out, growing from 0 in the first; vision transformers alone.
        pub drop_path: f64 = 0.0,
        pub stop: Stop = Stop::default(),
    }
    /// One linear layer on the frozen network, fed with features of augmented crops.
    pub struct LinearProbe {
        pub optimiser: Optimiser = Optimiser::Adam,
        pub rate: f64 = 1e-4,
        pub weight_decay: f64 = 0.0,
        pub schedule: Schedule = Schedule::Constant,
        pub batch: usize = 64,
        pub class_weight: ClassWeight = ClassWeight::Balanced,
        /// Different crops per image. Epochs take them in turn, so that each is embedded once and serves all repeats;
        /// as many as epochs: a fresh crop every time, as in the paper.
        pub crops: usize = 32,
        pub stop: Stop = Stop::default(),
    }
    /// When training ends, and which checkpoint is kept.
    pub struct Stop {
        /// Share of the labelled images of each class that is held out to validate on.
        pub validation: f64 = 0.3,
        /// Without this many images in the smallest class nothing is held out, and training takes `blind_steps`.
        pub validate_from: usize = 4,
        /// Steps when nothing is held out.
        pub blind_steps: usize = 500,
        /// Steps between evaluations.
        pub evaluate_every: usize = 100,
        /// Evaluations before which training never stops.
        pub warm_up: usize = 40,
        /// Evaluations in a row without a gain after which training stops; none: 5 · images / 100, between 2 and 25.
        pub patience: Option<usize> = None,
        /// What counts as a gain: the validation balanced accuracy rises by this share of the best so far.
        pub min_gain: f64 = 0.005,
        pub max_epochs: usize = 500,
        /// Most steps, whatever the epochs; none: as many as they take.
        pub max_steps: Option<usize> = None,
    }
    /// Lower the learning rate when the loss no longer falls.
    pub struct Plateau {
        pub factor: f64 = 0.5,
        /// Steps without a fall before the rate is lowered.
        pub patience: usize = 500,
        /// Steps after a lowering that are not counted.
        pub cooldown: usize = 500,
        /// Steps over which the rate rises from 0.
        pub warm_up: usize = 250,
        /// How much one step moves the averaged loss.
        pub smoothing: f64 = 0.02,
    }
}

/// The rule that turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimiser {
    /// Weight decay is added to the gradient (Kingma and Ba, arXiv 1412.6980).
    Adam,
    /// Weight decay shrinks the weights themselves (Loshchilov and Hutter, arXiv 1711.05101).
    AdamW,
}

/// The learning rate from step to step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    Constant,
    Plateau(Plateau),
}

type Mistakes = Vec<(&'static str, String)>;

fn unless(ok: bool, mistakes: &mut Mistakes, field: &'static str, must: String) {
    if !ok {
        mistakes.push((field, must));
    }
}

fn check_common(rate: f64, weight_decay: f64, batch: usize, schedule: &Schedule, stop: &Stop) -> Mistakes {
    let mut m = Vec::new();
    unless(rate.is_finite() && rate > 0.0, &mut m, "rate", format!("must be finite and above 0, got {rate}"));
    unless(
        weight_decay.is_finite() && weight_decay >= 0.0,
        &mut m,
        "weight_decay",
        format!("must be finite and not below 0, got {weight_decay}"),
    );
    unless(batch > 0, &mut m, "batch", "must be at least 1, got 0".to_string());
    if let Schedule::Plateau(p) = schedule {
        unless(p.factor > 0.0 && p.factor < 1.0, &mut m, "schedule.factor", format!("must lie between 0 and 1, got {}", p.factor));
        unless(
            p.smoothing > 0.0 && p.smoothing <= 1.0,
            &mut m,
            "schedule.smoothing",
            format!("must lie above 0 and up to 1, got {}", p.smoothing),
        );
    }
    let s = stop;
    unless(s.validation > 0.0 && s.validation < 1.0, &mut m, "stop.validation", format!("must lie between 0 and 1, got {}", s.validation));
    unless(s.validate_from >= 2, &mut m, "stop.validate_from", format!("must be at least 2, got {}", s.validate_from));
    unless(
        s.min_gain.is_finite() && s.min_gain >= 0.0,
        &mut m,
        "stop.min_gain",
        format!("must be finite and not below 0, got {}", s.min_gain),
    );
    for (field, value) in
        [("stop.blind_steps", s.blind_steps), ("stop.evaluate_every", s.evaluate_every), ("stop.max_epochs", s.max_epochs)]
    {
        unless(value > 0, &mut m, field, "must be at least 1, got 0".to_string());
    }
    unless(s.max_steps != Some(0), &mut m, "stop.max_steps", "must be at least 1, got 0".to_string());
    unless(s.patience != Some(0), &mut m, "stop.patience", "must be at least 1, got 0".to_string());
    m
}

impl Supervised {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Mistakes {
        let mut m = check_common(self.rate, self.weight_decay, self.batch, &self.schedule, &self.stop);
        if let Some(clip) = self.clip {
            unless(clip.is_finite() && clip > 0.0, &mut m, "clip", format!("must be finite and above 0, got {clip}"));
        }
        let (decay, drop) = (self.layer_decay, self.drop_path);
        unless(decay > 0.0 && decay <= 1.0, &mut m, "layer_decay", format!("must lie above 0 and up to 1, got {decay}"));
        unless((0.0..1.0).contains(&drop), &mut m, "drop_path", format!("must be 0 or more and below 1, got {drop}"));
        m
    }
}

impl LinearProbe {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Mistakes {
        let mut m = check_common(self.rate, self.weight_decay, self.batch, &self.schedule, &self.stop);
        unless(self.crops > 0, &mut m, "crops", "must be at least 1, got 0".to_string());
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named() {
        let how = Supervised { rate: 0.0, batch: 0, stop: Stop { validation: 1.0, ..Stop::default() }, ..Supervised::default() };
        let fields: Vec<&str> = how.check().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["rate", "batch", "stop.validation"]);
        assert!(Supervised::default().check().is_empty() && LinearProbe::default().check().is_empty());
    }
}
