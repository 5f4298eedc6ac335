//! Balanced accuracy by number of labels: curves and the paper's table.

use maud::{Markup, PreEscaped, html};

use super::figures::{Figures, has_levels};
use crate::classify::Verdict;
use crate::diagnostic::count;
use crate::report::comparison::comparisons;
use crate::report::findings::sizes;
use crate::report::study::{Role, Study};
use crate::report::tables::{LineRole, ResultLine, area_lines, levels, result_lines};
use crate::report::words::{mean_std, signed};

pub fn section(study: &Study, figures: &Figures) -> Option<Markup> {
    let efficiency = figures.efficiency.as_ref()?;
    let (sizes, lines) = result_lines(study);
    let best: Vec<Option<f64>> = (0..sizes.len()).map(|column| best_of(&lines, column)).collect();
    Some(html! {
        figure {
            (PreEscaped(efficiency.inline()))
            figcaption { "Balanced accuracy (mean recall of the classes) on the test images. " (bands(study)) }
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
                            td.best[is_best(line, column, best[column])] {
                                (cell.as_deref().unwrap_or(""))
                                @if let Some(interval) = &line.intervals[column] { span.interval { (interval) } }
                            }
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
        (areas(study, &sizes))
        (compared(study))
    })
}

/// How well scores rank the images, where that was asked for.
fn areas(study: &Study, sizes: &[usize]) -> Markup {
    let lines = area_lines(study);
    html! {
        @if !lines.is_empty() {
            h3 { "Area under the ROC curve by labels per class, mean (std)" }
            div.scroll { table {
                thead { tr { th.text { "features" } th.text { "method" } @for n in sizes { th { (n) } } } }
                tbody { @for (i, line) in lines.iter().enumerate() { tr.group[i > 0 && lines[i - 1].sweep != line.sweep] {
                    td.text { @if i == 0 || lines[i - 1].sweep != line.sweep { (line.sweep) } }
                    td.text { (line.method) }
                    @for cell in &line.cells { td { (cell.as_deref().unwrap_or("")) } }
                } } }
            } }
            p.caption { "Each class against the rest, averaged over the classes: .50 is chance, whatever the threshold. Blank where a class has no test images or was not learnt." }
        }
    }
}

/// What the bands of the figures are.
fn bands(study: &Study) -> String {
    let cells = || study.sweeps.iter().flat_map(|sweep| &sweep.cells);
    let deviation = "one standard deviation over the repeats";
    if cells().all(|cell| cell.interval.is_none()) {
        return format!("Bands: {deviation}.");
    }
    let rest = if cells().any(|cell| cell.interval.is_none()) || study.reference.is_some() {
        format!(" Around curves without such intervals, and around published ones: {deviation}.")
    } else {
        String::new()
    };
    let fewest = cells().filter(|cell| cell.interval.is_some()).map(|cell| cell.repeats).min().unwrap_or(0);
    let few = if fewest < 10 {
        format!(" Those of {} are rough: draws so few say little of other draws.", count(fewest, "repeat"))
    } else {
        String::new()
    };
    format!("Bands: 95 % intervals of the mean over the repeats, from drawing test images and draws again.{few}{rest}")
}

/// Which methods are told apart, in words and numbers.
fn compared(study: &Study) -> Markup {
    let comparisons = comparisons(study);
    let sizes: Vec<usize> =
        sizes(study).into_iter().filter(|n| comparisons.iter().any(|c| c.at.iter().any(|at| at.per_class == *n))).collect();
    html! {
        @if let Some(first) = comparisons.first() {
            h3 { "Is " (first.first) " better?" }
            ul { @for comparison in &comparisons { li { (comparison.sentence()) "." } } }
            div.scroll { table {
                thead { tr { th.text { (first.first) " less" } @for n in &sizes { th { (n) } } } }
                tbody { @for comparison in &comparisons { tr {
                    td.text { (comparison.second) }
                    @for n in &sizes {
                        @if let Some(at) = comparison.at.iter().find(|at| at.per_class == *n) {
                            td.best[at.verdict != Verdict::NotToldApart] {
                                (signed(at.difference)) span.interval { (signed(at.interval.low)) " to " (signed(at.interval.high)) }
                            }
                        } @else { td {} }
                    }
                } } }
            } }
            p.caption {
                "Differences of balanced accuracy by labels per class, with 95 % intervals from drawing test images and draws again, for both methods alike. "
                "Bold: told apart. Each comparison stands by itself: of twenty between equals, about one would be told apart."
            }
        }
    }
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
