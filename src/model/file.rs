//! Model files: safetensors under timm's names, and what a reader must know to use them.
//!
//! The same model gives the same bytes. Reading is strict: every tensor of the network, no other, each of its shape.
//! Unaware of where files lie: bytes in, bytes out. Files of others come through `import`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use prost::bytes::Bytes;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::formats::{Stored, safetensors};
use super::layout::{Entry, Layout, Weights};
use super::sizes::Sizes;
use crate::data::{Filter, Normalisation};
use crate::diagnostic::{Context, Failure, count};

/// The metadata entry that holds an [`About`] as JSON.
const ENTRY: &str = "flow";

/// What was done to a picture before the network saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Side of the square that pictures are resized to, in pixels.
    pub side: usize,
    pub filter: Filter,
    pub normalisation: Normalisation,
}

impl fmt::Display for Preprocessing {
    /// "224 pixels, Bicubic, mean [0.485, 0.456, 0.406], deviation [0.229, 0.224, 0.225]"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mean, deviation) = self.normalisation.mean_and_deviation();
        write!(f, "{} pixels, {:?}, mean {mean:?}, deviation {deviation:?}", self.side, self.filter)
    }
}

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What the network is, for people: `dino teacher`, `supervised`.
    pub what: String,
    pub sizes: Sizes,
    pub preprocessing: Preprocessing,
    /// The classes that a classifier head (`head.weight`, `head.bias`) tells apart, in the order of its outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

impl About {
    /// Returns which tensors the file holds: the backbone's, and a linear head where classes are named.
    ///
    /// # Errors
    /// When the sizes do not fit together or are beyond what a network may have: a file may say anything.
    pub fn layout(&self) -> Result<Layout, Failure> {
        self.sizes.check().map_err(|(field, wrong)| Failure::new(format!("the model's `{field}` {wrong}")))?;
        let mut layout = self.sizes.layout();
        if let Some(classes) = &self.classes {
            layout.linear("head", self.sizes.dim(), classes.len());
        }
        Ok(layout)
    }
}

/// A model and what a reader must know to use it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    pub weights: Weights,
    pub about: About,
}

impl ModelFile {
    /// Returns the file's bytes; the same model gives the same bytes.
    ///
    /// # Errors
    /// When the format cannot hold it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let little_endian = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let (params, buffers) = (little_endian(&self.weights.params), little_endian(&self.weights.buffers));
        let layout = &self.weights.layout;
        let mut views = BTreeMap::new();
        for (entries, bytes) in [(layout.params(), &params), (layout.buffers(), &buffers)] {
            for entry in entries {
                let range = entry.range();
                let view = TensorView::new(Dtype::F32, entry.shape.clone(), &bytes[4 * range.start..4 * range.end]);
                views.insert(entry.name.as_str(), view.doing(|| format!("writing `{}`", entry.name))?);
            }
        }
        let about = serde_json::to_string(&self.about).doing(|| "describing the model")?;
        let metadata = HashMap::from([(ENTRY.to_string(), about)]);
        safetensors::serialize(views, Some(metadata)).doing(|| "writing the model")
    }

    /// Reads a file that holds the tensors it says it holds.
    ///
    /// # Errors
    /// When the bytes are no model file of ours, or not complete; all that is wrong at once.
    pub fn open(bytes: &[u8]) -> Result<Self, Failure> {
        let (stored, about) = parts(bytes)?;
        let layout = Arc::new(about.layout()?);
        Ok(Self { weights: strictly(stored, &layout)?, about })
    }

    /// Reads a file that must hold the tensors of `expected`.
    ///
    /// # Errors
    /// When the bytes are no model file of ours; when tensors are missing, unexpected or of another shape: all are listed.
    pub fn read(bytes: &[u8], expected: &Arc<Layout>) -> Result<Self, Failure> {
        let (stored, about) = parts(bytes)?;
        Ok(Self { weights: strictly(stored, expected)?, about })
    }
}

fn parts(bytes: &[u8]) -> Result<(Vec<Stored>, About), Failure> {
    let (stored, about) = safetensors(&Bytes::copy_from_slice(bytes), ENTRY)?;
    let about = about.ok_or_else(|| {
        Failure::new(format!("the file does not say which model it holds (metadata entry `{ENTRY}`)"))
            .help("a checkpoint of another program must be imported first")
    })?;
    let about = serde_json::from_str(&about).doing(|| format!("reading the metadata entry `{ENTRY}`"))?;
    Ok((stored, about))
}

/// Whether a tensor counts training steps: PyTorch's batch norm keeps one, which changes no result.
pub(super) fn is_step_counter(name: &str) -> bool {
    name == "num_batches_tracked" || name.ends_with(".num_batches_tracked")
}

