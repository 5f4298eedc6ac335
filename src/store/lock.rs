//! One lock per key, so that two runs at once do each piece of work once.
//!
//! The kernel holds the lock and drops it with the process, so nothing needs unlocking after a kill.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::Store;
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::stage::Monitor;

/// The right to work on a key; given back when dropped.
pub struct KeyLock {
    _file: File,
}

impl Store {
    /// Returns whether a run works on `key` now.
    pub(super) fn is_worked_on(&self, key: &Digest) -> bool {
        let file = File::open(self.lock_path(key));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Returns every key that a run works on now, and the keys that this work stands on.
    pub(super) fn worked_on(&self) -> BTreeSet<Digest> {
        let files = fs::read_dir(self.root().join("locks")).into_iter().flatten().flatten();
        let keys = files.filter_map(|file| file.file_name().to_str()?.parse().ok());
        let mut found = BTreeSet::new();
        for key in keys.filter(|key| self.is_worked_on(key)) {
            let text = fs::read_to_string(self.lock_path(&key)).unwrap_or_default();
            found.extend(text.lines().skip(1).filter_map(|line| line.parse::<Digest>().ok()).chain([key]));
        }
        found
    }

    /// Waits until no other run works on `key`, then takes the right to do so. The work stands on the results of `needs`.
    ///
    /// # Errors
    /// When the wait is interrupted, or the store cannot be written.
    pub fn lock(&self, key: &Digest, needs: impl IntoIterator<Item = Digest>, monitor: &dyn Monitor) -> Result<KeyLock, Failure> {
        let path = self.lock_path(key);
        let what = || format!("failed to lock `{}`", path.display());
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).doing(what)?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if !waiting {
                        waiting = true;
                        let mut owner = String::new();
                        let _ = file.read_to_string(&mut owner);
                        let owner = owner.lines().next().unwrap_or_default();
                        let owner = if owner.is_empty() { "another run".to_string() } else { format!("process {owner}") };
                        monitor.note(&format!("waits for {owner}, which is at the same work"));
                    }
                    if monitor.interrupted() {
                        return Err(Failure::interrupted());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::Error(error)) => return Err(error).doing(what),
            }
        }
        // Who holds it, for those who wait, and what it stands on, for those who clean up. Losing this note loses nothing for good.
        let note: String = needs.into_iter().map(|needed| format!("\n{needed}")).collect();
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| write!(file, "{}{note}", std::process::id()));
        Ok(KeyLock { _file: file })
    }
}
