//! Dividing the labelled images into parts: train, test, validation.
//!
//! Which image goes where depends on the seed and its id (or its group), never on the order of images or threads.

mod allocate;
mod folds;
mod grouped;
mod guard; // what a split may not do
mod join; // images by what lists call them
mod lists;
mod outcome;
mod rule;
mod stratified;

pub use folds::Folds;
pub use grouped::GroupedStratified;
pub use guard::{Guard, Protocol};
pub use join::Join;
pub use lists::Lists;
pub use outcome::{ClassCounts, Division};
pub use rule::Split;
pub use stratified::Stratified;

#[cfg(test)]
mod tests;
