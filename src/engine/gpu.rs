//! GPUs are held one node at a time, over all runs on this machine.
//!
//! The kernel holds the locks and drops them with the process, so nothing needs unlocking after a kill.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::diagnostic::{Context, Failure};
use crate::stage::Monitor;

/// The right to some GPUs; given back when dropped.
pub(super) struct GpuLock {
    held: Vec<(usize, File)>,
}

impl GpuLock {
    /// Waits until `count` of these GPUs are free, and takes them.
    ///
    /// # Errors
    /// When the wait is interrupted, or the lock files cannot be opened.
    pub fn take(count: usize, numbers: &[usize], monitor: &dyn Monitor) -> Result<Self, Failure> {
        let mut held: Vec<(usize, File)> = Vec::new();
        let mut waiting = false;
        while held.len() < count {
            for number in numbers {
                if held.len() < count
                    && held.iter().all(|(other, _)| other != number)
                    && let Some(file) = try_take(*number)?
                {
                    held.push((*number, file));
                }
            }
            if held.len() < count {
                // Two runs that each hold a part and wait for the rest would wait for ever.
                held.clear();
                if !waiting {
                    waiting = true;
                    monitor.note("waits for a GPU, which another run uses");
                }
                if monitor.interrupted() {
                    return Err(Failure::interrupted());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(Self { held })
    }

    pub fn numbers(&self) -> Vec<usize> {
        self.held.iter().map(|(number, _)| *number).collect()
    }
}

fn try_take(number: usize) -> Result<Option<File>, Failure> {
    let path = place(number);
    let what = || format!("failed to open the lock `{}` of GPU {number}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(&path)).doing(what)?;
    // Of another user's file the right to read is enough.
    let file = File::open(&path).or_else(|_| File::options().create(true).truncate(false).write(true).open(&path)).doing(what)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error).doing(what),
    }
}

/// One file per GPU, in a folder that all runs on this machine share.
fn place(number: usize) -> PathBuf {
    std::env::temp_dir().join("flow-gpus").join(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Silent;

    #[test]
    fn a_gpu_is_held_by_one_and_free_when_dropped() {
        // Numbers that no machine has.
        let numbers = [9_000_001, 9_000_002];
        let first = GpuLock::take(1, &numbers, &Silent).unwrap();
        assert_eq!(first.numbers(), [numbers[0]]);
        let second = GpuLock::take(1, &numbers, &Silent).unwrap();
        assert_eq!(second.numbers(), [numbers[1]]);
        drop(first);
        assert_eq!(GpuLock::take(1, &numbers, &Silent).unwrap().numbers(), [numbers[0]]);
        assert!(GpuLock::take(0, &[], &Silent).unwrap().numbers().is_empty());
    }
}
