//! From stages and the names they mention to a graph, or every mistake at once.
//!
//! Unaware of RON: a problem says which node and which field it concerns, and `pipeline` finds the place in the text.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use super::nodes::{Edge, Graph, Node, NodeId};
use crate::diagnostic::nearest;
use crate::stage::{Input, Output, Presence, Source, Stage};

/// A node before its names are resolved.
pub struct Draft {
    pub name: String,
    pub stage: Arc<dyn Stage>,
}

/// Which part of a node a problem concerns.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// The node as a whole.
    Node,
    /// The parameter of this name, dots into nested ones.
    Field(String),
}

/// Something that keeps a pipeline from being a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub node: String,
    pub subject: Subject,
    pub message: String,
    pub help: Option<String>,
}

/// Resolves every name and type-checks every wire.
///
/// `unreadable` names nodes that exist but could not be read: wires to them are not held against their readers.
pub fn build(name: &str, seed: u64, drafts: Vec<Draft>, unreadable: &[String]) -> Result<Graph, Vec<Problem>> {
    let mut problems = Vec::new();
    let outputs: Vec<Vec<Output>> = drafts.iter().map(|d| d.stage.outputs()).collect();
    let by_name: HashMap<&str, usize> = drafts.iter().enumerate().map(|(i, d)| (d.name.as_str(), i)).collect();
    let resolver = Resolver { drafts: &drafts, outputs: &outputs, by_name: &by_name, unreadable };

    let mut wires: Vec<Vec<(String, usize, String)>> = Vec::new();
    let mut sources: Vec<Vec<Source>> = Vec::new();
    for draft in &drafts {
        let read = draft.stage.sources();
        // A path that is not given is told below, with what should lie there.
        let untold: Vec<&Source> = read.iter().filter(|s| s.path.is_empty()).collect();
        for complaint in draft.stage.check().into_iter().filter(|c| untold.iter().all(|s| s.role != c.field)) {
            problems.push(Problem {
                node: draft.name.clone(),
                message: format!("`{}` {}", complaint.field, complaint.message),
                subject: Subject::Field(complaint.field),
                help: None,
            });
        }
        let mut found = Vec::new();
        for input in draft.stage.inputs() {
            match resolver.resolve(draft, &input) {
                Ok(Some((from, port))) => found.push((input.role, from, port)),
                Ok(None) => {}
                Err(problem) => problems.push(*problem),
            }
        }
        problems.extend(untold.iter().map(|source| missing(draft, &source.role, &source.about)));
        sources.push(read);
        wires.push(found);
    }

    let mut graph = DiGraph::<usize, ()>::new();
    let at: Vec<NodeIndex> = (0..drafts.len()).map(|i| graph.add_node(i)).collect();
    for (reader, found) in wires.iter().enumerate() {
        for (_, from, _) in found {
            graph.update_edge(at[*from], at[reader], ());
        }
    }
    problems.extend(cycles(&graph, &drafts, &wires));
    if !problems.is_empty() {
        return Err(problems);
    }
    // `tarjan_scc` found no cycle, so an order exists.
    let order: Vec<usize> = toposort(&graph, None).unwrap_or_default().into_iter().map(|i| graph[i]).collect();
    let mut place = vec![NodeId(0); drafts.len()];
    order.iter().enumerate().for_each(|(new, old)| place[*old] = NodeId(new));
    let nodes = order
        .iter()
        .map(|&old| Node {
            name: drafts[old].name.clone(),
            stage: drafts[old].stage.clone(),
            seed,
            sources: std::mem::take(&mut sources[old]),
            inputs: wires[old]
                .iter()
                .map(|(role, from, port)| Edge { role: role.clone(), from: place[*from], port: port.clone() })
                .collect(),
        })
        .collect();
    Ok(Graph::new(name.to_string(), nodes, Vec::new()))
}

fn missing(draft: &Draft, role: &str, about: &str) -> Problem {
    let parameter = role.rsplit('.').next().unwrap_or(role);
    Problem {
        node: draft.name.clone(),
        subject: Subject::Field(role.to_string()),
        message: format!("`{}` does not say its `{role}`, which `{}` needs", draft.name, draft.stage.kind()),
        help: Some(format!("write `{parameter}: \"..\"`: {about}")),
    }
}

/// Returns "did you mean `split`?", or the names of the other nodes.
fn known(name: &str, names: &[&str]) -> String {
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the other nodes: `{}`", names.join("`, `")),
    }
}

struct Resolver<'a> {
    drafts: &'a [Draft],
    outputs: &'a [Vec<Output>],
    by_name: &'a HashMap<&'a str, usize>,
    unreadable: &'a [String],
}

