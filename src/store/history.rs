//! What was run before: the last key of every node, and a record of every run.
//!
//! Only for explanations: nothing here decides what runs.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::{Store, atomically};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::graph::Key;

/// The last key of every node of one pipeline.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub nodes: BTreeMap<String, Key>,
}

/// What became of one node in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    pub kind: String,
    pub status: String,
    pub key: Option<Digest>,
    pub seconds: f64,
    pub outputs: BTreeMap<String, Digest>,
    pub metrics: BTreeMap<String, f64>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    pub run: String,
    pub pipeline: String,
    pub status: String,
    pub started: f64,
    pub seconds: f64,
    pub nodes: BTreeMap<String, NodeRecord>,
}

impl Store {
    /// Returns the last keys of the pipeline of this name; empty if there are none.
    pub fn history(&self, pipeline: &str) -> History {
        fs::read(self.last_path(pipeline)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Remembers the keys of this run's nodes beside those of nodes it did not touch.
    pub fn remember(&self, pipeline: &str, nodes: BTreeMap<String, Key>) -> Result<(), Failure> {
        let mut history = self.history(pipeline);
        history.nodes.extend(nodes);
        let text = serde_json::to_vec(&history).doing(|| "failed to write the history")?;
        atomically(&self.last_path(pipeline), &text)
    }

    /// Keeps the record of a run.
    pub fn keep(&self, record: &RunRecord) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(record).doing(|| "failed to write a run's record")?;
        atomically(&self.history_path().join("runs").join(format!("{}.json", record.run)), &text)
    }

    fn last_path(&self, pipeline: &str) -> std::path::PathBuf {
        self.history_path().join("last").join(format!("{}.json", Digest::of(pipeline.as_bytes()).short()))
    }
}
