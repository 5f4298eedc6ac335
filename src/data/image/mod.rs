//! Pixels in memory: decoding files, resizing, and the numbers a network sees.

mod decode;
mod normalise;
mod resize;
mod rgb;

pub use decode::{MAX_FILE_BYTES, decode, dimensions};
pub use normalise::{Normalisation, apply as apply_table};
pub use resize::{Filter, Scaler, resize};
pub use rgb::Rgb;
