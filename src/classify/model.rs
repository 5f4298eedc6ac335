//! Any of the classifiers on numbered points: fitted on drawn training rows, predicting blocks of queries.
//!
//! Models of many draws share one set of points, so that a block of queries is multiplied with each point once for all of them. That is done
//! in f32, whose rounding moves decision values by some 1e-5; machines that are solved more tightly have points of their own in f64.

use ndarray::{Array2, ArrayView2, Axis, s};

use super::groups::ClassRows;
use super::knn::{KnnModel, Scratch};
use super::logistic::{FittedLogistic, ReadyLogistic};
use super::params::Classifier;
use super::predictions::{Scores, Values};
use super::products::{Block, Points, WIDTH};
use super::svm::SvmModel;
use crate::diagnostic::Failure;
use crate::random::Stream;

/// A model on numbered points.
pub(crate) enum Model {
    Svm(SvmModel<f32>),
    TightSvm(SvmModel<f64>),
    Logistic(ReadyLogistic<f32>),
    Knn(KnnModel),
}

impl Model {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> Vec<usize> {
        match self {
            Self::Svm(model) => model.classes().collect(),
            Self::TightSvm(model) => model.classes().collect(),
            Self::Logistic(model) => model.classes().to_vec(),
            Self::Knn(model) => model.classes().to_vec(),
        }
    }

    /// Returns the class of each query of the block, and scores if asked.
    pub fn predict(&self, points: &Measured, queries: &Queries, scratch: &mut Scratch<f32>, classes: usize) -> Predicted {
        let block = &queries.single;
        let mut out = vec![0usize; block.used()];
        let mut scores = vec![0.0; block.used() * classes];
        let wanted = (classes > 0).then_some(&mut scores[..]);
        match self {
            Self::Svm(model) => model.predict_block(&points.single, block, &mut out, wanted),
            Self::TightSvm(model) => model.predict_block(&points.double, &queries.double, &mut out, wanted),
            Self::Logistic(model) => model.predict_block(block, &mut out, wanted),
            Self::Knn(model) => model.predict_block(&points.single, block, scratch, &mut out, wanted),
        }
        (out, scores)
    }

    /// Returns no scores yet, in the precision that this model's have, with room for those of so many rows.
    pub fn no_scores(&self, rows: usize) -> Scores {
        let classes = self.classes();
        let n = rows * classes.len();
        let values =
            if self.is_double() { Values::Double { double: Vec::with_capacity(n) } } else { Values::Single(Vec::with_capacity(n)) };
        Scores { classes, values }
    }

    fn is_double(&self) -> bool {
        matches!(self, Self::TightSvm(_))
    }

    /// Returns the points that queries are multiplied with.
    fn measured(&self) -> Vec<usize> {
        match self {
            Self::Svm(model) => model.support_points(),
            Self::TightSvm(model) => model.support_points(),
            Self::Knn(model) => model.points().to_vec(),
            Self::Logistic(_) => Vec::new(),
        }
    }

    /// Renames the points, when the model moves to another set of points.
    fn renumber(&mut self, new: impl Fn(usize) -> usize) {
        match self {
            Self::Svm(model) => model.renumber(new),
            Self::TightSvm(model) => model.renumber(new),
            Self::Knn(model) => model.renumber(new),
            Self::Logistic(_) => {}
        }
    }
}

/// Classes of the queries of a block, and queries × classes, scores; none where they were not asked for.
pub(crate) type Predicted = (Vec<usize>, Vec<f64>);

/// The training rows that queries are multiplied with.
pub(crate) struct Measured {
    single: Points<f32>,
    /// Of the machines that are solved tightly.
    double: Points<f64>,
}

/// A block of queries beside the training rows.
#[derive(Default)]
pub(crate) struct Queries {
    single: Block<f32>,
    double: Block<f64>,
}

