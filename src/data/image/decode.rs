//! From a file's bytes to pixels: JPEG, PNG, BMP, TIFF, WebP and DICOM, told apart by content and never by name.
//!
//! Bad input is an error with its cause. Sizes are checked before anything is decoded, so that a few bytes cannot ask for gigabytes.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::guard::guarded;
use super::limits::{MAX_DECODER_BYTES, checked};
use super::rgb::Rgb;
use super::{dicom, draft, jpeg, tiff};
use crate::diagnostic::{Context, Failure};

/// What a file's header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels, upright.
    pub width: usize,
    /// Height in pixels, upright.
    pub height: usize,
    /// Pictures that the file says it holds; 1 but for DICOM.
    pub frames: usize,
}

/// Reads a file's header, for which its beginning may be enough.
///
/// # Errors
/// When the content is no picture that is read here, is cut off, or says that it is larger than [`MAX_PIXELS`](super::MAX_PIXELS).
pub fn header(bytes: &[u8]) -> Result<Header, Failure> {
    guarded(|| if is_dicom(bytes) { dicom::header(bytes) } else { header_of_picture(bytes) })
}

fn header_of_picture(bytes: &[u8]) -> Result<Header, Failure> {
    let ((width, height), turned) = if is_jpeg(bytes) {
        let head = jpeg::header(bytes)?;
        ((head.width, head.height), turned_by(head.tags.as_deref()))
    } else {
        let mut decoder = opened(bytes)?;
        (decoder.dimensions(), orientation(&mut decoder))
    };
    let (width, height) = checked(width, height)?;
    match turned {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            Ok(Header { width: height, height: width, frames: 1 })
        }
        _ => Ok(Header { width, height, frames: 1 }),
    }
}

/// Returns width and height in pixels as the file's header tells them.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), Failure> {
    header(bytes).map(|header| (header.width, header.height))
}

/// Returns how many pictures a whole file holds: 1, or the frames of a DICOM file, which are looked for.
pub fn frames(bytes: &[u8]) -> Result<usize, Failure> {
    guarded(|| if is_dicom(bytes) { dicom::frames(bytes) } else { Ok(1) })
}

/// Decodes a picture to 8-bit RGB, upright: the first frame of DICOM, the first page of TIFF.
///
/// Grey is repeated, 16 bits are rounded to 8, transparency is dropped, and four inks become RGB without colour management, all as in
/// Pillow's `ImageOps.exif_transpose(picture).convert("RGB")`. What DICOM's numbers mean is in `dicom`.
///
/// # Errors
/// As [`header`], and when the file is damaged.
pub fn decode(bytes: &[u8]) -> Result<Rgb, Failure> {
    decode_frame(bytes, 0)
}

/// Decodes one of a file's pictures, counted from 0, as [`decode`] does.
///
/// # Errors
/// As [`decode`], and when the file does not hold so many.
pub fn decode_frame(bytes: &[u8], frame: usize) -> Result<Rgb, Failure> {
    guarded(|| match frame {
        _ if is_dicom(bytes) => dicom::decode(bytes, frame),
        0 => decode_picture(bytes),
        _ => Err(Failure::new(format!("frame {} is not there: the file holds 1 picture", frame + 1))),
    })
}

/// Decodes a picture as [`decode`] does, of which no more is wanted than an antialiasing filter needs to make `wanted` pixels of it, width
/// and height: a JPEG of at least four times that size may come at a half, a quarter or an eighth of its own, the mean over as many pixels
/// each way. Twice the wanted size is left at least. The way of Pillow's `Image.draft`.
///
/// # Errors
/// As [`decode`].
pub fn decode_draft(bytes: &[u8], wanted: [usize; 2]) -> Result<Rgb, Failure> {
    let drafted = || {
        let Header { width, height, .. } = header_of_picture(bytes).ok()?;
        jpeg::decode_draft(bytes, draft::reduction([width, height], wanted)?)
    };
    match guarded(|| Ok(is_jpeg(bytes).then(drafted).flatten()))? {
        Some(samples) => from_samples(samples).and_then(|(picture, turned)| upright(picture, turned)),
        None => decode(bytes),
    }
}

fn decode_picture(bytes: &[u8]) -> Result<Rgb, Failure> {
    let (picture, turned) = if is_jpeg(bytes) {
        from_samples(jpeg::decode(bytes, jpeg::Colours::Rgb)?)?
    } else {
        let mut decoder = opened(bytes)?;
        let (width, height) = decoder.dimensions();
        checked(width, height)?;
        let turned = orientation(&mut decoder);
        (DynamicImage::from_decoder(decoder).doing(|| "failed to decode")?, turned)
    };
    upright(picture, turned)
}

fn upright(picture: DynamicImage, turned: Orientation) -> Result<Rgb, Failure> {
    let mut picture = DynamicImage::ImageRgb8(picture.into_rgb8());
    picture.apply_orientation(turned);
    let (width, height) = (picture.width(), picture.height());
    Rgb::new(width as usize, height as usize, picture.into_bytes())
}

