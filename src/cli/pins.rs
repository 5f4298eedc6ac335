//! `flow cache pin`, `unpin`, `pins`: results that stay until somebody says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{CacheArguments, PinArguments, UnpinArguments};
use super::cache::size;
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::count;
use crate::digest::Digest;
use crate::store::{Pin, Store};

pub(super) fn pin(arguments: &PinArguments) -> Result<Exit, Stop> {
    let store = open::existing(&arguments.cache)?;
    let run = store.run_called(&arguments.run).map_err(Stop::wrong)?;
    let mut keys: BTreeMap<String, Digest> = run.nodes.iter().filter_map(|(name, node)| Some((name.clone(), node.key?))).collect();
    if !arguments.node.is_empty() {
        if let Some(unknown) = arguments.node.iter().find(|name| !keys.contains_key(*name)) {
            let names: Vec<&str> = keys.keys().map(String::as_str).collect();
            let words = format!("run {} has no result of `{unknown}`\nhelp: it has `{}`", run.run, names.join("`, `"));
            return Err(Stop::wrong(words));
        }
        let wanted = made_from(&store, arguments.node.iter().map(|name| keys[name]).collect());
        keys.retain(|_, key| wanted.contains(key));
    }
    // A failed node has a key, but no result.
    keys.retain(|_, key| store.entry(key).is_some());
    if keys.is_empty() {
        return Err(Stop::unknown(format!("no result of run {} is in the cache any more", run.run)));
    }
    let pin = Pin { name: arguments.name.clone(), pipeline: run.pipeline, run: run.run, keys };
    store.pin(&pin).map_err(Stop::wrong)?;
    say(&format!("pinned {}", line(&store, &pin)));
    Ok(Exit::Done)
}

/// The keys and those of everything they were made from, as far as that is known.
fn made_from(store: &Store, keys: Vec<Digest>) -> BTreeSet<Digest> {
    let (mut open, mut found) = (keys, BTreeSet::new());
    while let Some(key) = open.pop() {
        if found.insert(key) {
            open.extend(store.entry(&key).into_iter().flat_map(|entry| entry.provenance.producers.into_values()));
        }
    }
    found
}

pub(super) fn unpin(arguments: &UnpinArguments) -> Result<Exit, Stop> {
    let store = open::existing(&arguments.cache)?;
    for name in &arguments.name {
        store.unpin(name).map_err(Stop::wrong)?;
        say(&format!("unpinned {name}"));
    }
    Ok(Exit::Done)
}

pub(super) fn pins(arguments: &CacheArguments) -> Result<Exit, Stop> {
    let store = open::look(arguments)?;
    let pins = store.pins()?;
    pins.iter().for_each(|pin| print(&line(&store, pin)));
    if pins.is_empty() {
        say("nothing is pinned: `flow cache pin NAME` keeps the results of the last run");
    }
    Ok(Exit::Done)
}

/// "paper: 8 results of study, run 19ab-1, 1.5 MiB"
fn line(store: &Store, pin: &Pin) -> String {
    let keys: BTreeSet<&Digest> = pin.keys.values().collect();
    let bytes = keys.iter().filter_map(|key| store.entry(key)).flat_map(|entry| entry.outputs.into_values()).map(|stored| stored.bytes);
    let (results, bytes) = (count(keys.len(), "result"), size(bytes.sum()));
    format!("{}: {results} of {}, run {}, {bytes}", pin.name, pin.pipeline, pin.run)
}
