//! Epochs of DINO steps: the next batch of views is made while the step runs; a killed training goes on where it was.
//!
//! Labels are not known here, and there is no way to hand them in.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;
use rayon::prelude::*;

use super::checkpoint;
use super::curve::{Curve, Verdict};
use super::dino::{State, Views};
use super::footprint::{Footprint, Setting, refuse_too_large};
use super::mix::Mix;
use super::plan::{Plan, members};
use super::recipe::DinoRecipe;
use super::representation::effective_rank;
use super::snapshots::{Snapshots, Watch};
use super::training::open_training;
use crate::data;
use crate::diagnostic::Failure;
use crate::kernel::memory;
use crate::model::{HeadSizes, Sizes, Weights};
use crate::stage::Monitor;

/// Steps whose views wait while one is computed; those of one more are being made.
const STEPS_WAITING: usize = 1;

/// A finished training.
pub struct TrainedDino {
    pub state: State,
    pub curve: Curve,
    pub snapshots: Snapshots,
}

/// Makes the views of a step, in as many parts of nearly equal size. Each image comes with how often it came before.
fn make_parts(source: &dyn data::Views, n_views: usize, images: &[(usize, u64)], parts: usize) -> Result<Vec<Views>, Failure> {
    let cut = |part: usize| part * images.len() / parts;
    (0..parts).map(|part| make_views(source, n_views, &images[cut(part)..cut(part + 1)])).collect()
}

/// Makes the views of some images: images side by side, the views of each in turn, so that it is decoded once.
fn make_views(source: &dyn data::Views, n_views: usize, images: &[(usize, u64)]) -> Result<Views, Failure> {
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
    let mut rooms: Vec<Vec<&mut [f32]>> = images.iter().map(|_| Vec::with_capacity(n_views)).collect();
    let globals = views.global.chunks_mut((global * global * 3).max(1));
    let locals = views.local.chunks_mut((local * local * 3).max(1));
    for (i, room) in globals.enumerate().chain(locals.enumerate()) {
        rooms[i % batch].push(room);
    }
    rooms.into_par_iter().with_max_len(1).zip(images).try_for_each(|(rooms, (image, times))| {
        rooms.into_iter().enumerate().try_for_each(|(view, out)| source.fill(*image, *times, view, out))
    })?;
    Ok(views)
}

/// Trains, on the kernels or on a GPU. `n_views` counts the two global views too; `folder` keeps checkpoints and may hold those of a killed
/// run of the same training.
///
/// # Errors
/// When the training does not fit into memory, views cannot be made, the loss is not finite (the last checkpoint is named), the training
/// collapses and the recipe says to stop then, or the monitor interrupts (in both cases a checkpoint is kept).
pub fn train_dino(
    sizes: &Sizes,
    recipe: &DinoRecipe,
    start: Weights,
    source: &dyn data::Views,
    n_views: usize,
    watch: Option<Watch<'_>>,
    seed: u64,
    folder: &Path,
    gpu: Option<&Device>,
    monitor: &dyn Monitor,
) -> Result<TrainedDino, Failure> {
    let n_images = source.n_images();
    if n_images < 2 {
        return Err(Failure::new(format!("DINO needs at least 2 images, got {n_images}")));
    }
    let numbers = recipe.numbers();
    let head = HeadSizes {
        dim: sizes.dim(),
        hidden: numbers.hidden,
        bottleneck: numbers.bottleneck,
        outputs: numbers.outputs,
        layers: numbers.head_layers,
    };
    let mix = Mix::of(source);
    let plan = Plan::new(numbers, mix.per_epoch());
    if gpu.is_none() {
        look_at_memory(sizes, &head, &plan, source, n_views, monitor)?;
    }
    let mut state = State::start(&head, start, seed);
    let (mut rows, mut snapshots) = checkpoint::load(folder, &mut state).unwrap_or_default();
    let first = state.step;
    let (again, drop_path) = (plan.numbers.checkpoint_blocks, (plan.numbers.drop_path, seed));
    let mut dino = open_training(sizes, &head, state, again, drop_path, gpu)?;
    if first > 0 {
        monitor.note(&format!("goes on from step {first} of {}", plan.steps));
    }

    let ln_k = (plan.numbers.outputs as f64).ln();
    let watch_every = watch.map_or(0, |watch| watch.every.map_or((plan.steps / 20).max(1), |n| n as u64));
    let mut warned = false;
    std::thread::scope(|scope| {
        let (plan, mix) = (&plan, &mix);
        let make = move |step| make_parts(source, n_views, &members(seed, plan, mix, step), plan.parts);
        let mut ahead = data::Ahead::start(scope, first..plan.steps, STEPS_WAITING, rayon::current_num_threads(), make)?;
        let (mut saved, mut cost) = (Instant::now(), Duration::ZERO);
        let clock = Instant::now();
        for step in first..plan.steps {
            if monitor.interrupted() {
                checkpoint::save(folder, dino.state()?, &rows, &snapshots)?;
                return Err(Failure::interrupted());
            }
            if let Some(watch) = watch.filter(|_| step % watch_every == 0) {
                snapshots.take(step, &*dino, watch.pictures)?;
            }
            let views = ahead.next().ok_or_else(|| Failure::new("the loader stopped"))??;
            let said = dino.step(&views, &plan.at(step)).map_err(|failure| name_checkpoint(failure, folder))?;
            if step % plan.curve_every == 0 || step + 1 == plan.steps {
                rows.push(plan.row(step, &said, effective_rank(dino.seen(), sizes.dim())));
                let verdict = Verdict::of(&rows, ln_k);
                if step > plan.settled && verdict.is_bad() {
                    if plan.numbers.stop_on_collapse {
                        checkpoint::save(folder, dino.state()?, &rows, &snapshots)?;
                        return Err(stopped(verdict, step));
                    }
                    if !warned {
                        warned = true;
                        monitor.note(&verdict.words());
                    }
                }
            }
            let rate = (step + 1 - first) as f64 * plan.batch as f64 / clock.elapsed().as_secs_f64();
            let shown = [("loss", said.loss.loss), ("ln K", ln_k), ("feature std", said.feature_std), ("images/s", rate)];
            monitor.progress(step + 1, plan.steps, "step", &shown);
            // Often enough that a kill costs little, seldom enough that writing costs less than half a hundredth of the time.
            let pause = (200 * cost).clamp(Duration::from_millis(500), Duration::from_secs(60));
            if saved.elapsed() >= pause && step + 1 < plan.steps {
                let start = Instant::now();
                checkpoint::save(folder, dino.state()?, &rows, &snapshots)?;
                (saved, cost) = (Instant::now(), start.elapsed());
            }
        }
        Ok(())
    })?;
    if let Some(watch) = watch {
        snapshots.take(plan.steps, &*dino, watch.pictures)?;
    }
    let verdict = Verdict::of(&rows, ln_k);
    let curve = Curve { what: "DINO".to_string(), ln_k, steps: plan.steps, steps_per_epoch: plan.per_epoch, rows, verdict };
    Ok(TrainedDino { state: dino.state()?.clone(), curve, snapshots })
}

