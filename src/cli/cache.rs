//! `flow cache`: what the cache holds, what may go, whether it is sound.

use std::collections::BTreeMap;

use super::arguments::{CacheArguments, CacheCheckArguments, CacheCommand, GcArguments};
use super::console::{duration, moment, print, say};
use super::exit::{Exit, Stop};
use super::{open, pins};
use crate::diagnostic::count;
use crate::pipeline::locked_keys;
use crate::store::{Holding, Root, Store};

pub(super) fn cache(command: &CacheCommand) -> Result<Exit, Stop> {
    match command {
        CacheCommand::Du(arguments) => du(arguments),
        CacheCommand::Gc(arguments) => gc(arguments),
        CacheCommand::Pin(arguments) => pins::pin(arguments),
        CacheCommand::Unpin(arguments) => pins::unpin(arguments),
        CacheCommand::Pins(arguments) => pins::pins(arguments),
        CacheCommand::Check(arguments) => check(arguments),
    }
}

/// Where a result belongs, as far as it is on record.
fn owner(holding: &Holding) -> (String, String) {
    holding.of.clone().unwrap_or_else(|| ("no run on record".to_string(), holding.entry.key.kind.clone()))
}

fn du(arguments: &CacheArguments) -> Result<Exit, Stop> {
    let mut nodes: BTreeMap<(String, String), Vec<Holding>> = BTreeMap::new();
    let store = open::look(arguments)?;
    for holding in store.holdings(&[]) {
        nodes.entry(owner(&holding)).or_default().push(holding);
    }
    for ((pipeline, node), holdings) in &nodes {
        let bytes: u64 = holdings.iter().map(|h| h.bytes).sum();
        let took: f64 = holdings.iter().map(|h| h.entry.provenance.seconds).sum();
        let newest = holdings.iter().map(|h| h.entry.provenance.started).fold(0.0, f64::max);
        let results = count(holdings.len(), "result");
        print(&format!("{:>10}  {pipeline}/{node}: {results}, made in {}, the newest {}", size(bytes), duration(took), moment(newest)));
    }
    let pieces: u64 = store.scopes().iter().map(|(_, bytes)| bytes).sum();
    if pieces > 0 {
        print(&format!("{:>10}  parts that a later run need not make again", size(pieces)));
    }
    let all = || nodes.values().flatten();
    say(&format!("{} in {}", size(pieces + all().map(|h| h.bytes).sum::<u64>()), count(all().count(), "result")));
    Ok(Exit::Done)
}

fn gc(arguments: &GcArguments) -> Result<Exit, Stop> {
    let changes = arguments.delete || !arguments.root.is_empty();
    let store = if changes { open::existing(&arguments.cache) } else { open::look(&arguments.cache) }?;
    for lock in &arguments.root {
        store.add_root(lock).map_err(Stop::wrong)?;
    }
    let roots = roots(&store, arguments)?;
    show_kept(&store, &roots);
    let sweep = store.sweepable(&roots, arguments.max_size);
    let (word, would) = if arguments.delete { ("removed", "") } else { ("would go", "would ") };
    for holding in &sweep.entries {
        let (pipeline, node) = owner(holding);
        let how = &holding.entry.provenance;
        let again = duration(how.seconds);
        print(&format!("{:>10}  {pipeline}/{node} of {}: {again} to make again", size(holding.bytes), moment(how.started)));
    }
    let states: u64 = sweep.states.iter().map(|(_, bytes)| bytes).sum();
    if !sweep.states.is_empty() {
        print(&format!("{:>10}  checkpoints of {} that nobody goes on with", size(states), count(sweep.states.len(), "training")));
    }
    let pieces: u64 = sweep.pieces.iter().map(|(_, bytes)| bytes).sum();
    if pieces > 0 {
        print(&format!("{:>10}  parts of results that are gone", size(pieces)));
    }
    if arguments.delete {
        store.sweep_away(&sweep)?;
    }
    let freed = states + pieces + sweep.loose.iter().map(|(_, bytes)| bytes).sum::<u64>();
    // Not `sum`, whose nothing is -0.
    let again = sweep.entries.iter().fold(0.0, |seconds, holding| seconds + holding.entry.provenance.seconds);
    say(&format!("{} {word}: {would}free {}, {} to make again", count(sweep.entries.len(), "result"), size(freed), duration(again)));
    if !arguments.delete && freed > 0 {
        say("nothing was removed: say `--delete` to do it");
    }
    Ok(Exit::Done)
}

/// What must stay. A lock file that is gone keeps nothing; one that cannot be read stops the clean-up, for nobody knows what it keeps.
fn roots(store: &Store, arguments: &GcArguments) -> Result<Vec<Root>, Stop> {
    let mut roots = store.own_roots(arguments.keep_runs).map_err(|failure| Stop::unknown(&failure))?;
    for lock in store.roots() {
        if lock.exists() {
            let keys = locked_keys(&lock).map_err(|failure| Stop::unknown(&failure))?;
            roots.push(Root { name: format!("lock `{}`", lock.display()), keys });
        } else {
            say(&format!("lock `{}` is gone: it keeps nothing", lock.display()));
            if arguments.delete {
                store.forget_root(&lock);
            }
        }
    }
    Ok(roots)
}

/// Says how much each root keeps; what several keep counts for each.
fn show_kept(store: &Store, roots: &[Root]) {
    let holdings = store.holdings(roots);
    for root in roots {
        let kept: Vec<&Holding> = holdings.iter().filter(|holding| root.keys.contains(&holding.key)).collect();
        let bytes: u64 = kept.iter().map(|holding| holding.bytes).sum();
        say(&format!("{:>10}  kept by {}: {}", size(bytes), root.name, count(kept.len(), "result")));
    }
}

fn check(arguments: &CacheCheckArguments) -> Result<Exit, Stop> {
    let checked = open::existing(&arguments.cache)?.check_up(arguments.contents)?;
    checked.damaged.iter().for_each(|digest| print(&format!("object {digest}: its bytes were not what its name says; removed")));
    checked.forgotten.iter().for_each(|key| print(&format!("entry {key}: its outputs are not all there; forgotten")));
    let how = if arguments.contents { "every byte read" } else { "by their stat" };
    say(&format!("{} and {} looked at, {how}", count(checked.objects, "object"), count(checked.entries, "entry")));
    match checked.damaged.is_empty() && checked.forgotten.is_empty() {
        true => Ok(Exit::Done),
        false => {
            say("what was damaged is forgotten, and the next run makes it again");
            Ok(Exit::Unsound)
        }
    }
}

/// Returns `512 B`, `1.5 MiB`, `20 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len()).rev().find(|power| bytes >= 1 << (10 * power)).unwrap_or(0);
    let value = bytes as f64 / (1u64 << (10 * power)) as f64;
    match value {
        v if power > 0 && v < 10.0 => format!("{v:.1} {}", units[power]),
        v => format!("{v:.0} {}", units[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!([0, 512, 1536, 20 << 30].map(size), ["0 B", "512 B", "1.5 KiB", "20 GiB"]);
    }
}
