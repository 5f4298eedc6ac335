//! One file per node kind: parameters, ports, run.

mod kinds; // what ports carry
mod io; // artefacts through ports
mod backbone; // which network, and where it starts
mod feature_set; // features and floors in one artefact
mod rows; // a row of numbers for each image
mod results; // results of methods at numbers of labels
mod import;
mod import_features;
mod ingest;
mod fingerprints;
mod split;
mod pack;
mod pool;
mod dino;
mod watch; // the snapshots of a training against labels
mod few_labels; // what training with the few labels needs of a study
mod supervised;
mod linear_probe;
mod features;
mod transform;
mod further_test; // of a sweep
mod sweep;
mod report;
mod command;
mod step; // the closed list of them

pub use kinds::MODEL;
pub use step::Step;
