//! Results of methods at numbers of labels: what `Sweep`, `Supervised` and `LinearProbe` make and `Report` reads.

use serde::{Deserialize, Serialize};

use super::further_test::OWN;
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
    /// Which test rows were predicted; empty for those of the split.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_set: String,
    /// Of a further test set: how many rows of each class it has, and which resamples its values are of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_rows: Vec<usize>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resamples: String,
    pub table: Table,
    /// For each summary of the table, its balanced accuracy under each resample; empty where there are none.
    #[serde(default)]
    pub resampled: Vec<Vec<f32>>,
}

impl Part {
    /// How tables name its test rows where there are several sets.
    fn set_name(&self) -> &str {
        if self.data_set.is_empty() { OWN } else { &self.data_set }
    }
}

impl Results {
    /// Lays out the cells of each part, all on the test rows of the split.
    pub fn new(of: (&str, Role), roster: &Roster, protocol: &Protocol, parts: Vec<(String, Vec<Judged>)>) -> Result<Self, Failure> {
        let parts = parts.into_iter().map(|(name, cells)| (name, String::new(), cells)).collect();
        Self::of_sets(of, &[(String::new(), roster.clone())], protocol, parts)
    }

    /// Lays out the cells of each part and set of test rows. Rosters come by the name of their set, the split's first, without a name.
    pub fn of_sets(
        of: (&str, Role),
        rosters: &[(String, Roster)],
        protocol: &Protocol,
        parts: Vec<(String, String, Vec<Judged>)>,
    ) -> Result<Self, Failure> {
        let Some((_, roster)) = rosters.first() else { return Err(Failure::new("results need test rows, got none")) };
        let neighbours = roster.neighbours(protocol)?;
        let counted = |roster: &Roster| {
            let mut rows = vec![0; roster.classes.len()];
            roster.test.iter().for_each(|(_, class)| rows[*class] += 1);
            rows
        };
        let resamples = |roster: &Roster| Resampling::new(roster, protocol.resamples).digest().hex();
        let parts = parts
            .into_iter()
            .map(|(name, data_set, cells)| {
                let table = Table::judged(&roster.classes, &cells, &neighbours)?;
                let resampled = cells.into_iter().map(|judged| judged.resampled).collect();
                let other = rosters.iter().skip(1).find(|(name, _)| *name == data_set).map(|(_, roster)| roster);
                let (test_rows, resamples) = (other.map_or_else(Vec::new, counted), other.map_or_else(String::new, resamples));
                Ok(Part { name, data_set, test_rows, resamples, table, resampled })
            })
            .collect::<Result<_, Failure>>()?;
        let test_rows = counted(roster);
        Ok(Self {
            of: of.0.to_string(),
            role: of.1,
            classes: roster.classes.clone(),
            train_rows: roster.train.iter().map(Vec::len).collect(),
            test_rows,
            min_class_size: protocol.min_class_size,
            validation: matches!(protocol.evaluate, Evaluate::Validation(_)),
            resamples: resamples(roster),
            parts,
        })
    }

    /// Writes the results to port `results`, the plain tables to folder `tables`, and the headline figures.
    pub fn write(&self, io: &Io) -> Result<(), Failure> {
        let mut names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        names.dedup();
        for name in &names {
            let parts: Vec<&Part> = self.parts.iter().filter(|part| part.name == *name).collect();
            let table = match parts[..] {
                [alone] => alone.table.clone(),
                _ => Table::joined(parts.iter().map(|part| (part.set_name(), &part.table))),
            };
            let folder = io.output("tables");
            let prefix = if names.len() > 1 { format!("{name}-") } else { String::new() };
            for (file, text) in [
                ("repeats.csv", table.to_csv()?),
                ("summary.csv", table.summary_csv()?),
                ("confusion.csv", table.confusion_csv()?),
                ("all.json", table.to_json()?),
            ] {
                let path = folder.join(format!("{prefix}{file}"));
                std::fs::write(&path, text).doing(|| format!("failed to write `{file}`"))?;
            }
            for summary in &table.summaries {
                let set =
                    if summary.data_set.is_empty() || summary.data_set == OWN { String::new() } else { format!("{}.", summary.data_set) };
                io.metric(format!("{name}.{set}{}.{}", summary.classifier, summary.per_class), summary.balanced_accuracy);
            }
        }
        io::write_json(io, "results", self)
    }
}
