//! A CSV table with a row for each image: a column of paths, and columns for id, label and group where there are any.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::scan::{Check, Found, Frames, Ingested, OnBad, Scan, handle_bad, labels_of, look_at_frames, note_frames};
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
        /// Which pictures of a file with several are taken.
        pub frames: Frames = Frames::First,
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
        let (mut found, mut names, mut n_alone) = (Vec::new(), BTreeMap::new(), 0);
        for Entry { id, relative, label, group } in self.entries(file)? {
            let group = self.group.is_some().then(|| {
                n_alone += usize::from(group.is_empty());
                if group.is_empty() { format!("alone:{id}") } else { group }
            });
            if !label.is_empty() {
                names.insert(id.clone(), label);
            }
            found.push(Found { id, relative, group });
        }
        let mut notes = Vec::new();
        if self.label.is_some() && names.len() < found.len() {
            notes.push(format!("{} without a label", count(found.len() - names.len(), "image")));
        }
        if n_alone > 0 {
            notes.push(format!("{} without a group, each taken as a group of its own", count(n_alone, "image")));
        }
        let (rows, bad, n_several) = look_at_frames(root, found, self.check, self.frames, how)?;
        note_frames(n_several, self.frames, &mut notes);
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let labels = self.label.is_some().then(|| labels_of(&images, self.classes.clone(), &names)).transpose()?;
        Ok(Ingested { images, labels, packed: None, notes, differences: Vec::new() })
    }

    /// Returns the pictures that the table names, below its root.
    pub(super) fn pictures(&self, file: &Path) -> Result<Vec<PathBuf>, Failure> {
        Ok(self.entries(file)?.into_iter().map(|entry| entry.relative).collect())
    }

    fn entries(&self, file: &Path) -> Result<Vec<Entry>, Failure> {
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
        let mut entries = Vec::new();
        for record in reader.into_records() {
            let record = record.doing(|| "failed to read the table")?;
            let cell = |at: Option<usize>| at.map_or(String::new(), |at| record[at].to_string());
            let text = format!("{}{}{}", self.prefix, &record[path_at], self.suffix);
            let relative = PathBuf::from(&text);
            if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                let line = record.position().map_or(0, csv::Position::line);
                return Err(Failure::new(format!("line {line}: `{text}` does not lie below the root"))
                    .help("write paths relative to `root`, without `..`"));
            }
            let id = ImageId(if id_at.is_some() { cell(id_at) } else { text });
            entries.push(Entry { id, relative, label: cell(label_at), group: cell(group_at) });
        }
        Ok(entries)
    }
}

/// A row of the table; a label or group that it does not give is empty.
struct Entry {
    id: ImageId,
    relative: PathBuf,
    label: String,
    group: String,
}
