//! What stands in the place of `dicom` where it was left out: every file is refused with the way out.

use super::{Header, Rgb};
use crate::diagnostic::Failure;

fn absent() -> Failure {
    Failure::new("the content is DICOM, which this `flow` was built without").help("build it with `--features dicom`")
}

/// Refuses the file.
pub fn header(_: &[u8]) -> Result<Header, Failure> {
    Err(absent())
}

/// Refuses the file.
pub fn frames(_: &[u8]) -> Result<usize, Failure> {
    Err(absent())
}

/// Refuses the file.
pub fn decode(_: &[u8], _: usize) -> Result<Rgb, Failure> {
    Err(absent())
}
