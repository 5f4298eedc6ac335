//! `Sweep`: features, labels and split -> how well classifiers do at each number of labels.

use std::collections::BTreeMap;

use serde_json::Value;

use super::feature_set::{FeatureSet, MAIN};
use super::io;
use super::kinds::{FEATURES, LABELS, SPLIT, SWEEP, TABLES};
use super::results::Results;
use crate::classify::{Classifier, Evaluate, Knn, LogisticRegression, Protocol, Study, Svm, sweep};
use crate::data::{IdList, Labels, SplitLists};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::report::Role;
use crate::stage::{Complaint, Cores, Device, Input, Io, Needs, Output, Stage};

crate::params! {
    /// The few-label study (arXiv:2304.05163): classifiers on n labelled images per class, many draws each.
    pub struct Sweep {
        pub features: Ref = Ref::default(),
        pub labels: Ref = Ref::default(),
        pub split: Ref = Ref::default(),
        pub classifiers: Vec<Classifier> =
            vec![Classifier::Svm(Svm::default()), Classifier::LogisticRegression(LogisticRegression::default()), Classifier::Knn(Knn::default())],
        /// Labelled images per class; a class that has fewer gives all it has.
        pub per_class: Vec<usize> = vec![1, 5, 10, 25, 50, 100, 250, 500, 1000],
        pub repeats: usize = 100,
        /// Only classes with at least this many training images take part (the paper's "250+": 250).
        pub min_class_size: usize = 0,
        /// Other names for classes; classes that get one name are merged.
        pub rename: BTreeMap<String, String> = BTreeMap::new(),
        /// Classes left out, after renaming.
        pub drop: Vec<String> = Vec::new(),
        /// `Test`, or `Validation(share: 0.3)` of the train rows, for choosing recipes without looking at the test rows.
        pub evaluate: Evaluate = Evaluate::Test,
    }
}

impl Sweep {
    fn protocol(&self) -> Protocol {
        Protocol {
            per_class: self.per_class.clone(),
            repeats: self.repeats,
            min_class_size: self.min_class_size,
            rename: self.rename.clone(),
            drop: self.drop.clone(),
            evaluate: self.evaluate.clone(),
            keep_predictions: 0,
        }
    }
}

impl Stage for Sweep {
    fn kind(&self) -> &'static str {
        "Sweep"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = io::complaints("", self.protocol().check());
        for (i, classifier) in self.classifiers.iter().enumerate() {
            complaints.extend(io::complaints(&format!("classifiers.{i}"), classifier.check()));
        }
        if self.classifiers.is_empty() {
            complaints.push(Complaint { field: "classifiers".into(), message: "must hold at least one classifier".into() });
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::required("features", &self.features, FEATURES),
            Input::required("labels", &self.labels, LABELS),
            Input::required("split", &self.split, SPLIT),
        ]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("results", SWEEP), Output::folder("tables", TABLES)]
    }

    fn seeded(&self) -> bool {
        true
    }

    fn needs(&self, _: &Device) -> Needs {
        Needs { cores: Cores::All, gpus: 0 }
    }

    fn tolerance(&self, metric: &str) -> Option<f64> {
        // No training stands before the floors, in which differences of rounding could grow.
        let is_floor = !metric.starts_with(&format!("{MAIN}."));
        Some(if is_floor { 0.01 } else { 0.02 })
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let set = FeatureSet::from_bytes(&io::bytes(io, "features")?)?;
        let (labels, train, test) = people(&io::labels(io, "labels")?, &io::split(io, "split")?);
        let protocol = self.protocol();
        let mut parts = Vec::new();
        let mut roster = None;
        for (name, table) in &set.tables {
            let study = Study::new(table, &labels, &train, &test, &protocol, io.seed())?;
            // The floors are swept by the first classifier: enough to see what the network adds.
            let classifiers = if name == MAIN { &self.classifiers[..] } else { &self.classifiers[..1] };
            let wanted: Vec<(Classifier, usize)> =
                classifiers.iter().flat_map(|c| self.per_class.iter().map(move |n| (c.clone(), *n))).collect();
            parts.push((name.clone(), sweep(&study, &wanted, io.monitor())?));
            roster.get_or_insert(study.roster);
        }
        let roster = roster.ok_or_else(|| Failure::new("the features hold no table"))?;
        Results::new((&set.of, Role::Studied), &roster, &protocol, parts)?.write(io)
    }
}

/// Returns labels by name and the ids that may be learnt from and predicted. Unlabelled train images take no part.
pub(super) fn people(labels: &Labels, split: &SplitLists) -> (BTreeMap<String, String>, Vec<String>, Vec<String>) {
    let by_name = labels.iter().map(|(id, class)| (id.to_string(), labels.classes()[class].clone())).collect();
    let labelled = |ids: &IdList| ids.iter().filter(|id| labels.class_of(id).is_some()).map(ToString::to_string).collect();
    (by_name, labelled(split.train()), labelled(split.test()))
}
