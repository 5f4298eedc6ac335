//! `flow bench`: how fast this machine does a job, as one line of JSON.
//!
//! Fields that scripts for other programs print too have the same names and meanings, so that ratios can be taken; those of ours alone
//! come after them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::bench_augment::{AugmentArguments, augment};
use super::bench_decode::{DecodeArguments, decode};
use super::bench_sweep::{SweepArguments, sweep};
use super::console::print;
use super::exit::{Exit, Stop};
use super::values::device;
use crate::diagnostic::{Context, Failure};
use crate::kernel::{level, memory, peak_flops};
use crate::model::{Sizes, open_gpu};
use crate::stage::Device;
use crate::train::{FeaturesBench, StepBench, StepTimes};

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// A DINO step on pictures of noise: seconds, images per second, peak memory, share of what the cores can do at most
    DinoStep(StepArguments),
    /// The frozen forward pass of a network, as the `Features` node makes it
    Features(FeaturesArguments),
    /// Pictures below a folder, from file to resized pixels: images per CPU second
    Decode(DecodeArguments),
    /// Augmented views of the pictures below a folder, by the paper's recipe: views per CPU second
    Augment(AugmentArguments),
    /// The few-label sweep on feature tables: CPU seconds of transform, fits and predictions, balanced accuracies
    Sweep(SweepArguments),
}

/// A count of at least 1.
pub(super) fn some(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("expected a number of at least 1, found `{text}`"))
}

#[derive(Args)]
pub(super) struct StepArguments {
    /// The network by name: an XCiT, or a ViT such as `vit_small_p14`
    #[arg(long, value_name = "NAME", default_value = "small_12_p8")]
    pub variant: String,
    /// Images per step; each gives two global and the local views
    #[arg(long, value_name = "N", default_value = "2", value_parser = some)]
    pub batch: usize,
    /// Steps that are timed: the fastest counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = some)]
    pub steps: usize,
    /// Steps before these
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,
    #[arg(long, value_name = "N", default_value = "2", value_parser = some)]
    pub threads: usize,
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub device: Device,
    /// Side of a global view in pixels
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = some)]
    pub global: usize,
    /// Side of a local view in pixels
    #[arg(long, value_name = "PIXELS", default_value = "96", value_parser = some)]
    pub local: usize,
    /// Local views of each image
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub n_local: usize,
    /// Prototypes: width of the head's output
    #[arg(long, value_name = "N", default_value = "65536", value_parser = some)]
    pub k: usize,
    /// Parts in which the images pass the networks, one after the other
    #[arg(long, value_name = "N", default_value = "1", value_parser = some)]
    pub accumulate: usize,
    /// Compute the blocks' activations again in the backward pass
    #[arg(long)]
    pub checkpoint_blocks: bool,
}

#[derive(Args)]
pub(super) struct FeaturesArguments {
    /// The network by name: an XCiT, or a ViT such as `vit_small_p14`
    #[arg(long, value_name = "NAME", default_value = "small_12_p8")]
    pub variant: String,
    /// Side of a picture in pixels
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = some)]
    pub size: usize,
    /// Pictures in a batch
    #[arg(long, value_name = "N", default_value = "8", value_parser = some)]
    pub batch: usize,
    /// Batches that are timed, all together
    #[arg(long, value_name = "N", default_value = "4", value_parser = some)]
    pub batches: usize,
    /// Batches before these
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,
    #[arg(long, value_name = "N", default_value = "2", value_parser = some)]
    pub threads: usize,
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub device: Device,
}

/// How long the peak is looked for: the clock of a core needs a moment to rise.
const PEAK_TIME: Duration = Duration::from_millis(500);

pub(super) fn bench(command: &BenchCommand) -> Result<Exit, Stop> {
    let line = match command {
        BenchCommand::DinoStep(arguments) => dino_step(arguments)?,
        BenchCommand::Features(arguments) => features(arguments)?,
        BenchCommand::Decode(arguments) => decode(arguments)?,
        BenchCommand::Augment(arguments) => augment(arguments)?,
        BenchCommand::Sweep(arguments) => sweep(arguments)?,
    };
    print(&line.to_string());
    Ok(Exit::Done)
}

