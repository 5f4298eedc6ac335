//! Transforms, classifiers, metrics and the few-label sweep.
//!
//! `Features` + labels + split -> `Study` -> `sweep` -> `Cell`s -> `Table`
//!
//! The classifiers are linfa's kind: a parameter struct is checked, fitted on a `linfa::Dataset`, and predicts. Held against scikit-learn.

mod params; // what a user writes: classifiers and the protocol
mod features; // the feature table and its file form
mod dense; // matrix products and elementwise loops, the same bits for any number of threads
mod products; // inner products of points with a block of queries, shared by everything that measures distances
mod guard; // the way into linfa's traits
mod groups; // rows sorted by class
mod smo; // one binary support vector machine
mod platt; // its decisions as probabilities
mod svm; // one-vs-one support vector classification
mod svm_predict; // what it says of queries
mod fitted_svm; // with its own support vectors
mod lbfgs; // minimising a smooth function
mod logistic_problem; // its value and gradient, and the way to the minimum
mod logistic; // multinomial logistic regression
mod logistic_linfa; // the same by linfa, for comparison
mod knn; // k nearest neighbours
mod left_out; // each row judged by its nearest neighbours among the others
mod fitted; // any of the three, fitted for use
mod pca; // rotation to principal axes
mod exponential; // exp(x) - 1 and log(1 + x) for the vector unit
mod moments; // means and squared deviations in one pass
mod likelihood; // the exponent that is most likely
mod yeo_johnson; // power transform by it
mod transform; // a chain of both, fitted once, applied to any rows
mod metrics; // confusion matrices and what follows from them
mod roc; // areas under ROC curves
mod interval; // intervals and paired differences of resampled values
mod learning_curve; // an inverse power law through accuracies
mod study; // features, labels and split joined into numbered rows
mod further; // other rows to predict
mod resample; // test rows and draws, drawn again
mod model; // any classifier on numbered points
mod pass; // test rows past many models
mod board; // what they come to, gathered into cells
mod sweep; // which classifier, how many labels, how often
mod sweep_by_draw; // with a transform of each draw's own rows
mod table; // results as tidy rows
mod table_csv; // and these as CSV
mod predictions; // single predictions and scores
mod bench; // how long a sweep takes

pub use bench::{LabelledRows, SweepBench, SweepTimes};
pub use features::Features;
pub use fitted::FittedClassifier;
pub use fitted_svm::FittedSvm;
pub use further::Further;
pub use guard::Checked;
pub use interval::{Interval, Verdict};
pub use knn::FittedKnn;
pub use learning_curve::PowerLaw;
pub use left_out::judged_by_others;
pub use logistic::FittedLogistic;
pub use metrics::Confusion;
pub use params::{
    ClassWeight, Classifier, Evaluate, Gamma, Kernel, Knn, LogisticRegression, Protocol, Rule, Solver, Stop, Svm, TransformStep,
    Validation, Vote, refuse,
};
pub use pca::Pca;
pub use platt::{Sigmoid, couple};
pub use predictions::{Said, Scores, Values, kept_bytes, write_predictions};
pub use resample::{RESAMPLES, Resampling};
pub use roc::RocAuc;
pub use study::{Roster, Study};
pub use sweep::{cell, judged_sweep, judged_sweeps, sweep};
pub use table::{Cell, Judged, ResultRow, Run, Summary, Table};
pub use transform::{FittedStep, FittedTransform};
pub use yeo_johnson::{YeoJohnson, power};
