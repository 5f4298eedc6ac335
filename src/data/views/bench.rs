//! How long views take to make: the work of `flow bench augment`.

use rayon::prelude::*;

use super::contract::Views;
use super::multicrop::MultiCrop;
use crate::diagnostic::Failure;
use crate::kernel::{Spent, Stopwatch};

/// Makes all views of every image, as many times as `rounds`, and returns the least time that a round took, by CPU time.
///
/// Each image's views are made in turn, as a training asks for them, from the picture as it is held to network inputs.
pub fn time_views(views: &MultiCrop, rounds: usize) -> Result<Spent, Failure> {
    let round = || {
        (0..views.n_images()).into_par_iter().with_max_len(1).try_for_each_init(Vec::new, |out, image| {
            (0..views.n_views()).try_for_each(|view| {
                out.resize(views.side(view).pow(2) * 3, 0.0);
                views.fill(image, 0, view, out)
            })
        })
    };
    let mut best = Spent { wall: f64::INFINITY, cpu: f64::INFINITY };
    for _ in 0..rounds.max(1) {
        let (made, spent) = Stopwatch::time(round);
        made?;
        if spent.cpu < best.cpu {
            best = spent;
        }
    }
    Ok(best)
}
