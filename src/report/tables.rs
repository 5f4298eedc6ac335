//! Results as rows: the paper's Table 1, CSV and JSON files.

use super::comparison::{Compared, Comparison, comparisons};
use super::enough::{self, Outlook};
use super::findings::{by_frequency, cells_of, methods, row_share, sizes, step_of};
use super::reference::Level;
use super::study::{Confusion, Dataset, Role, Study, SweepResults};
use super::words::{mean_std, share};
use crate::classify::Verdict;
use crate::diagnostic::{Context, Failure};

/// A row of the table of balanced accuracy by n.
pub struct ResultLine {
    pub sweep: String,
    pub method: String,
    pub role: LineRole,
    /// One text for each n; none where there is no result.
    pub cells: Vec<Option<String>>,
    /// The 95 % interval of each, where there is one: `.72-.76`.
    pub intervals: Vec<Option<String>>,
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
                let interval = |n: &usize| {
                    let (low, high) = cells.iter().find(|cell| cell.per_class == *n)?.interval?;
                    Some(format!("{}-{}", share(low), share(high)))
                };
                let (texts, intervals) = (sizes.iter().map(text).collect(), sizes.iter().map(interval).collect());
                let (sweep, method) = (sweep.name.clone(), method.to_string());
                lines.push(ResultLine { sweep, method, role: LineRole::Ours(role), cells: texts, intervals });
            }
        }
    }
    for row in study.reference.into_iter().flat_map(|reference| reference.rows()) {
        let text = |n: &usize| row.cells.iter().find(|(m, ..)| m == n).map(|(_, mean, std)| mean_std(*mean, *std));
        let cells: Vec<Option<String>> = sizes.iter().map(text).collect();
        if cells.iter().any(Option::is_some) {
            let (sweep, intervals) = (format!("paper ({})", row.source), vec![None; sizes.len()]);
            lines.push(ResultLine { sweep, method: row.method, role: LineRole::Published, cells, intervals });
        }
    }
    (sizes, lines)
}

/// Returns the rows of the table of areas under ROC curves by n, of those methods that have any.
pub fn area_lines(study: &Study) -> Vec<ResultLine> {
    let sizes = sizes(study);
    let line = |sweep: &SweepResults, method: &str| {
        let cells = cells_of(sweep, method);
        let text = |n: &usize| {
            let cell = cells.iter().find(|cell| cell.per_class == *n)?;
            let (mean, std) = cell.roc_auc?;
            Some(mean_std(mean, (cell.repeats > 1).then_some(std)))
        };
        let (sweep, role) = (sweep.name.clone(), LineRole::Ours(sweep.role));
        let cells: Vec<Option<String>> = sizes.iter().map(text).collect();
        ResultLine { sweep, method: method.to_string(), role, intervals: vec![None; cells.len()], cells }
    };
    let roles = [Role::Studied, Role::Baseline, Role::Floor];
    let sweeps = roles.into_iter().flat_map(|role| study.sweeps.iter().filter(move |sweep| sweep.role == role));
    let lines = sweeps.flat_map(|sweep| methods(sweep).into_iter().map(move |method| (sweep, method)));
    lines.map(|(sweep, method)| line(sweep, method)).filter(|line| line.cells.iter().any(Option::is_some)).collect()
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
        if line.intervals.iter().any(Option::is_some) {
            text += &format!("\n{:width$}", "  95 % interval");
            for n in &shown {
                let interval = sizes.iter().position(|m| m == n).and_then(|column| line.intervals[column].as_deref());
                text += &format!("  {:>9}", interval.unwrap_or(""));
            }
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
    let mut head =
        vec!["sweep", "role", "method", "per_class", "labels", "repeats", "balanced_accuracy", "std", "interval_low", "interval_high"];
    // Only studies that asked for areas have such columns.
    let ranked = study.sweeps.iter().flat_map(|sweep| &sweep.cells).any(|cell| cell.roc_auc.is_some());
    head.extend(if ranked { &["roc_auc", "roc_auc_std"][..] } else { &[] });
    let mut rows = Vec::new();
    for sweep in &study.sweeps {
        for method in methods(sweep) {
            for cell in cells_of(sweep, method) {
                let bound = |of: fn((f64, f64)) -> f64| cell.interval.map_or(String::new(), |interval| of(interval).to_string());
                let mut row = vec![
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
                ];
                let area = |of: fn((f64, f64)) -> f64| cell.roc_auc.map_or(String::new(), |area| of(area).to_string());
                row.extend(if ranked { vec![area(|a| a.0), area(|a| a.1)] } else { Vec::new() });
                rows.push(row);
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

/// The comparisons of the headline method with the others, one number of labels a line.
pub fn comparisons_csv(comparisons: &[Comparison]) -> Result<Vec<u8>, Failure> {
    let row = |comparison: &Comparison, at: &Compared| {
        let verdict = match at.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NotToldApart => "not told apart",
        };
        let figures = [at.difference, at.interval.low, at.interval.high].map(|v| v.to_string());
        let names = [comparison.first.clone(), comparison.second.clone(), at.per_class.to_string()];
        names.into_iter().chain(figures).chain([verdict.to_string()]).collect()
    };
    let rows = comparisons.iter().flat_map(|comparison| comparison.at.iter().map(move |at| row(comparison, at)));
    csv(&["first", "second", "per_class", "difference", "low", "high", "first_is"], rows.collect())
}

/// The learning curves a - b n^-c, one method a line, with what they say of twice the labels.
pub fn learning_curves_csv(outlooks: &[Outlook]) -> Result<Vec<u8>, Failure> {
    let row = |o: &Outlook| {
        let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        let curve = [o.law.a, o.law.b, o.law.c].map(|v| v.to_string());
        let misses = [o.misses.map(|m| m.0 as f64), o.misses.map(|m| m.1)].map(number);
        let ends = [o.interval.map(|i| i.low), o.interval.map(|i| i.high)].map(number);
        let names = [o.sweep.clone(), o.method.clone()].into_iter().chain(curve).chain(misses);
        names.chain([(2 * o.most).to_string(), o.twice.to_string()]).chain(ends).collect()
    };
    let head = ["sweep", "method", "a", "b", "c", "misses_at", "misses_by", "twice_per_class", "balanced_accuracy", "low", "high"];
    csv(&head, outlooks.iter().map(row).collect())
}

/// Everything but the pictures, with what follows from it.
pub fn json(study: &Study) -> Result<Vec<u8>, Failure> {
    #[derive(serde::Serialize)]
    struct All<'a> {
        #[serde(flatten)]
        study: &'a Study,
        labels_needed: Vec<String>,
        comparisons: Vec<Comparison>,
        learning_curves: Vec<Outlook>,
    }
    let (labels_needed, comparisons, learning_curves) = (enough::sentences(study), comparisons(study), enough::outlooks(study));
    let all = All { study, labels_needed, comparisons, learning_curves };
    let mut bytes = serde_json::to_vec_pretty(&all).doing(|| "failed to write the report's JSON")?;
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