impl Measured {
    /// Multiplies all points with the queries from row `first` on.
    pub fn fill(&self, block: &mut Queries, queries: ArrayView2<'_, f32>, first: usize) {
        let end = (first + WIDTH).min(queries.nrows());
        // No query has to be widened where no point waits for it.
        let wide = if self.double.len() > 0 { queries.slice(s![first..end, ..]).mapv(f64::from) } else { Array2::zeros((0, 0)) };
        block.single.fill(&self.single, queries, first);
        block.double.fill(&self.double, wide.view(), 0);
    }

    /// Returns the memory that a block of queries takes, in bytes.
    pub fn block_bytes(&self) -> usize {
        let [single, double] = [self.single.len(), self.double.len()];
        (single.max(1) * size_of::<f32>() + double * size_of::<f64>()) * WIDTH
    }
}

/// A fitted model and what its row of results needs.
pub(crate) struct Fitted {
    pub model: Model,
    pub rows_used: usize,
    pub converged: bool,
}

/// Fits one model on some of the training rows; `folds` names the draws of a cross-validation, where there is one.
pub(crate) fn fit(
    train: ArrayView2<'_, f32>,
    classifier: &Classifier,
    rows: &[ClassRows],
    folds: &Stream,
    share: bool,
) -> Result<Fitted, Failure> {
    let chosen: Vec<usize> = rows.iter().flat_map(|g| g.points.iter().copied()).collect();
    let rows_used = chosen.len();
    let (model, converged) = match classifier {
        Classifier::Knn(how) => (Model::Knn(KnnModel::new(rows, how)), true),
        Classifier::Svm(how) => {
            if how.is_tight() {
                let own = train.select(Axis(0), &chosen).mapv(f64::from);
                let mut model = SvmModel::fit(&Points::all(own.view()), &numbered(rows), how, folds, share)?;
                model.renumber(|place| chosen[place]);
                let converged = model.converged;
                (Model::TightSvm(model), converged)
            } else {
                let mut model = SvmModel::fit(&own_points(train, &chosen), &numbered(rows), how, folds, share)?;
                model.renumber(|place| chosen[place]);
                let converged = model.converged;
                (Model::Svm(model), converged)
            }
        }
        Classifier::LogisticRegression(how) => {
            let fitted = FittedLogistic::on(&own_points(train, &chosen), &numbered(rows), how, share)?;
            (Model::Logistic(fitted.ready()), fitted.converged())
        }
    };
    Ok(Fitted { model, rows_used, converged })
}

/// The drawn rows as points of their own.
fn own_points(train: ArrayView2<'_, f32>, chosen: &[usize]) -> Points<f32> {
    Points::gather(train, chosen.iter().copied())
}

/// The same rows numbered from 0, class by class.
pub(crate) fn numbered(rows: &[ClassRows]) -> Vec<ClassRows> {
    let mut at = 0;
    let number = |g: &ClassRows| {
        let first = at;
        at += g.points.len();
        ClassRows { class: g.class, points: (first..at).collect() }
    };
    rows.iter().map(number).collect()
}

/// Gathers the training rows that any model measures distances to, and moves the models onto them.
pub(crate) fn common_points(train: ArrayView2<'_, f32>, fitted: &mut [Fitted]) -> Measured {
    let single = gather_for(train.nrows(), fitted, false);
    let double = gather_for(train.nrows(), fitted, true);
    let wide = train.select(Axis(0), &double).mapv(f64::from);
    Measured { single: Points::gather(train, single.into_iter()), double: Points::all(wide.view()) }
}

/// Returns the training rows that models of one precision need, ascending, and renumbers the models by their places there.
fn gather_for(n_rows: usize, fitted: &mut [Fitted], double: bool) -> Vec<usize> {
    let of_it = |model: &Model| model.is_double() == double;
    let mut used = vec![false; n_rows];
    fitted.iter().filter(|f| of_it(&f.model)).flat_map(|f| f.model.measured()).for_each(|p| used[p] = true);
    let rows: Vec<usize> = (0..used.len()).filter(|&p| used[p]).collect();
    let mut place = vec![usize::MAX; used.len()];
    rows.iter().enumerate().for_each(|(new, &old)| place[old] = new);
    fitted.iter_mut().filter(|f| of_it(&f.model)).for_each(|f| f.model.renumber(|p| place[p]));
    rows
}
