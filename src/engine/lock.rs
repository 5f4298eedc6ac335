//! The lock of a pipeline: what every node's key and results were when it was written, and whether they still are.
//!
//! A key is recomputed from the pipeline and from the output digests that the lock holds, so that checking keys needs no results.
//! Unaware of the text a lock is written in: see `pipeline`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::decide::{Decider, Places};
use super::plan::{Planned, plan};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::{Change, Graph, Key, NodeId};
use crate::stage::Stage;
use crate::store::{Entry, Store};

/// Raised when older locks can no longer be read.
pub const LOCK_FORMAT: u32 = 2;

/// A pipeline's nodes as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    pub format: u32,
    pub pipeline: String,
    pub nodes: BTreeMap<String, LockedNode>,
}

/// One node: its key with all that decides it, and what it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockedNode {
    pub kind: String,
    pub version: u32,
    pub key: Digest,
    pub key_format: u32,
    pub seed: Option<u64>,
    /// Parameters that differ from their defaults, as JSON.
    pub params: String,
    pub inputs: BTreeMap<String, Digest>,
    /// Environment variables that count.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<String>>,
    /// What its program said of its version, where that counts.
    #[serde(default)]
    pub program: Option<String>,
    pub outputs: BTreeMap<String, Digest>,
    pub metrics: BTreeMap<String, Figure>,
    /// Digest of the statement of how, where and when the results were made: see [`Entry::statement`].
    pub provenance: Digest,
}

/// A headline figure, and how far off it may be where the bytes are others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    /// As a share of the larger of the value and 1, as the stage had it when the lock was written; none where it must be met exactly.
    pub tolerance: Option<f64>,
}

impl LockedNode {
    fn new(stage: &dyn Stage, key: &Key, entry: &Entry) -> Self {
        let figure = |(name, value): (&String, &f64)| (name.clone(), Figure { value: *value, tolerance: stage.tolerance(name) });
        Self {
            kind: key.kind.clone(),
            version: key.version,
            key: key.digest(),
            key_format: key.format,
            seed: key.seed,
            params: key.params.to_string(),
            inputs: key.inputs.clone(),
            environment: key.environment.clone(),
            program: key.program.clone(),
            outputs: entry.outputs.iter().map(|(port, stored)| (port.clone(), stored.digest)).collect(),
            metrics: entry.metrics.iter().map(figure).collect(),
            provenance: entry.statement_digest(),
        }
    }

    /// Returns the key with its components, for comparison.
    fn components(&self) -> Key {
        Key {
            format: self.key_format,
            kind: self.kind.clone(),
            version: self.version,
            params: serde_json::from_str(&self.params).unwrap_or_default(),
            seed: self.seed,
            inputs: self.inputs.clone(),
            environment: self.environment.clone(),
            program: self.program.clone(),
        }
    }
}

/// How closely a lock is held against the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The pipeline and its files still give these keys.
    Keys,
    /// Besides, the results are in the store.
    Have,
    /// Besides, every byte of them is what its digest says.
    Contents,
}

/// One way in which a node is not as it was locked.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    /// The pipeline has a node that the lock does not know.
    NotLocked,
    /// The lock has a node that the pipeline does not have.
    Gone,
    /// Something that decides the node's result is another.
    Key(Vec<Change>),
    /// The lock's own components do not give the key that it names.
    Forged,
    /// The store's result for this key is another.
    Outputs(Vec<String>),
    /// Bytes in the store are not what their digest says.
    Damaged(Vec<String>),
    /// A file that the node reads is not there, so its key cannot be told.
    Unseen(String),
    /// The result is not in the store.
    Missing,
    /// The store's result is the locked one, made in another run than the one that was locked.
    MadeAgain { run: String, host: String },
}

impl Drift {
    /// Returns whether it proves the lock wrong, rather than leaving it open.
    pub fn refutes(&self) -> bool {
        !matches!(self, Self::Unseen(_) | Self::Missing) && !self.is_note()
    }

