//! Messages that point, explain and help.

mod failure;
mod mistake;
mod words;

pub use failure::{Context, Failure};
pub use mistake::{Mistake, Mistakes, Source, Span};
pub use words::{count, nearest, thousands};
