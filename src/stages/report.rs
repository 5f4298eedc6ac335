//! `Report`: results, training curves and the data's counts -> one page, figures and tables.

use serde_json::Value;

use super::ingest::Scanned;
use super::io;
use super::kinds::{COUNTS, CURVE, REPORT, SCAN, SHEET, SWEEP};
use super::results::{Part, Results};
use super::split::Divided;
use crate::classify::{RocAuc, Summary};
use crate::diagnostic::{Context, Failure, count};
use crate::params::Ref;
use crate::report::{
    Cell, ClassCount, Confusion, Dataset, Level, Provenance, Reference, Role, Sheet, Study, SweepResults, TrainingCurve, render,
};
use crate::stage::{Ancestor, Complaint, Input, Io, Output, Stage};

crate::params! {
    /// The page of a study: label-efficiency curves, tables, confusion matrices, trainings, data and provenance.
    pub struct Report {
        pub title: String = String::new(),
        /// One line below the title.
        pub subtitle: String = String::new(),
        /// Results to set side by side: of `Sweep`, `LinearProbe`, `Supervised`.
        pub sweeps: Vec<Ref> = Vec::new(),
        /// How figures call the studied features of each of `sweeps`; by default what made them.
        pub names: Vec<String> = Vec::new(),
        /// Results of networks trained on all labels: lines across the figures.
        pub levels: Vec<Ref> = Vec::new(),
        /// Trainings; where one has a sheet of augmented views, that is shown too.
        pub curves: Vec<Ref> = Vec::new(),
        /// The node that read the data, for what its scan found odd.
        pub images: Ref = Ref::default(),
        /// The node that divided it, for the counts by class.
        pub split: Ref = Ref::default(),
        /// The pool that was trained on without labels, for what joining it showed.
        pub pool: Ref = Ref::default(),
        /// Published numbers to stand beside ours.
        pub reference: Option<Reference> = None,
        /// Labels per class that the first sentence and the confusion matrices speak of.
        pub per_class: usize = 100,
        /// The balanced accuracy that is wanted: the page then says how many labels reach it.
        pub target: Option<f64> = None,
        /// Remarks for the reader.
        pub notes: Vec<String> = Vec::new(),
    }
}

impl Stage for Report {
    fn kind(&self) -> &'static str {
        "Report"
    }

    fn version(&self) -> u32 {
        5
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let complaint = |field: &str, message: String| Complaint { field: field.to_string(), message };
        let mut complaints = Vec::new();
        if self.sweeps.is_empty() {
            complaints.push(complaint("sweeps", "must name at least one node with results".into()));
        }
        if !self.names.is_empty() && self.names.len() != self.sweeps.len() {
            complaints
                .push(complaint("names", format!("must name each of {}, got {}", count(self.sweeps.len(), "sweep"), self.names.len())));
        }
        if self.per_class == 0 {
            complaints.push(complaint("per_class", "must be at least 1, got 0".into()));
        }
        if let Some(target) = self.target.filter(|target| !(*target > 0.0 && *target <= 1.0)) {
            complaints.push(complaint("target", format!("must be a balanced accuracy above 0 and at most 1, got {target}")));
        }
        complaints
    }

    fn inputs(&self) -> Vec<Input> {
        let mut inputs: Vec<Input> = Input::each("sweeps", &self.sweeps, SWEEP).collect();
        inputs.extend(Input::each("levels", &self.levels, SWEEP));
        inputs.extend(Input::each("curves", &self.curves, CURVE));
        inputs.extend(self.curves.iter().enumerate().map(|(i, curve)| Input::beside(format!("sheets.{i}"), curve, SHEET)));
        inputs.extend([Input::optional("images", &self.images, SCAN), Input::optional("split", &self.split, COUNTS)]);
        inputs.push(Input::optional("pool", &self.pool, SCAN));
        inputs
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::folder("report", REPORT)]
    }

    fn shown(&self) -> bool {
        true
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let folder = io.output("report");
        for file in render(&self.study(io)?)? {
            let path = folder.join(&file.path);
            let what = || format!("failed to write `{}` of the report", file.path);
            path.parent().map_or(Ok(()), std::fs::create_dir_all).doing(what)?;
            std::fs::write(&path, &file.bytes).doing(what)?;
        }
        Ok(())
    }
}

