//! Which files lie below a folder, which of them are pictures, and how they begin.
//!
//! Unaware of what a layout makes of them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::image::is_dicom;
use crate::data::names::{ImageId, text_of_path};
use crate::diagnostic::{Context, Failure};

/// Returns all files below `root`, sorted by path; hidden files and folders are passed over.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    list(root, Path::new(""), 1)
}

/// Returns the files below a folder `depth` deep, sorted.
fn list(root: &Path, folder: &Path, depth: usize) -> Result<Vec<PathBuf>, Failure> {
    const DEEPEST: usize = 32;
    let at = root.join(folder);
    let what = || format!("failed to list `{}`", at.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&at).doing(what)? {
        let entry = entry.doing(what)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let looked_at = || format!("failed to look at `{}`", entry.path().display());
        let mut kind = entry.file_type().doing(looked_at)?;
        if kind.is_symlink() {
            // Followed: data sets are often assembled from links.
            kind = std::fs::metadata(entry.path()).doing(looked_at)?.file_type();
        }
        entries.push((name, kind.is_dir()));
    }
    entries.sort_unstable();
    let folders: Vec<PathBuf> = entries.iter().filter(|(_, is_folder)| *is_folder).map(|(name, _)| folder.join(name)).collect();
    if let Some(first) = folders.first().filter(|_| depth == DEEPEST) {
        return Err(Failure::new(format!("folders are nested too deeply at `{}`", first.display())));
    }
    // Ends at the first error: links in a circle would be followed along every way.
    let inside = folders.par_iter().map(|folder| list(root, folder, depth + 1)).collect::<Result<Vec<_>, _>>()?;
    let (mut inside, mut found) = (inside.into_iter(), Vec::new());
    for (name, is_folder) in entries {
        match is_folder {
            true => found.append(&mut inside.next().unwrap_or_default()),
            false => found.push(folder.join(name)),
        }
    }
    Ok(found)
}

/// Returns whether the name ends like a picture's; the content decides later what it is.
pub fn looks_like_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let is_dicom = |e: &str| cfg!(feature = "dicom") && ["dcm", "dicom"].contains(&e);
    ending.is_some_and(|e| ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp"].contains(&e.as_str()) || is_dicom(&e))
}

/// Returns whether a file is a picture by its name, or by its content if that is DICOM, which archives and scanners write without an ending.
///
/// The index of a medium, `DICOMDIR` (PS3.10 section 8.6), holds no picture.
pub fn is_picture(root: &Path, relative: &Path) -> bool {
    let begins_as_dicom =
        || with_head(&root.join(relative), 132, is_dicom).unwrap_or(false) && relative.file_name().is_some_and(|name| name != "DICOMDIR");
    looks_like_picture(relative) || cfg!(feature = "dicom") && begins_as_dicom()
}

/// Returns a file's name without its ending, as an id.
pub fn stem_id(path: &Path) -> ImageId {
    ImageId(text_of_path(Path::new(path.file_stem().unwrap_or_default())))
}

/// Shows the first `most` bytes of a file, in memory that a thread uses for all its files.
pub fn with_head<T>(path: &Path, most: usize, show: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    thread_local!(static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    HEAD.with_borrow_mut(|head| {
        if head.len() < most {
            head.resize(most, 0);
        }
        let (mut file, mut filled) = (File::open(path)?, 0);
        while filled < most {
            let n = file.read(&mut head[filled..most])?;
            filled += n;
            // A plain file is read in one go; another read to hear that it is at its end would cost as much as to ask how long it is.
            if n == 0 || filled < most && filled as u64 == file.metadata()?.len() {
                break;
            }
        }
        Ok(show(&head[..filled]))
    })
}
