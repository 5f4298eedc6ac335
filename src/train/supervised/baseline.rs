//! The deep-learning baseline: network and linear layer trained end to end on a few labelled images per class.

use std::collections::HashMap;

use rayon::prelude::*;

use super::encoder::{Encoder, Tensor};
use super::head::{Linear, largest, probabilities};
use super::keep::{Finished, Repeats, cut_short};
use super::optimiser::{Adam, clip_adaptively};
use super::params::Supervised;
use super::repeat::{CurvePoint, Learner, Plan, train};
use super::subset::{Row, Subset};
use crate::classify::{Cell, Confusion, Protocol, RocAuc, Roster, Run};
use crate::data::Views;
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::random::Stream;
use crate::stage::{Monitor, Pieces};

/// Pictures embedded at once outside training.
const CHUNK: usize = 32;

/// What is learnt and where its pictures come from.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub roster: &'a Roster,
    pub protocol: &'a Protocol,
    /// Number of each image among the views.
    pub place: &'a HashMap<String, usize>,
    /// View 0 is one augmented global crop.
    pub augmented: &'a dyn Views,
    /// The whole picture; view 0 as it is.
    pub plain: &'a dyn Views,
    /// A picture is told by the mean over the first so many views of `plain`.
    pub plain_views: usize,
    pub seed: u64,
    /// Where finished repeats are kept. The scope says what the caller starts from: network, pictures, augmentation.
    pub pieces: &'a dyn Pieces,
    /// Whether the model of the first repeat is wanted: its weights are kept too.
    pub wants_model: bool,
}

/// The result of training with one number of labels.
pub struct Outcome<M> {
    pub cell: Cell,
    pub curve: Vec<CurvePoint>,
    /// The model of the first repeat, where it is wanted.
    pub model: Option<M>,
    /// How many repeats earlier runs have kept.
    pub taken: usize,
    /// How many repeats made their last step before their validation said stop.
    pub cut_short: usize,
}

