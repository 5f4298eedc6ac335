//! Everything anyone sees of a run is one stream of these events.
//!
//! The engine emits them; the console, the JSON log and the tests listen. A listener that breaks never breaks a run.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::graph::NodeId;

use super::Reason;

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Reused,
    Ran,
    Failed,
    Skipped,
}

impl Status {
    /// Returns the word used in logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A node's end: what it took and what it made.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub node: NodeId,
    pub status: Status,
    pub key: Option<Digest>,
    pub reason: Option<Reason>,
    pub seconds: f64,
    pub outputs: BTreeMap<String, Digest>,
    pub metrics: BTreeMap<String, f64>,
    /// What went wrong, or why it was skipped.
    pub trouble: Option<String>,
}

impl Outcome {
    /// The end of a node that made nothing.
    pub(super) fn without_outputs(node: NodeId, status: Status, trouble: String) -> Self {
        Self {
            node,
            status,
            key: None,
            reason: None,
            seconds: 0.0,
            outputs: BTreeMap::new(),
            metrics: BTreeMap::new(),
            trouble: Some(trouble),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    pub run: String,
    /// `done`, `failed` or `interrupted`.
    pub status: &'static str,
    pub seconds: f64,
    pub outcomes: Vec<Outcome>,
}

impl Summary {
    /// Returns how many nodes ended so.
    pub fn count(&self, status: Status) -> usize {
        self.outcomes.iter().filter(|o| o.status == status).count()
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins; so many nodes are wanted.
    Planned {
        nodes: usize,
    },
    /// A node's work begins.
    Started {
        node: NodeId,
        reason: Reason,
    },
    Progress {
        node: NodeId,
        done: u64,
        total: u64,
        unit: &'static str,
        values: Vec<(&'static str, f64)>,
    },
    /// One line worth telling.
    Note {
        node: NodeId,
        line: String,
    },
    Node(Outcome),
    Run(Summary),
}