/// Says how much memory the training takes, and refuses it where there is less.
fn look_at_memory(
    sizes: &Sizes,
    head: &HeadSizes,
    plan: &Plan,
    source: &dyn data::Views,
    n_views: usize,
    monitor: &dyn Monitor,
) -> Result<(), Failure> {
    let setting = Setting {
        batch: plan.batch,
        accumulate: plan.parts,
        checkpoint_blocks: plan.numbers.checkpoint_blocks,
        global_side: source.side(0),
        local_side: if n_views > 2 { source.side(2) } else { 0 },
        n_local: n_views - 2,
        steps_of_views: STEPS_WAITING + 2,
    };
    monitor.note(&format!("memory: {}", Footprint::of(sizes, head, &setting).words()));
    memory::available().map_or(Ok(()), |bytes| refuse_too_large(sizes, head, &setting, bytes))
}

/// The end of a training that collapsed.
fn stopped(verdict: Verdict, step: u64) -> Failure {
    let failure = Failure::new(format!("stopped in step {step}: {}", verdict.name()));
    failure.help(format!("{}; with `stop_on_collapse: false` the training goes on from here", verdict.remedy()))
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
    use crate::model::Xcit;
    use crate::random::Stream;
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

    fn recipe() -> DinoRecipe {
        DinoRecipe {
            preset: super::super::Preset::Light,
            epochs: Some(5),
            batch: Some(4),
            outputs: Some(32),
            hidden: Some(16),
            bottleneck: Some(8),
            ..DinoRecipe::default()
        }
    }

    fn train_by(recipe: &DinoRecipe, folder: &Path, threads: usize, monitor: &dyn Monitor) -> Result<TrainedDino, Failure> {
        let sizes = Xcit { dim: Some(16), depth: Some(1), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let start = Weights::start(Arc::new(sizes.layout()), 1);
        let watch = Some(Watch { pictures: &Stripes, every: Some(4) });
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train_dino(&sizes, recipe, start, &Stripes, 4, watch, 1, folder, None, monitor))
    }

    fn train(folder: &Path, threads: usize, monitor: &dyn Monitor) -> Result<TrainedDino, Failure> {
        train_by(&recipe(), folder, threads, monitor)
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
            assert!(resumed.snapshots == expected.snapshots);
        }
        assert_eq!(expected.snapshots.steps, [0, 4, 8, 12, 15]);
        assert_eq!(expected.snapshots.features.len(), 5 * 12 * 16);
    }

    #[test]
    fn a_training_in_parts_goes_on_too_whether_blocks_are_kept_or_computed_again() {
        let recipe = DinoRecipe { accumulate: 2, ..recipe() };
        let whole = train_by(&recipe, tempfile::tempdir().unwrap().path(), 2, &crate::stage::Silent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(train_by(&recipe, folder.path(), 2, &StopAfter(AtomicU64::new(6))).is_err());
        let resumed = train_by(&DinoRecipe { checkpoint_blocks: true, ..recipe }, folder.path(), 1, &crate::stage::Silent).unwrap();
        assert!(resumed.state == whole.state);
        assert!(whole.state != train(tempfile::tempdir().unwrap().path(), 2, &crate::stage::Silent).unwrap().state);
    }

    #[test]
    fn a_collapsed_training_stops_where_that_is_wanted_with_the_remedy_and_a_checkpoint() {
        // So warm a teacher prefers nothing.
        let recipe = DinoRecipe { teacher_temp: Some((50.0, 50.0)), stop_on_collapse: true, epochs: Some(10), ..recipe() };
        let folder = tempfile::tempdir().unwrap();
        let failure = train_by(&recipe, folder.path(), 2, &crate::stage::Silent).err().unwrap();
        assert!(failure.message().ends_with("uniform collapse: the teacher prefers no prototype"), "{failure}");
        assert!(failure.way_out().unwrap().starts_with("lower `teacher_temp`, or train for longer; with `stop_on_collapse: false`"));
        assert!(checkpoint::newest(folder.path()).is_some());
        let to_the_end = DinoRecipe { stop_on_collapse: false, ..recipe };
        let resumed = train_by(&to_the_end, folder.path(), 2, &crate::stage::Silent).unwrap();
        assert_eq!((resumed.state.step, resumed.curve.verdict), (30, Verdict::UniformCollapse));
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
