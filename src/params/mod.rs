//! Parameters: written once with their defaults, and one text for one meaning.

mod declare;
mod reference;

pub use reference::{Aside, DataPath, Ref, without_nothings};
