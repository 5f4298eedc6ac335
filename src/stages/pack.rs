//! `Pack`: images -> their pictures decoded and resized once, in one array that a training maps into memory.
//!
//! A training that names a pack gets the views that it gets without: the pack's side and filter must be those that its views are made
//! from, else it fails and says so.

use serde_json::Value;

use super::io::{self, Shelf};
use super::kinds::{IMAGES, PACK, PIXELS};
use crate::data::{self, Filter, ImageTable};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::stage::{Complaint, Cores, Device, Input, Io, Needs, Output, Stage};

crate::params! {
    /// Pictures as a training reads them again and again: `size` x `size` pixels of three bytes each.
    pub struct Pack {
        /// All images that trainings will read: `["images", "unlabelled"]`.
        pub images: Vec<Ref> = Vec::new(),
        /// Side that every picture is resized to, its aspect ratio not kept: the `base` of the trainings' augmentation.
        pub size: usize = 256,
        /// How it is resized: the `resize` of the trainings' augmentation.
        pub filter: Filter = Filter::Nearest,
    }
}

impl Stage for Pack {
    fn kind(&self) -> &'static str {
        "Pack"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let complaint = |field: &str, message: String| Complaint { field: field.into(), message };
        let mut complaints = Vec::new();
        if self.images.is_empty() {
            complaints.push(complaint("images", "must name at least one node of images".into()));
        }
        if !(4..=4096).contains(&self.size) {
            complaints.push(complaint("size", format!("must be 4 to 4096 pixels, got {}", self.size)));
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        Input::each("images", &self.images, IMAGES).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("pack", PACK), Output::file("pixels", PIXELS)]
    }

    fn needs(&self, _: &Device) -> Needs {
        Needs { cores: Cores::All, gpus: 0 }
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let tables: Vec<ImageTable> = (0..self.images.len()).map(|i| io::images(io, &format!("images.{i}"))).collect::<Result<_, _>>()?;
        let pack = data::Pack::make(&tables, &Shelf(io.library()), self.size, self.filter, &io.output("pixels"), io.monitor())?;
        io.metric("pictures", pack.from.len() as f64);
        io::write_json(io, "pack", &pack)
    }
}
