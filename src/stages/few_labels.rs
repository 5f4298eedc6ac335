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
use crate::report::{Line, Panel, Role, TrainingCurve, Verdict};
use crate::stage::{Io, Monitor};
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

/// Doubts trainings that made their last step before their validation said stop, and says so: with each number of labels, how many did.
///
/// Such a baseline is worse than it could be, and whatever it is compared with looks better.
pub(super) fn verdict(monitor: &dyn Monitor, cut_short: &[(usize, usize)], repeats: usize) -> Option<Verdict> {
    let some: Vec<_> = cut_short.iter().filter(|(_, k)| *k > 0).map(|(n, k)| format!("{k} of {repeats} with n = {n}")).collect();
    if some.is_empty() {
        return None;
    }
    let why =
        "made their last step (`max_steps`, `max_epochs`) before their validation accuracy stopped rising: more may raise the figures";
    let words = format!("{} {why}", some.join(", "));
    monitor.note(&words);
    Some(Verdict::Doubtful(words))
}

/// Loss and validation figures of every first repeat.
pub(super) fn curve(name: &str, points: &[CurvePoint], verdict: Option<Verdict>) -> TrainingCurve {
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
    TrainingCurve { name: name.to_string(), x: "step".to_string(), panels, verdict }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Silent;

    #[test]
    fn a_baseline_that_was_cut_short_is_doubted_with_the_way_out() {
        assert!(verdict(&Silent, &[(1, 0), (10, 0)], 3).is_none());
        let Some(Verdict::Doubtful(words)) = verdict(&Silent, &[(1, 0), (10, 1), (100, 3)], 3) else { panic!("there is doubt") };
        assert!(words.starts_with("1 of 3 with n = 10, 3 of 3 with n = 100 made their last step (`max_steps`,"), "{words}");
    }
}
