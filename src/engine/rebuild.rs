//! Runs locked nodes again in a store of their own, and holds what they make against the lock.
//!
//! Nodes that are not to be run again lend their results to that store, so that a sample costs only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::event::{Event, Outcome, Status};
use super::lock::{Figure, Lock, LockedNode};
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
    /// Other bytes, but every headline figure within its tolerance: what another type of CPU gives. How many there are, and the largest
    /// distance.
    Close { ports: Vec<String>, figures: usize, farthest: f64 },
    /// Other bytes; this is where they first differ, and the first figure that is too far off, where one is.
    Differs { ports: Vec<String>, first: String, off: Option<Off> },
    /// It did not come to an end.
    Failed(String),
}

/// A headline figure that is farther from its locked value than its tolerance allows. None where it is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    pub metric: String,
    pub was: Option<f64>,
    pub is: Option<f64>,
    pub tolerance: Option<f64>,
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
                (Some(outcome), Some(locked)) if outcome.status == Status::Ran => compare(store, &lab, locked, outcome),
                (Some(Outcome { trouble: Some(trouble), .. }), _) => Remade::Failed(trouble.clone()),
                _ => Remade::Failed("it was not run".to_string()),
            },
        ));
    }
    Ok(Lab { remade, store: lab, _folder: folder })
}

fn compare(store: &Store, lab: &Store, locked: &LockedNode, outcome: &Outcome) -> Remade {
    let differing = outcome.outputs.iter().filter(|(port, digest)| locked.outputs.get(*port) != Some(digest));
    let ports: Vec<String> = differing.map(|(port, _)| port.clone()).collect();
    let Some(first) = ports.first() else { return Remade::Same };
    let off = match hold(&locked.metrics, &outcome.metrics) {
        // Where no figure may be off, the bytes themselves are what was promised.
        Ok(farthest) if locked.metrics.values().any(|figure| figure.tolerance.is_some()) => {
            return Remade::Close { ports, figures: locked.metrics.len(), farthest };
        }
        Ok(_) => None,
        Err(off) => Some(off),
    };
    let stored = |store: &Store, key: &Digest| store.entry(key).and_then(|entry| entry.outputs.get(first).cloned());
    let both = stored(store, &locked.key).zip(outcome.key.and_then(|key| stored(lab, &key)));
    let place = both.map_or_else(
        || "the locked bytes are not in the cache".to_string(),
        |(was, is): (Stored, Stored)| store.first_difference(&was, lab, &is),
    );
    Remade::Differs { first: format!("`{first}`: {place}"), ports, off }
}

/// Holds figures against their locked values: the largest distance, as a share of the larger of the value and 1, or the first that is
/// farther off than its own tolerance allows.
fn hold(locked: &BTreeMap<String, Figure>, now: &BTreeMap<String, f64>) -> Result<f64, Off> {
    let names: BTreeSet<&String> = locked.keys().chain(now.keys()).collect();
    let mut farthest = 0.0_f64;
    for name in names {
        let (figure, is) = (locked.get(name), now.get(name).copied());
        let apart = figure.zip(is).map(|(figure, is)| (figure.value - is).abs() / figure.value.abs().max(1.0));
        let tolerance = figure.and_then(|figure| figure.tolerance);
        match apart {
            Some(apart) if apart <= tolerance.unwrap_or(0.0) => farthest = farthest.max(apart),
            // What is not a number is never near.
            _ => return Err(Off { metric: name.clone(), was: figure.map(|figure| figure.value), is, tolerance }),
        }
    }
    Ok(farthest)
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, was, is, tolerance } = self;
        match (was, is) {
            (Some(was), Some(is)) => {
                write!(f, "`{metric}` is {is:.4}, locked {was:.4}: ")?;
                match tolerance {
                    Some(tolerance) => write!(f, "more than {tolerance} apart"),
                    None => f.write_str("it must be the same"),
                }
            }
            (None, _) => write!(f, "`{metric}` is not in the lock"),
            (_, None) => write!(f, "`{metric}` is in the lock only"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_held_against_its_own_tolerance_and_the_first_beyond_it_is_named() {
        let figure = |value, tolerance| Figure { value, tolerance };
        let locked = BTreeMap::from([
            ("DINO.1".to_string(), figure(0.5, Some(0.02))),
            ("length".to_string(), figure(200.0, Some(0.01))),
            ("pixels.1".to_string(), figure(0.4, Some(0.001))),
            ("rows".to_string(), figure(30.0, None)),
        ]);
        let now = |edit: fn(&mut BTreeMap<String, f64>)| {
            let mut now: BTreeMap<String, f64> = locked.iter().map(|(name, figure)| (name.clone(), figure.value)).collect();
            edit(&mut now);
            hold(&locked, &now).map_err(|off| off.to_string())
        };
        assert_eq!(now(|_| ()), Ok(0.0));
        // Large figures are held by their share.
        assert_eq!(now(|now| _ = now.insert("length".into(), 201.0)), Ok(0.005));
        let beyond = now(|now| {
            now.insert("DINO.1".into(), 0.515);
            now.insert("pixels.1".into(), 0.41);
        });
        assert_eq!(beyond, Err("`pixels.1` is 0.4100, locked 0.4000: more than 0.001 apart".to_string()));
        assert_eq!(now(|now| _ = now.insert("rows".into(), 31.0)), Err("`rows` is 31.0000, locked 30.0000: it must be the same".into()));
        assert!(now(|now| _ = now.insert("DINO.1".into(), f64::NAN)).is_err());
        assert_eq!(now(|now| _ = now.remove("rows")), Err("`rows` is in the lock only".to_string()));
        assert_eq!(now(|now| _ = now.insert("new".into(), 1.0)), Err("`new` is not in the lock".to_string()));
    }
}
