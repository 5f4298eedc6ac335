//! Which images there are and where each one's pixels are found.
//!
//! Holds names, relative paths and digests; unaware of labels and of where on this machine anything lies.

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

use super::parts::IdList;
use super::text;
use crate::data::names::{ImageId, path_of_text};
use crate::diagnostic::{Context, Failure, count};
use crate::digest::Digest;

/// Where in its file an image lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The whole file is the picture.
    Whole,
    /// One of several pictures in the file, counted from 1 as DICOM counts its frames.
    Frame(u32),
    /// A row of a packed array (see `Packed`).
    Row(u32),
    /// The square of `side` pixels around a centre; outside, the nearest edge pixel repeats.
    Crop { x: i32, y: i32, side: u32 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Frame(frame) => write!(f, "frame:{frame}"),
            Self::Row(row) => write!(f, "row:{row}"),
            Self::Crop { x, y, side } => write!(f, "crop:{x}:{y}:{side}"),
        }
    }
}

/// The largest side of a cut: as many pixels as the largest picture that is decoded.
const MAX_SIDE: u32 = 1 << 14;

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no place in a file: expected `whole`, `frame:N`, `row:N` or `crop:X:Y:SIDE`");
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            ["whole"] => Ok(Self::Whole),
            ["frame", frame] => frame.parse().ok().filter(|n| *n > 0).map(Self::Frame).ok_or_else(bad),
            ["row", row] => row.parse().map(Self::Row).map_err(|_| bad()),
            ["crop", x, y, side] => match (x.parse(), y.parse(), side.parse()) {
                (Ok(x), Ok(y), Ok(side)) if (1..=MAX_SIDE).contains(&side) => Ok(Self::Crop { x, y, side }),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    /// Its name, unique in the table.
    pub id: ImageId,
    /// The file's path below the data set's root, as [`text_of_path`](crate::data::text_of_path) writes it.
    pub path: String,
    /// The digest of the file that holds its bytes.
    pub file: Digest,
    /// Where in that file it lies.
    pub place: Place,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The patient, slide or lesion it belongs to: images of one group never lie in two parts of a grouped split.
    pub group: Option<String>,
}

/// The images of a data set, sorted by id, each id once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTable {
    rows: Vec<ImageRow>,
}

const HEADER: [&str; 7] = ["id", "path", "file", "place", "width", "height", "group"];

impl ImageTable {
    /// Sorts the rows by id; two rows of one id are an error.
    pub fn new(mut rows: Vec<ImageRow>) -> Result<Self, Failure> {
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        let doubled: Vec<&str> = rows.windows(2).filter(|w| w[0].id == w[1].id).map(|w| w[0].id.as_str()).collect();
        if let Some(first) = doubled.first() {
            return Err(Failure::new(format!("{} used twice, `{first}` first", count(doubled.len(), "image id"))));
        }
        if let Some(row) = rows.iter().find(|r| r.id.as_str().is_empty() || r.width == 0 || r.height == 0) {
            return Err(Failure::new(format!("image `{}` of {} x {} pixels has no name or no pixels", row.id, row.width, row.height)));
        }
        if let Some(row) = rows.iter().find(|r| r.group.as_deref() == Some("")) {
            return Err(Failure::new(format!("image `{}` has an empty group name", row.id)));
        }
        Ok(Self { rows })
    }

    /// Returns the rows, sorted by id.
    pub fn rows(&self) -> &[ImageRow] {
        &self.rows
    }

    /// Returns how many images there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the number of the row with this id.
    pub fn position(&self, id: &ImageId) -> Option<usize> {
        self.rows.binary_search_by(|row| row.id.cmp(id)).ok()
    }

    /// Returns all ids.
    pub fn ids(&self) -> IdList {
        IdList::new(self.rows.iter().map(|row| row.id.clone()).collect()).unwrap_or_default()
    }

    /// Returns the rows with the given ids; ids that are not here are an error.
    pub fn select(&self, ids: &IdList) -> Result<Self, Failure> {
        let mut rows = Vec::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids.iter() {
            match self.position(id) {
                Some(row) => rows.push(self.rows[row].clone()),
                None => unknown.push(id.as_str()),
            }
        }
        match unknown.first() {
            Some(first) => Err(Failure::new(format!("{} not among the images, `{first}` first", count(unknown.len(), "listed id")))),
            None => Ok(Self { rows }),
        }
    }

