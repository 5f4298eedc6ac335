//! Runs locked nodes again in a store of their own, and holds what they make against the lock.
//!
//! Nodes that are not to be run again lend their results to that store, so that a sample costs only itself.

use std::sync::Arc;

use super::event::{Event, Outcome, Status};
use super::lock::{Lock, LockedNode};
use super::run::{Options, run};
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::{Graph, NodeId};
use crate::store::{Store, Stored};

/// What became of a node that was run again.
#[derive(Clone, Debug, PartialEq)]
pub enum Remade {
    /// The same bytes.
    Same,
    /// Other bytes, but every headline figure within the stage's tolerance: what another type of CPU gives.
    Close { ports: Vec<String>, farthest: f64 },
    /// Other bytes, and this is where they first differ.
    Differs { ports: Vec<String>, first: String },
    /// It did not come to an end.
    Failed(String),
}

/// The nodes that were run again, and the store that holds what they made.
pub struct Lab {
    pub remade: Vec<(NodeId, Remade)>,
    pub store: Arc<Store>,
    _folder: tempfile::TempDir,
}

/// Runs the nodes of `again` once more and compares.
///
/// # Errors
/// When the scratch store cannot be made, or the run as a whole cannot go on.
pub fn rebuild(
    graph: &Graph,
    store: &Arc<Store>,
    lock: &Lock,
    again: &[NodeId],
    options: &Options,
    listener: &mut dyn FnMut(&Event),
) -> Result<Lab, Failure> {
    let folder = store.scratch_folder()?;
    let lab = Arc::new(Store::open(folder.path())?);
    for id in graph.closure(again).into_iter().filter(|id| !again.contains(id)) {
        let Some(locked) = lock.nodes.get(&graph.node(id).name) else { continue };
        if let Some(entry) = store.entry(&locked.key).filter(|entry| entry.outputs.values().all(|stored| store.holds(stored))) {
            lab.adopt(store, &entry)?;
        }
    }
    let summary = run(graph, &lab, again, options, listener)?;
    let mut remade = Vec::new();
    for id in again {
        let node = graph.node(*id);
        let outcome = summary.outcomes.iter().find(|outcome| outcome.node == *id);
        remade.push((
            *id,
            match (outcome, lock.nodes.get(&node.name)) {
                (Some(outcome), Some(locked)) if outcome.status == Status::Ran => {
                    compare(store, &lab, locked, outcome, node.stage.tolerance())
                }
                (Some(Outcome { trouble: Some(trouble), .. }), _) => Remade::Failed(trouble.clone()),
                _ => Remade::Failed("it was not run".to_string()),
            },
        ));
    }
    Ok(Lab { remade, store: lab, _folder: folder })
}

fn compare(store: &Store, lab: &Store, locked: &LockedNode, outcome: &Outcome, tolerance: Option<f64>) -> Remade {
    let differing = outcome.outputs.iter().filter(|(port, digest)| locked.outputs.get(*port) != Some(digest));
    let ports: Vec<String> = differing.map(|(port, _)| port.clone()).collect();
    let Some(first) = ports.first() else { return Remade::Same };
    let farthest = metrics_apart(locked, outcome);
    if let (Some(tolerance), Some(farthest)) = (tolerance, farthest)
        && farthest <= tolerance
    {
        return Remade::Close { ports, farthest };
    }
    let stored = |store: &Store, key: &Digest| store.entry(key).and_then(|entry| entry.outputs.get(first).cloned());
    let both = stored(store, &locked.key).zip(outcome.key.and_then(|key| stored(lab, &key)));
    let place = both.map_or_else(
        || "the locked bytes are not in the cache".to_string(),
        |(was, is): (Stored, Stored)| store.first_difference(&was, lab, &is),
    );
    Remade::Differs { first: format!("`{first}`: {place}"), ports }
}

/// The largest distance between a figure and its locked value, as a share of the larger of that value and 1; none where figures differ
/// in name or number, or there are none.
fn metrics_apart(locked: &LockedNode, outcome: &Outcome) -> Option<f64> {
    if !locked.metrics.keys().eq(outcome.metrics.keys()) {
        return None;
    }
    let apart = locked.metrics.iter().map(|(name, was)| (was - outcome.metrics[name]).abs() / was.abs().max(1.0));
    apart.fold(None, |most, distance| Some(most.map_or(distance, |most: f64| most.max(distance))))
}
