//! Bone marrow cells: `root/CODE/RANGE/CODE_NNNNN.jpg`, or `root/CODE/CODE_NNNNN.jpg` for the small classes.
//!
//! Matek et al. 2021, Blood 138(20), doi 10.7937/TCIA.AXH3-T579: 171,374 crops of 250 x 250 pixels in 21 classes.
//! The names tell no patient, so that no grouped split is possible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::{files_below, looks_like_picture, stem_id};
use super::scan::{Check, Found, Ingested, OnBad, Scan, count_differences, handle_bad, labels_of, look_at, refuse_files};
use crate::data::names::text_of_path;
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
        let (pictures, others): (Vec<_>, Vec<_>) = files_below(root)?.into_iter().partition(|path| looks_like_picture(path));
        if pictures.is_empty() {
            return Err(Failure::new("no pictures: expected `CODE/RANGE/CODE_NNNNN.jpg`")
                .help("`root` is the folder that holds the folders `ART`, `BAS` and so on"));
        }
        let (mut names, mut wrong) = (BTreeMap::new(), Vec::new());
        for path in &pictures {
            match class_of(path) {
                Ok(class) => drop(names.insert(stem_id(path), class)),
                Err(cause) => wrong.push((path, cause)),
            }
        }
        refuse_files(&wrong)?;
        let mut notes = vec!["the names tell no patient: images of one patient may lie in both train and test".to_string()];
        if !others.is_empty() {
            notes.push(format!("{} passed over that are not named like pictures", count(others.len(), "file")));
        }
        let found = pictures.into_iter().map(|path| Found { id: stem_id(&path), relative: path, group: None }).collect();
        let (rows, bad) = look_at(root, found, self.check, how)?;
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let classes = CLASSES.iter().map(|(code, _)| code.to_string()).collect();
        let labels = labels_of(&images, Some(classes), &names)?;
        // The publisher's page says one image more than its own table: not a difference of this copy.
        let differences = count_differences(&CLASSES, &labels.counts(), 1);
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
