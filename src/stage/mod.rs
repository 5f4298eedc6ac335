//! The contract between the two wings.

mod contract;
mod io;
mod monitor;
mod pieces;

pub use contract::{Complaint, Cores, Input, Kind, Needs, Output, Presence, Source, Stage};
pub use io::{Ancestor, Device, FileSet, Io, Library};
pub use monitor::{Monitor, Silent};
#[cfg(test)]
pub use pieces::Memory;
pub use pieces::{Keeper, Pieces};
