//! Stored outputs as plain files: for programs that read a folder, and for people.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::object::files_below;
use super::{Entry, Store, Stored};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

impl Store {
    /// Copies what an entry holds to `target`, replacing what differs: the files of its only output where that is a folder, else each
    /// output under its name.
    pub fn lay_out(&self, entry: &Entry, target: &Path) -> Result<(), Failure> {
        let only = entry.outputs.values().next().filter(|stored| entry.outputs.len() == 1 && stored.folder);
        match only {
            Some(stored) => self.lay_out_folder(stored, target),
            None => entry.outputs.iter().try_for_each(|(port, stored)| self.lay_out_output(port, stored, target)),
        }
    }

    /// Copies a stored output to `target/port`: a folder's files, or the one file.
    pub fn lay_out_output(&self, port: &str, stored: &Stored, target: &Path) -> Result<(), Failure> {
        match stored.folder {
            true => self.lay_out_folder(stored, &target.join(port)),
            false => self.lay_out_file(&stored.digest, &target.join(port)),
        }
    }

    /// Copies a stored folder's files to `target`, replacing what differs and removing what does not belong.
    pub fn lay_out_folder(&self, stored: &Stored, target: &Path) -> Result<(), Failure> {
        let what = || format!("failed to lay out `{}`", target.display());
        let listing = self.listing(&stored.digest)?;
        fs::create_dir_all(target).doing(what)?;
        for (_, file) in files_below(target)?.into_iter().filter(|(name, _)| !listing.contains_key(name)) {
            fs::remove_file(&file).doing(what)?;
        }
        listing.iter().try_for_each(|(name, digest)| self.lay_out_file(digest, &target.join(name)))
    }

    /// Copies an object to `file`, unless it is there already: by its stat, as files outside are known.
    fn lay_out_file(&self, digest: &Digest, file: &Path) -> Result<(), Failure> {
        let what = || format!("failed to lay out `{}`", file.display());
        if self.watch().digest(file).is_ok_and(|found| found == *digest) {
            return Ok(());
        }
        let object = self.object(digest).ok_or_else(|| Failure::new(format!("object {} is missing or damaged", digest.short())))?;
        fs::create_dir_all(file.parent().unwrap_or(file)).doing(what)?;
        // Written over, an object that was linked there would be lost: replace the name.
        let _ = fs::remove_file(file);
        fs::copy(object, file).doing(what)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).doing(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;

    #[test]
    fn a_folder_comes_back_as_it_was_written() {
        let house = tempfile::tempdir().unwrap();
        let store = Store::open(house.path()).unwrap();
        let scratch = store.scratch().unwrap();
        let made = scratch.join("report");
        fs::create_dir_all(made.join("figures")).unwrap();
        fs::write(made.join("index.html"), "page").unwrap();
        fs::write(made.join("figures/a.svg"), "figure").unwrap();
        let stored = store.take_folder(&made, Durability::Now).unwrap();
        let target = tempfile::tempdir().unwrap();
        fs::write(target.path().join("stale.html"), "old").unwrap();
        store.lay_out_folder(&stored, target.path()).unwrap();
        assert_eq!(fs::read_to_string(target.path().join("figures/a.svg")).unwrap(), "figure");
        assert!(!target.path().join("stale.html").exists());
    }
}
