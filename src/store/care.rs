//! Keeping the store small and sound: what lies in it, what may go, what is damaged.
//!
//! Deletes in an order that leaves no lie behind: the entry first, then objects that no entry names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Entry, Root, Store, Stored};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// Objects younger than this may belong to a run that has not written its entry yet.
const IN_FLIGHT: Duration = Duration::from_secs(3600);

/// A result and what it costs to keep and to make again.
#[derive(Clone, Debug)]
pub struct Holding {
    pub key: Digest,
    pub entry: Entry,
    /// Pipeline and node that made or used it last, where a run is on record.
    pub of: Option<(String, String)>,
    /// Bytes of its outputs; those it shares with others count for each.
    pub bytes: u64,
    /// Whether a root keeps it.
    pub kept: bool,
}

/// What a check of the store found and forgot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    pub entries: usize,
    pub objects: usize,
    /// Entries that could not be read, or whose outputs are damaged or gone: forgotten, so that they are made again.
    pub forgotten: Vec<String>,
    /// Objects whose bytes are not what their name says: removed.
    pub damaged: Vec<Digest>,
}

/// What a clean-up takes, or would take.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Results that go, the cheapest to make again per byte first.
    pub entries: Vec<Holding>,
    /// Objects that no entry names, and their bytes.
    pub loose: Vec<(Digest, u64)>,
    /// Checkpoints of keys nobody works on, and their bytes.
    pub states: Vec<(PathBuf, u64)>,
    /// Scopes of pieces that no entry names, and their bytes.
    pub pieces: Vec<(Digest, u64)>,
}

impl Store {
    /// Returns everything the store holds, and whether one of `roots` keeps it.
    pub fn holdings(&self, roots: &[Root]) -> Vec<Holding> {
        let mut of: HashMap<Digest, (String, String)> = HashMap::new();
        for run in self.runs() {
            for (node, record) in &run.nodes {
                let Some(key) = record.key else { continue };
                of.insert(key, (run.pipeline.clone(), node.clone()));
            }
        }
        let entries = self.entry_keys().into_iter().filter_map(|key| self.entry(&key).map(|entry| (key, entry)));
        entries
            .map(|(key, entry)| Holding {
                of: of.get(&key).cloned(),
                bytes: entry.outputs.values().map(|stored| stored.bytes).sum(),
                kept: roots.iter().any(|root| root.keys.contains(&key)),
                key,
                entry,
            })
            .collect()
    }

    /// Returns what may go: results that no root keeps, or, with `max_bytes`, as many of them as must go for the rest to fit. Pieces count,
    /// and what several results share counts once.
    pub fn sweepable(&self, roots: &[Root], max_bytes: Option<u64>) -> Sweep {
        let holdings = self.holdings(roots);
        let mut going: Vec<Holding> = holdings.iter().filter(|h| !h.kept).cloned().collect();
        going.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
        if let Some(most) = max_bytes {
            let mut shares = self.shares(&holdings);
            let mut over = shares.total().saturating_sub(most);
            going.retain(|holding| {
                let goes = over > 0;
                if goes {
                    over = over.saturating_sub(shares.freed_by(&self.parts(&holding.entry)));
                }
                goes
            });
        }
        let gone: BTreeSet<Digest> = going.iter().map(|h| h.key).collect();
        let named: BTreeSet<Digest> = holdings.iter().filter(|h| !gone.contains(&h.key)).flat_map(|h| self.named_by(&h.entry)).collect();
        let theirs: BTreeSet<Digest> = going.iter().flat_map(|h| self.named_by(&h.entry)).collect();
        let goes = |digest: &Digest, path: &Path| !named.contains(digest) && (theirs.contains(digest) || is_old(path));
        let loose = self.object_files().into_iter().filter(|(digest, path)| goes(digest, path));
        let loose = loose.map(|(digest, path)| (digest, fs::metadata(path).map_or(0, |m| m.len()))).collect();
        let states = fs::read_dir(self.root().join("state")).into_iter().flatten().flatten().map(|folder| folder.path());
        let idle = |path: &PathBuf| {
            let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            is_old(path) && key.is_none_or(|key| !self.is_worked_on(&key))
        };
        let states = states.filter(idle).map(|path| (path.clone(), folder_bytes(&path))).collect();
        let scopes = |of_gone: bool| -> BTreeSet<Digest> {
            holdings.iter().filter(|h| gone.contains(&h.key) == of_gone).flat_map(|h| h.entry.pieces.iter().copied()).collect()
        };
        let pieces = self.loose_scopes(&scopes(false), &scopes(true), is_old);
        Sweep { entries: going, loose, states, pieces }
    }

