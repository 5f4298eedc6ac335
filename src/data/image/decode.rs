//! From a file's bytes to pixels: JPEG, PNG, BMP, TIFF, WebP, told apart by content and never by name.
//!
//! Bad input is an error with its cause. Sizes are checked before anything is decoded, so that a few bytes cannot ask for gigabytes.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};

use super::rgb::Rgb;
use crate::diagnostic::{Context, Failure, thousands};

/// The largest picture that is decoded, in pixels.
pub const MAX_PIXELS: u64 = 1 << 28;
/// The largest picture file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most memory that a decoder may take for one picture, in bytes.
const MAX_DECODER_BYTES: u64 = 2 << 30;

/// Returns width and height in pixels as the file's header tells them.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), Failure> {
    let (width, height) = reader(bytes)?.into_dimensions().doing(|| "failed to read the header")?;
    checked(width, height)
}

/// Decodes a picture to 8-bit RGB: grey is repeated, 16 bits are rounded to 8, transparency is dropped.
///
/// A camera's orientation tag is not applied, as in Pillow's `Image.open(..).convert("RGB")`.
pub fn decode(bytes: &[u8]) -> Result<Rgb, Failure> {
    dimensions(bytes)?;
    let picture = reader(bytes)?.decode().doing(|| "failed to decode")?.into_rgb8();
    let (width, height) = picture.dimensions();
    Rgb::new(width as usize, height as usize, picture.into_raw())
}

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, Failure> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().doing(|| "failed to read the header")?;
    let known = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    match reader.format() {
        Some(format) if known.contains(&format) => {}
        _ if bytes.is_empty() => return Err(Failure::new("the file is empty")),
        _ => return Err(Failure::new("the content is no picture we can read: expected JPEG, PNG, BMP, TIFF or WebP")),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn checked(width: u32, height: u32) -> Result<(usize, usize), Failure> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        let most = thousands(MAX_PIXELS as usize);
        return Err(Failure::new(format!("the picture is {width} x {height}: expected 1 to {most} pixels")));
    }
    Ok((width as usize, height as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
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
}
