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
use crate::stage::{Complaint, Io, Pieces};
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
pub(super) fn pixels(views: &dyn Views, image: usize, view: usize) -> Result<Vec<f32>, Failure> {
    let mut pixels = vec![0.0; views.side(view) * views.side(view) * 3];
    views.fill(image, 0, view, &mut pixels)?;
    Ok(pixels)
}

/// Complains of a number of orientations that are no whole group: as it is, mirrored too, its flips, with quarter turns.
pub(super) fn orientations_are_whole(n: usize) -> Option<Complaint> {
    let message = || format!("must be 1, 2, 4 or 8, got {n}");
    (!matches!(n, 1 | 2 | 4 | 8)).then(|| Complaint { field: "orientations".into(), message: message() })
}

/// Returns what a network makes of these images: of each the mean over its first `n_views` views, all of one side.
pub(super) fn embed(network: &dyn Encoder, views: &dyn Views, n_views: usize, images: &[usize]) -> Result<Vec<Vec<f32>>, Failure> {
    let mut rows = vec![vec![0.0; network.dim()]; images.len()];
    let mut features = Vec::with_capacity(images.len() * network.dim());
    for view in 0..n_views {
        let pictures = images.iter().map(|image| pixels(views, *image, view)).collect::<Result<Vec<_>, Failure>>()?;
        features.clear();
        network.embed(&pictures.concat(), views.side(view), &mut features)?;
        for (row, features) in rows.iter_mut().zip(features.chunks_exact(network.dim())) {
            row.iter_mut().zip(features).for_each(|(mean, v)| *mean += v / n_views as f32);
        }
    }
    Ok(rows)
}

/// Tells how many of `all` were taken from earlier runs, if any were.
pub(super) fn tell_taken(io: &Io, taken: usize, all: usize, unit: &str) {
    if taken > 0 {
        let (taken, all) = (thousands(taken), count(all, unit));
        io.monitor().note(&format!("{taken} of {all} taken from earlier runs"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Oriented;
    use crate::model::{Sizes, Weights};
    use crate::random::Stream;
    use crate::train::open_backbone;

    const SIDE: usize = 32;

    /// A picture of noise, and as image 1 the same turned by a quarter.
    struct Turned;

    impl Views for Turned {
        fn n_images(&self) -> usize {
            2
        }

        fn side(&self, _view: usize) -> usize {
            SIDE
        }

        fn fill(&self, image: usize, _epoch: u64, _view: usize, out: &mut [f32]) -> Result<(), Failure> {
            let value = |x: usize, y: usize, channel: usize| {
                Stream::new(1, "picture").at(((y * SIDE + x) * 3 + channel) as u64).draws().normal() as f32
            };
            for (i, v) in out.iter_mut().enumerate() {
                let (x, y, channel) = (i / 3 % SIDE, i / 3 / SIDE, i % 3);
                *v = if image == 0 { value(x, y, channel) } else { value(y, SIDE - 1 - x, channel) };
            }
            Ok(())
        }
    }

    #[test]
    fn features_over_all_orientations_do_not_tell_how_a_picture_was_turned() {
        let sizes = Sizes::named("nano_12_p8").unwrap();
        let network = open_backbone(&sizes, Weights::start(Arc::new(sizes.layout()), 1), None).unwrap();
        let apart = |n_views: usize| {
            let rows = embed(&*network, &Oriented(&Turned), n_views, &[0, 1]).unwrap();
            rows[0].iter().zip(&rows[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!(apart(8) < 1e-4, "{}", apart(8));
        assert!(apart(1) > 1e-3 && apart(4) > 1e-3, "{} {}", apart(1), apart(4));
    }
}
