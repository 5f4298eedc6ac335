//! Where pixels come from at run time: files looked up by digest, checked, decoded.
//!
//! Unaware of stores and data set roots: the caller's [`Files`] knows both.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use memmap2::Mmap;

use super::image::{MAX_FILE_BYTES, Rgb, decode_frame};
use super::layout::npy;
use super::table::{ImageRow, Place};
use crate::diagnostic::{Context, Failure, thousands};
use crate::digest::Digest;

/// Knows where the file with a given content lies on this machine.
pub trait Files: Sync {
    /// Returns a path at which a file with this content should lie.
    fn path(&self, file: &Digest) -> Result<PathBuf, Failure>;
}

/// Files at known paths.
#[derive(Clone, Debug, Default)]
pub struct KnownFiles(pub HashMap<Digest, PathBuf>);

impl Files for KnownFiles {
    fn path(&self, file: &Digest) -> Result<PathBuf, Failure> {
        self.0.get(file).cloned().ok_or_else(|| Failure::new(format!("no file with the content {} is known", file.short())))
    }
}

/// Reads pictures; the bytes are held against their digest, those of packed arrays once.
pub struct Pictures<'a> {
    files: &'a dyn Files,
    packed: Mutex<HashMap<Digest, Arc<PackedArray>>>,
}

/// A packed array whose bytes have been checked, mapped into memory: what is read again and again stays in the system's page cache, once
/// for all that read it, and goes from there when memory is short.
struct PackedArray {
    bytes: Mmap,
    shape: npy::Shape,
}

impl<'a> Pictures<'a> {
    /// Returns a reader of the pictures in `files`.
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, packed: Mutex::new(HashMap::new()) }
    }

    /// Returns the pixels of an image.
    pub fn load(&self, row: &ImageRow) -> Result<Rgb, Failure> {
        let picture = match row.place {
            Place::Whole => self.decoded(row, 0),
            Place::Frame(n) => self.decoded(row, (n as usize).saturating_sub(1)),
            Place::Row(n) => self.packed_row(&row.file, n),
            Place::Crop { x, y, side } => self.decoded(row, 0).map(|p| p.cut_around(x.into(), y.into(), side as usize)),
        };
        picture.map_err(|failure| failure.while_doing(format!("image `{}`", row.id)))
    }

    fn decoded(&self, row: &ImageRow, frame: usize) -> Result<Rgb, Failure> {
        let path = self.files.path(&row.file)?;
        let what = || format!("`{}`", path.display());
        let bytes = read_file(&path)?;
        let found = Digest::of(&bytes);
        if found != row.file {
            return Err(changed(&path, &row.file, &found));
        }
        decode_frame(&bytes, frame).map_err(|failure| failure.while_doing(what()))
    }

    fn packed_row(&self, digest: &Digest, row: u32) -> Result<Rgb, Failure> {
        let packed = self.open_packed(digest)?;
        let shape = &packed.shape;
        if row as usize >= shape.images {
            return Err(Failure::new(format!("row {row} lies beyond the {} of its array", thousands(shape.images))));
        }
        let at = shape.data_at as usize + row as usize * shape.image_bytes();
        let bytes = packed.bytes.get(at..at + shape.image_bytes());
        let bytes = bytes.ok_or_else(|| Failure::new(format!("the array is cut off within row {row}")))?;
        match shape.channels {
            1 => Rgb::from_grey(shape.width, shape.height, bytes),
            _ => Rgb::new(shape.width, shape.height, bytes.to_vec()),
        }
    }

    fn open_packed(&self, digest: &Digest) -> Result<Arc<PackedArray>, Failure> {
        // The lock is held while hashing, so that threads that ask at once wait for one check.
        let mut open = self.packed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(packed) = open.get(digest) {
            return Ok(Arc::clone(packed));
        }
        let path = self.files.path(digest)?;
        let what = || format!("failed to read `{}`", path.display());
        let found = Digest::of_file(&path).doing(what)?;
        if found != *digest {
            return Err(changed(&path, digest, &found));
        }
        let mut file = File::open(&path).doing(what)?;
        let shape = npy::Shape::read(&mut file).map_err(|failure| failure.while_doing(what()))?;
        // SAFETY: a map is sound while nobody writes to the file. Arrays are objects of the store, which are never written again, only
        // replaced; their bytes have just been held against their digest.
        let bytes = unsafe { Mmap::map(&file) }.doing(what)?;
        let packed = Arc::new(PackedArray { bytes, shape });
        open.insert(*digest, Arc::clone(&packed));
        Ok(packed)
    }
}

/// Reads a file that is not larger than a picture file may be.
pub fn read_file(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let what = || format!("failed to read `{}`", path.display());
    let length = std::fs::metadata(path).doing(what)?.len();
    if length > MAX_FILE_BYTES {
        let most = thousands(MAX_FILE_BYTES as usize);
        return Err(Failure::new(format!("`{}` has {} bytes: expected at most {most}", path.display(), thousands(length as usize))));
    }
    std::fs::read(path).doing(what)
}

fn changed(path: &std::path::Path, was: &Digest, is: &Digest) -> Failure {
    Failure::new(format!("`{}` has changed: its content is {}, expected {}", path.display(), is.short(), was.short()))
        .help("run again, so that the data set is scanned anew")
}
