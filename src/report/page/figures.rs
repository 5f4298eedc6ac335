//! Which figures a study has.

use crate::report::chart::{Axis, Chart, Figure, Look, Point, Series, heatmap};
use crate::report::findings::{by_frequency, cells_of, headline_method, methods, of_role, row_share, sizes};
use crate::report::study::{Confusion, Panel, Role, Study, SweepResults, TrainingCurve};
use crate::report::tables::levels;

/// The figures, in the order of the page.
pub struct Figures {
    /// Balanced accuracy against labels per class: every method, and the headline method's floors.
    pub efficiency: Option<Figure>,
    /// The same for each method, with its floors and what was published of it; none when there is nothing to set beside.
    pub by_method: Vec<(String, Figure)>,
    pub confusions: Vec<Figure>,
    /// The panels of each training.
    pub training: Vec<Vec<Figure>>,
}

/// Draws all figures.
pub fn all(study: &Study) -> Figures {
    Figures {
        efficiency: efficiency(study),
        by_method: by_method(study),
        confusions: study.confusions.iter().map(confusion).collect(),
        training: study.curves.iter().map(|curve| curve.panels.iter().map(|panel| training(curve, panel)).collect()).collect(),
    }
}

fn series(sweep: &SweepResults, method: &str, name: String, look: Look) -> Series {
    let point = |cell: &&crate::report::study::Cell| Point {
        x: cell.per_class as f64,
        y: cell.mean,
        band: cell.interval.or_else(|| (cell.repeats > 1 && cell.std.is_finite()).then_some((cell.mean - cell.std, cell.mean + cell.std))),
    };
    Series { name, look, points: cells_of(sweep, method).iter().map(point).collect() }
}

/// The name of a baseline's curve: its method is said only where there are several.
fn named(sweep: &SweepResults, method: &str) -> String {
    if methods(sweep).len() > 1 { format!("{}, {method}", sweep.name) } else { sweep.name.clone() }
}

fn chance(study: &Study) -> Option<(String, f64)> {
    let n_classes = study.datasets.first()?.classes.iter().filter(|c| c.test > 0).count();
    (n_classes > 1).then(|| ("chance".to_string(), 1.0 / n_classes as f64))
}

fn chart(study: &Study, title: &str, series: Vec<Series>, lines: Vec<(String, f64)>, width: f64, height: f64) -> Figure {
    let n: Vec<f64> = sizes(study).into_iter().map(|n| n as f64).collect();
    let heights = series.iter().flat_map(|s| &s.points).flat_map(|p| [p.low(), p.high()]);
    let y = Axis::linear("balanced accuracy", heights.chain(lines.iter().map(|(_, v)| *v)), 6, 0.0, 1.0);
    let x = Axis::logarithmic("labelled images per class", &n);
    Chart { title: title.to_string(), width, height, x, y, series, levels: lines }.draw()
}

fn efficiency(study: &Study) -> Option<Figure> {
    let mut curves = Vec::new();
    let studied: Vec<&SweepResults> = of_role(study, Role::Studied).collect();
    for sweep in &studied {
        for method in methods(sweep) {
            let name = if studied.len() > 1 { format!("{method}, {}", sweep.name) } else { method.to_string() };
            curves.push(series(sweep, method, name, Look::Studied(curves.len())));
        }
    }
    if curves.is_empty() {
        return None;
    }
    for sweep in of_role(study, Role::Baseline) {
        curves.extend(methods(sweep).into_iter().map(|method| series(sweep, method, named(sweep, method), Look::Baseline)));
    }
    let headline = headline_method(study).unwrap_or_default();
    for (i, sweep) in of_role(study, Role::Floor).enumerate() {
        let shown = methods(sweep);
        let method = shown.iter().find(|m| **m == headline).or(shown.first());
        curves.extend(method.map(|method| series(sweep, method, format!("{}, {method}", sweep.name), Look::Floor(i))));
    }
    let mut lines: Vec<(String, f64)> = study.levels.iter().map(|level| (level.name.clone(), level.value)).collect();
    lines.extend(chance(study));
    Some(chart(study, "Balanced accuracy against labelled images per class, all methods", curves, lines, 1080.0, 470.0))
}

