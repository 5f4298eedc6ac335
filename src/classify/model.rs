//! Any of the classifiers on numbered points: fitted on drawn training rows, predicting blocks of queries.
//!
//! Models of many draws share one set of points, so that a block of queries is multiplied with each point once for all of them.

use super::groups::ClassRows;
use super::knn::{KnnModel, Scratch};
use super::logistic::{FittedLogistic, ReadyLogistic};
use super::params::Classifier;
use super::platt::FOLDS_OF;
use super::products::{Block, Points};
use super::study::Study;
use super::svm::SvmModel;
use crate::diagnostic::Failure;
use crate::random::Stream;

/// A model on numbered points.
pub(crate) enum Model {
    Svm(SvmModel<f32>),
    Logistic(ReadyLogistic<f32>),
    Knn(KnnModel),
}

impl Model {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> Vec<usize> {
        match self {
            Self::Svm(model) => model.classes().collect(),
            Self::Logistic(model) => model.classes().to_vec(),
            Self::Knn(model) => model.classes().to_vec(),
        }
    }

    /// Returns the class of each query of the block, and scores if asked.
    pub fn predict(&self, points: &Points<f32>, block: &Block<f32>, scratch: &mut Scratch<f32>, classes: usize) -> Predicted {
        let mut out = vec![0usize; block.used()];
        let mut scores = vec![0.0; block.used() * classes];
        let wanted = (classes > 0).then_some(&mut scores[..]);
        match self {
            Self::Svm(model) => model.predict_block(points, block, &mut out, wanted),
            Self::Logistic(model) => model.predict_block(block, &mut out, wanted),
            Self::Knn(model) => model.predict_block(points, block, scratch, &mut out, wanted),
        }
        (out, scores)
    }

    /// Returns the points that queries are multiplied with.
    fn measured(&self) -> Vec<usize> {
        match self {
            Self::Svm(model) => model.support_points(),
            Self::Knn(model) => model.points().to_vec(),
            Self::Logistic(_) => Vec::new(),
        }
    }

    /// Renames the points, when the model moves to another set of points.
    fn renumber(&mut self, new: impl Fn(usize) -> usize) {
        match self {
            Self::Svm(model) => model.renumber(new),
            Self::Knn(model) => model.renumber(new),
            Self::Logistic(_) => {}
        }
    }
}

/// Classes of the queries of a block, and queries × classes, scores; none where they were not asked for.
pub(crate) type Predicted = (Vec<usize>, Vec<f64>);

/// A fitted model and what its row of results needs.
pub(crate) struct Fitted {
    pub model: Model,
    pub rows_used: usize,
    pub converged: bool,
}

/// Fits one model on drawn training rows.
pub(crate) fn fit(study: &Study, classifier: &Classifier, repeat: usize, rows: &[ClassRows], share: bool) -> Result<Fitted, Failure> {
    let chosen: Vec<usize> = rows.iter().flat_map(|g| g.points.iter().copied()).collect();
    let rows_used = chosen.len();
    let (model, converged) = match classifier {
        Classifier::Knn(how) => (Model::Knn(KnnModel::new(rows, how)), true),
        Classifier::Svm(how) => {
            let (points, groups) = own_points(study, rows, &chosen);
            let folds = Stream::new(study.roster.seed, FOLDS_OF).at(repeat as u64);
            let mut model = SvmModel::fit(&points, &groups, how, &folds, share)?;
            model.renumber(|place| chosen[place]);
            let converged = model.converged;
            (Model::Svm(model), converged)
        }
        Classifier::LogisticRegression(how) => {
            let (points, groups) = own_points(study, rows, &chosen);
            let fitted = FittedLogistic::on(&points, &groups, how, share)?;
            (Model::Logistic(fitted.ready()), fitted.converged())
        }
    };
    Ok(Fitted { model, rows_used, converged })
}

/// The drawn rows as points of their own, numbered from 0 class by class.
fn own_points(study: &Study, rows: &[ClassRows], chosen: &[usize]) -> (Points<f32>, Vec<ClassRows>) {
    let mut at = 0;
    let groups = rows
        .iter()
        .map(|g| {
            let first = at;
            at += g.points.len();
            ClassRows { class: g.class, points: (first..at).collect() }
        })
        .collect();
    (Points::gather(study.train.view(), chosen.iter().copied()), groups)
}

/// Gathers the training rows that any model measures distances to, and moves the models onto them.
pub(crate) fn common_points(study: &Study, fitted: &mut [Fitted]) -> Points<f32> {
    let mut used = vec![false; study.train.nrows()];
    fitted.iter().flat_map(|f| f.model.measured()).for_each(|p| used[p] = true);
    let rows: Vec<usize> = (0..used.len()).filter(|&p| used[p]).collect();
    let mut place = vec![usize::MAX; used.len()];
    rows.iter().enumerate().for_each(|(new, &old)| place[old] = new);
    fitted.iter_mut().for_each(|f| f.model.renumber(|p| place[p]));
    Points::gather(study.train.view(), rows.into_iter())
}
