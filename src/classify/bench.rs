//! How long a few-label sweep takes: transform, fits and predictions by classifier, and the sweep as a `Sweep` node does it.
//!
//! What is timed is what scripts for other programs time: fitting PCA and the power transform on all train rows and applying them, then for
//! each classifier its fits and its predictions. A sweep fits all its models before a test row is seen, so the two are told apart by the
//! clock alone. A classifier is swept by itself, all its sizes and repeats at once; `together` is one sweep of all classifiers, in which
//! they share the products of test with train rows. Rows are drawn by the study: nested over n, but not those that another program draws.

use std::collections::BTreeMap;

use ndarray::{Array2, s};

use super::features::Features;
use super::params::{Classifier, Protocol, TransformStep};
use super::study::Study;
use super::sweep::FittedSweep;
use super::table::Cell;
use super::transform::FittedTransform;
use crate::diagnostic::{Failure, count};
use crate::kernel::{Spent, Stopwatch};
use crate::stage::{Monitor, Silent};

/// Rows × dimensions and the class of each row.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    pub rows: Array2<f32>,
    pub classes: Vec<i64>,
}

/// A sweep to time.
#[derive(Clone, Debug)]
pub struct SweepBench {
    /// Each with the name that its times are under.
    pub classifiers: Vec<(String, Classifier)>,
    pub per_class: Vec<usize>,
    pub repeats: usize,
}

/// What was timed, and what came out.
#[derive(Clone, Debug)]
pub struct SweepTimes {
    /// By name, in the order of the work: `transform_fit`, `transform_test`, `join`, then `NAME_fit` and `NAME_predict`.
    pub spent: Vec<(String, Spent)>,
    /// What PCA and the power transform took of `transform_fit`.
    pub steps_fit: [Spent; 2],
    /// All classifiers in one sweep: fits, then predictions.
    pub together: [Spent; 2],
    /// The results of each classifier, under its name.
    pub cells: Vec<(String, Cell)>,
}

impl LabelledRows {
    /// Names the rows after their part and number.
    fn named(self, part: &str, labels: &mut BTreeMap<String, String>) -> Result<Features, Failure> {
        if self.rows.nrows() != self.classes.len() {
            let (rows, labels) = (count(self.rows.nrows(), "row"), count(self.classes.len(), "label"));
            return Err(Failure::new(format!("the {part} part has {rows} and {labels}, expected as many")));
        }
        if let Some((row, class)) = self.classes.iter().enumerate().find(|(_, class)| **class < 0) {
            return Err(Failure::new(format!("row {row} of the {part} part has the class {class}, expected 0 or more")));
        }
        let ids: Vec<String> = (0..self.classes.len()).map(|row| format!("{part}_{row:08}")).collect();
        // Padded, so that the order by name is the order by number.
        labels.extend(ids.iter().cloned().zip(self.classes.iter().map(|class| format!("{class:019}"))));
        Features::new(ids, self.rows)
    }
}

impl SweepBench {
    /// Does the job on these rows.
    ///
    /// # Errors
    /// When rows and labels do not fit together, or as [`Study::new`] and [`sweep`](super::sweep()).
    pub fn run(&self, train: LabelledRows, test: LabelledRows) -> Result<SweepTimes, Failure> {
        let mut labels = BTreeMap::new();
        let (train, test) = (train.named("train", &mut labels)?, test.named("test", &mut labels)?);
        let mut spent = Vec::new();
        let mut timed = |name: &str, took: Spent| spent.push((name.to_string(), took));

        let (made, of_pca) = Stopwatch::time(|| FittedTransform::on(train.values.mapv(f64::from), &[TransformStep::Pca]));
        let (rotation, rotated) = made?;
        let n_train = train.ids.len();
        let (made, of_power) = Stopwatch::time(|| {
            let (power, rows) = FittedTransform::on(rotated, &[TransformStep::YeoJohnson])?;
            // Room for the test rows too, as a table of all images has it.
            let mut all = Array2::zeros((n_train + test.ids.len(), rows.ncols()));
            all.slice_mut(s![..n_train, ..]).zip_mut_with(&rows, |to, v| *to = *v as f32);
            Ok::<_, Failure>((rotation.then(power), all))
        });
        let (fitted, mut all) = made?;
        let steps_fit = [of_pca, of_power];
        timed("transform_fit", Spent { wall: of_pca.wall + of_power.wall, cpu: of_pca.cpu + of_power.cpu });
        let (made, took) = Stopwatch::time(|| fitted.apply_into(test.values.view(), all.slice_mut(s![n_train.., ..])));
        timed("transform_test", took);
        made?;
        let (study, took) = Stopwatch::time(|| {
            let how = Protocol { per_class: self.per_class.clone(), repeats: self.repeats, ..Protocol::default() };
            let features = Features::new([&train.ids[..], &test.ids[..]].concat(), all)?;
            Study::new(&features, &labels, &train.ids, &test.ids, &how, 0)
        });
        timed("join", took);
        let study = study?;

        let wanted =
            |classifier: &Classifier| -> Vec<(Classifier, usize)> { self.per_class.iter().map(|n| (classifier.clone(), *n)).collect() };
        let mut cells = Vec::new();
        for (name, classifier) in &self.classifiers {
            let (made, [fits, predictions]) = halves(&study, &wanted(classifier), &Silent)?;
            timed(&format!("{name}_fit"), fits);
            timed(&format!("{name}_predict"), predictions);
            cells.extend(made.into_iter().map(|cell| (name.clone(), cell)));
        }
        let all: Vec<(Classifier, usize)> = self.classifiers.iter().flat_map(|(_, classifier)| wanted(classifier)).collect();
        let (_, together) = halves(&study, &all, &Silent)?;
        Ok(SweepTimes { spent, steps_fit, together, cells })
    }
}

