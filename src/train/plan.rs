//! When what happens in a DINO training: all that follows from its numbers and the size of the data set.

use super::curve::CurveRow;
use super::dino::{DinoStep, StepNumbers};
use super::mix::Mix;
use super::optimiser::Hyper;
use super::recipe::Numbers;
use super::schedule::{Cosine, warm_up};

/// The sizes and schedules of a training.
pub struct Plan {
    pub numbers: Numbers,
    /// Images per step.
    pub batch: usize,
    /// Parts in which they pass the networks.
    pub parts: usize,
    /// Steps of an epoch.
    pub per_epoch: u64,
    pub steps: u64,
    rate: Cosine,
    decay: Cosine,
    momentum: Cosine,
    pub curve_every: u64,
    /// Until this step a verdict is too early.
    pub settled: u64,
}

impl Plan {
    /// Plans a training of which an epoch holds so many images.
    pub fn new(numbers: Numbers, n_images: usize) -> Self {
        let batch = numbers.batch.min(n_images);
        // The last images of an epoch that do not fill a step are left for the next, as DINO does.
        let per_epoch = (n_images / batch).max(1) as u64;
        let steps = per_epoch * numbers.epochs as u64;
        let peak = numbers.lr * batch as f64 / 256.0;
        let warm = (numbers.warm_up_epochs as u64 * per_epoch).min(steps / 2);
        let sharpening = numbers.teacher_temp_epochs as u64 * per_epoch;
        Self {
            settled: (steps / 10).max(warm).max(sharpening.min(steps / 2)),
            // At least two images in each part, since batch norm needs company.
            parts: numbers.accumulate.min(batch / 2).max(1),
            rate: Cosine { from: peak, to: numbers.final_lr, steps, warm_up: warm },
            decay: Cosine { from: numbers.weight_decay.0, to: numbers.weight_decay.1, steps, warm_up: 0 },
            momentum: Cosine { from: numbers.momentum.0, to: numbers.momentum.1, steps, warm_up: 0 },
            curve_every: numbers.curve_every.map_or((steps / 200).max(1), |n| n as u64),
            batch,
            per_epoch,
            steps,
            numbers,
        }
    }

    /// Returns the numbers of a step.
    pub fn at(&self, step: u64) -> StepNumbers {
        let n = &self.numbers;
        StepNumbers {
            hyper: Hyper::new(self.rate.at(step), self.decay.at(step), n.clip),
            teacher_momentum: self.momentum.at(step),
            teacher_temp: warm_up(n.teacher_temp.0, n.teacher_temp.1, n.teacher_temp_epochs as u64 * self.per_epoch, step),
            student_temp: n.student_temp,
            centre_momentum: n.centre_momentum,
            freeze_last_layer: step < n.freeze_last_layer as u64 * self.per_epoch,
            freeze_backbone: step < n.freeze_backbone as u64 * self.per_epoch,
            layer_decay: n.layer_decay,
        }
    }

    /// Returns a step's row of the curve.
    pub fn row(&self, step: u64, said: &DinoStep, effective_rank: f64) -> CurveRow {
        let numbers = self.at(step);
        CurveRow {
            step,
            epoch: step as f64 / self.per_epoch as f64,
            loss: said.loss.loss,
            teacher_entropy: said.loss.entropy,
            kl: said.loss.loss - said.loss.entropy,
            teacher_spread: said.loss.spread,
            centre_norm: said.centre_norm,
            feature_std: said.feature_std,
            effective_rank,
            learning_rate: numbers.hyper.lr,
            weight_decay: numbers.hyper.weight_decay,
            teacher_momentum: numbers.teacher_momentum,
            teacher_temp: numbers.teacher_temp,
        }
    }
}

/// The images of a step, each with how often it came before.
pub fn members(seed: u64, plan: &Plan, mix: &Mix, step: u64) -> Vec<(usize, u64)> {
    let (epoch, place) = (step / plan.per_epoch, (step % plan.per_epoch) as usize);
    mix.epoch(seed, epoch)[place * plan.batch..(place + 1) * plan.batch].to_vec()
}
