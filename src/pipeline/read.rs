//! A pipeline as written: names, places and stages, and the graph they make.

use std::collections::{HashMap, HashSet};

use super::edit::{Setting, apply};
use super::matrix::{self, Axis};
use super::outline::{Field, Shape, Value};
use super::scan::outline;
use super::values;
use crate::diagnostic::{Mistake, Mistakes, Source, Span, nearest};
use crate::engine::Places;
use crate::graph::{Draft, Graph, NodeId, Problem, Subject, build, merge};
use crate::stage;
use crate::stages::Step;

/// A pipeline that was read without mistakes.
#[derive(Debug)]
pub struct Pipeline {
    pub graph: Graph,
    source: Source,
    nodes: Vec<Written>,
}

/// A node as it stands in the text.
#[derive(Debug)]
struct Written {
    name: String,
    name_span: Span,
    value: Value,
}

/// Reads a pipeline, or says everything that is wrong with it. A matrix gives one graph of all its combinations.
pub fn read(source: Source) -> Result<Pipeline, Mistakes> {
    read_along(source, Vec::new())
}

/// Reads a pipeline after `settings`. A setting whose value is a list, where the parameter takes none, is an axis of its matrix.
///
/// # Errors
/// A setting that leads nowhere is said in words, mistakes in the text with their places.
pub fn read_set(source: Source, settings: &[Setting]) -> Result<Pipeline, SetMistake> {
    let set = apply(source.clone(), settings).map_err(SetMistake::Setting)?;
    let mistakes = match read(set) {
        Ok(pipeline) => return Ok(pipeline),
        Err(mistakes) => mistakes,
    };
    let (lists, plain): (Vec<&Setting>, Vec<&Setting>) = settings.iter().partition(|setting| Axis::of(setting).is_some());
    if lists.is_empty() {
        return Err(SetMistake::Text(mistakes));
    }
    let plain: Vec<Setting> = plain.into_iter().cloned().collect();
    let set = apply(source, &plain).map_err(SetMistake::Setting)?;
    read_along(set, lists.into_iter().filter_map(Axis::of).collect()).map_err(|_| SetMistake::Text(mistakes))
}

/// Why a pipeline could not be read after settings.
#[derive(Debug)]
pub enum SetMistake {
    Setting(String),
    Text(Mistakes),
}

fn read_along(source: Source, further: Vec<Axis>) -> Result<Pipeline, Mistakes> {
    let whole = outlined(&source)?;
    let axes = [matrix::axes(&source, &whole)?, further].concat();
    if axes.is_empty() {
        return read_one(source, whole);
    }
    let mut variants = Vec::new();
    let mut first = None;
    for combination in matrix::combinations(&source, &axes)? {
        let whole = outlined(&combination.source)?;
        let pipeline = read_one(combination.source, whole)?;
        variants.push((combination.values, pipeline.graph.clone()));
        first.get_or_insert(pipeline);
    }
    // There is a combination: every axis has a value.
    let Some(first) = first else { return read_one(source, whole) };
    Ok(Pipeline { graph: merge(&first.graph.name, &matrix::short_names(&axes), &variants), ..first })
}

fn outlined(source: &Source) -> Result<Value, Mistakes> {
    outline(&source.text).map_err(|mistake| Mistakes::new(source.clone(), vec![mistake]))
}

fn read_one(source: Source, whole: Value) -> Result<Pipeline, Mistakes> {
    let mut mistakes = Vec::new();
    match read_into(&source, whole, &mut mistakes) {
        Some((graph, nodes)) if mistakes.is_empty() => Ok(Pipeline { graph, source, nodes }),
        _ => Err(Mistakes::new(source, mistakes)),
    }
}

const FIELDS: [&str; 4] = ["name", "seed", "matrix", "nodes"];

