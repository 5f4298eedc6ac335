//! Epochs of DINO steps: the next batch of views is made while the step runs; a killed training goes on where it was.
//!
//! Labels are not known here, and there is no way to hand them in.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::checkpoint;
use super::curve::{Curve, CurveRow, Verdict};
use super::dino::{Dino, DinoStep, State, StepNumbers, Views};
use super::optimiser::Hyper;
use super::recipe::{DinoRecipe, Numbers};
use super::schedule::{Cosine, warm_up};
use crate::data;
use crate::diagnostic::Failure;
use crate::model::{HeadSizes, Sizes, Weights};
use crate::random::Stream;
use crate::stage::Monitor;

/// A finished training.
pub struct TrainedDino {
    pub state: State,
    pub curve: Curve,
}

/// When what happens: all that follows from the numbers and the size of the data set.
struct Plan {
    numbers: Numbers,
    batch: usize,
    per_epoch: u64,
    steps: u64,
    rate: Cosine,
    decay: Cosine,
    momentum: Cosine,
    curve_every: u64,
}

impl Plan {
    fn new(numbers: Numbers, n_images: usize) -> Self {
        let batch = numbers.batch.min(n_images);
        // The last images of an epoch that do not fill a step are left for the next, as DINO does.
        let per_epoch = (n_images / batch).max(1) as u64;
        let steps = per_epoch * numbers.epochs as u64;
        let peak = numbers.lr * batch as f64 / 256.0;
        let warm = (numbers.warm_up_epochs as u64 * per_epoch).min(steps / 2);
        Self {
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

    fn at(&self, step: u64) -> StepNumbers {
        let n = &self.numbers;
        StepNumbers {
            hyper: Hyper::new(self.rate.at(step), self.decay.at(step), n.clip),
            teacher_momentum: self.momentum.at(step),
            teacher_temp: warm_up(n.teacher_temp.0, n.teacher_temp.1, n.teacher_temp_epochs as u64 * self.per_epoch, step),
            student_temp: n.student_temp,
            centre_momentum: n.centre_momentum,
            freeze_last_layer: step < n.freeze_last_layer as u64 * self.per_epoch,
        }
    }

    fn row(&self, step: u64, said: &DinoStep) -> CurveRow {
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
            learning_rate: numbers.hyper.lr,
            weight_decay: numbers.hyper.weight_decay,
            teacher_momentum: numbers.teacher_momentum,
            teacher_temp: numbers.teacher_temp,
        }
    }
}

/// The images of a step: each epoch is a permutation of its own.
fn members(seed: u64, plan: &Plan, n_images: usize, step: u64) -> (u64, Vec<usize>) {
    let (epoch, place) = (step / plan.per_epoch, (step % plan.per_epoch) as usize);
    let order = Stream::new(seed, "dino epoch").at(epoch).draws().permutation(n_images);
    (epoch, order[place * plan.batch..(place + 1) * plan.batch].to_vec())
}

/// Makes the views of a step, image by image side by side.
fn make_views(source: &dyn data::Views, n_views: usize, epoch: u64, images: &[usize]) -> Result<Views, Failure> {
    let (global, local) = (source.side(0), if n_views > 2 { source.side(2) } else { 0 });
    let batch = images.len();
    let mut views = Views {
        batch,
        global: vec![0.0; 2 * batch * global * global * 3],
        global_side: global,
        local: vec![0.0; (n_views - 2) * batch * local * local * 3],
        local_side: local,
        n_local: n_views - 2,
    };
    let fill = |out: &mut [f32], side: usize, first: usize| {
        out.par_chunks_mut((side * side * 3).max(1))
            .enumerate()
            .try_for_each(|(i, out)| source.fill(images[i % batch], epoch, first + i / batch, out))
    };
    fill(&mut views.global, global, 0)?;
    fill(&mut views.local, local, 2)?;
    Ok(views)
}

/// Trains. `n_views` counts the two global views too; `folder` keeps checkpoints and may hold those of a killed run of the same training.
///
/// # Errors
/// When views cannot be made, the loss is not finite (the last checkpoint is named), or the monitor interrupts (a checkpoint is kept).
pub fn train_dino(
    sizes: &Sizes,
    recipe: &DinoRecipe,
    start: Weights,
    source: &dyn data::Views,
    n_views: usize,
    seed: u64,
    folder: &Path,
    monitor: &dyn Monitor,
) -> Result<TrainedDino, Failure> {
    let n_images = source.n_images();
    if n_images < 2 {
        return Err(Failure::new(format!("DINO needs at least 2 images, got {n_images}")));
    }
    let numbers = recipe.numbers();
    let head = HeadSizes {
        dim: sizes.dim,
        hidden: numbers.hidden,
        bottleneck: numbers.bottleneck,
        outputs: numbers.outputs,
        layers: numbers.head_layers,
    };
    let plan = Plan::new(numbers, n_images);
    let mut dino = Dino::start(sizes, &head, start, seed);
    let mut rows = checkpoint::load(folder, &mut dino.state).unwrap_or_default();
    let first = dino.state.step;
    if first > 0 {
        monitor.note(&format!("goes on from step {first} of {}", plan.steps));
    }

    let ln_k = (plan.numbers.outputs as f64).ln();
    let mut warned = false;
    std::thread::scope(|scope| {
        // One batch ahead: the views of the next step are made while this one is computed.
        let (sender, receiver) = sync_channel(1);
        let plan = &plan;
        scope.spawn(move || {
            for step in first..plan.steps {
                let (epoch, images) = members(seed, plan, n_images, step);
                if sender.send(make_views(source, n_views, epoch, &images)).is_err() {
                    return;
                }
            }
        });
        let (mut saved, mut cost) = (Instant::now(), Duration::ZERO);
        let clock = Instant::now();
        for step in first..plan.steps {
            if monitor.interrupted() {
                checkpoint::save(folder, &dino.state, &rows)?;
                return Err(Failure::interrupted());
            }
            let views = receiver.recv().map_err(|_| Failure::new("the loader stopped"))??;
            let said = dino.step(&views, &plan.at(step)).map_err(|failure| name_checkpoint(failure, folder))?;
            if step % plan.curve_every == 0 || step + 1 == plan.steps {
                rows.push(plan.row(step, &said));
                let verdict = Verdict::of(&rows, ln_k);
                if !warned && step > plan.steps / 4 && !matches!(verdict, Verdict::Learning | Verdict::TooEarly) {
                    warned = true;
                    monitor.note(verdict.words());
                }
            }
            let rate = (step + 1 - first) as f64 * plan.batch as f64 / clock.elapsed().as_secs_f64();
            let shown = [("loss", said.loss.loss), ("ln K", ln_k), ("feature std", said.feature_std), ("images/s", rate)];
            monitor.progress(step + 1, plan.steps, "step", &shown);
            // Often enough that a kill costs little, seldom enough that writing costs less than a fiftieth of the time.
            let pause = (50 * cost).clamp(Duration::from_millis(500), Duration::from_secs(60));
            if saved.elapsed() >= pause && step + 1 < plan.steps {
                let start = Instant::now();
                checkpoint::save(folder, &dino.state, &rows)?;
                (saved, cost) = (Instant::now(), start.elapsed());
            }
        }
        Ok(())
    })?;
    let verdict = Verdict::of(&rows, ln_k);
    let curve = Curve { what: "DINO".to_string(), ln_k, steps: plan.steps, rows, verdict };
    Ok(TrainedDino { state: dino.state, curve })
}

fn name_checkpoint(failure: Failure, folder: &Path) -> Failure {
    match checkpoint::newest(folder) {
        Some(path) => failure.while_doing(format!("the last good checkpoint is `{}`", path.display())),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Layout, Xcit};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Stripes at an angle that belongs to the image, shifted by the view.
    struct Stripes;

    impl data::Views for Stripes {
        fn n_images(&self) -> usize {
            12
        }
        fn side(&self, view: usize) -> usize {
            if view < 2 { 16 } else { 8 }
        }
        fn fill(&self, image: usize, epoch: u64, view: usize, out: &mut [f32]) -> Result<(), Failure> {
            let shift = Stream::new(1, "shift").at(epoch).at(image as u64).at(view as u64).draws().uniform() as f32;
            let side = self.side(view);
            for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
                let (y, x) = ((i / side) as f32, (i % side) as f32);
                pixel.fill(((x * (image % 3) as f32 + y) * 0.8 + 6.0 * shift).sin());
            }
            Ok(())
        }
    }

