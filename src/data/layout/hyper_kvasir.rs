//! Frames of gastroscopies and colonoscopies: `root/ORGAN/CATEGORY/CLASS/UUID.jpg`, and a folder of frames without labels.
//!
//! HyperKvasir (Borgli et al. 2020, Scientific Data 7:283): 10,662 labelled frames in 23 classes, 99,417 without labels.
//! Neither names nor tables tell the patient or the examination, so that no grouped split is possible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::columns::{Columns, cell};
use super::files::{files_below, looks_like_picture, stem_id};
use super::scan::{Check, CountDifference, Found, Ingested, OnBad, Scan, count_differences, handle_bad, labels_of, look_at, refuse_files};
use crate::data::names::{ImageId, text_of_path};
use crate::data::table::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

crate::params! {
    /// HyperKvasir as it is published. An image's id is its file name without the ending.
    pub struct HyperKvasir {
        /// The folder `labeled-images`; without labels the folder `unlabeled-images`.
        pub root: DataPath = DataPath::default(),
        /// Whether the folders are classes.
        pub labelled: bool = true,
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
    }
}

/// The classes by the names of their folders, sorted, with the published number of frames of each.
pub const CLASSES: [(&str, usize); 23] = [
    ("barretts", 41),
    ("barretts-short-segment", 53),
    ("bbps-0-1", 646),
    ("bbps-2-3", 1_148),
    ("cecum", 1_009),
    ("dyed-lifted-polyps", 1_002),
    ("dyed-resection-margins", 989),
    ("esophagitis-a", 403),
    ("esophagitis-b-d", 260),
    ("hemorrhoids", 6),
    ("ileum", 9),
    ("impacted-stool", 131),
    ("polyps", 1_028),
    ("pylorus", 999),
    ("retroflex-rectum", 391),
    ("retroflex-stomach", 764),
    ("ulcerative-colitis-grade-0-1", 35),
    ("ulcerative-colitis-grade-1", 201),
    ("ulcerative-colitis-grade-1-2", 11),
    ("ulcerative-colitis-grade-2", 443),
    ("ulcerative-colitis-grade-2-3", 28),
    ("ulcerative-colitis-grade-3", 133),
    ("z-line", 932),
];

/// Frames without labels.
const UNLABELLED: usize = 99_417;

/// How the publisher's tables call classes that their folders call otherwise: name there, name of the folder.
pub const ALIASES: [(&str, &str); 11] = [
    ("hemorroids", "hemorrhoids"),
    ("normal-cecum", "cecum"),
    ("normal-pylorus", "pylorus"),
    ("normal-z-line", "z-line"),
    ("oesophagitis-a", "esophagitis-a"),
    ("oesophagitis-b-d", "esophagitis-b-d"),
    ("polyp", "polyps"),
    ("short-segment-barretts", "barretts-short-segment"),
    ("ulcerative-colitis-0-1", "ulcerative-colitis-grade-0-1"),
    ("ulcerative-colitis-1-2", "ulcerative-colitis-grade-1-2"),
    ("ulcerative-colitis-2-3", "ulcerative-colitis-grade-2-3"),
];

/// The publisher's table, beside the folders of organs.
const TABLE: &str = "image-labels.csv";

