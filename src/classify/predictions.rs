//! Single predictions and scores of fitted models, kept beside the counts where the protocol asks for them.
//!
//! A score is what a model says of a class, as scikit-learn gives it: for a support vector machine its decision function (with more than two
//! classes the one-vs-rest form: votes, and within a vote the sum of decisions squeezed into ±1/3), for the others the probability.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::study::Roster;
use super::table::Cell;
use crate::diagnostic::{Context, Failure};

/// What one model says of each row that is predicted, in the roster's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The classes that the model has seen, ascending.
    pub classes: Vec<usize>,
    /// Rows × these classes, row by row.
    pub values: Values,
}

/// Numbers in the precision of the model they are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Values {
    Single(Vec<f32>),
    /// Of machines that are solved tightly.
    Double {
        double: Vec<f64>,
    },
}

impl Values {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Double { double } => double.len(),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds numbers, rounded to this precision.
    pub(crate) fn extend(&mut self, more: &[f64]) {
        match self {
            Self::Single(values) => values.extend(more.iter().map(|v| *v as f32)),
            Self::Double { double } => double.extend(more),
        }
    }

    fn at(&self, place: usize) -> Option<f64> {
        match self {
            Self::Single(values) => values.get(place).copied().map(f64::from),
            Self::Double { double } => double.get(place).copied(),
        }
    }

    /// The shortest text that stands for a number in this precision.
    fn text(&self, place: usize) -> Option<String> {
        match self {
            Self::Single(values) => values.get(place).map(f32::to_string),
            Self::Double { double } => double.get(place).map(f64::to_string),
        }
    }
}

/// Returns the bytes that kept predictions and scores of so many models take in memory.
pub fn kept_bytes(models: usize, rows: usize, classes: usize, double: bool) -> usize {
    let score = if double { size_of::<f64>() } else { size_of::<f32>() };
    models.saturating_mul(rows).saturating_mul(size_of::<usize>() + classes.saturating_mul(score))
}

/// The kept predictions of one set of test rows.
pub struct Said<'a> {
    pub data_set: &'a str,
    pub roster: &'a Roster,
    pub cells: Vec<&'a Cell>,
}

/// Writes kept predictions as CSV: `classifier,per_class,repeat,id,truth,prediction` and a column `score CLASS` for each class; `data_set`
/// before them where there are several sets of test rows, which are of the same classes.
///
/// The score of a class that a model has not seen is empty.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_predictions(out: impl Write, said: &[Said<'_>]) -> Result<(), Failure> {
    let what = || "cannot write the predictions";
    let mut out = csv::Writer::from_writer(out);
    let classes = said.first().map_or(&[][..], |said| &said.roster.classes);
    let several = said.len() > 1;
    let fixed = several.then_some("data_set").into_iter().chain(["classifier", "per_class", "repeat", "id", "truth", "prediction"]);
    out.write_record(fixed.map(String::from).chain(classes.iter().map(|class| format!("score {class}")))).doing(what)?;
    let mut record = csv::StringRecord::new();
    for (said, cell) in said.iter().flat_map(|said| said.cells.iter().map(move |cell| (said, cell))) {
        let per_class = cell.per_class.to_string();
        for run in &cell.runs {
            let Some(predictions) = &run.predictions else { continue };
            let repeat = run.repeat.to_string();
            for (row, ((id, truth), predicted)) in said.roster.test.iter().zip(predictions).enumerate() {
                record.clear();
                if several {
                    record.push_field(said.data_set);
                }
                for field in [&cell.classifier, &per_class, &repeat, id, &classes[*truth], &classes[*predicted]] {
                    record.push_field(field);
                }
                let score = |class: usize| run.scores.as_ref().and_then(|scores| scores.values.text(scores.place(row, class)?));
                (0..classes.len()).for_each(|class| record.push_field(&score(class).unwrap_or_default()));
                out.write_record(&record).doing(what)?;
            }
        }
    }
    out.flush().doing(what)
}

impl Scores {
    /// Returns the score of a class of the roster in a row; none when the model has not seen the class.
    pub fn of(&self, row: usize, class: usize) -> Option<f64> {
        self.values.at(self.place(row, class)?)
    }

    /// Returns the scores of a class in all rows; none when the model has not seen the class.
    pub fn of_class(&self, class: usize) -> Option<Vec<f64>> {
        let first = self.place(0, class)?;
        (first..self.values.len()).step_by(self.classes.len()).map(|place| self.values.at(place)).collect()
    }

    fn place(&self, row: usize, class: usize) -> Option<usize> {
        Some(row * self.classes.len() + self.classes.binary_search(&class).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Confusion;
    use super::super::params::Protocol;
    use super::super::table::Run;
    use super::*;

    #[test]
    fn every_row_says_id_truth_prediction_and_a_score_for_each_class_that_was_learnt() {
        let labels = [("a", "x"), ("b", "y"), ("c", "z, too"), ("d", "y")].map(|(id, class)| (id.to_string(), class.to_string())).into();
        let ids = |ids: [&str; 2]| ids.map(String::from);
        let roster = Roster::new(&labels, &ids(["a", "b"]), &ids(["d", "c"]), &Protocol::default(), 1).unwrap();
        let run = |repeat, predictions, scores| Run {
            repeat,
            rows_used: 2,
            converged: true,
            confusion: Confusion::new(3),
            predictions,
            scores,
            roc_auc: None,
        };
        let scores = Scores { classes: vec![0, 1], values: Values::Single(vec![-0.5, 0.5, 0.25, -1e-3]) };
        let runs = vec![run(0, Some(vec![1, 0]), Some(scores)), run(1, None, None)];
        let mut text = Vec::new();
        let cell = Cell { classifier: "SVM".into(), per_class: 1, runs };
        let said = |data_set| Said { data_set, roster: &roster, cells: vec![&cell] };
        write_predictions(&mut text, &[said("test")]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "classifier,per_class,repeat,id,truth,prediction,score x,score y,\"score z, too\"\n\
             SVM,1,0,d,y,y,-0.5,0.5,\n\
             SVM,1,0,c,\"z, too\",x,0.25,-0.001,\n"
        );
        let mut text = Vec::new();
        write_predictions(&mut text, &[said("test"), said("later, too")]).unwrap();
        let text = String::from_utf8(text).unwrap();
        let starts: Vec<&str> = text.lines().map(|line| &line[..12]).collect();
        assert_eq!(starts, ["data_set,cla", "test,SVM,1,0", "test,SVM,1,0", "\"later, too\"", "\"later, too\""]);
    }
}
