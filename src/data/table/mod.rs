//! Which images there are, which class each has, and which part each belongs to: three separate artefacts.
//!
//! All are CSV, sorted, with one text for one meaning, and are checked when read.

mod images;
mod labels;
mod parts;
mod text;

pub use images::{ImageRow, ImageTable, Place};
pub use labels::Labels;
pub use parts::{IdList, SplitLists};