/// Sweeps, and returns what fits and predictions took.
fn halves(study: &Study, wanted: &[(Classifier, usize)], monitor: &dyn Monitor) -> Result<(Vec<Cell>, [Spent; 2]), Failure> {
    let studies = [study];
    let (fitted, fits) = Stopwatch::time(|| FittedSweep::fit(&studies, wanted, monitor));
    let fitted = fitted?;
    let (cells, predictions) = Stopwatch::time(|| fitted.predict());
    Ok((cells?.into_iter().flatten().map(|judged| judged.cell).collect(), [fits, predictions]))
}

#[cfg(test)]
mod tests {
    use super::super::params::{Knn, Svm};
    use super::*;
    use crate::random::Stream;

    fn clouds(n: usize, purpose: &str) -> LabelledRows {
        let mut draws = Stream::new(5, purpose).draws();
        let rows = Array2::from_shape_fn((n, 4), |(i, d)| draws.normal() as f32 + if d == i % 2 { 4.0 } else { 0.0 });
        LabelledRows { rows, classes: (0..n as i64).map(|i| i % 2 * 7).collect() }
    }

    fn bench() -> SweepBench {
        let classifiers = vec![("svm".to_string(), Classifier::Svm(Svm::default())), ("knn".to_string(), Classifier::Knn(Knn::default()))];
        SweepBench { classifiers, per_class: vec![2, 10], repeats: 3 }
    }

    #[test]
    fn every_part_of_the_work_has_its_time_and_the_classifiers_learn() {
        let SweepTimes { spent, steps_fit, cells, together } = bench().run(clouds(60, "train"), clouds(40, "test")).unwrap();
        let names: Vec<&str> = spent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["transform_fit", "transform_test", "join", "svm_fit", "svm_predict", "knn_fit", "knn_predict"]);
        assert!(spent.iter().map(|(_, took)| took).chain(&steps_fit).chain(&together).all(|took| took.wall > 0.0 && took.cpu >= 0.0));
        assert_eq!(spent[0].1.wall, steps_fit[0].wall + steps_fit[1].wall);
        let sizes: Vec<(&str, usize, usize)> = cells.iter().map(|(name, cell)| (name.as_str(), cell.per_class, cell.runs.len())).collect();
        assert_eq!(sizes, [("svm", 2, 3), ("svm", 10, 3), ("knn", 2, 3), ("knn", 10, 3)]);
        assert!(cells.iter().all(|(_, cell)| cell.per_class == 2 || cell.runs[0].confusion.balanced_accuracy() > 0.9));
    }

    #[test]
    fn rows_and_labels_that_do_not_fit_together_are_refused() {
        let said = |spoil: fn(&mut LabelledRows)| {
            let mut test = clouds(4, "test");
            spoil(&mut test);
            bench().run(clouds(60, "train"), test).unwrap_err().message().to_string()
        };
        assert_eq!(said(|test| test.classes.truncate(3)), "the test part has 4 rows and 3 labels, expected as many");
        assert_eq!(said(|test| test.classes[1] = -1), "row 1 of the test part has the class -1, expected 0 or more");
    }
}
