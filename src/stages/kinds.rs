//! What ports carry, by name. A wire fits when both ends name the same kind.

use crate::stage::Kind;

/// Which images there are, where their bytes lie, and their groups. Never labels.
pub const IMAGES: Kind = Kind("images");
/// The class of each image.
pub const LABELS: Kind = Kind("labels");
/// Pictures unpacked into one array.
pub const PIXELS: Kind = Kind("pixels");
/// Which pictures an array holds that were decoded and resized once.
pub const PACK: Kind = Kind("pack");
/// What a scan of the data set found odd.
pub const SCAN: Kind = Kind("scan notes");
/// Ids of the train, test and validation parts.
pub const SPLIT: Kind = Kind("split");
/// What tells copies of pictures.
pub const PRINTS: Kind = Kind("fingerprints");
/// How many images of each class each part has.
pub const COUNTS: Kind = Kind("class counts");
/// How often each image of a pool comes in an epoch.
pub const WEIGHTS: Kind = Kind("pool weights");
/// A network's weights.
pub const MODEL: Kind = Kind("model");
/// What became of every tensor of an imported file.
pub const ACCOUNTING: Kind = Kind("accounting");
/// A projection head and its centre.
pub const HEAD: Kind = Kind("projection head");
/// Every figure of a training.
pub const LOG: Kind = Kind("training log");
/// How a training went.
pub const CURVE: Kind = Kind("training curve");
/// What a network in training made of some images every so many steps.
pub const SNAPSHOTS: Kind = Kind("snapshots");
/// A row of numbers for each image, and the floors beside it.
pub const FEATURES: Kind = Kind("features");
/// A fitted transform.
pub const TRANSFORM: Kind = Kind("fitted transform");
/// Results of classifiers at numbers of labels.
pub const SWEEP: Kind = Kind("results");
/// Results as plain tables.
pub const TABLES: Kind = Kind("tables");
/// A file of a command's making.
pub const FILE: Kind = Kind("file");
/// A folder of a command's making.
pub const FOLDER: Kind = Kind("folder");
/// The page to look at.
pub const REPORT: Kind = Kind("report");
/// Pictures of images and their augmented views.
pub const SHEET: Kind = Kind("contact sheet");
