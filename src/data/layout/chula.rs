//! Labelled cell centres in pictures of blood smears: `Dataset/N.jpg` and `Label/N.txt` with lines `x y class`.
//!
//! Chula RBC-12 (Naruenatthanaset et al. 2021, arXiv:2012.01321): 22,106 red blood cells in 12 kinds and one of uncategorised cells.
//! Each cell is cut out once and kept in a packed array, since its picture would otherwise be decoded for every cell in it.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::npy::Writer;
use super::scan::{Bad, CountDifference, Ingested, OnBad, Packed, Scan, handle_bad, hash_file, read_picture};
use crate::data::image::{Filter, Rgb, resize};
use crate::data::names::ImageId;
use crate::data::table::{ImageRow, ImageTable, Labels, Place};
use crate::diagnostic::{Context, Failure, count};
use crate::params::DataPath;
use crate::random::Stream;

crate::params! {
    /// Cells cut out of blood smears. An image's id is its picture and its line there; its group is the picture.
    pub struct Chula {
        /// The folder that holds `Dataset` and `Label`.
        pub root: DataPath = DataPath::default(),
        /// Side of the square that is cut around each centre, in pixels; outside the picture its edge repeats.
        pub crop: usize = 80,
        /// Side of the square that is kept, in pixels; 0 keeps the cut as it is.
        pub side: usize = 0,
        /// Classes that are left out: 10 is `uncategorised`.
        pub drop: Vec<usize> = vec![10],
        /// At most so many cells of each class, chosen by their ids.
        pub max_per_class: Option<usize> = None,
        pub on_bad: OnBad = OnBad::Fail,
    }
}

/// The classes and the published number of cells of each.
pub const CLASSES: [(&str, usize); 13] = [
    ("normal", 6_330),
    ("macrocyte", 689),
    ("microcyte", 461),
    ("spherocyte", 3_449),
    ("target cell", 2_753),
    ("stomatocyte", 1_996),
    ("ovalocyte", 2_140),
    ("teardrop", 307),
    ("burr cell", 785),
    ("schistocyte", 897),
    ("uncategorised", 184),
    ("hypochromia", 1_063),
    ("elliptocyte", 1_052),
];

/// A cell as its label file tells it.
#[derive(Clone, Debug)]
struct Cell {
    id: ImageId,
    picture: String,
    x: i64,
    y: i64,
    class: usize,
}

