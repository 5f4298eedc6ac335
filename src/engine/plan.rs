//! What would run and why, without running anything.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Decider, Decision, Places, Reason};
use crate::diagnostic::Failure;
use crate::graph::{Graph, Key, NodeId};
use crate::store::{Entry, Store};

/// What would become of a node.
#[derive(Clone, Debug)]
pub enum Planned {
    Reuse {
        key: Key,
        entry: Box<Entry>,
    },
    Run {
        key: Key,
        reason: Reason,
    },
    /// Its key depends on what these nodes will make: it runs unless they make what they made before.
    After {
        nodes: Vec<NodeId>,
    },
    /// Something it needs is not there.
    Blocked {
        trouble: String,
    },
}

/// Returns what would become of each of `wanted` and all they read, in order.
pub fn plan(
    graph: &Graph,
    store: &Store,
    places: &Places,
    wanted: &[NodeId],
    forced: &[NodeId],
) -> Result<BTreeMap<NodeId, Planned>, Failure> {
    let decider = Decider::new(graph, store, places);
    let mut planned: BTreeMap<NodeId, Planned> = BTreeMap::new();
    for id in graph.closure(wanted) {
        let node = graph.node(id);
        let mut open: Vec<NodeId> =
            node.inputs.iter().map(|e| e.from).filter(|from| !matches!(planned.get(from), Some(Planned::Reuse { .. }))).collect();
        let mut seen = BTreeSet::new();
        open.retain(|from| seen.insert(*from));
        let what = if !open.is_empty() {
            Planned::After { nodes: open }
        } else {
            match decider.look(id) {
                Err(failure) => Planned::Blocked { trouble: failure.to_string() },
                Ok(looked) => {
                    let key = decider.key(id, &looked, |from, port| match &planned[&from] {
                        Planned::Reuse { entry, .. } => entry.outputs[port].digest,
                        _ => unreachable!("only nodes whose inputs are reused get a key"),
                    });
                    match decider.decide(id, (&key, &key.digest()), &looked, true, forced.contains(&id)) {
                        Decision::Reuse(entry) => Planned::Reuse { key, entry },
                        Decision::Run(reason) => Planned::Run { key, reason },
                    }
                }
            }
        };
        planned.insert(id, what);
    }
    store.save_watch()?;
    Ok(planned)
}
