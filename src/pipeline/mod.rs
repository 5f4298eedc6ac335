//! RON text to a graph, every mistake at once.

mod edit;
mod outline;
mod read;
mod scan;
mod values;

pub use edit::{Setting, apply};
pub use read::{Pipeline, read};
