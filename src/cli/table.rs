//! `flow table`: the variants of a matrix against the figures of their nodes, with differences to the first.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::arguments::TableArguments;
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::{open, run};
use crate::diagnostic::{Failure, count};
use crate::engine::{self, Planned, Summary};
use crate::graph::{Graph, NodeId};
use crate::report::{VariantFigure, Variants, variants_page};
use crate::store::{Durability, Store, atomically};

/// The ways to print the table.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// For people: a line per figure, a column per variant
    Text,
    /// The same for a README or an issue
    Markdown,
    /// The same as a page that needs nothing else
    Html,
    /// A line per variant and figure
    Csv,
    /// The same as a list of objects
    Json,
}

pub(super) fn table(arguments: &TableArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(&arguments.pipeline)?;
    let graph = &pipeline.graph;
    if graph.variants.is_empty() {
        return Err(Stop::wrong(
            "the pipeline has no variants to compare\nhelp: add `matrix: {\"dino.epochs\": [5, 10]}`, or give a list: --set 'dino.epochs=[5, 10]'",
        ));
    }
    let store = open::look(&arguments.cache)?;
    let places = open::places(&arguments.pipeline, &arguments.cache);
    let all: Vec<NodeId> = graph.ids().collect();
    let planned = engine::plan(graph, &store, &places, &all, &[])?;
    let metrics = |id: &NodeId| match &planned[id] {
        Planned::Reuse { entry, .. } => Some(&entry.metrics),
        _ => None,
    };
    let mut variants = variants(graph, &metrics);
    variants.figures.retain(|figure| {
        let name = format!("{} {}", figure.node, figure.metric);
        arguments.metric.is_empty() || arguments.metric.iter().any(|wanted| name.contains(wanted.as_str()))
    });
    match arguments.format {
        Format::Text => text(&variants),
        Format::Markdown => print(variants.to_markdown().trim_end()),
        Format::Html => print(&variants_page(&variants)),
        Format::Csv => print(variants.to_csv()?.trim_end()),
        Format::Json => print(&serde_json::to_string_pretty(&variants.rows()).unwrap_or_default()),
    }
    let open = all.iter().filter(|id| metrics(id).is_none()).count();
    if open > 0 {
        say(&format!("{} no result yet: `flow run` makes it", count(open, "node") + if open == 1 { " has" } else { " have" }));
    }
    Ok(Exit::Done)
}

type Metrics = std::collections::BTreeMap<String, f64>;

/// Figures of every node that is not the same in all variants.
fn variants<'a>(graph: &Graph, metrics_of: &impl Fn(&NodeId) -> Option<&'a Metrics>) -> Variants {
    let names: Vec<&String> = graph.variants.iter().flat_map(|variant| variant.nodes.keys()).collect();
    let names: BTreeSet<&String> = names.into_iter().filter(|name| graph.called(name).len() > 1).collect();
    let mut figures = Vec::new();
    for node in names {
        let found: Vec<Option<&Metrics>> = graph.variants.iter().map(|variant| variant.nodes.get(node).and_then(metrics_of)).collect();
        let metrics: BTreeSet<&String> = found.iter().flatten().flat_map(|metrics| metrics.keys()).collect();
        for metric in metrics {
            let values = found.iter().map(|metrics| metrics.and_then(|metrics| metrics.get(metric).copied())).collect();
            figures.push(VariantFigure { node: node.clone(), metric: metric.clone(), values });
        }
    }
    Variants { title: graph.name.clone(), labels: graph.variants.iter().map(|variant| variant.label.clone()).collect(), figures }
}

/// Lays the page of what a run brought up to date beside its reports; none where there is nothing to compare.
pub(super) fn lay_out(graph: &Graph, store: &Store, summary: &Summary) -> Result<Option<PathBuf>, Failure> {
    let done = |id: &NodeId| summary.outcomes.iter().find(|outcome| outcome.node == *id && outcome.trouble.is_none());
    let variants = variants(graph, &|id: &NodeId| done(id).map(|outcome| &outcome.metrics));
    if variants.figures.is_empty() {
        return Ok(None);
    }
    let path = run::shown_folder(store, graph).join("variants.html");
    atomically(&path, variants_page(&variants).as_bytes(), Durability::Soon)?;
    Ok(Some(path))
}

fn text(variants: &Variants) {
    let labels = &variants.labels;
    let mut table = vec![std::iter::once("").chain(labels.iter().map(String::as_str)).map(str::to_string).collect::<Vec<String>>()];
    for figure in &variants.figures {
        let cells = (0..labels.len()).map(|variant| figure.cell(variant));
        table.push(std::iter::once(format!("{} {}", figure.node, figure.metric)).chain(cells).collect());
    }
    let widths: Vec<usize> =
        (0..=labels.len()).map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &table {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(cells.join("  ").trim_end());
    }
}
