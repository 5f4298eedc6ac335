//! `flow graph`: the graph as text for a drawing program.

use super::arguments::GraphArguments;
use super::console::print;
use super::exit::{Exit, Stop};
use super::open;
use crate::graph;

/// The languages the graph can be printed in.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// Graphviz
    Dot,
    /// Mermaid flowchart, as shown by many Markdown viewers
    Mermaid,
}

pub(super) fn graph(arguments: &GraphArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(&arguments.pipeline)?;
    print(
        match arguments.format {
            Format::Dot => graph::dot(&pipeline.graph),
            Format::Mermaid => graph::mermaid(&pipeline.graph),
        }
        .trim_end(),
    );
    Ok(Exit::Done)
}
