//! What training with the few labels directly needs of a study, whether all of the network learns or one layer on top of it.

use std::collections::{BTreeSet, HashMap};

use super::backbone::everyone;
use super::io;
use super::results::Results;
use super::sweep::{groups, people};
use crate::classify::{Cell, Judged, Protocol, Resampling, Roster};
use crate::data::{Augment, IdList, ImageTable, Preset, Recipe};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::report::{Line, Panel, Role, TrainingCurve};
use crate::stage::Io;
use crate::train::supervised::CurvePoint;

/// The images that take part, and who learns and is predicted in each repeat.
pub(super) struct Bench {
    pub images: ImageTable,
    pub roster: Roster,
    pub protocol: Protocol,
    pub place: HashMap<String, usize>,
}

impl Bench {
    pub fn open(io: &Io, protocol: Protocol) -> Result<Self, Failure> {
        let split = io::split(io, "split")?;
        let (labels, train, test) = people(&io::labels(io, "labels")?, &split);
        let images = io::images(io, "images")?.select(&IdList::new(everyone(&split))?)?;
        let roster = Roster::new(&labels, &train, &test, &protocol, io.seed())?.grouped(&groups(&images));
        let place = images.rows().iter().enumerate().map(|(i, row)| (row.id.to_string(), i)).collect();
        Ok(Self { images, roster, protocol, place })
    }

    /// `of` names what was learnt from; `part` is the name of its tables.
    pub fn write(&self, io: &Io, of: (&str, Role), part: &str, cells: Vec<Cell>) -> Result<(), Failure> {
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
pub(super) fn made_from(io: &Io, roles: &[&str], recipe: &Recipe) -> Result<Digest, Failure> {
    let mut hasher = format!("{recipe:?}").into_bytes();
    for role in roles.iter().filter(|role| io.optional(role).is_some()) {
        hasher.extend(Digest::of(&io::bytes(io, role)?).as_bytes());
    }
    Ok(Digest::of(&hasher))
}

/// The one view that training sees of an image.
pub(super) fn crop(augment: &Augment) -> Recipe {
    Augment { preset: augment.preset.or(Some(Preset::PaperSupervised)), ..augment.clone() }.one_crop()
}

/// Loss and validation figures of every first repeat.
pub(super) fn curve(name: &str, points: &[CurvePoint]) -> TrainingCurve {
    let sizes: BTreeSet<usize> = points.iter().map(|p| p.per_class).collect();
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

/// The parameters of either stage that say how its results are judged.
macro_rules! protocol {
    ($stage:expr) => {
        $crate::classify::Protocol {
            per_class: $stage.per_class.clone(),
            repeats: $stage.repeats,
            min_class_size: $stage.min_class_size,
            rename: $stage.rename.clone(),
            drop: $stage.drop.clone(),
            evaluate: $stage.evaluate.clone(),
            // Intervals are made from them.
            // Of every repeat, however many there are: a repeat that was kept stays good when their number changes.
            keep_predictions: usize::MAX,
            neighbours: ::std::collections::BTreeMap::new(),
            resamples: $crate::classify::RESAMPLES,
            roc_auc: $stage.roc_auc,
            transform: Vec::new(),
        }
    };
}
pub(super) use protocol;
