//! `flow table`: the variants of a matrix against the figures of their nodes, with differences to the first.

use serde_json::json;

use super::arguments::TableArguments;
use super::console::{print, say};
use super::exit::{Exit, Stop};
use super::open;
use crate::diagnostic::{Context, Failure, count};
use crate::engine::{self, Planned};
use crate::graph::{Graph, NodeId};
use crate::store::Entry;

/// The ways to print the table.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// For people: a line per figure, a column per variant
    Text,
    /// A line per variant and figure
    Csv,
    /// The same as a list of objects
    Json,
}

/// A figure of a node, variant by variant; none where there is no result.
struct Figure {
    node: String,
    metric: String,
    values: Vec<Option<f64>>,
}

pub(super) fn table(arguments: &TableArguments) -> Result<Exit, Stop> {
    let pipeline = open::pipeline(&arguments.pipeline)?;
    let graph = &pipeline.graph;
    if graph.variants.is_empty() {
        return Err(Stop::wrong(
            "the pipeline has no variants to compare\nhelp: add `matrix: {\"dino.epochs\": [5, 10]}`, or give a list: --set 'dino.epochs=[5, 10]'",
        ));
    }
    let store = open::store(&arguments.cache)?;
    let places = open::places(&arguments.pipeline, &arguments.cache);
    let all: Vec<NodeId> = graph.ids().collect();
    let planned = engine::plan(graph, &store, &places, &all, &[])?;
    let entry = |id: &NodeId| match &planned[id] {
        Planned::Reuse { entry, .. } => Some(&**entry),
        _ => None,
    };
    let mut figures = figures(graph, &entry);
    figures.retain(|figure| {
        let name = format!("{} {}", figure.node, figure.metric);
        arguments.metric.is_empty() || arguments.metric.iter().any(|wanted| name.contains(wanted.as_str()))
    });
    let labels: Vec<&str> = graph.variants.iter().map(|variant| variant.label.as_str()).collect();
    match arguments.format {
        Format::Text => text(&labels, &figures),
        Format::Csv => print(csv(&labels, &figures)?.trim_end()),
        Format::Json => print(&serde_json::to_string_pretty(&rows(&labels, &figures)).unwrap_or_default()),
    }
    let open = all.iter().filter(|id| entry(id).is_none()).count();
    if open > 0 {
        say(&format!("{} no result yet: `flow run` makes it", count(open, "node") + if open == 1 { " has" } else { " have" }));
    }
    Ok(Exit::Done)
}

/// Figures of every node that is not the same in all variants.
fn figures<'a>(graph: &Graph, entry: &impl Fn(&NodeId) -> Option<&'a Entry>) -> Vec<Figure> {
    let mut figures = Vec::new();
    let names: Vec<&String> = graph.variants.iter().flat_map(|variant| variant.nodes.keys()).collect();
    let names: std::collections::BTreeSet<&String> = names.into_iter().filter(|name| graph.called(name).len() > 1).collect();
    for node in names {
        let entries: Vec<Option<&Entry>> = graph.variants.iter().map(|variant| variant.nodes.get(node).and_then(entry)).collect();
        let metrics: std::collections::BTreeSet<&String> = entries.iter().flatten().flat_map(|entry| entry.metrics.keys()).collect();
        for metric in metrics {
            let values = entries.iter().map(|entry| entry.and_then(|entry| entry.metrics.get(metric).copied())).collect();
            figures.push(Figure { node: node.clone(), metric: metric.clone(), values });
        }
    }
    figures
}

fn difference(figure: &Figure, variant: usize) -> Option<f64> {
    Some(figure.values[variant]? - figure.values[0]?)
}

fn text(labels: &[&str], figures: &[Figure]) {
    let cell = |figure: &Figure, variant: usize| match (figure.values[variant], difference(figure, variant)) {
        (Some(value), Some(apart)) if variant > 0 => format!("{value:.4} ({apart:+.4})"),
        (Some(value), _) => format!("{value:.4}"),
        (None, _) => "-".to_string(),
    };
    let mut table = vec![std::iter::once("").chain(labels.iter().copied()).map(str::to_string).collect::<Vec<String>>()];
    for figure in figures {
        let cells = (0..labels.len()).map(|variant| cell(figure, variant));
        table.push(std::iter::once(format!("{} {}", figure.node, figure.metric)).chain(cells).collect());
    }
    let widths: Vec<usize> =
        (0..=labels.len()).map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &table {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(cells.join("  ").trim_end());
    }
}

fn rows(labels: &[&str], figures: &[Figure]) -> Vec<serde_json::Value> {
    let row = |figure: &Figure, variant: usize| {
        json!({
            "variant": labels[variant],
            "node": figure.node,
            "metric": figure.metric,
            "value": figure.values[variant],
            "difference_to_first": difference(figure, variant),
        })
    };
    figures.iter().flat_map(|figure| (0..labels.len()).map(move |variant| row(figure, variant))).collect()
}

fn csv(labels: &[&str], figures: &[Figure]) -> Result<String, Failure> {
    let what = || "failed to write the table";
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["variant", "node", "metric", "value", "difference_to_first"]).doing(what)?;
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for figure in figures {
        for (variant, label) in labels.iter().enumerate() {
            let (value, apart) = (number(figure.values[variant]), number(difference(figure, variant)));
            writer.write_record([*label, &figure.node, &figure.metric, &value, &apart]).doing(what)?;
        }
    }
    String::from_utf8(writer.into_inner().doing(what)?).doing(what)
}
