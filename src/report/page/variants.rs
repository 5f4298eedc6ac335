//! The variants of a matrix side by side, as a page of its own.

use maud::{Markup, html};

use super::frame::document;
use crate::report::variants::Variants;

/// Returns the page as text.
pub fn variants_page(variants: &Variants) -> String {
    let groups = variants.figures.chunk_by(|a, b| a.node == b.node);
    let body = html! {
        header {
            h1 { (variants.title) }
            p.subtitle { (variants.about()) }
        }
        @for group in groups {
            section {
                h2 { (group[0].node) }
                div.scroll { table {
                    thead { tr {
                        th.text { "figure" }
                        @for label in &variants.labels { th { (label) } }
                    } }
                    tbody { @for figure in group { tr {
                        td.text { (figure.metric) }
                        @for variant in 0..variants.labels.len() { td { (cell(figure.values[variant], figure.difference(variant))) } }
                    } } }
                } }
            }
        }
    };
    document(&variants.title, &body)
}

fn cell(value: Option<f64>, difference: Option<f64>) -> Markup {
    html! {
        @match value { Some(value) => (format!("{value:.4}")), None => "–" }
        @if let Some(difference) = difference { " " span style="color:var(--muted)" { (format!("({difference:+.4})")) } }
    }
}
