//! The features of a study in one artefact: those of the network, and the floors that every report shows beside them.
//!
//! One safetensors file: a tensor (rows × dimensions, f32) for each table, and the ids in the metadata.

use std::collections::HashMap;

use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::io;
use crate::classify::{Features, TransformStep};
use crate::diagnostic::{Context, Failure};
use crate::stage::Io;

/// The name of the table that a study is about.
pub const MAIN: &str = "features";

/// Tables of features of the same images, by name: `features` first, then the floors.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSet {
    /// What made the features, as figures name it: "DINO".
    pub of: String,
    pub tables: Vec<(String, Features)>,
    /// Steps of a transform that are still to be done, by whoever draws labelled rows: fitted on those rows alone.
    pub pending: Vec<TransformStep>,
}

impl FeatureSet {
    /// Writes the tables to port `features`, and the mean length of a row of each as headline figures.
    pub fn write(&self, io: &Io) -> Result<(), Failure> {
        for (name, table) in &self.tables {
            let lengths = table.values.rows().into_iter().map(|row| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt());
            io.metric(format!("{name}.length"), lengths.sum::<f64>() / table.ids.len().max(1) as f64);
        }
        io::write_bytes(io, "features", &self.to_bytes()?)
    }

    /// Returns the file form: the same tables always give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let what = || "failed to write the features";
        let ids = self.tables.first().map_or(&[][..], |(_, table)| &table.ids);
        let names: Vec<&String> = self.tables.iter().map(|(name, _)| name).collect();
        // One metadata entry only: several would come in the random order of a hash map.
        let mut head = serde_json::json!({"ids": ids, "of": self.of, "tables": names});
        if !self.pending.is_empty() {
            head["pending"] = serde_json::json!(self.pending);
        }
        let head = head.to_string();
        let data: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tables
            .iter()
            .map(|(name, t)| (name.clone(), t.values.shape().to_vec(), t.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = data
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).doing(what)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        safetensors::serialize(views, Some(HashMap::from([("flow".to_string(), head)]))).doing(what)
    }

    /// Reads the file form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        #[derive(serde::Deserialize)]
        struct Head {
            ids: Vec<String>,
            of: String,
            tables: Vec<String>,
            #[serde(default)]
            pending: Vec<TransformStep>,
        }
        let what = || "failed to read the features";
        let (_, header) = SafeTensors::read_metadata(bytes).doing(what)?;
        let tensors = SafeTensors::deserialize(bytes).doing(what)?;
        let head =
            header.metadata().as_ref().and_then(|m| m.get("flow")).ok_or_else(|| Failure::new("the feature file names no tables"))?;
        let head: Head = serde_json::from_str(head).doing(what)?;
        let table = |name: &String| -> Result<(String, Features), Failure> {
            let view = tensors.tensor(name).doing(what)?;
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let &[rows, columns] = view.shape() else { return Err(Failure::new(format!("table `{name}` is not two-dimensional"))) };
            let values = Array2::from_shape_vec((rows, columns), values).doing(what)?;
            Ok((name.clone(), Features::new(head.ids.clone(), values)?))
        };
        let tables = head.tables.iter().map(table).collect::<Result<_, _>>()?;
        Ok(Self { of: head.of, tables, pending: head.pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn tables_survive_their_file_in_order() {
        let table = |x: f32| Features::new(vec!["a".into(), "b".into()], array![[x, 2.0], [3.0, 4.0]]).unwrap();
        let tables = vec![(MAIN.into(), table(1.0)), ("untrained".into(), table(5.0)), ("pixels".into(), table(0.0))];
        let mut set = FeatureSet { of: "DINO".into(), tables, pending: Vec::new() };
        let bytes = set.to_bytes().unwrap();
        assert_eq!(FeatureSet::from_bytes(&bytes).unwrap(), set);
        set.pending = vec![TransformStep::YeoJohnson];
        let bytes = set.to_bytes().unwrap();
        assert_eq!(FeatureSet::from_bytes(&bytes).unwrap(), set);
        assert_eq!(set.to_bytes().unwrap(), bytes);
    }
}
