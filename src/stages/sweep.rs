//! `Sweep`: features, labels and split -> how well classifiers do at each number of labels.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::feature_set::{FeatureSet, MAIN};
use super::further_test::{self, FurtherTest, OWN};
use super::io;
use super::kinds::{FEATURES, IMAGES, LABELS, SPLIT, SWEEP, TABLES};
use super::results::Results;
use super::rows::tell_taken;
use crate::classify::{
    Classifier, Evaluate, Judged, Knn, LogisticRegression, Protocol, RESAMPLES, Roster, Said, Study, Svm, judged_sweeps, kept_bytes,
    write_predictions,
};
use crate::data::{IdList, ImageTable, Labels, SplitLists};
use crate::diagnostic::{Context, Failure, thousands};
use crate::digest::Digest;
use crate::params::Ref;
use crate::report::Role;
use crate::stage::{Complaint, Cores, Device, Input, Io, Monitor, Needs, Output, Pieces, Stage};

/// Which repeats keep their single predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `true`, `false`, or how many repeats keep their predictions")]
pub enum Keep {
    /// All of them, or none.
    All(bool),
    /// So many, from the first.
    First(usize),
}

/// What kept predictions may take in memory, in bytes.
const KEPT_LIMIT: usize = 2 << 30;

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
        /// Classes for which a class may be taken in its tolerant recall: `{"PMO": ["MYB"]}`.
        pub neighbours: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// How often test images and draws are drawn again for intervals and paired comparisons; 0 for none.
        pub resamples: usize = RESAMPLES,
        /// The images, for their groups (patient, picture): those of one group are then drawn again together.
        pub images: Ref = Ref::default(),
        /// `true`, or a number of repeats: `tables` then holds `predictions.csv`, what each classifier said of each row.
        pub keep_predictions: Keep = Keep::All(false),
        /// Whether results hold the area under the ROC curve of each class against the rest, and their mean.
        pub roc_auc: bool = false,
        /// Further rows to predict, by name, beside those of the split: each has its own results in the tables, in the column `data_set`.
        pub tests: BTreeMap<String, FurtherTest> = BTreeMap::new(),
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
            keep_predictions: match self.keep_predictions {
                Keep::All(false) => 0,
                Keep::All(true) => self.repeats,
                Keep::First(some) => some.min(self.repeats),
            },
            neighbours: self.neighbours.clone(),
            resamples: self.resamples,
            roc_auc: self.roc_auc,
            transform: Vec::new(),
        }
    }

    /// Whether a classifier is computed in f64.
    fn any_double(&self) -> bool {
        self.classifiers.iter().any(Classifier::is_double)
    }

    /// Refuses to keep more predictions than memory should hold.
    fn refuse_too_much(&self, roster: &Roster, rows: usize) -> Result<(), Failure> {
        let cells = self.classifiers.len() * self.per_class.len();
        let bytes = kept_bytes(cells * self.protocol().keep_predictions, rows, roster.classes.len(), self.any_double());
        if bytes <= KEPT_LIMIT {
            return Ok(());
        }
        let [wanted, most] = [bytes, KEPT_LIMIT].map(|bytes| thousands(bytes >> 20));
        Err(Failure::new(format!("`keep_predictions` would hold {wanted} MB of predictions and scores, expected at most {most}"))
            .help("keep those of fewer repeats, such as `keep_predictions: 1`, or sweep fewer classifiers and sizes"))
    }
}

