//! DICOM pictures: one file of one or more frames, in the colours and grey values that a viewer would show.
//!
//! Read by hand and not by a library: those that there are reserve what a length field asks for before they look whether the file has it,
//! so that a few bytes could ask for gigabytes. Here nothing is copied before it is known to be there. Names of tags and the numbers of
//! sections are those of the standard, PS3.3 and PS3.5 (<https://dicom.nema.org/medical/dicom/current>).

mod elements; // the file's structure
mod attributes; // what it says of its pixels
mod frame; // the samples of one frame, unpacked
mod show; // samples -> RGB
mod window; // stored value -> grey level

pub(super) use show::{decode, frames, header};

#[cfg(test)]
mod tests;
