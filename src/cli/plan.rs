//! `flow plan`: what would run and why.

use super::arguments::{CacheArguments, PipelineArguments, PlanArguments};
use super::console::print;
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::count;
use crate::engine::{self, Planned};

pub(super) fn plan(arguments: &PlanArguments) -> Result<Exit, Stop> {
    show(&arguments.pipeline, &arguments.cache, &arguments.nodes, &arguments.force)
}

/// Prints the plan for the named nodes.
pub(super) fn show(written: &PipelineArguments, cache: &CacheArguments, nodes: &[String], force: &[String]) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(written)?;
    let wanted = pipeline.targets(nodes).map_err(Stop::wrong)?;
    let forced = if force.is_empty() { Vec::new() } else { pipeline.targets(force).map_err(Stop::wrong)? };
    let places = open::places(written, cache);
    pipeline.missing_files(&wanted, &places)?;
    let store = open::look(cache)?;
    let graph = &pipeline.graph;
    let planned = engine::plan(graph, &store, &places, &wanted, &forced)?;
    let name = |id| &graph.node(id).name;
    let (mut reused, mut run, mut after) = (0, 0, 0);
    for (id, what) in &planned {
        match what {
            Planned::Reuse { .. } => reused += 1,
            Planned::Run { reason, .. } => {
                run += 1;
                print(&format!("run    {}: {reason}", name(*id)));
            }
            Planned::After { nodes } => {
                after += 1;
                let names: Vec<&str> = nodes.iter().map(|n| name(*n).as_str()).collect();
                let theirs = if names.len() == 1 { "its output stays" } else { "their outputs stay" };
                print(&format!("run    {}: follows `{}`, and is reused if {theirs} the same", name(*id), names.join("`, `")));
            }
            Planned::Blocked { trouble } => {
                run += 1;
                print(&format!("stuck  {}: {trouble}", name(*id)));
            }
        }
    }
    let following = match after {
        0 => String::new(),
        1 => ", 1 that follows".to_string(),
        n => format!(", {n} that follow"),
    };
    print(&format!("{} to run{following}, {reused} reused", count(run, "node")));
    Ok(Exit::Done)
}