impl Stage for Sweep {
    fn kind(&self) -> &'static str {
        "Sweep"
    }

    fn version(&self) -> u32 {
        6
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
        complaints.extend(further_test::complaints(&self.tests));
        if !self.tests.is_empty() && self.evaluate != Evaluate::Test {
            complaints.push(Complaint {
                field: "tests".into(),
                message: "must be left out while training rows are held out to choose by".into(),
            });
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![
            Input::required("features", &self.features, FEATURES),
            Input::required("labels", &self.labels, LABELS),
            Input::required("split", &self.split, SPLIT),
            Input::optional("images", &self.images, IMAGES),
        ];
        inputs.extend(self.tests.iter().flat_map(|(name, test)| test.inputs(name)));
        inputs
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
        let protocol = Protocol { transform: set.pending.clone(), ..self.protocol() };
        let own = if io.optional("images").is_some() { Some(io::images(io, "images")?) } else { None };
        let groups = own.as_ref().map_or_else(BTreeMap::new, groups);
        let mut parts = Vec::new();
        let mut rosters = None;
        let (mut taken, mut all) = (0, 0);
        for (name, table) in &set.tables {
            // Of the floors no single prediction is kept, and no further rows are predicted.
            let how = Protocol { keep_predictions: if name == MAIN { protocol.keep_predictions } else { 0 }, ..protocol.clone() };
            let mut study = Study::new(table, &labels, &train, &test, &how, io.seed())?;
            study.roster = study.roster.grouped(&groups);
            let mut sets = vec![(String::new(), study)];
            for (name, test) in self.tests.iter().filter(|_| name == MAIN) {
                let facing = further_test::facing(io, (name, test), &sets[0].1, (&set, &labels), own.as_ref())?;
                sets.push((name.clone(), facing));
            }
            let studies: Vec<&Study> = sets.iter().map(|(_, study)| study).collect();
            if name == MAIN {
                self.refuse_too_much(&studies[0].roster, studies.iter().map(|study| study.roster.test.len()).sum())?;
            }
            // The floors are swept by the first classifier: enough to see what the network adds.
            let classifiers = if name == MAIN { &self.classifiers[..] } else { &self.classifiers[..1] };
            let wanted: Vec<(Classifier, usize)> =
                classifiers.iter().flat_map(|c| self.per_class.iter().map(move |n| (c.clone(), *n))).collect();
            let scopes = studies.iter().map(|study| io.pieces(&json!({"study": study.digest()})));
            let (cells, known) = cells(&studies, &wanted, &scopes.collect::<Result<Vec<_>, Failure>>()?, io.monitor())?;
            (taken, all) = (taken + known, all + wanted.len());
            if how.keep_predictions > 0 {
                write_said(io, &sets, &cells)?;
            }
            parts.extend(sets.iter().zip(cells).map(|((data_set, _), cells)| (name.clone(), data_set.clone(), cells)));
            rosters.get_or_insert_with(|| sets.into_iter().map(|(data_set, study)| (data_set, study.roster)).collect::<Vec<_>>());
        }
        tell_taken(io, taken, all, "cell");
        let rosters = rosters.ok_or_else(|| Failure::new("the features hold no table"))?;
        Results::of_sets((&set.of, Role::Studied), &rosters, &protocol, parts)?.write(io)
    }
}

/// Writes what is kept of single predictions on each set of test rows.
fn write_said(io: &Io, sets: &[(String, Study)], cells: &[Vec<Judged>]) -> Result<(), Failure> {
    let file = File::create(io.output("tables").join("predictions.csv")).doing(|| "failed to write `predictions.csv`")?;
    let said = sets.iter().zip(cells).map(|((name, study), cells)| Said {
        data_set: if name.is_empty() { OWN } else { name },
        roster: &study.roster,
        cells: cells.iter().map(|judged| &judged.cell).collect(),
    });
    write_predictions(BufWriter::new(file), &said.collect::<Vec<_>>())
}

/// Returns the cells that are wanted, in that order, of each study, all of which share their training rows: those that are kept, and the
/// others fitted together. Also how many were kept for every study.
fn cells(
    studies: &[&Study],
    wanted: &[(Classifier, usize)],
    pieces: &[Arc<dyn Pieces>],
    monitor: &dyn Monitor,
) -> Result<(Vec<Vec<Judged>>, usize), Failure> {
    let name = |(classifier, n): &(Classifier, usize)| Digest::of_json(&json!({"classifier": classifier, "per_class": n}));
    let get = |pieces: &dyn Pieces, one| -> Option<Judged> { serde_json::from_slice(&pieces.get(&name(one))?).ok() };
    let mut cells: Vec<Vec<Option<Judged>>> = pieces.iter().map(|of| wanted.iter().map(|one| get(&**of, one)).collect()).collect();
    let missing: Vec<usize> = (0..wanted.len()).filter(|at| cells.iter().any(|of| of[*at].is_none())).collect();
    // Rows that have all their cells do not go past the models again.
    let behind: Vec<usize> = (0..studies.len()).filter(|study| cells[*study].iter().any(Option::is_none)).collect();
    let some: Vec<(Classifier, usize)> = missing.iter().map(|at| wanted[*at].clone()).collect();
    let judged = judged_sweeps(&behind.iter().map(|study| studies[*study]).collect::<Vec<_>>(), &some, monitor)?;
    for (&study, judged) in behind.iter().zip(judged) {
        for (&at, judged) in missing.iter().zip(judged) {
            if cells[study][at].is_none() {
                if let Ok(bytes) = serde_json::to_vec(&judged) {
                    pieces[study].put(name(&wanted[at]), &bytes);
                }
                cells[study][at] = Some(judged);
            }
        }
    }
    Ok((cells.into_iter().map(|of| of.into_iter().flatten().collect()).collect(), wanted.len() - missing.len()))
}

