//! Where pixels come from at run time: files looked up by digest, checked, decoded.
//!
//! Unaware of stores and data set roots: the caller's [`Files`] knows both.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::Mmap;

use super::image::{Filter, MAX_FILE_BYTES, Rgb, Scaler, decode, decode_draft, decode_frame};
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
    recent: Mutex<Recent>,
}

/// A packed array whose bytes have been checked, mapped into memory: what is read again and again stays in the system's page cache, once
/// for all that read it, and goes from there when memory is short.
struct PackedArray {
    bytes: Mmap,
    shape: npy::Shape,
}

/// The files of several frames that were read last, whole and checked: frames of one file are mostly asked for one after the other.
#[derive(Default)]
struct Recent(VecDeque<(Digest, Arc<Vec<u8>>)>);

impl Recent {
    /// The most bytes that all of them together may have.
    const MOST: usize = 256 << 20;

    fn get(&self, file: &Digest) -> Option<Arc<Vec<u8>>> {
        self.0.iter().find(|(digest, _)| digest == file).map(|(_, bytes)| Arc::clone(bytes))
    }

    /// Keeps a file in the place of the oldest ones: one for each thread, which go through different files side by side.
    fn keep(&mut self, file: Digest, bytes: Arc<Vec<u8>>) {
        self.0.retain(|(digest, _)| *digest != file);
        self.0.push_back((file, bytes));
        let total = |kept: &VecDeque<(Digest, Arc<Vec<u8>>)>| kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        while self.0.len() > rayon::current_num_threads() || total(&self.0) > Self::MOST {
            self.0.pop_front();
        }
    }
}

impl<'a> Pictures<'a> {
    /// Returns a reader of the pictures in `files`.
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, packed: Mutex::default(), recent: Mutex::default() }
    }

    /// Returns the pixels of an image.
    pub fn load(&self, row: &ImageRow) -> Result<Rgb, Failure> {
        let picture = match row.place {
            Place::Whole => self.decoded(&row.file, decode),
            Place::Frame(n) => self.decoded_frame(&row.file, (n as usize).saturating_sub(1)),
            Place::Row(n) => self.packed_row(&row.file, n),
            Place::Crop { x, y, side } => self.decoded(&row.file, decode).map(|p| p.cut_around(x.into(), y.into(), side as usize)),
        };
        picture.map_err(of(row))
    }

    /// Writes the pixels of an image, stretched to the size of `to`, into `to`; the aspect ratio is not kept.
    pub fn stretched(&self, row: &ImageRow, filter: Filter, scaler: &mut Scaler, to: &mut Rgb) -> Result<(), Failure> {
        let wanted = [to.width(), to.height()];
        let picture = match (row.place, filter) {
            (Place::Whole, Filter::Draft) => self.decoded(&row.file, |bytes| decode_draft(bytes, wanted)).map_err(of(row)),
            _ => self.load(row),
        };
        scaler.resize(&picture?, to, filter)
    }

    fn decoded(&self, file: &Digest, decode: impl FnOnce(&[u8]) -> Result<Rgb, Failure>) -> Result<Rgb, Failure> {
        let path = self.files.path(file)?;
        decode(&checked(&path, file)?).map_err(|failure| failure.while_doing(format!("`{}`", path.display())))
    }

    fn decoded_frame(&self, file: &Digest, frame: usize) -> Result<Rgb, Failure> {
        let path = self.files.path(file)?;
        let known = locked(&self.recent).get(file);
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                // Not under the lock: threads read different files.
                let bytes = Arc::new(checked(&path, file)?);
                locked(&self.recent).keep(*file, Arc::clone(&bytes));
                bytes
            }
        };
        decode_frame(&bytes, frame).map_err(|failure| failure.while_doing(format!("`{}`", path.display())))
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
        let mut open = locked(&self.packed);
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

/// Says which image it was that failed.
fn of(row: &ImageRow) -> impl Fn(Failure) -> Failure {
    move |failure| failure.while_doing(format!("image `{}`", row.id))
}

/// What is held is whole at any time, whoever panicked meanwhile.
fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a file whose content must be this.
fn checked(path: &Path, file: &Digest) -> Result<Vec<u8>, Failure> {
    let bytes = read_file(path)?;
    let found = Digest::of(&bytes);
    if found != *file {
        return Err(changed(path, file, &found));
    }
    Ok(bytes)
}

/// Reads a file that is not larger than a picture file may be.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let what = || format!("failed to read `{}`", path.display());
    let length = std::fs::metadata(path).doing(what)?.len();
    if length > MAX_FILE_BYTES {
        let most = thousands(MAX_FILE_BYTES as usize);
        return Err(Failure::new(format!("`{}` has {} bytes: expected at most {most}", path.display(), thousands(length as usize))));
    }
    std::fs::read(path).doing(what)
}

fn changed(path: &Path, was: &Digest, is: &Digest) -> Failure {
    Failure::new(format!("`{}` has changed: its content is {}, expected {}", path.display(), is.short(), was.short()))
        .help("run again, so that the data set is scanned anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_frames_are_kept_one_for_each_thread_and_not_beyond_their_limit() {
        let digest = |i: u8| Digest::of(&[i]);
        let held = |recent: &Recent| recent.0.iter().map(|(digest, _)| *digest).collect::<Vec<_>>();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut recent = Recent::default();
        pool.install(|| {
            (0..3).for_each(|i| recent.keep(digest(i), Arc::new(vec![i])));
            assert_eq!(held(&recent), [digest(1), digest(2)]);
            // Read by two threads at once, it is there once.
            recent.keep(digest(1), Arc::new(vec![1]));
            assert_eq!(held(&recent), [digest(2), digest(1)]);
            assert_eq!(recent.get(&digest(1)).as_deref(), Some(&vec![1]));
            assert_eq!(recent.get(&digest(0)), None);
            recent.keep(digest(4), Arc::new(vec![0; Recent::MOST]));
            assert_eq!(held(&recent), [digest(4)]);
            recent.keep(digest(5), Arc::new(vec![0; Recent::MOST + 1]));
            assert!(held(&recent).is_empty());
        });
    }
}
