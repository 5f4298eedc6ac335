//! RON text to a graph, every mistake at once.

mod edit;
mod lock_file;
mod matrix;
mod outline;
mod read;
mod scan;
mod values;

pub use edit::Setting;
pub use lock_file::{lock_path, lock_text, locked_keys, read_lock};
pub use read::{Pipeline, SetMistake, read, read_set};
