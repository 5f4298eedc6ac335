//! The samples of one frame: as they lie in the file, out of RLE (PS3.5 annex G), or out of JPEG.

use std::borrow::Cow;

use super::attributes::{Attributes, Photometric};
use super::elements::{Coding, Elements, PixelData, items};
use crate::data::image::jpeg::{self, Colours};
use crate::diagnostic::{Failure, count, thousands};

/// The samples of a frame.
pub struct Frame<'a> {
    bytes: Cow<'a, [u8]>,
    /// 16-bit samples, high byte first.
    big_endian: bool,
    wide: bool,
    /// Bytes from one sample of a pixel to the next, and from one pixel to the next.
    steps: (usize, usize),
    /// What the samples mean, which a decoder may have changed.
    pub photometric: Photometric,
}

impl<'a> Frame<'a> {
    /// Finds and unpacks a frame, counted from 0.
    ///
    /// # Errors
    /// When the file does not hold it, or it is damaged.
    pub fn of(elements: &Elements<'a>, form: &Attributes, frame: usize) -> Result<Self, Failure> {
        form.check_frame(frame)?;
        match (elements.coding, elements.pixels) {
            (Coding::Native, PixelData::Native { bytes, says, .. }) if bytes.len() < says => {
                let (has, says) = (thousands(bytes.len()), thousands(says));
                Err(Failure::new(format!("the DICOM file is cut off: it has {has} of the {says} bytes of its pixels")))
            }
            (Coding::Native, PixelData::Native { bytes, swapped, .. }) => native(bytes, swapped, elements.big_endian, form, frame),
            (Coding::Rle, PixelData::Encapsulated(rest)) => rle(&items(rest)?, form, frame),
            (Coding::Jpeg, PixelData::Encapsulated(rest)) => from_jpeg(&items(rest)?, form, frame),
            _ => Err(Failure::new("the DICOM file's pixels are not written as its transfer syntax says")),
        }
    }

    /// Returns whether the bytes are RGB of 8 bits, pixel by pixel.
    pub fn is_rgb_as_it_is(&self) -> bool {
        self.photometric == Photometric::Rgb && !self.wide && self.steps == (1, 3)
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    /// Returns a sample of a pixel.
    pub fn at(&self, pixel: usize, sample: usize) -> u16 {
        let i = match (self.photometric, sample) {
            (Photometric::Ybr422, 0) => pixel / 2 * 4 + pixel % 2,
            (Photometric::Ybr422, _) => pixel / 2 * 4 + 1 + sample,
            _ => pixel * self.steps.1 + sample * self.steps.0,
        };
        match (self.wide, self.big_endian) {
            (false, _) => self.bytes[i].into(),
            (true, false) => u16::from_le_bytes([self.bytes[i], self.bytes[i + 1]]),
            (true, true) => u16::from_be_bytes([self.bytes[i], self.bytes[i + 1]]),
        }
    }
}

/// Returns how many frames the file can hold, at most: a frame takes one fragment or more.
pub fn present(elements: &Elements, form: &Attributes) -> Result<usize, Failure> {
    match elements.pixels {
        PixelData::Native { bytes, .. } => Ok(bytes.len() / form.frame_bytes()),
        PixelData::Encapsulated(rest) => Ok(items(rest)?.len().saturating_sub(1)),
    }
}

fn native<'a>(bytes: &'a [u8], swapped: bool, big_endian: bool, form: &Attributes, frame: usize) -> Result<Frame<'a>, Failure> {
    let (size, step) = (form.frame_bytes(), form.sample_bytes());
    let place = frame.checked_mul(size).and_then(|at| bytes.get(at..)?.get(..size).map(|found| (at, found)));
    let (at, found) = place.ok_or_else(|| {
        let (has, needs) = (thousands(bytes.len()), thousands(size.saturating_mul(frame + 1)));
        Failure::new(format!("the pixels end too soon: {has} bytes, frame {} needs {needs}", frame + 1))
    })?;
    let bytes = match swapped && !step.is_multiple_of(2) {
        false => Cow::Borrowed(found),
        true => Cow::Owned((at..at + size).map(|i| bytes.get(i ^ 1).copied().unwrap_or_default()).collect()),
    };
    let steps = if form.planar { (form.pixels() * step, step) } else { (step, step * form.samples) };
    Ok(Frame { bytes, big_endian, wide: step == 2, steps, photometric: form.photometric })
}

