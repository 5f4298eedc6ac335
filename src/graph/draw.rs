//! The graph as text for Graphviz and Mermaid.

use std::fmt::Write;

use super::nodes::Graph;

/// Returns the graph in Graphviz's language; edges carry the role and, where the node has several outputs, the port.
pub fn dot(graph: &Graph) -> String {
    let mut out =
        format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n", quoted(&graph.name));
    for id in graph.ids() {
        let node = graph.node(id);
        let _ = writeln!(out, "  {} [label={}];", quoted(&node.name), quoted(&format!("{}\n{}", node.name, node.stage.kind())));
    }
    for id in graph.ids() {
        for edge in &graph.node(id).inputs {
            let from = &graph.node(edge.from).name;
            let _ =
                writeln!(out, "  {} -> {} [label={}];", quoted(from), quoted(&graph.node(id).name), quoted(&label(&edge.port, &edge.role)));
        }
    }
    out + "}\n"
}

/// Returns the graph as a Mermaid flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    let escaped = |text: &str| text.replace('"', "#quot;");
    for id in graph.ids() {
        let node = graph.node(id);
        let _ = writeln!(out, "  n{}[\"{}<br/><small>{}</small>\"]", id.0, escaped(&node.name), node.stage.kind());
    }
    for id in graph.ids() {
        for edge in &graph.node(id).inputs {
            let _ = writeln!(out, "  n{} -- \"{}\" --> n{}", edge.from.0, escaped(&label(&edge.port, &edge.role)), id.0);
        }
    }
    out
}

fn label(port: &str, role: &str) -> String {
    if port == role { port.to_string() } else { format!("{port} as {role}") }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
