//! Digests of files by their stat, so that what did not change is not read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, FileType};

use super::stat::{Stat, hash};
use super::stat_file::{Known, decode, encode};
use super::tree::{self, Folder};
use super::{Durability, atomically};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::stage::FileSet;

/// The known digests of files, kept between runs.
pub struct Watch {
    path: PathBuf,
    known: Mutex<Table>,
}

struct Table {
    known: Known,
    changed: bool,
}

/// A file or folder as it was seen: its digest, and the proof to hold against it later.
#[derive(Clone, Debug)]
pub struct Seen {
    root: PathBuf,
    /// Left out where it lies below `root`.
    store: PathBuf,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    File(Stat, Digest),
    Folder(Arc<Folder>),
}

impl Watch {
    /// Reads what earlier runs learned; a damaged or older file counts as empty.
    pub fn open(path: &Path) -> Self {
        let known = std::fs::read(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { path: path.to_path_buf(), known: Mutex::new(Table { known, changed: false }) }
    }

    /// Returns whether this is what is kept in the file at `path`.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Keeps what was learned for later runs.
    pub fn save(&self) -> Result<(), Failure> {
        let mut table = self.table();
        if table.changed {
            atomically(&self.path, &encode(&table.known), Durability::Soon)?;
            table.changed = false;
        }
        Ok(())
    }

    /// Returns a file's digest, reading it only if its stat is not known.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        Ok(self.look(path)?.1)
    }

    /// Remembers the digest of a file that was hashed by its writer and moved into place.
    pub fn learn(&self, path: &Path, digest: Digest) {
        if let Ok((stat, _)) = Stat::of(path) {
            // A rename sets ctime to now, which would never be believed; an object, though, is written once and read-only.
            let mut table = self.table();
            table.known.files.insert(path.to_path_buf(), (stat, digest));
            table.changed = true;
        }
    }

    /// Forgets files and folders that are gone.
    pub fn tidy(&self) {
        let mut table = self.table();
        let count = |known: &Known| known.files.len() + known.folders.len();
        let before = count(&table.known);
        table.known.files.retain(|path, _| path.exists());
        table.known.folders.retain(|path, _| path.exists());
        table.changed |= count(&table.known) != before;
    }

    /// Looks at a file, or at a folder and all files below it.
    pub fn see(&self, root: &Path) -> Result<Seen, Failure> {
        // A store inside the folder is no part of the data: it changes by being used.
        let store = self.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let what = || format!("failed to read `{}`", root.display());
        let what = match Stat::of(root).doing(what)?.1 {
            FileType::Directory => {
                let place = std::path::absolute(root).doing(what)?;
                let before = self.table().known.folders.get(&place).cloned();
                let folder = Folder::look(&tree::open(CWD, root).doing(what)?, root, before.as_ref(), &store)?;
                if before.is_none_or(|before| !Arc::ptr_eq(&before, &folder)) {
                    let mut table = self.table();
                    table.known.folders.insert(place, folder.clone());
                    table.changed = true;
                }
                What::Folder(folder)
            }
            _ => {
                let (stat, digest) = self.look(root).doing(what)?;
                What::File(stat, digest)
            }
        };
        Ok(Seen { root: root.to_path_buf(), store, what })
    }

    fn look(&self, path: &Path) -> io::Result<(Stat, Digest)> {
        let (now, kind) = Stat::of(path)?;
        if let Some(digest) = self.digest_of(path, now) {
            return Ok((now, digest));
        }
        if kind != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        let (stat, digest, settled) = hash(std::fs::File::open(path)?)?;
        if settled {
            let mut table = self.table();
            table.known.files.insert(path.to_path_buf(), (stat, digest));
            table.changed = true;
        }
        Ok((stat, digest))
    }

    /// Returns the digest of the file if its stat tells it.
    pub fn known(&self, path: &Path) -> Option<Digest> {
        self.digest_of(path, Stat::of(path).ok()?.0)
    }