/// The fragments of a frame: where there are more of them than frames, the beginning of a JPEG tells where one starts.
fn fragments<'a>(items: &[&'a [u8]], form: &Attributes, frame: usize) -> Result<Cow<'a, [u8]>, Failure> {
    const START_OF_JPEG: [u8; 2] = [0xff, 0xd8];
    let fragments = items.get(1..).unwrap_or_default();
    let missing = || Failure::new(format!("frame {} is not there: {} of pixels", frame + 1, count(fragments.len(), "fragment")));
    match form.frames {
        1 if fragments.len() != 1 => Ok(Cow::Owned(fragments.concat())),
        n if n >= fragments.len() => fragments.get(frame).map(|one| Cow::Borrowed(*one)).ok_or_else(missing),
        _ => {
            let starts: Vec<usize> = (0..fragments.len()).filter(|i| fragments[*i].starts_with(&START_OF_JPEG)).collect();
            let from = *starts.get(frame).ok_or_else(missing)?;
            let to = starts.get(frame + 1).copied().unwrap_or(fragments.len());
            Ok(Cow::Owned(fragments[from..to].concat()))
        }
    }
}

fn from_jpeg<'a>(items: &[&[u8]], form: &Attributes, frame: usize) -> Result<Frame<'a>, Failure> {
    let coded = fragments(items, form, frame)?;
    let colours = if form.photometric == Photometric::Rgb { Colours::StoredAsRgb } else { Colours::Rgb };
    let jpeg::Samples { width, height, channels, values, .. } = jpeg::decode(&coded, colours)?;
    if (width, height, channels) != (form.width, form.height, form.samples) {
        let (said, found) = (format!("{} x {} x {}", form.width, form.height, form.samples), format!("{width} x {height} x {channels}"));
        return Err(Failure::new(format!("the DICOM file says {said} samples, the JPEG in it {found}")));
    }
    let photometric = if channels == 3 { Photometric::Rgb } else { form.photometric };
    Ok(Frame { bytes: Cow::Owned(values), big_endian: false, wide: false, steps: (1, channels), photometric })
}

fn rle<'a>(items: &[&[u8]], form: &Attributes, frame: usize) -> Result<Frame<'a>, Failure> {
    /// Two bytes become at most 128.
    const MOST: usize = 64;
    let coded = fragments(items, form, frame)?;
    let short = || Failure::new("the run-length coded frame ends too soon");
    let words: Vec<usize> = coded.get(..64).ok_or_else(short)?.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w) as usize).collect();
    let (pixels, step) = (form.pixels(), form.sample_bytes());
    let planes = form.samples * step;
    if words[0] != planes {
        return Err(Failure::new(format!("the run-length coded frame has {}: expected {planes}", count(words[0], "segment"))));
    }
    if pixels * planes > coded.len().saturating_mul(MOST) {
        return Err(short());
    }
    // Segments come sample by sample, the high byte of each first; pixels are put together low byte first.
    let mut bytes = vec![0; pixels * planes];
    for segment in 0..planes {
        let from = words[1 + segment];
        let to = if segment + 1 < planes { words[2 + segment] } else { coded.len() };
        let coded = coded.get(from..to).ok_or_else(short)?;
        let place = segment / step * step + (step - 1 - segment % step);
        let values = bytes.iter_mut().skip(place).step_by(planes);
        if unpack(coded, values) < pixels {
            return Err(short());
        }
    }
    // Colours at full resolution, whatever the file was before.
    let photometric = if form.photometric == Photometric::Ybr422 { Photometric::Ybr } else { form.photometric };
    Ok(Frame { bytes: Cow::Owned(bytes), big_endian: false, wide: step == 2, steps: (step, planes), photometric })
}

/// PackBits: a count and that many bytes, or a count and a byte that repeats. Returns how many values were written.
fn unpack<'v>(coded: &[u8], mut values: impl Iterator<Item = &'v mut u8>) -> usize {
    let (mut at, mut written) = (0, 0);
    while let Some(control) = coded.get(at).map(|byte| *byte as i8) {
        at += 1;
        let (n, repeats) = match control {
            0.. => (control as usize + 1, false),
            -128 => continue,
            _ => (usize::from(control.unsigned_abs()) + 1, true),
        };
        for i in 0..n {
            let Some(value) = coded.get(if repeats { at } else { at + i }) else { return written };
            let Some(place) = values.next() else { return written };
            *place = *value;
            written += 1;
        }
        at += if repeats { 1 } else { n };
    }
    written
}
