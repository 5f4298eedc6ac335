//! The pieces of one scope: the packs that runs have left in its folder, and what this run adds.
//!
//! Nothing is locked between runs: packs never change and have names of their own, so two runs write side by side. When there are many,
//! whoever writes next makes one of some; a run that has the old ones open goes on reading them. A shared lock on `in_use` only tells
//! `flow cache gc` to stay away; the kernel drops it with the process.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pack::{ENDING, Pack, Writer};
use super::{Durability, Store};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::stage::{Monitor, Pieces};

/// Pieces wait at most about so long before they are written down: what a killed run loses.
const WAIT: Duration = Duration::from_secs(3);
/// Or until they take so many bytes.
const WAITING_BYTES: usize = 32 << 20;
/// Above so many packs some are made one.
const MOST_PACKS: usize = 8;
const IN_USE: &str = "in_use";

/// An opened scope. What was put is written down when it is dropped, at the latest.
pub struct Scope {
    store: Arc<Store>,
    digest: Digest,
    monitor: Arc<dyn Monitor>,
    shelf: Mutex<Shelf>,
    _in_use: Option<File>,
}

struct Shelf {
    packs: Vec<Pack>,
    /// Packs that are not read: what they hold is being made anew.
    replaced: Vec<Pack>,
    waiting: BTreeMap<Digest, Vec<u8>>,
    waiting_bytes: usize,
    written: Instant,
    /// Whether the user knows that pieces cannot be kept.
    complained: bool,
}

impl Scope {
    /// Opens a scope. With `anew` nothing that is kept comes back, and what is put replaces it.
    pub fn open(store: Arc<Store>, digest: Digest, anew: bool, monitor: Arc<dyn Monitor>) -> Result<Self, Failure> {
        let folder = store.pieces_path(&digest);
        fs::create_dir_all(&folder).doing(|| format!("failed to make `{}`", folder.display()))?;
        let in_use = File::options().create(true).truncate(false).write(true).open(folder.join(IN_USE)).ok();
        // A clean-up that looks whether it is held holds it for a moment itself: wait for that.
        let in_use = in_use.filter(|file| file.lock_shared().is_ok());
        let found = open_packs(&folder);
        let (packs, replaced) = if anew { (Vec::new(), found) } else { (found, Vec::new()) };
        let shelf = Shelf { packs, replaced, waiting: BTreeMap::new(), waiting_bytes: 0, written: Instant::now(), complained: false };
        Ok(Self { store, digest, monitor, shelf: Mutex::new(shelf), _in_use: in_use })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what waits, and says so once if that cannot be done.
    fn write_down(&self, shelf: &mut Shelf) {
        if shelf.waiting.is_empty() {
            return;
        }
        let durability = if shelf.written.elapsed() < Duration::from_secs(1) { Durability::Soon } else { Durability::Now };
        let waiting = std::mem::take(&mut shelf.waiting);
        shelf.waiting_bytes = 0;
        let outcome = self.write(waiting, durability).map(|pack| shelf.packs.push(pack)).and_then(|()| {
            let chosen = if shelf.packs.len() > MOST_PACKS { worth_merging(&mut shelf.packs) } else { Vec::new() };
            if chosen.is_empty() { Ok(()) } else { self.merge(chosen).map(|pack| shelf.packs.push(pack)) }
        });
        shelf.written = Instant::now();
        self.complain(shelf, outcome);
    }

    fn complain(&self, shelf: &mut Shelf, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome
            && !std::mem::replace(&mut shelf.complained, true)
        {
            self.monitor.note(&format!("parts of the work cannot be kept, so a later run makes them again: {}", failure.message()));
        }
    }

    fn write(&self, pieces: BTreeMap<Digest, Vec<u8>>, durability: Durability) -> Result<Pack, Failure> {
        self.pack(durability, |writer| pieces.iter().try_for_each(|(name, bytes)| writer.add(name, bytes)))
    }

    /// Makes one of several packs; where two hold the same name, the first counts. What is damaged is left out.
    fn merge(&self, packs: Vec<Pack>) -> Result<Pack, Failure> {
        let mut seen = HashSet::new();
        let merged = self.pack(Durability::Now, |writer| {
            for pack in &packs {
                for name in pack.names() {
                    if !seen.contains(&name)
                        && let Some(bytes) = pack.get(&name)
                    {
                        writer.add(&name, &bytes)?;
                        seen.insert(name);
                    }
                }
            }
            Ok(())
        })?;
        for pack in packs.iter().filter(|pack| pack.path != merged.path) {
            // Gone already where another run has merged it too.
            let _ = fs::remove_file(&pack.path);
        }
        Ok(merged)
    }

    fn pack(&self, durability: Durability, fill: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<Pack, Failure> {
        let folder = self.store.pieces_path(&self.digest);
        let scratch = self.store.scratch_folder()?;
        let pack = Writer::new(scratch).and_then(|mut writer| {
            fill(&mut writer)?;
            writer.finish(&folder, durability)
        });
        pack.doing(|| format!("failed to write to `{}`", folder.display()))
    }
}

impl Pieces for Scope {
    fn get(&self, name: &Digest) -> Option<Vec<u8>> {
        let shelf = self.shelf();
        shelf.waiting.get(name).cloned().or_else(|| shelf.packs.iter().rev().find_map(|pack| pack.get(name)))
    }

    fn put(&self, name: Digest, bytes: &[u8]) {
        let mut shelf = self.shelf();
        shelf.waiting_bytes += bytes.len();
        shelf.waiting.insert(name, bytes.to_vec());
        if shelf.written.elapsed() >= WAIT || shelf.waiting_bytes >= WAITING_BYTES {
            self.write_down(&mut shelf);
        }
    }

    fn flush(&self) {
        self.write_down(&mut self.shelf());
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut shelf = self.shelf();
        self.write_down(&mut shelf);
        if !shelf.packs.is_empty() && !shelf.replaced.is_empty() {
            // The new ones first: they count where both hold the same name.
            let all = std::mem::take(&mut shelf.packs).into_iter().chain(std::mem::take(&mut shelf.replaced)).collect();
            let outcome = self.merge(all).map(|_| ());
            self.complain(&mut shelf, outcome);
        }
    }
}

/// Opens every pack of a folder; once more if one was merged away meanwhile. Damaged ones go, for nobody can use them.
fn open_packs(folder: &Path) -> Vec<Pack> {
    let mut opened = Vec::new();
    for _ in 0..3 {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == ENDING)).collect();
        files.sort();
        opened = files.iter().map(|path| (Pack::open(path), path.clone())).collect();
        if !opened.iter().any(|(pack, _)| pack.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)) {
            break;
        }
    }
    for (_, path) in opened.iter().filter(|(pack, _)| matches!(pack, Ok(None))) {
        let _ = fs::remove_file(path);
    }
    opened.into_iter().filter_map(|(pack, _)| pack.ok().flatten()).collect()
}

