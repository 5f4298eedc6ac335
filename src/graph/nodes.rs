//! The graph: nodes in an order in which each follows what it reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::stage::{Source, Stage};

/// A node's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A wire from another node's output port to an input role.
#[derive(Clone, Debug)]
pub struct Edge {
    pub role: String,
    pub from: NodeId,
    /// The name of the output port.
    pub port: String,
}

/// A named stage and the wires it reads.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub stage: Arc<dyn Stage>,
    /// The seed of the pipeline it comes from.
    pub seed: u64,
    pub inputs: Vec<Edge>,
    /// What the stage reads outside, asked once: many are asked, and several ask.
    pub sources: Vec<Source>,
}

/// One combination of a pipeline's matrix: which node stands for each name.
#[derive(Clone, Debug)]
pub struct Variant {
    /// "epochs=5,k=3"
    pub label: String,
    pub nodes: BTreeMap<String, NodeId>,
}

/// A pipeline that can run: every wire fits, and there is no cycle.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The pipeline's name, under which its history is kept.
    pub name: String,
    nodes: Vec<Node>,
    /// In the order of the matrix; empty where there is none.
    pub variants: Vec<Variant>,
}

impl Graph {
    /// Takes nodes that are in order already: see [`build`](super::build).
    pub(super) fn new(name: String, nodes: Vec<Node>, variants: Vec<Variant>) -> Self {
        Self { name, nodes, variants }
    }

    /// Returns every node's id, each after those it reads.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Returns a node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Returns the nodes that are meant by a name: that very node, or what stands for it in every variant.
    pub fn called(&self, name: &str) -> Vec<NodeId> {
        if let Some(id) = self.find(name) {
            return vec![id];
        }
        let mut found: Vec<NodeId> = self.variants.iter().filter_map(|variant| variant.nodes.get(name).copied()).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Returns the node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// Returns the given nodes and everything they read, directly or not, in order.
    pub fn closure(&self, targets: &[NodeId]) -> Vec<NodeId> {
        let mut wanted = vec![false; self.nodes.len()];
        targets.iter().for_each(|t| wanted[t.0] = true);
        for id in self.ids().rev() {
            if wanted[id.0] {
                self.nodes[id.0].inputs.iter().for_each(|e| wanted[e.from.0] = true);
            }
        }
        self.ids().filter(|id| wanted[id.0]).collect()
    }

    /// Returns the nodes that read each node directly.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for id in self.ids() {
            for edge in &self.node(id).inputs {
                if readers[edge.from.0].last() != Some(&id) {
                    readers[edge.from.0].push(id);
                }
            }
        }
        readers
    }
}
