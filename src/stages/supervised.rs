//! `Supervised` and `LinearProbe`: what one gets by training with the few labels directly (the paper's DL baseline and linear layer).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::backbone::{Backbone, PICTURE_MEMORY, everyone, model_bytes};
use super::dino::patches_fit;
use super::feature_set::MAIN;
use super::io::{self, Shelf};
use super::kinds::{CURVE, IMAGES, LABELS, MODEL, PACK, SPLIT, SWEEP, TABLES};
use super::results::Results;
use super::rows::{Count, Rows, embed, tell_taken};
use super::sweep::{groups, people};
use crate::classify::{Cell, Evaluate, Judged, Protocol, RESAMPLES, Resampling, Roster};
use crate::data::{Augment, IdList, ImageTable, MultiCrop, PlainViews, Preset, Recipe};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::model::{ModelFile, Weights, open_gpu};
use crate::params::Ref;
use crate::report::{Line, Panel, Role, TrainingCurve};
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::open_backbone;
use crate::train::supervised::{CurvePoint, LinearProbe as ProbeTraining, Supervised as Training, Task, linear_probe, supervised};

crate::params! {
    /// The network and a linear layer trained end to end on n labelled images per class (method notes c.3, D7 to D13).
    pub struct Supervised {
        pub images: Ref = Ref::default(),
        pub labels: Ref = Ref::default(),
        pub split: Ref = Ref::default(),
        /// A `Pack` of the images, so that they are not decoded again in every epoch; no view differs for it.
        pub pack: Ref = Ref::default(),
        pub backbone: Backbone = Backbone::default(),
        /// A model to start from; random weights without one.
        pub start: Ref = Ref::default(),
        /// Without a preset, that of the paper's supervised training.
        pub augment: Augment = Augment::default(),
        pub training: Training = Training::default(),
        pub per_class: Vec<usize> = vec![1, 5, 10, 25, 50, 100, 250, 500, 1000],
        pub repeats: usize = 5,
        pub min_class_size: usize = 0,
        pub rename: BTreeMap<String, String> = BTreeMap::new(),
        pub drop: Vec<String> = Vec::new(),
        /// Whether results hold the area under the ROC curve of each class against the rest, and their mean.
        pub roc_auc: bool = false,
        pub evaluate: Evaluate = Evaluate::Test,
    }
    /// One linear layer on a frozen network, fed with augmented crops (method note c.2).
    pub struct LinearProbe {
        pub images: Ref = Ref::default(),
        pub labels: Ref = Ref::default(),
        pub split: Ref = Ref::default(),
        /// A `Pack` of the images, so that they are not decoded again in every epoch; no view differs for it.
        pub pack: Ref = Ref::default(),
        pub model: Ref = Ref::default(),
        /// Without a preset, that of the paper's supervised training.
        pub augment: Augment = Augment::default(),
        pub training: ProbeTraining = ProbeTraining::default(),
        pub per_class: Vec<usize> = vec![1, 5, 10, 25, 50, 100, 250, 500, 1000],
        pub repeats: usize = 5,
        pub min_class_size: usize = 0,
        pub rename: BTreeMap<String, String> = BTreeMap::new(),
        pub drop: Vec<String> = Vec::new(),
        /// Whether results hold the area under the ROC curve of each class against the rest, and their mean.
        pub roc_auc: bool = false,
        pub evaluate: Evaluate = Evaluate::Test,
    }
}

/// What both need of a study.
struct Bench {
    images: ImageTable,
    roster: Roster,
    protocol: Protocol,
    place: HashMap<String, usize>,
}

impl Bench {
    fn open(io: &Io, protocol: Protocol) -> Result<Self, Failure> {
        let split = io::split(io, "split")?;
        let (labels, train, test) = people(&io::labels(io, "labels")?, &split);
        let images = io::images(io, "images")?.select(&IdList::new(everyone(&split))?)?;
        let roster = Roster::new(&labels, &train, &test, &protocol, io.seed())?.grouped(&groups(&images));
        let place = images.rows().iter().enumerate().map(|(i, row)| (row.id.to_string(), i)).collect();
        Ok(Self { images, roster, protocol, place })
    }

    /// `of` names what was learnt from; `part` is the name of its tables.
    fn write(&self, io: &Io, of: (&str, Role), part: &str, cells: Vec<Cell>) -> Result<(), Failure> {
        let resampling = Resampling::new(&self.roster, self.protocol.resamples);
        let judge = |cell: Cell| {
            let resampled = resampling.of_runs(&cell.runs, io.monitor())?;
            Ok(Judged { cell, resampled })
        };
        let judged = cells.into_iter().map(judge).collect::<Result<_, Failure>>()?;
        Results::new(of, &self.roster, &self.protocol, vec![(part.into(), judged)])?.write(io)
    }
}

