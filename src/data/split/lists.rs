//! Parts as published lists give them: CSV files of images, joined by what the images are called and not by where they lay.

use std::collections::HashSet;
use std::path::Path;

use super::join::{Join, stem};
use super::outcome::{Division, TEST, TRAIN, conclude};
use crate::data::names::ImageId;
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::{Failure, count, thousands};
use crate::params::DataPath;

crate::params! {
    /// Published lists: CSV with a column `id` or `image` (ids, paths or file names), or the text of one id a line.
    pub struct Lists {
        pub train: DataPath = DataPath::default(),
        /// Without a test list, the labelled images that train does not name test.
        pub test: Option<DataPath> = None,
        pub validation: Option<DataPath> = None,
        /// Images that no list names: an error unless allowed.
        pub allow_uncovered: bool = false,
        /// Images that train and test both name stay in train: an error unless allowed.
        pub overlap_to_train: bool = false,
        /// Accepts files with the same bytes in two parts.
        pub allow_copies: bool = false,
    }
}

impl Lists {
    pub(super) fn roots(&self) -> Vec<(&'static str, &DataPath)> {
        let mut roots = vec![("train", &self.train)];
        roots.extend(self.test.as_ref().map(|file| ("test", file)));
        roots.extend(self.validation.as_ref().map(|file| ("validation", file)));
        roots
    }

    pub(super) fn check(&self) -> Vec<(&'static str, String)> {
        self.roots().into_iter().filter(|(_, file)| file.is_empty()).map(|(field, _)| (field, "must name a list".to_string())).collect()
    }

    pub(super) fn divide(&self, images: &ImageTable, labels: &Labels, places: &[impl AsRef<Path>]) -> Result<Division, Failure> {
        let names = self.roots();
        if places.len() != names.len() {
            return Err(Failure::new(format!("{} resolved paths given: expected {}", places.len(), names.len())));
        }
        let join = Join::of(images);
        let mut parts: [Vec<ImageId>; 3] = Default::default();
        let mut notes = Vec::new();
        for ((name, _), place) in names.iter().zip(places) {
            let part = ["train", "test", "validation"].iter().position(|p| p == name).unwrap_or(TRAIN);
            let (ids, note) =
                part_of(&join, place.as_ref(), labels).map_err(|f| f.while_doing(format!("list `{}`", place.as_ref().display())))?;
            parts[part] = ids;
            notes.extend(note);
        }
        if self.test.is_none() {
            let named: HashSet<&ImageId> = parts.iter().flatten().collect();
            let rest: Vec<ImageId> = labels.iter().map(|(id, _)| id).filter(|id| !named.contains(id)).cloned().collect();
            notes.push(format!("test is the {} that no list names", count(rest.len(), "labelled image")));
            parts[TEST] = rest;
        }
        let mut wrong: Vec<(String, &str)> = self.settle_overlap(&mut parts, &mut notes).into_iter().collect();
        wrong.extend(self.settle_uncovered(&parts, labels, &mut notes));
        if !wrong.is_empty() {
            let (lines, helps): (Vec<String>, Vec<&str>) = wrong.into_iter().unzip();
            return Err(Failure::new(lines.join("; ")).help(helps.join("\n")));
        }
        conclude(parts, images, labels, &|_| false, None, notes)
    }

    /// Takes images that train names too out of test, or says how many there are and what to do.
    fn settle_overlap(&self, parts: &mut [Vec<ImageId>; 3], notes: &mut Vec<String>) -> Option<(String, &'static str)> {
        let train: HashSet<ImageId> = parts[TRAIN].iter().cloned().collect();
        let shared: Vec<&ImageId> = parts[TEST].iter().filter(|id| train.contains(id)).collect();
        let first = shared.first()?;
        let (n, of) = (thousands(shared.len()), thousands(parts[TEST].len()));
        let line = format!("{n} of the {of} test images are in the train list too, `{first}` first");
        if !self.overlap_to_train {
            let help = "leave `test` out to test on all labelled images that train does not name, or keep them in train alone with `overlap_to_train: true`";
            return Some((line, help));
        }
        notes.push(format!("{line}; kept in train alone"));
        parts[TEST].retain(|id| !train.contains(id));
        None
    }

    /// Notes labelled images that no list names, or says how many there are and what to do.
    fn settle_uncovered(&self, parts: &[Vec<ImageId>; 3], labels: &Labels, notes: &mut Vec<String>) -> Option<(String, &'static str)> {
        let covered: HashSet<&ImageId> = parts.iter().flatten().collect();
        let uncovered: Vec<&ImageId> = labels.iter().map(|(id, _)| id).filter(|id| !covered.contains(id)).collect();
        let line = format!("{} in no list, `{}` first", count(uncovered.len(), "labelled image"), uncovered.first()?);
        if !self.allow_uncovered {
            return Some((line, "leave `test` out to test on them, or leave them out with `allow_uncovered: true`"));
        }
        notes.push(line);
        None
    }
}

/// Reads a list; labels that it gives are held against the known ones. Also returns how many stand there more than once.
fn part_of(join: &Join, file: &Path, labels: &Labels) -> Result<(Vec<ImageId>, Option<String>), Failure> {
    let listed = join.read(file)?;
    listed.check(labels)?;
    let mut ids = listed.ids;
    let n_listed = ids.len();
    ids.sort();
    ids.dedup();
    let twice = n_listed - ids.len();
    Ok((ids, (twice > 0).then(|| format!("{} listed more than once in `{}`", count(twice, "image"), stem(&file.to_string_lossy())))))
}
