//! The ways to split, as written in a pipeline.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Division, Folds, GroupedStratified, Guard, Lists, Stratified};
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::Failure;
use crate::params::DataPath;

/// How images are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Split {
    /// By image; every class in the same proportions.
    Stratified(Stratified),
    /// By group (patient, lesion, slide); every class as nearly in proportion as whole groups allow.
    GroupedStratified(GroupedStratified),
    /// As published lists say.
    Lists(Lists),
    /// As a published table of folds says.
    Folds(Folds),
}

impl Split {
    /// Returns each file that the split reads, as the user wrote it, with the name of its field.
    pub fn roots(&self) -> Vec<(&'static str, &DataPath)> {
        match self {
            Self::Stratified(_) | Self::GroupedStratified(_) => Vec::new(),
            Self::Lists(how) => how.roots(),
            Self::Folds(how) => how.roots(),
        }
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Stratified(how) => check_shares(how.test, how.validation, how.max_per_class),
            Self::GroupedStratified(how) => check_shares(how.test, how.validation, how.max_per_class),
            Self::Lists(how) => how.check(),
            Self::Folds(how) => how.check(),
        }
    }

    /// Returns the rule in words: "by image, stratified, 30 % test".
    pub fn words(&self) -> String {
        let shares = |test: f64, validation: f64| match validation {
            0.0 => format!("{:.0} % test", 100.0 * test),
            _ => format!("{:.0} % test, {:.0} % validation", 100.0 * test, 100.0 * validation),
        };
        match self {
            Self::Stratified(how) => format!("by image, stratified, {}", shares(how.test, how.validation)),
            Self::GroupedStratified(how) => {
                format!("by group, no group in two parts, stratified, {}", shares(how.test, how.validation))
            }
            Self::Lists(_) => "as lists say".to_string(),
            Self::Folds(how) => match how.validation {
                None => format!("as a table of folds says, fold {} tests", how.test),
                Some(validation) => format!("as a table of folds says, fold {} tests, fold {validation} validates", how.test),
            },
        }
    }

    fn allow_copies(&self) -> bool {
        match self {
            Self::Stratified(how) => how.allow_copies,
            Self::GroupedStratified(how) => how.allow_copies,
            Self::Lists(how) => how.allow_copies,
            Self::Folds(how) => how.allow_copies,
        }
    }

    /// Divides the images. `places` are the resolved paths of [`roots`](Self::roots), in that order.
    ///
    /// Images without a label go to train, where only label-blind work looks at them.
    ///
    /// # Errors
    /// Parts that overlap, listed images that do not exist, classes too small to divide, and what the guard refuses: copies of one file or
    /// images of one group in two parts, classes with too few test images.
    pub fn divide(
        &self,
        images: &ImageTable,
        labels: &Labels,
        seed: u64,
        places: &[impl AsRef<Path>],
        guard: &Guard,
    ) -> Result<Division, Failure> {
        if let Some((field, wrong)) = self.check().into_iter().next() {
            return Err(Failure::new(format!("`{field}` {wrong}")));
        }
        let division = match self {
            Self::Stratified(how) => how.divide(images, labels, seed),
            Self::GroupedStratified(how) => how.divide(images, labels, seed, guard.alike.as_ref()),
            Self::Lists(how) => how.divide(images, labels, places),
            Self::Folds(how) => match places {
                [place] => how.divide(images, labels, place.as_ref()),
                _ => Err(Failure::new(format!("{} resolved paths given: expected 1", places.len()))),
            },
        };
        let looked = division.and_then(|mut division| {
            guard.look(&mut division, images, labels, self.allow_copies())?;
            Ok(division)
        });
        looked.map_err(|failure| failure.while_doing("splitting"))
    }
}

fn check_shares(test: f64, validation: f64, max_per_class: Option<usize>) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    if !(test > 0.0 && test < 1.0) {
        wrong.push(("test", format!("must lie between 0 and 1, got {test}")));
    }
    if !(0.0..1.0).contains(&validation) {
        wrong.push(("validation", format!("must be 0 or lie between 0 and 1, got {validation}")));
    }
    if wrong.is_empty() && test + validation >= 1.0 {
        wrong.push(("validation", format!("must leave something to train on, got {test} for test and {validation} for validation")));
    }
    if max_per_class == Some(0) {
        wrong.push(("max_per_class", "must be at least 1, got 0".to_string()));
    }
    wrong
}
