//! `flow lock`: write down what every node's key and results are now.

use super::arguments::{CacheArguments, PipelineArguments};
use super::console::say;
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::{Context, count};
use crate::engine;
use crate::pipeline::{lock_path, lock_text};

pub(super) fn lock(arguments: &PipelineArguments, cache: &CacheArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(arguments)?;
    let places = open::places(arguments, cache);
    let store = open::look(cache)?;
    let lock = engine::lock(&pipeline.graph, &store, &places).map_err(|failure| Stop::unknown(&failure))?;
    let path = lock_path(&arguments.pipeline);
    std::fs::write(&path, lock_text(&lock)?).doing(|| format!("failed to write `{}`", path.display()))?;
    open::keep_lock(&store, &path);
    say(&format!("wrote {}: {}", path.display(), count(lock.nodes.len(), "node")));
    Ok(Exit::Done)
}
