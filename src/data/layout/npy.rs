//! Arrays of pictures as `.npy` files: format 1.0, 8-bit, C order, images x height x width [x channels].
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. What we write has a header of 128 bytes.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Context, Failure};

/// The head of an array file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of the items as numpy writes it: `|u1`, `<i8`.
    pub descr: String,
    pub shape: Vec<usize>,
    /// The number of bytes before the items.
    pub data_at: u64,
}

impl Header {
    /// Reads the head; what numpy would not write is an error.
    pub fn read(from: &mut impl Read) -> Result<Self, Failure> {
        let short = || "failed to read the head of an `.npy` array";
        let mut first = [0; 8];
        from.read_exact(&mut first).doing(short)?;
        if &first[..6] != b"\x93NUMPY" {
            return Err(Failure::new("not an `.npy` array: its first bytes are not `\\x93NUMPY`"));
        }
        let (length, before) = match first[6] {
            1 => {
                let mut bytes = [0; 2];
                from.read_exact(&mut bytes).doing(short)?;
                (usize::from(u16::from_le_bytes(bytes)), 10)
            }
            2 | 3 => {
                let mut bytes = [0; 4];
                from.read_exact(&mut bytes).doing(short)?;
                (u32::from_le_bytes(bytes) as usize, 12)
            }
            other => return Err(Failure::new(format!("`.npy` format {other}: expected 1, 2 or 3"))),
        };
        if length > 1 << 16 {
            return Err(Failure::new(format!("the head of an `.npy` array claims {length} bytes")));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).doing(short)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let bad = || Failure::new(format!("cannot understand the head of an `.npy` array: `{}`", text.trim()));
        let descr = value(&text, "descr").and_then(|v| v.split('\'').nth(1)).ok_or_else(bad)?.to_string();
        if !value(&text, "fortran_order").ok_or_else(bad)?.starts_with("False") {
            return Err(Failure::new("the `.npy` array is in Fortran order: expected C order"));
        }
        let shape = value(&text, "shape").and_then(|v| v.strip_prefix('(')?.split(')').next()).ok_or_else(bad)?;
        let shape = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::parse).collect::<Result<Vec<usize>, _>>();
        Ok(Self { descr, shape: shape.map_err(|_| bad())?, data_at: before + length as u64 })
    }
}

/// Returns the text after `'key':`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start())
}

/// The shape of an array of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The number of bytes before the first picture.
    pub data_at: u64,
}

impl Shape {
    /// Reads the head of an array of 8-bit pictures.
    pub fn read(from: &mut impl Read) -> Result<Self, Failure> {
        Self::of(&Header::read(from)?)
    }

    /// Takes `images x height x width` (grey) or `images x height x width x 1 or 3`.
    pub fn of(header: &Header) -> Result<Self, Failure> {
        let (images, height, width, channels) = match header.shape[..] {
            [n, h, w] => (n, h, w, 1),
            [n, h, w, c] => (n, h, w, c),
            _ => (0, 0, 0, 0),
        };
        let sane = height > 0 && width > 0 && height <= 1 << 14 && width <= 1 << 14 && [1, 3].contains(&channels) && images <= 1 << 31;
        if !["|u1", "<u1", "u1"].contains(&header.descr.as_str()) || !sane {
            return Err(Failure::new(format!(
                "an array of `{}` with shape {:?} holds no pictures: expected 8-bit `|u1` of images x height x width [x 3]",
                header.descr, header.shape
            )));
        }
        Ok(Self { images, height, width, channels, data_at: header.data_at })
    }

    /// Returns the bytes of one picture.
    pub fn image_bytes(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Writes an array of pictures one after the other.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    shape: Shape,
}

const HEAD: usize = 128;

impl Writer {
    /// Starts an array of pictures of one size at `path`.
    pub fn create(path: &Path, height: usize, width: usize, channels: usize) -> Result<Self, Failure> {
        let what = || format!("failed to write `{}`", path.display());
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).doing(what)?);
        file.write_all(&[0; HEAD]).doing(what)?;
        let shape = Shape { images: 0, height, width, channels, data_at: HEAD as u64 };
        Ok(Self { path: path.to_path_buf(), file, shape })
    }

    /// Adds a picture and returns the number of its row.
    pub fn push(&mut self, pixels: &[u8]) -> Result<u32, Failure> {
        if pixels.len() != self.shape.image_bytes() {
            return Err(Failure::new(format!("a picture of {} bytes in an array of {}", pixels.len(), self.shape.image_bytes())));
        }
        self.file.write_all(pixels).doing(|| format!("failed to write `{}`", self.path.display()))?;
        self.shape.images += 1;
        Ok((self.shape.images - 1) as u32)
    }

    /// Ends the array: only now is its head written.
    pub fn finish(mut self) -> Result<PathBuf, Failure> {
        let Shape { images, height, width, channels, .. } = self.shape;
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({images}, {height}, {width}, {channels}), }}");
        let mut head = b"\x93NUMPY\x01\x00".to_vec();
        head.extend(((HEAD - 10) as u16).to_le_bytes());
        head.extend(text.bytes());
        head.resize(HEAD - 1, b' ');
        head.push(b'\n');
        let what = || format!("failed to write `{}`", self.path.display());
        self.file.seek(SeekFrom::Start(0)).doing(what)?;
        self.file.write_all(&head).doing(what)?;
        self.file.flush().doing(what)?;
        Ok(self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixels.npy");
        let mut writer = Writer::create(&path, 2, 3, 1).unwrap();
        assert_eq!((writer.push(&[1; 6]).unwrap(), writer.push(&[2; 6]).unwrap()), (0, 1));
        assert!(writer.push(&[0; 5]).is_err());
        writer.finish().unwrap();
        let shape = Shape::read(&mut File::open(&path).unwrap()).unwrap();
        assert_eq!(shape, Shape { images: 2, height: 2, width: 3, channels: 1, data_at: 128 });
        assert_eq!(std::fs::read(&path).unwrap()[128..], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn no_damaged_head_makes_it_panic() {
        let whole = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3), }".to_vec();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 0x31;
            let _ = Shape::read(&mut &damaged[..]);
            assert!(Shape::read(&mut &whole[..i]).is_err());
        }
    }
}
