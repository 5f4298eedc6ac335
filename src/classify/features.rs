//! The feature table: one row of numbers per image, and its file form.
//!
//! The file is safetensors with one tensor `features` (rows × dimensions, f32) and the metadata entry `ids`, a JSON list.
//! Unaware of images and networks.

use std::collections::HashMap;

use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::diagnostic::{Context, Failure, count};

/// One row of numbers per image. Rows and ids are in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The images' ids, each once.
    pub ids: Vec<String>,
    /// Rows × dimensions.
    pub values: Array2<f32>,
}

impl Features {
    /// Joins ids and values.
    ///
    /// # Errors
    /// When their numbers differ, when an id comes twice, or when a value is not finite.
    pub fn new(ids: Vec<String>, values: Array2<f32>) -> Result<Self, Failure> {
        if ids.len() != values.nrows() {
            return Err(Failure::new(format!("features have {} for {}", count(values.nrows(), "row"), count(ids.len(), "id"))));
        }
        let mut seen = HashMap::with_capacity(ids.len());
        for (row, id) in ids.iter().enumerate() {
            if let Some(first) = seen.insert(id.as_str(), row) {
                return Err(Failure::new(format!("features name `{id}` twice, in rows {first} and {row}")));
            }
        }
        // Where all is well, which is nearly always, no place is kept track of.
        let largest = values.iter().fold(0, |largest, v| v.abs().to_bits().max(largest));
        let broken = if largest < f32::INFINITY.to_bits() { None } else { values.iter().position(|v| !v.is_finite()) };
        if let Some(at) = broken {
            let (row, column) = (at / values.ncols(), at % values.ncols());
            let value = values[(row, column)];
            return Err(Failure::new(format!("feature {column} of `{}` is {value}, expected a finite number", ids[row])));
        }
        Ok(Self { ids, values })
    }

    /// Returns the number of numbers per row.
    pub fn dim(&self) -> usize {
        self.values.ncols()
    }

    /// Returns where each id's row is.
    pub fn rows_by_id(&self) -> HashMap<&str, usize> {
        self.ids.iter().enumerate().map(|(row, id)| (id.as_str(), row)).collect()
    }

    /// Returns the file form: the same table always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let ids = serde_json::to_string(&self.ids).doing(|| "cannot write the ids of the features")?;
        let data: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, self.values.shape().to_vec(), &data).doing(|| "cannot write the features")?;
        // One metadata entry only: several would come in the random order of a hash map.
        let metadata = HashMap::from([("ids".to_string(), ids)]);
        safetensors::serialize([("features", view)], Some(metadata)).doing(|| "cannot write the features")
    }

    /// Reads the file form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        let (_, header) = SafeTensors::read_metadata(bytes).doing(|| "cannot read the features")?;
        let tensors = SafeTensors::deserialize(bytes).doing(|| "cannot read the features")?;
        let ids = header.metadata().as_ref().and_then(|m| m.get("ids")).ok_or_else(|| {
            Failure::new("the feature file names no ids").help("write the metadata entry `ids`, a JSON list with one id per row")
        })?;
        let ids: Vec<String> = serde_json::from_str(ids).doing(|| "cannot read the ids of the features")?;
        let view = tensors.tensor("features").doing(|| "the feature file has no tensor `features`")?;
        let &[rows, columns] = view.shape() else {
            return Err(Failure::new(format!("`features` has shape {:?}, expected rows and columns", view.shape())));
        };
        if view.dtype() != Dtype::F32 {
            return Err(Failure::new(format!("`features` holds {:?}, expected F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let values = Array2::from_shape_vec((rows, columns), values).doing(|| "cannot read the features")?;
        Self::new(ids, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn table() -> Features {
        Features::new(vec!["b/2.png".into(), "a \"1\"".into()], array![[1.0, -0.0, 3.5], [0.1, f32::MIN_POSITIVE, 6.0]]).unwrap()
    }

    #[test]
    fn a_table_survives_its_file_and_its_bytes_never_vary() {
        let bytes = table().to_bytes().unwrap();
        assert_eq!(Features::from_bytes(&bytes).unwrap(), table());
        assert_eq!(bytes, table().to_bytes().unwrap());
    }

    #[test]
    fn doubled_ids_and_broken_numbers_are_refused() {
        let doubled = Features::new(vec!["a".into(), "a".into()], Array2::zeros((2, 1))).unwrap_err();
        assert_eq!(doubled.message(), "features name `a` twice, in rows 0 and 1");
        let broken = Features::new(vec!["a".into()], array![[1.0, f32::NAN]]).unwrap_err();
        assert_eq!(broken.message(), "feature 1 of `a` is NaN, expected a finite number");
        assert!(Features::from_bytes(b"no such thing").is_err());
    }
}
