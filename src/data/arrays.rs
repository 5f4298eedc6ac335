//! Arrays of numbers in `.npy` files: rows of floats, and one whole number for each row.
//!
//! Little-endian and in C order, as `numpy.save` writes them on the machines of today.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ndarray::Array2;

use super::layout::npy::Header;
use crate::diagnostic::{Context, Failure, thousands};

/// Reads rows × columns of `<f4` or `<f8`; the latter are rounded to f32.
///
/// # Errors
/// When the file cannot be read, holds another type or shape, or is not as long as its head says.
pub fn read_rows(path: &Path) -> Result<Array2<f32>, Failure> {
    let (header, mut file) = open(path)?;
    let &[rows, columns] = &header.shape[..] else {
        return Err(wrong(path, &header, "rows x columns of floats, `<f4` or `<f8`"));
    };
    let values: Vec<f32> = match header.descr.as_str() {
        "<f4" => items(path, &mut file, &header, |b: &[u8; 4]| f32::from_le_bytes(*b))?,
        "<f8" => items(path, &mut file, &header, |b: &[u8; 8]| f64::from_le_bytes(*b) as f32)?,
        _ => return Err(wrong(path, &header, "rows x columns of floats, `<f4` or `<f8`")),
    };
    Array2::from_shape_vec((rows, columns), values).doing(|| format!("`{}`", path.display()))
}

/// Reads whole numbers of any width, in the shape N or N × 1.
///
/// # Errors
/// As [`read_rows`].
pub fn read_whole_numbers(path: &Path) -> Result<Vec<i64>, Failure> {
    let (header, mut file) = open(path)?;
    if !matches!(header.shape[..], [_] | [_, 1]) {
        return Err(wrong(path, &header, "one whole number for each row"));
    }
    let file = &mut file;
    match header.descr.as_str() {
        "|i1" => items(path, file, &header, |b: &[u8; 1]| i64::from(i8::from_le_bytes(*b))),
        "|u1" | "|b1" => items(path, file, &header, |b: &[u8; 1]| i64::from(b[0])),
        "<i2" => items(path, file, &header, |b: &[u8; 2]| i64::from(i16::from_le_bytes(*b))),
        "<u2" => items(path, file, &header, |b: &[u8; 2]| i64::from(u16::from_le_bytes(*b))),
        "<i4" => items(path, file, &header, |b: &[u8; 4]| i64::from(i32::from_le_bytes(*b))),
        "<u4" => items(path, file, &header, |b: &[u8; 4]| i64::from(u32::from_le_bytes(*b))),
        "<i8" | "<u8" => items(path, file, &header, |b: &[u8; 8]| i64::from_le_bytes(*b)),
        _ => Err(wrong(path, &header, "one whole number for each row")),
    }
}

fn open(path: &Path) -> Result<(Header, BufReader<File>), Failure> {
    let what = || format!("failed to read `{}`", path.display());
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).doing(what)?);
    let header = Header::read(&mut file).map_err(|failure| failure.while_doing(what()))?;
    Ok((header, file))
}

fn wrong(path: &Path, header: &Header, expected: &str) -> Failure {
    Failure::new(format!("`{}` holds `{}` of the shape {:?}: expected {expected}", path.display(), header.descr, header.shape))
}

/// Reads all items of `N` bytes, once the length of the file agrees with the head: a head that lies reserves no memory.
fn items<T, const N: usize>(
    path: &Path,
    file: &mut BufReader<File>,
    header: &Header,
    item: impl Fn(&[u8; N]) -> T,
) -> Result<Vec<T>, Failure> {
    let what = || format!("failed to read `{}`", path.display());
    let length = file.get_ref().metadata().doing(what)?.len().saturating_sub(header.data_at);
    let n = header.shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
    let n = n.filter(|n| n.checked_mul(N).is_some_and(|bytes| bytes as u64 == length)).ok_or_else(|| {
        let found = thousands(usize::try_from(length).unwrap_or(usize::MAX));
        Failure::new(format!(
            "`{}` has {found} bytes after its head, which announces `{}` of {:?}",
            path.display(),
            header.descr,
            header.shape
        ))
        .help("the file may be cut off: write it again")
    })?;
    let mut out = Vec::with_capacity(n);
    let mut buffer = vec![0; N * n.clamp(1, 1 << 16)];
    while out.len() < n {
        let some = &mut buffer[..N * (n - out.len()).min(1 << 16)];
        file.read_exact(some).doing(what)?;
        out.extend(some.as_chunks::<N>().0.iter().map(&item));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn file(descr: &str, shape: &str, items: &[u8]) -> tempfile::NamedTempFile {
        let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{head:117}\n").bytes());
        bytes.extend(items);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn bytes<const N: usize>(items: &[[u8; N]]) -> Vec<u8> {
        items.concat()
    }

    #[test]
    fn rows_of_both_widths_of_floats_are_read() {
        let narrow = file("<f4", "(2, 2)", &bytes(&[1.0f32, -2.0, 0.5, 3.0].map(f32::to_le_bytes)));
        let wide = file("<f8", "(2, 2)", &bytes(&[1.0f64, -2.0, 0.5, 3.0].map(f64::to_le_bytes)));
        for file in [narrow, wide] {
            assert_eq!(read_rows(file.path()).unwrap(), array![[1.0, -2.0], [0.5, 3.0]]);
        }
    }

    #[test]
    fn whole_numbers_of_any_width_are_read() {
        for file in [
            file("<i8", "(3,)", &bytes(&[1i64, -2, 300].map(i64::to_le_bytes))),
            file("<i2", "(3, 1)", &bytes(&[1i16, -2, 300].map(i16::to_le_bytes))),
        ] {
            assert_eq!(read_whole_numbers(file.path()).unwrap(), [1, -2, 300]);
        }
    }

    #[test]
    fn what_does_not_fit_is_said_before_memory_is_taken() {
        let said = |file: tempfile::NamedTempFile| {
            let name = file.path().display().to_string();
            read_rows(file.path()).unwrap_err().message().replace(&name, "x.npy")
        };
        assert_eq!(
            said(file("<f4", "(4,)", &[0; 16])),
            "`x.npy` holds `<f4` of the shape [4]: expected rows x columns of floats, `<f4` or `<f8`"
        );
        assert_eq!(said(file("<f4", "(2, 2)", &[0; 15])), "`x.npy` has 15 bytes after its head, which announces `<f4` of [2, 2]");
        let lie = said(file("<f8", "(4611686018427387904, 4611686018427387904)", &[]));
        assert_eq!(lie, "`x.npy` has 0 bytes after its head, which announces `<f8` of [4611686018427387904, 4611686018427387904]");
        let labels = file("<f4", "(1,)", &[0; 4]);
        assert!(read_whole_numbers(labels.path()).unwrap_err().message().ends_with("expected one whole number for each row"));
    }
}
