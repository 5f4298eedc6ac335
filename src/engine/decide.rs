//! Reuse or run: the key of a node, and the reason why it must run.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::{Change, Graph, KEY_FORMAT, Key, NodeId};
use crate::params::without_nothings;
use crate::stage::Stage;
use crate::store::{Entry, History, Seen, Store};

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
    /// Outputs are missing or their bytes are not what they were: which, and which object.
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
            Self::OutputDamaged { outputs } => write!(f, "output {}", outputs.join("; output ")),
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

/// What a node reads outside, as it is now.
#[derive(Default)]
pub struct Looked {
    pub seen: BTreeMap<String, Arc<Seen>>,
    /// What its program says of its version.
    pub program: Option<String>,
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
    /// Read when something must run.
    history: OnceCell<History>,
    /// What was seen since something last ran: many nodes read one folder.
    lately: RefCell<HashMap<PathBuf, Arc<Seen>>>,
    /// What programs said of their versions in this run.
    programs: RefCell<HashMap<Vec<String>, String>>,
}

impl<'a> Decider<'a> {
    /// Takes up a pipeline and what is known of it.
    pub fn new(graph: &'a Graph, store: &'a Store, places: &'a Places) -> Self {
        Self { graph, store, places, history: OnceCell::new(), lately: RefCell::default(), programs: RefCell::default() }
    }

    /// Looks at the files a node reads, and asks its program for its version where it wants that.
    pub fn look(&self, id: NodeId) -> Result<Looked, Failure> {
        let node = self.graph.node(id);
        let mut looked = Looked::default();
        for source in &node.sources {
            let path = self.places.resolve(source.path.as_str());
            let known = self.lately.borrow().get(&path).cloned();
            let seen = match known {
                Some(seen) => seen,
                None if !path.exists() => {
                    let message = format!("`{}` does not exist: `{}` of node `{}`", path.display(), source.role, node.name);
                    return Err(Failure::new(message).help(source.about.clone()));
                }
                None => Arc::new(self.store.watch().see(&path)?),
            };
            self.lately.borrow_mut().insert(path, seen.clone());
            looked.seen.insert(source.role.clone(), seen);
        }
        if let Some(probe) = node.stage.version_probe() {
            let known = self.programs.borrow().get(&probe).cloned();
            let said = match known {
                Some(said) => said,
                None => probed(&probe, self.places).map_err(|f| f.while_doing(format!("node `{}`", node.name)))?,
            };
            looked.program = Some(said.clone());
            self.programs.borrow_mut().insert(probe, said);
        }
        Ok(looked)
    }

    /// Something ran: files may have changed since they were seen.
    pub fn look_anew(&self) {
        self.lately.borrow_mut().clear();
    }

    /// Returns the node's key from what its inputs hold: `held(node, port)` is the digest of an output.
    pub fn key(&self, id: NodeId, looked: &Looked, held: impl Fn(NodeId, &str) -> Digest) -> Key {
        let node = self.graph.node(id);
        let mut inputs: BTreeMap<String, Digest> =
            node.inputs.iter().map(|edge| (edge.role.clone(), held(edge.from, &edge.port))).collect();
        inputs.extend(looked.seen.iter().map(|(role, seen)| (role.clone(), seen.digest())));
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
            program: looked.program.clone(),
        }
    }

    /// Decides whether a node with this key runs. Outputs of a `wanted` node are checked now, others when somebody reads them.
    pub fn decide(&self, id: NodeId, key: (&Key, &Digest), looked: &Looked, wanted: bool, forced: bool) -> Decision {
        if forced {
            return Decision::Run(Reason::Forced);
        }
        let known = self.store.entry_of(key.0, key.1);
        let Some(entry) = known.filter(|entry| is_complete(&*self.graph.node(id).stage, entry)) else {
            return Decision::Run(self.reason(id, key.0, looked));
        };
        if !wanted {
            return Decision::Reuse(Box::new(entry));
        }
        let damaged: Vec<String> = self.store.damaged(&entry).into_iter().map(|(port, stored)| self.store.damage(port, stored)).collect();
        if damaged.is_empty() { Decision::Reuse(Box::new(entry)) } else { Decision::Run(Reason::OutputDamaged { outputs: damaged }) }
    }

    fn reason(&self, id: NodeId, key: &Key, looked: &Looked) -> Reason {
        let history = self.history.get_or_init(|| self.store.history(&self.graph.name));
        match history.nodes.get(&self.graph.node(id).name) {
            None => Reason::FirstTime,
            Some(last) if last == key => Reason::NotInStore,
            Some(last) => {
                let mut changes = key.changes_since(last);
                for change in &mut changes {
                    if let Change::Input { role, was: Some(was), files, .. } = change
                        && let Some(seen) = looked.seen.get(role)
                    {
                        *files = self.store.changes_since(was, seen);
                    }
                }
                Reason::Changed { changes }
            }
        }
    }
}

/// What a program prints when it is asked for its version in the pipeline's folder, without blanks around it.
fn probed(argv: &[String], places: &Places) -> Result<String, Failure> {
    let asked = argv.join(" ");
    let failed = |why: String| Failure::new(format!("failed to ask `{asked}` for its version: {why}")).help("is the program installed?");
    let Some((program, arguments)) = argv.split_first() else { return Err(failed("no program is named".into())) };
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(places.resolve(".")).env_clear().envs(&places.environment).stdin(std::process::Stdio::null());
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    // Some programs, `java -version` among them, say it on standard error.
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).trim().to_string())
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
