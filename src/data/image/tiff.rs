//! What the TIFF decoder takes for granted and some files do not grant: without a look at it their pictures would be wrong.
//!
//! Tags of the first directory, TIFF 6.0 (Adobe 1992).

use crate::diagnostic::Failure;

const FILL_ORDER: u16 = 266;
const PLANAR_CONFIGURATION: u16 = 284;
const TILE_WIDTH: u16 = 322;
const EXTRA_SAMPLES: u16 = 338;

/// Refuses what would be decoded wrongly, with its cause.
pub fn check(bytes: &[u8]) -> Result<(), Failure> {
    let first = |wanted| first_number(bytes, wanted);
    match () {
        () if first(FILL_ORDER) == Some(2) => {
            Err(Failure::new("the TIFF file has the bits of its bytes in reverse, which is not read here"))
        }
        () if first(EXTRA_SAMPLES) == Some(1) => {
            Err(Failure::new("the TIFF file has colours multiplied by their opacity, which is not read here"))
        }
        () if first(PLANAR_CONFIGURATION) == Some(2) && first(TILE_WIDTH).is_some() => {
            Err(Failure::new("the TIFF file has tiles of one colour each, which is not read here"))
        }
        () => Ok(()),
    }
}

/// Returns the first 16-bit number of a tag that stands in the directory itself; nothing where there is none such.
fn first_number(bytes: &[u8], wanted: u16) -> Option<u16> {
    let big_endian = bytes.starts_with(b"MM");
    let short = |at: usize| {
        let two = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    };
    let long = |at: usize| {
        let (a, b) = (u32::from(short(at)?), u32::from(short(at.checked_add(2)?)?));
        Some(if big_endian { a << 16 | b } else { b << 16 | a })
    };
    let directory = long(4)? as usize;
    let n = usize::from(short(directory)?);
    let at = (0..n).map(|i| directory + 2 + 12 * i).find(|at| short(*at) == Some(wanted))?;
    short(at + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(tag: u16, value: u16) -> Vec<u8> {
        let parts: [&[u8]; 8] =
            [b"MM\0\x2a\0\0\0\x08\0\x01", &tag.to_be_bytes(), &[0, 3], &[0, 0, 0, 1], &value.to_be_bytes(), &[0; 2], &[0; 4], &[]];
        parts.concat()
    }

    #[test]
    fn what_would_be_wrong_is_refused_and_nonsense_is_left_to_the_decoder() {
        assert!(check(&directory(FILL_ORDER, 1)).is_ok());
        assert!(check(&directory(FILL_ORDER, 2)).unwrap_err().message().contains("in reverse"));
        assert!(check(&directory(EXTRA_SAMPLES, 1)).unwrap_err().message().contains("opacity"));
        for bytes in [&b"II*\0"[..], b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\0"] {
            assert!(check(bytes).is_ok());
        }
    }
}
