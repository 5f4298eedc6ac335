//! `Watch`: snapshots of a training + labels -> how well its representations told classes apart on the way.
//!
//! The training knows nothing of it: a label that changes is seen here and trains nothing again.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::io;
use super::kinds::{CURVE, LABELS, SNAPSHOTS};
use crate::classify::judged_by_others;
use crate::data::{ImageId, ImageTable};
use crate::diagnostic::{Context, Failure};
use crate::params::Ref;
use crate::report::{Line, Panel, TrainingCurve};
use crate::stage::{Complaint, Input, Io, Output, Stage};
use crate::train::Snapshots;

crate::params! {
    /// k nearest neighbours on what a `Dino` with `watch` kept on the way: each image judged by the others. For looking, not for choosing.
    pub struct Watch {
        pub snapshots: Ref = Ref::default(),
        /// Images without a label are left out.
        pub labels: Ref = Ref::default(),
        /// Neighbours that vote.
        pub k: usize = 20,
    }
}

/// What stands beside the numbers in a file of snapshots.
#[derive(Serialize, Deserialize)]
struct Head {
    ids: Vec<String>,
    steps: Vec<u64>,
    steps_per_epoch: u64,
}

/// One tensor `features` (looks × images × D, f32); ids and steps in the metadata.
pub(super) fn snapshots_bytes(images: &ImageTable, snapshots: &Snapshots, dim: usize, steps_per_epoch: u64) -> Result<Vec<u8>, Failure> {
    let what = || "failed to write the snapshots";
    let ids: Vec<String> = images.rows().iter().map(|row| row.id.to_string()).collect();
    let shape = vec![snapshots.steps.len(), ids.len(), dim];
    let head = serde_json::to_string(&Head { ids, steps: snapshots.steps.clone(), steps_per_epoch }).doing(what)?;
    let bytes: Vec<u8> = snapshots.features.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape, &bytes).doing(what)?;
    safetensors::serialize([("features", view)], Some(HashMap::from([("flow".to_string(), head)]))).doing(what)
}

impl Watch {
    /// (epoch, balanced accuracy) at each look.
    fn curve(&self, io: &Io) -> Result<Vec<(f64, f64)>, Failure> {
        let what = || "failed to read the snapshots";
        let bytes = io::bytes(io, "snapshots")?;
        let (_, header) = SafeTensors::read_metadata(&bytes).doing(what)?;
        let head = header.metadata().as_ref().and_then(|m| m.get("flow")).ok_or_else(|| Failure::new("the snapshots name no images"))?;
        let head: Head = serde_json::from_str(head).doing(what)?;
        let tensors = SafeTensors::deserialize(&bytes).doing(what)?;
        let view = tensors.tensor("features").doing(what)?;
        let &[looks, n, dim] = view.shape() else { return Err(Failure::new("the snapshots are not three-dimensional")) };
        if looks != head.steps.len() || n != head.ids.len() || n * dim == 0 {
            return Err(Failure::new(format!("snapshots of {n} images at {looks} steps, but {} are named", head.ids.len())));
        }
        let numbers: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();

        let labels = io::labels(io, "labels")?;
        let known = head.ids.iter().enumerate().filter_map(|(i, id)| Some((i, labels.class_of(&ImageId::from(id.as_str()))?)));
        let (rows, class): (Vec<usize>, Vec<usize>) = known.unzip();
        if rows.len() < 2 {
            let found = format!("{} of the {n} images watched have a label, at least 2 must", rows.len());
            return Err(Failure::new(found).help("let `labels` and the `watch` of the training come from the same data"));
        }
        let accuracy = |look: &[f32]| {
            let some: Vec<f32> = rows.iter().flat_map(|i| look[i * dim..(i + 1) * dim].iter().copied()).collect();
            judged_by_others(&some, dim, &class, labels.classes().len(), self.k).balanced_accuracy()
        };
        let epoch = |step: &u64| *step as f64 / head.steps_per_epoch.max(1) as f64;
        Ok(head.steps.iter().map(epoch).zip(numbers.chunks_exact(n * dim).map(accuracy)).collect())
    }
}

impl Stage for Watch {
    fn kind(&self) -> &'static str {
        "Watch"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let wrong = (self.k == 0).then(|| Complaint { field: "k".into(), message: "must be at least 1, got 0".into() });
        wrong.into_iter().collect()
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::required("snapshots", &self.snapshots, SNAPSHOTS), Input::required("labels", &self.labels, LABELS)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("curve", CURVE)]
    }

    fn looks_upstream(&self) -> bool {
        false
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.05)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let points = self.curve(io)?;
        if let Some((_, last)) = points.last() {
            io.metric("knn", *last);
        }
        let line = Line { name: format!("k = {}", self.k), points };
        let title = "Balanced accuracy of nearest neighbours".to_string();
        let curve = TrainingCurve {
            name: "k-NN on the way".to_string(),
            x: "epoch".to_string(),
            panels: vec![Panel { title, lines: vec![line], levels: Vec::new() }],
            verdict: None,
        };
        io::write_json(io, "curve", &curve)
    }
}
