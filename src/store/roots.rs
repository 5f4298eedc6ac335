//! What must stay in the store: pins, lock files elsewhere, the latest runs, and what work that goes on stands on.
//!
//! Pins lie in `pins/NAME.json`. Lock files are known by their paths, one in each file of `roots/`; what they keep is read by whoever can
//! read locks, which the store cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Durability, Store, atomically};
use crate::diagnostic::{Context, Failure, count};
use crate::digest::Digest;

/// Results that stay until they are unpinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    pub name: String,
    pub pipeline: String,
    /// The run that made or used them.
    pub run: String,
    /// Keys by node.
    pub keys: BTreeMap<String, Digest>,
}

/// A reason to keep results, and the keys that it keeps.
#[derive(Clone, Debug, Default)]
pub struct Root {
    /// "pin `paper`", "the last 10 runs"
    pub name: String,
    pub keys: BTreeSet<Digest>,
}

impl Store {
    /// Keeps a pin.
    ///
    /// # Errors
    /// When the name cannot name a file, or is taken.
    pub fn pin(&self, pin: &Pin) -> Result<(), Failure> {
        let path = self.pin_path(&pin.name)?;
        if path.exists() {
            return Err(Failure::new(format!("a pin is called `{}` already", pin.name)).help("choose another name, or unpin it first"));
        }
        let text = serde_json::to_vec_pretty(pin).doing(|| "failed to write a pin")?;
        atomically(&path, &text, Durability::Now)
    }

    /// Takes a pin away.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn unpin(&self, name: &str) -> Result<(), Failure> {
        fs::remove_file(self.pin_path(name)?)
            .doing(|| format!("no pin is called `{name}`"))
            .map_err(|failure| failure.help("`flow cache pins` lists them"))
    }

    /// Returns all pins in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read: what it keeps is then unknown, and nothing may go.
    pub fn pins(&self) -> Result<Vec<Pin>, Failure> {
        let mut paths = files(&self.root().join("pins"));
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
        let read = |path: &PathBuf| -> Result<Pin, Failure> {
            let what = || format!("failed to read the pin `{}`, so what it keeps is unknown", path.display());
            let pin = fs::read(path).doing(what).and_then(|bytes| serde_json::from_slice(&bytes).doing(what));
            pin.map_err(|failure| failure.help("remove the file and pin again"))
        };
        paths.iter().map(read).collect()
    }

    /// Remembers a lock file, so that a clean-up keeps what it names.
    pub fn add_root(&self, lock: &Path) -> Result<(), Failure> {
        let lock = lock.canonicalize().doing(|| format!("failed to find the lock `{}`", lock.display()))?;
        let path = self.root_path(&lock);
        if path.exists() {
            return Ok(());
        }
        atomically(&path, lock.as_os_str().as_encoded_bytes(), Durability::Soon)
    }

    /// Returns the lock files that were seen, whether they are still there or not.
    pub fn roots(&self) -> Vec<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let read = |file: PathBuf| Some(PathBuf::from(std::ffi::OsString::from_vec(fs::read(file).ok()?)));
        // A file that is damaged names a lock that is not there.
        files(&self.root().join("roots")).into_iter().filter_map(read).collect()
    }

    /// Forgets a lock file.
    pub fn forget_root(&self, lock: &Path) {
        let _ = fs::remove_file(self.root_path(lock));
    }

    /// Returns what the store itself knows must stay: pins, the last runs on record, and what work that goes on stands on.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn own_roots(&self, keep_runs: usize) -> Result<Vec<Root>, Failure> {
        let pins = self.pins()?.into_iter();
        let mut roots: Vec<Root> =
            pins.map(|pin| Root { name: format!("pin `{}`", pin.name), keys: pin.keys.into_values().collect() }).collect();
        let runs = self.runs();
        let kept = &runs[runs.len().saturating_sub(keep_runs)..];
        let name = match kept.len() {
            1 => "the last run".to_string(),
            n => format!("the last {}", count(n, "run")),
        };
        roots.push(Root { name, keys: kept.iter().flat_map(|run| run.nodes.values().filter_map(|node| node.key)).collect() });
        roots.push(Root { name: "work that goes on".to_string(), keys: self.worked_on() });
        roots.retain(|root| !root.keys.is_empty());
        Ok(roots)
    }

    fn pin_path(&self, name: &str) -> Result<PathBuf, Failure> {
        let harmless = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(harmless) {
            return Err(Failure::new(format!("`{name}` cannot name a pin: expected letters, digits, `-`, `_` and `.`")));
        }
        Ok(self.root().join("pins").join(format!("{name}.json")))
    }

    fn root_path(&self, lock: &Path) -> PathBuf {
        self.root().join("roots").join(Digest::of(lock.as_os_str().as_encoded_bytes()).short())
    }
}

/// The files in a folder, sorted; none where it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(name: &str) -> Pin {
        Pin { name: name.into(), pipeline: "p".into(), run: "1-2".into(), keys: BTreeMap::from([("dino".into(), Digest::of(b"k"))]) }
    }

    #[test]
    fn a_pin_stays_until_it_is_taken_away_and_its_name_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.pin(&pin("paper")).unwrap();
        assert_eq!(store.pin(&pin("paper")).unwrap_err().message(), "a pin is called `paper` already");
        assert_eq!(store.pins().unwrap(), [pin("paper")]);
        assert!(store.pin(&pin("../paper")).is_err() && store.pin(&pin(".")).is_err());
        store.unpin("paper").unwrap();
        assert!(store.unpin("paper").unwrap_err().message().starts_with("no pin is called `paper`"));
    }

    #[test]
    fn what_work_stands_on_stays_while_it_goes_on() {
        struct Nobody;
        impl crate::stage::Monitor for Nobody {
            fn progress(&self, _: u64, _: u64, _: &'static str, _: &[(&'static str, f64)]) {}
            fn note(&self, _: &str) {}
            fn interrupted(&self) -> bool {
                false
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (key, below) = (Digest::of(b"dino"), Digest::of(b"images"));
        let lock = store.lock(&key, [below], &Nobody).unwrap();
        assert_eq!(store.own_roots(0).unwrap()[0].keys, BTreeSet::from([key, below]));
        drop(lock);
        assert!(store.own_roots(0).unwrap().is_empty());
    }
}
