//! One lock per key, so that two runs at once do each piece of work once.
//!
//! The kernel holds the lock and drops it with the process, so nothing needs unlocking after a kill.

use std::fs::File;
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
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// Waits until no other run works on `key`, then takes the right to do so.
    ///
    /// # Errors
    /// When the wait is interrupted, or the store cannot be written.
    pub fn lock(&self, key: &Digest, monitor: &dyn Monitor) -> Result<KeyLock, Failure> {
        let path = self.lock_path(key);
        let what = || format!("failed to lock `{}`", path.display());
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).doing(what)?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) => {
                    if !waiting {
                        waiting = true;
                        let mut owner = String::new();
                        let _ = file.read_to_string(&mut owner);
                        let owner = if owner.is_empty() { "another run".to_string() } else { format!("process {owner}") };
                        monitor.note(&format!("waits for {owner}, which is at the same work"));
                    }
                    if monitor.interrupted() {
                        return Err(Failure::interrupted());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(error).doing(what),
            }
        }
        // Who holds it, for those who wait. Losing this note loses nothing.
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| write!(file, "{}", std::process::id()));
        Ok(KeyLock { _file: file })
    }
}