    /// Puts several tables together; an id may occur in only one of them.
    pub fn union(tables: &[Self]) -> Result<Self, Failure> {
        Self::new(tables.iter().flat_map(|t| t.rows.iter().cloned()).collect())
    }

    /// Returns the files outside the store that hold pixels, by digest: a path below the data set's root for each.
    pub fn outside_files(&self) -> HashMap<Digest, PathBuf> {
        let outside = self.rows.iter().filter(|row| !matches!(row.place, Place::Row(_)));
        let mut files = HashMap::new();
        for row in outside {
            files.entry(row.file).or_insert_with(|| path_of_text(&row.path));
        }
        files
    }

    /// Returns the digests of the packed arrays that rows lie in.
    pub fn packed_files(&self) -> Vec<Digest> {
        let mut files: Vec<Digest> = self.rows.iter().filter(|r| matches!(r.place, Place::Row(_))).map(|r| r.file).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Writes the table as CSV.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut out = text::writer(out);
        text::line(&mut out, &HEADER)?;
        for r in &self.rows {
            let (file, place, width, height) = (r.file.hex(), r.place.to_string(), r.width.to_string(), r.height.to_string());
            text::line(&mut out, &[r.id.as_str(), &r.path, &file, &place, &width, &height, r.group.as_deref().unwrap_or("")])?;
        }
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written; anything else is an error with its line.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut rows: Vec<ImageRow> = Vec::new();
        for (at, line) in text::lines(from, "image table", &HEADER)? {
            let row = row(&line).doing(|| format!("line {at} of the image table"))?;
            if rows.last().is_some_and(|last| last.id >= row.id) {
                return Err(Failure::new(format!("line {at} of the image table: `{}` is not in its place by id", row.id)));
            }
            rows.push(row);
        }
        Self::new(rows)
    }
}

fn row(line: &csv::StringRecord) -> Result<ImageRow, String> {
    let size = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no size in pixels"));
    Ok(ImageRow {
        id: ImageId::from(&line[0]),
        path: line[1].to_string(),
        file: line[2].parse().map_err(|e: crate::digest::NotADigest| e.to_string())?,
        place: line[3].parse()?,
        width: size(&line[4])?,
        height: size(&line[5])?,
        group: Some(line[6].to_string()).filter(|group| !group.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn image(id: &str) -> ImageRow {
        ImageRow {
            id: id.into(),
            path: format!("odd \"dir\",/{id}.jpg"),
            file: Digest::of(id.as_bytes()),
            place: Place::Crop { x: -3, y: 9, side: 80 },
            width: 80,
            height: 80,
            group: None,
        }
    }

    #[test]
    fn a_table_survives_its_text() {
        let mut second = image("b");
        second.group = Some("slide 7".into());
        second.place = Place::Row(4);
        let third = ImageRow { place: Place::Frame(12), ..image("c#12") };
        let table = ImageTable::new(vec![second, third, image("a")]).unwrap();
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        assert_eq!(ImageTable::read(&text[..]).unwrap(), table);
        assert_eq!(table.rows()[0].id.as_str(), "a");
    }

    #[test]
    fn a_damaged_text_is_refused_with_its_line() {
        let mut text = Vec::new();
        ImageTable::new(vec![image("a"), image("b")]).unwrap().write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let said = |text: String| ImageTable::read(text.as_bytes()).unwrap_err().message().to_string();
        assert!(said(text.replace(":80", ":16385")).contains("`crop:-3:9:16385` is no place"));
        assert!(said(text.replace("crop:", "crap:")).starts_with("line 2 of the image table: `crap:-3:9:80` is no place"));
        assert!(said(text.replace("\nb,", "\na,")).contains("line 3 of the image table: `a` is not in its place"));
        assert!(said(text.replace("id,path", "path,id")).contains("expected `id,path,file,place,width,height,group`"));
        assert!(said(String::new()).contains("is empty"));
    }

    #[test]
    fn an_id_used_twice_is_refused() {
        assert_eq!(ImageTable::new(vec![image("a"), image("a")]).unwrap_err().message(), "1 image id used twice, `a` first");
    }

    #[test]
    fn selecting_an_unknown_id_says_which() {
        let table = ImageTable::new(vec![image("a"), image("b")]).unwrap();
        let ids = IdList::new(vec!["b".into(), "c".into()]).unwrap();
        assert_eq!(table.select(&ids).unwrap_err().message(), "1 listed id not among the images, `c` first");
    }
}
