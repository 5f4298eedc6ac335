//! `flow bench decode`: the pictures below a folder from file to resized pixels, with the fields that a script for Pillow prints.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::bench::{on_threads, peak_mib, program, some};
use super::bench_augment::pictures_below;
use super::exit::Stop;
use crate::data::{Filter, time_pictures};
use crate::kernel::level;

/// The largest side that is asked for by anyone, as in the layers that resize.
const MOST_PIXELS: usize = 4096;

#[derive(Args)]
pub(super) struct DecodeArguments {
    /// Pictures are looked for here and below
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Pictures that are taken, from the first by path
    #[arg(long, value_name = "N", default_value = "100", value_parser = some)]
    pub images: usize,
    /// Side in pixels to which they are stretched, bilinear
    #[arg(long, value_name = "PIXELS", default_value = "256", value_parser = some)]
    pub side: usize,
    /// Keep their ratio: only the shorter side is brought to `--side`
    #[arg(long)]
    pub shorter: bool,
    /// Decode large JPEGs at a fraction of their size, as `filter: Draft` does
    #[arg(long)]
    pub draft: bool,
    /// Times that all pictures are gone through: the fastest counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = some)]
    pub rounds: usize,
    #[arg(long, value_name = "N", default_value = "1", value_parser = some)]
    pub threads: usize,
}

/// Times what is done for each picture that is neither packed nor in memory: read, held against its digest, decoded, resized.
pub(super) fn decode(arguments: &DecodeArguments) -> Result<Value, Stop> {
    let DecodeArguments { folder, images, side, shorter, draft, rounds, threads } = arguments;
    if *side > MOST_PIXELS {
        return Err(Stop::wrong(format!("`--side` must be at most {MOST_PIXELS} pixels, got {side}")));
    }
    let (images, files) = pictures_below(folder, *images)?;
    // The longer side is rounded down, as by torchvision's `Resize`.
    let size = |[width, height]: [usize; 2]| match (*shorter, width.min(height)) {
        (true, least) => [width, height].map(|now| (now * side / least).min(MOST_PIXELS)),
        (false, _) => [*side; 2],
    };
    let filter = if *draft { Filter::Draft } else { Filter::Bilinear };
    let best = on_threads(*threads, || time_pictures(&images, &files, size, filter, *rounds))?;
    let n = images.len();
    Ok(json!({
        "job": "decode",
        "peer": program(),
        "images": n,
        "images_per_cpu_second": n as f64 / best.cpu,
        "wall": best.wall,
        "side": side,
        "shorter": shorter,
        "draft": draft,
        "threads": threads,
        "peak_mib": peak_mib(),
        "instructions": format!("{:?}", level()),
    }))
}
