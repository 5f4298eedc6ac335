//! A row of numbers for each image: those that earlier runs kept, and the others made now.
//!
//! Images pass together only where the bits of a row do not depend on its company, as they would where a matrix product with other rows adds
//! in another order. So a row that was kept is the row that would be made, and a new image costs one image. A GPU, whose last bits are its
//! own in any case, gets many images together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use rayon::prelude::*;
use serde_json::Value;

use crate::classify;
use crate::data::{ImageRow, ImageTable, Views};
use crate::diagnostic::{Failure, count, thousands};
use crate::digest::Digest;
use crate::stage::{Io, Pieces};
use crate::train::supervised::Encoder;

/// Rows of the images of a table, in its order; those that are not known yet are none.
pub(super) struct Rows<'a> {
    images: &'a ImageTable,
    pieces: Arc<dyn Pieces>,
    values: Vec<Option<Vec<f32>>>,
}

/// Counts the rows that are made, over several tables.
pub(super) struct Count {
    done: AtomicU64,
    pub total: u64,
}

impl Count {
    /// Counts up to `total`.
    pub fn to(total: usize) -> Self {
        Self { done: AtomicU64::new(0), total: total as u64 }
    }
}

/// What a row is kept under: where its image's pixels come from, whatever the image is called.
pub(super) fn name(row: &ImageRow) -> Digest {
    Digest::of(format!("{} {}", row.file, row.place).as_bytes())
}

impl<'a> Rows<'a> {
    /// Looks up what earlier runs have kept under `scope`, which must say all that the rows have in common. A row has one of `lengths`.
    pub fn find(io: &Io, scope: &Value, images: &'a ImageTable, lengths: &[usize]) -> Result<Self, Failure> {
        let pieces = io.pieces(scope)?;
        let values = images.rows().iter().map(|row| {
            let bytes = pieces.get(&name(row)).filter(|bytes| lengths.contains(&(bytes.len() / 4)))?;
            Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        });
        Ok(Self { values: values.collect(), images, pieces })
    }

    /// Returns the numbers of the images that have no row yet.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.values.len()).filter(|i| self.values[*i].is_none()).collect()
    }

    /// Makes the rows that are missing: `rows` is called with the numbers of so many images at a time.
    ///
    /// # Errors
    /// When a row cannot be made, or the monitor interrupts; those made until then are kept.
    pub fn make(
        &mut self,
        io: &Io,
        count: &Count,
        at_once: usize,
        rows: impl Fn(&[usize]) -> Result<Vec<Vec<f32>>, Failure> + Sync,
    ) -> Result<(), Failure> {
        // As many calls at a time as there are hands, twice: each holds the buffers of a whole network. No bit depends on it.
        for some in self.missing().chunks(2 * rayon::current_num_threads() * at_once) {
            if io.monitor().interrupted() {
                return Err(Failure::interrupted());
            }
            let made = some.par_chunks(at_once).with_max_len(1).map(&rows).collect::<Result<Vec<_>, Failure>>()?;
            for (i, row) in some.iter().zip(made.into_iter().flatten()) {
                let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
                self.pieces.put(name(&self.images.rows()[*i]), &bytes);
                self.values[*i] = Some(row);
            }
            let done = count.done.fetch_add(some.len() as u64, Ordering::Relaxed) + some.len() as u64;
            io.monitor().progress(done, count.total, "image", &[]);
        }
        Ok(())
    }

    /// Lays the rows out as a table, once none is missing; `shape` may bring them to one length before.
    pub fn table(self, shape: impl FnOnce(&mut [Vec<f32>])) -> Result<classify::Features, Failure> {
        let rows = self.values.into_iter().collect::<Option<Vec<Vec<f32>>>>();
        let mut rows = rows.ok_or_else(|| Failure::new("an image has no row of features"))?;
        shape(&mut rows);
        let ids: Vec<String> = self.images.rows().iter().map(|row| row.id.to_string()).collect();
        let values = Array2::from_shape_vec((ids.len(), rows.first().map_or(0, Vec::len)), rows.concat());
        classify::Features::new(ids, values.map_err(|e| Failure::new(format!("features have the wrong shape: {e}")))?)
    }
}

/// Returns the pixels of one of the views.
pub(super) fn pixels(views: &dyn Views, image: usize) -> Result<Vec<f32>, Failure> {
    let mut pixels = vec![0.0; views.side(0) * views.side(0) * 3];
    views.fill(image, 0, 0, &mut pixels)?;
    Ok(pixels)
}

/// Returns what a network makes of some of the views.
pub(super) fn embed(network: &dyn Encoder, views: &dyn Views, images: impl Iterator<Item = usize>) -> Result<Vec<Vec<f32>>, Failure> {
    let pictures = images.map(|image| pixels(views, image)).collect::<Result<Vec<_>, Failure>>()?;
    let mut rows = Vec::with_capacity(pictures.len() * network.dim());
    network.embed(&pictures.concat(), views.side(0), &mut rows)?;
    Ok(rows.chunks_exact(network.dim()).map(<[f32]>::to_vec).collect())
}

/// Tells how many of `all` were taken from earlier runs, if any were.
pub(super) fn tell_taken(io: &Io, taken: usize, all: usize, unit: &str) {
    if taken > 0 {
        let (taken, all) = (thousands(taken), count(all, unit));
        io.monitor().note(&format!("{taken} of {all} taken from earlier runs"));
    }
}
