//! The closed list of node kinds: one variant, one match arm, one file each.

use std::sync::Arc;

use serde::Deserialize;

use super::command::Command;
use super::dino::Dino;
use super::features::Features;
use super::fingerprints::Fingerprints;
use super::import::Import;
use super::import_features::ImportFeatures;
use super::ingest::Ingest;
use super::linear_probe::LinearProbe;
use super::pack::Pack;
use super::pool::Pool;
use super::report::Report;
use super::split::Split;
use super::supervised::Supervised;
use super::sweep::Sweep;
use super::transform::Transform;
use super::watch::Watch;
use crate::stage::Stage;

/// A node as written in a pipeline.
#[derive(Debug, Deserialize)]
pub enum Step {
    Import(Import),
    ImportFeatures(ImportFeatures),
    Ingest(Ingest),
    Fingerprints(Fingerprints),
    Split(Split),
    Pool(Pool),
    Pack(Pack),
    Dino(Dino),
    Watch(Watch),
    Supervised(Supervised),
    LinearProbe(LinearProbe),
    Features(Features),
    Transform(Transform),
    Sweep(Sweep),
    Report(Report),
    Command(Command),
}

impl Step {
    /// Returns the stage behind the variant.
    pub fn stage(self) -> Arc<dyn Stage> {
        match self {
            Self::Import(stage) => Arc::new(stage),
            Self::ImportFeatures(stage) => Arc::new(stage),
            Self::Ingest(stage) => Arc::new(stage),
            Self::Fingerprints(stage) => Arc::new(stage),
            Self::Split(stage) => Arc::new(stage),
            Self::Pack(stage) => Arc::new(stage),
            Self::Pool(stage) => Arc::new(stage),
            Self::Dino(stage) => Arc::new(stage),
            Self::Watch(stage) => Arc::new(stage),
            Self::Supervised(stage) => Arc::new(stage),
            Self::LinearProbe(stage) => Arc::new(stage),
            Self::Features(stage) => Arc::new(stage),
            Self::Transform(stage) => Arc::new(stage),
            Self::Sweep(stage) => Arc::new(stage),
            Self::Report(stage) => Arc::new(stage),
            Self::Command(stage) => Arc::new(stage),
        }
    }
}
