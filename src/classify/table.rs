//! Results as tidy rows: one per method, number of labels and repeat; and what they come to.

use serde::{Deserialize, Serialize};

use super::interval::Interval;
use super::metrics::{Confusion, mean, mean_and_deviation};
use super::predictions::Scores;
use super::roc::RocAuc;
use crate::diagnostic::{Context, Failure};

/// All repeats of one method with one number of labels: the piece that is cached by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The method as tables name it.
    pub classifier: String,
    /// Labelled rows wanted per class.
    pub per_class: usize,
    pub runs: Vec<Run>,
}

/// A cell, and how far its figure is to be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub cell: Cell,
    /// The balanced accuracy, averaged over the repeats, under each resample of test rows and draws (see [`Resampling`](super::Resampling));
    /// empty where there are none.
    pub resampled: Vec<f32>,
}

/// One repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub repeat: usize,
    /// Labelled rows used, over all classes.
    pub rows_used: usize,
    /// Whether the solver met its tolerance.
    pub converged: bool,
    pub confusion: Confusion,
    /// Predicted class of every row of the roster's `test`, where these are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<Vec<usize>>,
    /// What the model said of each class there, where predictions are kept and the method has scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// How well each class's scores rank the rows, where the protocol asks for it and the method has scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<RocAuc>,
}

/// One row of the tidy table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The test rows that were predicted, where there are several sets of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_set: String,
    pub classifier: String,
    pub per_class: usize,
    pub repeat: usize,
    pub rows_used: usize,
    pub converged: bool,
    pub balanced_accuracy: f64,
    pub accuracy: f64,
    pub macro_f1: f64,
    #[serde(default)]
    pub weighted_f1: f64,
    /// One per class; none for a class without rows.
    pub recall: Vec<Option<f64>>,
    /// One per class; none for a class that was never predicted (scikit-learn warns there, and says 0).
    #[serde(default)]
    pub precision: Vec<Option<f64>>,
    /// One per class, a prediction of a declared neighbour counting as right; empty where no class has neighbours.
    #[serde(default)]
    pub tolerant_recall: Vec<Option<f64>>,
    /// Areas under the ROC curves, one-vs-rest, by class; none where they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<RocAuc>,
}

/// Mean and sample standard deviation over the repeats of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The test rows that were predicted, where there are several sets of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_set: String,
    pub classifier: String,
    pub per_class: usize,
    pub repeats: usize,
    pub rows_used: usize,
    pub balanced_accuracy: f64,
    pub balanced_accuracy_std: f64,
    /// Where the mean balanced accuracy would lie with other test images and other draws, 95 %; none without resamples.
    #[serde(default)]
    pub interval: Option<Interval>,
    pub accuracy: f64,
    pub accuracy_std: f64,
    pub macro_f1: f64,
    pub macro_f1_std: f64,
    #[serde(default)]
    pub weighted_f1: f64,
    #[serde(default)]
    pub weighted_f1_std: f64,
    /// Mean recall of each class; none for a class without rows.
    pub recall: Vec<Option<f64>>,
    pub recall_std: Vec<Option<f64>>,
    /// Mean precision of each class over the repeats that predicted it at all.
    pub precision: Vec<Option<f64>>,
    /// Mean tolerant recall of each class; empty where no class has neighbours.
    #[serde(default)]
    pub tolerant_recall: Vec<Option<f64>>,
    /// Mean area of each class; none where areas were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<RocAuc>,
    /// Deviation of the macro average of the areas, where it is defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc_std: Option<f64>,
    /// Counts of all repeats together.
    pub confusion: Confusion,
}

/// The whole sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub classes: Vec<String>,
    pub rows: Vec<ResultRow>,
    pub summaries: Vec<Summary>,
}

