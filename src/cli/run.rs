//! `flow run`: bring nodes up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::arguments::RunArguments;
use super::console::{Console, duration, print, say};
use super::events::EventLog;
use super::exit::{Exit, Stop};
use super::{open, plan, table, verify};
use crate::engine::{self, Options, Places, Status, Summary};
use crate::graph::{Graph, NodeId};
use crate::stage::Device;
use crate::store::Store;

pub(super) fn run(arguments: &RunArguments) -> Result<Exit, Stop> {
    if arguments.dry_run {
        return plan::show(&arguments.pipeline, &arguments.cache, &arguments.nodes, &arguments.force);
    }
    let ahead = open::ahead(&arguments.pipeline, &arguments.cache);
    let pipeline = open::pipeline(&arguments.pipeline)?;
    let wanted = pipeline.targets(&arguments.nodes).map_err(Stop::wrong)?;
    let forced = if arguments.force.is_empty() { Vec::new() } else { pipeline.targets(&arguments.force).map_err(Stop::wrong)? };
    let places = open::places(&arguments.pipeline, &arguments.cache);
    pipeline.missing_files(&wanted, &places)?;
    let store = open::store_with(&arguments.cache, ahead)?;
    if arguments.locked {
        verify::refuse_drift(pipeline, &store, &places, &arguments.pipeline)?;
    }
    let mut events = EventLog::open(arguments.events.as_deref()).map_err(|error| {
        Stop::wrong(format!("failed to write events to `{}`: {error}", arguments.events.as_deref().unwrap_or_default()))
    })?;
    let mut console = Console::new(arguments.quiet);
    let options = Options {
        jobs: arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        forced,
        keep_going: arguments.keep_going,
        device: arguments.device.clone(),
        gpus: arguments.gpus.clone().unwrap_or_else(|| gpus(&arguments.device, &places)),
        places,
        interrupt: on_interrupt(),
    };
    let graph = &pipeline.graph;
    let summary = engine::run(graph, &store, &wanted, &options, &mut |event| {
        events.hear(graph, event);
        console.hear(graph, event);
    })?;
    if !arguments.quiet {
        say(&sentence(&summary));
    }
    show_results(graph, &store, &summary, arguments.events.as_deref() == Some("-"))?;
    Ok(match summary.status {
        "done" => Exit::Done,
        "interrupted" => Exit::Interrupted,
        _ => Exit::Failed,
    })
}

/// Returns the numbers of the GPUs that nodes may hold: the device's own, else those that the environment allows, else all there are.
pub(super) fn gpus(device: &Device, places: &Places) -> Vec<usize> {
    match (device, places.environment.get("CUDA_VISIBLE_DEVICES")) {
        (Device::Cuda(number), _) => vec![*number],
        (Device::Metal, _) => vec![0],
        (Device::Cpu, Some(allowed)) => allowed.split(',').filter_map(|number| number.trim().parse().ok()).collect(),
        (Device::Cpu, None) => (0..64).take_while(|number| Path::new(&format!("/dev/nvidia{number}")).exists()).collect(),
    }
}

/// Returns a flag that the first Ctrl-C or termination signal sets; a second one ends the program at once.
pub(super) fn on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    // Where the signal cannot be caught it ends the program as ever, which the store survives.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
        say("stopping: running nodes save what they can; once more ends at once");
    });
    flag
}

fn sentence(summary: &Summary) -> String {
    let counts = [(Status::Ran, "ran"), (Status::Reused, "reused"), (Status::Failed, "failed"), (Status::Skipped, "skipped")];
    let said: Vec<String> = counts
        .iter()
        .map(|(status, word)| (summary.count(*status), word))
        .filter(|(n, word)| *n > 0 || **word == "ran")
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    format!("{}: {} in {}", summary.status, said.join(", "), duration(summary.seconds))
}

/// Lays out what is meant to be looked at, and prints its headline and where it lies.
fn show_results(graph: &Graph, store: &Store, summary: &Summary, to_stderr: bool) -> Result<(), Stop> {
    let tell = |line: &str| if to_stderr { say(line) } else { print(line) };
    for outcome in summary.outcomes.iter().filter(|o| matches!(o.status, Status::Ran | Status::Reused)) {
        let node = graph.node(outcome.node);
        if !node.stage.shown() {
            continue;
        }
        let Some(entry) = outcome.key.and_then(|key| store.entry(&key)) else { continue };
        let folder = place(store, graph, outcome.node);
        store.lay_out(&entry, &folder)?;
        if let Ok(headline) = std::fs::read_to_string(folder.join("headline.txt")) {
            tell(headline.trim_end());
        }
        let page = folder.join("report.html");
        tell(&format!("{}: {}", node.name, if page.exists() { page } else { folder }.display()));
    }
    if let Some(page) = table::lay_out(graph, store, summary)? {
        tell(&format!("variants: {}", page.display()));
    }
    // What was laid out need not be hashed by the next run.
    Ok(store.watch().save()?)
}

/// Returns the folder for a node's plain files.
pub(super) fn place(store: &Store, graph: &Graph, node: NodeId) -> PathBuf {
    shown_folder(store, graph).join(harmless(&graph.node(node).name))
}

/// Returns the folder for what of a pipeline is to be looked at.
pub(super) fn shown_folder(store: &Store, graph: &Graph) -> PathBuf {
    store.root().join("out").join(harmless(&graph.name))
}

/// A name as a file name: readable and harmless.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}
