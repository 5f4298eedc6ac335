//! The tidy rows as CSV: one line per method, number of labels and repeat; their means; and what was taken for what.
//!
//! Columns that only some studies have (tolerant recall, areas under ROC curves) are there where any line has them.

use super::roc::RocAuc;
use super::table::Table;
use crate::diagnostic::{Context, Failure};

impl Table {
    /// The names of the columns by class: recall, precision, and what only some studies have.
    fn columns_by_class(&self, of: &[&str]) -> Vec<String> {
        of.iter().flat_map(|what| self.classes.iter().map(move |class| format!("{what} {class}"))).collect()
    }

    /// Returns the tidy rows as CSV: one line per method, number of labels and repeat.
    pub fn to_csv(&self) -> Result<String, Failure> {
        let tolerant = self.rows.iter().any(|row| !row.tolerant_recall.is_empty());
        let ranked = self.rows.iter().any(|row| row.roc_auc.is_some());
        let several = self.rows.iter().any(|row| !row.data_set.is_empty());
        let mut head = data_set(several, "data_set");
        let fixed =
            ["classifier", "per_class", "repeat", "rows_used", "converged", "balanced_accuracy", "accuracy", "macro_f1", "weighted_f1"];
        head.extend(texts(fixed));
        head.extend(ranked.then(|| "roc_auc".to_string()));
        head.extend(self.columns_by_class(&by_class(tolerant, ranked)));
        let lines = self.rows.iter().map(|r| {
            let mut line = data_set(several, &r.data_set);
            line.push(r.classifier.clone());
            line.extend([r.per_class, r.repeat, r.rows_used].map(|v| v.to_string()));
            line.push(r.converged.to_string());
            line.extend([r.balanced_accuracy, r.accuracy, r.macro_f1, r.weighted_f1].map(|v| v.to_string()));
            let areas = r.roc_auc.as_ref();
            line.extend(ranked.then(|| blank_if_none(&areas.and_then(RocAuc::macro_average))));
            line.extend(r.recall.iter().chain(&r.precision).chain(&r.tolerant_recall).map(blank_if_none));
            line.extend(areas_by_class(ranked, self.classes.len(), areas));
            line
        });
        write_csv(head, lines)
    }

    /// Returns one row per method and number of labels as CSV.
    pub fn summary_csv(&self) -> Result<String, Failure> {
        let tolerant = self.summaries.iter().any(|s| !s.tolerant_recall.is_empty());
        let ranked = self.summaries.iter().any(|s| s.roc_auc.is_some());
        let several = self.summaries.iter().any(|s| !s.data_set.is_empty());
        let mut head = data_set(several, "data_set");
        head.extend(texts([
            "classifier",
            "per_class",
            "repeats",
            "rows_used",
            "balanced_accuracy",
            "balanced_accuracy_std",
            "balanced_accuracy_low",
            "balanced_accuracy_high",
            "accuracy",
            "accuracy_std",
            "macro_f1",
            "macro_f1_std",
            "weighted_f1",
            "weighted_f1_std",
        ]));
        head.extend(if ranked { texts(["roc_auc", "roc_auc_std"]) } else { Vec::new() });
        head.extend(self.columns_by_class(&by_class(tolerant, ranked)));
        let lines = self.summaries.iter().map(|s| {
            let mut line = data_set(several, &s.data_set);
            line.push(s.classifier.clone());
            line.extend([s.per_class, s.repeats, s.rows_used].map(|v| v.to_string()));
            line.extend([s.balanced_accuracy, s.balanced_accuracy_std].map(|v| v.to_string()));
            line.extend([s.interval.map(|i| i.low), s.interval.map(|i| i.high)].map(|v| blank_if_none(&v)));
            line.extend([s.accuracy, s.accuracy_std, s.macro_f1, s.macro_f1_std, s.weighted_f1, s.weighted_f1_std].map(|v| v.to_string()));
            let areas = s.roc_auc.as_ref();
            let whole = areas.and_then(RocAuc::macro_average);
            line.extend(if ranked { vec![blank_if_none(&whole), blank_if_none(&whole.and(s.roc_auc_std))] } else { Vec::new() });
            line.extend(s.recall.iter().chain(&s.precision).chain(&s.tolerant_recall).map(blank_if_none));
            line.extend(areas_by_class(ranked, self.classes.len(), areas));
            line
        });
        write_csv(head, lines)
    }

    /// Returns the confusion counts as CSV, one line per (method, number of labels, true class, predicted class) that occurred.
    pub fn confusion_csv(&self) -> Result<String, Failure> {
        let several = self.summaries.iter().any(|s| !s.data_set.is_empty());
        let mut head = data_set(several, "data_set");
        head.extend(texts(["classifier", "per_class", "truth", "predicted", "count"]));
        let n = self.classes.len();
        let lines = self.summaries.iter().flat_map(|s| {
            (0..n * n).filter(|at| s.confusion.at(at / n, at % n) > 0).map(move |at| {
                let (truth, predicted) = (at / n, at % n);
                let mut line = data_set(several, &s.data_set);
                line.extend([s.classifier.clone(), s.per_class.to_string(), self.classes[truth].clone(), self.classes[predicted].clone()]);
                line.push(s.confusion.at(truth, predicted).to_string());
                line
            })
        });
        write_csv(head, lines)
    }
}

