//! Listings of folders outside, kept as objects, so that later runs can name the files that changed.
//!
//! A listing is named by its own digest, as a tree is in git: folders that did not change are kept once. Nothing here decides what runs.

use std::collections::{BTreeMap, HashMap};

use super::tree::Folder;
use super::{Durability, Seen, Store, atomically};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::FileChanges;

/// Name of a file, or of a folder with `/` at its end, to digest.
type Listing = BTreeMap<String, Digest>;

impl Store {
    /// Keeps the listings of a folder and of all folders in it. Returns the folder's digest; nothing for a file.
    pub fn keep_listings(&self, seen: &Seen) -> Result<Option<Digest>, Failure> {
        let Some(folder) = seen.folder() else { return Ok(None) };
        self.keep_folder(folder)?;
        Ok(Some(folder.digest))
    }

    /// Inner folders first: a listing that is there has everything it names.
    fn keep_folder(&self, folder: &Folder) -> Result<(), Failure> {
        let path = self.object_path(&folder.digest);
        if path.exists() {
            return Ok(());
        }
        folder.folders.iter().try_for_each(|(_, inner)| self.keep_folder(inner))?;
        atomically(&path, folder.listing().as_bytes(), Durability::Soon)?;
        self.watch().learn(&path, folder.digest);
        Ok(())
    }

    /// Returns the digests of a kept listing and of those inside it.
    pub(super) fn listings_below(&self, digest: &Digest, found: &mut Vec<Digest>) {
        found.push(*digest);
        let inner = self.listing(digest).unwrap_or_default();
        inner.iter().filter(|(name, _)| name.ends_with('/')).for_each(|(_, digest)| self.listings_below(digest, found));
    }

    /// Says which files differ between an earlier state of a folder and now, if that state is known.
    pub fn changes_since(&self, was: &Digest, now: &Seen) -> Option<FileChanges> {
        let mut index = HashMap::new();
        fn note<'a>(folder: &'a Folder, index: &mut HashMap<Digest, &'a Folder>) {
            index.insert(folder.digest, folder);
            folder.folders.iter().for_each(|(_, inner)| note(inner, index));
        }
        note(now.folder()?, &mut index);
        let read = |digest: &Digest| match index.get(digest) {
            Some(folder) => serde_json::from_str(&folder.listing()).ok(),
            None => self.listing(digest).ok(),
        };
        let mut changes = FileChanges::default();
        compare(was, &now.digest(), "", &read, &mut changes)?;
        Some(changes)
    }

    /// Says which files differ between two kept states of a folder.
    pub fn changes_between(&self, was: &Digest, is: &Digest) -> Option<FileChanges> {
        let mut changes = FileChanges::default();
        compare(was, is, "", &|digest| self.listing(digest).ok(), &mut changes)?;
        Some(changes)
    }
}

/// Walks two trees side by side, into folders that differ only. Nothing where a listing is not known.
fn compare(was: &Digest, is: &Digest, prefix: &str, read: &dyn Fn(&Digest) -> Option<Listing>, changes: &mut FileChanges) -> Option<()> {
    if was == is {
        return Some(());
    }
    let (was, is) = (read(was)?, read(is)?);
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        let path = format!("{prefix}{name}");
        match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) if was == is => {}
            (Some(was), Some(is)) if name.ends_with('/') => compare(was, is, &path, read, changes)?,
            (Some(_), Some(_)) => changes.changed.push(path),
            (Some(was), None) => all(was, &path, read, &mut changes.removed)?,
            (None, Some(is)) => all(is, &path, read, &mut changes.added)?,
            (None, None) => {}
        }
    }
    Some(())
}

/// Every file under a name: that very file, or all below the folder.
fn all(digest: &Digest, path: &str, read: &dyn Fn(&Digest) -> Option<Listing>, into: &mut Vec<String>) -> Option<()> {
    if !path.ends_with('/') {
        into.push(path.to_string());
        return Some(());
    }
    read(digest)?.iter().try_for_each(|(name, digest)| all(digest, &format!("{path}{name}"), read, into))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_changed_are_named_and_folders_that_did_not_are_kept_once() {
        let house = tempfile::tempdir().unwrap();
        let store = Store::open(&house.path().join("cache")).unwrap();
        let root = house.path().join("data");
        for name in ["a/1", "a/2", "b/deep/3", "4"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
        let seen = store.watch().see(&root).unwrap();
        let was = store.keep_listings(&seen).unwrap().unwrap();
        fs::write(root.join("a/1"), "other").unwrap();
        fs::rename(root.join("b"), root.join("c")).unwrap();
        fs::remove_file(root.join("4")).unwrap();
        let now = store.watch().see(&root).unwrap();
        let changes = store.changes_since(&was, &now).unwrap();
        assert_eq!(changes.to_string(), "+1 ~1 -2 files: +c/deep/3 ~a/1 -4 -b/deep/3");
        let is = store.keep_listings(&now).unwrap().unwrap();
        assert_eq!(store.changes_between(&was, &is), Some(changes));
        assert_eq!(store.changes_since(&Digest::of(b"unknown"), &now), None);
    }
}
