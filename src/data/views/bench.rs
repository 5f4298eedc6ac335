//! How long pictures and views take to make: the work of `flow bench decode` and `flow bench augment`.

use rayon::prelude::*;

use super::contract::Views;
use super::multicrop::MultiCrop;
use crate::data::image::{Filter, Rgb, Scaler};
use crate::data::pixels::{Files, Pictures};
use crate::data::table::ImageTable;
use crate::diagnostic::Failure;
use crate::kernel::{Spent, Stopwatch};

/// Reads, checks, decodes and resizes every picture, as many times as `rounds`, and returns the least time that a round took, by CPU time.
///
/// This is what a node does for each picture that is neither packed nor held in memory, up to the 8-bit pixels. `size` turns the width and
/// height of a picture, in pixels, into those that it gets.
///
/// # Errors
/// The first picture that cannot be read.
pub fn time_pictures(
    images: &ImageTable,
    files: &dyn Files,
    size: impl Fn([usize; 2]) -> [usize; 2] + Sync,
    filter: Filter,
    rounds: usize,
) -> Result<Spent, Failure> {
    let pictures = Pictures::new(files);
    least(rounds, || {
        images.rows().par_iter().try_for_each_init(
            || (Scaler::new(), Rgb::default()),
            |(scaler, scaled), row| {
                let [width, height] = size([row.width, row.height].map(|side| side as usize));
                scaled.reshape(width, height);
                pictures.stretched(row, filter, scaler, scaled)
            },
        )
    })
}

/// Makes all views of every image, as many times as `rounds`, and returns the least time that a round took, by CPU time.
///
/// Each image's views are made in turn, as a training asks for them, from the picture as it is held to network inputs.
pub fn time_views(views: &MultiCrop, rounds: usize) -> Result<Spent, Failure> {
    least(rounds, || {
        (0..views.n_images()).into_par_iter().with_max_len(1).try_for_each_init(Vec::new, |out, image| {
            (0..views.n_views()).try_for_each(|view| {
                out.resize(views.side(view).pow(2) * 3, 0.0);
                views.fill(image, 0, view, out)
            })
        })
    })
}

/// Does the work once or more, and returns the least time by CPU time.
fn least(rounds: usize, work: impl Fn() -> Result<(), Failure>) -> Result<Spent, Failure> {
    let mut best = Spent { wall: f64::INFINITY, cpu: f64::INFINITY };
    for _ in 0..rounds.max(1) {
        let (made, spent) = Stopwatch::time(&work);
        made?;
        if spent.cpu < best.cpu {
            best = spent;
        }
    }
    Ok(best)
}
