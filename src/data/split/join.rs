//! Images by what lists call them: CSV files of ids, paths or file names, joined by name and not by where the images lay.

use std::collections::HashMap;
use std::path::Path;

use crate::data::layout::class_alias;
use crate::data::names::{ImageId, undecorated};
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::{Context, Failure, count, thousands};

/// Finds images by what lists call them.
pub struct Join<'a> {
    images: &'a ImageTable,
    /// File names without their ending -> rows.
    by_stem: HashMap<String, Vec<usize>>,
    /// The same without what a publisher added to some of them.
    by_undecorated: HashMap<String, Vec<usize>>,
}

/// What a list names.
pub struct Listed {
    /// The images, in the order of the list.
    pub ids: Vec<ImageId>,
    /// The class of each as the list has it; empty where it says none.
    pub labels: Vec<String>,
    /// The fold of each as the list has it; empty where it says none.
    pub folds: Vec<String>,
    /// Names that are no image's, with why.
    pub unknown: Vec<(String, &'static str)>,
}

impl Listed {
    /// Refuses names that are no image's, and labels other than those that the images have.
    pub fn check(&self, labels: &Labels) -> Result<(), Failure> {
        if let Some(missing) = self.missing() {
            return Err(Failure::new(missing));
        }
        let mut contradicting = Vec::new();
        for (id, said) in self.ids.iter().zip(&self.labels).filter(|(_, said)| !said.is_empty()) {
            let Some(known) = labels.class_of(id).map(|class| labels.classes()[class].as_str()) else { continue };
            if said != known && class_alias(said) != Some(known) {
                contradicting.push(format!("`{id}` is `{said}` there and `{known}` here"));
            }
        }
        match contradicting.first() {
            None => Ok(()),
            Some(first) => {
                let what = count(contradicting.len(), "label");
                Err(Failure::new(format!("{what} not as in the data set: {first}"))
                    .help("the list belongs to another release, or class names differ"))
            }
        }
    }

    /// Returns "2 of 10 listed images not found among the images, `x.jpg` (unknown) first"; nothing where all were found.
    pub fn missing(&self) -> Option<String> {
        let (name, why) = self.unknown.first()?;
        let of = count(self.ids.len() + self.unknown.len(), "listed image");
        Some(format!("{} of {of} not found among the images, `{name}` ({why}) first", thousands(self.unknown.len())))
    }
}

/// The last part of a path without its ending.
pub fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 5 => stem,
        _ => name,
    }
}

impl<'a> Join<'a> {
    /// Prepares to find these images.
    pub fn of(images: &'a ImageTable) -> Self {
        let (mut by_stem, mut by_undecorated) = (HashMap::<String, Vec<usize>>::new(), HashMap::<String, Vec<usize>>::new());
        for (row, image) in images.rows().iter().enumerate() {
            let stem = stem(image.id.as_str());
            by_stem.entry(stem.to_string()).or_default().push(row);
            by_undecorated.entry(undecorated(stem).to_string()).or_default().push(row);
        }
        Self { images, by_stem, by_undecorated }
    }

    /// Finds the image: by id, else by file name, else by the longest common ending of the path.
    fn find(&self, name: &str) -> Result<&'a ImageId, &'static str> {
        let row = |row: usize| &self.images.rows()[row].id;
        if let Some(at) = self.images.position(&ImageId::from(name)) {
            return Ok(row(at));
        }
        let stem = stem(name);
        match self.by_stem.get(stem).or_else(|| self.by_undecorated.get(undecorated(stem))).map_or(&[][..], Vec::as_slice) {
            [] => Err("unknown"),
            [only] => Ok(row(*only)),
            several => {
                let ends_alike = |id: &str| name.ends_with(&format!("/{id}")) || id.ends_with(&format!("/{name}"));
                match several.iter().filter(|r| ends_alike(row(**r).as_str())).collect::<Vec<_>>()[..] {
                    [only] => Ok(row(*only)),
                    _ => Err("ambiguous"),
                }
            }
        }
    }

    /// Reads a list: CSV, its columns apart by commas or semicolons.
    ///
    /// # Errors
    /// When the file cannot be read or has no column of images.
    pub fn read(&self, file: &Path) -> Result<Listed, Failure> {
        let text = std::fs::read(file).doing(|| "failed to read")?;
        let head = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let separator = if head.contains(&b';') && !head.contains(&b',') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(separator).from_reader(&text[..]);
        let columns = reader.headers().doing(|| "failed to read the column names")?.clone();
        let at = |names: &[&str]| columns.iter().position(|c| names.contains(&c.trim_start_matches('\u{feff}')));
        let Some(name_at) = at(&["id", "image", "Image Path", "file-name"]) else {
            let found = columns.iter().collect::<Vec<_>>().join("`, `");
            return Err(Failure::new(format!("no column `id` or `image`: found `{found}`")));
        };
        let label_at = at(&["label", "Label", "class-name"]);
        let fold_at = at(&["split-index", "fold"]);
        let mut listed = Listed { ids: Vec::new(), labels: Vec::new(), folds: Vec::new(), unknown: Vec::new() };
        for record in reader.into_records() {
            let record = record.doing(|| "failed to read")?;
            let name = record.get(name_at).unwrap_or_default();
            match self.find(name) {
                Ok(id) => {
                    listed.ids.push(id.clone());
                    let text = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default().to_string();
                    listed.labels.push(text(label_at));
                    listed.folds.push(text(fold_at).trim().to_string());
                }
                Err(why) => listed.unknown.push((name.to_string(), why)),
            }
        }
        Ok(listed)
    }
}
