//! What a user writes: the classifiers, the transform steps and the protocol of the study.
//!
//! Defaults are scikit-learn's where the paper says "default parameters" (Nielsen et al., arXiv 2304.05163), and the paper's elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Failure;

/// One mistake in the parameters: the field, and what it must be beside what it is.
pub type Mistake = (&'static str, String);

crate::params! {
    /// Support vector classification, one against one (libsvm's C-SVC; Chang and Lin 2011).
    pub struct Svm {
        /// Penalty on margin violations, before class weights.
        pub c: f64 = 1.0,
        /// Width of the radial kernel: exp(-gamma |x - y|²). Not used by the linear kernel.
        pub gamma: Gamma = Gamma::Scale,
        pub kernel: Kernel = Kernel::Rbf,
        pub class_weight: ClassWeight = ClassWeight::Balanced,
        /// Largest violation of the optimality conditions at which training stops. Below 1e-4 a sweep computes in f64, for the rounding of
        /// f32 would then be the larger error.
        pub tolerance: f64 = 1e-3,
        /// Whether scores are Platt's probabilities, from five folds that the seed draws, in place of decisions. The class stays that
        /// of the votes, which the largest probability may contradict (scikit-learn's `probability=True`), unless `predict` says otherwise.
        pub probability: bool = false,
        pub predict: Rule = Rule::Votes,
    }
    /// Multinomial logistic regression with an L2 penalty; the sigmoid form when there are two classes.
    pub struct LogisticRegression {
        /// Inverse strength of the penalty: the objective is |W|²/2 + c · Σ weight · loss.
        pub c: f64 = 1.0,
        pub class_weight: ClassWeight = ClassWeight::Balanced,
        /// Largest entry of the gradient of |W|²/(2c) + Σ weight · loss at which training stops.
        pub tolerance: f64 = 1e-4,
        /// Whether `tolerance` is of that sum, or of the mean over the rows, which stops far earlier.
        pub stop: Stop = Stop::Sum,
        pub max_iter: usize = 10_000,
        pub solver: Solver = Solver::Own,
    }
    /// The k nearest rows in Euclidean distance, exactly.
    pub struct Knn {
        /// Neighbours asked; all rows at hand when there are fewer.
        pub k: usize = 10,
        pub weights: Vote = Vote::Distance,
    }
    /// How the few-label study is done.
    pub struct Protocol {
        /// Labelled images per class. A class that has fewer gives all it has.
        pub per_class: Vec<usize> = vec![1, 5, 10, 25, 50, 100, 250, 500, 1000],
        /// Independent draws of the labelled images. Within one repeat the draws are nested: n = 5 is part of n = 10.
        pub repeats: usize = 100,
        /// Only classes with at least this many training images take part, in the test rows too (the paper's "250+": 250).
        pub min_class_size: usize = 0,
        /// Other names for classes; classes that get one name are merged.
        pub rename: BTreeMap<String, String> = BTreeMap::new(),
        /// Classes left out, after renaming.
        pub drop: Vec<String> = Vec::new(),
        /// Which rows are predicted.
        pub evaluate: Evaluate = Evaluate::Test,
        /// Repeats, from the first, whose single predictions are kept beside the counts.
        pub keep_predictions: usize = 0,
        /// Classes for which a class may be taken in its tolerant recall, by the names after renaming.
        pub neighbours: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// How often test rows and draws are drawn again for intervals and paired comparisons; 0 for none.
        pub resamples: usize = 0,
        /// Whether the areas under the ROC curves are computed, for which the scores of every row are held a while.
        pub roc_auc: bool = false,
        /// Steps of a transform that is fitted on the labelled rows of each draw; none where features come as they are to be learnt from.
        pub transform: Vec<TransformStep> = Vec::new(),
    }
    /// Part of the training rows, held out once for choosing between recipes without the test set.
    pub struct Validation {
        /// Share of each class that is held out; at least one row of a class that has two.
        pub share: f64 = 0.3,
    }
}

/// The width of the radial kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Gamma {
    /// 1 / (dimensions · variance of all values).
    Scale,
    /// 1 / dimensions.
    Auto,
    /// This number.
    Value(f64),
}

/// The inner product of a support vector machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kernel {
    Rbf,
    Linear,
}

/// Which class a support vector machine names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// The one with most votes of the pairs.
    Votes,
    /// The one with the largest probability, which needs `probability: true`: what the paper's published code does.
    Probability,
}

/// What one row of a class counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClassWeight {
    /// rows / (classes · rows of the class).
    Balanced,
    /// Always one.
    Uniform,
}

/// Of what a logistic regression's tolerance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// The gradient of the sum over the rows: scikit-learn's rule up to 1.2.
    Sum,
    /// The gradient divided by the sum of the weights: scikit-learn's rule since.
    Mean,
}

/// Who fits the logistic regression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Solver {
    Own,
    /// linfa-logistic, which knows no class weights.
    Linfa,
}

/// What one neighbour counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// The inverse of its distance; neighbours at distance zero take the whole vote.
    Distance,
    Uniform,
}

/// Which rows a study predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Evaluate {
    /// The split's test rows.
    Test,
    /// Rows held out of the training rows; the test rows are not looked at.
    Validation(Validation),
}

/// A step of a transform, in the order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransformStep {
    /// Rotation to principal axes, without reduction.
    Pca,
    /// The same, down to so many axes of largest variance, or all there are if fewer (scikit-learn's `PCA(n_components=..)`).
    PcaTo(usize),
    /// Yeo and Johnson's power transform, then mean 0 and variance 1.
    YeoJohnson,
    /// Each row divided by its length (scikit-learn's `Normalizer`), so that distances compare directions; a row of zeros stays.
    UnitLength,
}