fn read_into(source: &Source, whole: Value, mistakes: &mut Vec<Mistake>) -> Option<(Graph, Vec<Written>)> {
    let start = head(&whole);
    doubles(&whole, source, mistakes);
    let Shape::Struct { fields, .. } = whole.shape else {
        mistakes.push(Mistake::new(start, "expected `Pipeline(name: \"..\", nodes: {..})`"));
        return None;
    };
    let mut meant: HashSet<&str> = HashSet::new();
    for field in fields.iter().filter(|f| !FIELDS.contains(&f.name.as_str())) {
        let near = nearest(&field.name, FIELDS);
        meant.extend(near);
        let help = near.map_or("known here: `name`, `seed`, `matrix`, `nodes`".to_string(), |n| format!("did you mean `{n}`?"));
        mistakes.push(Mistake::new(field.name_span, format!("a pipeline has no field `{}`", field.name)).help(Some(help)));
    }
    let scalar = |name: &str| fields.iter().find(|f| f.name == name);
    let name: String = scalar("name").and_then(|f| value_of(source, f, mistakes)).unwrap_or_default();
    let seed: u64 = scalar("seed").and_then(|f| value_of(source, f, mistakes)).unwrap_or(1);
    if scalar("name").is_none() && !meant.contains("name") {
        let help = Some("add `name: \"..\"`: its history is kept under this name");
        mistakes.push(Mistake::new(start, "the pipeline has no `name`").help(help));
    }
    let Some(nodes) = fields.into_iter().find(|f| f.name == "nodes") else {
        if !meant.contains("nodes") {
            let help = Some("add `nodes: { \"images\": Ingest(..) }`: what is made from what");
            mistakes.push(Mistake::new(start, "the pipeline has no `nodes`").help(help));
        }
        return None;
    };
    let Shape::Map(pairs) = nodes.value.shape else {
        mistakes.push(Mistake::new(nodes.value.span, "expected a map `{ \"name\": Kind(..), .. }`"));
        return None;
    };
    let (mut written, mut unreadable) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        match key.shape {
            Shape::Text(name) if name.is_empty() => mistakes.push(Mistake::new(key.span, "a node needs a name")),
            Shape::Text(name) if name.contains(['.', '/', '[']) => {
                let message = format!("`{name}` cannot name a node: expected letters without `.`, `/` and `[`");
                mistakes.push(Mistake::new(key.span, message).help(Some("after a dot stands the name of an output: `split.train`")));
                unreadable.extend(name.split('.').next().map(str::to_string));
            }
            Shape::Text(name) => {
                let name_span = Span { start: key.span.start + 1, end: key.span.end - 1 };
                written.push(Written { name, name_span, value });
            }
            _ => {
                mistakes.push(Mistake::new(key.span, "expected a node's name in quotes"));
                unreadable.push(source.text[key.span.start..key.span.end].to_string());
            }
        }
    }
    let (mut drafts, mut left_out, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for node in &written {
        if !names.insert(node.name.as_str()) {
            continue; // Said already, by `doubles`.
        }
        let reading = values::read::<Step>(source, &node.value);
        mistakes.extend(reading.mistakes);
        left_out.extend(reading.left_out);
        match reading.value {
            Some(step) => drafts.push(Draft { name: node.name.clone(), stage: step.stage() }),
            None => unreadable.push(node.name.clone()),
        }
    }
    match build(&name, seed, drafts, &unreadable) {
        Ok(graph) => Some((graph, written)),
        Err(problems) => {
            mistakes.extend(problems.into_iter().filter(|p| !follows(&written, p, &left_out)).map(|p| place(&written, p)));
            None
        }
    }
}

fn value_of<T: serde::de::DeserializeOwned>(source: &Source, field: &Field, mistakes: &mut Vec<Mistake>) -> Option<T> {
    let reading = values::read(source, &field.value);
    let named = |m: Mistake| Mistake { message: format!("`{}`: {}", field.name, m.message), ..m };
    mistakes.extend(reading.mistakes.into_iter().map(named));
    reading.value
}

/// Where a message about a whole value points: its name, or its first letter.
fn head(value: &Value) -> Span {
    value.name_span().unwrap_or(Span { start: value.span.start, end: value.span.start + 1 })
}

/// Map keys and fields given twice: `ron` would silently keep the last of two equal keys.
fn doubles(value: &Value, source: &Source, mistakes: &mut Vec<Mistake>) {
    let mut check = |names: Vec<(&str, Span)>, what: &str| {
        let mut seen: HashMap<&str, &Span> = HashMap::with_capacity(names.len());
        for (name, span) in &names {
            let first = *seen.entry(name).or_insert(span);
            if !std::ptr::eq(first, span) {
                let line = source.place(first.start).0;
                let help = Some(format!("the first stands in line {line}; rename or remove one"));
                mistakes.push(Mistake::new(*span, format!("{what} `{name}` is given twice")).help(help));
            }
        }
    };
    match &value.shape {
        Shape::Map(pairs) => {
            let names = pairs.iter().filter_map(|(key, _)| match &key.shape {
                Shape::Text(text) => Some((text.as_str(), Span { start: key.span.start + 1, end: key.span.end - 1 })),
                _ => None,
            });
            check(names.collect(), "the name");
            pairs.iter().for_each(|(_, v)| doubles(v, source, mistakes));
        }
        Shape::Struct { fields, .. } => {
            check(fields.iter().map(|f| (f.name.as_str(), f.name_span)).collect(), "the parameter");
            fields.iter().for_each(|f| doubles(&f.value, source, mistakes));
        }
        Shape::List(items) | Shape::Tuple { items, .. } => items.iter().for_each(|v| doubles(v, source, mistakes)),
        Shape::Text(_) | Shape::Atom => {}
    }
}