impl HyperKvasir {
    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let (pictures, others): (Vec<_>, Vec<_>) = files_below(root)?.into_iter().partition(|path| looks_like_picture(path));
        if pictures.is_empty() {
            return Err(Failure::new("no pictures: expected `ORGAN/CATEGORY/CLASS/NAME.jpg`")
                .help("`root` is the folder `labeled-images`; with `labelled: false` the folder `unlabeled-images`"));
        }
        let mut notes = vec!["the names tell no patient: frames of one examination may lie in both train and test".to_string()];
        let passed = others.iter().filter(|path| *path != Path::new(TABLE)).count();
        if passed > 0 {
            notes.push(format!("{} passed over that are not named like pictures", count(passed, "file")));
        }
        let names = if self.labelled { classes(&pictures)? } else { BTreeMap::new() };
        if self.labelled && others.iter().any(|path| path == Path::new(TABLE)) {
            compare(&root.join(TABLE), &names, &mut notes).map_err(|f| f.while_doing(format!("`{TABLE}`")))?;
        }
        let found = pictures.into_iter().map(|path| Found { id: stem_id(&path), relative: path, group: None }).collect();
        let (rows, bad) = look_at(root, found, self.check, how)?;
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let known = CLASSES.iter().map(|(class, _)| class.to_string()).collect();
        let labels = self.labelled.then(|| labels_of(&images, Some(known), &names)).transpose()?;
        let differences = match &labels {
            Some(labels) => count_differences(&CLASSES, &labels.counts(), 0),
            None if images.len() == UNLABELLED => Vec::new(),
            None => vec![CountDifference { what: "all images".into(), expected: UNLABELLED, found: images.len() }],
        };
        Ok(Ingested { images, labels, packed: None, notes, differences })
    }
}

/// The class of each picture: the folder that it lies in.
fn classes(pictures: &[PathBuf]) -> Result<BTreeMap<ImageId, String>, Failure> {
    let (mut names, mut wrong) = (BTreeMap::new(), Vec::new());
    for path in pictures {
        let folder = path.parent().and_then(Path::file_name).map(|name| text_of_path(Path::new(name))).unwrap_or_default();
        match class_called(&folder) {
            Some(class) => drop(names.insert(stem_id(path), class.to_string())),
            None => wrong.push((path, format!("the folder `{folder}` is none of the 23 classes"))),
        }
    }
    let help = "`root` is the folder `labeled-images`; frames without labels are read by an `Ingest` of their own, with `labelled: false`";
    refuse_files(&wrong).map_err(|failure| failure.help(help))?;
    Ok(names)
}

/// Returns the folder name of a class that the publisher's tables call otherwise: `polyps` for `polyp`.
pub fn class_alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, folder)| *folder)
}

/// The folder name of a class under any of its names.
fn class_called(name: &str) -> Option<&'static str> {
    let aliased = class_alias(name).unwrap_or(name);
    CLASSES.iter().map(|(class, _)| *class).find(|class| *class == aliased)
}

/// Holds the publisher's table against the folders.
fn compare(file: &Path, names: &BTreeMap<ImageId, String>, notes: &mut Vec<String>) -> Result<(), Failure> {
    let table = Columns::read(file, b',')?;
    let (Some(name_at), Some(class_at)) =
        (table.find(&["Video file", "file-name", "image"]), table.find(&["Finding", "class-name", "label"]))
    else {
        notes.push(format!("`{TABLE}` has the columns `{}`: not compared with the folders", table.names().join("`, `")));
        return Ok(());
    };
    let (mut absent, mut unknown, mut contradicting) = (0, 0, Vec::new());
    for (line, row) in table.rows() {
        let (id, said) = (stem_id(Path::new(cell(row, name_at))), cell(row, class_at));
        match (names.get(&id), class_called(said)) {
            (None, _) => absent += 1,
            (_, None) => unknown += 1,
            (Some(folder), Some(class)) if folder != class => {
                contradicting.push(format!("line {line}: `{id}` is `{said}` there and lies in `{folder}`"));
            }
            _ => {}
        }
    }
    if let Some(first) = contradicting.first() {
        return Err(Failure::new(format!("{} not as in the folders: {first}", count(contradicting.len(), "label")))
            .help("files were moved, or the table is of another release"));
    }
    if absent > 0 {
        notes.push(format!("`{TABLE}` names {} that no folder holds", count(absent, "image")));
    }
    if unknown > 0 {
        notes.push(format!("{} of `{TABLE}` with a class that is not known: not compared", count(unknown, "line")));
    }
    Ok(())
}