/// The first column, which is there where there are several sets of test rows.
fn data_set(several: bool, text: &str) -> Vec<String> {
    several.then(|| text.to_string()).into_iter().collect()
}

/// What columns by class there are.
fn by_class(tolerant: bool, ranked: bool) -> Vec<&'static str> {
    let some = [("recall", true), ("precision", true), ("tolerant recall", tolerant), ("roc_auc", ranked)];
    some.into_iter().filter_map(|(what, there)| there.then_some(what)).collect()
}

/// The area of each class where there are such columns; blank in a line without.
fn areas_by_class(ranked: bool, classes: usize, areas: Option<&RocAuc>) -> Vec<String> {
    let n = if ranked { classes } else { 0 };
    (0..n).map(|class| blank_if_none(&areas.and_then(|areas| areas.of_class(class)))).collect()
}

fn texts<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

fn blank_if_none(value: &Option<f64>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

fn write_csv(head: Vec<String>, lines: impl Iterator<Item = Vec<String>>) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).doing(|| "cannot write the results")?;
    for line in lines {
        writer.write_record(line).doing(|| "cannot write the results")?;
    }
    let bytes = writer.into_inner().doing(|| "cannot write the results")?;
    String::from_utf8(bytes).doing(|| "cannot write the results")
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Confusion;
    use super::super::table::{Cell, Run};
    use super::*;

    #[test]
    fn neighbours_add_columns_of_tolerant_recall() {
        let run = Run {
            repeat: 0,
            rows_used: 2,
            converged: true,
            confusion: Confusion::of(2, [(0, 0), (0, 1), (1, 0)]),
            predictions: None,
            scores: None,
            roc_auc: None,
        };
        let cell = Cell { classifier: "SVM".into(), per_class: 1, runs: vec![run] };
        let table = Table::new(&["a".into(), "b".into()], &[cell], &[vec![1], vec![]]).unwrap();
        assert_eq!(table.summaries[0].tolerant_recall, [Some(1.0), Some(0.0)]);
        let csv = table.to_csv().unwrap();
        assert!(csv.lines().next().unwrap().ends_with(",tolerant recall a,tolerant recall b") && csv.ends_with(",1,0\n"), "{csv}");
    }

    #[test]
    fn several_sets_of_test_rows_add_a_column_that_names_them() {
        let run = Run {
            repeat: 0,
            rows_used: 2,
            converged: true,
            confusion: Confusion::of(2, [(0, 0), (1, 1)]),
            predictions: None,
            scores: None,
            roc_auc: None,
        };
        let cell = Cell { classifier: "SVM".into(), per_class: 1, runs: vec![run] };
        let table = Table::new(&["a".into(), "b".into()], &[cell], &[]).unwrap();
        let joined = Table::joined([("test", &table), ("later", &table)]);
        for (csv, alone) in [
            (joined.to_csv().unwrap(), table.to_csv().unwrap()),
            (joined.summary_csv().unwrap(), table.summary_csv().unwrap()),
            (joined.confusion_csv().unwrap(), table.confusion_csv().unwrap()),
        ] {
            let (head, rows) = alone.split_once('\n').unwrap();
            let of = |name: &str| rows.lines().map(|row| format!("{name},{row}\n")).collect::<String>();
            assert_eq!(csv, format!("data_set,{head}\n{}{}", of("test"), of("later")));
        }
        assert_eq!(Table::from_json(&joined.to_json().unwrap()).unwrap(), joined);
    }

    #[test]
    fn areas_add_columns_that_are_blank_where_they_are_not_defined() {
        let run = |repeat, learnt: usize| Run {
            repeat,
            rows_used: 2,
            converged: true,
            confusion: Confusion::of(3, [(0, 0), (1, 1), (2, 2)]),
            predictions: None,
            scores: None,
            roc_auc: Some(RocAuc::of(3, &[0, 1, 2], |class| (class < learnt).then(|| [0.0, 1.0, 0.5].to_vec()))),
        };
        let cell = |runs| Cell { classifier: "SVM".into(), per_class: 1, runs };
        let cells = [cell(vec![run(0, 3)]), cell(vec![run(0, 3), run(1, 2)])];
        let table = Table::new(&["a".into(), "b".into(), "c".into()], &cells, &[]).unwrap();
        let csv = table.to_csv().unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].contains(",weighted_f1,roc_auc,recall a,") && lines[0].ends_with(",roc_auc a,roc_auc b,roc_auc c"), "{csv}");
        assert_eq!(lines[2], "SVM,1,0,2,true,1,1,1,1,0.5,1,1,1,1,1,1,0,1,0.5");
        assert_eq!(lines[3], "SVM,1,1,2,true,1,1,1,1,,1,1,1,1,1,1,0,1,");
        let summary = table.summary_csv().unwrap();
        let [whole, broken] = [1, 2].map(|line| summary.lines().nth(line).unwrap());
        assert!(whole.contains(",0.5,0,1,1,1,") && whole.ends_with(",0,1,0.5"), "{summary}");
        assert!(broken.contains(",1,0,,,1,1,1,") && broken.ends_with(",0,1,"), "{summary}");
        assert_eq!(Table::from_json(&table.to_json().unwrap()).unwrap(), table);
    }
}
