//! The paper's linear layer: one linear layer on the frozen network, fed with features of augmented crops.

use std::collections::HashMap;

use rayon::prelude::*;

use super::baseline::{Images, Outcome, Task, head_tensors};
use super::encoder::{Encoder, Tensor};
use super::head::Linear;
use super::keep::{Finished, cut_short};
use super::optimiser::Adam;
use super::params::LinearProbe;
use super::repeat::{Learner, Plan, train};
use super::subset::{Row, Subset};
use crate::classify::{Cell, Features};
use crate::diagnostic::{Failure, count};
use crate::random::Stream;
use crate::stage::Monitor;

/// Memory for features of crops that later repeats may want again, in bytes.
const CROP_MEMORY: usize = 1 << 30;

/// Trains every repeat with `per_class` labelled images per class and predicts the roster's test rows.
///
/// `plain` holds the features of the whole pictures, for validation and test. The network is used as it is outside training: it does not move.
/// Repeats that `task.pieces` keeps are not trained again.
///
/// # Errors
/// When the parameters have mistakes, an image or its features are missing, the loss is no longer finite, or the monitor interrupts.
pub fn linear_probe(
    task: &Task<'_>,
    how: &LinearProbe,
    per_class: usize,
    encoder: &dyn Encoder,
    plain: &Features,
    monitor: &dyn Monitor,
) -> Result<Outcome<Linear>, Failure> {
    crate::classify::refuse("linear probe", &how.check())?;
    if plain.dim() != encoder.dim() {
        let message = format!("the features have {}, but the network gives {}", count(plain.dim(), "dimension"), encoder.dim());
        return Err(Failure::new(message));
    }
    let images = task.images()?;
    let row_of = plain.rows_by_id();
    let row = |id: &String| row_of.get(id.as_str()).copied().ok_or_else(|| Failure::new(format!("`{id}` takes part but has no features")));
    let train_rows = task.roster.train.iter().flatten().map(row).collect::<Result<Vec<usize>, Failure>>()?;
    let test_rows = task.roster.test.iter().map(|(id, _)| row(id)).collect::<Result<Vec<usize>, Failure>>()?;
    let classes = task.roster.classes.len();
    let kept = task.repeats("LL", how, per_class);
    let mut crops = HashMap::new();
    let mut all = Vec::with_capacity(task.protocol.repeats);
    let mut taken = 0;
    for repeat in 0..task.protocol.repeats {
        let wants_model = task.wants_model && repeat == 0;
        if let Some(finished) = kept.find(repeat, wants_model) {
            all.push(finished);
            taken += 1;
            continue;
        }
        if crops.len() * encoder.dim() * size_of::<f32>() > CROP_MEMORY {
            crops = HashMap::new();
        }
        let subset = Subset::draw(task.roster, repeat, per_class, &how.stop);
        let head = fresh(task, encoder.dim(), classes, repeat);
        let n = head.parameters.len();
        let mut layer = Layer {
            task,
            how,
            encoder,
            images: &images,
            plain,
            train_rows: &train_rows,
            tensors: head_tensors(&head),
            adam: Adam::new(how.optimiser, how.weight_decay, 1.0, n),
            gradient: vec![0.0; n],
            weights: subset.class_weights(classes, how.class_weight),
            head,
            crops,
        };
        let plan = Plan {
            stop: &how.stop,
            schedule: &how.schedule,
            rate: how.rate,
            batch: how.batch,
            classes,
            seed: task.seed,
            per_class,
            repeat,
        };
        let course = train(&mut layer, &subset, &plan, monitor)?;
        let run = task.run(repeat, subset.len(), &layer.head.logits(&gather(plain, test_rows.iter().copied())));
        let finished = Finished { run, course, checkpoint: wants_model.then(|| layer.checkpoint()) };
        kept.keep(&finished)?;
        all.push(finished);
        crops = layer.crops;
    }
    let model = all.first().and_then(|first| first.checkpoint.as_ref()).map(|checkpoint| {
        let mut model = fresh(task, encoder.dim(), classes, 0);
        model.parameters.copy_from_slice(checkpoint);
        model
    });
    let cut_short = cut_short(&all);
    let curve = all.iter().flat_map(|f| f.course.curve.clone()).collect();
    let cell = Cell { classifier: "LL".to_string(), per_class, runs: all.into_iter().map(|f| f.run).collect() };
    Ok(Outcome { cell, curve, model, taken, cut_short })
}

fn fresh(task: &Task<'_>, dim: usize, classes: usize, repeat: usize) -> Linear {
    Linear::new(dim, classes, &Stream::new(task.seed, "probe head").at(repeat as u64))
}

/// Copies rows of a feature table side by side.
fn gather(features: &Features, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|row| features.values.row(row).to_vec()).collect()
}

/// The linear layer while it learns.
struct Layer<'a> {
    task: &'a Task<'a>,
    how: &'a LinearProbe,
    encoder: &'a dyn Encoder,
    images: &'a Images,
    plain: &'a Features,
    /// Row of each training row among the plain features.
    train_rows: &'a [usize],
    head: Linear,
    tensors: Vec<Tensor>,
    adam: Adam,
    gradient: Vec<f32>,
    weights: Vec<f32>,
    /// Features of (image, crop).
    crops: HashMap<(usize, u64), Vec<f32>>,
}

impl Layer<'_> {
    /// Embeds some crops together.
    fn embed(&self, crops: &[(usize, u64)]) -> Result<Vec<Vec<f32>>, Failure> {
        let side = self.task.augmented.side(0);
        let size = side * side * 3;
        let mut pictures = vec![0.0; crops.len() * size];
        let places = pictures.chunks_exact_mut(size).zip(crops);
        places.into_iter().try_for_each(|(picture, (image, crop))| self.task.augmented.fill(*image, *crop, 0, picture))?;
        let mut features = Vec::with_capacity(crops.len() * self.head.dim);
        self.encoder.embed(&pictures, side, &mut features)?;
        Ok(features.chunks_exact(self.head.dim).map(<[f32]>::to_vec).collect())
    }
}

impl Learner for Layer<'_> {
    fn step(&mut self, batch: &[Row], epoch: u64, rate: f64) -> Result<f64, Failure> {
        let crop = epoch % self.how.crops as u64;
        let wanted: Vec<(usize, u64)> = batch.iter().map(|(row, _)| (self.images.train[*row], crop)).collect();
        let missing: Vec<(usize, u64)> = wanted.iter().copied().filter(|key| !self.crops.contains_key(key)).collect();
        let at_once = self.encoder.at_once(self.task.augmented.side(0));
        let made = missing.par_chunks(at_once).map(|crops| self.embed(crops)).collect::<Result<Vec<_>, Failure>>()?;
        self.crops.extend(missing.into_iter().zip(made.concat()));
        let features: Vec<f32> = wanted.iter().flat_map(|key| self.crops[key].iter().copied()).collect();
        let truth: Vec<usize> = batch.iter().map(|(_, class)| *class).collect();
        let loss = self.head.cross_entropy(&features, &truth, &self.weights, &mut self.gradient, None);
        self.adam.step(&mut self.head.parameters, &self.gradient, &self.tensors, rate);
        Ok(loss)
    }

    fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failure> {
        Ok(self.head.predict(&gather(self.plain, rows.iter().map(|(row, _)| self.train_rows[*row]))))
    }

    fn checkpoint(&self) -> Vec<f32> {
        self.head.parameters.clone()
    }

    fn restore(&mut self, checkpoint: &[f32]) {
        self.head.parameters.copy_from_slice(checkpoint);
    }
}
