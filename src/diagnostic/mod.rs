//! Messages that point, explain and help.

mod failure;
mod words;

pub use failure::{Context, Failure};
pub use words::{count, nearest, thousands};