impl Resolver<'_> {
    /// Finds the node and port that an input's text means; nothing where an optional input is left open.
    fn resolve(&self, draft: &Draft, input: &Input) -> Result<Option<(usize, String)>, Box<Problem>> {
        let text = input.reference.as_str();
        if text.is_empty() {
            return match input.presence == Presence::Required {
                true => Err(Box::new(missing(draft, &input.role, &format!("the node that provides the {}", input.kind)))),
                false => Ok(None),
            };
        }
        let problem = |message: String, help: Option<String>| {
            Box::new(Problem { node: draft.name.clone(), subject: Subject::Field(input.role.clone()), message, help })
        };
        let (node, port) = text.split_once('.').map_or((text, None), |(n, p)| (n, Some(p)));
        if self.unreadable.iter().any(|name| name == node) {
            return Ok(None);
        }
        if input.presence == Presence::Beside {
            let from = self.by_name.get(node).copied();
            return Ok(from.and_then(|from| self.outputs[from].iter().find(|o| o.kind == input.kind).map(|o| (from, o.name.to_string()))));
        }
        let Some(&from) = self.by_name.get(node) else {
            let names: Vec<&str> = self.drafts.iter().map(|d| d.name.as_str()).filter(|name| *name != draft.name).collect();
            let help = (!names.is_empty()).then(|| known(node, &names));
            return Err(problem(format!("`{}` reads `{node}`, but no node has that name", draft.name), help));
        };
        let outputs = &self.outputs[from];
        let Some(port) = port else {
            let fitting: Vec<&Output> = outputs.iter().filter(|o| input.kind.takes(o.kind)).collect();
            return match fitting[..] {
                [output] => Ok(Some((from, output.name.to_string()))),
                [] => Err(problem(
                    format!("`{}` needs {} for its `{}`, but `{node}` provides {}", draft.name, input.kind, input.role, list(outputs)),
                    self.provider(draft, input),
                )),
                [.., last] => Err(problem(
                    format!("`{}` needs {} for its `{}`, and `{node}` provides several", draft.name, input.kind, input.role),
                    Some(format!(
                        "say which: {} or `{node}.{}`",
                        fitting[..fitting.len() - 1].iter().map(|o| format!("`{node}.{}`", o.name)).collect::<Vec<_>>().join(", "),
                        last.name
                    )),
                )),
            };
        };
        let Some(output) = outputs.iter().find(|o| o.name == port) else {
            let help = nearest(port, outputs.iter().map(|o| &*o.name)).map(|p| format!("did you mean `{node}.{p}`?"));
            return Err(problem(format!("`{node}` has no output `{port}`; it provides {}", list(outputs)), help));
        };
        if !input.kind.takes(output.kind) {
            return Err(problem(
                format!("`{}` needs {} for its `{}`, but `{text}` is {}", draft.name, input.kind, input.role, output.kind),
                self.provider(draft, input),
            ));
        }
        Ok(Some((from, output.name.to_string())))
    }

    /// Names an output that would fit.
    fn provider(&self, reader: &Draft, input: &Input) -> Option<String> {
        let mut others = self.drafts.iter().zip(self.outputs).filter(|(draft, _)| draft.name != reader.name);
        let fits = others.find_map(|(draft, outputs)| {
            outputs.iter().find(|o| o.kind == input.kind).map(|o| format!("`{}.{}` would fit", draft.name, o.name))
        });
        fits.or_else(|| self.unreadable.is_empty().then(|| format!("no node here provides {}", input.kind)))
    }
}

/// Returns "`train` (images), `test` (images)".
fn list(outputs: &[Output]) -> String {
    if outputs.is_empty() {
        return "nothing".to_string();
    }
    outputs.iter().map(|o| format!("`{}` ({})", o.name, o.kind)).collect::<Vec<_>>().join(", ")
}

/// One problem for each knot of nodes that wait for one another, said as `a -> b -> a`.
fn cycles(graph: &DiGraph<usize, ()>, drafts: &[Draft], wires: &[Vec<(String, usize, String)>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for knot in tarjan_scc(graph) {
        let mut members: Vec<usize> = knot.iter().map(|i| graph[*i]).collect();
        members.sort_unstable();
        let first = members[0];
        if members.len() == 1 && !graph.contains_edge(knot[0], knot[0]) {
            continue;
        }
        // Walk backwards along wires inside the knot until a node comes again.
        let mut walk = vec![first];
        let cycle = loop {
            let here = walk[walk.len() - 1];
            let Some((_, from, _)) = wires[here].iter().find(|(_, from, _)| members.contains(from)) else { break walk };
            if let Some(start) = walk.iter().position(|n| n == from) {
                let mut cycle = walk.split_off(start);
                cycle.push(*from);
                break cycle;
            }
            walk.push(*from);
        };
        let names: Vec<&str> = cycle.iter().rev().map(|i| drafts[*i].name.as_str()).collect();
        problems.push(Problem {
            node: names[0].to_string(),
            subject: Subject::Node,
            message: match members.len() {
                1 => format!("`{}` waits for itself: {}", names[0], names.join(" -> ")),
                _ => format!("these nodes wait for one another: {}", names.join(" -> ")),
            },
            help: Some("a node can only read what is made before it; cut one of these wires".to_string()),
        });
    }
    problems
}
