//! The contract between the two wings.

mod monitor;

pub use monitor::{Monitor, Silent};