    /// Takes away what [`sweepable`](Self::sweepable) found.
    pub fn sweep_away(&self, sweep: &Sweep) -> Result<(), Failure> {
        for holding in &sweep.entries {
            fs::remove_file(self.entry_path(&holding.key)).doing(|| format!("failed to forget {}", holding.key.short()))?;
        }
        for (digest, _) in &sweep.loose {
            fs::remove_file(self.object_path(digest)).doing(|| format!("failed to remove object {}", digest.short()))?;
        }
        for (path, _) in &sweep.states {
            fs::remove_dir_all(path).doing(|| format!("failed to remove `{}`", path.display()))?;
        }
        for (scope, _) in &sweep.pieces {
            let path = self.pieces_path(scope);
            fs::remove_dir_all(&path).doing(|| format!("failed to remove `{}`", path.display()))?;
        }
        self.watch().tidy();
        self.watch().save()
    }

    /// Looks at every object and entry, by stat or by every byte, and forgets what is not sound.
    pub fn check_up(&self, every_byte: bool) -> Result<Checked, Failure> {
        let mut checked = Checked::default();
        for (digest, path) in self.object_files() {
            checked.objects += 1;
            let found = if every_byte { Digest::of_file(&path).ok() } else { self.watch().digest(&path).ok() };
            if found != Some(digest) {
                fs::remove_file(&path).doing(|| format!("failed to remove `{}`", path.display()))?;
                checked.damaged.push(digest);
            }
        }
        for key in self.entry_keys() {
            checked.entries += 1;
            let sound = self.entry(&key).is_some_and(|entry| entry.outputs.values().all(|stored| self.holds(stored)));
            if !sound {
                fs::remove_file(self.entry_path(&key)).doing(|| format!("failed to forget {}", key.short()))?;
                checked.forgotten.push(key.hex());
            }
        }
        self.watch().save()?;
        Ok(checked)
    }

    /// Every object that an entry names, the files of folders and listings of folders outside among them.
    fn named_by(&self, entry: &Entry) -> Vec<Digest> {
        let files = |stored: &Stored| -> Vec<Digest> {
            let listed: BTreeMap<String, Digest> =
                if stored.folder { self.listing(&stored.digest).unwrap_or_default() } else { BTreeMap::new() };
            listed.into_values().chain([stored.digest]).collect()
        };
        let mut named: Vec<Digest> = entry.outputs.values().flat_map(files).collect();
        entry.folders.iter().for_each(|folder| self.listings_below(folder, &mut named));
        named
    }

    /// Everything that goes when no entry names it any more: objects and scopes of pieces.
    fn parts(&self, entry: &Entry) -> BTreeSet<Digest> {
        self.named_by(entry).into_iter().chain(entry.pieces.iter().copied()).collect()
    }

    fn shares(&self, holdings: &[Holding]) -> Shares {
        let objects = self.object_files().into_iter().map(|(digest, path)| (digest, fs::metadata(path).map_or(0, |m| m.len())));
        let bytes: HashMap<Digest, u64> = objects.chain(self.scopes()).collect();
        let mut shares = Shares(HashMap::new());
        for part in holdings.iter().flat_map(|holding| self.parts(&holding.entry)) {
            shares.0.entry(part).or_insert((bytes.get(&part).copied().unwrap_or(0), 0)).1 += 1;
        }
        shares
    }

    fn object_files(&self) -> Vec<(Digest, PathBuf)> {
        two_levels(&self.root().join("objects"), "")
    }

    pub(super) fn scope_folders(&self) -> Vec<(Digest, PathBuf)> {
        two_levels(&self.root().join("pieces"), "")
    }

    fn entry_keys(&self) -> Vec<Digest> {
        two_levels(&self.root().join("entries"), ".json").into_iter().map(|(key, _)| key).collect()
    }
}

/// Bytes of each part of a result, and how many results it is part of.
struct Shares(HashMap<Digest, (u64, usize)>);

impl Shares {
    fn total(&self) -> u64 {
        self.0.values().map(|(bytes, _)| bytes).sum()
    }

    /// Takes a result away and returns the bytes of what no other result needs.
    fn freed_by(&mut self, parts: &BTreeSet<Digest>) -> u64 {
        let mut freed = 0;
        for part in parts {
            if let Some((bytes, users)) = self.0.get_mut(part) {
                *users -= 1;
                freed += if *users == 0 { *bytes } else { 0 };
            }
        }
        freed
    }
}

/// Seconds that a byte of a result saves: the least worth keeping goes first.
fn worth(holding: &Holding) -> f64 {
    holding.entry.provenance.seconds / holding.bytes.max(1) as f64
}

fn is_old(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|m| m.modified());
    changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > IN_FLIGHT))
}

fn folder_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum()
}

/// Files named by a digest in two levels: `ab/cdef..` with an ending.
fn two_levels(root: &Path, ending: &str) -> Vec<(Digest, PathBuf)> {
    let mut found = Vec::new();
    for first in fs::read_dir(root).into_iter().flatten().flatten() {
        for second in fs::read_dir(first.path()).into_iter().flatten().flatten() {
            let (head, rest) = (first.file_name(), second.file_name());
            let hex = head.to_str().zip(rest.to_str()).and_then(|(head, rest)| Some(format!("{head}{}", rest.strip_suffix(ending)?)));
            if let Some(digest) = hex.and_then(|hex| hex.parse().ok()) {
                found.push((digest, second.path()));
            }
        }
    }
    found.sort();
    found
}
