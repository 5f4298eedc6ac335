//! Work that is kept piece by piece, so that a stage that runs again makes only the pieces that are new.
//!
//! A stage's outputs are kept whole, under its key. Some stages make them of many parts that do not depend on each other: a row for
//! each image, a cell for each classifier and number of labels. Such a stage names what all parts share (the *scope*) and each part (the
//! *name*), and asks before it works:
//!
//! ```ignore
//! let pieces = io.pieces(&json!({"model": model_digest, "side": side}))?;
//! let row = match pieces.get(&name).and_then(|bytes| Row::from_bytes(&bytes)) {
//!     Some(row) => row,
//!     None => {
//!         let row = embed(image)?;
//!         pieces.put(name, &row.to_bytes());
//!         row
//!     }
//! };
//! ```
//!
//! What a stage author promises: scope and name together decide the bytes of a piece, as a key decides an output. Whatever else is at
//! hand (the other images, the order, the batch) may change no bit of it, so that a run with pieces makes the bytes of a run without.
//!
//! What the engine promises: kind and version of the stage belong to the scope, so raising the version forgets all pieces. Bytes that
//! come back are those that were put, or nothing comes back. A forced node gets nothing back, but what it puts replaces what was kept.

use std::sync::Arc;

use serde_json::Value;

use crate::diagnostic::Failure;
use crate::digest::Digest;

/// The pieces of one scope. Losing one costs the time to make it again and nothing else.
pub trait Pieces: Send + Sync {
    /// Returns what was put under this name, by this run or an earlier one.
    fn get(&self, name: &Digest) -> Option<Vec<u8>>;

    /// Keeps a piece. It outlives a killed process within seconds; where it cannot be kept, the user is told once and the work goes on.
    fn put(&self, name: Digest, bytes: &[u8]);

    /// Writes down everything that was put: after a piece that took long to make.
    fn flush(&self);
}

/// Who keeps the pieces of a stage.
pub trait Keeper: Send + Sync {
    /// Opens a scope.
    fn pieces(&self, scope: &Value) -> Result<Arc<dyn Pieces>, Failure>;
}

/// Keeps pieces in memory: for tests.
#[cfg(test)]
#[derive(Default)]
pub struct Memory(std::sync::Mutex<std::collections::HashMap<Digest, Vec<u8>>>);

#[cfg(test)]
impl Pieces for Memory {
    fn get(&self, name: &Digest) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put(&self, name: Digest, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name, bytes.to_vec());
    }

    fn flush(&self) {}
}
