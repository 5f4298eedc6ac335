//! How data sets lie on disk, and what a scan of one yields.
//!
//! A scan reads and never writes below the root. Rows come sorted by id whatever the order of files and threads;
//! pictures that cannot be used are listed all at once with their causes.

mod bone_marrow;
mod chula;
mod files; // which files there are
mod columns; // tables that publishers ship beside pictures
mod folder;
mod hyper_kvasir;
mod isic_2019;
mod isic_2020;
mod known;
mod npz;
pub(super) mod npy;
mod path_table;
mod scan;
mod survey; // a folder that nobody has described yet

pub use bone_marrow::BoneMarrow;
pub use chula::Chula;
pub use folder::Folder;
pub use hyper_kvasir::{HyperKvasir, class_alias};
pub use isic_2019::Isic2019;
pub use isic_2020::{Duplicates, Isic2020};
pub use known::Layout;
pub use npz::Npz;
pub use path_table::PathTable;
pub use scan::{Check, CountDifference, DigestOf, Frames, Ingested, OnBad, Packed, Scan, hash_file};
pub use survey::Survey;

#[cfg(test)]
mod challenge_tests;
#[cfg(test)]
mod tests;