impl TransformStep {
    /// Returns every mistake in a list of steps, as one of the field that holds it.
    pub fn check(steps: &[Self], field: &'static str) -> Vec<Mistake> {
        let none = steps.contains(&Self::PcaTo(0));
        none.then(|| (field, "must keep at least 1 axis, got `PcaTo(0)`".to_string())).into_iter().collect()
    }
}

/// A classifier of the sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Classifier {
    Svm(Svm),
    LogisticRegression(LogisticRegression),
    Knn(Knn),
}

impl Classifier {
    /// Returns the name shown in tables and figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Svm(_) => "SVM",
            Self::LogisticRegression(_) => "LR",
            Self::Knn(_) => "KNN",
        }
    }

    /// Returns whether a sweep computes it, and keeps its scores, in f64.
    pub fn is_double(&self) -> bool {
        matches!(self, Self::Svm(svm) if svm.is_tight())
    }

    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Vec<Mistake> {
        match self {
            Self::Svm(p) => p.check(),
            Self::LogisticRegression(p) => p.check(),
            Self::Knn(p) => p.check(),
        }
    }
}

/// Notes a mistake unless the value is finite and above zero.
fn positive(mistakes: &mut Vec<Mistake>, field: &'static str, value: f64) {
    if !(value.is_finite() && value > 0.0) {
        mistakes.push((field, format!("must be finite and above 0, got {value}")));
    }
}

fn at_least_one(mistakes: &mut Vec<Mistake>, field: &'static str, value: usize) {
    if value == 0 {
        mistakes.push((field, "must be at least 1, got 0".to_string()));
    }
}

impl Svm {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        positive(&mut mistakes, "c", self.c);
        if let Gamma::Value(gamma) = self.gamma {
            positive(&mut mistakes, "gamma", gamma);
        }
        positive(&mut mistakes, "tolerance", self.tolerance);
        if self.predict == Rule::Probability && !self.probability {
            mistakes.push(("predict", "must be `Votes` without `probability: true`".to_string()));
        }
        mistakes
    }
}

impl Svm {
    /// Returns whether the tolerance asks for more than products in f32 can tell.
    pub(crate) fn is_tight(&self) -> bool {
        self.tolerance < 1e-4
    }
}

impl LogisticRegression {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        positive(&mut mistakes, "c", self.c);
        positive(&mut mistakes, "tolerance", self.tolerance);
        at_least_one(&mut mistakes, "max_iter", self.max_iter);
        if self.solver == Solver::Linfa && self.class_weight != ClassWeight::Uniform {
            mistakes.push(("solver", "must be `Own` with `class_weight: Balanced`: linfa-logistic ignores class weights".to_string()));
        }
        mistakes
    }
}

impl Knn {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        at_least_one(&mut mistakes, "k", self.k);
        mistakes
    }
}

impl Protocol {
    /// Returns every mistake in the parameters.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        at_least_one(&mut mistakes, "repeats", self.repeats);
        if self.per_class.is_empty() || self.per_class.contains(&0) {
            mistakes.push(("per_class", format!("must hold numbers of at least 1, got {:?}", self.per_class)));
        }
        if (1..self.per_class.len()).any(|i| self.per_class[..i].contains(&self.per_class[i])) {
            mistakes.push(("per_class", format!("must hold each number once, got {:?}", self.per_class)));
        }
        if let Evaluate::Validation(Validation { share }) = self.evaluate
            && !(share > 0.0 && share < 1.0)
        {
            mistakes.push(("evaluate.share", format!("must lie between 0 and 1, got {share}")));
        }
        mistakes.extend(TransformStep::check(&self.transform, "transform"));
        mistakes
    }
}

/// Turns mistakes into one failure that names them all.
pub fn refuse(what: &str, mistakes: &[Mistake]) -> Result<(), Failure> {
    if mistakes.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = mistakes.iter().map(|(field, must)| format!("`{field}` {must}")).collect();
    Err(Failure::new(format!("{what}: {}", all.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifiers_read_as_the_design_writes_them() {
        let options = ron::Options::default().with_default_extension(
            ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES
                | ron::extensions::Extensions::IMPLICIT_SOME
                | ron::extensions::Extensions::UNWRAP_NEWTYPES,
        );
        let list: Vec<Classifier> =
            options.from_str("[Svm(), LogisticRegression(c: 2.5), Knn(k: 8, weights: Uniform), Svm(gamma: Value(0.5))]").unwrap();
        assert_eq!(list[0], Classifier::Svm(Svm::default()));
        assert_eq!(list[3], Classifier::Svm(Svm { gamma: Gamma::Value(0.5), ..Svm::default() }));
        assert_eq!(serde_json::to_string(&list[1]).unwrap(), r#"{"LogisticRegression":{"c":2.5}}"#);
        let protocol: Protocol = options.from_str("(evaluate: Validation(share: 0.2), repeats: 3)").unwrap();
        assert_eq!(protocol.evaluate, Evaluate::Validation(Validation { share: 0.2 }));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let svm = Svm { c: -1.0, gamma: Gamma::Value(f64::NAN), ..Svm::default() };
        let message = refuse("svm", &svm.check()).unwrap_err().message().to_string();
        assert_eq!(message, "svm: `c` must be finite and above 0, got -1; `gamma` must be finite and above 0, got NaN");
        let blind = Svm { predict: Rule::Probability, ..Svm::default() };
        assert_eq!(blind.check(), [("predict", "must be `Votes` without `probability: true`".to_string())]);
        let linfa = LogisticRegression { solver: Solver::Linfa, ..LogisticRegression::default() };
        assert_eq!(linfa.check()[0].0, "solver");
    }
}
