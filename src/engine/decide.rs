//! Reuse or run: the key of a node, and the reason why it must run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::{Change, Graph, KEY_FORMAT, Key, NodeId};
use crate::params::without_nothings;
use crate::stage::{FileSet, Stage};
use crate::store::{Entry, History, Snapshot, Store};

/// Why a node runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Reason {
    /// No run of this node is known.
    FirstTime,
    /// Its key differs from the last run's.
    Changed { changes: Vec<Change> },
    /// Its key is the last run's, but what it made is no longer in the store.
    NotInStore,
    /// An output is missing or its bytes are not what they were.
    OutputDamaged { outputs: Vec<String> },
    /// The user asked for it.
    Forced,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstTime => f.write_str("first time"),
            Self::Changed { changes } => {
                let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&said.join("; "))
            }
            Self::NotInStore => f.write_str("its result is not in the cache"),
            Self::OutputDamaged { outputs } => write!(f, "output `{}` is missing or damaged", outputs.join("`, `")),
            Self::Forced => f.write_str("forced"),
        }
    }
}

/// Returns whether an entry has every output of the stage: one that was damaged, or made by a flow without the output, has not.
pub(super) fn is_complete(stage: &dyn Stage, entry: &Entry) -> bool {
    stage.outputs().iter().all(|output| entry.outputs.contains_key(&*output.name))
}

/// Whether a node runs.
#[derive(Clone, Debug)]
pub enum Decision {
    Reuse(Box<Entry>),
    Run(Reason),
}

/// A node's sources as they are now.
#[derive(Default)]
pub struct Looked {
    pub sets: BTreeMap<String, FileSet>,
    pub snapshots: Vec<Snapshot>,
}

/// What a pipeline means on this machine: where its paths lead, and what its environment variables say.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The pipeline's own folder: relative paths start here.
    pub base: PathBuf,
    /// What `$FLOW_DATA` at the start of a path stands for; without it, the folder `data` beside `base`.
    pub data: Option<PathBuf>,
    pub environment: BTreeMap<String, String>,
}

impl Places {
    /// Returns where `path` leads.
    pub fn resolve(&self, path: &str) -> PathBuf {
        match path.strip_prefix("$FLOW_DATA") {
            Some("") => self.data(),
            Some(rest) if rest.starts_with('/') => self.data().join(rest.trim_start_matches('/')),
            _ => self.base.join(path),
        }
    }

    /// The folder of data, beside `base` written as short as a person would write it.
    fn data(&self) -> PathBuf {
        match (&self.data, self.base.file_name()) {
            (Some(data), _) => data.clone(),
            (None, Some(_)) => self.base.with_file_name("data"),
            (None, None) => self.base.join("../data"),
        }
    }
}

/// Knows the store and the past, and decides node by node.
pub struct Decider<'a> {
    graph: &'a Graph,
    store: &'a Store,
    places: &'a Places,
    history: History,
}

impl<'a> Decider<'a> {
    /// Takes up the history of the graph's pipeline.
    pub fn new(graph: &'a Graph, store: &'a Store, places: &'a Places) -> Self {
        Self { graph, store, places, history: store.history(&graph.name) }
    }

    /// Looks at the files a node reads.
    pub fn look(&self, id: NodeId) -> Result<Looked, Failure> {
        let mut looked = Looked::default();
        for source in self.graph.node(id).stage.sources() {
            let path = self.places.resolve(source.path.as_str());
            if !path.exists() {
                let failure =
                    Failure::new(format!("`{}` does not exist: `{}` of node `{}`", path.display(), source.role, self.graph.node(id).name));
                return Err(failure.help(source.about));
            }
            let (set, snapshot) = self.store.watch().file_set(&path)?;
            looked.sets.insert(source.role, set);
            looked.snapshots.push(snapshot);
        }
        Ok(looked)
    }

    /// Returns the node's key from what its inputs hold: `held(node, port)` is the digest of an output.
    pub fn key(&self, id: NodeId, looked: &Looked, held: impl Fn(NodeId, &str) -> Digest) -> Key {
        let node = self.graph.node(id);
        let mut inputs: BTreeMap<String, Digest> =
            node.inputs.iter().map(|edge| (edge.role.clone(), held(edge.from, &edge.port))).collect();
        inputs.extend(looked.sets.iter().map(|(role, set)| (role.clone(), set.digest())));
        Key {
            format: KEY_FORMAT,
            kind: node.stage.kind().to_string(),
            version: node.stage.version(),
            params: without_nothings(node.stage.params()),
            seed: node.stage.seeded().then_some(node.seed),
            inputs,
            environment: node
                .stage
                .environment()
                .into_iter()
                .map(|name| (name.clone(), self.places.environment.get(&name).cloned()))
                .collect(),
        }
    }

    /// Decides whether a node with this key runs. Outputs of a `wanted` node are checked now, others when somebody reads them.
    pub fn decide(&self, id: NodeId, key: &Key, wanted: bool, forced: bool) -> Decision {
        if forced {
            return Decision::Run(Reason::Forced);
        }
        let Some(entry) = self.store.entry(&key.digest()).filter(|entry| is_complete(&*self.graph.node(id).stage, entry)) else {
            return Decision::Run(self.reason(id, key));
        };
        let damaged: Vec<String> = match wanted {
            true => self.store.damaged(&entry).into_iter().map(|(port, _)| port.to_string()).collect(),
            false => Vec::new(),
        };
        if damaged.is_empty() { Decision::Reuse(Box::new(entry)) } else { Decision::Run(Reason::OutputDamaged { outputs: damaged }) }
    }

    fn reason(&self, id: NodeId, key: &Key) -> Reason {
        match self.history.nodes.get(&self.graph.node(id).name) {
            None => Reason::FirstTime,
            Some(last) if last == key => Reason::NotInStore,
            Some(last) => Reason::Changed { changes: key.changes_since(last) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_pipeline_and_data_lies_beside_it_or_where_one_says() {
        let led = |base: &str, data: Option<&str>, path: &str| {
            let places = Places { base: base.into(), data: data.map(PathBuf::from), ..Places::default() };
            places.resolve(path).display().to_string()
        };
        assert_eq!(led("pipelines", None, "demo/x.npz"), "pipelines/demo/x.npz");
        assert_eq!(led("pipelines", None, "/x.npz"), "/x.npz");
        assert_eq!(led("a/pipelines", None, "$FLOW_DATA/set"), "a/data/set");
        assert_eq!(led("", None, "$FLOW_DATA/set"), "../data/set");
        assert_eq!(led("..", None, "$FLOW_DATA"), "../../data");
        assert_eq!(led("pipelines", Some("/big"), "$FLOW_DATA/set"), "/big/set");
        assert_eq!(led("pipelines", Some("/big"), "$FLOW_DATAX/set"), "pipelines/$FLOW_DATAX/set");
    }
}
