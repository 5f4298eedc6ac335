//! Runs what needs running, a few nodes at a time, and puts on record what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use super::decide::Places;
use super::event::{Event, Status, Summary};
use super::states::Run;
use crate::diagnostic::Failure;
use crate::graph::{Graph, NodeId};
use crate::stage::Device;
use crate::store::{NodeRecord, RunRecord, Store};

/// How to run.
pub struct Options {
    /// How many nodes may run side by side.
    pub jobs: usize,
    /// Nodes to run even if their result is known.
    pub forced: Vec<NodeId>,
    /// Whether nodes that do not need a failed one still start.
    pub keep_going: bool,
    pub device: Device,
    /// The numbers of the GPUs that nodes may hold.
    pub gpus: Vec<usize>,
    pub places: Places,
    /// Set from outside to end the run in good order.
    pub interrupt: Arc<AtomicBool>,
}

/// Brings the wanted nodes, and all they read, up to date.
///
/// # Errors
/// Only when the run as a whole cannot go on (the store cannot be written); failing nodes are part of the summary.
pub fn run(
    graph: &Graph,
    store: &Arc<Store>,
    wanted: &[NodeId],
    options: &Options,
    listener: &mut dyn FnMut(&Event),
) -> Result<Summary, Failure> {
    let start = Instant::now();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("{:x}-{:x}", started.as_millis(), std::process::id());
    let mut run = Run::new(graph, store, wanted, options, listener, name);
    run.through();

    let interrupted = options.interrupt.load(Ordering::Relaxed);
    let failed = run.outcomes.values().any(|o| o.status == Status::Failed);
    let status = if interrupted {
        "interrupted"
    } else if failed {
        "failed"
    } else {
        "done"
    };
    let summary = Summary {
        run: run.name.clone(),
        status,
        seconds: start.elapsed().as_secs_f64(),
        outcomes: std::mem::take(&mut run.outcomes).into_values().collect(),
    };
    store.watch().save()?;
    // A run that changed nothing leaves no trace, so that looking is free.
    if summary.outcomes.iter().any(|o| o.status != Status::Reused) {
        store.keep(&record(graph, &summary, started.as_secs_f64()))?;
    }
    let keys: Vec<_> = run.keys.iter().map(|(id, (key, digest))| (graph.node(*id).name.as_str(), key, *digest)).collect();
    store.remember(&graph.name, &keys)?;
    run.tell(&Event::Run(summary.clone()));
    run.leave();
    Ok(summary)
}

fn record(graph: &Graph, summary: &Summary, started: f64) -> RunRecord {
    let nodes = summary.outcomes.iter().map(|o| {
        let node = graph.node(o.node);
        let record = NodeRecord {
            kind: node.stage.kind().to_string(),
            status: o.status.word().to_string(),
            key: o.key,
            seconds: o.seconds,
            outputs: o.outputs.clone(),
            metrics: o.metrics.clone(),
        };
        (node.name.clone(), record)
    });
    RunRecord {
        run: summary.run.clone(),
        pipeline: graph.name.clone(),
        status: summary.status.to_string(),
        started,
        seconds: summary.seconds,
        nodes: nodes.collect(),
    }
}
