//! `flow export`: a node's result as plain files, or how it came about as a statement.

use std::path::Path;

use super::arguments::ExportArguments;
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::{Context, Failure, count};
use crate::engine::{self, Planned};
use crate::store::{Entry, Store};

pub(super) fn export(arguments: &ExportArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(&arguments.pipeline)?;
    let node = pipeline.target(&arguments.node).map_err(Stop::wrong)?;
    let places = open::places(&arguments.pipeline, &arguments.cache);
    pipeline.missing_files(&[node], &places)?;
    let store = open::look(&arguments.cache)?;
    let planned = engine::plan(&pipeline.graph, &store, &places, &[node], &[])?;
    let Planned::Reuse { entry, .. } = &planned[&node] else {
        let name = &arguments.node;
        let words = format!("`{name}` has no result as the pipeline is now\nhelp: `flow run {} {name}` makes it", path(arguments));
        return Err(Stop::unknown(words));
    };
    match (&arguments.output, arguments.provenance) {
        (None, true) => print(&entry.statement().to_string()),
        (Some(file), true) => statement(entry, file)?,
        (Some(folder), false) => files(&store, entry, folder)?,
        (None, false) => return Err(Stop::wrong("no place to export to\nhelp: name a folder with `-o DIR`, or ask for `--provenance`")),
    }
    Ok(Exit::Done)
}

fn path(arguments: &ExportArguments) -> String {
    arguments.pipeline.pipeline.display().to_string()
}

/// Writes the statement's canonical text and nothing else, so that the file's BLAKE3 is what a lock holds of it.
fn statement(entry: &Entry, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, entry.statement().to_string()).doing(|| format!("failed to write `{}`", file.display()))?;
    say(&format!("wrote {}: BLAKE3 {}", file.display(), entry.statement_digest()));
    Ok(())
}

/// Copies every output to a file or folder of its name. Nothing that is there is touched.
fn files(store: &Store, entry: &Entry, folder: &Path) -> Result<(), Stop> {
    if let Some(there) = entry.outputs.keys().map(|port| folder.join(port)).find(|target| target.exists()) {
        return Err(Stop::wrong(format!("`{}` exists already\nhelp: name another folder with `-o DIR`, or remove it", there.display())));
    }
    for (port, stored) in &entry.outputs {
        store.lay_out_output(port, stored, folder)?;
    }
    let names: Vec<&str> = entry.outputs.keys().map(String::as_str).collect();
    say(&format!("wrote {} to {}: `{}`", count(names.len(), "output"), folder.display(), names.join("`, `")));
    Ok(())
}