/// Rows by number: training rows as the roster orders them, then the rows to predict; each an image number.
pub(crate) struct Images {
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

impl Task<'_> {
    pub(crate) fn images(&self) -> Result<Images, Failure> {
        let number = |id: &String| {
            self.place.get(id).copied().ok_or_else(|| Failure::new(format!("`{id}` takes part but is not among the pictures")))
        };
        Ok(Images {
            train: self.roster.train.iter().flatten().map(number).collect::<Result<_, _>>()?,
            test: self.roster.test.iter().map(|(id, _)| number(id)).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn repeats(&self, name: &str, how: &impl serde::Serialize, per_class: usize) -> Repeats<'_> {
        let roster = serde_json::json!([self.roster.classes, self.roster.train, self.roster.test]);
        let mut all = serde_json::json!([name, how, per_class, self.seed, roster, self.protocol.keep_predictions]);
        // What is not asked for leaves no trace, so that repeats that are kept stay known.
        if self.protocol.roc_auc {
            all = serde_json::json!([all, "roc_auc"]);
        }
        if self.plain_views > 1 {
            all = serde_json::json!([all, "views", self.plain_views]);
        }
        Repeats { pieces: self.pieces, of: Digest::of_json(&all) }
    }

    /// Judges what was said of the rows to predict: rows × classes, logits.
    pub(crate) fn run(&self, repeat: usize, rows_used: usize, logits: &[f32]) -> Run {
        let classes = self.roster.classes.len();
        let truth: Vec<usize> = self.roster.test.iter().map(|(_, class)| *class).collect();
        let predicted = largest(logits, classes);
        let confusion = Confusion::of(classes, truth.iter().copied().zip(predicted.iter().copied()));
        // A class that nothing is learnt of has no area.
        let learnt = |class: usize| (!self.roster.train[class].is_empty()).then(|| probabilities(logits, classes, class));
        let roc_auc = self.protocol.roc_auc.then(|| RocAuc::of(classes, &truth, learnt));
        let predictions = (repeat < self.protocol.keep_predictions).then_some(predicted);
        Run { repeat, rows_used, converged: true, confusion, predictions, scores: None, roc_auc }
    }
}

/// Reads one view of several images, one after another in memory.
pub(crate) fn read(views: &dyn Views, images: &[usize], epoch: u64, view: usize) -> Result<Vec<f32>, Failure> {
    let size = views.side(view) * views.side(view) * 3;
    let mut pictures = vec![0.0; images.len() * size];
    pictures.par_chunks_exact_mut(size).zip(images).try_for_each(|(out, &image)| views.fill(image, epoch, view, out))?;
    Ok(pictures)
}

/// A network that learnt, and the linear layer on it.
pub type Learnt = (Box<dyn Encoder>, Linear);

/// Makes the network with which a repeat begins.
pub type StartOf<'a> = dyn Fn(usize) -> Result<Box<dyn Encoder>, Failure> + 'a;

/// Trains every repeat with `per_class` labelled images per class and predicts the roster's test rows.
///
/// `start` makes the network that a repeat begins with. Repeats that `task.pieces` keeps are not trained again; all results are
/// the same as without a break. With fewer images than `stop.validate_from` in the smallest class nothing is held out.
///
/// # Errors
/// When the parameters have mistakes, an image is missing or unreadable, the loss is no longer finite, or the monitor interrupts.
pub fn supervised(
    task: &Task<'_>,
    how: &Supervised,
    per_class: usize,
    start: &StartOf<'_>,
    monitor: &dyn Monitor,
) -> Result<Outcome<Learnt>, Failure> {
    crate::classify::refuse("supervised training", &how.check())?;
    let images = task.images()?;
    let classes = task.roster.classes.len();
    let kept = task.repeats("DL", how, per_class);
    let fresh = |repeat: usize| -> Result<Network<'_>, Failure> {
        let encoder = start(repeat)?;
        let head = Linear::new(encoder.dim(), classes, &Stream::new(task.seed, "supervised head").at(repeat as u64));
        let tensors = encoder.tensors();
        let (n, head_n) = (encoder.parameters().len(), head.parameters.len());
        Ok(Network {
            task,
            how,
            images: &images,
            per_class,
            repeat,
            taken: 0,
            adam: Adam::new(how.optimiser, how.weight_decay, how.layer_decay, n),
            head_adam: Adam::new(how.optimiser, how.weight_decay, 1.0, head_n),
            head_tensors: head_tensors(&head),
            tensors,
            weights: Vec::new(),
            gradient: vec![0.0; n],
            head_gradient: vec![0.0; head_n],
            encoder,
            head,
        })
    };
    let mut all = Vec::with_capacity(task.protocol.repeats);
    let mut taken = 0;
    for repeat in 0..task.protocol.repeats {
        let wants_model = task.wants_model && repeat == 0;
        if let Some(finished) = kept.find(repeat, wants_model) {
            all.push(finished);
            taken += 1;
            continue;
        }
        let subset = Subset::draw(task.roster, repeat, per_class, &how.stop);
        let mut network = fresh(repeat)?;
        network.weights = subset.class_weights(classes, how.class_weight);
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
        let course = train(&mut network, &subset, &plan, monitor)?;
        let run = task.run(repeat, subset.len(), &network.logits(&images.test, monitor)?);
        let finished = Finished { run, course, checkpoint: wants_model.then(|| network.checkpoint()) };
        kept.keep(&finished)?;
        all.push(finished);
    }
    let mut model = None;
    if let Some(checkpoint) = all.first().and_then(|first| first.checkpoint.as_ref()) {
        let mut network = fresh(0)?;
        network.restore(checkpoint);
        model = Some((network.encoder, network.head));
    }
    let cut_short = cut_short(&all);
    let curve = all.iter().flat_map(|f| f.course.curve.clone()).collect();
    let cell = Cell { classifier: "DL".to_string(), per_class, runs: all.into_iter().map(|f| f.run).collect() };
    Ok(Outcome { cell, curve, model, taken, cut_short })
}

/// The tensors of a linear layer.
pub(crate) fn head_tensors(head: &Linear) -> Vec<Tensor> {
    let weights = head.classes * head.dim;
    vec![
        Tensor { range: 0..weights, unit: head.dim, decays: true, below_top: 0 },
        Tensor { range: weights..head.parameters.len(), unit: head.classes, decays: false, below_top: 0 },
    ]
}

/// Network and linear layer while they learn.
struct Network<'a> {
    task: &'a Task<'a>,
    how: &'a Supervised,
    images: &'a Images,
    per_class: usize,
    repeat: usize,
    /// Steps until now.
    taken: usize,
    encoder: Box<dyn Encoder>,
    head: Linear,
    tensors: Vec<Tensor>,
    head_tensors: Vec<Tensor>,
    adam: Adam,
    head_adam: Adam,
    gradient: Vec<f32>,
    head_gradient: Vec<f32>,
    /// What a row of each class counts.
    weights: Vec<f32>,
}

