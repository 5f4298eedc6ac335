//! `flow check`: read and type-check; touch no data.

use super::arguments::PipelineArguments;
use super::console::say;
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::count;

pub(super) fn check(arguments: &PipelineArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(arguments)?;
    say(&format!("`{}` is sound: {}", pipeline.graph.name, count(pipeline.graph.ids().count(), "node")));
    Ok(Exit::Done)
}
