//! `flow runs`: what was run, the latest last.

use super::arguments::RunsArguments;
use super::console::{duration, moment, print, say};
use super::exit::{Exit, Stop};
use super::open;
use crate::store::RunRecord;

pub(super) fn runs(arguments: &RunsArguments) -> Result<Exit, Stop> {
    let store = open::look(&arguments.cache)?;
    let runs = store.runs();
    let wanted = |run: &&RunRecord| arguments.pipeline.as_ref().is_none_or(|name| run.pipeline == *name);
    let rows: Vec<[String; 5]> = runs.iter().filter(wanted).map(row).collect();
    if rows.is_empty() {
        say("no run is on record: runs that only reuse results leave none");
        return Ok(Exit::Done);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(cells.join("  ").trim_end());
    }
    Ok(Exit::Done)
}

fn row(run: &RunRecord) -> [String; 5] {
    let counts =
        ["ran", "reused", "failed", "skipped"].map(|status| (run.nodes.values().filter(|node| node.status == status).count(), status));
    let said: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, status)| format!("{n} {status}")).collect();
    let took = format!("{} in {}", run.status, duration(run.seconds));
    [run.run.clone(), moment(run.started), run.pipeline.clone(), took, said.join(", ")]
}
