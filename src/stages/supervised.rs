//! `Supervised`: what one gets by training all of a network with the few labels directly (the paper's DL baseline).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::backbone::{Backbone, PICTURE_MEMORY, model_bytes};
use super::dino::patches_fit;
use super::few_labels::{Bench, crop, curve, made_from, protocol, verdict};
use super::io::{self, Shelf};
use super::kinds::{CURVE, IMAGES, LABELS, MODEL, PACK, SPLIT, SWEEP, TABLES};
use super::rows::{self, tell_taken};
use crate::classify::Evaluate;
use crate::data::{Augment, MultiCrop, Oriented, PlainViews};
use crate::diagnostic::Failure;
use crate::model::{Weights, open_gpu};
use crate::params::Ref;
use crate::report::Role;
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::open_backbone;
use crate::train::supervised::{Supervised as Training, Task, supervised};

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
        /// What is said of an image is the mean over so many of its orientations, as in `Features`.
        pub orientations: usize = 1,
    }
}

impl Stage for Supervised {
    fn kind(&self) -> &'static str {
        "Supervised"
    }

    fn version(&self) -> u32 {
        10
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", protocol!(self).check());
        complaints.extend(io::complaints("backbone", self.backbone.check()));
        complaints.extend(io::complaints("augment", self.augment.check()));
        complaints.extend(io::complaints("training", self.training.check()));
        complaints.extend(rows::orientations_are_whole(self.orientations));
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
            plain: &Oriented(&plain),
            plain_views: self.orientations,
            seed: io.seed(),
            pieces: &*pieces,
            wants_model: false,
        };
        // Every repeat starts from the same imported weights, or from random ones of its own.
        let start = |repeat: usize| {
            let (sizes, weights) = self.backbone.start(io, io.seed().wrapping_add(repeat as u64))?;
            open_backbone(&sizes, weights, gpu.as_ref())
        };
        let (mut cells, mut points, mut cut_short, mut model, mut taken) = (Vec::new(), Vec::new(), Vec::new(), None, 0);
        for (i, n) in self.per_class.iter().enumerate() {
            // The model that goes out is that of the last number of labels.
            let task = Task { wants_model: i + 1 == self.per_class.len(), ..task };
            let outcome = supervised(&task, &self.training, *n, &start, io.monitor())?;
            cells.push(outcome.cell);
            points.extend(outcome.curve);
            taken += outcome.taken;
            cut_short.push((*n, outcome.cut_short));
            model = outcome.model;
        }
        tell_taken(io, taken, self.per_class.len() * self.repeats, "repeat");
        let (network, _) = model.ok_or_else(|| Failure::new("`per_class` is empty"))?;
        let (sizes, Weights { layout, .. }) = self.backbone.start(io, io.seed())?;
        let weights = Weights { layout, params: network.parameters().to_vec(), buffers: network.statistics() };
        io::write_bytes(io, "model", &model_bytes("supervised", &sizes, &weights, &recipe)?)?;
        io::write_json(io, "curve", &curve("supervised", &points, verdict(io.monitor(), &cut_short, self.repeats)))?;
        bench.write(io, ("supervised", Role::Baseline), "supervised", cells)
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
