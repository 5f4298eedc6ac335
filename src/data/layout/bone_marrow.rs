//! Bone marrow cells: `root/CODE/RANGE/CODE_NNNNN.jpg`, or `root/CODE/CODE_NNNNN.jpg` for the small classes.
//!
//! Matek et al. 2021, Blood 138(20), doi 10.7937/TCIA.AXH3-T579: 171,374 crops of 250 x 250 pixels in 21 classes.
//! The names tell no patient, so that no grouped split is possible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::scan::{Check, CountDifference, Found, Ingested, OnBad, Scan, files_below, handle_bad, labels_of, look_at, looks_like_picture};
use crate::data::names::{ImageId, text_of_path};
use crate::data::table::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

crate::params! {
    /// The bone marrow data set as it is published. An image's id is its file name without the ending.
    pub struct BoneMarrow {
        /// The folder that holds `ART`, `BAS` and so on.
        pub root: DataPath = DataPath::default(),
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
    }
}

/// The classes in the published configuration's order (ABE comes last), with the published number of images of each.
pub const CLASSES: [(&str, usize); 21] = [
    ("ART", 19_630),
    ("BAS", 441),
    ("BLA", 11_973),
    ("EBO", 27_395),
    ("EOS", 5_883),
    ("FGC", 47),
    ("HAC", 409),
    ("KSC", 42),
    ("LYI", 65),
    ("LYT", 26_242),
    ("MMZ", 3_055),
    ("MON", 4_040),
    ("MYB", 6_557),
    ("NGB", 9_968),
    ("NGS", 29_424),
    ("NIF", 3_538),
    ("OTH", 294),
    ("PEB", 2_740),
    ("PLM", 7_629),
    ("PMO", 11_994),
    ("ABE", 8),
];

impl BoneMarrow {
    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let (mut found, mut names, mut wrong, mut passed) = (Vec::new(), BTreeMap::new(), Vec::new(), 0);
        for path in files_below(root)? {
            if !looks_like_picture(&path) {
                passed += 1;
                continue;
            }
            match class_of(&path) {
                Ok(class) => {
                    let id = ImageId(text_of_path(Path::new(path.file_stem().unwrap_or_default())));
                    names.insert(id.clone(), class);
                    found.push(Found { id, relative: path, group: None });
                }
                Err(cause) => wrong.push(format!("  `{}`: {cause}", path.display())),
            }
        }
        if !wrong.is_empty() {
            wrong.truncate(20);
            return Err(Failure::new(format!("{} not as published:\n{}", count(wrong.len(), "file"), wrong.join("\n"))));
        }
        if found.is_empty() {
            return Err(Failure::new("no pictures: expected `CODE/RANGE/CODE_NNNNN.jpg`")
                .help("`root` is the folder that holds the folders `ART`, `BAS` and so on"));
        }
        let mut notes = vec!["the names tell no patient: images of one patient may lie in both train and test".to_string()];
        if passed > 0 {
            notes.push(format!("{} passed over that are not named like pictures", count(passed, "file")));
        }
        let (rows, bad) = look_at(root, found, self.check, how)?;
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let classes = CLASSES.iter().map(|(code, _)| code.to_string()).collect();
        let labels = labels_of(&images, Some(classes), names)?;
        let differences = differences(&labels.counts());
        Ok(Ingested { images, labels: Some(labels), packed: None, notes, differences })
    }
}

/// The class of a file: its first folder, which its name must agree with.
fn class_of(path: &Path) -> Result<String, String> {
    let folder = path.iter().next().map(PathBuf::from).unwrap_or_default();
    let code = text_of_path(&folder);
    let name = text_of_path(Path::new(path.file_name().unwrap_or_default()));
    if !CLASSES.iter().any(|(known, _)| *known == code) {
        return Err(format!("`{code}` is none of the 21 classes"));
    }
    match name.split_once('_') {
        Some((prefix, _)) if prefix == code => Ok(code),
        _ => Err(format!("the folder says `{code}`, the name does not")),
    }
}

fn differences(counts: &[usize]) -> Vec<CountDifference> {
    let differs = |what: &str, expected, found| CountDifference { what: what.to_string(), expected, found };
    let mut out: Vec<CountDifference> =
        CLASSES.iter().zip(counts).filter(|((_, e), f)| e != *f).map(|((code, e), f)| differs(code, *e, *f)).collect();
    let (expected, found) = (CLASSES.iter().map(|(_, n)| n).sum(), counts.iter().sum());
    // The publisher's page says one image more than its own table: not a difference of this copy.
    if usize::abs_diff(expected, found) > 1 {
        out.push(differs("all images", expected, found));
    }
    out
}
