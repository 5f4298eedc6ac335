//! Digests of files by their stat, so that what did not change is not read again.
//!
//! A file's digest is believed while device, inode, size, mtime and ctime (both in nanoseconds) are the same: an edit of equal
//! size whose mtime was put back still has another ctime. As in git's index, a file that changed about when it was hashed is not
//! believed: it could change again within one tick of the clock.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Durability, atomically};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::stage::FileSet;

/// What tells one state of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl From<&Metadata> for Stat {
    fn from(m: &Metadata) -> Self {
        let nanos = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            mtime: nanos(m.mtime(), m.mtime_nsec()),
            ctime: nanos(m.ctime(), m.ctime_nsec()),
        }
    }
}

/// The known digests of files, kept between runs.
pub struct Watch {
    path: PathBuf,
    known: Mutex<HashMap<PathBuf, (Stat, Digest)>>,
    changed: AtomicBool,
}

/// The stats of a file set when it was hashed, to prove later that nothing moved meanwhile.
pub struct Snapshot {
    root: PathBuf,
    /// Left out where it lies below `root`.
    store: PathBuf,
    stats: Vec<(String, Stat)>,
}

impl Watch {
    /// Reads what earlier runs learned; a damaged or older file counts as empty.
    pub fn open(path: &Path) -> Self {
        let known = fs::read(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { path: path.to_path_buf(), known: Mutex::new(known), changed: AtomicBool::new(false) }
    }

    /// Keeps what was learned for later runs.
    pub fn save(&self) -> Result<(), Failure> {
        if self.changed.swap(false, Ordering::Relaxed) {
            let known = self.known();
            atomically(&self.path, &encode(&known), Durability::Soon)?;
        }
        Ok(())
    }

    /// Returns a file's digest, reading it only if its stat is not known.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        Ok(self.look(path)?.1)
    }

    /// Remembers the digest of a file that was hashed by its writer and moved into place.
    pub fn learn(&self, path: &Path, digest: Digest) {
        if let Ok(meta) = fs::metadata(path) {
            // A rename sets ctime to now, which would never be believed; an object, though, is written once and read-only.
            self.known().insert(path.to_path_buf(), (Stat::from(&meta), digest));
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the digests of all files below `root` (or of `root` itself), and the proof to compare with later.
    pub fn file_set(&self, root: &Path) -> Result<(FileSet, Snapshot), Failure> {
        // A store inside the folder is no part of the data: it changes by being used.
        let store = self.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut paths = walk(root, &store)?;
        paths.sort();
        let seen: Vec<(String, Stat, Digest)> = paths
            .into_par_iter()
            .map(|(name, path)| {
                let (stat, digest) = self.look(&path).doing(|| format!("failed to read `{}`", path.display()))?;
                Ok((name, stat, digest))
            })
            .collect::<Result<_, Failure>>()?;
        let files = seen.iter().map(|(name, _, digest)| (name.clone(), *digest)).collect();
        let stats = seen.into_iter().map(|(name, stat, _)| (name, stat)).collect();
        Ok((FileSet { root: root.to_path_buf(), files }, Snapshot { root: root.to_path_buf(), store, stats }))
    }

    fn look(&self, path: &Path) -> io::Result<(Stat, Digest)> {
        let before = Stat::from(&fs::metadata(path)?);
        if let Some((stat, digest)) = self.known().get(path)
            && *stat == before
        {
            return Ok((before, *digest));
        }
        let hashed_at = now();
        let digest = Digest::of_file(path)?;
        let after = Stat::from(&fs::metadata(path)?);
        if after == before && is_settled(&after, hashed_at) {
            self.known().insert(path.to_path_buf(), (after, digest));
            self.changed.store(true, Ordering::Relaxed);
        }
        Ok((after, digest))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Stat, Digest)>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Returns the first file that is not as it was: changed, gone or new.
    pub fn first_moved(&self) -> Option<String> {
        let Ok(mut now) = walk(&self.root, &self.store) else { return Some(self.root.display().to_string()) };
        now.sort();
        for ((name, stat), (found, path)) in self.stats.iter().zip(&now) {
            if name != found {
                return Some(name.min(found).clone());
            }
            if fs::metadata(path).map(|m| Stat::from(&m)).ok() != Some(*stat) {
                return Some(if name.is_empty() { self.root.display().to_string() } else { name.clone() });
            }
        }
        match self.stats.len().cmp(&now.len()) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(now[self.stats.len()].0.clone()),
            std::cmp::Ordering::Greater => Some(self.stats[now.len()].0.clone()),
        }
    }
}

/// Whether a file was left alone long enough before it was hashed that another change would show in its stat.
fn is_settled(stat: &Stat, hashed_at: i128) -> bool {
    const SECOND: i128 = 1_000_000_000;
    // Whole seconds in both stamps: a file system that keeps no finer time.
    let tick = if stat.mtime % SECOND == 0 && stat.ctime % SECOND == 0 { 2 * SECOND } else { SECOND / 50 };
    stat.mtime.max(stat.ctime) + tick < hashed_at
}

fn now() -> i128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128)
}

