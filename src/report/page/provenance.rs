//! How every result came about.

use maud::{Markup, html};

use crate::report::study::Study;

pub fn section(study: &Study) -> Option<Markup> {
    (!study.provenance.is_empty()).then(|| {
        html! {
            p { "Each row is a node of the pipeline. The key stands for everything that decides the node's result: kind, version, parameters, seed and the content of its inputs. When, where and how long each node ran is kept with it in the cache: " code { "flow why" } " shows it." }
            div.scroll { table {
                thead { tr {
                    th.text { "node" } th.text { "kind" } th.text { "made from" } th.text { "parameters that differ from their defaults" }
                    th.text { "key" }
                } }
                tbody { @for p in &study.provenance { tr {
                    td.text { b { (p.node) } }
                    td.text { (p.kind) " v" (p.version) }
                    td.text.wrap { (p.inputs.join(", ")) }
                    td.text.wrap { code { (p.params) } }
                    td.text { code title=(p.key) { (p.key.chars().take(12).collect::<String>()) } }
                } } }
            } }
        }
    })
}