impl Report {
    fn study(&self, io: &Io) -> Result<Study, Failure> {
        let results = all::<Results>(io, "sweeps", self.sweeps.len())?;
        let mut study = Study {
            title: if self.title.is_empty() { "Report".to_string() } else { self.title.clone() },
            subtitle: self.subtitle.clone(),
            reference: self.reference,
            notes: self.notes.clone(),
            headline_per_class: Some(self.per_class),
            target: self.target,
            datasets: vec![self.dataset(io, &results)?],
            curves: all::<TrainingCurve>(io, "curves", self.curves.len())?,
            provenance: io.ancestors().iter().map(provenance).collect(),
            ..Study::default()
        };
        for (i, results) in results.iter().enumerate() {
            let of = self.names.get(i).unwrap_or(&results.of);
            for part in &results.parts {
                let (name, role) = named(part, of, results.role);
                let resamples = if part.data_set.is_empty() { &results.resamples } else { &part.resamples };
                add(&mut study.sweeps, SweepResults { name, role, cells: cells(part, resamples) });
            }
            if results.validation {
                study.warnings.push(format!("the figures on {of} are of held-out training rows, not of the test rows"));
            }
        }
        for role in [Role::Studied, Role::Baseline] {
            let first = results.iter().enumerate().find(|(_, r)| r.role == role);
            let of = |(i, r): (usize, &Results)| confusion(r.parts.first()?, self.names.get(i).unwrap_or(&r.of), self.per_class);
            study.confusions.extend(first.and_then(of));
        }
        for results in all::<Results>(io, "levels", self.levels.len())? {
            let last = results.parts.first().and_then(|part| part.table.summaries.last());
            study.levels.extend(last.map(|s| Level {
                name: format!("{}, {} labels", results.of, crate::diagnostic::thousands(s.rows_used)),
                value: s.balanced_accuracy,
                std: (s.repeats > 1).then_some(s.balanced_accuracy_std),
            }));
        }
        for (i, curve) in study.curves.iter().enumerate() {
            if io.optional(&format!("sheets.{i}")).is_some() {
                let caption =
                    format!("{}: images and the views that training sees of them (the picture, two global views, local views)", curve.name);
                study.sheets.push(Sheet { caption, png: io::bytes(io, &format!("sheets.{i}"))? });
            }
        }
        Ok(study)
    }

    /// The data set by class: from the split where it is given, else the classes that took part.
    fn dataset(&self, io: &Io, results: &[Results]) -> Result<Dataset, Failure> {
        let mut data = Dataset { name: "Images by class and part".to_string(), ..Dataset::default() };
        if io.optional("images").is_some() {
            let scanned: Scanned = io::json(io, "images")?;
            let published = |d: &crate::data::CountDifference| format!("{}: {} published, {} found", d.what, d.expected, d.found);
            data.notes.extend(scanned.differences.iter().map(published));
            data.notes.extend(scanned.notes);
        }
        if io.optional("pool").is_some() {
            data.notes.extend(io::json::<Scanned>(io, "pool")?.notes);
        }
        if io.optional("split").is_some() {
            let divided: Divided = io::json(io, "split")?;
            let class = |c: crate::data::ClassCounts| ClassCount { class: c.class, train: c.train, test: c.test, validation: c.validation };
            data.classes = divided.classes.into_iter().map(class).collect();
            data.split = divided.rule;
            data.notes.extend(divided.notes);
        } else if let Some(r) = results.first() {
            let rows = r.classes.iter().zip(r.train_rows.iter().zip(&r.test_rows));
            data.classes =
                rows.map(|(class, (train, test))| ClassCount { class: class.clone(), train: *train, test: *test, validation: 0 }).collect();
        }
        Ok(data)
    }
}

/// Reads the JSON at every port of a list.
fn all<T: serde::de::DeserializeOwned>(io: &Io, role: &str, n: usize) -> Result<Vec<T>, Failure> {
    (0..n).map(|i| io::json(io, &format!("{role}.{i}"))).collect()
}

/// How figures name a part, and what it is there for.
fn named(part: &Part, of: &str, role: Role) -> (String, Role) {
    match part.name.as_str() {
        "untrained" => ("untrained network".to_string(), Role::Floor),
        "pixels" => ("pixels".to_string(), Role::Floor),
        _ if !part.data_set.is_empty() => (format!("{of} on {}", part.data_set), role),
        _ => (of.to_string(), role),
    }
}

