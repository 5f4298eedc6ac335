//! `flow export`: a node's result as plain files, or how it came about as a statement.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::arguments::ExportArguments;
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::{Context, Failure, count};
use crate::engine::{self, Planned};
use crate::model::ModelFile;
use crate::stages::MODEL;
use crate::store::{Entry, Store, Stored};

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
        (Some(folder), false) => {
            let outputs = pipeline.graph.node(node).stage.outputs();
            let models = outputs.iter().filter(|output| output.kind == MODEL).map(|output| output.name.to_string()).collect();
            files(&store, entry, &arguments.node, &models, folder)?;
        }
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

/// Copies every output to a file or folder of its name, and a model to what other programs read. Nothing that is there is touched.
fn files(store: &Store, entry: &Entry, node: &str, models: &BTreeSet<String>, folder: &Path) -> Result<(), Stop> {
    let names = |port: &String| match models.contains(port) {
        true => vec![format!("{port}.safetensors"), format!("{port}.json")],
        false => vec![port.clone()],
    };
    let all: Vec<String> = entry.outputs.keys().flat_map(names).collect();
    if let Some(there) = all.iter().map(|name| folder.join(name)).find(|target| target.exists()) {
        return Err(Stop::wrong(format!("`{}` exists already\nhelp: name another folder with `-o DIR`, or remove it", there.display())));
    }
    for (port, stored) in &entry.outputs {
        let names = names(port);
        store.lay_out_output(&names[0], stored, folder)?;
        if let Some(card) = names.get(1) {
            write_card(store, entry, node, stored, &folder.join(card))?;
        }
    }
    say(&format!("wrote {} to {}: `{}`", count(entry.outputs.len(), "output"), folder.display(), all.join("`, `")));
    Ok(())
}

/// Writes what a reader of a model's weights must know, and where they come from.
fn write_card(store: &Store, entry: &Entry, node: &str, stored: &Stored, file: &Path) -> Result<(), Failure> {
    let missing = || Failure::new(format!("object {} is missing or damaged", stored.digest.short()));
    let bytes = std::fs::read(store.object(&stored.digest).ok_or_else(missing)?).doing(|| "failed to read the model")?;
    let mut card = ModelFile::open(&bytes)?.about.card();
    card["provenance"] = json!({
        "flow": env!("CARGO_PKG_VERSION"), "node": node, "kind": entry.key.kind, "key": entry.key.digest(),
        "weights": stored.digest, "statement": entry.statement_digest(),
    });
    let text = serde_json::to_string_pretty(&card).doing(|| "describing the model")?;
    std::fs::write(file, text + "\n").doing(|| format!("failed to write `{}`", file.display()))
}
