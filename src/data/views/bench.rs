//! How long pictures and views take to make: the work of `flow bench decode` and `flow bench augment`.

use rayon::prelude::*;

use super::contract::Views;
use super::held::{Desk, Held};
use super::multicrop::MultiCrop;
use crate::data::image::Filter;
use crate::data::pixels::Files;
use crate::data::table::ImageTable;
use crate::diagnostic::Failure;
use crate::kernel::{Spent, Stopwatch};
use crate::stage::Silent;

/// Reads, checks and decodes every picture and stretches it to `side` x `side` pixels, as many times as `rounds`, and returns the least
/// time that a round took, by CPU time.
///
/// This is what a node does for each picture that is neither packed nor held in memory, up to the 8-bit pixels.
pub fn time_pictures(images: &ImageTable, files: &dyn Files, side: usize, filter: Filter, rounds: usize) -> Result<Spent, Failure> {
    let pictures = Held::new(images, files, side, filter, 0, &Silent)?;
    least(rounds, || (0..images.len()).into_par_iter().try_for_each_init(Desk::default, |desk, image| pictures.get(image, desk).map(drop)))
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
