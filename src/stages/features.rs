//! `Features`: images and a model -> one row of numbers per image, and beside it two honest floors.

use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backbone::{PICTURE_MEMORY, on_cpu};
use super::feature_set::{FeatureSet, MAIN};
use super::io::{self, Shelf};
use super::kinds::{FEATURES, IMAGES, MODEL};
use crate::classify;
use crate::data::{Filter, ImageTable, Normalisation, PlainViews, Views};
use crate::diagnostic::Failure;
use crate::model::{Layout, ModelFile, Weights};
use crate::params::Ref;
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::Backbone;
use crate::train::supervised::Encoder;

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
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let wrong = self.size.filter(|side| !(4..=4096).contains(side));
        wrong.map(|side| Complaint { field: "size".into(), message: format!("must be 4 to 4096 pixels, got {side}") }).into_iter().collect()
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
        on_cpu(io)?;
        let images = io::images(io, "images")?;
        let model = ModelFile::open(&io::bytes(io, "model")?)?;
        let how = &model.about.preprocessing;
        let side = self.size.unwrap_or(how.side);
        let shelf = Shelf(io.library());
        let views = PlainViews::new(&images, &shelf, side, how.filter, how.normalisation, PICTURE_MEMORY, io.monitor())?;
        let sizes = &model.about.sizes;
        sizes.grid(side, side)?;
        let rounds = 1 + u64::from(self.floors.contains(&Floor::Untrained));

        let mut tables = vec![(MAIN.to_string(), embed(&Backbone::new(sizes, model.weights), &images, &views, io, (0, rounds))?)];
        for floor in &self.floors {
            let table = match floor {
                Floor::Untrained => {
                    let weights = Weights::start(Arc::new(Layout::xcit(sizes)), io.seed());
                    ("untrained", embed(&Backbone::new(sizes, weights), &images, &views, io, (1, rounds))?)
                }
                Floor::Pixels => ("pixels", pixels(&images, &shelf, side.min(PIXELS_SIDE), io)?),
            };
            tables.push((table.0.to_string(), table.1));
        }
        FeatureSet { of: model.about.what, tables }.write(io)
    }
}

/// Runs every image through the network; progress is told as round (i, of).
pub(super) fn embed(
    network: &Backbone,
    images: &ImageTable,
    views: &dyn Views,
    io: &Io,
    round: (u64, u64),
) -> Result<classify::Features, Failure> {
    let side = views.side(0);
    let size = side * side * 3;
    // The batch depends on the size of the images alone, so that results do not depend on the machine.
    let batch = (1usize << 19).div_ceil(size).clamp(1, 64);
    let n = images.len();
    let mut values = Vec::with_capacity(n * network.dim());
    let mut pixels = vec![0.0; batch * size];
    for start in (0..n).step_by(batch) {
        if io.monitor().interrupted() {
            return Err(Failure::interrupted());
        }
        let count = batch.min(n - start);
        fill(views, start, &mut pixels[..count * size])?;
        network.embed(&pixels[..count * size], side, &mut values)?;
        io.monitor().progress(round.0 * n as u64 + (start + count) as u64, round.1 * n as u64, "image", &[]);
    }
    table(images, network.dim(), values)
}

fn fill(views: &dyn Views, start: usize, out: &mut [f32]) -> Result<(), Failure> {
    use rayon::prelude::*;
    let size = views.side(0) * views.side(0) * 3;
    out.par_chunks_exact_mut(size).enumerate().try_for_each(|(i, out)| views.fill(start + i, 0, 0, out))
}

fn table(images: &ImageTable, dim: usize, values: Vec<f32>) -> Result<classify::Features, Failure> {
    let ids: Vec<String> = images.rows().iter().map(|row| row.id.to_string()).collect();
    let values =
        Array2::from_shape_vec((ids.len(), dim), values).map_err(|e| Failure::new(format!("features have the wrong shape: {e}")))?;
    classify::Features::new(ids, values)
}

/// The pixels of every image; a grey data set keeps one channel.
fn pixels(images: &ImageTable, shelf: &Shelf<'_>, side: usize, io: &Io) -> Result<classify::Features, Failure> {
    let views = PlainViews::new(images, shelf, side, Filter::Bilinear, Normalisation::MinusOneToOne, PICTURE_MEMORY, io.monitor())?;
    let size = side * side * 3;
    let mut values = vec![0.0; images.len() * size];
    fill(&views, 0, &mut values)?;
    let grey = values.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
    if grey {
        values = values.chunks_exact(3).map(|p| p[0]).collect();
    }
    table(images, if grey { size / 3 } else { size }, values)
}
