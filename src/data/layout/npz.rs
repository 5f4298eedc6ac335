//! Arrays in one `.npz` file, as MedMNIST publishes them (<https://medmnist.com>): `train_images`, `train_labels`, `val_*`, `test_*`.
//!
//! The pictures are unpacked into an array of their own, so that a corrected label leaves the pictures' digest as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::npy::{Header, Shape, Writer};
use super::scan::{Ingested, Packed, Scan, hash_file};
use crate::data::names::ImageId;
use crate::data::table::{ImageRow, ImageTable, Labels, Place};
use crate::diagnostic::{Context, Failure, count, thousands};
use crate::params::DataPath;

crate::params! {
    /// A MedMNIST-style `.npz` file: 8-bit grey or RGB pictures of one size and whole-number labels, stored or deflated.
    ///
    /// An image's id is its part and number: `train_00017`.
    pub struct Npz {
        pub file: DataPath = DataPath::default(),
        /// The names of classes 0, 1, ...; by default the numbers.
        pub classes: Option<Vec<String>> = None,
    }
}

const PARTS: [&str; 3] = ["train", "val", "test"];
type Archive = ZipArchive<BufReader<File>>;

impl Npz {
    pub(super) fn scan(&self, file: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let opened = File::open(file).doing(|| format!("failed to read `{}`", file.display()))?;
        let mut archive = ZipArchive::new(BufReader::new(opened)).doing(|| "not an `.npz` file")?;
        let mut writer: Option<(Writer, Shape)> = None;
        let (mut ids, mut classes_of) = (Vec::new(), BTreeMap::new());
        for part in PARTS {
            let before = ids.len();
            unpack(&mut archive, part, &mut writer, &mut ids, how)?;
            let labels = labels(&mut archive, part)?;
            if let Some(labels) = labels {
                if labels.len() != ids.len() - before {
                    let (images, labels) = (count(ids.len() - before, "image"), count(labels.len(), "label"));
                    return Err(Failure::new(format!("`{part}` has {images} but {labels}")));
                }
                classes_of.extend(ids[before..].iter().cloned().zip(labels));
            }
        }
        let Some((writer, shape)) = writer else {
            let names: Vec<String> = archive.file_names().filter_map(|n| n.ok().map(|n| n.into_owned())).collect();
            return Err(Failure::new(format!("no pictures: expected `train_images` or `test_images`, found `{}`", names.join("`, `"))));
        };
        let path = writer.finish()?;
        let digest = hash_file(&path)?;
        let row = |(n, id): (usize, &ImageId)| ImageRow {
            id: id.clone(),
            path: String::new(),
            file: digest,
            place: Place::Row(n as u32),
            width: shape.width as u32,
            height: shape.height as u32,
            group: None,
        };
        let images = ImageTable::new(ids.iter().enumerate().map(row).collect())?;
        let labels = (!classes_of.is_empty()).then(|| self.named(classes_of)).transpose()?;
        Ok(Ingested { images, labels, packed: Some(Packed { path, digest }), notes: Vec::new(), differences: Vec::new() })
    }

    fn named(&self, of: BTreeMap<ImageId, usize>) -> Result<Labels, Failure> {
        let n_classes = of.values().max().map_or(0, |most| most + 1);
        let width = n_classes.saturating_sub(1).to_string().len();
        let classes = match &self.classes {
            Some(classes) if classes.len() < n_classes => {
                return Err(Failure::new(format!(
                    "`classes` names {}: the labels go up to {}",
                    count(classes.len(), "class"),
                    n_classes - 1
                )));
            }
            Some(classes) => classes.clone(),
            None => (0..n_classes).map(|class| format!("{class:0width$}")).collect(),
        };
        Labels::new(classes, of)
    }
}

/// Opens the array `name`; absent is not an error.
fn array<'a>(archive: &'a mut Archive, name: &str) -> Result<Option<impl Read + 'a>, Failure> {
    match archive.by_name(&format!("{name}.npy")) {
        Ok(entry) => Ok(Some(entry)),
        Err(zip::result::ZipError::FileNotFound) => Ok(None),
        Err(error) => Err(Failure::new(format!("failed to read `{name}`: {error}"))),
    }
}

fn unpack(
    archive: &mut Archive,
    part: &str,
    writer: &mut Option<(Writer, Shape)>,
    ids: &mut Vec<ImageId>,
    how: &Scan,
) -> Result<(), Failure> {
    let name = format!("{part}_images");
    let Some(mut entry) = array(archive, &name)? else { return Ok(()) };
    let shape = Shape::read(&mut entry).map_err(|failure| failure.while_doing(format!("`{name}`")))?;
    let (out, first) = match writer {
        Some((out, first)) => (out, first),
        None => {
            let out = Writer::create(how.packed, shape.height, shape.width, shape.channels)?;
            let (out, first) = writer.insert((out, shape.clone()));
            (out, first)
        }
    };
    if (shape.height, shape.width, shape.channels) != (first.height, first.width, first.channels) {
        return Err(Failure::new(format!("`{name}` holds pictures of another size than the parts before it")));
    }
    let digits = shape.images.saturating_sub(1).to_string().len().max(5);
    let mut pixels = vec![0; shape.image_bytes()];
    for n in 0..shape.images {
        if n % 1024 == 0 {
            how.monitor.progress(n as u64, shape.images as u64, "image", &[]);
            if how.monitor.interrupted() {
                return Err(Failure::interrupted());
            }
        }
        let cut_off = || format!("`{name}` ends before image {} of {}", thousands(n), thousands(shape.images));
        entry.read_exact(&mut pixels).doing(cut_off)?;
        out.push(&pixels)?;
        ids.push(ImageId(format!("{part}_{n:0digits$}")));
    }
    Ok(())
}

/// Reads the labels of a part: whole numbers of any width, shape N or N x 1.
fn labels(archive: &mut Archive, part: &str) -> Result<Option<Vec<usize>>, Failure> {
    let name = format!("{part}_labels");
    let Some(mut entry) = array(archive, &name)? else { return Ok(None) };
    let header = Header::read(&mut entry).map_err(|failure| failure.while_doing(format!("`{name}`")))?;
    let n = match header.shape[..] {
        [n] | [n, 1] => n,
        _ => {
            return Err(Failure::new(format!("`{name}` has the shape {:?}: expected one label for each image", header.shape))
                .help("sets with several labels for each image cannot be used"));
        }
    };
    let bytes = match header.descr.as_str() {
        "|u1" | "|i1" | "|b1" | "<u1" | "<i1" | "<b1" => 1,
        "<u2" | "<i2" => 2,
        "<u4" | "<i4" => 4,
        "<u8" | "<i8" => 8,
        _ => return Err(Failure::new(format!("`{name}` holds `{}`: expected whole numbers", header.descr))),
    };
    let mut out = Vec::new();
    let mut buffer = vec![0; bytes];
    for i in 0..n {
        entry.read_exact(&mut buffer).doing(|| format!("`{name}` ends before label {} of {}", thousands(i), thousands(n)))?;
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(&buffer);
        let label = u64::from_le_bytes(wide);
        if label > 9_999 {
            return Err(Failure::new(format!("`{name}` holds a class beyond 9,999 or below 0 for image {i}")));
        }
        out.push(label as usize);
    }
    Ok(Some(out))
}
