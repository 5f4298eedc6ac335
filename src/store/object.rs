//! Objects: bytes named by what they are. Read-only, verified before use, never built upon when damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::folder::sync_folder;
use super::{Durability, Entry, Store, Stored};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

impl Store {
    /// Takes over a file that a stage wrote: hashes it and moves it to its place.
    pub fn take_file(&self, path: &Path, durability: Durability) -> Result<Stored, Failure> {
        let what = || format!("failed to store `{}`", path.display());
        let digest = Digest::of_file(path).doing(what)?;
        let bytes = fs::metadata(path).doing(what)?.len();
        let place = self.object_path(&digest);
        if !self.is_sound(&digest) {
            let folder = place.parent().unwrap_or(self.root());
            fs::create_dir_all(folder).doing(what)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o444)).doing(what)?;
            if durability == Durability::Now {
                File::open(path).and_then(|f| f.sync_all()).doing(what)?;
            }
            fs::rename(path, &place).doing(what)?;
            if durability == Durability::Now {
                sync_folder(folder);
            }
            self.watch().learn(&place, digest);
        }
        Ok(Stored { digest, bytes, folder: false })
    }

    /// Takes over a folder that a stage wrote: every file an object, the listing one more.
    pub fn take_folder(&self, path: &Path, durability: Durability) -> Result<Stored, Failure> {
        let mut listing = BTreeMap::new();
        let mut bytes = 0;
        for (name, file) in files_below(path)? {
            let stored = self.take_file(&file, durability)?;
            bytes += stored.bytes;
            listing.insert(name, stored.digest);
        }
        let text = serde_json::to_vec(&listing).doing(|| "failed to write a folder's listing")?;
        let list = path.with_extension("listing");
        fs::write(&list, text).doing(|| "failed to write a folder's listing")?;
        let stored = self.take_file(&list, durability)?;
        Ok(Stored { digest: stored.digest, bytes: bytes + stored.bytes, folder: true })
    }

    /// Returns where an object's bytes lie, once they are proven to be what their name says.
    pub fn object(&self, digest: &Digest) -> Option<PathBuf> {
        self.is_sound(digest).then(|| self.object_path(digest))
    }

    /// Returns whether a stored output is complete and undamaged.
    pub fn holds(&self, stored: &Stored) -> bool {
        self.is_sound(&stored.digest)
            && (!stored.folder || self.listing(&stored.digest).is_ok_and(|l| l.values().all(|d| self.is_sound(d))))
    }

    /// Says in words what is wrong with an output: "`tables` is damaged (cells.csv, object 1a2b3c4d)".
    pub fn damage(&self, port: &str, stored: &Stored) -> String {
        let word = |digest: &Digest| if self.object_path(digest).exists() { "damaged" } else { "missing" };
        let listed =
            if stored.folder && self.is_sound(&stored.digest) { self.listing(&stored.digest).unwrap_or_default() } else { BTreeMap::new() };
        match listed.iter().find(|(_, digest)| !self.is_sound(digest)) {
            Some((name, digest)) => format!("`{port}` is {} ({name}, object {})", word(digest), digest.short()),
            None => format!("`{port}` is {} (object {})", word(&stored.digest), stored.digest.short()),
        }
    }

    /// Takes an entry and its objects over from another store in the same file system, by hard links where these are possible.
    ///
    /// # Errors
    /// When an object is not there or cannot be copied.
    pub fn adopt(&self, other: &Store, entry: &Entry) -> Result<(), Failure> {
        let take = |digest: &Digest| -> Result<(), Failure> {
            let (from, to) = (other.object_path(digest), self.object_path(digest));
            let what = || format!("failed to take over object {}", digest.short());
            if !to.exists() {
                fs::create_dir_all(to.parent().unwrap_or(self.root())).doing(what)?;
                fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).doing(what)?;
            }
            Ok(())
        };
        for stored in entry.outputs.values() {
            take(&stored.digest)?;
            if stored.folder {
                self.listing(&stored.digest)?.values().try_for_each(&take)?;
            }
        }
        self.record(entry, Durability::Soon)
    }

    /// Says where one of our outputs and one of another store first differ: the file of a folder, and the byte.
    pub fn first_difference(&self, own: &Stored, other: &Store, theirs: &Stored) -> String {
        let (mut mine, mut its, mut name) = (own.digest, theirs.digest, String::new());
        if own.folder && theirs.folder {
            let (Ok(a), Ok(b)) = (self.listing(&mine), other.listing(&its)) else { return "a listing cannot be read".to_string() };
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let Some(first) = names.into_iter().find(|name| a.get(*name) != b.get(*name)) else { return "nothing differs".to_string() };
            match (a.get(first), b.get(first)) {
                (Some(x), Some(y)) => (mine, its, name) = (*x, *y, format!("`{first}`, ")),
                (None, _) => return format!("`{first}` is new"),
                (_, None) => return format!("`{first}` is gone"),
            }
        }
        match (fs::read(self.object_path(&mine)), fs::read(other.object_path(&its))) {
            (Ok(a), Ok(b)) => {
                let at = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
                format!("{name}byte {at} of {}", a.len())
            }
            _ => format!("{name}the bytes cannot be read"),
        }
    }

    /// Returns whether every byte of a stored output is what its digest says; hashes them all.
    pub fn is_whole(&self, stored: &Stored) -> Result<bool, Failure> {
        let sound = |digest: &Digest| Digest::of_file(&self.object_path(digest)).is_ok_and(|found| found == *digest);
        if !sound(&stored.digest) {
            return Ok(false);
        }
        Ok(!stored.folder || self.listing(&stored.digest)?.values().all(sound))
    }

    /// Removes an object whose bytes are not what its name says, so that it is made again.
    pub fn forget_damaged(&self, stored: &Stored) {
        let listed = if stored.folder { self.listing(&stored.digest).unwrap_or_default() } else { BTreeMap::new() };
        for digest in listed.values().chain([&stored.digest]).filter(|d| !self.is_sound(d)) {
            let _ = fs::remove_file(self.object_path(digest));
        }
    }

    pub(super) fn listing(&self, digest: &Digest) -> Result<BTreeMap<String, Digest>, Failure> {
        let path = self.object_path(digest);
        let what = || format!("failed to read the folder listing {}", digest.short());
        serde_json::from_slice(&fs::read(path).doing(what)?).doing(what)
    }

    /// Whether the object is there and has the bytes its name says. Hashed again only where its stat changed.
    pub(super) fn is_sound(&self, digest: &Digest) -> bool {
        self.sound_ahead(digest) || self.watch().digest(&self.object_path(digest)).is_ok_and(|found| found == *digest)
    }

    /// Whether the object is there as it was when it was last found sound; one that would have to be hashed counts as not.
    pub(super) fn is_known_sound(&self, digest: &Digest) -> bool {
        self.watch().known(&self.object_path(digest)) == Some(*digest)
    }
}

