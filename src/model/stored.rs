//! Tensors of a safetensors file, in single precision.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::diagnostic::{Context, Failure};

/// A tensor as a file holds it.
pub struct Stored {
    pub name: String,
    pub shape: Vec<usize>,
    /// The values in single precision, or why there are none.
    pub values: Result<Vec<f32>, String>,
}

/// Returns all tensors of a file by name, and the text it says of itself under `key`.
///
/// # Errors
/// When the bytes are not a safetensors file.
pub fn read(bytes: &[u8], key: &str) -> Result<(Vec<Stored>, Option<String>), Failure> {
    let (_, header) = SafeTensors::read_metadata(bytes).doing(|| "reading a safetensors file")?;
    let about = header.metadata().as_ref().and_then(|entries| entries.get(key).cloned());
    let file = SafeTensors::deserialize(bytes).doing(|| "reading a safetensors file")?;
    let stored = |(name, view): (&str, TensorView)| Stored { name: name.to_string(), shape: view.shape().to_vec(), values: values(&view) };
    let mut tensors: Vec<Stored> = file.iter().map(stored).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((tensors, about))
}

fn values(view: &TensorView) -> Result<Vec<f32>, String> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        other => return Err(format!("holds {other:?}, no real numbers")),
    };
    let flat = Tensor::from_raw_buffer(view.data(), dtype, &[view.data().len() / dtype.size_in_bytes()], &Device::Cpu);
    let values = flat.and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_vec1::<f32>()).map_err(|error| error.to_string())?;
    match values.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(format!("holds `{value}`")),
        None => Ok(values),
    }
}
