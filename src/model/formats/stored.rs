//! A tensor as a file holds it: a window on its bytes, decoded when wanted.

use half::{bf16, f16};
use prost::bytes::Bytes;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::diagnostic::{Context, Failure};

/// Real numbers that a file may hold, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    F16,
    Bf16,
    F32,
    F64,
}

impl Real {
    /// Returns the bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Returns one number in single precision; `bytes` are as many as it has.
    fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            Self::F64 => f64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as f32,
        }
    }
}

/// What a reader did so that the tensor has the name it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    AsNamed,
    /// The file holds it under another name.
    Renamed(String),
    /// The file holds it transposed, mostly under another name.
    Transposed(String),
    /// The file holds its parts, under other names.
    Joined(Vec<String>),
}

/// A tensor as a file holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub name: String,
    pub shape: Vec<usize>,
    pub origin: Origin,
    /// Where the values are, or why there are none.
    data: Result<Data, String>,
}

/// Where values are, row by row.
#[derive(Clone, Debug)]
enum Data {
    Window(Window),
    /// One after the other.
    Joined(Vec<Stored>),
    /// Some of the values of another, from one place on, as many as the shape says.
    Part(Box<Stored>, usize),
    Sum(Box<[Stored; 2]>),
}

/// Values at regular distances in a run of bytes. Made only where all of them lie within.
#[derive(Clone, Debug)]
struct Window {
    real: Real,
    bytes: Bytes,
    /// In values, as are the strides.
    offset: usize,
    strides: Vec<usize>,
}