    /// Returns whether it takes nothing from the lock: the same results came about another time. That is what a lock promises of them.
    pub fn is_note(&self) -> bool {
        matches!(self, Self::MadeAgain { .. })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocked => f.write_str("is not in the lock"),
            Self::Gone => f.write_str("is in the lock, but not in the pipeline"),
            Self::Key(changes) => {
                let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&said.join("; "))
            }
            Self::Forged => f.write_str("the lock's components do not give the key that it names: it was edited by hand"),
            Self::Outputs(ports) => write!(f, "the cache holds another `{}` for the same key", ports.join("`, `")),
            Self::Damaged(ports) => write!(f, "`{}` is damaged in the cache", ports.join("`, `")),
            Self::Unseen(path) => write!(f, "cannot tell: {path}"),
            Self::Missing => f.write_str("cannot tell: its result is not in the cache"),
            Self::MadeAgain { run, host } => write!(f, "the locked result, made again by run {run} on {host}"),
        }
    }
}

/// Writes down every node as it is now.
///
/// # Errors
/// Names the nodes that are not up to date.
pub fn lock(graph: &Graph, store: &Store, places: &Places) -> Result<Lock, Failure> {
    let all: Vec<NodeId> = graph.ids().collect();
    let mut nodes = BTreeMap::new();
    let mut stale = Vec::new();
    for (id, planned) in plan(graph, store, places, &all, &[])? {
        let node = graph.node(id);
        match planned {
            Planned::Reuse { key, entry } => {
                nodes.insert(node.name.clone(), LockedNode::new(&*node.stage, &key, &entry));
            }
            _ => stale.push(node.name.clone()),
        }
    }
    if !stale.is_empty() {
        let message = format!("`{}` would run: a lock holds results that are there", stale.join("`, `"));
        return Err(Failure::new(message).help("bring them up to date with `flow run`, then lock"));
    }
    Ok(Lock { format: LOCK_FORMAT, pipeline: graph.name.clone(), nodes })
}

/// Holds a lock against pipeline, files and store; returns every drift, in the graph's order.
pub fn verify(graph: &Graph, store: &Store, places: &Places, lock: &Lock, level: Level) -> Result<Vec<(String, Drift)>, Failure> {
    let decider = Decider::new(graph, store, places);
    let mut found = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let mut drift = |drift: Drift| found.push((node.name.clone(), drift));
        let Some(locked) = lock.nodes.get(&node.name) else {
            drift(Drift::NotLocked);
            continue;
        };
        if locked.components().digest() != locked.key {
            drift(Drift::Forged);
            continue;
        }
        match decider.look(id) {
            Err(failure) => drift(Drift::Unseen(failure.message().to_string())),
            Ok(looked) => {
                let held = |from: NodeId, port: &str| {
                    let upstream = lock.nodes.get(&graph.node(from).name);
                    upstream.and_then(|node| node.outputs.get(port)).copied().unwrap_or_else(|| Digest::of(b"not locked"))
                };
                let key = decider.key(id, &looked, held);
                if key.digest() != locked.key {
                    drift(Drift::Key(key.changes_since(&locked.components())));
                    continue;
                }
            }
        }
        if level >= Level::Have {
            results(store, locked, level, &mut drift)?;
        }
    }
    let gone = lock.nodes.keys().filter(|name| graph.find(name).is_none());
    found.extend(gone.map(|name| (name.clone(), Drift::Gone)));
    store.save_watch()?;
    Ok(found)
}

/// Holds what the store has against what the lock says of one node.
fn results(store: &Store, locked: &LockedNode, level: Level, drift: &mut impl FnMut(Drift)) -> Result<(), Failure> {
    let Some(entry) = store.entry(&locked.key) else {
        drift(Drift::Missing);
        return Ok(());
    };
    let other = entry.outputs.iter().filter(|(port, stored)| locked.outputs.get(*port) != Some(&stored.digest));
    let other: Vec<String> = other.map(|(port, _)| port.clone()).collect();
    if !other.is_empty() {
        drift(Drift::Outputs(other));
        return Ok(());
    }
    let mut damaged = Vec::new();
    let mut missing = false;
    for (port, stored) in &entry.outputs {
        match level {
            Level::Contents if !store.is_whole(stored)? => damaged.push(port.clone()),
            _ => missing |= !store.holds(stored),
        }
    }
    if !damaged.is_empty() {
        drift(Drift::Damaged(damaged));
    } else if missing {
        drift(Drift::Missing);
    } else if entry.statement_digest() != locked.provenance {
        drift(Drift::MadeAgain { run: entry.provenance.invocation, host: entry.provenance.host });
    }
    Ok(())
}