/// Returns every file below `root` (or `root` itself under the empty name), in no order. Folders are read side by side.
fn walk(root: &Path, store: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    if !root.is_dir() {
        return Ok(vec![(String::new(), root.to_path_buf())]);
    }
    fn below(folder: &Path, prefix: &str, store: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
        let what = || format!("failed to list `{}`", folder.display());
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for item in fs::read_dir(folder).doing(what)? {
            let item = item.doing(what)?;
            let Some(name) = item.file_name().to_str().map(|n| format!("{prefix}{n}")) else {
                return Err(Failure::new(format!("file name `{}` is not UTF-8", item.path().display())).help("rename the file"));
            };
            let kind = item.file_type().doing(what)?;
            let is_folder = kind.is_dir() || (kind.is_symlink() && item.path().is_dir());
            if is_folder
                && item.file_name() == store.file_name().unwrap_or_default()
                && item.path().canonicalize().is_ok_and(|p| p == store)
            {
                continue;
            }
            if is_folder { folders.push((name, item.path())) } else { files.push((name, item.path())) }
        }
        let inner: Vec<_> =
            folders.into_par_iter().map(|(name, path)| below(&path, &format!("{name}/"), store)).collect::<Result<_, _>>()?;
        files.extend(inner.into_iter().flatten());
        Ok(files)
    }
    below(root, "", store)
}

const MAGIC: &[u8; 8] = b"flowst01";

/// One record per file: path length and path, device, inode, size, mtime, ctime (little endian), digest.
fn encode(known: &HashMap<PathBuf, (Stat, Digest)>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut paths: Vec<&PathBuf> = known.keys().filter(|p| p.to_str().is_some()).collect();
    paths.sort();
    for path in paths {
        let (stat, digest) = &known[path];
        let text = path.to_string_lossy();
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
        [stat.device, stat.inode, stat.size].iter().for_each(|n| out.extend(n.to_le_bytes()));
        [stat.mtime, stat.ctime].iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(digest.as_bytes());
    }
    let check = Digest::of(&out);
    out.extend(check.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<HashMap<PathBuf, (Stat, Digest)>> {
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(body).as_bytes() != check {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut known = HashMap::new();
    fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
        let (head, tail) = rest.split_first_chunk::<N>()?;
        *rest = tail;
        Some(head)
    }
    while !rest.is_empty() {
        let length = u32::from_le_bytes(*take(&mut rest)?) as usize;
        let (path, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let stat = Stat {
            device: u64::from_le_bytes(*take(&mut rest)?),
            inode: u64::from_le_bytes(*take(&mut rest)?),
            size: u64::from_le_bytes(*take(&mut rest)?),
            mtime: i128::from_le_bytes(*take(&mut rest)?),
            ctime: i128::from_le_bytes(*take(&mut rest)?),
        };
        known.insert(PathBuf::from(std::str::from_utf8(path).ok()?), (stat, Digest::from(*take::<32>(&mut rest)?)));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_survives_and_a_damaged_file_counts_as_empty() {
        let stat = Stat { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };
        let known = HashMap::from([(PathBuf::from("/a b/ü"), (stat, Digest::of(b"x")))]);
        let mut bytes = encode(&known);
        assert_eq!(decode(&bytes), Some(known));
        bytes[20] ^= 1;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b"short"), None);
    }

    #[test]
    fn a_file_set_is_its_paths_and_contents_and_nothing_else() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&a, &b] {
            fs::create_dir(folder.path().join("c")).unwrap();
            fs::write(folder.path().join("c/1.png"), "one").unwrap();
            fs::write(folder.path().join("2.png"), "two").unwrap();
        }
        let watch = Watch::open(&a.path().join("none"));
        let digest = |root: &Path| watch.file_set(root).unwrap().0.digest();
        assert_eq!(digest(a.path()), digest(b.path()));
        fs::rename(b.path().join("2.png"), b.path().join("3.png")).unwrap();
        assert_ne!(digest(a.path()), digest(b.path()));
    }

    #[test]
    fn a_store_inside_the_data_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("cache")).unwrap();
        fs::create_dir_all(root.join("data/cache")).unwrap();
        fs::write(root.join("data/cache/1.png"), "one").unwrap();
        let watch = Watch::open(&root.join("cache/stat"));
        let (set, snapshot) = watch.file_set(&root).unwrap();
        fs::write(root.join("cache/object"), "made meanwhile").unwrap();
        assert_eq!(set.files, [("data/cache/1.png".to_string(), Digest::of(b"one"))]);
        assert_eq!(snapshot.first_moved(), None);
    }

    #[test]
    fn a_file_that_moves_meanwhile_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1.png"), "one").unwrap();
        let watch = Watch::open(&folder.path().join("none"));
        let (_, snapshot) = watch.file_set(folder.path()).unwrap();
        assert_eq!(snapshot.first_moved(), None);
        fs::write(folder.path().join("0.png"), "new").unwrap();
        assert_eq!(snapshot.first_moved(), Some("0.png".to_string()));
    }
}
