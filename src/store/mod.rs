//! Content-addressed artefacts, the entries that name them, and the digests of the files outside.

mod entry;
mod folder;
mod history;
mod lock;
mod object;
mod pack;
mod pieces;
mod watch;
mod care; // what lies in the store, what may go, what is damaged

pub use care::{Checked, Holding, Sweep};
pub use entry::{Entry, Provenance, Stored};
pub use folder::{Durability, Store, atomically};
pub use history::{History, NodeRecord, RunRecord};
pub use lock::KeyLock;
pub use pieces::Scope;
pub use watch::{Snapshot, Watch};
