//! Augmentation: random views of a picture as a chain of 8-bit operations, like torchvision's on a PIL image.
//!
//! `steps` says what may happen and how strongly, `preset` gives known recipes, `draw` decides what happens to one view,
//! `apply` does it, `ops` are the single operations.

mod apply;
mod draw;
mod preset;
mod steps;
pub mod ops;

pub use apply::Workbench;
pub use draw::{Colour, Drawn, draw};
pub use preset::{Augment, Preset, Recipe, Resampling, ViewRecipe};
pub use steps::{Blur, Crop, Fill, Jitter, Perspective, Rotate, Step, Steps};