/// Whether a problem may come of parts that could not be read, which were said already: it concerns them, or the lack of something.
fn follows(written: &[Written], problem: &Problem, left_out: &[Span]) -> bool {
    let Some(node) = written.iter().find(|w| w.name == problem.node) else { return false };
    let Subject::Field(path) = &problem.subject else { return false };
    let region = match node.value.follow(&path.split('.').collect::<Vec<_>>()) {
        (_, 0) => node.value.span,
        (value, _) => value.span,
    };
    left_out.iter().any(|part| part.start < region.end && region.start < part.end)
}

/// Finds the place of a problem in the text.
fn place(written: &[Written], problem: Problem) -> Mistake {
    let span = written.iter().find(|w| w.name == problem.node).map_or(Span { start: 0, end: 0 }, |node| match &problem.subject {
        Subject::Node => node.name_span,
        Subject::Field(path) => field_span(node, path),
    });
    Mistake::new(span, problem.message).help(problem.help)
}

/// Returns the place of a parameter's value, or of the innermost thing around it that is written.
fn field_span(node: &Written, path: &str) -> Span {
    let parts: Vec<&str> = path.split('.').collect();
    match node.value.follow(&parts) {
        (_, 0) => node.name_span,
        (value, _) => match &value.shape {
            Shape::Text(_) if value.span.end - value.span.start > 2 => Span { start: value.span.start + 1, end: value.span.end - 1 },
            _ => value.span,
        },
    }
}

/// How to say that something lies in another place.
fn elsewhere(node: &str, source: &stage::Source, places: &Places) -> String {
    let set = format!("--set '{node}.{}=\"PATH\"'", source.role);
    match source.path.as_str().starts_with("$FLOW_DATA") {
        true => format!(
            "put it there, name its place with {set}, or set FLOW_DATA to another folder than `{}`",
            places.resolve("$FLOW_DATA").display()
        ),
        false => format!("put it there, or name its place with {set}"),
    }
}

impl Pipeline {
    /// Returns the ids of the named nodes, all nodes where none is named.
    pub fn targets(&self, names: &[String]) -> Result<Vec<NodeId>, String> {
        if names.is_empty() {
            return Ok(self.graph.ids().collect());
        }
        let found = names.iter().map(|name| self.called(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(found.concat())
    }

    /// Returns the id of one node.
    pub fn target(&self, name: &str) -> Result<NodeId, String> {
        match self.called(name)?[..] {
            [id] => Ok(id),
            ref several => {
                let names: Vec<&str> = several.iter().map(|id| self.graph.node(*id).name.as_str()).collect();
                Err(format!("`{name}` stands for {} nodes of the matrix\nhelp: name one: `{}`", names.len(), names.join("`, `")))
            }
        }
    }

    /// Returns the nodes of this name, in every variant.
    fn called(&self, name: &str) -> Result<Vec<NodeId>, String> {
        let found = self.graph.called(name);
        (!found.is_empty()).then_some(found).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            match nearest(name, names.iter().copied()) {
                Some(known) => format!("no node is called `{name}`\nhelp: did you mean `{known}`?"),
                None => format!("no node is called `{name}`\nhelp: the nodes are `{}`", names.join("`, `")),
            }
        })
    }

    /// Returns every file or folder that the given nodes read and that is not there, each at its place.
    pub fn missing_files(&self, ids: &[NodeId], places: &Places) -> Result<(), Mistakes> {
        let mut mistakes = Vec::new();
        // Many nodes read one file, and most files are there.
        let mut there: HashSet<String> = HashSet::new();
        for id in self.graph.closure(ids) {
            let node = self.graph.node(id);
            let before = mistakes.len();
            for source in &node.sources {
                if there.contains(source.path.as_str()) {
                    continue;
                }
                let path = places.resolve(source.path.as_str());
                if path.exists() {
                    there.insert(source.path.as_str().to_string());
                    continue;
                }
                let plain = node.name.split('[').next();
                let Some(written) = self.nodes.iter().find(|written| Some(written.name.as_str()) == plain) else { continue };
                let span = field_span(written, &source.role);
                // What is not written follows from what is: a table's folder from the table.
                if span != written.name_span || mistakes.len() == before {
                    let help = format!("expected there: {}\n      {}", source.about, elsewhere(&node.name, source, places));
                    mistakes.push(Mistake::new(span, format!("`{}` does not exist", path.display())).help(Some(help)));
                }
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes::missing(self.source.clone(), mistakes)) }
    }
}
