//! Reading ahead: while a pipeline is still being read, a second thread looks up what its last run used.
//!
//! The keys that the last run of this pipeline file met are kept as a hint. The thread does with each what the run would do: reads the
//! entry, and looks whether its objects are as they were. Nothing of this outlives the moment: once a node starts, everybody looks for
//! themselves. A hint that is wrong, old or missing costs time only.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Durability, Entry, Store, Watch, atomically};
use crate::digest::Digest;

/// How many entries are handed over at once: to wake who waits costs more than to read one.
const BATCH: usize = 16;

/// What was found of a key: its entry, and those of its objects that are as they were when they were last proven whole.
struct Found {
    key: Digest,
    entry: Entry,
    sound: Vec<Digest>,
}

/// A second thread's findings.
pub(crate) struct Ahead {
    hints: PathBuf,
    watch: Receiver<Arc<Watch>>,
    coming: Receiver<Vec<Found>>,
    entries: HashMap<Digest, Entry>,
    sound: HashSet<Digest>,
}

impl Ahead {
    /// Begins to look up what the last run of the pipeline in this file used of the cache in `root`. Makes nothing.
    pub fn start(root: &Path, pipeline: &Path) -> Self {
        let name = std::path::absolute(pipeline).unwrap_or_else(|_| pipeline.to_path_buf());
        let name = Digest::of(name.as_os_str().as_encoded_bytes());
        let hints = root.join("history").join("ahead").join(name.short());
        let ((sender, coming), (to_watch, watch)) = (channel(), channel());
        let (root, file) = (root.to_path_buf(), hints.clone());
        std::thread::spawn(move || read(&root, &file, to_watch, &sender));
        Self { hints, watch, coming, entries: HashMap::new(), sound: HashSet::new() }
    }

    /// Returns what the thread read of files outside, which thus is read once.
    pub fn watch(&self) -> Option<Arc<Watch>> {
        self.watch.recv().ok()
    }

    fn entry(&mut self, key: &Digest) -> Option<Entry> {
        loop {
            if let Some(entry) = self.entries.remove(key) {
                return Some(entry);
            }
            for found in self.coming.recv().ok()? {
                self.entries.insert(found.key, found.entry);
                self.sound.extend(found.sound);
            }
        }
    }
}

fn read(root: &Path, hints: &Path, to_watch: Sender<Arc<Watch>>, sender: &Sender<Vec<Found>>) {
    let Ok(store) = Store::look(root) else { return };
    // Who opened the store already needs it no more.
    let _ = to_watch.send(store.watch().clone());
    drop(to_watch);
    let Ok(bytes) = fs::read(hints) else { return };
    let mut sound_once: HashSet<Digest> = HashSet::new();
    for some in bytes.as_chunks::<32>().0.chunks(BATCH) {
        let found = some.iter().filter_map(|bytes| {
            let key = Digest::from_bytes(*bytes);
            let entry = store.read_entry(&key)?;
            // Many nodes make the same bytes, an empty log above all.
            let made = entry.outputs.values().map(|stored| stored.digest);
            let sound = made.filter(|digest| !sound_once.contains(digest) && store.is_known_sound(digest)).collect::<Vec<_>>();
            sound_once.extend(&sound);
            Some(Found { key, entry, sound })
        });
        if sender.send(found.collect()).is_err() {
            return;
        }
    }
}

impl Store {
    /// From here on nothing that was read ahead is believed: time has passed, or something ran.
    pub fn forget_ahead(&self) {
        if let Some(ahead) = &mut *self.ahead() {
            (ahead.entries, ahead.sound) = Default::default();
            ahead.coming = channel().1;
        }
    }

    pub(super) fn entry_ahead(&self, key: &Digest) -> Option<Entry> {
        self.ahead().as_mut()?.entry(key)
    }

    pub(super) fn sound_ahead(&self, digest: &Digest) -> bool {
        self.ahead().as_ref().is_some_and(|ahead| ahead.sound.contains(digest))
    }

