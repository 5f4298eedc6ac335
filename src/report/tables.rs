//! Results as rows: the paper's Table 1, CSV and JSON files.

use super::findings::{by_frequency, cells_of, methods, row_share, sizes, step_of};
use super::reference::Level;
use super::study::{Confusion, Dataset, Role, Study};
use super::words::mean_std;
use crate::diagnostic::{Context, Failure};

/// A row of the table of balanced accuracy by n.
pub struct ResultLine {
    pub sweep: String,
    pub method: String,
    pub role: LineRole,
    /// One text for each n; none where there is no result.
    pub cells: Vec<Option<String>>,
}

/// Whose result a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRole {
    Ours(Role),
    Published,
}

/// Returns the values of n and the rows: studied, baseline, floors, then published ones.
pub fn result_lines(study: &Study) -> (Vec<usize>, Vec<ResultLine>) {
    let sizes = sizes(study);
    let mut lines = Vec::new();
    for role in [Role::Studied, Role::Baseline, Role::Floor] {
        for sweep in study.sweeps.iter().filter(|sweep| sweep.role == role) {
            for method in methods(sweep) {
                let cells = cells_of(sweep, method);
                let text = |n: &usize| {
                    let cell = cells.iter().find(|cell| cell.per_class == *n)?;
                    Some(mean_std(cell.mean, (cell.repeats > 1).then_some(cell.std)))
                };
                let cells = sizes.iter().map(text).collect();
                lines.push(ResultLine { sweep: sweep.name.clone(), method: method.to_string(), role: LineRole::Ours(role), cells });
            }
        }
    }
    for row in study.reference.into_iter().flat_map(|reference| reference.rows()) {
        let text = |n: &usize| row.cells.iter().find(|(m, ..)| m == n).map(|(_, mean, std)| mean_std(*mean, *std));
        let cells: Vec<Option<String>> = sizes.iter().map(text).collect();
        if cells.iter().any(Option::is_some) {
            lines.push(ResultLine { sweep: format!("paper ({})", row.source), method: row.method, role: LineRole::Published, cells });
        }
    }
    (sizes, lines)
}

/// The result lines that a terminal has room for, at n = 1, 10, 100 and so on where there are such: the first method of the studied
/// features, every baseline and floor.
pub fn headline_txt(study: &Study) -> String {
    let (sizes, lines) = result_lines(study);
    let powers: Vec<usize> = sizes.iter().copied().filter(|n| n.to_string().trim_end_matches('0') == "1").collect();
    let shown = if powers.len() > 1 { powers } else { sizes.iter().copied().take(5).collect() };
    let first = lines.iter().find(|line| line.role == LineRole::Ours(Role::Studied)).map(|line| line.method.clone());
    let ours = lines.iter().filter(|line| match line.role {
        LineRole::Ours(Role::Baseline) => true,
        LineRole::Ours(_) => Some(&line.method) == first.as_ref(),
        LineRole::Published => false,
    });
    let rows: Vec<(String, &ResultLine)> = ours.map(|line| (format!("{} {}", line.sweep, line.method), line)).collect();
    let Some(width) = rows.iter().map(|(name, _)| name.chars().count()).max() else { return String::new() };
    let title = "balanced accuracy";
    let width = width.max(title.len());
    let mut text = format!("{title:width$}");
    shown.iter().for_each(|n| text += &format!("  {:>9}", format!("n={n}")));
    for (name, line) in rows {
        text += &format!("\n{name:width$}");
        for n in &shown {
            let cell = sizes.iter().position(|m| m == n).and_then(|column| line.cells[column].as_deref());
            text += &format!("  {:>9}", cell.unwrap_or("-"));
        }
    }
    text + "\n"
}

/// Returns the results that do not depend on n: ours, then published ones.
pub fn levels(study: &Study) -> Vec<Level> {
    study.levels.iter().cloned().chain(study.reference.into_iter().flat_map(|reference| reference.levels())).collect()
}

