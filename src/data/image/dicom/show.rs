//! A frame as RGB.

use super::attributes::{Attributes, Photometric};
use super::elements::Elements;
use super::frame::{Frame, present};
use super::window::Levels;
use crate::data::image::{Header, Rgb};
use crate::diagnostic::{Failure, count};

/// Reads size and number of frames from the beginning of a file.
pub fn header(bytes: &[u8]) -> Result<Header, Failure> {
    let form = Attributes::of(&Elements::read(bytes)?)?;
    Ok(Header { width: form.width, height: form.height, frames: form.frames })
}

/// Decodes a frame, counted from 0, to 8-bit RGB.
///
/// Grey goes through rescaling and the file's first window. Colours become RGB by BT.601 at full range; the high 8 of 16 bits are kept.
///
/// # Errors
/// When the file is cut off, contradicts itself, or is written in a way that is not read here.
pub fn decode(bytes: &[u8], frame: usize) -> Result<Rgb, Failure> {
    let elements = Elements::read(bytes)?;
    let form = Attributes::of(&elements)?;
    let found = Frame::of(&elements, &form, frame)?;
    let pixels = form.pixels();
    let colour = |of: &dyn Fn(usize) -> [u8; 3]| (0..pixels).flat_map(of).collect();
    let shift = form.bits_stored.saturating_sub(8);
    let high = |pixel: usize, sample: usize| (found.at(pixel, sample) >> shift).min(255) as u8;
    let rgb: Vec<u8> = match found.photometric {
        Photometric::Rgb if found.is_rgb_as_it_is() => found.into_bytes(),
        Photometric::Monochrome { white_is_least } => {
            let table = Levels::of(&elements)?.table(&form, white_is_least, (0..pixels).map(|pixel| found.at(pixel, 0)));
            colour(&|pixel| [table[usize::from(found.at(pixel, 0))]; 3])
        }
        Photometric::Palette => {
            let palette = Palette::of(&elements)?;
            colour(&|pixel| palette.at(found.at(pixel, 0)))
        }
        Photometric::Rgb => colour(&|pixel| std::array::from_fn(|sample| high(pixel, sample))),
        Photometric::Ybr | Photometric::Ybr422 => colour(&|pixel| rgb_of_ybr(std::array::from_fn(|sample| high(pixel, sample)))),
    };
    Rgb::new(form.width, form.height, rgb)
}

/// Returns how many frames the file says it has, once it is seen to hold as many.
pub fn frames(bytes: &[u8]) -> Result<usize, Failure> {
    let elements = Elements::read(bytes)?;
    let form = Attributes::of(&elements)?;
    let present = present(&elements, &form)?;
    match form.frames <= present {
        true => Ok(form.frames),
        false => Err(Failure::new(format!("the DICOM file says it has {}, and holds {present}", count(form.frames, "frame")))),
    }
}

/// BT.601, all of 0 to 255 (PS3.3 C.7.6.3.1.2).
fn rgb_of_ybr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
}

/// The colours that samples are numbers of (PS3.3 C.7.9).
struct Palette<'a> {
    /// The number of the first colour; lesser ones have its colour, and those beyond the last the last one's.
    first: u16,
    tables: [&'a [u8]; 3],
    entries: usize,
    /// Bytes from one value to the next, and where the value's high byte lies.
    step: usize,
    high: usize,
}

impl<'a> Palette<'a> {
    fn of(elements: &Elements<'a>) -> Result<Self, Failure> {
        let descriptor: Vec<u16> = elements.numbers(0x0028_1101).collect();
        let &[entries, first, bits] = &descriptor[..] else {
            return Err(Failure::new("the DICOM file has colours by number and no table of them that is read here"));
        };
        // 0 stands for 65,536, which 16 bits cannot say.
        let entries = if entries == 0 { 1 << 16 } else { usize::from(entries) };
        if elements.bytes(0x0028_1221).is_some() {
            return Err(Failure::new("the DICOM file has its table of colours in segments, which is not read here"));
        }
        let tables = [0x0028_1201, 0x0028_1202, 0x0028_1203].map(|tag| elements.bytes(tag).unwrap_or_default());
        let shortest = tables.iter().map(|table| table.len()).min().unwrap_or_default();
        let step = if bits == 8 && shortest < entries * 2 { 1 } else { 2 };
        if ![8, 16].contains(&bits) || shortest < entries * step {
            return Err(Failure::new(format!("the tables of {entries} colours of {bits} bits have {shortest} bytes")));
        }
        // The high byte of a 16-bit value; of an 8-bit value in 16 bits the low one.
        let high = usize::from(step == 2 && (bits == 16) != elements.big_endian);
        Ok(Self { first, tables, entries, step, high })
    }

    fn at(&self, number: u16) -> [u8; 3] {
        let entry = usize::from(number.saturating_sub(self.first)).min(self.entries - 1);
        self.tables.map(|table| table[entry * self.step + self.high])
    }
}
