//! The closed list of node kinds: one variant, one match arm, one file each.

use std::sync::Arc;

use serde::Deserialize;

use super::ingest::Ingest;
use super::split::Split;
use super::sweep::Sweep;
use super::transform::Transform;
use crate::stage::Stage;

/// A node as written in a pipeline.
#[derive(Debug, Deserialize)]
pub enum Step {
    Ingest(Ingest),
    Split(Split),
    Transform(Transform),
    Sweep(Sweep),
}

impl Step {
    /// Returns the stage behind the variant.
    pub fn stage(self) -> Arc<dyn Stage> {
        match self {
            Self::Ingest(stage) => Arc::new(stage),
            Self::Split(stage) => Arc::new(stage),
            Self::Transform(stage) => Arc::new(stage),
            Self::Sweep(stage) => Arc::new(stage),
        }
    }
}
