//! `LinearProbe`: one linear layer on a frozen network, trained with the few labels (the paper's LL).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::backbone::PICTURE_MEMORY;
use super::feature_set::MAIN;
use super::few_labels::{Bench, crop, curve, made_from, protocol, verdict};
use super::io::{self, Shelf};
use super::kinds::{CURVE, IMAGES, LABELS, MODEL, PACK, SPLIT, SWEEP, TABLES};
use super::rows::{self, Count, Rows, embed, tell_taken};
use crate::classify::Evaluate;
use crate::data::{Augment, MultiCrop, Oriented, PlainViews};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::model::{ModelFile, open_gpu};
use crate::params::Ref;
use crate::report::Role;
use crate::stage::{Complaint, Device, Input, Io, Needs, Output, Stage};
use crate::train::open_backbone;
use crate::train::supervised::{LinearProbe as Training, Task, linear_probe};

crate::params! {
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

impl Stage for LinearProbe {
    fn kind(&self) -> &'static str {
        "LinearProbe"
    }

    fn version(&self) -> u32 {
        11
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", protocol!(self).check());
        complaints.extend(io::complaints("augment", self.augment.check()));
        complaints.extend(io::complaints("training", self.training.check()));
        complaints.extend(rows::orientations_are_whole(self.orientations));
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
        let mut scope = json!({"model": Digest::of(&bytes), "look": how});
        // Left out where there is one, so that rows that are kept stay known.
        if self.orientations > 1 {
            scope["orientations"] = self.orientations.into();
        }
        let mut rows = Rows::find(io, &scope, &bench.images, &[model.about.sizes.dim()])?;
        let count = Count::to(rows.missing().len());
        rows.make(io, &count, encoder.at_once(how.side), |images| embed(&*encoder, &Oriented(&plain), self.orientations, images))?;
        let features = rows.table(|_| {})?;
        let pieces = io.pieces(&json!({"of": made_from(io, &["images", "model"], &recipe)?}))?;
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
        let (mut cells, mut points, mut cut_short, mut taken) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for n in &self.per_class {
            let outcome = linear_probe(&task, &self.training, *n, &*encoder, &features, io.monitor())?;
            cells.push(outcome.cell);
            points.extend(outcome.curve);
            taken += outcome.taken;
            cut_short.push((*n, outcome.cut_short));
        }
        tell_taken(io, taken, self.per_class.len() * self.repeats, "repeat");
        io::write_json(io, "curve", &curve("linear layer", &points, verdict(io.monitor(), &cut_short, self.repeats)))?;
        bench.write(io, (&model.about.what, Role::Studied), MAIN, cells)
    }
}