/// Returns every file below `folder` with its path relative to it, in order.
pub(super) fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let what = || format!("failed to list `{}`", folder.display());
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for item in fs::read_dir(&next).doing(what)? {
            let path = item.doing(what)?.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                found.push((name.to_string_lossy().replace('\\', "/"), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn put(store: &Store, bytes: &[u8]) -> Stored {
        let scratch = store.scratch().unwrap();
        let file = scratch.join("out");
        fs::write(&file, bytes).unwrap();
        store.take_file(&file, Durability::Now).unwrap()
    }

    #[test]
    fn an_object_is_found_by_its_content() {
        let (_folder, store) = store();
        let stored = put(&store, b"weights");
        assert_eq!(fs::read(store.object(&stored.digest).unwrap()).unwrap(), b"weights");
        assert_eq!(put(&store, b"weights").digest, stored.digest);
        assert!(store.object(&Digest::of(b"other")).is_none());
    }

    #[test]
    fn a_damaged_object_is_noticed_and_forgotten() {
        let (_folder, store) = store();
        let stored = put(&store, b"weights");
        let path = store.object(&stored.digest).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"weightz").unwrap();
        assert!(!store.holds(&stored));
        store.forget_damaged(&stored);
        assert!(!path.exists());
        put(&store, b"weights");
        assert!(store.holds(&stored));
    }
}
