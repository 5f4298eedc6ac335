//! `flow diff`: what differs between two runs: nodes, parameters, inputs, figures.

use std::collections::BTreeSet;

use super::arguments::DiffArguments;
use super::console::{moment, print};
use super::exit::{Exit, Stop};
use super::open;
use crate::graph::Change;
use crate::store::{Entry, NodeRecord, RunRecord, Store};

pub(super) fn diff(arguments: &DiffArguments) -> Result<Exit, Stop> {
    let store = open::look(&arguments.cache)?;
    let [a, b] = [&arguments.a, &arguments.b].map(|name| store.run_called(name));
    let (a, b) = (a.map_err(Stop::wrong)?, b.map_err(Stop::wrong)?);
    for (letter, run) in [("A", &a), ("B", &b)] {
        print(&format!("{letter}  {}  {}  {}  {}", run.run, moment(run.started), run.pipeline, run.status));
    }
    let names: BTreeSet<&String> = a.nodes.keys().chain(b.nodes.keys()).collect();
    let mut same = Vec::new();
    for name in names {
        let said = differences(&store, &a, &b, name);
        if said.is_empty() {
            same.push(name.as_str());
        }
        said.iter().enumerate().for_each(|(i, line)| print(&format!("{:16}{line}", if i == 0 { name.as_str() } else { "" })));
    }
    match same[..] {
        [] => {}
        [one] => print(&format!("the same: `{one}`")),
        _ => print(&format!("the same: `{}`", same.join("`, `"))),
    }
    Ok(Exit::Done)
}

/// Everything that differs in one node, a line each.
fn differences(store: &Store, a: &RunRecord, b: &RunRecord, name: &str) -> Vec<String> {
    let (was, is) = match (a.nodes.get(name), b.nodes.get(name)) {
        (Some(was), Some(is)) => (was, is),
        (Some(_), None) => return vec!["only in A".to_string()],
        (None, _) => return vec!["only in B".to_string()],
    };
    let mut said = Vec::new();
    if was.key != is.key {
        match (entry(store, was), entry(store, is)) {
            (Some(was), Some(is)) => said.extend(changes(store, &was, &is)),
            _ => said.push("its key differs; by what is no longer known, since one of the results is not in the cache".to_string()),
        }
    }
    let ended = |node: &NodeRecord| if matches!(node.status.as_str(), "ran" | "reused") { "done".to_string() } else { node.status.clone() };
    if ended(was) != ended(is) {
        said.push(format!("{} -> {}", ended(was), ended(is)));
    }
    for (metric, value) in &is.metrics {
        match was.metrics.get(metric) {
            Some(old) if old != value => said.push(format!("{metric}: {old:.4} -> {value:.4} ({:+.4})", value - old)),
            Some(_) => {}
            None => said.push(format!("{metric}: {value:.4}, in B only")),
        }
    }
    let gone = was.metrics.iter().filter(|(metric, _)| !is.metrics.contains_key(*metric));
    said.extend(gone.map(|(metric, value)| format!("{metric}: {value:.4}, in A only")));
    let outputs = is.outputs.iter().filter(|(port, digest)| was.outputs.get(*port).is_some_and(|old| old != *digest));
    let outputs: Vec<&str> = outputs.map(|(port, _)| port.as_str()).collect();
    if !outputs.is_empty() {
        said.push(format!("other content in `{}`", outputs.join("`, `")));
    }
    said
}

/// What differs between the keys, down to the files of folders outside.
fn changes(store: &Store, was: &Entry, is: &Entry) -> Vec<String> {
    let mut changes = is.key.changes_since(&was.key);
    for change in &mut changes {
        if let Change::Input { was: Some(a), is: Some(b), files, .. } = change
            && was.folders.contains(a)
            && is.folders.contains(b)
        {
            *files = store.changes_between(a, b);
        }
    }
    changes.iter().map(ToString::to_string).collect()
}

/// What a node's key made, if that is still there.
fn entry(store: &Store, node: &NodeRecord) -> Option<Entry> {
    store.entry(&node.key?)
}
