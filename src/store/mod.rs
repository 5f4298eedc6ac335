//! Content-addressed artefacts, the entries that name them, and the digests of the files outside.

mod ahead;
mod entry;
mod statement; // an entry as others can check it
mod folder;
mod history;
mod lock;
mod object;
mod stat;
mod stat_file;
mod tree;
mod pack;
mod pieces;
mod watch;
mod listings;
mod lay_out;
mod scratch;
mod roots; // what must stay
mod care; // what lies in the store, what may go, what is damaged

pub(crate) use ahead::Ahead;
pub use care::{Checked, Holding, Sweep};
pub use entry::{Entry, Provenance, Stored};
pub use folder::{Durability, Store, atomically};
pub use history::{History, NodeRecord, RunRecord};
pub use lock::KeyLock;
pub use pieces::Scope;
pub use roots::{Pin, Root};
pub use scratch::Scratch;
pub use watch::{Seen, Watch};
