//! Balanced accuracy by number of labels: curves and the paper's table.

use maud::{Markup, PreEscaped, html};

use super::figures::{Figures, has_levels};
use crate::report::study::{Role, Study};
use crate::report::tables::{LineRole, ResultLine, levels, result_lines};
use crate::report::words::mean_std;

pub fn section(study: &Study, figures: &Figures) -> Option<Markup> {
    let efficiency = figures.efficiency.as_ref()?;
    let (sizes, lines) = result_lines(study);
    let best: Vec<Option<f64>> = (0..sizes.len()).map(|column| best_of(&lines, column)).collect();
    Some(html! {
        figure {
            (PreEscaped(efficiency.inline()))
            figcaption { "Balanced accuracy (mean recall of the classes) on the test images. Bands: one standard deviation over the repeats." }
        }
        @if !figures.by_method.is_empty() {
            div.pair {
                @for (method, figure) in &figures.by_method {
                    figure { h3 { (method) } (PreEscaped(figure.inline())) }
                }
            }
            p.caption { "Each method beside what it reaches on features that took no training (grey), beside the supervised baseline and published numbers where there are any." }
        }
        h3 { "Balanced accuracy by labels per class, mean (std)" }
        div.scroll { table {
            thead { tr {
                th.text { "features" } th.text { "method" }
                @for n in &sizes { th { (n) } }
            } }
            tbody {
                @for (i, line) in lines.iter().enumerate() {
                    tr.group[i > 0 && lines[i - 1].sweep != line.sweep].muted[line.role == LineRole::Published] {
                        td.text { @if i == 0 || lines[i - 1].sweep != line.sweep { (line.sweep) } }
                        td.text { (line.method) }
                        @for (column, cell) in line.cells.iter().enumerate() {
                            td.best[is_best(line, column, best[column])] { (cell.as_deref().unwrap_or("")) }
                        }
                    }
                }
            }
        } }
        @if has_levels(study) {
            p.caption {
                "Independent of labels per class: "
                @for (i, level) in levels(study).iter().enumerate() {
                    @if i > 0 { ", " }
                    (level.name) " " (mean_std(level.value, level.std))
                }
                "."
            }
        }
        @if let Some(reference) = study.reference { p.caption { "Published: " (reference.source()) } }
        @if lines.iter().any(|line| line.role == LineRole::Ours(Role::Studied)) { p.caption { "Bold: the best of our own results at that number of labels." } }
    })
}

/// The best mean of our own lines in a column, as it is shown.
fn best_of(lines: &[ResultLine], column: usize) -> Option<f64> {
    let ours = lines.iter().filter(|line| line.role != LineRole::Published);
    ours.filter_map(|line| shown(line, column)).max_by(f64::total_cmp)
}

fn is_best(line: &ResultLine, column: usize, best: Option<f64>) -> bool {
    line.role != LineRole::Published && best.is_some() && shown(line, column) == best
}

/// The mean as the table shows it: two cells that look alike are alike.
fn shown(line: &ResultLine, column: usize) -> Option<f64> {
    line.cells.get(column)?.as_deref()?.split('(').next()?.parse().ok()
}
