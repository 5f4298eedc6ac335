//! Single operations on 8-bit pictures, each with the arithmetic of torchvision's on a PIL image.
//!
//! Sources: Pillow 11 `libImaging` (`Blend.c`, `Convert.c`, `Geometry.c`) and torchvision 0.29 `transforms/functional.py`.

mod blur;
mod colour;
mod geometry;
mod hue;

pub use blur::{BlurMemory, blur};
pub use colour::{brightness, contrast, grey, saturation, solarize};
pub use geometry::{Warp, WarpMemory, hflip, vflip};
pub use hue::hue;
