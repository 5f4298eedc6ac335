//! Parts as one published table gives them that puts every image into a fold: one fold tests, all others train.
//!
//! HyperKvasir's official splits (`2_fold_split.csv`, `5_fold_split.csv`; Borgli et al. 2020) are such tables: `file-name;class-name;split-index`.
//! Their folds were cut class by class in the order of the folder, unshuffled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::join::{Join, Listed};
use super::outcome::{Division, TEST, TRAIN, VALIDATION, conclude};
use crate::data::names::ImageId;
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

crate::params! {
    /// A published table of folds: CSV with a column of images as a list has it, and a column `split-index` or `fold`.
    pub struct Folds {
        pub file: DataPath = DataPath::default(),
        /// The number of the fold that tests.
        pub test: u32 = 0,
        /// The number of the fold that validates. All other folds train.
        pub validation: Option<u32> = None,
        /// Labelled images that the table does not name: an error unless allowed.
        pub allow_uncovered: bool = false,
        /// Accepts files with the same bytes in two parts.
        pub allow_copies: bool = false,
    }
}

impl Folds {
    pub(super) fn roots(&self) -> Vec<(&'static str, &DataPath)> {
        vec![("file", &self.file)]
    }

    pub(super) fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.file.is_empty() {
            wrong.push(("file", "must name a table of folds".to_string()));
        }
        if self.validation == Some(self.test) {
            wrong.push(("validation", format!("must be another fold than the one that tests, got {} for both", self.test)));
        }
        wrong
    }

    /// Divides the images by the table at `place`.
    ///
    /// # Errors
    /// When the table cannot be read, names images that are not there or one image in two folds, contradicts the labels, has no image in a
    /// fold that is asked for, or leaves labelled images out that it may not.
    pub(super) fn divide(&self, images: &ImageTable, labels: &Labels, place: &Path) -> Result<Division, Failure> {
        let read = || {
            let listed = Join::of(images).read(place)?;
            listed.check(labels)?;
            folds(listed)
        };
        let folds = read().map_err(|failure| failure.while_doing(format!("table `{}`", place.display())))?;
        let there: BTreeSet<u32> = folds.values().copied().collect();
        let mut asked = [Some(self.test), self.validation].into_iter().flatten();
        if let Some(wanted) = asked.find(|fold| !there.contains(fold)) {
            let found: Vec<String> = there.iter().map(u32::to_string).collect();
            return Err(Failure::new(format!("no image is in fold {wanted}: found {}", found.join(", "))));
        }
        let mut parts: [Vec<ImageId>; 3] = Default::default();
        for (id, fold) in &folds {
            let part = match *fold {
                fold if fold == self.test => TEST,
                fold if Some(fold) == self.validation => VALIDATION,
                _ => TRAIN,
            };
            parts[part].push(id.clone());
        }
        let uncovered: Vec<&ImageId> = labels.iter().map(|(id, _)| id).filter(|id| !folds.contains_key(id)).collect();
        let mut notes = vec![format!("{} in {}", count(folds.len(), "image"), count(there.len(), "fold"))];
        if let Some(first) = uncovered.first() {
            let line = format!("{} in no fold, `{first}` first", count(uncovered.len(), "labelled image"));
            if !self.allow_uncovered {
                return Err(Failure::new(line).help("leave them out with `allow_uncovered: true`"));
            }
            notes.push(line);
        }
        conclude(parts, images, labels, &|_| false, None, notes)
    }
}

/// Returns the fold of each image that the table names.
fn folds(listed: Listed) -> Result<BTreeMap<ImageId, u32>, Failure> {
    let mut folds = BTreeMap::new();
    for (id, text) in listed.ids.into_iter().zip(&listed.folds) {
        let Ok(fold) = text.parse::<u32>() else {
            return Err(Failure::new(match text.as_str() {
                "" => format!("no fold for `{id}`: expected a column `split-index` or `fold` with a whole number"),
                other => format!("the fold of `{id}` is `{other}`: expected a whole number"),
            }));
        };
        match folds.get(&id) {
            Some(other) if *other != fold => return Err(Failure::new(format!("`{id}` is in fold {other} and in fold {fold}"))),
            _ => drop(folds.insert(id, fold)),
        }
    }
    Ok(folds)
}