    /// Keeps the keys of a run as the next one's hint.
    pub(super) fn hint(&self, keys: impl Iterator<Item = Digest>) {
        let Some(hints) = self.ahead().as_ref().map(|ahead| ahead.hints.clone()) else { return };
        let bytes: Vec<u8> = keys.flat_map(|key| *key.as_bytes()).collect();
        if fs::read(&hints).ok().as_ref() != Some(&bytes) {
            // Where it cannot be kept the next run is a little slower.
            let _ = atomically(&hints, &bytes, Durability::Soon);
        }
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::graph::{KEY_FORMAT, Key};
    use crate::store::Provenance;

    fn entry(store: &Store, kind: &str) -> Entry {
        let scratch = store.scratch().unwrap();
        fs::write(scratch.join("out"), kind).unwrap();
        let stored = store.take_file(&scratch.join("out"), Durability::Now).unwrap();
        let key = Key {
            format: KEY_FORMAT,
            kind: kind.to_string(),
            version: 1,
            params: serde_json::Value::Null,
            seed: None,
            inputs: BTreeMap::new(),
            environment: BTreeMap::new(),
            program: None,
        };
        let provenance = serde_json::from_str(r#"{"flow":"","host":"","device":"","threads":1,"started":0,"seconds":0,"peak_mib":0}"#);
        let provenance: Provenance = provenance.unwrap();
        let outputs = BTreeMap::from([("out".to_string(), stored)]);
        Entry { key, outputs, metrics: BTreeMap::new(), pieces: Default::default(), provenance, folders: Vec::new() }
    }

    /// A store that kept two entries and the hint of a run that met both, and that store opened by who reads ahead.
    fn house() -> (tempfile::TempDir, Vec<Entry>, impl Fn() -> Store) {
        let folder = tempfile::tempdir().unwrap();
        let (root, pipeline) = (folder.path().join("cache"), folder.path().join("p.ron"));
        let open = move || Store::open_with(&root, Some(Ahead::start(&root, &pipeline))).unwrap();
        let store = open();
        let entries: Vec<Entry> = ["a", "b"].map(|kind| entry(&store, kind)).into();
        entries.iter().for_each(|entry| store.record(entry, Durability::Now).unwrap());
        store.hint(entries.iter().map(|entry| entry.key.digest()));
        store.watch().save().unwrap();
        (folder, entries, open)
    }

    #[test]
    fn what_the_last_run_used_is_there_before_it_is_asked_for_and_only_until_something_runs() {
        let (_folder, entries, open) = house();
        let store = open();
        let digests: Vec<Digest> = entries.iter().map(|entry| entry.key.digest()).collect();
        // Asked for in another order than hinted.
        assert_eq!(store.entry_ahead(&digests[1]).unwrap().key, entries[1].key);
        assert!(entries.iter().all(|entry| store.sound_ahead(&entry.outputs["out"].digest)));
        assert!(store.entry_ahead(&Digest::of(b"unknown")).is_none());
        store.forget_ahead();
        assert!(store.entry_ahead(&digests[0]).is_none() && !store.sound_ahead(&entries[0].outputs["out"].digest));
        assert_eq!(store.entry_of(&entries[0].key, &digests[0]).unwrap().key, entries[0].key);
    }

    #[test]
    fn a_hint_of_what_is_gone_or_damaged_makes_nothing_sound() {
        let (_folder, entries, open) = house();
        let (store, digests) = (open(), [0, 1].map(|i| entries[i].key.digest()));
        store.entry_ahead(&digests[1]);
        fs::remove_file(store.entry_path(&digests[0])).unwrap();
        let object = store.object_path(&entries[1].outputs["out"].digest);
        fs::remove_file(&object).unwrap();
        fs::write(&object, "x").unwrap();
        let store = open();
        assert!(store.entry_of(&entries[0].key, &digests[0]).is_none());
        let found = store.entry_of(&entries[1].key, &digests[1]).unwrap();
        assert!(!store.sound_ahead(&found.outputs["out"].digest) && !store.holds(&found.outputs["out"]));
    }
}
