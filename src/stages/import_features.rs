//! `ImportFeatures`: a table of features of another program -> features, images and labels, as `Split`, `Transform` and `Sweep` read them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ndarray::Axis;
use serde_json::Value;

use super::feature_set::{FeatureSet, MAIN};
use super::ingest::Scanned;
use super::io;
use super::kinds::{FEATURES, IMAGES, LABELS, SCAN};
use crate::classify::Features;
use crate::data::{FeatureTable, ImageId, ImageRow, ImageTable, Labels, Place, read_ids, read_whole_numbers};
use crate::diagnostic::{Context, Failure, count};
use crate::digest::Digest;
use crate::params::DataPath;
use crate::stage::{Io, Output, Source, Stage};

crate::params! {
    /// A row of numbers for each image, from any model, with ids and labels.
    pub struct ImportFeatures {
        /// `.npy` (rows x dimensions), safetensors, or CSV: a line of names, first the id, then numbers, `label` and `group` if there are any.
        pub file: DataPath = DataPath::default(),
        /// The tensor of a safetensors file that holds several.
        pub tensor: Option<String> = None,
        /// The ids of the rows of an array, one a line; by default those of the safetensors entry `ids`, else the numbers of the rows.
        pub ids: Option<DataPath> = None,
        /// CSV with the columns `id` and `label`, and `group` if there is one; or an `.npy` of whole numbers in the order of the rows.
        pub labels: Option<DataPath> = None,
        /// What made the features, as figures name it.
        pub of: String = "imported".into(),
    }
}

/// Class and group of each row; empty where it has none.
struct Known {
    labels: Vec<String>,
    groups: Vec<String>,
}

impl Stage for ImportFeatures {
    fn kind(&self) -> &'static str {
        "ImportFeatures"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn sources(&self) -> Vec<Source> {
        let source = |role: &str, path: &DataPath, about: &str| Source { role: role.into(), path: path.clone(), about: about.into() };
        let mut sources = vec![source("file", &self.file, "a table of features: `.npy` (rows x dimensions), safetensors or CSV")];
        sources.extend(self.ids.as_ref().map(|path| source("ids", path, "the ids of the rows, one a line")));
        let about = "a CSV table with the columns `id` and `label`, or an `.npy` of whole numbers";
        sources.extend(self.labels.as_ref().map(|path| source("labels", path, about)));
        sources
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("features", FEATURES), Output::file("images", IMAGES), Output::file("labels", LABELS), Output::file("scan", SCAN)]
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let place = |role: &str, path: &Option<DataPath>| path.as_ref().map(|_| io.source(role).map(|set| set.root.as_path())).transpose();
        let table = FeatureTable::read(&io.source("file")?.root, self.tensor.as_deref())?;
        let (features, known) = join(table, place("ids", &self.ids)?, place("labels", &self.labels)?)?;
        let images = images(&features, &known.groups)?;
        let named = features.ids.iter().zip(&known.labels).filter(|(_, label)| !label.is_empty());
        let labels = Labels::from_names(named.map(|(id, label)| (ImageId(id.clone()), label.clone())).collect::<BTreeMap<_, _>>())?;

        let mut notes = Vec::new();
        if labels.len() < images.len() {
            notes.push(format!("{} without a label", count(images.len() - labels.len(), "row")));
        }
        notes.iter().for_each(|note| io.monitor().note(note));
        let sizes = (count(images.len(), "row"), count(features.dim(), "number"), count(labels.classes().len(), "class"));
        io.monitor().note(&format!("{} of {}, {}", sizes.0, sizes.1, sizes.2));
        io.metric("images", images.len() as f64);
        io.metric("classes", labels.classes().len() as f64);
        io::write(io, "images", |out| images.write(out))?;
        io::write(io, "labels", |out| labels.write(out))?;
        io::write_json(io, "scan", &Scanned { notes, differences: Vec::new() })?;
        FeatureSet { of: self.of.clone(), tables: vec![(MAIN.to_string(), features)], pending: Vec::new() }.write(io)
    }
}

