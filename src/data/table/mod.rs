//! Which images there are, which class each has, which part each belongs to, and how often it trains: separate artefacts.
//!
//! All are CSV, sorted, with one text for one meaning, and are checked when read.

mod images;
mod labels;
mod parts;
pub(super) mod text;
mod weights;

pub use images::{ImageRow, ImageTable, Place};
pub use labels::Labels;
pub use parts::{IdList, SplitLists};
pub use weights::PoolWeights;
