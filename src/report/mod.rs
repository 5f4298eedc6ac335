//! The report of a study: one HTML page that needs nothing else, figures as SVG, tables as CSV and JSON.
//!
//! Plain values in ([`Study`]), files in memory out ([`render`]). The same study always gives the same bytes.

mod study; // what a report is told
mod reference; // published numbers to hold results against
mod words; // numbers as text
mod findings; // what follows from the numbers: sentences and warnings
mod comparison; // who is better, and where
mod enough; // how many labels are enough
mod chart; // figures as SVG
mod tables; // results as rows, CSV and JSON
mod page; // the HTML page
mod render; // all files
mod variants; // the variants of a matrix side by side

pub use reference::{Level, PaperSet, Reference, ReferenceRow};
pub use render::{File, render};
pub use study::{
    Cell, ClassCount, Confusion, Dataset, DinoPoint, Line, Panel, Provenance, Role, Sheet, Study, SweepResults, TrainingCurve, Verdict,
};
pub use variants::{VariantFigure, Variants, variants_page};

#[cfg(test)]
mod tests;
