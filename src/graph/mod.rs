//! Nodes, the wires between them, and what makes a node's key.

mod build;
mod nodes;
mod key;
mod draw;

pub use build::{Draft, Problem, Subject, build};
pub use draw::{dot, mermaid};
pub use key::{Change, KEY_FORMAT, Key};
pub use nodes::{Edge, Graph, Node, NodeId};