/// Adds results: methods on the same features stand together; a method that is there already gets features of another name.
fn add(sweeps: &mut Vec<SweepResults>, new: SweepResults) {
    let clashes = |old: &SweepResults| old.cells.iter().any(|a| new.cells.iter().any(|b| a.method == b.method));
    match sweeps.iter().position(|old| old.name == new.name && old.role == new.role) {
        None => sweeps.push(new),
        Some(place) if !clashes(&sweeps[place]) => sweeps[place].cells.extend(new.cells),
        // A floor of the same network and images comes with every sweep over them.
        Some(place) if sweeps[place].cells == new.cells => {}
        Some(_) => {
            let number = (2..).find(|n| sweeps.iter().all(|old| old.name != format!("{} {n}", new.name))).unwrap_or(2);
            sweeps.push(SweepResults { name: format!("{} {number}", new.name), ..new });
        }
    }
}

fn cells(part: &Part, resamples: &str) -> Vec<Cell> {
    let none = Vec::new();
    let resampled = part.resampled.iter().chain(std::iter::repeat(&none));
    part.table.summaries.iter().zip(resampled).map(|(summary, values)| cell(summary, values, resamples)).collect()
}

fn cell(summary: &Summary, resampled: &[f32], resamples: &str) -> Cell {
    Cell {
        method: summary.classifier.clone(),
        per_class: summary.per_class,
        repeats: summary.repeats,
        labels: summary.rows_used,
        mean: summary.balanced_accuracy,
        std: summary.balanced_accuracy_std,
        interval: summary.interval.map(|i| (i.low, i.high)),
        roc_auc: summary.roc_auc.as_ref().and_then(RocAuc::macro_average).zip(summary.roc_auc_std),
        resampled: resampled.to_vec(),
        resamples: resamples.to_string(),
    }
}

/// The matrix of a part's first method at the number of labels nearest to `per_class`.
fn confusion(part: &Part, of: &str, per_class: usize) -> Option<Confusion> {
    let first = &part.table.summaries.first()?.classifier;
    let far = |n: usize| (n.max(1) as f64 / per_class as f64).ln().abs();
    let summaries = part.table.summaries.iter().filter(|s| s.classifier == *first);
    let chosen = summaries.min_by(|a, b| far(a.per_class).total_cmp(&far(b.per_class)))?;
    let classes = 0..part.table.classes.len();
    Some(Confusion {
        sweep: of.to_string(),
        method: chosen.classifier.clone(),
        per_class: chosen.per_class,
        repeats: chosen.repeats,
        classes: part.table.classes.clone(),
        counts: classes.clone().map(|truth| classes.clone().map(|predicted| chosen.confusion.at(truth, predicted)).collect()).collect(),
        recall_std: chosen.recall_std.clone(),
    })
}

fn provenance(ancestor: &Ancestor) -> Provenance {
    let of = |name: &str| ancestor.components.get(name);
    let params = of("params").and_then(Value::as_object).filter(|params| !params.is_empty());
    Provenance {
        node: ancestor.node.clone(),
        kind: ancestor.kind.clone(),
        version: of("version").and_then(Value::as_u64).unwrap_or(0) as u32,
        key: ancestor.key.hex(),
        params: params.map_or_else(String::new, |p| Value::Object(p.clone()).to_string()),
        inputs: of("inputs").and_then(Value::as_object).map_or_else(Vec::new, |inputs| inputs.keys().cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(name: &str, method: &str, mean: f64) -> SweepResults {
        let cell = Cell { method: method.into(), per_class: 1, mean, ..Cell::default() };
        SweepResults { name: name.into(), role: Role::Studied, cells: vec![cell] }
    }

    #[test]
    fn methods_on_the_same_features_stand_together_and_nothing_is_said_twice() {
        let mut sweeps = Vec::new();
        for new in [sweep("DINO", "SVM", 0.5), sweep("DINO", "LL", 0.4), sweep("DINO", "SVM", 0.6), sweep("pixels", "SVM", 0.3)] {
            add(&mut sweeps, new);
        }
        let again = sweeps[2].clone();
        add(&mut sweeps, again);
        let said: Vec<(&str, usize)> = sweeps.iter().map(|s| (s.name.as_str(), s.cells.len())).collect();
        assert_eq!(said, [("DINO", 2), ("DINO 2", 1), ("pixels", 1)]);
    }
}
