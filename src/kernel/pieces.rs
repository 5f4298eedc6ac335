//! Cutting work into pieces that depend on the shapes alone, never on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

/// How many partial sums a reduction over rows makes.
pub const PIECES: usize = 16;

/// Returns 0..n cut into at most [`PIECES`] ranges of nearly equal length.
pub fn pieces(n: usize) -> Vec<Range<usize>> {
    let length = n.div_ceil(PIECES).max(1);
    (0..n).step_by(length).map(|start| start..(start + length).min(n)).collect()
}

/// Adds `width` sums over 0..n rows to `out`: `work(range, partial)` adds up one piece.
pub fn column_sums(n: usize, width: usize, out: &mut [f32], work: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let partials: Vec<Vec<f32>> = pieces(n)
        .into_par_iter()
        .map(|range| {
            let mut partial = vec![0.0; width];
            work(range, &mut partial);
            partial
        })
        .collect();
    for partial in partials {
        out.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
    }
}
