//! What tells one state of a file from the next without reading it.
//!
//! Device, inode, size, mtime and ctime, both in nanoseconds: an edit of equal size whose mtime was put back still has another ctime.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, fstat, statat};

/// A file's or folder's stat; links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub ctime: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Stat {
    /// Returns the stat of a name in an open folder, and whether it is a file, a folder or something else.
    pub fn at(folder: impl AsFd, name: &str) -> io::Result<(Self, FileType)> {
        Ok(Self::split(&statat(folder, name, AtFlags::empty())?))
    }

    /// Returns the stat of a path.
    pub fn of(path: &Path) -> io::Result<(Self, FileType)> {
        Ok(Self::split(&rustix::fs::stat(path)?))
    }

    /// Returns the stat of an open file or folder.
    pub fn of_open(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::split(&fstat(file)?).0)
    }

    /// Returns the stat of an open file; what is no file is an error.
    fn of_file(file: impl AsFd) -> io::Result<Self> {
        match Self::split(&fstat(file)?) {
            (stat, FileType::RegularFile) => Ok(stat),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
        }
    }

    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths of these fields differ between systems")]
    fn split(stat: &rustix::fs::Stat) -> (Self, FileType) {
        let nanos = |s: i64, n: i64| s.wrapping_mul(SECOND).wrapping_add(n);
        let found = Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        };
        (found, FileType::from_raw_mode(stat.st_mode as _))
    }

    /// Whether it was left alone long enough before it was looked at that another change would show in its stat.
    ///
    /// As in git's index: what changed about when it was read could change again within one tick of the clock.
    pub fn is_settled(&self, looked_at: i64) -> bool {
        // Whole seconds in both stamps: a file system that keeps no finer time.
        let tick = if self.mtime % SECOND == 0 && self.ctime % SECOND == 0 { 2 * SECOND } else { SECOND / 50 };
        self.mtime.max(self.ctime).saturating_add(tick) < looked_at
    }

    /// Its 40 bytes on disk, little endian.
    pub fn to_bytes(self) -> [u8; 40] {
        let mut out = [0; 40];
        let words = [self.device, self.inode, self.size, self.mtime as u64, self.ctime as u64];
        out.chunks_exact_mut(8).zip(words).for_each(|(out, word)| out.copy_from_slice(&word.to_le_bytes()));
        out
    }

    pub fn from_bytes(bytes: &[u8; 40]) -> Self {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        Self { device: next(), inode: next(), size: next(), mtime: next() as i64, ctime: next() as i64 }
    }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

/// Hashes what was opened, if it is a file. Returns its stat, and whether that stat may be believed to mean these bytes from now on.
pub(super) fn hash(file: File) -> io::Result<(Stat, crate::digest::Digest, bool)> {
    let (looked_at, before) = (now(), Stat::of_file(&file)?);
    let digest = crate::digest::Digest::of_open_file(&file, before.size)?;
    let after = Stat::of_open(&file)?;
    Ok((after, digest, after == before && after.is_settled(looked_at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_survives_its_bytes_and_settles_after_a_tick() {
        let stat = Stat { device: 1, inode: 2, size: 3, mtime: -4, ctime: 5 * SECOND + 1 };
        assert_eq!(Stat::from_bytes(&stat.to_bytes()), stat);
        assert!(!stat.is_settled(5 * SECOND + 2) && stat.is_settled(6 * SECOND));
        let coarse = Stat { mtime: 4 * SECOND, ctime: 5 * SECOND, ..stat };
        assert!(!coarse.is_settled(6 * SECOND) && coarse.is_settled(8 * SECOND));
    }
}