/// Puts tensors in their places, or lists everything that is wrong.
fn strictly(stored: Vec<Stored>, layout: &Arc<Layout>) -> Result<Weights, Failure> {
    let mut by_name: BTreeMap<String, Stored> =
        stored.into_iter().filter(|s| !is_step_counter(&s.name)).map(|s| (s.name.clone(), s)).collect();
    let mut wrong = Vec::new();
    let mut gather = |entries: &[Entry]| -> Vec<f32> {
        let mut all = Vec::new();
        for entry in entries {
            match by_name.remove(&entry.name) {
                None => wrong.push(format!("missing: `{}` {:?}", entry.name, entry.shape)),
                Some(stored) if stored.shape != entry.shape => {
                    wrong.push(format!("wrong shape: `{}` is {:?}, expected {:?}", entry.name, stored.shape, entry.shape));
                }
                Some(stored) => match stored.values() {
                    Ok(values) => all.extend(values),
                    Err(why) => wrong.push(format!("unusable: `{}` {why}", entry.name)),
                },
            }
        }
        all
    };
    let (params, buffers) = (gather(layout.params()), gather(layout.buffers()));
    wrong.extend(by_name.into_values().map(|s| format!("unexpected: `{}` {:?}", s.name, s.shape)));
    match wrong.is_empty() {
        true => Ok(Weights { layout: layout.clone(), params, buffers }),
        false => {
            Err(Failure::new(format!("the file does not hold this model, {}:\n  {}", count(wrong.len(), "difference"), wrong.join("\n  "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Vit, Xcit, XcitSizes};
    use super::*;

    fn about(classes: Option<&[&str]>) -> About {
        let sizes = Xcit { dim: Some(16), depth: Some(1), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let preprocessing = Preprocessing { side: 32, filter: Filter::Bilinear, normalisation: Normalisation::ImageNet };
        let classes = classes.map(|names| names.iter().map(|n| n.to_string()).collect());
        About { what: "supervised".into(), sizes, preprocessing, classes }
    }

    fn model(classes: Option<&[&str]>) -> ModelFile {
        let about = about(classes);
        ModelFile { weights: Weights::start(Arc::new(about.layout().unwrap()), 5), about }
    }

    #[test]
    fn a_model_comes_back_as_it_was_written_and_always_as_the_same_bytes() {
        for classes in [None, Some(&["blast", "monocyte"][..])] {
            let model = model(classes);
            let bytes = model.to_bytes().unwrap();
            assert_eq!(ModelFile::open(&bytes).unwrap(), model);
            assert_eq!(ModelFile::read(&bytes, &model.weights.layout).unwrap(), model);
            assert_eq!(ModelFile::open(&bytes).unwrap().to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn a_vision_transformer_comes_back_with_its_sizes() {
        let free = Vit { dim: Some(16), depth: Some(1), heads: Some(2), patch: Some(4), side: Some(16), ..Vit::default() };
        for vit in [free.clone(), Vit { registers: Some(4), layer_scale: Some(0.1), ..free }] {
            let about = About { sizes: vit.sizes().unwrap(), ..about(None) };
            let model = ModelFile { weights: Weights::start(Arc::new(about.layout().unwrap()), 5), about };
            assert_eq!(ModelFile::open(&model.to_bytes().unwrap()).unwrap(), model);
        }
    }

    #[test]
    fn all_differences_are_listed_at_once() {
        let with_head = model(Some(&["a", "b", "c"]));
        let mut expected = with_head.about.sizes.layout();
        expected.linear("head", 16, 2);
        expected.linear("extra", 16, 2);
        let failure = ModelFile::read(&with_head.to_bytes().unwrap(), &Arc::new(expected)).unwrap_err();
        for part in [
            "4 differences",
            "wrong shape: `head.weight` is [3, 16], expected [2, 16]",
            "wrong shape: `head.bias` is [3], expected [2]",
            "missing: `extra.weight` [2, 16]",
            "missing: `extra.bias` [2]",
        ] {
            assert!(failure.message().contains(part), "{part} not in {failure}");
        }
        let failure = ModelFile::read(&with_head.to_bytes().unwrap(), &Arc::new(with_head.about.sizes.layout())).unwrap_err();
        assert!(failure.message().contains("unexpected: `head.bias` [3]"), "{failure}");
    }

    #[test]
    fn a_file_that_claims_the_impossible_is_refused() {
        let change = |change: fn(&mut XcitSizes)| {
            let mut model = model(None);
            let Sizes::Xcit(sizes) = &mut model.about.sizes else { panic!("an XCiT") };
            change(sizes);
            assert!(ModelFile::open(&model.to_bytes().unwrap()).is_err());
        };
        change(|sizes| sizes.dim = usize::MAX);
        change(|sizes| sizes.cls_depth = 1 << 40);
        assert!(ModelFile::open(b"").is_err());
        let bytes = model(None).to_bytes().unwrap();
        assert!(ModelFile::open(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let mut model = model(None);
        model.weights.params[3] = f32::NAN;
        let failure = ModelFile::open(&model.to_bytes().unwrap()).unwrap_err();
        assert!(failure.message().contains("unusable: `cls_token` holds `NaN`"), "{failure}");
    }
}
