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
    pub values: Vec<f32>,
}

/// Returns the bytes that kept predictions and scores of so many models take in memory.
pub fn kept_bytes(models: usize, rows: usize, classes: usize) -> usize {
    models.saturating_mul(rows).saturating_mul(size_of::<usize>() + classes.saturating_mul(size_of::<f32>()))
}

/// Writes kept predictions as CSV: `classifier,per_class,repeat,id,truth,prediction` and a column `score CLASS` for each class.
///
/// The score of a class that a model has not seen is empty.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_predictions<'a>(out: impl Write, roster: &Roster, cells: impl IntoIterator<Item = &'a Cell>) -> Result<(), Failure> {
    let what = || "cannot write the predictions";
    let mut out = csv::Writer::from_writer(out);
    let fixed = ["classifier", "per_class", "repeat", "id", "truth", "prediction"].map(String::from);
    out.write_record(fixed.into_iter().chain(roster.classes.iter().map(|class| format!("score {class}")))).doing(what)?;
    let mut record = csv::StringRecord::new();
    for cell in cells {
        let per_class = cell.per_class.to_string();
        for run in &cell.runs {
            let Some(predictions) = &run.predictions else { continue };
            let repeat = run.repeat.to_string();
            for (row, ((id, truth), predicted)) in roster.test.iter().zip(predictions).enumerate() {
                record.clear();
                for field in [&cell.classifier, &per_class, &repeat, id, &roster.classes[*truth], &roster.classes[*predicted]] {
                    record.push_field(field);
                }
                let scores = |class: usize| run.scores.as_ref().and_then(|scores| scores.of(row, class));
                (0..roster.classes.len()).for_each(|class| {
                    record.push_field(&scores(class).map_or_else(String::new, |score| score.to_string()));
                });
                out.write_record(&record).doing(what)?;
            }
        }
    }
    out.flush().doing(what)
}

impl Scores {
    /// Returns the score of a class of the roster in a row; none when the model has not seen the class.
    pub fn of(&self, row: usize, class: usize) -> Option<f32> {
        let place = self.classes.binary_search(&class).ok()?;
        self.values.get(row * self.classes.len() + place).copied()
    }

    /// Returns the scores of a class in all rows; none when the model has not seen the class.
    pub fn of_class(&self, class: usize) -> Option<Vec<f64>> {
        let place = self.classes.binary_search(&class).ok()?;
        Some(self.values.iter().skip(place).step_by(self.classes.len()).map(|score| f64::from(*score)).collect())
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
        let scores = Scores { classes: vec![0, 1], values: vec![-0.5, 0.5, 0.25, -1e-3] };
        let runs = vec![run(0, Some(vec![1, 0]), Some(scores)), run(1, None, None)];
        let mut text = Vec::new();
        write_predictions(&mut text, &roster, &[Cell { classifier: "SVM".into(), per_class: 1, runs }]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "classifier,per_class,repeat,id,truth,prediction,score x,score y,\"score z, too\"\n\
             SVM,1,0,d,y,y,-0.5,0.5,\n\
             SVM,1,0,c,\"z, too\",x,0.25,-0.001,\n"
        );
    }
}
