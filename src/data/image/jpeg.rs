//! JPEG by zune-jpeg itself: `image` hides whether a file is damaged, and DICOM says itself what colours its JPEGs hold.

use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;
use zune_jpeg::{ImageInfo, JpegDecoder};

use super::draft;
use super::jpeg_segments::{first_scan, has_adobe_marker, without_tables};
use super::limits::{MAX_DECODER_BYTES, checked, plausible};
use crate::diagnostic::{Context, Failure, count};

/// A block of 8 x 8 pixels takes at least one bit, in its first scan.
const PIXELS_OF_A_BYTE: usize = 512;
/// What was being done when it failed.
const WHAT: &str = "failed to decode the JPEG";

/// The samples of a picture.
pub struct Samples {
    pub width: usize,
    pub height: usize,
    /// Samples of each pixel: 1 or 3.
    pub channels: usize,
    /// Row by row, pixel by pixel.
    pub values: Vec<u8>,
    /// EXIF tags, where there are any.
    pub tags: Option<Vec<u8>>,
}

/// What a file's header tells.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub width: u32,
    pub height: u32,
    /// EXIF tags, where there are any.
    pub tags: Option<Vec<u8>>,
}

/// What colours become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// RGB, by what the file says of itself.
    Rgb,
    /// RGB that is stored as such without a word of it, unless Adobe's marker says otherwise.
    StoredAsRgb,
}

/// Reads a header, for which the beginning of a file may be enough.
///
/// # Errors
/// When it is damaged or cut off.
pub fn header(bytes: &[u8]) -> Result<Head, Failure> {
    match without_tables(bytes) {
        Some(lean) => whole_header(&lean),
        None => whole_header(bytes),
    }
}

fn whole_header(bytes: &[u8]) -> Result<Head, Failure> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options(false));
    decoder.decode_headers().doing(|| "failed to read the header")?;
    let info = decoder.info().ok_or_else(|| Failure::new("the JPEG has no header"))?;
    Ok(Head { width: info.width.into(), height: info.height.into(), tags: info.exif_data })
}

/// No limits: they are ours.
fn options(strict: bool) -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(strict).set_max_width(usize::MAX).set_max_height(usize::MAX)
}

/// Decodes a JPEG, grey to one channel and all else to three. Four inks are taken to be inverted, as Adobe and so everyone writes them.
///
/// # Errors
/// When the file is damaged or cut off: by itself the decoder would fill the rest with grey and say nothing.
pub fn decode(bytes: &[u8], colours: Colours) -> Result<Samples, Failure> {
    match attempt(bytes, colours, true) {
        // No damage: some cameras pad the space between two headers.
        Err(failure) if failure.message().contains("Extra bytes between headers") => attempt(bytes, colours, false),
        done => done,
    }
}

/// Decodes a JPEG at one `by`th of its size, as [`draft::decode`] does. Nothing where the file is of a kind that has to be decoded whole, or is
/// damaged, which [`decode`] then tells.
pub fn decode_draft(bytes: &[u8], by: usize) -> Option<Samples> {
    let Opened { decoder, info, width, height } = opened(bytes, false).ok()?;
    let kind = match (info.components, decoder.input_colorspace()?) {
        (1, _) => draft::Kind::Grey,
        (3, ColorSpace::YCbCr) => draft::Kind::YCbCr,
        (3, ColorSpace::RGB) => draft::Kind::Rgb,
        _ => return None,
    };
    let values = draft::decode(bytes, [width, height], by, kind)?;
    let (width, height) = (width.div_ceil(by), height.div_ceil(by));
    Some(Samples { width, height, channels: values.len() / (width * height), values, tags: info.exif_data })
}

/// A decoder that has read a header.
struct Opened<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    info: ImageInfo,
    width: usize,
    height: usize,
}

/// Opens a file that may be decoded: whole as far as that can be told, and not too large.
fn opened(bytes: &[u8], strict: bool) -> Result<Opened<'_>, Failure> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options(strict));
    decoder.decode_headers().doing(|| WHAT)?;
    let info = decoder.info().ok_or_else(|| Failure::new("the JPEG has no header"))?;
    let (width, height) = checked(info.width.into(), info.height.into())?;
    whole(bytes, (width, height))?;
    Ok(Opened { decoder, info, width, height })
}

