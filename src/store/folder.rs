//! The store's folder: what lies where, and how a file gets there whole or not at all.
//!
//! ```text
//! objects/ab/cdef..        the bytes of an output, read-only, named by their BLAKE3
//! entries/ab/cdef...json   what a key made: its components, output digests, provenance
//! locks/                   one lock file per key, held by the kernel while a run works on it
//! state/KEY/               checkpoints of a key that is not finished
//! pieces/ab/cdef../       packs of the parts that make up outputs, of one scope (see `pieces`), and `in_use`
//! scratch/                 outputs being written; swept when no living process owns them
//! history/                 runs, the last key of every node, and which keys to read ahead
//! pins/NAME.json           keys that stay until they are unpinned
//! roots/                   paths of lock files whose keys stay
//! out/PIPELINE/NODE/       outputs meant to be looked at, as plain files
//! stat                     digests of files outside, by their stat
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

use super::Watch;
use super::ahead::Ahead;
use super::scratch::Spare;

const ELSEWHERE: &str = "name another folder with `--cache DIR` or `FLOW_CACHE`";

/// An opened store.
pub struct Store {
    root: PathBuf,
    watch: Arc<Watch>,
    pub(super) spare: Spare,
    /// Whether it may only be looked at.
    looking: bool,
    pub(super) ahead: Mutex<Option<Ahead>>,
}

impl Store {
    /// Opens the store in `root`, making the folder if need be, and sweeps what killed runs left in scratch.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        Self::open_with(root, None)
    }

    /// Opens the store as [`open`](Self::open) does, and takes over what a second thread is finding.
    pub(crate) fn open_with(root: &Path, ahead: Option<Ahead>) -> Result<Self, Failure> {
        for folder in ["objects", "entries", "locks", "state", "pieces", "scratch", "history"] {
            fs::create_dir_all(root.join(folder))
                .doing(|| format!("failed to open the cache at `{}`", root.display()))
                .map_err(|f| f.help(ELSEWHERE))?;
        }
        let root = root.canonicalize().doing(|| format!("failed to open the cache at `{}`", root.display()))?;
        let path = root.join("stat");
        let read = ahead.as_ref().and_then(Ahead::watch).filter(|watch| watch.is_of(&path));
        let watch = read.unwrap_or_else(|| Arc::new(Watch::open(&path)));
        let store = Self { root, watch, spare: Spare::default(), looking: false, ahead: Mutex::new(ahead) };
        store.sweep();
        Ok(store)
    }

    /// Opens the store in `root` for looking: makes nothing and removes nothing. A folder that is not there holds nothing.
    pub fn look(root: &Path) -> Result<Self, Failure> {
        let what = || format!("failed to open the cache at `{}`", root.display());
        if root.exists() && !root.is_dir() {
            return Err(Failure::new(format!("{}: not a folder", what())).help(ELSEWHERE));
        }
        let root = if root.exists() { root.canonicalize() } else { std::path::absolute(root) }.doing(what)?;
        let watch = Arc::new(Watch::open(&root.join("stat")));
        Ok(Self { root, watch, spare: Spare::default(), looking: true, ahead: Mutex::default() })
    }

    /// Keeps what was learned about files outside for later runs. Who only looks keeps it where there is a place for it.
    pub fn save_watch(&self) -> Result<(), Failure> {
        match self.looking {
            false => self.watch.save(),
            true => {
                if self.root.join("entries").is_dir() {
                    let _ = self.watch.save();
                }
                Ok(())
            }
        }
    }

    /// Returns the store's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns who knows the digests of files outside.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    pub(super) fn object_path(&self, digest: &Digest) -> PathBuf {
        self.two_levels("objects", digest, "")
    }

    pub(super) fn entry_path(&self, key: &Digest) -> PathBuf {
        self.two_levels("entries", key, ".json")
    }

    pub(super) fn lock_path(&self, key: &Digest) -> PathBuf {
        self.root.join("locks").join(key.hex())
    }

    pub(super) fn pieces_path(&self, scope: &Digest) -> PathBuf {
        self.two_levels("pieces", scope, "")
    }

    pub(super) fn history_path(&self) -> PathBuf {
        self.root.join("history")
    }

    fn two_levels(&self, room: &str, digest: &Digest, ending: &str) -> PathBuf {
        let hex = digest.hex();
        self.root.join(room).join(&hex[..2]).join(format!("{}{ending}", &hex[2..]))
    }

    /// Returns the folder that outlives a killed run of `key`; it may not be there yet.
    pub fn state(&self, key: &Digest) -> PathBuf {
        self.root.join("state").join(key.hex())
    }

    /// Forgets the checkpoints of a key that is done.
    pub fn clear_state(&self, key: &Digest) {
        // Only disk space is at stake: a folder that stays is swept by `flow cache gc`.
        let _ = fs::remove_dir_all(self.state(key));
    }
}

/// When bytes must have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the call returns: what took long to make survives a power cut.
    Now,
    /// Whenever the system writes them. After a power cut they may be missing or cut short, which is noticed before they are used: what
    /// took less time to make than the disk takes to answer is not worth waiting for.
    Soon,
}

/// Writes a file so that it is there whole or not at all: other processes never see half of it, and with [`Durability::Now`] neither
/// does whoever comes after a power cut.
pub fn atomically(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), Failure> {
    let what = || format!("failed to write `{}`", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).doing(what)?;
    // With the rights that any new file has, so that a cache can be shared: a temporary file alone would be its owner's.
    let rights = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(rights).tempfile_in(folder).doing(what)?;
    file.write_all(bytes).doing(what)?;
    if durability == Durability::Now {
        file.as_file().sync_all().doing(what)?;
    }
    file.persist(path).doing(what)?;
    if durability == Durability::Now {
        sync_folder(folder);
    }
    Ok(())
}

/// Makes a rename in `folder` survive a power cut, where the file system allows it.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
