//! Further test sets of a `Sweep`: rows of the same images or of others, read and put in front of the study.

use std::collections::{BTreeMap, HashSet};

use super::feature_set::{FeatureSet, MAIN};
use super::io;
use super::kinds::{FEATURES, IMAGES, LABELS};
use super::sweep::{groups, labels_by_name};
use crate::classify::{Features, Further, Study};
use crate::data::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::Ref;
use crate::stage::{Complaint, Input, Io};

/// The name of the test rows that the split gives, where results name the sets.
pub(super) const OWN: &str = "test";

crate::params! {
    /// Further rows to predict.
    pub struct FurtherTest {
        /// Which images: `"split.validation"`, `"other.images"`. Those without a label take no part.
        pub images: Ref = Ref::default(),
        /// Their features, by default those that are learnt from; transformed alike.
        pub features: Ref = Ref::default(),
        /// Their labels, by default those that are learnt from.
        pub labels: Ref = Ref::default(),
        /// What the study calls classes that have other names here.
        pub rename: BTreeMap<String, String> = BTreeMap::new(),
        /// Classes left out, after renaming.
        pub drop: Vec<String> = Vec::new(),
    }
}

impl FurtherTest {
    /// The ports it reads.
    pub fn inputs(&self, name: &str) -> [Input; 3] {
        [
            Input::required(format!("tests.{name}.images"), &self.images, IMAGES),
            Input::optional(format!("tests.{name}.features"), &self.features, FEATURES),
            Input::optional(format!("tests.{name}.labels"), &self.labels, LABELS),
        ]
    }
}

/// What is wrong with the names of test sets.
pub(super) fn complaints(tests: &BTreeMap<String, FurtherTest>) -> Vec<Complaint> {
    let wrong = |name: &&String| name.is_empty() || name.contains('.') || name.as_str() == OWN;
    let message = |name: &String| format!("must have a name of its own without dots, got `{name}`");
    tests.keys().filter(wrong).map(|name| Complaint { field: "tests".into(), message: message(name) }).collect()
}

/// Reads the test set `name` and puts it in front of `study`, whose images `own` tells copies of training images.
pub(super) fn facing(
    io: &Io,
    (name, test): (&str, &FurtherTest),
    study: &Study,
    (set, labels): (&FeatureSet, &BTreeMap<String, String>),
    own: Option<&ImageTable>,
) -> Result<Study, Failure> {
    let read = || {
        let images = io::images(io, &format!("tests.{name}.images"))?;
        let role = format!("tests.{name}.features");
        let same_images = io.optional(&role).is_none();
        let other = if same_images { None } else { Some(FeatureSet::from_bytes(&io::bytes(io, &role)?)?) };
        let role = format!("tests.{name}.labels");
        let other_labels = io.optional(&role).map(|_| io::labels(io, &role)).transpose()?.map(|labels| labels_by_name(&labels));
        let set = other.as_ref().unwrap_or(set);
        let ids: Vec<String> = images.rows().iter().map(|row| row.id.to_string()).collect();
        if let Some(own) = own {
            refuse_copies(study, own, &images)?;
        }
        if set.pending != study.protocol.transform {
            let failure = "its features are not to be transformed as those that are learnt from";
            return Err(Failure::new(failure).help("let both go through a `Transform` with `scope: PerSubset` and the same steps"));
        }
        let labels = other_labels.as_ref().unwrap_or(labels);
        let further = Further { features: main_of(set)?, labels, ids: &ids, rename: &test.rename, drop: &test.drop, same_images };
        let mut facing = study.facing(&further)?;
        facing.roster = facing.roster.grouped(&groups(&images));
        Ok(facing)
    };
    read().map_err(|failure| failure.while_doing(format!("test set `{name}`")))
}

fn main_of(set: &FeatureSet) -> Result<&Features, Failure> {
    let main = set.tables.iter().find(|(name, _)| name == MAIN);
    main.map(|(_, table)| table).ok_or_else(|| Failure::new("its features hold no table of the network"))
}

/// Refuses images whose bytes are those of a training image.
fn refuse_copies(study: &Study, own: &ImageTable, images: &ImageTable) -> Result<(), Failure> {
    let train: HashSet<&str> = study.roster.train.iter().flatten().map(String::as_str).collect();
    let learnt: HashSet<_> = own.rows().iter().filter(|row| train.contains(row.id.as_str())).map(|row| (row.file, row.place)).collect();
    let copies: Vec<_> = images.rows().iter().filter(|row| learnt.contains(&(row.file, row.place))).collect();
    match copies.first() {
        None => Ok(()),
        Some(first) => {
            Err(Failure::new(format!("{} with the bytes of one that is learnt from: `{}` first", count(copies.len(), "image"), first.id)))
        }
    }
}
