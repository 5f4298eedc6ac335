//! Reading golden files, and holding what an execution gives against them.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod kernels; // the step of a `Dino` node
pub mod optimiser;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow::model::{Entry, Layout, Weights, XcitSizes};
use safetensors::{Dtype, SafeTensors};

/// Tensors by name, their shapes beside their values.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// Returns our copy of the golden files.
pub fn own_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/xcit_dino")
}

/// Returns the folder of the golden files: our copy, or the one named in `FLOW_GOLDEN_XCIT_DINO`.
pub fn folder() -> PathBuf {
    std::env::var_os("FLOW_GOLDEN_XCIT_DINO").map_or_else(own_folder, PathBuf::from)
}

/// Pixels (B, 3, H, W) of a golden file as (B, H, W, 3), or back.
pub fn pixels(values: &[f32], &[batch, channels, height, width]: &[usize; 4], back: bool) -> Vec<f32> {
    let plane = height * width;
    let (steps, lines) = if back { (channels, plane) } else { (plane, channels) };
    let at = |image: usize, i: usize, j: usize| values[image * channels * plane + j * steps + i];
    (0..batch).flat_map(|image| (0..steps).flat_map(move |i| (0..lines).map(move |j| at(image, i, j)))).collect()
}

/// A golden file.
pub struct Golden {
    pub tensors: Named,
    metadata: BTreeMap<String, String>,
}

impl Golden {
    /// Reads a file of XCiT's golden folder.
    pub fn read(name: &str) -> Self {
        Self::open(&folder().join(name))
    }

    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let values = |data: &[u8]| data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect();
        let tensor = |(name, view): (&str, safetensors::tensor::TensorView)| {
            assert_eq!(view.dtype(), Dtype::F32, "{name}");
            (name.to_string(), (view.shape().to_vec(), values(view.data())))
        };
        Self { tensors: file.iter().map(tensor).collect(), metadata }
    }

    /// Returns what the file says under this key.
    pub fn said(&self, key: &str) -> &str {
        &self.metadata[key]
    }

    pub fn number(&self, key: &str) -> usize {
        self.said(key).parse().unwrap()
    }

    /// Returns the sizes written in an XCiT file's metadata.
    pub fn sizes(&self) -> XcitSizes {
        let number = |key: &str| self.number(key);
        XcitSizes {
            dim: number("dim"),
            depth: number("depth"),
            heads: number("heads"),
            patch: number("patch"),
            eta: 1.0,
            tokens_norm: self.said("tokens_norm") == "true",
            cls_depth: number("cls_attn_layers"),
        }
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensors[name].0
    }

    pub fn f64(&self, name: &str) -> &[f64] {
        &self.tensors[name].1
    }

    /// The values as they are stored; nothing is lost.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.f64(name).iter().map(|v| *v as f32).collect()
    }

    /// Returns the weights of this layout, each found under `prefix` and its name.
    pub fn weights(&self, layout: Layout, prefix: &str) -> Weights {
        let gather = |entries: &[Entry]| -> Vec<f32> {
            let one = |entry: &Entry| {
                let name = format!("{prefix}{}", entry.name);
                assert_eq!(self.shape(&name), entry.shape, "{name}");
                self.f32(&name)
            };
            entries.iter().flat_map(one).collect()
        };
        let (params, buffers) = (gather(layout.params()), gather(layout.buffers()));
        Weights { layout: Arc::new(layout), params, buffers }
    }

    /// Returns the part of the file under one of these prefixes.
    pub fn part(&self, prefixes: &[&str]) -> Named {
        let inside = |name: &str| prefixes.iter().any(|p| name.starts_with(p));
        self.tensors.iter().filter(|(name, _)| inside(name)).map(|(n, t)| (n.clone(), t.clone())).collect()
    }
}

/// Names tensors of an execution as the golden file does.
pub fn named(items: impl IntoIterator<Item = (String, Vec<usize>, Vec<f64>)>) -> Named {
    items.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

/// Whether this is the gradient of a class attention's key bias. It is zero: the bias shifts all scores of a row alike,
/// which softmax does not see. What is stored is rounding.
pub fn is_zero_by_law(name: &str) -> bool {
    name.contains("cls_attn_blocks.") && name.ends_with(".attn.k.bias")
}

/// Returns the tensor whose largest value says what is large: the tensor itself, but where only rounding is left that of
/// the same layer's weight.
fn yardstick(name: &str) -> String {
    match name.starts_with("grad.") && is_zero_by_law(name) {
        true => name.replace(".bias", ".weight"),
        false => name.to_string(),
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE)
}

/// Holds `seen` against `golden`: same names, same shapes, and no value off by more than `bound(name)` of the tensor's
/// largest. Returns the worst name and its deviation.
///
/// # Panics
/// With the full list of what differs.
pub fn hold(what: &str, golden: &Named, seen: &Named, bound: impl Fn(&str) -> f64) -> (String, f64) {
    let mut wrong: Vec<String> = seen.keys().filter(|n| !golden.contains_key(*n)).map(|n| format!("{n}: not in the golden file")).collect();
    let mut worst = (String::new(), 0.0);
    for (name, (shape, expected)) in golden {
        let Some((seen_shape, seen)) = seen.get(name) else {
            wrong.push(format!("{name}: missing"));
            continue;
        };
        if shape != seen_shape {
            wrong.push(format!("{name}: shape {seen_shape:?} instead of {shape:?}"));
            continue;
        }
        let scale = match golden.get(&yardstick(name)) {
            Some((_, values)) => largest(values),
            None => largest(expected),
        };
        // A value that is no number must not hide behind `max`, which would drop it.
        let off = expected.iter().zip(seen).map(|(e, s)| (e - s).abs() / scale);
        let off = off.fold(0.0_f64, |m, d| if d.is_finite() { m.max(d) } else { f64::INFINITY });
        if off > bound(name) {
            wrong.push(format!("{name}: off by {off:.2e} of its largest value {scale:.2e}, at most {:.0e} is allowed", bound(name)));
        }
        if off >= worst.1 {
            worst = (name.clone(), off);
        }
    }
    assert!(!golden.is_empty(), "{what}: the golden file has none of these tensors");
    assert!(wrong.is_empty(), "{what}: {} of {} tensors differ\n{}", wrong.len(), golden.len(), wrong.join("\n"));
    worst
}
