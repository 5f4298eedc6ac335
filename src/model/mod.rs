//! XCiT, the projection head, and the files that hold their weights.

mod config;
mod layout;

pub use config::{Sizes, Xcit};
pub use layout::{Entry, Layout, Start, Weights};
