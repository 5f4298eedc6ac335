//! What every command does first: read the pipeline, open the store.

use std::path::Path;
use std::sync::Arc;

use super::arguments::{CacheArguments, PipelineArguments};
use super::exit::Stop;
use crate::diagnostic::Source;
use crate::engine::Places;
use crate::pipeline::{Pipeline, SetMistake, read_set};
use crate::store::{Ahead, Store};

/// Reads and type-checks the pipeline. It lives as long as the process, which ends sooner when a large graph is not taken apart before.
pub(super) fn pipeline(arguments: &PipelineArguments) -> Result<&'static Pipeline, Stop> {
    let name = arguments.pipeline.display().to_string();
    let text = std::fs::read_to_string(&arguments.pipeline)
        .map_err(|error| Stop::wrong(format!("failed to read the pipeline `{name}`: {error}")))?;
    let read = read_set(Source { name, text }, &arguments.set).map(|pipeline| &*Box::leak(Box::new(pipeline)));
    read.map_err(|mistake| match mistake {
        SetMistake::Text(mistakes) => Stop::from(mistakes),
        SetMistake::Setting(said) if said.starts_with("error:") => {
            Stop { exit: super::exit::Exit::Wrong, words: said.trim_end().to_string() }
        }
        SetMistake::Setting(said) => Stop::wrong(said),
    })
}

/// Opens the store for looking: nothing is made, and no right to write is needed.
pub(super) fn look(arguments: &CacheArguments) -> Result<Arc<Store>, Stop> {
    Ok(Arc::new(Store::look(&arguments.cache)?))
}

/// Opens the store.
pub(super) fn store(arguments: &CacheArguments) -> Result<Arc<Store>, Stop> {
    Ok(Arc::new(Store::open(&arguments.cache)?))
}

/// Opens a store that is there, to change it.
pub(super) fn existing(arguments: &CacheArguments) -> Result<Arc<Store>, Stop> {
    if arguments.cache.is_dir() {
        return store(arguments);
    }
    let path = arguments.cache.display();
    Err(Stop::wrong(format!("there is no cache at `{path}`\nhelp: `--cache` says where it is; `flow run` makes one")))
}

/// Opens the store to run a pipeline for which a second thread reads ahead.
pub(super) fn store_with(arguments: &CacheArguments, ahead: Ahead) -> Result<Arc<Store>, Stop> {
    Ok(Arc::new(Store::open_with(&arguments.cache, Some(ahead))?))
}

/// Begins to read ahead what a run of the pipeline will look up.
pub(super) fn ahead(pipeline: &PipelineArguments, cache: &CacheArguments) -> Ahead {
    Ahead::start(&cache.cache, &pipeline.pipeline)
}

/// Remembers a lock file, so that `flow cache gc` keeps what it names.
pub(super) fn keep_lock(store: &Store, lock: &Path) {
    // Who may only read the store may still hold the lock against it, and one that is not there has nothing to keep.
    if store.root().exists() {
        let _ = store.add_root(lock);
    }
}

/// Returns where the pipeline's paths lead.
pub(super) fn places(pipeline: &PipelineArguments, cache: &CacheArguments) -> Places {
    let base = pipeline.pipeline.parent().unwrap_or(Path::new("")).to_path_buf();
    // What is no text cannot stand in a key, and no node asks for it.
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Places { base, data: cache.data.clone(), environment: environment.collect() }
}