/// Who was measured.
pub(super) fn program() -> String {
    format!("flow {}", env!("CARGO_PKG_VERSION"))
}

fn sizes(variant: &str, sides: &[usize]) -> Result<Sizes, Stop> {
    let sizes = Sizes::named(variant).map_err(|(field, wrong)| Stop::wrong(format!("`--{field}` {wrong}")))?;
    sides.iter().try_for_each(|side| sizes.grid(*side, *side).map(|_| ())).map_err(Stop::wrong)?;
    Ok(sizes)
}

/// Runs `work` on so many threads.
pub(super) fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> Result<R, Failure> + Send) -> Result<R, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().doing(|| format!("failed to start {threads} threads"))?;
    pool.install(work)
}

pub(super) fn peak_mib() -> f64 {
    memory::peak() as f64 / f64::from(1 << 20)
}

/// Operations per second, beside what the cores can do at most.
fn speed(flops: f64, seconds: f64, threads: usize) -> [(&'static str, Value); 4] {
    let (reached, peak) = (flops / seconds, peak_flops(threads, PEAK_TIME));
    [
        ("gflop_per_second", json!(reached / 1e9)),
        ("peak_gflop_per_second", json!(peak / 1e9)),
        ("share_of_peak", json!(reached / peak)),
        ("instructions", json!(format!("{:?}", level()))),
    ]
}

fn dino_step(arguments: &StepArguments) -> Result<Value, Stop> {
    let StepArguments { variant, batch, steps, warmup, threads, device, global, local, n_local, k, accumulate, checkpoint_blocks } =
        arguments;
    let sides = if *n_local > 0 { vec![*global, *local] } else { vec![*global] };
    let sizes = sizes(variant, &sides)?;
    if accumulate > batch {
        return Err(Stop::wrong(format!("`--accumulate` must be at most the batch of {batch}, got {accumulate}")));
    }
    let bench = StepBench {
        sizes,
        batch: *batch,
        global_side: *global,
        local_side: *local,
        n_local: *n_local,
        outputs: *k,
        accumulate: *accumulate,
        checkpoint_blocks: *checkpoint_blocks,
    };
    let gpu = open_gpu(device)?;
    let StepTimes { seconds, shares } = on_threads(*threads, || bench.run(*warmup, *steps, gpu.as_ref()))?;
    let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let mut line = json!({
        "job": "dino_step",
        "peer": program(),
        "variant": variant,
        "batch": batch,
        "threads": threads,
        "device": format!("{device:?}"),
        "seconds_per_step": best,
        "seconds": seconds,
        "images_per_second": *batch as f64 / best,
        "peak_mib": peak_mib(),
        "counted_mib": bench.footprint().total() as f64 / f64::from(1 << 20),
        "gflop_per_step": bench.flops() / 1e9,
        "time_shares": shares.into_iter().map(|(name, share)| (name.to_string(), json!(share))).collect::<Map<String, Value>>(),
    });
    add(&mut line, speed(bench.flops(), best, *threads));
    Ok(line)
}

fn features(arguments: &FeaturesArguments) -> Result<Value, Stop> {
    let FeaturesArguments { variant, size, batch, batches, warmup, threads, device } = arguments;
    let bench = FeaturesBench { sizes: sizes(variant, &[*size])?, side: *size, batch: *batch };
    let gpu = open_gpu(device)?;
    let seconds = on_threads(*threads, || bench.run(*warmup, *batches, gpu.as_ref()))?;
    let mut line = json!({
        "job": "features",
        "peer": program(),
        "variant": variant,
        "size": size,
        "threads": threads,
        "device": format!("{device:?}"),
        "images_per_second": (batch * batches) as f64 / seconds,
        "peak_mib": peak_mib(),
    });
    add(&mut line, speed(bench.flops() * *batches as f64, seconds, *threads));
    Ok(line)
}

fn add(line: &mut Value, fields: impl IntoIterator<Item = (&'static str, Value)>) {
    if let Value::Object(map) = line {
        map.extend(fields.into_iter().map(|(name, value)| (name.to_string(), value)));
    }
}
