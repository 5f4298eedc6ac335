//! Pictures at their base size: mapped where they are packed so, in memory where they fit, else decoded at each access.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::data::image::{Filter, Rgb, Scaler};
use crate::data::pixels::{Files, Pictures};
use crate::data::table::{ImageRow, ImageTable, Place};
use crate::diagnostic::{Failure, count};
use crate::stage::Monitor;

/// The pictures of a table, each stretched to `base` x `base` pixels.
pub struct Held<'a> {
    /// Tells this from all others in this process.
    number: u64,
    base: usize,
    filter: Filter,
    n_images: usize,
    source: Source<'a>,
}

enum Source<'a> {
    /// All pixels, picture after picture.
    Memory(Vec<u8>),
    Each {
        pictures: Pictures<'a>,
        rows: Vec<ImageRow>,
    },
}

impl<'a> Held<'a> {
    /// Loads all pictures if they take at most `memory` bytes.
    ///
    /// # Errors
    /// Pictures that cannot be read, all at once with their causes.
    pub fn new(
        images: &ImageTable,
        files: &'a dyn Files,
        base: usize,
        filter: Filter,
        memory: u64,
        monitor: &dyn Monitor,
    ) -> Result<Self, Failure> {
        let pictures = Pictures::new(files);
        let n_images = images.len();
        let bytes = base * base * 3;
        // Rows of a mapped array at this very size are in memory already, as far as there is room.
        let is_mapped = |row: &ImageRow| matches!(row.place, Place::Row(_)) && [row.width, row.height] == [base as u32; 2];
        let source = if images.rows().iter().all(is_mapped) {
            Source::Each { pictures, rows: images.rows().to_vec() }
        } else if (n_images as u64).saturating_mul(bytes as u64) <= memory {
            Source::Memory(load_all(images, &pictures, base, filter, monitor)?)
        } else {
            let needed = (n_images as u64 * bytes as u64) >> 20;
            monitor.note(&format!(
                "the pictures take {needed} MiB, more than the {} MiB they may: decoding them at each access",
                memory >> 20
            ));
            Source::Each { pictures, rows: images.rows().to_vec() }
        };
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), base, filter, n_images, source })
    }

    /// Returns how many pictures there are.
    pub fn n_images(&self) -> usize {
        self.n_images
    }

    /// Returns the side of the pictures in pixels.
    pub fn base(&self) -> usize {
        self.base
    }

    /// Returns picture number `image`, which stays in `desk` until another is asked for: the views of one image, asked for in turn,
    /// decode it once.
    pub fn get<'d>(&self, image: usize, desk: &'d mut Desk) -> Result<&'d Rgb, Failure> {
        if image >= self.n_images {
            return Err(Failure::new(format!("image number {image} of {}", count(self.n_images, "image"))));
        }
        if desk.holds != (self.number, image) {
            // Nothing is held while it is being replaced, since that may fail.
            desk.holds = (0, 0);
            desk.picture.reshape(self.base, self.base);
            match &self.source {
                Source::Memory(pixels) => {
                    let bytes = self.base * self.base * 3;
                    desk.picture.pixels_mut().copy_from_slice(&pixels[image * bytes..][..bytes]);
                }
                Source::Each { pictures, rows } => {
                    pictures.stretched(&rows[image], self.filter, &mut desk.scaler, &mut desk.picture)?;
                }
            }
            desk.holds = (self.number, image);
        }
        Ok(&desk.picture)
    }
}

/// The picture that a thread is working on, and memory for the next.
#[derive(Default)]
pub struct Desk {
    /// The number of the holder and of the picture; 0 is no holder's.
    holds: (u64, usize),
    picture: Rgb,
    scaler: Scaler,
}

fn load_all(images: &ImageTable, pictures: &Pictures, base: usize, filter: Filter, monitor: &dyn Monitor) -> Result<Vec<u8>, Failure> {
    let bytes = base * base * 3;
    let mut pixels = vec![0; images.len() * bytes];
    let (done, total) = (AtomicU64::new(0), images.len() as u64);
    let bad: Vec<String> = pixels
        .par_chunks_mut(bytes)
        .zip(images.rows())
        .map_init(
            || (Scaler::new(), Rgb::default()),
            |(scaler, scaled), (out, row)| {
                if monitor.interrupted() {
                    return None;
                }
                let n = done.fetch_add(1, Ordering::Relaxed) + 1;
                if n.is_multiple_of(1024) {
                    monitor.progress(n, total, "image", &[]);
                }
                scaled.reshape(base, base);
                let loaded = pictures.stretched(row, filter, scaler, scaled);
                out.copy_from_slice(scaled.pixels());
                loaded.err().map(|failure| failure.message().to_string())
            },
        )
        .flatten_iter()
        .collect();
    if monitor.interrupted() {
        return Err(Failure::interrupted());
    }
    match bad.len() {
        0 => Ok(pixels),
        n => {
            let shown = bad[..n.min(20)].join("\n  ");
            Err(Failure::new(format!("{} cannot be read:\n  {shown}", count(n, "picture"))))
        }
    }
}
