//! Nodes, the wires between them, and what makes a node's key.

mod build;
mod nodes;
mod key;
mod change;
mod merge;
mod draw;

pub use build::{Draft, Problem, Subject, build};
pub use change::{Change, FileChanges};
pub use draw::{dot, mermaid};
pub use key::{KEY_FORMAT, Key};
pub use merge::merge;
pub use nodes::{Edge, Graph, Node, NodeId, Variant};
