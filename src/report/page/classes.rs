//! Which classes are told apart: confusion matrices and recall.

use maud::{Markup, PreEscaped, html};

use super::figures::Figures;
use crate::diagnostic::count;
use crate::report::findings::{by_frequency, row_share};
use crate::report::study::{Confusion, Study};
use crate::report::words::{mean_std, share};

pub fn section(study: &Study, figures: &Figures) -> Option<Markup> {
    (!study.confusions.is_empty()).then(|| {
        html! {
            @for (confusion, figure) in study.confusions.iter().zip(&figures.confusions) {
                h3 { (confusion.method) " on " (confusion.sweep) " features, " (count(confusion.per_class, "label")) " per class" }
                figure {
                    (PreEscaped(figure.inline()))
                    figcaption { "Share of each true class's test images, classes by falling number of test images; "
                        (count(confusion.repeats, "repeat")) " together. Shares below .005 are left blank." }
                }
                (recalls(study, confusion))
            }
        }
    })
}

fn recalls(study: &Study, confusion: &Confusion) -> Markup {
    let order = by_frequency(confusion);
    let published: Vec<Vec<(&str, f64)>> =
        order.iter().map(|c| study.reference.map_or_else(Vec::new, |r| r.recall(&confusion.classes[*c]))).collect();
    let columns: Vec<&str> =
        published.iter().find(|row| !row.is_empty()).map_or_else(Vec::new, |row| row.iter().map(|(name, _)| *name).collect());
    html! {
        div.scroll { table {
            thead { tr {
                th.text { "class" } th { "test images" } th { "recall" } th.text { "" } th.text { "most often taken for" }
                @for name in &columns { th { (name) } }
            } }
            tbody { @for (class, published) in order.iter().zip(&published) {
                tr {
                    td.text { (confusion.classes[*class]) }
                    td { (crate::diagnostic::thousands(n_test(confusion, *class))) }
                    td { (recall(confusion, *class)) }
                    td.text { @if let Some(value) = row_share(confusion, *class, *class) { span.bar { i style=(format!("width:{:.0}%", value * 100.0)) {} } } }
                    td.text { (most_often(confusion, *class)) }
                    @for column in &columns { td.muted { @if let Some((_, value)) = published.iter().find(|(name, _)| name == column) { (share(*value)) } } }
                }
            } }
        } }
    }
}

/// Test images of a class: the matrix counts every repeat.
fn n_test(confusion: &Confusion, class: usize) -> usize {
    let total: u64 = confusion.counts.get(class).map_or(0, |row| row.iter().sum());
    total as usize / confusion.repeats.max(1)
}

fn recall(confusion: &Confusion, class: usize) -> String {
    let std = confusion.recall_std.get(class).copied().flatten();
    row_share(confusion, class, class).map_or_else(|| "n/a".to_string(), |mean| mean_std(mean, std))
}

/// The class that this one is most often taken for, if that happens at all.
fn most_often(confusion: &Confusion, class: usize) -> String {
    let others = (0..confusion.classes.len()).filter(|other| *other != class);
    let shares = others.filter_map(|other| row_share(confusion, class, other).map(|share| (share, other)));
    match shares.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))) {
        Some((value, other)) if value >= 0.005 => format!("{} {}", confusion.classes[other], share(value)),
        _ => String::new(),
    }
}
