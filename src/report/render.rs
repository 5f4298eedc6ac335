//! All files of a report.

use super::chart::Figure;
use super::comparison::comparisons;
use super::enough;
use super::page::{figures, page};
use super::study::Study;
use super::tables;
use super::words::file_name;
use crate::diagnostic::Failure;

/// A file of the report: its path below the report's folder, with `/` between folders, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// Returns the report's files, sorted by path: `report.html`, which needs none of the others, `headline.txt` for terminals, `figures/*.svg`, `tables/*.csv`,
/// `results.json`, `sheets/*.png`.
pub fn render(study: &Study) -> Result<Vec<File>, Failure> {
    let figures = figures::all(study);
    let mut files = vec![
        File { path: "report.html".to_string(), bytes: page(study, &figures).into_bytes() },
        File { path: "headline.txt".to_string(), bytes: tables::headline_txt(study).into_bytes() },
        File { path: "results.json".to_string(), bytes: tables::json(study)? },
        File { path: "tables/results.csv".to_string(), bytes: tables::results_csv(study)? },
        File { path: "tables/balanced-accuracy.csv".to_string(), bytes: tables::table_csv(study)? },
        File { path: "tables/counts.csv".to_string(), bytes: tables::counts_csv(&study.datasets)? },
        File { path: "tables/training.csv".to_string(), bytes: tables::curves_csv(study)? },
    ];
    let (comparisons, outlooks) = (comparisons(study), enough::outlooks(study));
    if !comparisons.is_empty() {
        files.push(File { path: "tables/comparisons.csv".to_string(), bytes: tables::comparisons_csv(&comparisons)? });
    }
    if outlooks.iter().any(|outlook| outlook.interval.is_some()) {
        files.push(File { path: "tables/learning-curves.csv".to_string(), bytes: tables::learning_curves_csv(&outlooks)? });
    }
    let mut svg =
        |name: String, figure: &Figure| files.push(File { path: format!("figures/{name}.svg"), bytes: figure.standalone().into_bytes() });
    if let Some(figure) = &figures.efficiency {
        svg("label-efficiency".to_string(), figure);
    }
    for (method, figure) in &figures.by_method {
        svg(format!("label-efficiency-{}", file_name(method)), figure);
    }
    for (i, figure) in figures.confusions.iter().enumerate() {
        svg(format!("confusion-{}", i + 1), figure);
    }
    for (i, (curve, panels)) in study.curves.iter().zip(&figures.training).enumerate() {
        for (panel, figure) in curve.panels.iter().zip(panels) {
            svg(format!("training-{}-{}", i + 1, file_name(&panel.title)), figure);
        }
    }
    for (i, confusion) in study.confusions.iter().enumerate() {
        files.push(File { path: format!("tables/confusion-{}.csv", i + 1), bytes: tables::confusion_csv(confusion)? });
    }
    for (i, sheet) in study.sheets.iter().enumerate().filter(|(_, sheet)| !sheet.png.is_empty()) {
        files.push(File {
            path: format!("sheets/{}-{}.png", i + 1, file_name(&sheet.caption).chars().take(40).collect::<String>().trim_end_matches('-')),
            bytes: sheet.png.clone(),
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
