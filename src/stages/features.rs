//! `Features`: images and a model -> one row of numbers per image, and beside it two honest floors.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::backbone::PICTURE_MEMORY;
use super::feature_set::{FeatureSet, MAIN};
use super::io::{self, Shelf};
use super::kinds::{FEATURES, IMAGES, MODEL};
use super::rows::{self, Count, Rows, embed, tell_taken};
use crate::classify;
use crate::data::{Filter, IdList, ImageTable, Normalisation, Oriented, PlainViews};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::model::{ModelFile, Weights, open_gpu};
use crate::params::Ref;
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::open_backbone;

/// What a representation must beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Floor {
    /// The same network with random weights.
    Untrained,
    /// The pixels, scaled down to at most 16 x 16.
    Pixels,
}

crate::params! {
    /// The class token after the final norm, in evaluation mode, of every image.
    pub struct Features {
        pub images: Ref = Ref::default(),
        pub model: Ref = Ref::default(),
        /// Side the images are resized to; by default the model's own.
        pub size: Option<usize> = None,
        /// Each image's features are the mean over so many of its orientations: 1 as it is, 2 and mirrored, 4 its flips, 8 with quarter
        /// turns too. For pictures that have no up and down, such as cells.
        pub orientations: usize = 1,
        /// Shown beside the features in every report.
        pub floors: Vec<Floor> = vec![Floor::Untrained, Floor::Pixels],
    }
}

/// The side of the pixel floor.
const PIXELS_SIDE: usize = 16;

impl Stage for Features {
    fn kind(&self) -> &'static str {
        "Features"
    }

    fn version(&self) -> u32 {
        7
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let wrong = self.size.filter(|side| !(4..=4096).contains(side));
        let size = wrong.map(|side| Complaint { field: "size".into(), message: format!("must be 4 to 4096 pixels, got {side}") });
        size.into_iter().chain(rows::orientations_are_whole(self.orientations)).collect()
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::required("images", &self.images, IMAGES), Input::required("model", &self.model, MODEL)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("features", FEATURES)]
    }

    fn seeded(&self) -> bool {
        self.floors.contains(&Floor::Untrained)
    }

    fn needs(&self, device: &Device) -> Needs {
        Needs::whole(device)
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.02)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let gpu = open_gpu(io.device())?;
        let images = io::images(io, "images")?;
        let bytes = io::bytes(io, "model")?;
        let ModelFile { weights, about } = ModelFile::open(&bytes)?;
        let how = &about.preprocessing;
        let side = self.size.unwrap_or(how.side);
        about.sizes.grid(side, side)?;

        let dim = [about.sizes.dim()];
        let mut look = json!({"side": side, "filter": how.filter, "normalisation": how.normalisation});
        // Left out where there is one, so that rows that are kept stay known.
        if self.orientations > 1 {
            look["orientations"] = self.orientations.into();
        }
        let mut main = Rows::find(io, &json!({"model": Digest::of(&bytes), "look": look}), &images, &dim)?;
        let wants = |floor| self.floors.contains(&floor);
        let scope = json!({"untrained": about.sizes, "seed": io.seed(), "look": look});
        let mut untrained = wants(Floor::Untrained).then(|| Rows::find(io, &scope, &images, &dim)).transpose()?;
        let small = side.min(PIXELS_SIDE);
        let lengths = [small * small, 3 * small * small];
        let mut pixels = wants(Floor::Pixels).then(|| Rows::find(io, &json!({"pixels": small}), &images, &lengths)).transpose()?;

        let missing = |rows: &Option<Rows<'_>>| rows.as_ref().map_or(Vec::new(), Rows::missing);
        let count = Count::to(main.missing().len() + missing(&untrained).len());
        let embedded = merged(&main.missing(), &missing(&untrained));
        let made = merged(&embedded, &missing(&pixels));
        tell_taken(io, images.len() - made.len(), images.len(), "image");

        let shelf = Shelf(io.library());
        if !embedded.is_empty() {
            let (some, place) = part(&images, &embedded)?;
            let views = PlainViews::new(&some, &shelf, side, how.filter, how.normalisation, PICTURE_MEMORY, io.monitor())?;
            let views = Oriented(&views);
            for (rows, weights) in [(Some(&mut main), Some(weights)), (untrained.as_mut(), None)] {
                let Some(rows) = rows.filter(|rows| !rows.missing().is_empty()) else { continue };
                let weights = weights.unwrap_or_else(|| Weights::start(Arc::new(about.sizes.layout()), io.seed()));
                let network = open_backbone(&about.sizes, weights, gpu.as_ref())?;
                let embed = |images: &[usize]| {
                    let places: Vec<usize> = images.iter().map(|image| place[image]).collect();
                    embed(&*network, &views, self.orientations, &places)
                };
                rows.make(io, &count, network.at_once(side), embed)?;
            }
        }
        if let Some(rows) = &mut pixels {
            let wanted = rows.missing();
            let (some, place) = part(&images, &wanted)?;
            let views =
                PlainViews::new(&some, &shelf, small, Filter::Bilinear, Normalisation::MinusOneToOne, PICTURE_MEMORY, io.monitor())?;
            let row = |image: &usize| rows::pixels(&views, place[image], 0).map(grey);
            rows.make(io, &Count::to(wanted.len()), 1, |images| images.iter().map(row).collect())?;
        }

        let mut tables = vec![(MAIN.to_string(), in_one_form(main)?)];
        for floor in &self.floors {
            let (name, rows) = match floor {
                Floor::Untrained => ("untrained", untrained.take()),
                Floor::Pixels => ("pixels", pixels.take()),
            };
            if let Some(rows) = rows {
                tables.push((name.to_string(), in_one_form(rows)?));
            }
        }
        FeatureSet { of: about.what, tables, pending: Vec::new() }.write(io)
    }
}

/// Returns the numbers that stand in either list, sorted.
fn merged(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().chain(b).copied().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the images of these numbers as a table of their own, and the place of each there.
fn part(images: &ImageTable, numbers: &[usize]) -> Result<(ImageTable, HashMap<usize, usize>), Failure> {
    let ids = numbers.iter().map(|i| images.rows()[*i].id.clone()).collect();
    Ok((images.select(&IdList::new(ids)?)?, numbers.iter().enumerate().map(|(place, i)| (*i, place)).collect()))
}

/// Keeps one channel of a grey picture.
fn grey(pixels: Vec<f32>) -> Vec<f32> {
    let grey = pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
    if grey { pixels.chunks_exact(3).map(|p| p[0]).collect() } else { pixels }
}

/// Lays rows out as a table: where some pictures are grey and others are not, all get three channels.
fn in_one_form(rows: Rows<'_>) -> Result<classify::Features, Failure> {
    rows.table(|rows| {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        for row in rows.iter_mut().filter(|row| row.len() < longest) {
            *row = row.iter().flat_map(|v| [*v; 3]).collect();
        }
    })
}