impl Stored {
    /// Returns a tensor whose values fill `bytes`, row by row.
    pub fn dense(name: String, shape: Vec<usize>, real: Real, bytes: Bytes) -> Result<Self, String> {
        let mut strides = vec![1_usize; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i].saturating_mul(shape[i]);
        }
        match numel(&shape).and_then(|n| n.checked_mul(real.size())) {
            Some(wanted) if wanted == bytes.len() => Self::strided(name, shape, real, bytes, 0, strides),
            _ => Err(format!("`{name}` {shape:?} cannot be the {} bytes that the file has for it", bytes.len())),
        }
    }

    /// Returns a tensor whose values lie at `offset` and `strides` in `bytes`.
    ///
    /// # Errors
    /// When values lie beyond the bytes, or there are more values than numbers in them.
    pub fn strided(name: String, shape: Vec<usize>, real: Real, bytes: Bytes, offset: usize, strides: Vec<usize>) -> Result<Self, String> {
        let held = bytes.len() / real.size();
        let last = || {
            let steps = shape.iter().zip(&strides).map(|(n, stride)| (n - 1).checked_mul(*stride));
            steps.chain([Some(offset)]).try_fold(0_usize, |sum, step| sum.checked_add(step?))
        };
        let fits = shape.len() == strides.len()
            && match numel(&shape) {
                Some(0) => true,
                Some(n) => n <= held && last().is_some_and(|last| last < held),
                None => false,
            };
        if !fits {
            return Err(format!("`{name}` {shape:?} goes beyond the {held} numbers that it is stored in"));
        }
        Ok(Self { name, shape, origin: Origin::AsNamed, data: Ok(Data::Window(Window { real, bytes, offset, strides })) })
    }

    /// Returns a tensor without usable values.
    pub fn unusable(name: String, shape: Vec<usize>, why: String) -> Self {
        Self { name, shape, origin: Origin::AsNamed, data: Err(why) }
    }

    /// Returns the same values under another name.
    pub fn named(mut self, name: String, origin: Origin) -> Self {
        (self.name, self.origin) = (name, origin);
        self
    }

    /// Returns the matrix with rows and columns exchanged; `None` for what is no matrix of a file.
    pub fn transposed(&self) -> Option<Self> {
        let mut other = self.clone();
        match &mut other.data {
            Ok(Data::Window(window)) if self.shape.len() == 2 => {
                other.shape.reverse();
                window.strides.reverse();
                Some(other)
            }
            _ => None,
        }
    }

    /// Returns tensors one after the other along an axis before which there is at most one of everything: `[1, a, d]` and `[1, b, d]`
    /// along axis 1.
    pub fn joined(name: String, parts: Vec<Self>, axis: usize) -> Option<Self> {
        let mut shape = parts.first()?.shape.clone();
        shape.get(..axis)?.iter().all(|n| *n == 1).then_some(())?;
        *shape.get_mut(axis)? = 0;
        for part in &parts {
            let fits = part.shape.len() == shape.len() && (0..shape.len()).all(|i| i == axis || part.shape[i] == shape[i]);
            shape[axis] = fits.then(|| shape[axis].checked_add(part.shape[axis])).flatten()?;
        }
        let origin = Origin::Joined(parts.iter().map(|part| part.name.clone()).collect());
        Some(Self { name, shape, origin, data: Ok(Data::Joined(parts)) })
    }

    /// Returns places `start..start + n` along an axis before which there is one of everything.
    pub fn part(&self, axis: usize, start: usize, n: usize) -> Option<Self> {
        self.shape.get(..axis)?.iter().all(|n| *n == 1).then_some(())?;
        let end = start.checked_add(n)?;
        (end <= *self.shape.get(axis)?).then_some(())?;
        let mut shape = self.shape.clone();
        shape[axis] = n;
        let row: usize = self.shape[axis + 1..].iter().product();
        Some(Self {
            name: self.name.clone(),
            shape,
            origin: self.origin.clone(),
            data: Ok(Data::Part(Box::new(self.clone()), start * row)),
        })
    }

    /// Returns the sum of two tensors with as many values.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        (numel(&self.shape) == numel(&other.shape)).then_some(())?;
        let data = Ok(Data::Sum(Box::new([self.clone(), other.clone()])));
        Some(Self { name: self.name.clone(), shape: self.shape.clone(), origin: self.origin.clone(), data })
    }

    /// Returns the values in single precision, row by row.
    ///
    /// # Errors
    /// Why there are none: another type, or one that is not finite.
    pub fn values(&self) -> Result<Vec<f32>, String> {
        let values = self.decoded()?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(format!("holds `{value}`")),
            None => Ok(values),
        }
    }

    fn decoded(&self) -> Result<Vec<f32>, String> {
        match self.data.as_ref().map_err(Clone::clone)? {
            Data::Window(window) => Ok(window.decode(&self.shape)),
            Data::Joined(parts) => parts.iter().map(Self::decoded).collect::<Result<Vec<_>, _>>().map(|parts| parts.concat()),
            Data::Part(whole, from) => {
                let whole = whole.decoded()?;
                Ok(whole[*from..*from + self.shape.iter().product::<usize>()].to_vec())
            }
            Data::Sum(terms) => {
                let (a, b) = (terms[0].decoded()?, terms[1].decoded()?);
                Ok(a.iter().zip(&b).map(|(a, b)| a + b).collect())
            }
        }
    }
}

impl Window {
    fn decode(&self, shape: &[usize]) -> Vec<f32> {
        let (n, size) = (shape.iter().product::<usize>(), self.real.size());
        let at = |place: usize| self.real.read(&self.bytes[place * size..(place + 1) * size]);
        let mut values = Vec::with_capacity(n);
        let mut index = vec![0_usize; shape.len()];
        let mut place = self.offset;
        for _ in 0..n {
            values.push(at(place));
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                // Wrapping: the stride of an axis of one value is never walked, and may be any number.
                place = place.wrapping_add(self.strides[axis]);
                if index[axis] < shape[axis] {
                    break;
                }
                place = place.wrapping_sub(self.strides[axis].wrapping_mul(shape[axis]));
                index[axis] = 0;
            }
        }
        values
    }
}

/// Returns the number of values of a shape, if it can be counted.
pub fn numel(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, side| n.checked_mul(*side))
}