impl Chula {
    pub(super) fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if !(1..=4096).contains(&self.crop) {
            wrong.push(("crop", format!("must be 1 to 4096 pixels, got {}", self.crop)));
        }
        if self.side > 4096 {
            wrong.push(("side", format!("must be 0 to 4096 pixels, got {}", self.side)));
        }
        if let Some(class) = self.drop.iter().find(|class| **class >= CLASSES.len()) {
            wrong.push(("drop", format!("must hold classes 0 to 12, got {class}")));
        }
        wrong
    }

    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let (cells, mut notes) = self.cells(root)?;
        let mut found = [0; CLASSES.len()];
        cells.iter().for_each(|cell| found[cell.class] += 1);
        let differences = CLASSES
            .iter()
            .zip(found)
            .filter(|((_, expected), found)| expected != found)
            .map(|((class, expected), found)| CountDifference { what: class.to_string(), expected: *expected, found })
            .collect();
        let cells = self.thinned(cells);

        let side = if self.side == 0 { self.crop } else { self.side };
        let mut by_picture: BTreeMap<&str, Vec<&Cell>> = BTreeMap::new();
        cells.iter().for_each(|cell| by_picture.entry(&cell.picture).or_default().push(cell));
        let pictures: Vec<(&str, Vec<&Cell>)> = by_picture.into_iter().collect();
        let mut writer = Writer::create(how.packed, side, side, 3)?;
        let (mut kept, mut bad, mut done) = (Vec::new(), Bad::new(), 0);
        // A few pictures at a time, so that memory holds their cells and not all cells.
        for some in pictures.chunks(64) {
            if how.monitor.interrupted() {
                return Err(Failure::interrupted());
            }
            let cut: Vec<Result<Vec<Rgb>, Failure>> = some.par_iter().map(|(name, cells)| self.cut(root, name, cells, side)).collect();
            for ((name, cells), cut) in some.iter().zip(cut) {
                match cut {
                    Ok(cut) => {
                        for (cell, pixels) in cells.iter().zip(cut) {
                            kept.push((*cell, writer.push(pixels.pixels())?));
                        }
                    }
                    Err(failure) => drop(bad.insert(format!("Dataset/{name}.jpg"), failure.message().to_string())),
                }
            }
            done += some.len();
            how.monitor.progress(done as u64, pictures.len() as u64, "picture", &[("cells", kept.len() as f64)]);
        }
        handle_bad(bad, self.on_bad, &mut notes)?;
        let path = writer.finish()?;
        let digest = hash_file(&path)?;
        let images = ImageTable::new(kept.iter().map(|(cell, row)| image_row(cell, *row, digest, side)).collect())?;
        let labels = self.labels(kept.iter().map(|(cell, _)| *cell))?;
        Ok(Ingested { images, labels: Some(labels), packed: Some(Packed { path, digest }), notes, differences })
    }

    /// Reads all label files.
    fn cells(&self, root: &Path) -> Result<(Vec<Cell>, Vec<String>), Failure> {
        let listed = |name: &str| -> Result<Vec<String>, Failure> {
            let folder = root.join(name);
            let entries = std::fs::read_dir(&folder).doing(|| format!("failed to list `{}`", folder.display()))?;
            let names = entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()));
            names.collect::<Result<_, _>>().doing(|| format!("failed to list `{}`", folder.display()))
        };
        let mut stems: Vec<String> = listed("Label")?.iter().filter_map(|n| n.strip_suffix(".txt").map(str::to_string)).collect();
        stems.sort();
        let n_pictures = listed("Dataset")?.iter().filter(|n| n.ends_with(".jpg")).count();
        let mut notes = Vec::new();
        if n_pictures > stems.len() {
            notes.push(format!("{} without labels not used", count(n_pictures - stems.len(), "picture")));
        }
        let width = stems.iter().map(String::len).max().unwrap_or(0);
        let mut cells = Vec::new();
        for stem in stems {
            let path = root.join("Label").join(format!("{stem}.txt"));
            let text = std::fs::read_to_string(&path).doing(|| format!("failed to read `{}`", path.display()))?;
            for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let numbers: Option<Vec<i64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
                let (x, y, class) = match numbers.as_deref() {
                    Some([x, y, class @ 0..=12]) if x.abs().max(y.abs()) < 1 << 20 => (*x, *y, *class as usize),
                    _ => return Err(Failure::new(format!("`Label/{stem}.txt` line {}: `{line}`: expected `x y class`", n + 1))),
                };
                // Zeros in front, so that picture 10 comes after picture 9.
                let id = ImageId(format!("{stem:0>width$}-{:03}", n + 1));
                cells.push(Cell { id, picture: stem.clone(), x, y, class });
            }
        }
        Ok((cells, notes))
    }

    /// Drops classes and thins the large ones.
    fn thinned(&self, cells: Vec<Cell>) -> Vec<Cell> {
        let mut cells: Vec<Cell> = cells.into_iter().filter(|cell| !self.drop.contains(&cell.class)).collect();
        if let Some(most) = self.max_per_class {
            // Ranked by a number drawn for the id alone: which cells stay does not depend on the others' order.
            cells.sort_by_cached_key(|cell| (cell.class, Stream::new(0, "chula: thin").of(cell.id.as_str()).draws().bits()));
            let mut kept = [0; CLASSES.len()];
            cells.retain(|cell| {
                kept[cell.class] += 1;
                kept[cell.class] <= most
            });
        }
        cells.sort_by(|a, b| a.id.cmp(&b.id));
        cells
    }

    fn cut(&self, root: &Path, name: &str, cells: &[&Cell], side: usize) -> Result<Vec<Rgb>, Failure> {
        let picture = read_picture(&root.join("Dataset").join(format!("{name}.jpg")))?;
        cells
            .iter()
            .map(|cell| {
                let cut = picture.cut_around(cell.x, cell.y, self.crop);
                if side == self.crop { Ok(cut) } else { resize(&cut, side, side, Filter::Bicubic) }
            })
            .collect()
    }

    fn labels<'a>(&self, cells: impl Iterator<Item = &'a Cell>) -> Result<Labels, Failure> {
        let classes: Vec<usize> = (0..CLASSES.len()).filter(|class| !self.drop.contains(class)).collect();
        let of = cells.filter_map(|cell| Some((cell.id.clone(), classes.iter().position(|c| *c == cell.class)?))).collect();
        Labels::new(classes.iter().map(|class| CLASSES[*class].0.to_string()).collect(), of)
    }
}

fn image_row(cell: &Cell, row: u32, digest: crate::digest::Digest, side: usize) -> ImageRow {
    ImageRow {
        id: cell.id.clone(),
        path: format!("Dataset/{}.jpg", cell.picture),
        file: digest,
        place: Place::Row(row),
        width: side as u32,
        height: side as u32,
        group: Some(cell.picture.clone()),
    }
}
