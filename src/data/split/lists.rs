//! Parts as published lists give them: CSV files of images, joined by what the images are called and not by where they lay.

use std::collections::HashMap;
use std::path::Path;

use super::leaks::check_copies;
use super::outcome::{Division, TEST, TRAIN, conclude};
use crate::data::names::ImageId;
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::{Context, Failure, count};
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
                join.list(place.as_ref(), labels).map_err(|f| f.while_doing(format!("list `{}`", place.as_ref().display())))?;
            parts[part] = ids;
            notes.extend(note);
        }
        if self.test.is_none() {
            let named: std::collections::HashSet<&ImageId> = parts.iter().flatten().collect();
            let rest: Vec<ImageId> = labels.iter().map(|(id, _)| id).filter(|id| !named.contains(id)).cloned().collect();
            notes.push(format!("test is the {} that no list names", count(rest.len(), "labelled image")));
            parts[TEST] = rest;
        }
        self.settle_overlap(&mut parts, &mut notes)?;
        let covered: std::collections::HashSet<&ImageId> = parts.iter().flatten().collect();
        let uncovered: Vec<&ImageId> = labels.iter().map(|(id, _)| id).filter(|id| !covered.contains(id)).collect();
        if let Some(first) = uncovered.first() {
            let line = format!("{} in no list, `{first}` first", count(uncovered.len(), "labelled image"));
            if !self.allow_uncovered {
                return Err(Failure::new(line).help("leave `test` out to test on them, or leave them out with `allow_uncovered: true`"));
            }
            notes.push(line);
        }
        check_copies(&parts, images, self.allow_copies, &mut notes)?;
        conclude(parts, images, labels, None, notes)
    }

    /// Refuses images in two lists, or takes them out of test.
    fn settle_overlap(&self, parts: &mut [Vec<ImageId>; 3], notes: &mut Vec<String>) -> Result<(), Failure> {
        let train: std::collections::HashSet<ImageId> = parts[TRAIN].iter().cloned().collect();
        let shared: Vec<&ImageId> = parts[TEST].iter().filter(|id| train.contains(id)).collect();
        let Some(first) = shared.first() else { return Ok(()) };
        let n_test = parts[TEST].len();
        let line = format!("{} of the {} test images are in the train list too, `{first}` first", shared.len(), n_test);
        if !self.overlap_to_train {
            return Err(Failure::new(line)
                .help("leave `test` out to test on all labelled images that train does not name, or keep them in train alone with `overlap_to_train: true`"));
        }
        notes.push(format!("{line}; kept in train alone"));
        parts[TEST].retain(|id| !train.contains(id));
        Ok(())
    }
}

/// Finds images by what lists call them.
struct Join<'a> {
    images: &'a ImageTable,
    /// File names without their ending -> rows.
    by_stem: HashMap<String, Vec<usize>>,
}

/// The last part of a path without its ending.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 5 => stem,
        _ => name,
    }
}

impl<'a> Join<'a> {
    fn of(images: &'a ImageTable) -> Self {
        let mut by_stem: HashMap<String, Vec<usize>> = HashMap::new();
        for (row, image) in images.rows().iter().enumerate() {
            by_stem.entry(stem(image.id.as_str()).to_string()).or_default().push(row);
        }
        Self { images, by_stem }
    }

    /// Finds the image: by id, else by file name, else by the longest common ending of the path.
    fn find(&self, name: &str) -> Result<&'a ImageId, &'static str> {
        let row = |row: usize| &self.images.rows()[row].id;
        if let Some(at) = self.images.position(&ImageId::from(name)) {
            return Ok(row(at));
        }
        match self.by_stem.get(stem(name)).map_or(&[][..], Vec::as_slice) {
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

    /// Reads a list; labels that it gives are held against the known ones.
    fn list(&self, file: &Path, labels: &Labels) -> Result<(Vec<ImageId>, Option<String>), Failure> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(file).doing(|| "failed to read")?;
        let columns = reader.headers().doing(|| "failed to read the column names")?.clone();
        let at = |names: &[&str]| columns.iter().position(|c| names.contains(&c.trim_start_matches('\u{feff}')));
        let Some(name_at) = at(&["id", "image", "Image Path", "file-name"]) else {
            let found = columns.iter().collect::<Vec<_>>().join("`, `");
            return Err(Failure::new(format!("no column `id` or `image`: found `{found}`")));
        };
        let label_at = at(&["label", "Label", "class-name"]);
        let (mut ids, mut wrong, mut contradicting) = (Vec::new(), Vec::new(), Vec::new());
        for record in reader.into_records() {
            let record = record.doing(|| "failed to read")?;
            let name = record.get(name_at).unwrap_or_default();
            match self.find(name) {
                Ok(id) => {
                    let says = label_at.and_then(|at| record.get(at)).filter(|label| !label.is_empty());
                    let known = labels.class_of(id).map(|class| labels.classes()[class].as_str());
                    if says.is_some() && known.is_some() && says != known {
                        contradicting.push(format!(
                            "`{id}` is `{}` there and `{}` here",
                            says.unwrap_or_default(),
                            known.unwrap_or_default()
                        ));
                    }
                    ids.push(id.clone());
                }
                Err(why) => wrong.push((name.to_string(), why)),
            }
        }
        if let Some((name, why)) = wrong.first() {
            let of = count(ids.len() + wrong.len(), "listed image");
            return Err(Failure::new(format!("{} of {of} not found among the images, `{name}` ({why}) first", wrong.len())));
        }
        let n_listed = ids.len();
        ids.sort();
        ids.dedup();
        let twice = n_listed - ids.len();
        if let Some(first) = contradicting.first() {
            let what = count(contradicting.len(), "label");
            return Err(Failure::new(format!("{what} not as in the data set: {first}"))
                .help("the list belongs to another release, or class names differ"));
        }
        Ok((ids, (twice > 0).then(|| format!("{} listed more than once in `{}`", count(twice, "image"), stem(&file.to_string_lossy())))))
    }
}