fn by_method(study: &Study) -> Vec<(String, Figure)> {
    let published = study.reference.map(|reference| reference.rows()).unwrap_or_default();
    let has_floors = of_role(study, Role::Floor).next().is_some();
    let Some(main) = of_role(study, Role::Studied).next().filter(|_| has_floors || !published.is_empty()) else { return Vec::new() };
    let mut out = Vec::new();
    for (i, method) in methods(main).into_iter().enumerate() {
        let mut curves = vec![series(main, method, main.name.clone(), Look::Studied(i))];
        let largest = sizes(study).into_iter().max().unwrap_or(0);
        for row in published.iter().filter(|row| row.method == method) {
            let within = row.cells.iter().filter(|(n, ..)| *n <= largest);
            let points =
                within.map(|(n, mean, std)| Point { x: *n as f64, y: *mean, band: std.map(|std| (mean - std, mean + std)) }).collect();
            curves.push(Series { name: "paper".to_string(), look: Look::Published(i), points });
        }
        for sweep in of_role(study, Role::Baseline) {
            curves.extend(methods(sweep).into_iter().map(|other| series(sweep, other, named(sweep, other), Look::Baseline)));
        }
        for (k, sweep) in of_role(study, Role::Floor).enumerate() {
            if methods(sweep).contains(&method) {
                curves.push(series(sweep, method, sweep.name.clone(), Look::Floor(k)));
            }
        }
        let title = format!("{method}: balanced accuracy against labelled images per class");
        let lines = chance(study).into_iter().collect();
        out.push((method.to_string(), chart(study, &title, curves, lines, 530.0, 310.0)));
    }
    out
}

fn confusion(confusion: &Confusion) -> Figure {
    let order = by_frequency(confusion);
    let names: Vec<&str> = order.iter().map(|class| confusion.classes[*class].as_str()).collect();
    let shares: Vec<Vec<Option<f64>>> =
        order.iter().map(|truth| order.iter().map(|predicted| row_share(confusion, *truth, *predicted)).collect()).collect();
    let title =
        format!("Confusion matrix of {} on {} features with {} labels per class", confusion.method, confusion.sweep, confusion.per_class);
    heatmap(&title, &names, &shares)
}

fn training(curve: &TrainingCurve, panel: &Panel) -> Figure {
    let single = panel.lines.len() == 1;
    let series: Vec<Series> = panel
        .lines
        .iter()
        .enumerate()
        .map(|(i, line)| Series {
            // A single line needs no name besides the panel's.
            name: if single { String::new() } else { line.name.clone() },
            look: Look::Trace(i),
            points: thinned(&line.points).into_iter().map(|(x, y)| Point { x, y, band: None }).collect(),
        })
        .collect();
    let all = || series.iter().flat_map(|s| &s.points);
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.x), high.max(p.x)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let y = Axis::linear("", all().map(|p| p.y).chain(panel.levels.iter().map(|(_, v)| *v)), 4, f64::NEG_INFINITY, f64::INFINITY);
    let title = format!("{}: {}", curve.name, panel.title);
    let x = Axis::exact(&curve.x, low, high, 5);
    Chart { title, width: 350.0, height: 240.0, x, y, series, levels: panel.levels.clone() }.draw()
}

/// Keeps a curve of thousands of points to as many as a figure can show: every k-th, and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const MOST: usize = 400;
    let every = points.len().div_ceil(MOST).max(1);
    points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == points.len()).map(|(_, p)| *p).collect()
}

/// Returns whether the page has a level line of its own or a published one.
pub fn has_levels(study: &Study) -> bool {
    !levels(study).is_empty()
}