    /// Asks to stop after so many steps.
    struct StopAfter(AtomicU64);

    impl Monitor for StopAfter {
        fn interrupted(&self) -> bool {
            self.0.fetch_sub(1, Ordering::SeqCst) == 0
        }
    }

    fn train(folder: &Path, threads: usize, monitor: &dyn Monitor) -> Result<TrainedDino, Failure> {
        let sizes = Xcit { dim: Some(16), depth: Some(1), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let recipe = DinoRecipe {
            preset: super::super::Preset::Light,
            epochs: Some(5),
            batch: Some(4),
            outputs: Some(32),
            hidden: Some(16),
            bottleneck: Some(8),
            ..DinoRecipe::default()
        };
        let start = Weights::start(Arc::new(Layout::xcit(&sizes)), 1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train_dino(&sizes, &recipe, start, &Stripes, 4, 1, folder, monitor))
    }

    #[test]
    fn a_training_stopped_anywhere_and_resumed_ends_bit_for_bit_as_if_undisturbed_with_any_threads() {
        let whole = tempfile::tempdir().unwrap();
        let expected = train(whole.path(), 2, &crate::stage::Silent).unwrap();
        assert_eq!(expected.state.step, 15);
        for stop in [1, 7, 14] {
            let folder = tempfile::tempdir().unwrap();
            let failure = train(folder.path(), 1, &StopAfter(AtomicU64::new(stop))).err().unwrap();
            assert!(failure.is_interruption());
            let resumed = train(folder.path(), 3, &crate::stage::Silent).unwrap();
            assert!(resumed.state == expected.state, "stopped after {stop}");
            assert_eq!(resumed.curve, expected.curve);
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let expected = train(tempfile::tempdir().unwrap().path(), 2, &crate::stage::Silent).unwrap();
        for stop in [3, 4] {
            assert!(train(folder.path(), 2, &StopAfter(AtomicU64::new(stop))).is_err());
        }
        let newest = checkpoint::newest(folder.path()).unwrap();
        let mut bytes = std::fs::read(&newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        let resumed = train(folder.path(), 2, &crate::stage::Silent).unwrap();
        assert!(resumed.state == expected.state);
    }
}