impl Network<'_> {
    /// Of each image the mean over its plain views.
    fn logits(&self, images: &[usize], monitor: &dyn Monitor) -> Result<Vec<f32>, Failure> {
        let (plain, n_views) = (self.task.plain, self.task.plain_views);
        let mut logits = Vec::with_capacity(images.len() * self.head.classes);
        let mut features = Vec::new();
        for chunk in images.chunks(CHUNK) {
            if monitor.interrupted() {
                return Err(Failure::interrupted());
            }
            let mut sums = vec![0.0; chunk.len() * self.head.classes];
            for view in 0..n_views {
                features.clear();
                self.encoder.embed(&read(plain, chunk, 0, view)?, plain.side(view), &mut features)?;
                sums.iter_mut().zip(self.head.logits(&features)).for_each(|(sum, v)| *sum += v);
            }
            logits.extend(sums.iter().map(|sum| sum / n_views as f32));
        }
        Ok(logits)
    }
}

impl Learner for Network<'_> {
    fn step(&mut self, batch: &[Row], epoch: u64, rate: f64) -> Result<f64, Failure> {
        let images: Vec<usize> = batch.iter().map(|(row, _)| self.images.train[*row]).collect();
        let truth: Vec<usize> = batch.iter().map(|(_, class)| *class).collect();
        // Repeats see augmentations of their own.
        let pictures = read(self.task.augmented, &images, (self.repeat as u64) << 32 | epoch, 0)?;
        let side = self.task.augmented.side(0);
        let (head, weights, head_gradient) = (&self.head, &self.weights, &mut self.head_gradient);
        self.taken += 1;
        if self.taken <= self.how.head_warm_up {
            let mut features = Vec::new();
            self.encoder.embed(&pictures, side, &mut features)?;
            let loss = head.cross_entropy(&features, &truth, weights, head_gradient, None);
            self.head_adam.step(&mut self.head.parameters, &self.head_gradient, &self.head_tensors, rate);
            return Ok(loss);
        }
        if self.how.drop_path > 0.0 {
            let draws = Stream::new(self.task.seed, "supervised drop path").at(self.repeat as u64).at(self.per_class as u64);
            self.encoder.leave_out(self.how.drop_path, draws.at(self.taken as u64));
        }
        let mut loss = f64::NAN;
        let mut with_loss = |features: &[f32], by_features: &mut [f32]| {
            loss = head.cross_entropy(features, &truth, weights, head_gradient, Some(by_features))
        };
        self.encoder.learn(&pictures, side, &mut with_loss, &mut self.gradient)?;
        if let Some(factor) = self.how.clip {
            clip_adaptively(self.encoder.parameters(), &mut self.gradient, &self.tensors, factor);
            clip_adaptively(&self.head.parameters, &mut self.head_gradient, &self.head_tensors, factor);
        }
        self.adam.step(self.encoder.parameters_mut(), &self.gradient, &self.tensors, rate);
        self.head_adam.step(&mut self.head.parameters, &self.head_gradient, &self.head_tensors, rate);
        Ok(loss)
    }

    fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failure> {
        let images: Vec<usize> = rows.iter().map(|(row, _)| self.images.train[*row]).collect();
        Ok(largest(&self.logits(&images, &crate::stage::Silent)?, self.head.classes))
    }

    fn checkpoint(&self) -> Vec<f32> {
        [self.encoder.parameters(), &self.encoder.statistics(), &self.head.parameters].concat()
    }

    fn restore(&mut self, checkpoint: &[f32]) {
        let (parameters, rest) = checkpoint.split_at(self.encoder.parameters().len());
        let (statistics, head) = rest.split_at(rest.len() - self.head.parameters.len());
        self.encoder.parameters_mut().copy_from_slice(parameters);
        self.encoder.set_statistics(statistics);
        self.head.parameters.copy_from_slice(head);
    }
}
