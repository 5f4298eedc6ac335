//! A CSV table with a row for each image: a column of paths, and columns for id, label and group where there are any.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::scan::{Check, Found, Ingested, OnBad, Scan, handle_bad, labels_of, look_at};
use crate::data::names::ImageId;
use crate::data::table::ImageTable;
use crate::diagnostic::{Context, Failure, count, nearest};
use crate::params::DataPath;

crate::params! {
    /// A CSV table of images.
    pub struct PathTable {
        /// The table, with a line of column names.
        pub file: DataPath = DataPath::default(),
        /// The folder that its paths start from; by default the table's own.
        pub root: DataPath = DataPath::default(),
        /// The column of paths.
        pub path: String = "path".into(),
        /// The column of ids; by default the path is the id.
        pub id: Option<String> = None,
        /// The column of labels; an empty label means none is known.
        pub label: Option<String> = None,
        /// The column of the patient, lesion or slide; an empty cell makes the image a group of its own.
        pub group: Option<String> = None,
        /// The character between columns.
        pub separator: char = ',',
        /// Text before and after the path, such as an ending that the table leaves out.
        pub prefix: String = String::new(),
        pub suffix: String = String::new(),
        /// The classes in the order wanted; by default sorted by name.
        pub classes: Option<Vec<String>> = None,
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
    }
}

impl PathTable {
    pub(super) fn check(&self) -> Vec<(&'static str, String)> {
        match self.separator.is_ascii() {
            true => Vec::new(),
            false => vec![("separator", format!("must be an ASCII character, got `{}`", self.separator))],
        }
    }

    pub(super) fn scan(&self, file: &Path, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let opened = File::open(file).doing(|| format!("failed to read `{}`", file.display()))?;
        let mut reader = csv::ReaderBuilder::new().delimiter(self.separator as u8).from_reader(opened);
        let columns = reader.headers().doing(|| "failed to read the column names")?.clone();
        let column = |name: &str| {
            columns.iter().position(|c| c.trim_start_matches('\u{feff}') == name).ok_or_else(|| {
                let failure = Failure::new(format!("no column `{name}`: found `{}`", columns.iter().collect::<Vec<_>>().join("`, `")));
                match nearest(name, columns.iter()) {
                    Some(meant) => failure.help(format!("did you mean `{meant}`?")),
                    None => failure,
                }
            })
        };
        let path_at = column(&self.path)?;
        let [id_at, label_at, group_at] = [&self.id, &self.label, &self.group].map(|name| name.as_deref().map(&column).transpose());
        let (id_at, label_at, group_at) = (id_at?, label_at?, group_at?);

        let (mut found, mut names, mut n_unlabelled, mut n_alone) = (Vec::new(), BTreeMap::new(), 0, 0);
        for record in reader.into_records() {
            let record = record.doing(|| "failed to read the table")?;
            let line = record.position().map_or(0, csv::Position::line);
            let text = format!("{}{}{}", self.prefix, &record[path_at], self.suffix);
            let relative = PathBuf::from(&text);
            if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(Failure::new(format!("line {line}: `{text}` does not lie below the root"))
                    .help("write paths relative to `root`, without `..`"));
            }
            let id = ImageId(id_at.map_or(text.clone(), |at| record[at].to_string()));
            let group = group_at.map(|at| match &record[at] {
                "" => {
                    n_alone += 1;
                    format!("alone:{id}")
                }
                group => group.to_string(),
            });
            match label_at.map(|at| record[at].to_string()) {
                Some(label) if !label.is_empty() => drop(names.insert(id.clone(), label)),
                Some(_) => n_unlabelled += 1,
                None => {}
            }
            found.push(Found { id, relative, group });
        }
        let mut notes = Vec::new();
        if n_unlabelled > 0 {
            notes.push(format!("{} without a label", count(n_unlabelled, "image")));
        }
        if n_alone > 0 {
            notes.push(format!("{} without a group, each taken as a group of its own", count(n_alone, "image")));
        }
        let (rows, bad) = look_at(root, found, self.check, how)?;
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let labels = label_at.map(|_| labels_of(&images, self.classes.clone(), names)).transpose()?;
        Ok(Ingested { images, labels, packed: None, notes, differences: Vec::new() })
    }
}