    fn digest_of(&self, path: &Path, now: Stat) -> Option<Digest> {
        self.table().known.files.get(path).filter(|(stat, _)| *stat == now).map(|(_, digest)| *digest)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Returns the digest of the file's bytes, or of the folder's listing: all paths and contents below it.
    pub fn digest(&self) -> Digest {
        match &self.what {
            What::File(_, digest) => *digest,
            What::Folder(folder) => folder.digest,
        }
    }

    pub(super) fn folder(&self) -> Option<&Arc<Folder>> {
        match &self.what {
            What::File(..) => None,
            What::Folder(folder) => Some(folder),
        }
    }

    /// Returns every file by its path below the root, sorted.
    pub fn file_set(&self) -> FileSet {
        let mut files = Vec::new();
        match &self.what {
            What::File(_, digest) => files.push((String::new(), *digest)),
            What::Folder(folder) => folder.collect("", &mut files),
        }
        files.sort_unstable();
        FileSet { root: self.root.clone(), files }
    }

    /// Returns the first file that is not as it was: changed, gone or new. Reads no bytes.
    pub fn first_moved(&self) -> Option<String> {
        let gone = || Some(self.root.display().to_string());
        match &self.what {
            What::File(stat, _) => {
                if Stat::of(&self.root).map(|(stat, _)| stat).ok() == Some(*stat) {
                    None
                } else {
                    gone()
                }
            }
            What::Folder(folder) => match tree::open(CWD, &self.root) {
                Ok(fd) => folder.first_moved(&fd, &self.root, "", &self.store),
                Err(_) => gone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn house() -> (tempfile::TempDir, Watch) {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::open(&folder.path().join("none"));
        fs::create_dir_all(folder.path().join("data/c")).unwrap();
        fs::write(folder.path().join("data/c/1.png"), "one").unwrap();
        fs::write(folder.path().join("data/2.png"), "two").unwrap();
        (folder, watch)
    }

    #[test]
    fn a_folder_is_its_paths_and_contents_and_nothing_else() {
        let ((a, watch), (b, _)) = (house(), house());
        let digest = |root: &tempfile::TempDir| watch.see(&root.path().join("data")).unwrap().digest();
        assert_eq!(digest(&a), digest(&b));
        fs::rename(b.path().join("data/2.png"), b.path().join("data/3.png")).unwrap();
        assert_ne!(digest(&a), digest(&b));
        fs::rename(b.path().join("data/3.png"), b.path().join("data/c/2.png")).unwrap();
        assert_ne!(digest(&a), digest(&b));
        let files = watch.see(&b.path().join("data")).unwrap().file_set().files;
        assert_eq!(files, [("c/1.png".to_string(), Digest::of(b"one")), ("c/2.png".to_string(), Digest::of(b"two"))]);
    }

    #[test]
    fn what_did_not_change_is_the_very_tree_that_was_known_and_what_did_is_seen() {
        let (folder, watch) = house();
        let root = folder.path().join("data");
        // Long enough for the stats to settle.
        std::thread::sleep(std::time::Duration::from_millis(60));
        let tree = || watch.see(&root).unwrap().folder().unwrap().clone();
        let first = tree();
        assert!(Arc::ptr_eq(&first, &tree()));
        // A same-size edit with its mtime put back: ctime tells.
        let mtime = fs::metadata(root.join("c/1.png")).unwrap().modified().unwrap();
        fs::write(root.join("c/1.png"), "ONE").unwrap();
        fs::File::options().write(true).open(root.join("c/1.png")).unwrap().set_modified(mtime).unwrap();
        let second = tree();
        assert_ne!(second.digest, first.digest);
        fs::remove_file(root.join("2.png")).unwrap();
        assert!(second.leaves().count() == 1 && tree().leaves().count() == 0);
        fs::write(root.join("2.png"), "two").unwrap();
        assert_eq!(tree().digest, second.digest);
    }

    #[test]
    fn a_store_inside_the_data_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("cache")).unwrap();
        fs::create_dir_all(root.join("data/cache")).unwrap();
        fs::write(root.join("data/cache/1.png"), "one").unwrap();
        let watch = Watch::open(&root.join("cache/stat"));
        let seen = watch.see(&root).unwrap();
        fs::write(root.join("cache/object"), "made meanwhile").unwrap();
        assert_eq!(seen.file_set().files, [("data/cache/1.png".to_string(), Digest::of(b"one"))]);
        assert_eq!(seen.first_moved(), None);
    }

    #[test]
    fn a_file_that_moves_meanwhile_is_named() {
        let (folder, watch) = house();
        let root = folder.path().join("data");
        let moved = |act: &dyn Fn()| {
            let seen = watch.see(&root).unwrap();
            assert_eq!(seen.first_moved(), None);
            act();
            seen.first_moved()
        };
        assert_eq!(moved(&|| fs::write(root.join("c/0.png"), "new").unwrap()), Some("c/0.png".to_string()));
        assert_eq!(moved(&|| fs::write(root.join("2.png"), "longer").unwrap()), Some("2.png".to_string()));
        assert_eq!(moved(&|| fs::remove_file(root.join("c/1.png")).unwrap()), Some("c/1.png".to_string()));
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_and_what_is_no_file_are_refused_with_a_way_out() {
        let (folder, watch) = house();
        let root = folder.path().join("data");
        std::os::unix::fs::symlink("..", root.join("c/back")).unwrap();
        assert!(watch.see(&root).unwrap_err().to_string().contains("lead back"));
        fs::remove_file(root.join("c/back")).unwrap();
        let refused = || watch.see(&root).unwrap_err().to_string().contains("neither a file nor a folder");
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert!(refused());
        fs::remove_file(root.join("socket")).unwrap();
        // Nobody will ever write to it.
        rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(refused());
    }
}