fn from_samples(samples: jpeg::Samples) -> Result<(DynamicImage, Orientation), Failure> {
    let jpeg::Samples { width, height, channels, values, tags } = samples;
    let (width, height) = (width as u32, height as u32);
    let picture = match channels {
        1 => GrayImage::from_raw(width, height, values).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(width, height, values).map(DynamicImage::ImageRgb8),
    };
    let picture = picture.ok_or_else(|| Failure::new("failed to decode the JPEG: it has another size than its header says"))?;
    Ok((picture, turned_by(tags.as_deref())))
}

/// How the picture is to be turned; a tag that cannot be read says nothing.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let tagged = decoder.orientation().ok().filter(|found| *found != Orientation::NoTransforms);
    tagged.or_else(|| prefixed(&decoder.exif_metadata().ok()??)).unwrap_or(Orientation::NoTransforms)
}

/// How EXIF tags, where there are any, say that the picture is to be turned.
fn turned_by(tags: Option<&[u8]>) -> Orientation {
    let said = tags.and_then(|tags| Orientation::from_exif_chunk(tags).or_else(|| prefixed(tags)));
    said.unwrap_or(Orientation::NoTransforms)
}

/// Some programs write, before the tags, the six bytes that JPEG has there once more or into WebP and PNG.
fn prefixed(tags: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(tags.strip_prefix(b"Exif\0\0")?)
}

/// Whether a file begins as JPEG does: the start of an image, and another marker.
fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff])
}

/// Whether a file begins as DICOM does: a preamble of 128 bytes, then `DICM` (PS3.10 section 7.1).
pub fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM")
}

/// Opens what is neither JPEG nor DICOM.
fn opened(bytes: &[u8]) -> Result<impl ImageDecoder, Failure> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().doing(|| "failed to read the header")?;
    let known = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    let format = match reader.format() {
        Some(format) if known.contains(&format) => format,
        _ if bytes.is_empty() => return Err(Failure::new("the file is empty")),
        _ => return Err(Failure::new("the content is no picture we can read: expected JPEG, PNG, BMP, TIFF, WebP or DICOM")),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    match format {
        // What says how it is turned stands at the end.
        ImageFormat::WebP => whole_webp(bytes)?,
        ImageFormat::Tiff => tiff::check(bytes)?,
        _ => {}
    }
    let decoder = reader.into_decoder().doing(|| "failed to read the header")?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Failure::new("the picture holds floating-point numbers, of which nobody says which is white"));
    }
    if decoder.total_bytes() > MAX_DECODER_BYTES {
        let (width, height) = decoder.dimensions();
        return Err(Failure::new(format!("the picture of {width} x {height} pixels needs {} bytes", decoder.total_bytes())));
    }
    Ok(decoder)
}

/// Refuses a file that is shorter than it or one of its chunks says: the decoder would miss what stands at its end, or take memory for it.
fn whole_webp(bytes: &[u8]) -> Result<(), Failure> {
    let length = |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(|four| u32::from_le_bytes(four) as usize);
    let mut reaches = length(4).map_or(usize::MAX, |says| says.saturating_add(8));
    let mut at = 12;
    while let Some(says) = length(at + 4) {
        let end = at.saturating_add(8).saturating_add(says);
        reaches = reaches.max(end);
        // Chunks begin at even places.
        at = end.saturating_add(end % 2);
    }
    match reaches <= bytes.len() {
        true => Ok(()),
        false => Err(Failure::new(format!("the WebP file says it reaches to byte {reaches}, and ends at byte {}", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_picture_keeps_its_pixels() {
        let picture = decode(&png(5, 3)).unwrap();
        assert_eq!((picture.width(), picture.height(), picture.at(4, 2)), (5, 3, [4, 2, 7]));
    }

    #[test]
    fn no_cut_or_flipped_byte_makes_it_panic() {
        let whole = png(9, 9);
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err() || cut + 12 >= whole.len(), "{cut}");
            let mut damaged = whole.clone();
            damaged[cut] ^= 0x5a;
            let _ = decode(&damaged);
        }
    }

    #[test]
    fn what_is_no_picture_is_said_so() {
        assert_eq!(decode(b"").unwrap_err().message(), "the file is empty");
        assert!(decode(b"x y class\n1 2 3\n").unwrap_err().message().starts_with("the content is no picture"));
    }
    #[test]
    fn a_chunk_that_reaches_beyond_the_file_takes_no_memory() {
        let mut bytes = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\x13\0\0\x0d\0\0EXIF".to_vec();
        bytes.extend(0xfeff_0000u32.to_le_bytes());
        let failure = decode(&bytes).unwrap_err();
        assert_eq!(failure.message(), "the WebP file says it reaches to byte 4278124582, and ends at byte 38");
        assert!(header(&bytes).is_err());
    }
}
