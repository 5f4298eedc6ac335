//! Which network a node trains or uses, and where it starts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::io;
use crate::data::{Recipe, SplitLists};
use crate::diagnostic::Failure;
use crate::model::{About, ModelFile, Preprocessing, Sizes, Vit, Weights, Xcit};
use crate::stage::Io;

/// A network as written in a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Backbone {
    /// `Xcit(variant: "small_12_p8")`, or free sizes: `Xcit(dim: 96, depth: 4, heads: 4, patch: 4)`.
    Xcit(Xcit),
    /// `Vit(variant: "small_p14")`, or free sizes: `Vit(dim: 96, depth: 4, heads: 3, patch: 8)`.
    Vit(Vit),
}

impl Default for Backbone {
    fn default() -> Self {
        Self::Xcit(Xcit::named("small_12_p8"))
    }
}

/// Pictures are held in memory up to this many bytes; beyond it they are decoded when needed.
pub(super) const PICTURE_MEMORY: u64 = 4 << 30;

impl Backbone {
    /// Returns every value that cannot be used.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Xcit(xcit) => xcit.check(),
            Self::Vit(vit) => vit.check(),
        }
    }

    /// Returns the sizes.
    pub fn sizes(&self) -> Result<Sizes, Failure> {
        let sizes = match self {
            Self::Xcit(xcit) => xcit.sizes(),
            Self::Vit(vit) => vit.sizes(),
        };
        sizes.map_err(|(field, wrong)| Failure::new(format!("`backbone.{field}` {wrong}")))
    }

    /// Returns sizes and starting weights: those of the model at port `start`, or random ones.
    pub fn start(&self, io: &Io, seed: u64) -> Result<(Sizes, Weights), Failure> {
        let sizes = self.sizes()?;
        if io.optional("start").is_none() {
            let layout = Arc::new(sizes.layout());
            return Ok((sizes, Weights::start(layout, seed)));
        }
        let model = ModelFile::open(&io::bytes(io, "start")?)?;
        if model.about.sizes != sizes {
            let message = format!("`start` is {}, but `backbone` asks for {sizes}", model.about.sizes);
            return Err(Failure::new(message).help("give both the same variant"));
        }
        Ok((sizes, model.weights))
    }
}

/// How pictures must be prepared for a network trained on such views.
pub(super) fn preprocessing(recipe: &Recipe) -> Preprocessing {
    Preprocessing { side: recipe.views[0].side, filter: recipe.resize, normalisation: recipe.normalise }
}

/// Returns a model file's bytes.
pub(super) fn model_bytes(what: &str, sizes: &Sizes, weights: &Weights, recipe: &Recipe) -> Result<Vec<u8>, Failure> {
    let about = About { what: what.to_string(), sizes: sizes.clone(), preprocessing: preprocessing(recipe), classes: None };
    ModelFile { weights: weights.clone(), about }.to_bytes()
}

/// Returns every id of a split that a study may use.
pub(super) fn everyone(split: &SplitLists) -> Vec<crate::data::ImageId> {
    split.parts().into_iter().flat_map(|(_, ids)| ids.iter().cloned()).collect()
}