/// Takes out the packs that should be one: the two smallest, and on while the next is no larger than those before it together. So every
/// byte is copied a few times however many packs come.
fn worth_merging(packs: &mut Vec<Pack>) -> Vec<Pack> {
    packs.sort_by(|a, b| (a.bytes, &a.path).cmp(&(b.bytes, &b.path)));
    let mut together = 0;
    let mut n = 0;
    while n < packs.len() && (n < 2 || packs[n].bytes <= together) {
        together += packs[n].bytes;
        n += 1;
    }
    packs.drain(..n).collect()
}

impl Store {
    /// Returns every scope that has a folder, with its bytes.
    pub fn scopes(&self) -> Vec<(Digest, u64)> {
        let bytes = |folder: &Path| -> u64 {
            let files = fs::read_dir(folder).into_iter().flatten().flatten();
            files.filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum()
        };
        self.scope_folders().into_iter().map(|(scope, folder)| (scope, bytes(&folder))).collect()
    }

    /// Returns the scopes that may go: named by no entry that stays, used by no run now, and either named by an entry that goes or, by
    /// `is_old`, left by a run that nobody goes on with.
    pub(super) fn loose_scopes(
        &self,
        stays: &BTreeSet<Digest>,
        goes: &BTreeSet<Digest>,
        is_old: impl Fn(&Path) -> bool,
    ) -> Vec<(Digest, u64)> {
        let in_use = |path: &Path| {
            let file = File::open(path.join(IN_USE));
            file.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
        };
        let loose = |scope: &Digest| {
            let path = self.pieces_path(scope);
            !stays.contains(scope) && (goes.contains(scope) || is_old(&path)) && !in_use(&path)
        };
        self.scopes().into_iter().filter(|(scope, _)| loose(scope)).collect()
    }
}

#[cfg(test)]
mod tests;