fn attempt(bytes: &[u8], colours: Colours, strict: bool) -> Result<Samples, Failure> {
    let Opened { mut decoder, info, width, height } = opened(bytes, strict)?;
    // The samples, and where there are several scans 16 bits for each besides.
    let needs = width as u64 * height as u64 * u64::from(info.components) * 3;
    if needs > MAX_DECODER_BYTES {
        return Err(Failure::new(format!(
            "the JPEG of {width} x {height} pixels needs up to {needs} bytes: expected at most {MAX_DECODER_BYTES}"
        )));
    }
    let (wanted, channels) = match (info.components, decoder.input_colorspace()) {
        (1, _) => (ColorSpace::Luma, 1),
        // The same on both sides: nothing is converted.
        (3, Some(ColorSpace::YCbCr)) if colours == Colours::StoredAsRgb && !has_adobe_marker(bytes) => (ColorSpace::YCbCr, 3),
        (3 | 4, _) => (ColorSpace::RGB, 3),
        (other, _) => return Err(Failure::new(format!("the JPEG has {}: expected 1, 3 or 4", count(other.into(), "component")))),
    };
    decoder.set_options(options(strict).jpeg_set_out_colorspace(wanted));
    let values = decoder.decode().doing(|| WHAT)?;
    match values.len() == width * height * channels {
        true => Ok(Samples { width, height, channels, values, tags: info.exif_data }),
        false => Err(Failure::new("failed to decode the JPEG: it has another size than its header says")),
    }
}

/// Refuses a file without its last marker (EOI), or too small for the size that it says.
///
/// Within compressed data 0xff is followed by 0 or a restart marker, so that the marker is not found by accident.
fn whole(bytes: &[u8], size: (usize, usize)) -> Result<(), Failure> {
    plausible(bytes, size, PIXELS_OF_A_BYTE)?;
    let scan = first_scan(bytes).unwrap_or(bytes.len());
    match bytes[scan..].windows(2).rev().any(|two| two == [0xff, 0xd9]) {
        true => Ok(()),
        false => Err(Failure::new("the JPEG file ends before its last marker: it is cut off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_within_a_cut_off_file_does_not_make_it_whole() {
        let preview = [0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3];
        let cut = [&preview[..], &scan].concat();
        assert!(whole(&cut, (8, 8)).unwrap_err().message().ends_with("it is cut off"));
        assert!(whole(&[&cut[..], &[0xff, 0xd9]].concat(), (8, 8)).is_ok());
        assert!(whole(&[&cut[..], &[0xff, 0xd9, 7, 7]].concat(), (8, 8)).is_ok());
    }

    #[test]
    fn a_header_that_lies_about_its_size_costs_nothing() {
        let failure = whole(&[0xff, 0xd8, 0xff, 0xda, 0xff, 0xd9], (16_384, 16_384)).unwrap_err();
        assert_eq!(failure.message(), "6 bytes cannot hold the 16384 x 16384 pixels that the header says");
    }

    #[test]
    fn a_header_is_what_the_decoder_reads_of_it_whatever_is_damaged() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).filter(|bytes| bytes.starts_with(&[0xff, 0xd8])).collect();
        let said = |read: Result<Head, Failure>| read.map_err(|failure| failure.message().to_string());
        let (mut n_lean, mut n_refused) = (0, 0);
        let mut compare = |bytes: &[u8]| {
            let (ours, whole) = (said(header(bytes)), said(whole_header(bytes)));
            assert_eq!(ours, whole);
            n_lean += usize::from(without_tables(bytes).is_some());
            n_refused += usize::from(whole.is_err());
        };
        for file in &files {
            compare(file);
            // Every byte before the first scan in turn: other bits, rubbish before it, and the end of the file.
            let end = first_scan(file).unwrap() + 16;
            for at in 2..end.min(file.len()).min(1500) {
                for other in [file[at] ^ 1, file[at] ^ 0x80, 0, 0xc4, 0xff] {
                    let mut damaged = file.clone();
                    damaged[at] = other;
                    compare(&damaged[..end]);
                    compare(&[&file[..at], &[other], &file[at..end]].concat());
                }
                compare(&file[..at]);
            }
        }
        assert!(files.len() > 5 && n_lean > 10_000 && n_refused > 10_000, "{n_lean} {n_refused}");
    }
}
