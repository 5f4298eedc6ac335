//! `flow why`: a node's key, component by component, against its last run.

use super::arguments::WhyArguments;
use super::console::{duration, moment, print};
use super::exit::{Exit, Stop};
use super::open;
use crate::engine::{self, Planned};
use crate::store::Provenance;

pub(super) fn why(arguments: &WhyArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(&arguments.pipeline)?;
    let node = pipeline.target(&arguments.node).map_err(Stop::wrong)?;
    let places = open::places(&arguments.pipeline, &arguments.cache);
    pipeline.missing_files(&[node], &places)?;
    let store = open::look(&arguments.cache)?;
    let planned = engine::plan(&pipeline.graph, &store, &places, &[node], &[])?;
    let name = &arguments.node;
    let key = match &planned[&node] {
        Planned::Reuse { key, entry } => {
            print(&format!("`{name}` is up to date"));
            print(&format!("made   {}", made(&entry.provenance)));
            key
        }
        Planned::Run { key, reason } => {
            print(&format!("`{name}` would run: {reason}"));
            key
        }
        Planned::After { nodes } => {
            let names: Vec<&str> = nodes.iter().map(|id| pipeline.graph.node(*id).name.as_str()).collect();
            print(&format!("`{name}` reads `{}`, which must run first; ask `flow why` about them", names.join("`, `")));
            return Ok(Exit::Done);
        }
        Planned::Blocked { trouble } => return Err(Stop::wrong(trouble)),
    };
    print(&format!("key    {}", key.digest()));
    print(&format!("kind   {} (version {}, key format {})", key.kind, key.version, key.format));
    if let Some(seed) = key.seed {
        print(&format!("seed   {seed}"));
    }
    if let Some(program) = &key.program {
        print(&format!("says   {program}"));
    }
    for (name, value) in &key.environment {
        print(&format!("env    {name} = {}", value.as_ref().map_or("not set".to_string(), |value| format!("{value:?}"))));
    }
    for (role, digest) in &key.inputs {
        print(&format!("input  {role} = {digest}"));
    }
    match key.params.as_object() {
        Some(params) if !params.is_empty() => params.iter().for_each(|(name, value)| print(&format!("param  {name} = {value}"))),
        _ => print("param  every parameter has its default"),
    }
    Ok(Exit::Done)
}

/// When, where and at what cost: "2026-11-26T07:00:00Z on host, cpu, 2 threads, in 2 min 5 s, peak 300 MiB, by flow 0.1.0".
fn made(how: &Provenance) -> String {
    let (when, threads) = (moment(how.started + how.seconds), crate::diagnostic::count(how.threads, "thread"));
    let (took, peak) = (duration(how.seconds), how.peak_mib);
    format!("{when} on {}, {}, {threads}, in {took}, peak {peak:.0} MiB, by flow {}", how.host, how.device, how.flow)
}
