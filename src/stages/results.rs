//! Results of methods at numbers of labels: what `Sweep`, `Supervised` and `LinearProbe` make and `Report` reads.

use serde::{Deserialize, Serialize};

use super::io;
use crate::classify::{Evaluate, Judged, Protocol, Resampling, Roster, Table};
use crate::diagnostic::{Context, Failure};
use crate::report::Role;
use crate::stage::Io;

/// The results of one study, by what the classifiers saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// What was learnt from, as figures name it: "DINO", "supervised".
    pub of: String,
    pub role: Role,
    /// Rows of each class among those that may be learnt from and those that are predicted, in the order of `classes`.
    pub classes: Vec<String>,
    pub train_rows: Vec<usize>,
    pub test_rows: Vec<usize>,
    /// Only classes with at least so many training rows took part; 0 for all.
    pub min_class_size: usize,
    /// Whether held-out training rows were predicted instead of the test rows.
    pub validation: bool,
    /// Which resamples the parts' values are of, as a digest; results that share it can be compared resample by resample.
    #[serde(default)]
    pub resamples: String,
    /// `features` first, then the floors.
    pub parts: Vec<Part>,
}

/// The results on one table of features.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub table: Table,
    /// For each summary of the table, its balanced accuracy under each resample; empty where there are none.
    #[serde(default)]
    pub resampled: Vec<Vec<f32>>,
}

impl Results {
    /// Lays out the cells of each part.
    pub fn new(of: (&str, Role), roster: &Roster, protocol: &Protocol, parts: Vec<(String, Vec<Judged>)>) -> Result<Self, Failure> {
        let mut test_rows = vec![0; roster.classes.len()];
        roster.test.iter().for_each(|(_, class)| test_rows[*class] += 1);
        let neighbours = roster.neighbours(protocol)?;
        let parts = parts
            .into_iter()
            .map(|(name, cells)| {
                let table = Table::judged(&roster.classes, &cells, &neighbours)?;
                Ok(Part { name, table, resampled: cells.into_iter().map(|judged| judged.resampled).collect() })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            of: of.0.to_string(),
            role: of.1,
            classes: roster.classes.clone(),
            train_rows: roster.train.iter().map(Vec::len).collect(),
            test_rows,
            min_class_size: protocol.min_class_size,
            validation: matches!(protocol.evaluate, Evaluate::Validation(_)),
            resamples: Resampling::new(roster, protocol.resamples).digest().hex(),
            parts,
        })
    }

    /// Writes the results to port `results`, the plain tables to folder `tables`, and the headline figures.
    pub fn write(&self, io: &Io) -> Result<(), Failure> {
        for part in &self.parts {
            let folder = io.output("tables");
            let prefix = if self.parts.len() > 1 { format!("{}-", part.name) } else { String::new() };
            for (name, text) in [
                ("repeats.csv", part.table.to_csv()?),
                ("summary.csv", part.table.summary_csv()?),
                ("confusion.csv", part.table.confusion_csv()?),
                ("all.json", part.table.to_json()?),
            ] {
                let path = folder.join(format!("{prefix}{name}"));
                std::fs::write(&path, text).doing(|| format!("failed to write `{name}`"))?;
            }
            for summary in &part.table.summaries {
                io.metric(format!("{}.{}.{}", part.name, summary.classifier, summary.per_class), summary.balanced_accuracy);
            }
        }
        io::write_json(io, "results", self)
    }
}
