//! What stands in the place of `dicom` where it was left out: it says how to get it.

use super::{Header, Rgb};
use crate::diagnostic::Failure;

/// Refuses the file.
pub fn header(_: &[u8]) -> Result<Header, Failure> {
    Err(Failure::new("the content is DICOM, which this `flow` was built without").help("build it with `--features dicom`"))
}

/// Refuses the file.
pub fn frames(bytes: &[u8]) -> Result<usize, Failure> {
    header(bytes).map(|header| header.frames)
}

/// Refuses the file.
pub fn decode(bytes: &[u8], _: usize) -> Result<Rgb, Failure> {
    Err(header(bytes).err().unwrap_or_else(|| Failure::new("no DICOM")))
}