/// Every cell of every sweep, one a line.
pub fn results_csv(study: &Study) -> Result<Vec<u8>, Failure> {
    let head = ["sweep", "role", "method", "per_class", "labels", "repeats", "balanced_accuracy", "std", "interval_low", "interval_high"];
    let mut rows = Vec::new();
    for sweep in &study.sweeps {
        for method in methods(sweep) {
            for cell in cells_of(sweep, method) {
                let bound = |of: fn((f64, f64)) -> f64| cell.interval.map_or(String::new(), |interval| of(interval).to_string());
                rows.push(vec![
                    sweep.name.clone(),
                    format!("{:?}", sweep.role).to_lowercase(),
                    method.to_string(),
                    cell.per_class.to_string(),
                    cell.labels.to_string(),
                    cell.repeats.to_string(),
                    cell.mean.to_string(),
                    cell.std.to_string(),
                    bound(|i| i.0),
                    bound(|i| i.1),
                ]);
            }
        }
    }
    csv(&head, rows)
}

/// The table of balanced accuracy by n as it stands on the page.
pub fn table_csv(study: &Study) -> Result<Vec<u8>, Failure> {
    let (sizes, lines) = result_lines(study);
    let head: Vec<String> =
        ["features".to_string(), "method".to_string()].into_iter().chain(sizes.iter().map(|n| format!("n={n}"))).collect();
    let rows = lines.into_iter().map(|line| {
        let cells = line.cells.into_iter().map(Option::unwrap_or_default);
        [line.sweep, line.method].into_iter().chain(cells).collect()
    });
    csv(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows.collect())
}

/// A confusion matrix with counts and shares of rows, one pair of classes a line.
pub fn confusion_csv(confusion: &Confusion) -> Result<Vec<u8>, Failure> {
    let order = by_frequency(confusion);
    let mut rows = Vec::new();
    for truth in &order {
        for predicted in &order {
            let count = confusion.counts.get(*truth).and_then(|row| row.get(*predicted)).copied().unwrap_or(0);
            let share = row_share(confusion, *truth, *predicted).map_or(String::new(), |share| share.to_string());
            rows.push(vec![confusion.classes[*truth].clone(), confusion.classes[*predicted].clone(), count.to_string(), share]);
        }
    }
    csv(&["true", "predicted", "count", "share_of_row"], rows)
}

/// The images of each class in each part.
pub fn counts_csv(datasets: &[Dataset]) -> Result<Vec<u8>, Failure> {
    let mut rows = Vec::new();
    for data in datasets {
        let n_classes = data.classes.iter().filter(|c| c.test > 0).count();
        for c in &data.classes {
            let step = step_of(n_classes, c.test).map_or(String::new(), |step| step.to_string());
            let [train, test, validation] = [c.train, c.test, c.validation].map(|n| n.to_string());
            rows.push(vec![data.name.clone(), c.class.clone(), train, test, validation, step]);
        }
    }
    csv(&["data", "class", "train", "test", "validation", "one_test_image_moves_balanced_accuracy_by"], rows)
}

/// The training curves, one value a line.
pub fn curves_csv(study: &Study) -> Result<Vec<u8>, Failure> {
    let mut rows = Vec::new();
    for curve in &study.curves {
        for panel in &curve.panels {
            for line in &panel.lines {
                for (x, y) in &line.points {
                    rows.push(vec![curve.name.clone(), panel.title.clone(), line.name.clone(), x.to_string(), y.to_string()]);
                }
            }
        }
    }
    csv(&["training", "panel", "line", "x", "value"], rows)
}

/// Everything but the pictures.
pub fn json(study: &Study) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(study).doing(|| "failed to write the report's JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn csv(head: &[&str], rows: Vec<Vec<String>>) -> Result<Vec<u8>, Failure> {
    let what = || "failed to write a table of the report";
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(head).doing(what)?;
    for row in rows {
        writer.write_record(&row).doing(what)?;
    }
    writer.into_inner().doing(what)
}
