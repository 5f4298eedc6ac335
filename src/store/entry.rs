//! Entries: what a key made. Written last, so that an entry never names what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::{Durability, Store, atomically};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::graph::Key;

/// An output as it lies in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub digest: Digest,
    /// All its bytes, in a folder those of every file.
    pub bytes: u64,
    /// Whether the object is a folder's listing.
    pub folder: bool,
}

/// How, where and when an entry came to be. Nothing here is part of any key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provenance {
    pub flow: String,
    pub host: String,
    pub device: String,
    pub threads: usize,
    /// Seconds since 1970.
    pub started: f64,
    pub seconds: f64,
    /// The process's peak resident memory when the node was done.
    pub peak_mib: f64,
    /// The run that made it, as `flow runs` calls it.
    #[serde(default)]
    pub invocation: String,
    /// The key of the node that made what was read at each port; files outside have none.
    #[serde(default)]
    pub producers: BTreeMap<String, Digest>,
}

/// What a key made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub key: Key,
    pub outputs: BTreeMap<String, Stored>,
    pub metrics: BTreeMap<String, f64>,
    /// The scopes whose pieces it was made of and left: they stay as long as it does.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pieces: BTreeSet<Digest>,
    pub provenance: Provenance,
    /// Listings of the folders outside that it read, kept to name the files that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Digest>,
}

impl Store {
    /// Returns what `key` made, if it is known. A damaged entry counts as unknown.
    pub fn entry(&self, key: &Digest) -> Option<Entry> {
        self.read_entry(key).filter(|entry| entry.key.digest() == *key)
    }

    /// Returns what a key whose components are at hand made: as [`entry`](Self::entry), and cheaper.
    pub fn entry_of(&self, key: &Key, digest: &Digest) -> Option<Entry> {
        self.entry_ahead(digest).or_else(|| self.read_entry(digest)).filter(|entry| entry.key == *key)
    }

    pub(super) fn read_entry(&self, key: &Digest) -> Option<Entry> {
        // An entry is small: asking for its size first would cost more than reading it.
        let mut text = Vec::with_capacity(4096);
        File::open(self.entry_path(key)).ok()?.take(u64::MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Records what a key made.
    pub fn record(&self, entry: &Entry, durability: Durability) -> Result<(), Failure> {
        let text = serde_json::to_vec(entry).doing(|| "failed to write an entry")?;
        atomically(&self.entry_path(&entry.key.digest()), &text, durability)
    }

    /// Returns the stored outputs that are missing or damaged.
    pub fn damaged<'a>(&self, entry: &'a Entry) -> Vec<(&'a str, &'a Stored)> {
        entry.outputs.iter().filter(|(_, stored)| !self.holds(stored)).map(|(port, stored)| (port.as_str(), stored)).collect()
    }
}
