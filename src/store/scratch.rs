//! Scratch folders: where outputs are written before they are stored.
//!
//! A folder is emptied and used again rather than removed: file systems are slow to make anew what was just deleted (ext4 looks past
//! every number of an inode that was deleted within the last minute), and a thousand small programs would mostly wait for that.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::Store;
use crate::diagnostic::{Context, Failure};

/// Emptied folders of this process, removed with the store.
pub(super) type Spare = Mutex<Vec<tempfile::TempDir>>;

/// An empty folder in the store's own file system; emptied when dropped.
pub struct Scratch<'a> {
    store: &'a Store,
    /// There until it is dropped.
    folder: Option<tempfile::TempDir>,
}

impl Store {
    /// Returns an empty scratch folder, to be given back soon.
    pub fn scratch(&self) -> Result<Scratch<'_>, Failure> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let folder = spare.map_or_else(|| self.scratch_folder(), Ok)?;
        Ok(Scratch { store: self, folder: Some(folder) })
    }

    /// Makes a scratch folder that goes when it is dropped.
    pub fn scratch_folder(&self) -> Result<tempfile::TempDir, Failure> {
        let what = || format!("failed to make a scratch folder in `{}`", self.root().display());
        // The name says whose it is: see `sweep`.
        let prefix = format!("{}-", std::process::id());
        tempfile::Builder::new().prefix(&prefix).tempdir_in(self.root().join("scratch")).doing(what)
    }

    /// Removes scratch folders whose process is gone.
    pub(super) fn sweep(&self) {
        let Ok(folders) = fs::read_dir(self.root().join("scratch")) else { return };
        for folder in folders.flatten() {
            let name = folder.file_name();
            let owner = name.to_str().and_then(|n| n.split('-').next()).and_then(|p| p.parse::<u32>().ok());
            let alive = owner.is_some_and(|pid| pid == std::process::id() || Path::new("/proc").join(pid.to_string()).exists());
            // Without /proc nobody can be asked: keep what may be in use.
            if !alive && Path::new("/proc/self").exists() {
                let _ = fs::remove_dir_all(folder.path());
            }
        }
    }
}

impl Deref for Scratch<'_> {
    type Target = Path;

    fn deref(&self) -> &Path {
        // Only `drop` takes the folder away.
        self.folder.as_ref().map_or(Path::new(""), tempfile::TempDir::path)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        // One that cannot be emptied is left to be removed, or swept later.
        if empty(folder.path()).is_ok() {
            self.store.spare.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
        }
    }
}

fn empty(folder: &Path) -> std::io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        match item.file_type()?.is_dir() {
            true => fs::remove_dir_all(item.path())?,
            false => fs::remove_file(item.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_empty_however_it_was_left_and_goes_with_its_store() {
        let house = tempfile::tempdir().unwrap();
        let store = Store::open(house.path()).unwrap();
        let first = store.scratch().unwrap();
        fs::create_dir(first.join("folder")).unwrap();
        fs::write(first.join("folder/file"), "x").unwrap();
        let (path, second) = (first.to_path_buf(), store.scratch().unwrap());
        assert_ne!(path, second.to_path_buf());
        drop(first);
        let third = store.scratch().unwrap();
        assert_eq!((third.to_path_buf(), fs::read_dir(&*third).unwrap().count()), (path, 0));
        drop((second, third));
        drop(store);
        assert_eq!(fs::read_dir(house.path().join("scratch")).unwrap().count(), 0);
    }
}
