//! Pictures decoded and resized once into one array, so that no later epoch decodes them again.
//!
//! A pack knows a picture by where its bytes lie, not by its name: one serves every split and pool of its images.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image::{Filter, Rgb, Scaler};
use super::layout::{hash_file, npy};
use super::pixels::{Files, Pictures};
use super::table::{ImageRow, ImageTable, Place};
use crate::diagnostic::{Failure, count};
use crate::digest::Digest;
use crate::stage::Monitor;

/// What a pack holds: RGB pictures of `side` x `side` pixels, row after row of one array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    pub side: usize,
    /// How they were resized.
    pub filter: Filter,
    /// The digest of the array's file.
    pub pixels: Digest,
    /// Where the picture of each row came from: its file, and where in it.
    pub from: Vec<(Digest, String)>,
}

/// Pictures that are decoded at a time, for each thread: what a pack in the making holds in memory.
const AT_A_TIME: usize = 16;

impl Pack {
    /// Decodes and resizes the pictures of `images`, each once, into an array at `path`.
    ///
    /// # Errors
    /// Pictures that cannot be read, all at once with their causes.
    pub fn make(
        images: &[ImageTable],
        files: &dyn Files,
        side: usize,
        filter: Filter,
        path: &Path,
        monitor: &dyn Monitor,
    ) -> Result<Self, Failure> {
        let mut known = HashMap::new();
        let mut rows: Vec<&ImageRow> = images.iter().flat_map(ImageTable::rows).collect();
        rows.retain(|row| known.insert((row.file, row.place), ()).is_none());
        let pictures = Pictures::new(files);
        let mut array = npy::Writer::create(path, side, side, 3)?;
        let mut bad = Vec::new();
        let resized = |scaler: &mut Scaler, row: &ImageRow| {
            let mut out = Rgb::filled(side, side, [0; 3]);
            pictures.stretched(row, filter, scaler, &mut out)?;
            Ok::<_, Failure>(out)
        };
        let mut done = 0;
        for some in rows.chunks(AT_A_TIME * rayon::current_num_threads()) {
            if monitor.interrupted() {
                return Err(Failure::interrupted());
            }
            let made: Vec<_> = some.par_iter().map_init(Scaler::new, |scaler, row| resized(scaler, row)).collect();
            for picture in made {
                match picture {
                    Ok(picture) => drop(array.push(picture.pixels())?),
                    Err(failure) => bad.push(failure.message().to_string()),
                }
            }
            done += some.len() as u64;
            monitor.progress(done, rows.len() as u64, "image", &[]);
        }
        if !bad.is_empty() {
            let shown = bad[..bad.len().min(20)].join("\n  ");
            return Err(Failure::new(format!("{} cannot be read:\n  {shown}", count(bad.len(), "picture"))));
        }
        let pixels = hash_file(&array.finish()?)?;
        Ok(Self { side, filter, pixels, from: rows.iter().map(|row| (row.file, row.place.to_string())).collect() })
    }

    /// Returns the images with their pixels in the pack; those that it does not hold stay where they are.
    ///
    /// # Errors
    /// When the pictures that are wanted have another side or were resized by another filter: views would not be the same.
    pub fn under(&self, images: &ImageTable, side: usize, filter: Filter) -> Result<ImageTable, Failure> {
        if (self.side, self.filter) != (side, filter) {
            let (has, wanted) = (format!("{} by {:?}", self.side, self.filter), format!("{side} by {filter:?}"));
            return Err(Failure::new(format!("the pack holds pictures of side {has}: views are made from such of side {wanted}"))
                .help(format!("give the pack `size: {side}, filter: {filter:?}`")));
        }
        let held: HashMap<(Digest, &str), u32> = (0..).zip(&self.from).map(|(row, (file, place))| ((*file, place.as_str()), row)).collect();
        let under = |row: &ImageRow| match held.get(&(row.file, row.place.to_string().as_str())) {
            Some(n) => {
                let (width, height) = (side as u32, side as u32);
                ImageRow { file: self.pixels, place: Place::Row(*n), width, height, ..row.clone() }
            }
            None => row.clone(),
        };
        ImageTable::new(images.rows().iter().map(under).collect())
    }
}
