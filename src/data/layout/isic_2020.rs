//! Skin lesions by patient: a folder of pictures, a table of diagnoses and a list of duplicates, as the ISIC 2020 challenge ships them.
//!
//! Rotemberg et al. 2021, Scientific Data 8:34: 33,126 pictures of 2,056 patients, 584 of them melanomas. The patient is the group.
//! The list of duplicates names pairs of pictures that are one; some pairs belong to two patients.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::columns::{Columns, cell, missing_pictures, refuse_lines};
use super::files::{files_below, looks_like_picture, stem_id};
use super::scan::{Check, Found, Ingested, OnBad, Scan, count_differences, handle_bad, labels_of, look_at};
use crate::data::groups::Groups;
use crate::data::names::ImageId;
use crate::data::table::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

/// What becomes of two pictures that the publisher's list calls one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duplicates {
    /// Both stay, and no grouped split parts them: their patients count as one.
    #[default]
    Group,
    /// The second of each pair is left out.
    Drop,
}

crate::params! {
    /// The training part of ISIC 2020 as it is published. An image's id is its file name without the ending; its group is the patient.
    pub struct Isic2020 {
        /// The folder that holds the tables and, somewhere below it, the pictures.
        pub root: DataPath = DataPath::default(),
        /// Takes the challenge's test pictures in too, which have no labels.
        pub test: bool = false,
        pub duplicates: Duplicates = Duplicates::Group,
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
    }
}

/// The classes by the numbers of the published column `target`, with the published number of pictures of each.
pub const CLASSES: [(&str, usize); 2] = [("benign", 32_542), ("malignant", 584)];

/// The table of diagnoses: the newest that is there. The second version tells lesions besides.
const TRUTHS: [&str; 2] = ["ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv"];
const DUPLICATES: &str = "ISIC_2020_Training_Duplicates.csv";

/// What the table says of a picture.
struct Diagnosis {
    class: usize,
    patient: String,
}

impl Isic2020 {
    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let table = TRUTHS.iter().find(|name| root.join(name).exists()).unwrap_or(&TRUTHS[1]);
        let truth = diagnoses(&root.join(table), table)?;
        let mut notes = Vec::new();
        let pairs = match root.join(DUPLICATES) {
            file if file.exists() => pairs(&file)?,
            _ => {
                notes.push(format!("`{DUPLICATES}` is not there: pictures that are one may lie in both train and test"));
                Vec::new()
            }
        };
        let (pictures, n_others) = self.pictures(root, &truth)?;
        if n_others > 0 {
            notes.push(format!(
                "{} left out that `{table}` does not name, such as the challenge's test pictures",
                count(n_others, "picture")
            ));
        }
        let present: BTreeSet<&ImageId> = pictures.iter().map(|(id, _)| id).collect();
        let mut bad = missing_pictures(truth.keys().filter(|id| !present.contains(id)), &root.join("train"), table);
        let mut counts = [0; CLASSES.len()];
        truth.iter().filter(|(id, _)| present.contains(id)).for_each(|(_, known)| counts[known.class] += 1);
        let differences = count_differences(&CLASSES, &counts, 0);

        let mut groups = groups(&pictures, &truth);
        let mut dropped = BTreeSet::new();
        for (first, second) in pairs.iter().filter(|(a, b)| present.contains(a) && present.contains(b)) {
            match self.duplicates {
                Duplicates::Group => groups.join(first, second),
                Duplicates::Drop => drop(dropped.insert(second.clone())),
            }
        }
        if !dropped.is_empty() {
            notes.push(format!("{} left out that `{DUPLICATES}` calls a duplicate", count(dropped.len(), "picture")));
        }
        let kept = pictures.into_iter().filter(|(id, _)| !dropped.contains(id));
        let found = kept.map(|(id, relative)| Found { group: groups.name(&id), id, relative }).collect();
        let (rows, unreadable) = look_at(root, found, self.check, how)?;
        bad.extend(unreadable);
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let classes = CLASSES.iter().map(|(class, _)| class.to_string()).collect();
        let named = truth.into_iter().map(|(id, known)| (id, CLASSES[known.class].0.to_string())).collect();
        let labels = labels_of(&images, Some(classes), &named)?;
        Ok(Ingested { images, labels: Some(labels), packed: None, notes, differences })
    }

    /// Finds the pictures wherever they lie below the root; also returns how many were left out that the table does not name.
    fn pictures(&self, root: &Path, truth: &BTreeMap<ImageId, Diagnosis>) -> Result<(Vec<(ImageId, PathBuf)>, usize), Failure> {
        let (pictures, others): (Vec<_>, Vec<_>) = files_below(root)?.into_iter().partition(|path| looks_like_picture(path));
        let (named, rest): (Vec<_>, Vec<_>) =
            pictures.into_iter().map(|path| (stem_id(&path), path)).partition(|(id, _)| truth.contains_key(id));
        if named.is_empty() {
            // With the feature they are pictures.
            let dicom = others.iter().filter(|path| path.extension().is_some_and(|ending| ending == "dcm")).count();
            let failure = Failure::new("no pictures that the table of diagnoses names: expected `train/ISIC_NNNNNNN.jpg` or `.dcm`");
            return Err(match dicom {
                0 => failure,
                _ => failure.help(format!(
                    "found {}, which this `flow` was built without: build it with `--features dicom`, or get the JPEG archive",
                    count(dicom, "DICOM file")
                )),
            });
        }
        match self.test {
            true => Ok(([named, rest].concat(), 0)),
            false => Ok((named, rest.len())),
        }
    }
}

/// The patient of each picture; a picture of no known patient is alone.
fn groups(pictures: &[(ImageId, PathBuf)], truth: &BTreeMap<ImageId, Diagnosis>) -> Groups {
    let patient = |id: &ImageId| truth.get(id).map(|known| known.patient.as_str()).filter(|patient| !patient.is_empty());
    let of: HashMap<ImageId, String> =
        pictures.iter().map(|(id, _)| (id.clone(), patient(id).map_or_else(|| format!("alone:{id}"), str::to_string))).collect();
    Groups::new(of)
}

fn diagnoses(file: &Path, table: &str) -> Result<BTreeMap<ImageId, Diagnosis>, Failure> {
    let columns = Columns::read(file, b',')?;
    let (image_at, patient_at, target_at) = (columns.at("image_name")?, columns.at("patient_id")?, columns.at("target")?);
    let (mut known, mut wrong) = (BTreeMap::new(), Vec::new());
    for (line, row) in columns.rows() {
        let id = ImageId::from(cell(row, image_at));
        let Some(class) = cell(row, target_at).parse().ok().filter(|class| *class < CLASSES.len()) else {
            wrong.push(format!("line {line}: `{id}` has the target `{}`, expected 0 or 1", cell(row, target_at)));
            continue;
        };
        let diagnosis = Diagnosis { class, patient: cell(row, patient_at).to_string() };
        if known.insert(id.clone(), diagnosis).is_some() {
            wrong.push(format!("line {line}: `{id}` stands there already"));
        }
    }
    refuse_lines(&wrong, table)?;
    Ok(known)
}

fn pairs(file: &Path) -> Result<Vec<(ImageId, ImageId)>, Failure> {
    let columns = Columns::read(file, b',')?;
    let (first_at, second_at) = (columns.at("image_name_1")?, columns.at("image_name_2")?);
    Ok(columns.rows().map(|(_, row)| (ImageId::from(cell(row, first_at)), ImageId::from(cell(row, second_at)))).collect())
}
