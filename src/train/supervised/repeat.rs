//! One training: batches, learning rate, evaluations, the best checkpoint restored. Unaware of what is trained.

use serde::{Deserialize, Serialize};

use super::params::{Schedule, Stop};
use super::schedule::Rate;
use super::stop::{Ending, Watch};
use super::subset::{Row, Subset};
use crate::classify::Confusion;
use crate::diagnostic::Failure;
use crate::random::Stream;
use crate::stage::Monitor;

/// Something that learns from labelled rows, a batch at a time.
pub(crate) trait Learner {
    /// Makes one step and returns the loss before it. `epoch` says which augmentation is due.
    fn step(&mut self, batch: &[Row], epoch: u64, rate: f64) -> Result<f64, Failure>;
    /// Predicts training rows, unaugmented.
    fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failure>;
    /// Everything that [`Learner::restore`] needs to return to this moment.
    fn checkpoint(&self) -> Vec<f32>;
    fn restore(&mut self, checkpoint: &[f32]);
}

/// One point of a training curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub per_class: usize,
    pub repeat: usize,
    pub step: usize,
    /// Mean over the steps since the last point.
    pub loss: f64,
    pub rate: f64,
    /// Balanced accuracy on the rows held out, where any are.
    pub validation: Option<f64>,
}

/// How a training went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Course {
    pub ending: Ending,
    /// The step whose checkpoint was kept.
    pub best_step: usize,
    pub curve: Vec<CurvePoint>,
}

/// What stays the same over a training.
pub(crate) struct Plan<'a> {
    pub stop: &'a Stop,
    pub schedule: &'a Schedule,
    pub rate: f64,
    pub batch: usize,
    pub classes: usize,
    pub seed: u64,
    pub per_class: usize,
    pub repeat: usize,
}

/// Trains until the validation says so, or for a fixed number of steps when nothing is held out, and restores the best checkpoint.
///
/// # Errors
/// When the loss is no longer finite, the learner fails, or the monitor interrupts.
pub(crate) fn train(learner: &mut dyn Learner, subset: &Subset, plan: &Plan<'_>, monitor: &dyn Monitor) -> Result<Course, Failure> {
    let stop = plan.stop;
    let per_epoch = subset.learn.len().div_ceil(plan.batch);
    let blind = subset.validate.is_empty();
    let wanted = if blind { stop.blind_steps } else { per_epoch.saturating_mul(stop.max_epochs) };
    let total = stop.max_steps.map_or(wanted, |most| wanted.min(most));
    let mut rate = Rate::new(plan.rate, plan.schedule);
    let mut watch = Watch::new(stop, subset.len());
    let mut best: Option<(usize, Vec<f32>)> = None;
    let mut curve = Vec::new();
    let mut losses: Vec<f64> = Vec::new();
    let mut order = Vec::new();
    let mut ending = if blind { Ending::Blind } else { Ending::LastStep };
    for step in 0..total {
        if monitor.interrupted() {
            return Err(Failure::interrupted());
        }
        let (epoch, at) = (step / per_epoch, step % per_epoch);
        if at == 0 {
            let draws = Stream::new(plan.seed, "supervised order").at(plan.repeat as u64).at(plan.per_class as u64).at(epoch as u64);
            order = draws.draws().permutation(subset.learn.len());
        }
        let chosen = &order[at * plan.batch..((at + 1) * plan.batch).min(order.len())];
        let batch: Vec<Row> = chosen.iter().map(|&i| subset.learn[i]).collect();
        let this_rate = rate.next();
        let loss = learner.step(&batch, epoch as u64, this_rate)?;
        if !loss.is_finite() {
            let message = format!("the loss is {loss} at step {step} of repeat {} with {} per class", plan.repeat, plan.per_class);
            return Err(Failure::new(message).help("lower the learning rate, or clip the gradients"));
        }
        rate.after(loss);
        losses.push(loss);
        let shown = [("n", plan.per_class as f64), ("repeat", plan.repeat as f64 + 1.0), ("loss", loss)];
        monitor.progress(step as u64 + 1, total as u64, "step", &shown);

        let last = step + 1 == total;
        if !last && !(step + 1).is_multiple_of(stop.evaluate_every) {
            continue;
        }
        let validation = if blind { None } else { Some(balanced_accuracy(learner, &subset.validate, plan.classes)?) };
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        losses.clear();
        curve.push(CurvePoint { per_class: plan.per_class, repeat: plan.repeat, step: step + 1, loss, rate: this_rate, validation });
        if let Some(value) = validation {
            let verdict = watch.hear(value);
            if verdict.best {
                best = Some((step + 1, learner.checkpoint()));
            }
            if verdict.stop {
                ending = Ending::NoGain;
                break;
            }
        }
    }
    let best_step = match best {
        Some((step, checkpoint)) => {
            learner.restore(&checkpoint);
            step
        }
        None => total,
    };
    Ok(Course { ending, best_step, curve })
}

fn balanced_accuracy(learner: &dyn Learner, rows: &[Row], classes: usize) -> Result<f64, Failure> {
    let predicted = learner.predict(rows)?;
    Ok(Confusion::of(classes, rows.iter().map(|(_, class)| *class).zip(predicted)).balanced_accuracy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Silent;

    /// Is right about validation rows only around step 30; its one parameter counts the steps.
    struct Peak(f32);

    impl Learner for Peak {
        fn step(&mut self, batch: &[Row], _: u64, _: f64) -> Result<f64, Failure> {
            assert!(batch.len() <= 4);
            self.0 += 1.0;
            Ok(1.0)
        }
        fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failure> {
            let right = (self.0 - 30.0).abs() < 5.0;
            Ok(rows.iter().map(|(_, class)| if right { *class } else { 0 }).collect())
        }
        fn checkpoint(&self) -> Vec<f32> {
            vec![self.0]
        }
        fn restore(&mut self, checkpoint: &[f32]) {
            self.0 = checkpoint[0];
        }
    }

    fn course(stop: &Stop, validate: usize) -> (f32, Course) {
        let rows = |n: usize| (0..n).map(|i| (i, i % 2)).collect();
        let subset = Subset { learn: rows(10), validate: rows(validate) };
        let plan = Plan { stop, schedule: &Schedule::Constant, rate: 1.0, batch: 4, classes: 2, seed: 1, per_class: 5, repeat: 0 };
        let mut learner = Peak(0.0);
        let course = train(&mut learner, &subset, &plan, &Silent).unwrap();
        (learner.0, course)
    }

    #[test]
    fn the_best_checkpoint_comes_back_when_training_stops() {
        let how = Stop { evaluate_every: 10, warm_up: 0, patience: Some(3), ..Stop::default() };
        let (at, course) = course(&how, 4);
        assert_eq!((at, course.best_step, course.ending), (30.0, 30, Ending::NoGain));
        let seen: Vec<Option<f64>> = course.curve.iter().map(|p| p.validation).collect();
        assert_eq!(seen, [0.5, 0.5, 1.0, 0.5, 0.5, 0.5].map(Some));
    }

    #[test]
    fn without_held_out_rows_the_steps_are_fixed() {
        let (at, course) = course(&Stop { blind_steps: 37, ..Stop::default() }, 0);
        assert_eq!((at, course.best_step, course.ending), (37.0, 37, Ending::Blind));
        assert_eq!(course.curve.len(), 1);
    }

    #[test]
    fn epochs_bound_the_steps() {
        let (_, course) = course(&Stop { max_epochs: 5, ..Stop::default() }, 4);
        assert_eq!((course.curve[0].step, course.ending), (15, Ending::LastStep));
    }
}