impl Table {
    /// Lays cells out in the order given; `neighbours` holds for each class those it may be taken for, or nothing.
    ///
    /// # Errors
    /// When a cell was made with another number of classes, or without any repeat.
    pub fn new(classes: &[String], cells: &[Cell], neighbours: &[Vec<usize>]) -> Result<Self, Failure> {
        for cell in cells {
            if cell.runs.is_empty() || cell.runs.iter().any(|run| run.confusion.classes() != classes.len()) {
                return Err(Failure::new(format!(
                    "the results of `{}` with {} per class do not have repeats of {} classes",
                    cell.classifier,
                    cell.per_class,
                    classes.len()
                )));
            }
        }
        let rows = cells.iter().flat_map(|cell| cell.runs.iter().map(|run| row(cell, run, neighbours))).collect();
        let summaries = cells.iter().map(|cell| summary(cell, neighbours)).collect();
        Ok(Self { classes: classes.to_vec(), rows, summaries })
    }

    /// Lays judged cells out as [`Table::new`] does, with the intervals that follow from their resamples.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn judged(classes: &[String], judged: &[Judged], neighbours: &[Vec<usize>]) -> Result<Self, Failure> {
        let cells: Vec<Cell> = judged.iter().map(|judged| judged.cell.clone()).collect();
        let mut table = Self::new(classes, &cells, neighbours)?;
        for (summary, judged) in table.summaries.iter_mut().zip(judged) {
            summary.interval = Interval::of(judged.resampled.iter().map(|v| f64::from(*v)));
        }
        Ok(table)
    }

    /// Joins tables of the same classes on several sets of test rows, each under the name of its set.
    pub fn joined<'a>(tables: impl IntoIterator<Item = (&'a str, &'a Self)>) -> Self {
        let mut all = Self { classes: Vec::new(), rows: Vec::new(), summaries: Vec::new() };
        for (data_set, table) in tables {
            all.classes.clone_from(&table.classes);
            all.rows.extend(table.rows.iter().map(|row| ResultRow { data_set: data_set.to_string(), ..row.clone() }));
            all.summaries.extend(table.summaries.iter().map(|s| Summary { data_set: data_set.to_string(), ..s.clone() }));
        }
        all
    }

    /// Returns everything as JSON.
    pub fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).doing(|| "cannot write the results")
    }

    /// Reads what [`Table::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, Failure> {
        serde_json::from_str(text).doing(|| "cannot read the results")
    }
}

/// The tolerant recalls of a matrix; nothing where no class has neighbours.
fn tolerant(confusion: &Confusion, neighbours: &[Vec<usize>]) -> Vec<Option<f64>> {
    neighbours.iter().enumerate().map(|(class, near)| confusion.tolerant_recall(class, near)).collect()
}

fn row(cell: &Cell, run: &Run, neighbours: &[Vec<usize>]) -> ResultRow {
    ResultRow {
        data_set: String::new(),
        classifier: cell.classifier.clone(),
        per_class: cell.per_class,
        repeat: run.repeat,
        rows_used: run.rows_used,
        converged: run.converged,
        balanced_accuracy: run.confusion.balanced_accuracy(),
        accuracy: run.confusion.accuracy(),
        macro_f1: run.confusion.macro_f1(),
        weighted_f1: run.confusion.weighted_f1(),
        recall: (0..run.confusion.classes()).map(|class| run.confusion.recall(class)).collect(),
        precision: (0..run.confusion.classes()).map(|class| run.confusion.precision(class)).collect(),
        tolerant_recall: tolerant(&run.confusion, neighbours),
        roc_auc: run.roc_auc.clone(),
    }
}

