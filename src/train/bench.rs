//! How fast a DINO step and a frozen forward pass are on this machine, with pictures of noise.
//!
//! What is timed is what the scripts for other programs time: the step from the views in memory to the moved teacher, and the forward
//! pass from the pixels in memory to the representations. Making views is not.

use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use rayon::prelude::*;

use super::dino::{State, StepNumbers, Views};
use super::encoder::open_backbone;
use super::footprint::{Footprint, Setting};
use super::optimiser::{Clip, Hyper};
use super::training::open_training;
use crate::diagnostic::Failure;
use crate::kernel::clock::{GROUPS, measured};
use crate::model::{HeadSizes, Sizes, Weights, forward_flops, head_flops, training_flops};
use crate::random::Stream;

/// A step to time.
#[derive(Clone, Debug)]
pub struct StepBench {
    pub sizes: Sizes,
    /// Images per step.
    pub batch: usize,
    pub global_side: usize,
    pub local_side: usize,
    pub n_local: usize,
    pub outputs: usize,
    /// Parts in which the images pass.
    pub accumulate: usize,
    pub checkpoint_blocks: bool,
}

/// What was timed.
pub struct StepTimes {
    /// Of each step.
    pub seconds: Vec<f64>,
    /// The share of each group of kernels by name in one further step, `rest` last.
    pub shares: Vec<(&'static str, f64)>,
}

/// Numbers with mean 0 and deviation 1.
fn noise(purpose: &str, n: usize) -> Vec<f32> {
    // A quarter of a million different ones are enough, and quicker to draw.
    let mut draws = Stream::new(0, purpose).draws();
    let some: Vec<f32> = (0..n.min(1 << 18)).map(|_| draws.normal() as f32).collect();
    some.iter().cycle().take(n).copied().collect()
}

impl StepBench {
    /// DINO's own head.
    fn head(&self) -> HeadSizes {
        HeadSizes { dim: self.sizes.dim(), hidden: 2048, bottleneck: 256, outputs: self.outputs, layers: 3 }
    }

    /// Returns the f32 operations of one step: student forward and backward on all views, teacher forward on the global ones.
    pub fn flops(&self) -> f64 {
        let (global, local) = (2.0 * self.batch as f64, (self.n_local * self.batch) as f64);
        let student = global * training_flops(&self.sizes, self.global_side) + local * training_flops(&self.sizes, self.local_side);
        let teacher = global * forward_flops(&self.sizes, self.global_side);
        student + teacher + (3.0 * (global + local) + global) * head_flops(&self.head())
    }

    /// Returns the memory counted for it.
    pub fn footprint(&self) -> Footprint {
        let setting = Setting {
            batch: self.batch,
            accumulate: self.accumulate,
            checkpoint_blocks: self.checkpoint_blocks,
            global_side: self.global_side,
            local_side: self.local_side,
            n_local: self.n_local,
            steps_of_views: 1,
        };
        Footprint::of(&self.sizes, &self.head(), &setting)
    }

    /// Takes `warm_up` steps and times `steps` more, on the kernels or on a GPU.
    ///
    /// # Errors
    /// When the views do not divide into patches, the GPU refuses, or the loss is not finite.
    pub fn run(&self, warm_up: usize, steps: usize, gpu: Option<&Device>) -> Result<StepTimes, Failure> {
        let state = State::start(&self.head(), Weights::start(Arc::new(self.sizes.layout()), 0), 0);
        let mut dino = open_training(&self.sizes, &self.head(), state, self.checkpoint_blocks, (0.0, 0), gpu)?;
        let part = |part: usize| {
            let batch = (part + 1) * self.batch / self.accumulate - part * self.batch / self.accumulate;
            let pixels = |side: usize, views: usize| views * batch * side * side * 3;
            Views {
                batch,
                global: noise("global views", pixels(self.global_side, 2)),
                global_side: self.global_side,
                local: noise("local views", pixels(self.local_side, self.n_local)),
                local_side: self.local_side,
                n_local: self.n_local,
            }
        };
        let views: Vec<Views> = (0..self.accumulate).map(part).collect();
        let numbers = StepNumbers {
            hyper: Hyper::new(1e-4, 0.01, Clip::Agc(0.32)),
            teacher_momentum: 0.9995,
            teacher_temp: 0.04,
            student_temp: 0.1,
            centre_momentum: 0.9,
            freeze_last_layer: false,
            freeze_backbone: false,
            layer_decay: 1.0,
        };
        for _ in 0..warm_up {
            dino.step(&views, &numbers)?;
        }
        let mut step = || {
            let start = Instant::now();
            dino.step(&views, &numbers).map(|_| start.elapsed().as_secs_f64())
        };
        let seconds = (0..steps).map(|_| step()).collect::<Result<Vec<f64>, Failure>>()?;
        // One more, since its passes go one after the other while clocks are on.
        let (whole, groups) = measured(step);
        let whole = whole?.max(f64::MIN_POSITIVE);
        let mut shares: Vec<(&str, f64)> = GROUPS.iter().zip(groups).map(|((_, name), s)| (*name, s / whole)).collect();
        shares.push(("rest", 1.0 - shares.iter().map(|(_, share)| share).sum::<f64>()));
        Ok(StepTimes { seconds, shares })
    }
}

/// A frozen forward pass to time.
#[derive(Clone, Debug)]
pub struct FeaturesBench {
    pub sizes: Sizes,
    pub side: usize,
    pub batch: usize,
}

impl FeaturesBench {
    /// Returns the f32 operations of one batch.
    pub fn flops(&self) -> f64 {
        self.batch as f64 * forward_flops(&self.sizes, self.side)
    }

    /// Embeds `warm_up` batches and then `batches` more; returns the seconds of all these together.
    ///
    /// As the `Features` node does: on the kernels each picture by itself, as many at a time as there are threads.
    ///
    /// # Errors
    /// When the pictures do not divide into patches, or the GPU refuses.
    pub fn run(&self, warm_up: usize, batches: usize, gpu: Option<&Device>) -> Result<f64, Failure> {
        let network = open_backbone(&self.sizes, Weights::start(Arc::new(self.sizes.layout()), 0), gpu)?;
        let pixels = noise("pictures", self.batch * self.side * self.side * 3);
        let batch = || {
            let pictures = pixels.par_chunks(network.at_once(self.side) * self.side * self.side * 3).with_max_len(1);
            pictures.map(|some| network.embed(some, self.side, &mut Vec::new())).collect::<Result<(), Failure>>()
        };
        (0..warm_up).try_for_each(|_| batch())?;
        let start = Instant::now();
        (0..batches).try_for_each(|_| batch())?;
        Ok(start.elapsed().as_secs_f64())
    }
}
