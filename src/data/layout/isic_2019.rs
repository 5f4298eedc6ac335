//! Skin lesions: a folder of pictures, a one-hot table of diagnoses and a table of metadata, as the ISIC 2019 challenge ships them.
//!
//! 25,331 pictures in 8 classes, of HAM10000 (Tschandl et al. 2018), BCN_20000 (Combalia et al. 2019) and MSK (Codella et al. 2018).
//! Many lesions were photographed several times: `lesion_id` is the group. The names of 2,074 pictures end in `_downsampled`; that
//! belongs to the id and is left out only to find the row of a table that lacks it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::columns::{Columns, cell, missing_pictures, refuse_lines};
use super::files::{files_below, looks_like_picture, stem_id};
use super::scan::{Check, Found, Ingested, OnBad, Scan, count_differences, handle_bad, labels_of, look_at};
use crate::data::names::{ImageId, undecorated};
use crate::data::table::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

crate::params! {
    /// The training part of ISIC 2019 as it is published. An image's id is its file name without the ending; its group is the lesion.
    pub struct Isic2019 {
        /// The folder that holds `ISIC_2019_Training_Input` and the two tables.
        pub root: DataPath = DataPath::default(),
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
    }
}

/// The classes in the order of the published table, with the published number of pictures of each.
pub const CLASSES: [(&str, usize); 8] =
    [("MEL", 4_522), ("NV", 12_875), ("BCC", 3_323), ("AK", 867), ("BKL", 2_624), ("DF", 239), ("VASC", 253), ("SCC", 628)];

/// The last column of the table: none of the others. No picture of the training part has it.
const UNKNOWN: &str = "UNK";

const PICTURES: &str = "ISIC_2019_Training_Input";
const TRUTH: &str = "ISIC_2019_Training_GroundTruth.csv";
const METADATA: &str = "ISIC_2019_Training_Metadata.csv";

impl Isic2019 {
    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let truth = one_hot(&root.join(TRUTH))?;
        let mut notes = Vec::new();
        let lesions = match root.join(METADATA) {
            file if file.exists() => Some(lesions(&file)?),
            _ => {
                notes.push(format!("`{METADATA}` is not there: pictures of one lesion may lie in both train and test"));
                None
            }
        };
        let below = |path: &Path| Path::new(PICTURES).join(path);
        let mut pictures: BTreeMap<ImageId, _> = BTreeMap::new();
        let mut others = 0;
        for path in files_below(&root.join(PICTURES))?.into_iter().filter(|path| looks_like_picture(path)) {
            let id = stem_id(&path);
            match truth.contains_key(&id) {
                true => drop(pictures.insert(id, below(&path))),
                false => others += 1,
            }
        }
        if pictures.is_empty() {
            return Err(Failure::new(format!("no picture below `{PICTURES}` that `{TRUTH}` names")));
        }
        if others > 0 {
            notes.push(format!("{} left out that `{TRUTH}` does not name", count(others, "picture")));
        }
        let mut bad = missing_pictures(truth.keys().filter(|id| !pictures.contains_key(id)), &root.join(PICTURES), TRUTH);

        let mut n_alone = 0;
        let mut group = |id: &ImageId| {
            let lesion = lesions.as_ref()?.get(undecorated(id.as_str())).filter(|lesion| !lesion.is_empty());
            n_alone += usize::from(lesion.is_none());
            Some(lesion.cloned().unwrap_or_else(|| format!("alone:{id}")))
        };
        let found = pictures.into_iter().map(|(id, relative)| Found { group: group(&id), id, relative }).collect();
        if n_alone > 0 {
            notes.push(format!("{} without a lesion, each taken as a group of its own", count(n_alone, "image")));
        }
        let (rows, unreadable) = look_at(root, found, self.check, how)?;
        bad.extend(unreadable);
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let classes = CLASSES.iter().map(|(class, _)| class.to_string()).collect();
        let named = truth.into_iter().filter_map(|(id, class)| Some((id, class?))).collect();
        let labels = labels_of(&images, Some(classes), &named)?;
        let differences = count_differences(&CLASSES, &labels.counts(), 0);
        Ok(Ingested { images, labels: Some(labels), packed: None, notes, differences })
    }
}

/// Reads the table of diagnoses: for each picture the one class with a 1, none for `UNK`.
fn one_hot(file: &Path) -> Result<BTreeMap<ImageId, Option<String>>, Failure> {
    let table = Columns::read(file, b',')?;
    let image_at = table.at("image")?;
    let mut columns: Vec<(&str, usize)> =
        CLASSES.iter().map(|(class, _)| Ok((*class, table.at(class)?))).collect::<Result<_, Failure>>()?;
    columns.extend(table.find(&[UNKNOWN]).map(|at| (UNKNOWN, at)));
    let (mut truth, mut wrong) = (BTreeMap::new(), Vec::new());
    for (line, row) in table.rows() {
        let id = ImageId::from(cell(row, image_at));
        let numbers: Option<Vec<(&str, f64)>> = columns.iter().map(|(class, at)| Some((*class, cell(row, *at).parse().ok()?))).collect();
        let named: Option<Vec<&str>> = numbers.filter(|all| all.iter().all(|(_, x)| *x == 0.0 || *x == 1.0)).map(|all| {
            let ones = all.into_iter().filter(|(_, x)| *x == 1.0);
            ones.map(|(class, _)| class).collect()
        });
        match named.as_deref() {
            Some([class]) => {
                let class = (*class != UNKNOWN).then(|| class.to_string());
                if truth.insert(id.clone(), class).is_some() {
                    wrong.push(format!("line {line}: `{id}` stands there already"));
                }
            }
            Some(several) => wrong.push(format!("line {line}: `{id}` has {}, expected one", count(several.len(), "class"))),
            None => wrong.push(format!("line {line}: `{id}` has other numbers than 0 and 1")),
        }
    }
    refuse_lines(&wrong, TRUTH)?;
    Ok(truth)
}

/// Reads the lesion of each picture, by its name without `_downsampled`.
fn lesions(file: &Path) -> Result<HashMap<String, String>, Failure> {
    let table = Columns::read(file, b',')?;
    let (image_at, lesion_at) = (table.at("image")?, table.at("lesion_id")?);
    Ok(table.rows().map(|(_, row)| (undecorated(cell(row, image_at)).to_string(), cell(row, lesion_at).to_string())).collect())
}
