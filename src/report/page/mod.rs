//! The HTML page: one file, no scripts, no network; light, dark and on paper.

mod classes;
mod data;
pub mod figures;
mod frame;
mod provenance;
mod results;
mod training;

pub use frame::page;
