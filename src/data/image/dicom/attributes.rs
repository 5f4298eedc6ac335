//! What a DICOM file says of its pixels (PS3.3 C.7.6.3), proven usable.

use super::elements::{Coding, Elements};
use crate::data::image::limits::checked;
use crate::diagnostic::{Failure, thousands};

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Photometric {
    /// Grey, the least value white (`MONOCHROME1`) or black (`MONOCHROME2`).
    Monochrome {
        white_is_least: bool,
    },
    /// Numbers of colours in a table.
    Palette,
    Rgb,
    /// Luminance and two colour differences, all of 0 to 255.
    Ybr,
    /// The same, two pixels sharing their colour differences.
    Ybr422,
}

/// The size of a picture and the form of its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub width: usize,
    pub height: usize,
    /// As the file says; whether it holds as many is seen when they are looked for.
    pub frames: usize,
    pub photometric: Photometric,
    /// Samples of each pixel: 1 or 3.
    pub samples: usize,
    /// Whether all samples of one kind lie together.
    pub planar: bool,
    /// Bits that a sample takes: 8 or 16.
    pub bits_allocated: u32,
    /// Bits of these that hold its value.
    pub bits_stored: u32,
    /// The highest of these bits.
    pub high_bit: u32,
    pub signed: bool,
}

impl Attributes {
    /// Reads size and form.
    ///
    /// # Errors
    /// When they are missing, contradict each other, or are not read here.
    pub fn of(elements: &Elements) -> Result<Self, Failure> {
        let number =
            |tag, name: &str| elements.number(tag).map(u32::from).ok_or_else(|| Failure::new(format!("the DICOM file has no `{name}`")));
        let (width, height) = checked(number(0x0028_0011, "Columns")?, number(0x0028_0010, "Rows")?)?;
        let samples = elements.number(0x0028_0002).unwrap_or(1).into();
        let photometric = photometric(&elements.text(0x0028_0004).unwrap_or_default(), samples)?;
        let bits_allocated = number(0x0028_0100, "BitsAllocated")?;
        if ![8, 16].contains(&bits_allocated) {
            return Err(Failure::new(format!("the DICOM file has samples of {bits_allocated} bits: expected 8 or 16")));
        }
        let bits_stored = elements.number(0x0028_0101).map_or(bits_allocated, u32::from);
        let high_bit = elements.number(0x0028_0102).map_or(bits_stored.saturating_sub(1), u32::from);
        if bits_stored == 0 || high_bit >= bits_allocated || bits_stored > high_bit + 1 {
            let said = format!("bit {high_bit} as the highest of {bits_stored} in {bits_allocated} bits");
            return Err(Failure::new(format!("the DICOM file gives {said}, which cannot be")));
        }
        let frames = match elements.text(0x0028_0008).filter(|text| !text.is_empty()) {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Failure::new(format!("`NumberOfFrames` is `{text}`: expected a whole number above 0")))?,
        };
        let planar = samples > 1 && elements.number(0x0028_0006) == Some(1);
        let signed = elements.number(0x0028_0103) == Some(1);
        let found = Self { width, height, frames, photometric, samples, planar, bits_allocated, bits_stored, high_bit, signed };
        if photometric == Photometric::Ybr422 && elements.coding == Coding::Native && (planar || bits_allocated != 8) {
            return Err(Failure::new("`YBR_FULL_422` that is planar or has 16 bits is not read here"));
        }
        Ok(found)
    }

    /// Returns how many pixels a frame has.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// Returns how many bytes a sample takes.
    pub fn sample_bytes(&self) -> usize {
        self.bits_allocated as usize / 8
    }

    /// Returns how many bytes a frame takes where it is not compressed.
    pub fn frame_bytes(&self) -> usize {
        match self.photometric {
            Photometric::Ybr422 => self.pixels().div_ceil(2) * 4,
            _ => self.pixels() * self.samples * self.sample_bytes(),
        }
    }

    /// Refuses a frame, counted from 0, that the file does not claim to have.
    pub fn check_frame(&self, frame: usize) -> Result<(), Failure> {
        match frame < self.frames {
            true => Ok(()),
            false => Err(Failure::new(format!("frame {} of {} is not there", frame + 1, thousands(self.frames)))),
        }
    }
}

fn photometric(text: &str, samples: usize) -> Result<Photometric, Failure> {
    let (known, wanted) = match text {
        "MONOCHROME1" => (Photometric::Monochrome { white_is_least: true }, 1),
        "MONOCHROME2" => (Photometric::Monochrome { white_is_least: false }, 1),
        "PALETTE COLOR" => (Photometric::Palette, 1),
        "RGB" => (Photometric::Rgb, 3),
        "YBR_FULL" => (Photometric::Ybr, 3),
        "YBR_FULL_422" => (Photometric::Ybr422, 3),
        other => {
            return Err(Failure::new(format!(
                "the DICOM file has `{other}` colours: expected MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, YBR_FULL or YBR_FULL_422"
            )));
        }
    };
    match samples == wanted {
        true => Ok(known),
        false => Err(Failure::new(format!("the DICOM file has {samples} samples for each pixel of `{text}`: expected {wanted}"))),
    }
}
