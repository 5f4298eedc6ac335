//! Single operations on 8-bit pictures, each with the arithmetic of torchvision's on a PIL image.
//!
//! Sources: Pillow 11 `libImaging` (`Blend.c`, `Convert.c`, `Geometry.c`) and torchvision 0.29 `transforms/functional.py`.
//! Loops are compiled for each level of vector instructions and use no fused multiply-add: the same bits on every machine.

mod blur;
mod colour;
mod flips;
mod homography; // maps of the plane
mod fused;
mod hue;
mod lines; // the steps of a warp, line by line
mod planes; // pixels as the loops of colours want them
mod warp;

pub use blur::{BlurMemory, blur};
pub use colour::{brightness, contrast, grey, saturation, solarize};
pub use flips::{hflip, vflip};
pub use fused::{fused, view_map};
pub use hue::hue;
pub use warp::{Warp, WarpMemory};