/// What finished repeats that are kept were made from, but the network and what the training knows itself.
fn made_from(io: &Io, roles: &[&str], recipe: &Recipe) -> Result<Digest, Failure> {
    let mut hasher = format!("{recipe:?}").into_bytes();
    for role in roles.iter().filter(|role| io.optional(role).is_some()) {
        hasher.extend(Digest::of(&io::bytes(io, role)?).as_bytes());
    }
    Ok(Digest::of(&hasher))
}

/// The one view that training sees of an image.
fn crop(augment: &Augment) -> Recipe {
    Augment { preset: augment.preset.or(Some(Preset::PaperSupervised)), ..augment.clone() }.one_crop()
}

/// Loss and validation figures of every first repeat.
fn curve(name: &str, points: &[CurvePoint]) -> TrainingCurve {
    let sizes: std::collections::BTreeSet<usize> = points.iter().map(|p| p.per_class).collect();
    let line = |n: &usize, of: &dyn Fn(&CurvePoint) -> Option<f64>| Line {
        name: format!("n = {n}"),
        points: points.iter().filter(|p| p.per_class == *n && p.repeat == 0).filter_map(|p| of(p).map(|y| (p.step as f64, y))).collect(),
    };
    let panel = |title: &str, of: &dyn Fn(&CurvePoint) -> Option<f64>| Panel {
        title: title.into(),
        // A number of labels without points keeps its place, and so its colour.
        lines: sizes.iter().map(|n| line(n, of)).collect(),
        levels: Vec::new(),
    };
    let mut panels = vec![panel("Loss", &|p| Some(p.loss)), panel("Validation balanced accuracy", &|p| p.validation)];
    panels.retain(|panel| panel.lines.iter().any(|line| !line.points.is_empty()));
    TrainingCurve { name: name.to_string(), x: "step".to_string(), panels, verdict: None }
}

macro_rules! protocol {
    ($stage:expr) => {
        Protocol {
            per_class: $stage.per_class.clone(),
            repeats: $stage.repeats,
            min_class_size: $stage.min_class_size,
            rename: $stage.rename.clone(),
            drop: $stage.drop.clone(),
            evaluate: $stage.evaluate.clone(),
            // Intervals are made from them.
            // Of every repeat, however many there are: a repeat that was kept stays good when their number changes.
            keep_predictions: usize::MAX,
            neighbours: BTreeMap::new(),
            resamples: RESAMPLES,
            roc_auc: $stage.roc_auc,
            transform: Vec::new(),
        }
    };
}

impl Stage for Supervised {
    fn kind(&self) -> &'static str {
        "Supervised"
    }

    fn version(&self) -> u32 {
        8
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", protocol!(self).check());
        complaints.extend(io::complaints("backbone", self.backbone.check()));
        complaints.extend(io::complaints("augment", self.augment.check()));
        complaints.extend(io::complaints("training", self.training.check()));
        complaints.extend(patches_fit(&self.backbone, &crop(&self.augment)));
        if self.training.drop_path != 0.0 && matches!(self.backbone, Backbone::Xcit(_)) {
            let message = "is for a `Vit`: an `Xcit` trains whole".into();
            complaints.push(Complaint { field: "training.drop_path".into(), message });
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::required("images", &self.images, IMAGES),
            Input::required("labels", &self.labels, LABELS),
            Input::required("split", &self.split, SPLIT),
            Input::optional("start", &self.start, MODEL),
            Input::optional("pack", &self.pack, PACK),
        ]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("results", SWEEP), Output::folder("tables", TABLES), Output::file("curve", CURVE), Output::file("model", MODEL)]
    }

    fn seeded(&self) -> bool {
        true
    }

    fn needs(&self, device: &Device) -> Needs {
        Needs::whole(device)
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.1)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let gpu = open_gpu(io.device())?;
        let bench = Bench::open(io, protocol!(self))?;
        let recipe = crop(&self.augment);
        let shelf = Shelf(io.library());
        let held = io::packed(io, &bench.images, recipe.base, recipe.resize)?;
        let augmented = MultiCrop::new(&held, &shelf, recipe.clone(), io.seed(), PICTURE_MEMORY, io.monitor())?;
        let side = recipe.views[0].side;
        let plain = PlainViews::new(&bench.images, &shelf, side, recipe.resize, recipe.normalise, PICTURE_MEMORY, io.monitor())?;
        let pieces = io.pieces(&json!({"of": made_from(io, &["images", "start"], &recipe)?, "network": self.backbone.sizes()?}))?;
        let task = Task {
            roster: &bench.roster,
            protocol: &bench.protocol,
            place: &bench.place,
            augmented: &augmented,
            plain: &plain,
            seed: io.seed(),
            pieces: &*pieces,
            wants_model: false,
        };
        // Every repeat starts from the same imported weights, or from random ones of its own.
        let start = |repeat: usize| {
            let (sizes, weights) = self.backbone.start(io, io.seed().wrapping_add(repeat as u64))?;
            open_backbone(&sizes, weights, gpu.as_ref())
        };
        let (mut cells, mut points, mut model, mut taken) = (Vec::new(), Vec::new(), None, 0);
        for (i, n) in self.per_class.iter().enumerate() {
            // The model that goes out is that of the last number of labels.
            let task = Task { wants_model: i + 1 == self.per_class.len(), ..task };
            let outcome = supervised(&task, &self.training, *n, &start, io.monitor())?;
            cells.push(outcome.cell);
            points.extend(outcome.curve);
            taken += outcome.taken;
            model = outcome.model;
        }
        tell_taken(io, taken, self.per_class.len() * self.repeats, "repeat");
        let (network, _) = model.ok_or_else(|| Failure::new("`per_class` is empty"))?;
        let (sizes, Weights { layout, .. }) = self.backbone.start(io, io.seed())?;
        let weights = Weights { layout, params: network.parameters().to_vec(), buffers: network.statistics() };
        io::write_bytes(io, "model", &model_bytes("supervised", &sizes, &weights, &recipe)?)?;
        io::write_json(io, "curve", &curve("supervised", &points))?;
        bench.write(io, ("supervised", Role::Baseline), "supervised", cells)
    }
}

