//! The closed list of node kinds: one variant, one match arm, one file each.

use std::sync::Arc;

use serde::Deserialize;

use crate::stage::Stage;

/// A node as written in a pipeline.
#[derive(Debug, Deserialize)]
pub enum Step {}

impl Step {
    /// Returns the stage behind the variant.
    pub fn stage(self) -> Arc<dyn Stage> {
        match self {}
    }
}
