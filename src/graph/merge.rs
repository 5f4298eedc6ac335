//! Variants of one pipeline as one graph: what is the same in several of them is one node, and runs once.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::nodes::{Edge, Graph, Node, NodeId, Variant};
use crate::digest::Digest;
use crate::params::without_nothings;

/// Joins the graphs of variants. `values[i]` is the variant's value on axis `i`, as written.
///
/// A node that is the same in all variants keeps its name; another is called `sweep[k=5]`, by the axes on which it depends.
pub fn merge(name: &str, axes: &[String], variants: &[(Vec<String>, Graph)]) -> Graph {
    let mut nodes: Vec<Node> = Vec::new();
    let mut known: HashMap<Digest, NodeId> = HashMap::new();
    let mut maps: Vec<BTreeMap<String, NodeId>> = Vec::new();
    for (_, graph) in variants {
        let mut at: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            let inputs: Vec<Edge> = node.inputs.iter().map(|edge| Edge { from: at[&edge.from], ..edge.clone() }).collect();
            let place = *known.entry(identity(node, &inputs)).or_insert_with(|| {
                nodes.push(Node { inputs, ..node.clone() });
                NodeId(nodes.len() - 1)
            });
            at.insert(id, place);
        }
        maps.push(graph.ids().map(|id| (graph.node(id).name.clone(), at[&id])).collect());
    }
    for base in maps.iter().flat_map(BTreeMap::keys).cloned().collect::<std::collections::BTreeSet<String>>() {
        let places: Vec<Option<NodeId>> = maps.iter().map(|map| map.get(&base).copied()).collect();
        let matter = axes_that_matter(axes.len(), variants, &places);
        for (place, (values, _)) in places.iter().zip(variants) {
            let said: Vec<String> = matter.iter().map(|axis| format!("{}={}", axes[*axis], values[*axis])).collect();
            if let Some(place) = place.filter(|_| !said.is_empty()) {
                nodes[place.0].name = format!("{base}[{}]", said.join(","));
            }
        }
    }
    let label = |values: &[String]| axes.iter().zip(values).map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",");
    let variants = maps.into_iter().zip(variants).map(|(nodes, (values, _))| Variant { label: label(values), nodes }).collect();
    Graph::new(name.to_string(), nodes, variants)
}

/// Everything that makes two nodes of one name the same node.
fn identity(node: &Node, inputs: &[Edge]) -> Digest {
    let stage = &node.stage;
    let wires: Vec<_> = inputs.iter().map(|edge| json!([edge.role, edge.from.0, edge.port])).collect();
    let sources: Vec<_> = stage.sources().iter().map(|source| json!([source.role, source.path.as_str()])).collect();
    let seed = stage.seeded().then_some(node.seed);
    let params = without_nothings(stage.params());
    Digest::of_json(&json!([node.name, stage.kind(), stage.version(), params, seed, stage.environment(), wires, sources]))
}

/// The axes along which a change of one value alone changes the node.
fn axes_that_matter(axes: usize, variants: &[(Vec<String>, Graph)], places: &[Option<NodeId>]) -> Vec<usize> {
    let alike = |a: &[String], b: &[String], but: usize| (0..a.len()).all(|axis| axis == but || a[axis] == b[axis]);
    let matters = |axis: &usize| {
        variants.iter().zip(places).any(|((a, _), x)| variants.iter().zip(places).any(|((b, _), y)| x != y && alike(a, b, *axis)))
    };
    (0..axes).filter(matters).collect()
}