/// Gives every row its id, label and group, and sorts rows by id, so that the order of a file decides nothing.
fn join(table: FeatureTable, ids: Option<&Path>, labels: Option<&Path>) -> Result<(Features, Known), Failure> {
    let n = table.values.nrows();
    let ids = match (table.ids, ids) {
        (Some(_), Some(_)) => return Err(Failure::new("the table brings ids of its own").help("leave `ids` out")),
        (Some(ids), None) => ids,
        (None, Some(list)) => {
            let ids = read_ids(list)?;
            if ids.len() != n {
                return Err(Failure::new(format!("`{}` has {} for {}", list.display(), count(ids.len(), "id"), count(n, "row"))));
            }
            ids
        }
        (None, None) => (0..n).map(|row| format!("{row:0width$}", width = n.to_string().len())).collect(),
    };
    let none = || vec![String::new(); n];
    let known = match (table.labels, labels) {
        (Some(_), Some(_)) => {
            return Err(Failure::new("the table has a column `label` of its own").help("leave `labels` out, or the column"));
        }
        (Some(labels), None) => Known { labels, groups: table.groups.unwrap_or_else(none) },
        (None, Some(file)) => {
            let known = known(file, &ids).map_err(|f| f.while_doing(format!("`{}`", file.display())))?;
            Known { groups: table.groups.unwrap_or(known.groups), ..known }
        }
        (None, None) => {
            return Err(Failure::new("the rows have no labels")
                .help("name a table of them, `labels: \"labels.csv\"`, or give the CSV a column `label`"));
        }
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| ids[*a].cmp(&ids[*b]));
    let sorted = |texts: &[String]| order.iter().map(|row| texts[*row].clone()).collect::<Vec<String>>();
    let features = Features::new(sorted(&ids), table.values.select(Axis(0), &order))?;
    Ok((features, Known { labels: sorted(&known.labels), groups: sorted(&known.groups) }))
}

/// Reads the labels of the rows with these ids.
fn known(file: &Path, ids: &[String]) -> Result<Known, Failure> {
    let is_npy = std::fs::read(file).doing(|| "failed to read")?.starts_with(b"\x93NUMPY");
    if !is_npy {
        return known_by_id(file, ids);
    }
    let numbers = read_whole_numbers(file)?;
    if numbers.len() != ids.len() {
        return Err(Failure::new(format!("{} for {}", count(numbers.len(), "label"), count(ids.len(), "row"))));
    }
    if let Some((row, label)) = numbers.iter().enumerate().find(|(_, label)| **label < 0) {
        return Err(Failure::new(format!("row {row} has the class {label}, expected 0 or more")));
    }
    // As wide as the largest, so that the order by name is the order by number.
    let width = numbers.iter().max().map_or(1, |most| most.to_string().len());
    Ok(Known { labels: numbers.iter().map(|label| format!("{label:0width$}")).collect(), groups: vec![String::new(); ids.len()] })
}

fn known_by_id(file: &Path, ids: &[String]) -> Result<Known, Failure> {
    let mut reader = csv::Reader::from_path(file).doing(|| "failed to read")?;
    let columns = reader.headers().doing(|| "no line of column names")?.clone();
    let place = |name: &str| columns.iter().position(|column| column.trim_start_matches('\u{feff}').trim() == name);
    let column = |name: &str| {
        let found = columns.iter().collect::<Vec<_>>().join("`, `");
        place(name).ok_or_else(|| Failure::new(format!("no column `{name}`: found `{found}`")))
    };
    let (id_at, label_at, group_at) = (column("id")?, column("label")?, place("group"));
    let row_of: HashMap<&str, usize> = ids.iter().enumerate().map(|(row, id)| (id.as_str(), row)).collect();
    let mut lines: Vec<Option<u64>> = vec![None; ids.len()];
    let mut known = Known { labels: vec![String::new(); ids.len()], groups: vec![String::new(); ids.len()] };
    for record in reader.into_records() {
        let record = record.doing(|| "failed to read")?;
        let line = record.position().map_or(0, csv::Position::line);
        let id = record[id_at].trim();
        let Some(&row) = row_of.get(id) else {
            return Err(Failure::new(format!("line {line} labels `{id}`, which has no features")));
        };
        if let Some(first) = lines[row].replace(line) {
            return Err(Failure::new(format!("line {line} labels `{id}`, as line {first} does already")));
        }
        known.labels[row] = record[label_at].trim().to_string();
        known.groups[row] = group_at.map_or(String::new(), |at| record[at].trim().to_string());
    }
    let missing: Vec<usize> = (0..ids.len()).filter(|row| lines[*row].is_none()).collect();
    match missing.first() {
        Some(row) => {
            Err(Failure::new(format!("no line for {} with features: row {row}, `{}`, first", count(missing.len(), "row"), ids[*row]))
                .help("give every row a line; an empty label says that none is known"))
        }
        None => Ok(known),
    }
}

/// Stands in for a table of images. The digest is that of the row: two parts with the same row have a copy in common, as with pictures.
fn images(features: &Features, groups: &[String]) -> Result<ImageTable, Failure> {
    let row = |((id, values), group): ((&String, ndarray::ArrayView1<'_, f32>), &String)| ImageRow {
        id: ImageId(id.clone()),
        path: String::new(),
        file: Digest::of(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
        place: Place::Whole,
        // As many numbers in a line.
        width: features.dim() as u32,
        height: 1,
        group: Some(group.clone()).filter(|group| !group.is_empty()),
    };
    ImageTable::new(features.ids.iter().zip(features.values.rows()).zip(groups).map(row).collect())
}
