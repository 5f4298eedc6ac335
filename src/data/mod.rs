//! Images, labels, splits and augmentation.
//!
//! A data set on disk ([`Layout`]) -> [`ImageTable`] and [`Labels`], two artefacts -> [`SplitLists`] ([`Split`]) -> the pixels of
//! views ([`MultiCrop`], [`PlainViews`]), which training asks for through [`Views`].

mod names; // what an image is called
mod image; // pixels in memory: decoding, resizing
mod table; // which images there are, which classes they have, which part they belong to
mod groups; // what ties images together
mod layout; // how data sets lie on disk
mod arrays; // numbers in `.npy` files
mod feature_table; // tables of features of other programs
mod prints; // fingerprints by which copies are found
mod split; // train, test, validation
mod pool; // images to train on without labels
mod pack; // pictures decoded and resized once
mod pixels; // where pixels come from at run time
mod augment; // the operations on 8-bit pixels, and recipes of them
mod views; // what a training loop asks for, and who answers

pub use arrays::{read_rows, read_whole_numbers};
pub use augment::{
    Augment, Blur, Colour, Crop, Drawn, Fill, Jitter, Perspective, Preset, Recipe, Resampling, Rotate, Step, Steps, ViewRecipe, Workbench,
    draw, ops,
};
pub use feature_table::{FeatureTable, read_ids};
pub use image::{Filter, Header, Normalisation, Rgb, decode, decode_draft, decode_frame, dimensions, frames, header, resize};
pub use layout::{
    BoneMarrow, Check, Chula, CountDifference, DigestOf, Duplicates, Folder, Frames, HyperKvasir, Ingested, Isic2019, Isic2020, Layout,
    Npz, OnBad, Packed, PathTable, Scan, Survey, hash_file,
};
pub use names::{ImageId, path_of_text, text_of_path};
pub use pack::Pack;
pub use pixels::{Files, KnownFiles, Pictures};
pub use pool::{Joined, Pool, PoolRules, join_pools};
pub use prints::{Alike, Look, Print, Prints, distance};
pub use split::{ClassCounts, Division, Folds, GroupedStratified, Guard, Lists, Protocol, Split, Stratified};
pub use table::{IdList, ImageRow, ImageTable, Labels, Place, PoolWeights, SplitLists};
pub use views::{Ahead, MultiCrop, Oriented, PlainViews, Views, contact_sheet, time_pictures, time_views};
