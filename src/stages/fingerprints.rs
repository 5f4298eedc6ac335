//! `Fingerprints`: images -> a digest of each picture's pixels and a hash of its look, by which `Split` and `Pool` find copies.
//!
//! Every picture is decoded once; its prints are kept, so that a new image costs one image.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::io::{self, Shelf};
use super::kinds::{IMAGES, PRINTS};
use super::rows;
use crate::data::{ImageRow, ImageTable, Pictures, Print, Prints};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::stage::{Cores, Device, Input, Io, Needs, Output, Stage};

crate::params! {
    /// What tells copies of a picture apart from other pictures, whatever their files are.
    pub struct Fingerprints {
        /// All images that will be compared with each other: `["images", "unlabelled"]`.
        pub images: Vec<Ref> = Vec::new(),
    }
}

impl Stage for Fingerprints {
    fn kind(&self) -> &'static str {
        "Fingerprints"
    }

    fn version(&self) -> u32 {
        2
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn inputs(&self) -> Vec<Input> {
        Input::each("images", &self.images, IMAGES).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("prints", PRINTS)]
    }

    fn needs(&self, _: &Device) -> Needs {
        Needs { cores: Cores::All, gpus: 0 }
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let tables: Vec<ImageTable> = (0..self.images.len()).map(|i| io::images(io, &format!("images.{i}"))).collect::<Result<_, _>>()?;
        let all: Vec<&ImageRow> = tables.iter().flat_map(ImageTable::rows).collect();
        let shelf = Shelf(io.library());
        let pictures = Pictures::new(&shelf);
        let pieces = io.pieces(&json!({"print": "dhash 16"}))?;
        let (done, taken, total) = (AtomicU64::new(0), AtomicU64::new(0), all.len() as u64);
        let prints: Vec<Print> = all
            .par_iter()
            .map(|row| {
                if io.monitor().interrupted() {
                    return Err(Failure::interrupted());
                }
                let name = rows::name(row);
                let kept = pieces.get(&name).and_then(|bytes| Print::from_bytes(&bytes));
                taken.fetch_add(u64::from(kept.is_some()), Ordering::Relaxed);
                let print = match kept {
                    Some(print) => print,
                    None => {
                        let print = Print::of(&pictures.load(row)?)?;
                        pieces.put(name, &print.to_bytes());
                        print
                    }
                };
                let n = done.fetch_add(1, Ordering::Relaxed) + 1;
                if n.is_multiple_of(256) || n == total {
                    io.monitor().progress(n, total, "image", &[]);
                }
                Ok(print)
            })
            .collect::<Result<_, Failure>>()?;
        rows::tell_taken(io, taken.into_inner() as usize, all.len(), "image");
        io.metric("images", all.len() as f64);
        io::write(io, "prints", |out| Prints::new(all.into_iter().zip(prints)).write(out))
    }
}