/// Returns all tensors of a safetensors file by name, and the text it says of itself under `key`.
///
/// # Errors
/// When the bytes are not a safetensors file.
pub fn safetensors(bytes: &Bytes, key: &str) -> Result<(Vec<Stored>, Option<String>), Failure> {
    let (_, header) = SafeTensors::read_metadata(bytes).doing(|| "reading a safetensors file")?;
    let about = header.metadata().as_ref().and_then(|entries| entries.get(key).cloned());
    let file = SafeTensors::deserialize(bytes).doing(|| "reading a safetensors file")?;
    let stored = |(name, view): (&str, TensorView)| -> Result<Stored, String> {
        let real = match view.dtype() {
            Dtype::F32 => Real::F32,
            Dtype::F16 => Real::F16,
            Dtype::BF16 => Real::Bf16,
            Dtype::F64 => Real::F64,
            other => return Ok(Stored::unusable(name.into(), view.shape().to_vec(), format!("holds {other:?}, no real numbers"))),
        };
        Stored::dense(name.into(), view.shape().to_vec(), real, bytes.slice_ref(view.data()))
    };
    let mut tensors: Vec<Stored> = file.iter().map(stored).collect::<Result<_, _>>().map_err(Failure::new)?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((tensors, about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Stored {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Stored::dense("x".into(), shape.to_vec(), Real::F32, bytes.into()).unwrap()
    }

    #[test]
    fn windows_are_read_row_by_row_wherever_they_lie() {
        let matrix = tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let transposed = matrix.transposed().unwrap();
        assert_eq!((transposed.shape.as_slice(), transposed.values().unwrap()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(matrix.part(0, 1, 1).unwrap().values().unwrap(), [4.0, 5.0, 6.0]);
        assert!(matrix.part(1, 0, 1).is_none() && matrix.part(0, 2, 1).is_none());
        let joined = Stored::joined("y".into(), vec![matrix.part(0, 1, 1).unwrap(), matrix.clone()], 0).unwrap();
        assert_eq!((joined.shape.as_slice(), joined.values().unwrap().len()), (&[3, 3][..], 9));
        assert_eq!(matrix.plus(&matrix).unwrap().values().unwrap()[5], 12.0);
        assert!(Stored::joined("y".into(), vec![matrix, transposed], 0).is_none());
        let scalar = tensor(&[], &[7.0]);
        assert_eq!(scalar.values().unwrap(), [7.0]);
        assert!(tensor(&[0, 4], &[]).values().unwrap().is_empty());
    }

    #[test]
    fn what_lies_beyond_the_bytes_is_refused() {
        let bytes = Bytes::from_static(&[0; 24]);
        let window = |shape: &[usize], offset, strides: &[usize]| {
            Stored::strided("x".into(), shape.to_vec(), Real::F32, bytes.clone(), offset, strides.to_vec()).is_ok()
        };
        assert!(window(&[2, 3], 0, &[3, 1]) && window(&[3], 3, &[1]) && window(&[0], 99, &[1]) && window(&[2, 2], 0, &[0, 5]));
        let odd = Stored::strided("x".into(), vec![1, 2], Real::F32, bytes.clone(), 4, vec![usize::MAX, 1]).unwrap();
        assert_eq!(odd.values().unwrap(), [0.0; 2]);
        assert!(!window(&[2, 3], 1, &[3, 1]) && !window(&[3], 0, &[3]) && !window(&[3], 0, &[1, 1]));
        // More values than there are numbers: a file of a few bytes must not fill the memory.
        assert!(!window(&[1 << 40], 0, &[0]) && !window(&[usize::MAX, 2], 0, &[0, 0]) && !window(&[3], usize::MAX, &[usize::MAX]));
        assert!(Stored::dense("x".into(), vec![7], Real::F32, bytes.clone()).is_err());
        assert!(Stored::dense("x".into(), vec![usize::MAX, usize::MAX], Real::F64, bytes).is_err());
    }
}