impl Stage for LinearProbe {
    fn kind(&self) -> &'static str {
        "LinearProbe"
    }

    fn version(&self) -> u32 {
        9
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", protocol!(self).check());
        complaints.extend(io::complaints("augment", self.augment.check()));
        complaints.extend(io::complaints("training", self.training.check()));
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::required("images", &self.images, IMAGES),
            Input::required("labels", &self.labels, LABELS),
            Input::required("split", &self.split, SPLIT),
            Input::required("model", &self.model, MODEL),
            Input::optional("pack", &self.pack, PACK),
        ]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("results", SWEEP), Output::folder("tables", TABLES), Output::file("curve", CURVE)]
    }

    fn seeded(&self) -> bool {
        true
    }

    fn needs(&self, device: &Device) -> Needs {
        Needs::whole(device)
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.1)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let gpu = open_gpu(io.device())?;
        let bench = Bench::open(io, protocol!(self))?;
        let bytes = io::bytes(io, "model")?;
        let model = ModelFile::open(&bytes)?;
        let how = model.about.preprocessing.clone();
        let mut recipe = crop(&self.augment);
        recipe.normalise = how.normalisation;
        let shelf = Shelf(io.library());
        let held = io::packed(io, &bench.images, recipe.base, recipe.resize)?;
        let augmented = MultiCrop::new(&held, &shelf, recipe.clone(), io.seed(), PICTURE_MEMORY, io.monitor())?;
        let plain = PlainViews::new(&bench.images, &shelf, how.side, how.filter, how.normalisation, PICTURE_MEMORY, io.monitor())?;
        let encoder = open_backbone(&model.about.sizes, model.weights, gpu.as_ref())?;
        let scope = json!({"model": Digest::of(&bytes), "look": how});
        let mut rows = Rows::find(io, &scope, &bench.images, &[model.about.sizes.dim()])?;
        let count = Count::to(rows.missing().len());
        rows.make(io, &count, encoder.at_once(how.side), |images| embed(&*encoder, &plain, 1, images))?;
        let features = rows.table(|_| {})?;
        let pieces = io.pieces(&json!({"of": made_from(io, &["images", "model"], &recipe)?}))?;
        let task = Task {
            roster: &bench.roster,
            protocol: &bench.protocol,
            place: &bench.place,
            augmented: &augmented,
            plain: &plain,
            seed: io.seed(),
            pieces: &*pieces,
            wants_model: false,
        };
        let (mut cells, mut points, mut taken) = (Vec::new(), Vec::new(), 0);
        for n in &self.per_class {
            let outcome = linear_probe(&task, &self.training, *n, &*encoder, &features, io.monitor())?;
            cells.push(outcome.cell);
            points.extend(outcome.curve);
            taken += outcome.taken;
        }
        tell_taken(io, taken, self.per_class.len() * self.repeats, "repeat");
        io::write_json(io, "curve", &curve("linear layer", &points))?;
        bench.write(io, (&model.about.what, Role::Studied), MAIN, cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_alone_keeps_the_papers_steps() {
        let stage: Supervised = ron::from_str("(augment: (global: Some(64)))").unwrap();
        let (small, paper) = (crop(&stage.augment), crop(&Supervised::default().augment));
        assert_eq!((small.views[0].side, paper.views[0].side), (64, 256));
        assert_eq!(small.views[0].steps, paper.views[0].steps);
    }
}
