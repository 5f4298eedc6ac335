//! How large a picture may be, checked before memory is taken for it.

use crate::diagnostic::{Failure, thousands};

/// The largest picture that is decoded, in pixels.
pub const MAX_PIXELS: u64 = 1 << 28;
/// The largest picture file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most memory that a decoder may take for one picture, in bytes.
pub const MAX_DECODER_BYTES: u64 = 2 << 30;

/// Returns width and height where they are a picture's that may be decoded.
pub fn checked(width: u32, height: u32) -> Result<(usize, usize), Failure> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        let most = thousands(MAX_PIXELS as usize);
        return Err(Failure::new(format!("the picture is {width} x {height}: expected 1 to {most} pixels")));
    }
    Ok((width as usize, height as usize))
}

/// Refuses a file that can never hold as many pixels as its header says, where each of its bytes holds at most `most`.
pub fn plausible(bytes: &[u8], (width, height): (usize, usize), most: usize) -> Result<(), Failure> {
    match (width * height) / most <= bytes.len() {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("{} bytes cannot hold the {width} x {height} pixels that the header says", thousands(bytes.len()))))
        }
    }
}
