//! `flow verify --rebuild`: run locked nodes again, compare, and keep both where they differ.

use std::sync::Arc;
use std::time::SystemTime;

use super::arguments::VerifyArguments;
use super::console::{Console, print, say};
use super::exit::{Exit, Stop};
use super::run::{gpus, on_interrupt, place};
use crate::diagnostic::count;
use crate::engine::{self, Lab, Lock, Options, Places, Remade};
use crate::graph::{Graph, NodeId};
use crate::pipeline::{Pipeline, lock_path, read_lock};
use crate::random::Stream;
use crate::stage::Device;
use crate::store::Store;

pub(super) fn rebuild(arguments: &VerifyArguments, pipeline: &Pipeline, store: &Arc<Store>, places: &Places) -> Result<Exit, Stop> {
    let lock = read_lock(&lock_path(&arguments.pipeline.pipeline)).map_err(|failure| Stop::unknown(&failure))?;
    let graph = &pipeline.graph;
    let again = sample(graph, arguments.sample);
    let options = Options {
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        forced: again.clone(),
        keep_going: true,
        device: Device::Cpu,
        gpus: gpus(&Device::Cpu, places),
        places: places.clone(),
        interrupt: on_interrupt(),
    };
    let interrupt = options.interrupt.clone();
    let mut console = Console::new(false);
    let lab = engine::rebuild(graph, store, &lock, &again, &options, &mut |event| console.hear(graph, event))?;
    if interrupt.load(std::sync::atomic::Ordering::SeqCst) {
        return Ok(Exit::Interrupted);
    }
    for (id, remade) in &lab.remade {
        let name = &graph.node(*id).name;
        match remade {
            Remade::Same => print(&format!("{name}: the same bytes")),
            Remade::Close { ports, figures, farthest } => {
                let figures = count(*figures, "figure");
                let said = format!("other bytes in `{}`, {figures} within tolerance, the farthest {farthest:.4} off", ports.join("`, `"));
                print(&format!("{name}: {said}"));
            }
            Remade::Differs { ports, first, off } => {
                let off = off.as_ref().map_or(String::new(), |off| format!("; {off}"));
                print(&format!("{name}: differs in `{}`, first at {first}{off}", ports.join("`, `")));
                keep_both(store, graph, *id, &lock, &lab)?;
            }
            Remade::Failed(trouble) => print(&format!("{name}: failed: {trouble}")),
        }
    }
    let nodes = count(again.len(), "node");
    let any = |wanted: fn(&Remade) -> bool| lab.remade.iter().any(|(_, remade)| wanted(remade));
    let exit = match () {
        () if any(|r| matches!(r, Remade::Differs { .. })) => Exit::Unsound,
        () if any(|r| matches!(r, Remade::Failed(_))) => Exit::Unknown,
        () => Exit::Done,
    };
    say(&match exit {
        Exit::Done => format!("the lock holds: {nodes} run again with the same outcome"),
        Exit::Unsound => "the lock does not hold: a node that is run again gives something else".to_string(),
        _ => "the lock may hold, but a node could not be run again".to_string(),
    });
    Ok(exit)
}

/// All nodes, or so many of them, never the same ones for long.
fn sample(graph: &Graph, most: Option<usize>) -> Vec<NodeId> {
    let all: Vec<NodeId> = graph.ids().collect();
    let Some(most) = most else { return all };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut chosen: Vec<NodeId> =
        Stream::new(now, "verify").draws().permutation(all.len()).into_iter().take(most).map(|i| all[i]).collect();
    chosen.sort();
    chosen
}

/// Lays the locked and the new results of a node side by side as plain files.
fn keep_both(store: &Store, graph: &Graph, id: NodeId, lock: &Lock, lab: &Lab) -> Result<(), Stop> {
    let folder = place(store, graph, id);
    let new = lab.store.runs().last().and_then(|run| run.nodes.get(&graph.node(id).name)?.key);
    let keys = [("locked", store, lock.nodes.get(&graph.node(id).name).map(|node| node.key)), ("rebuilt", &*lab.store, new)];
    for (word, from, key) in keys {
        let Some(entry) = key.and_then(|key| from.entry(&key)) else { continue };
        let target = folder.with_extension(word);
        for (port, stored) in &entry.outputs {
            from.lay_out_output(port, stored, &target)?;
        }
        say(&format!("       {word}: {}", target.display()));
    }
    Ok(())
}