fn summary(cell: &Cell, neighbours: &[Vec<usize>]) -> Summary {
    let over = |f: &dyn Fn(&Confusion) -> f64| mean_and_deviation(&cell.runs.iter().map(|run| f(&run.confusion)).collect::<Vec<f64>>());
    let (balanced_accuracy, balanced_accuracy_std) = over(&Confusion::balanced_accuracy);
    let (accuracy, accuracy_std) = over(&Confusion::accuracy);
    let (macro_f1, macro_f1_std) = over(&Confusion::macro_f1);
    let (weighted_f1, weighted_f1_std) = over(&Confusion::weighted_f1);
    let mut confusion = Confusion::new(cell.runs[0].confusion.classes());
    cell.runs.iter().for_each(|run| confusion.add(&run.confusion));
    let recalls = |class: usize| cell.runs.iter().map(|run| run.confusion.recall(class)).collect::<Option<Vec<f64>>>();
    let classes = 0..confusion.classes();
    let areas: Vec<&RocAuc> = cell.runs.iter().filter_map(|run| run.roc_auc.as_ref()).collect();
    let ranked = areas.len() == cell.runs.len();
    let wholes = areas.iter().map(|areas| areas.macro_average()).collect::<Option<Vec<f64>>>();
    Summary {
        data_set: String::new(),
        classifier: cell.classifier.clone(),
        per_class: cell.per_class,
        repeats: cell.runs.len(),
        rows_used: cell.runs.iter().map(|run| run.rows_used).max().unwrap_or(0),
        balanced_accuracy,
        balanced_accuracy_std,
        interval: None,
        accuracy,
        accuracy_std,
        macro_f1,
        macro_f1_std,
        weighted_f1,
        weighted_f1_std,
        recall: classes.clone().map(|class| recalls(class).map(|r| mean_and_deviation(&r).0)).collect(),
        recall_std: classes.clone().map(|class| recalls(class).map(|r| mean_and_deviation(&r).1)).collect(),
        precision: classes
            .map(|class| {
                let seen: Vec<f64> = cell.runs.iter().filter_map(|run| run.confusion.precision(class)).collect();
                (!seen.is_empty()).then(|| mean(seen.into_iter()))
            })
            .collect(),
        // Every repeat has the same rows, so that the mean over repeats is that of all together.
        tolerant_recall: tolerant(&confusion, neighbours),
        roc_auc: ranked.then(|| RocAuc::mean(areas.iter().copied(), confusion.classes())),
        roc_auc_std: ranked.then(|| wholes.map(|wholes| mean_and_deviation(&wholes).1)).flatten(),
        confusion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let run = |repeat, pairs: &[(usize, usize)]| Run {
            repeat,
            rows_used: 4,
            converged: true,
            confusion: Confusion::of(3, pairs.iter().copied()),
            predictions: None,
            scores: None,
            roc_auc: None,
        };
        let runs = vec![run(0, &[(0, 0), (1, 1)]), run(1, &[(0, 1), (1, 1)])];
        let cell = Cell { classifier: "SVM".into(), per_class: 2, runs };
        Table::new(&["a".into(), "b, c".into(), "d".into()], &[cell], &[]).unwrap()
    }

    #[test]
    fn rows_and_summary_say_the_same() {
        let table = table();
        assert_eq!(
            table.to_csv().unwrap(),
            "classifier,per_class,repeat,rows_used,converged,balanced_accuracy,accuracy,macro_f1,weighted_f1,\
             recall a,\"recall b, c\",recall d,precision a,\"precision b, c\",precision d\n\
             SVM,2,0,4,true,1,1,1,1,1,1,,1,1,\n\
             SVM,2,1,4,true,0.5,0.5,0.3333333333333333,0.3333333333333333,0,1,,,0.5,\n"
        );
        let summary = &table.summaries[0];
        assert_eq!((summary.balanced_accuracy, summary.repeats, summary.recall[2]), (0.75, 2, None));
        assert!((summary.balanced_accuracy_std - 0.125f64.sqrt()).abs() < 1e-15);
        assert_eq!(summary.confusion.at(1, 1), 2);
    }

    #[test]
    fn a_table_survives_its_json() {
        assert_eq!(Table::from_json(&table().to_json().unwrap()).unwrap(), table());
    }

    #[test]
    fn cells_of_other_classes_are_refused() {
        let cell = Cell { classifier: "SVM".into(), per_class: 2, runs: Vec::new() };
        let message = Table::new(&["a".into()], &[cell], &[]).unwrap_err().message().to_string();
        assert_eq!(message, "the results of `SVM` with 2 per class do not have repeats of 1 classes");
    }
}
