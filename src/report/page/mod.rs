//! The HTML page: one file, no scripts, no network; light, dark and on paper.

mod classes;
mod data;
pub mod figures;
mod frame;
mod provenance;
mod results;
mod training;
mod variants;

pub use frame::page;
pub use variants::variants_page;
