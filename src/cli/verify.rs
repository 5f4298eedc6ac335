//! `flow verify`: do pipeline, files and results still agree with the lock?

use super::arguments::{PipelineArguments, VerifyArguments};
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::{open, rebuild};
use crate::diagnostic::count;
use crate::engine::{self, Drift, Level, Places};
use crate::pipeline::{Pipeline, lock_path, read_lock};
use crate::store::Store;

pub(super) fn verify(arguments: &VerifyArguments) -> Result<Exit, Stop> {
    let level = match () {
        () if arguments.contents => Level::Contents,
        () if arguments.have => Level::Have,
        () => Level::Keys,
    };
    let (pipeline, cache) = (open::pipeline(&arguments.pipeline)?, &arguments.cache);
    let places = open::places(&arguments.pipeline, cache);
    let store = if arguments.rebuild { open::store(cache) } else { open::look(cache) }?;
    let found = drifts(pipeline, &store, &places, &arguments.pipeline, level)?;
    let (notes, drifts): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, drift)| drift.is_note());
    notes.iter().for_each(|(name, note)| say(&format!("note   {name}: {note}")));
    drifts.iter().for_each(|(name, drift)| print(&format!("{name}: {drift}")));
    let exit = verdict(&drifts);
    if arguments.rebuild && exit == Exit::Done {
        return rebuild::rebuild(arguments, pipeline, &store, &places);
    }
    let nodes = count(pipeline.graph.ids().count(), "node");
    say(&match exit {
        Exit::Done => {
            format!("the lock holds for {nodes}: {}", ["keys", "keys and results", "keys, results and every byte"][level as usize])
        }
        Exit::Unsound => {
            format!("the lock does not hold: {} of {nodes}", count(drifts.iter().filter(|(_, d)| d.refutes()).count(), "difference"))
        }
        _ => "the lock may hold, but something needed is missing".to_string(),
    });
    Ok(exit)
}

/// Refuses to go on where keys are not those of the lock.
pub(super) fn refuse_drift(pipeline: &Pipeline, store: &Store, places: &Places, written: &PipelineArguments) -> Result<(), Stop> {
    let drifts = drifts(pipeline, store, places, written, Level::Keys)?;
    let refuting: Vec<String> =
        drifts.iter().filter(|(_, drift)| drift.refutes()).map(|(name, drift)| format!("  {name}: {drift}")).collect();
    match refuting.is_empty() {
        true => Ok(()),
        false => Err(Stop::unsound(format!(
            "`{}` is not what was locked\n{}\nhelp: put it back, or run without `--locked` and write the lock again",
            written.pipeline.display(),
            refuting.join("\n")
        ))),
    }
}

fn drifts(
    pipeline: &Pipeline,
    store: &Store,
    places: &Places,
    written: &PipelineArguments,
    level: Level,
) -> Result<Vec<(String, Drift)>, Stop> {
    let path = lock_path(&written.pipeline);
    let lock = read_lock(&path).map_err(|failure| Stop::unknown(&failure))?;
    open::keep_lock(store, &path);
    Ok(engine::verify(&pipeline.graph, store, places, &lock, level)?)
}

fn verdict(drifts: &[(String, Drift)]) -> Exit {
    match () {
        () if drifts.iter().any(|(_, drift)| drift.refutes()) => Exit::Unsound,
        () if drifts.is_empty() => Exit::Done,
        () => Exit::Unknown,
    }
}
