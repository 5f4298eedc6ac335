//! Pixels in memory: decoding files, resizing, and the numbers a network sees.

mod limits; // how large a picture may be
mod guard; // decoders that panic
mod decode;
mod jpeg_segments;
mod draft; // JPEGs at a fraction of their size
mod jpeg;
mod tiff;
#[cfg(feature = "dicom")]
mod dicom;
#[cfg(not(feature = "dicom"))]
#[path = "no_dicom.rs"]
mod dicom;
mod normalise;
mod resize;
mod rgb;

pub use decode::{Header, decode, decode_draft, decode_frame, dimensions, frames, header, is_dicom};
pub use limits::MAX_FILE_BYTES;
pub use normalise::{Normalisation, apply as apply_table};
pub use resize::{Filter, Scaler, resize};
pub use rgb::Rgb;
