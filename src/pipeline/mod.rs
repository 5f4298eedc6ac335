//! RON text to a graph, every mistake at once.

mod edit;
mod lock_file;
mod outline;
mod read;
mod scan;
mod values;

pub use edit::{Setting, apply};
pub use lock_file::{lock_path, lock_text, read_lock};
pub use read::{Pipeline, read};