/// Returns the group of each image that has one.
pub(super) fn groups(images: &ImageTable) -> BTreeMap<String, String> {
    images.rows().iter().filter_map(|row| Some((row.id.to_string(), row.group.clone()?))).collect()
}

/// Returns labels by name and the ids that may be learnt from and predicted. Unlabelled train images take no part.
pub(super) fn people(labels: &Labels, split: &SplitLists) -> (BTreeMap<String, String>, Vec<String>, Vec<String>) {
    let by_name = labels_by_name(labels);
    let labelled = |ids: &IdList| ids.iter().filter(|id| labels.class_of(id).is_some()).map(ToString::to_string).collect();
    (by_name, labelled(split.train()), labelled(split.test()))
}

/// Returns the class of each labelled image.
pub(super) fn labels_by_name(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(id, class)| (id.to_string(), labels.classes()[class].clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Features, judged_sweep};
    use crate::random::Stream;
    use crate::stage::{Memory, Silent};

    #[test]
    fn cells_that_are_kept_and_cells_that_are_new_make_the_sweep_bit_for_bit() {
        let mut draws = Stream::new(5, "clouds").draws();
        let values = ndarray::Array2::from_shape_fn((80, 5), |(i, d)| draws.normal() as f32 + if d == i % 2 { 1.0 } else { 0.0 });
        let ids: Vec<String> = (0..80).map(|i| format!("{i:02}")).collect();
        let labels = ids.iter().enumerate().map(|(i, id)| (id.clone(), format!("c{}", i % 2))).collect();
        let how = Protocol { repeats: 3, keep_predictions: 1, resamples: 20, ..Protocol::default() };
        let study = Study::new(&Features::new(ids.clone(), values).unwrap(), &labels, &ids[..50], &ids[50..], &how, 3).unwrap();
        let all = |k: usize, sizes: &[usize]| -> Vec<(Classifier, usize)> {
            let classifiers = [Classifier::Svm(Svm::default()), Classifier::Knn(Knn { k, ..Knn::default() })];
            classifiers.iter().flat_map(|c| sizes.iter().map(move |n| (c.clone(), *n))).collect()
        };
        let pieces: [Arc<dyn Pieces>; 1] = [Arc::new(Memory::default())];
        for (wanted, expected) in [(all(3, &[1, 5]), 0), (all(3, &[2, 5, 1]), 4), (all(4, &[5, 1]), 2), (all(3, &[5]), 2)] {
            let (cells, known) = cells(&[&study], &wanted, &pieces, &Silent).unwrap();
            assert_eq!((&cells[0], known), (&judged_sweep(&study, &wanted, &Silent).unwrap(), expected));
        }
    }

    #[test]
    fn more_predictions_than_memory_should_hold_are_refused_with_the_way_out() {
        let labels = [("a", "x"), ("b", "y"), ("c", "x")].map(|(id, class)| (id.to_string(), class.to_string())).into();
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<String>>();
        let roster = Roster::new(&labels, &ids(&["a", "b"]), &ids(&["c"]), &Protocol::default(), 1).unwrap();
        let keeping = |keep| Sweep { repeats: 10_000_000, keep_predictions: keep, ..Sweep::default() };
        // 27 cells of one row: 16 bytes for each repeat.
        assert!(keeping(Keep::First(1000)).refuse_too_much(&roster, 1).is_ok());
        let failure = keeping(Keep::All(true)).refuse_too_much(&roster, 1).unwrap_err();
        assert_eq!(failure.message(), "`keep_predictions` would hold 4,119 MB of predictions and scores, expected at most 2,048");
    }
}
