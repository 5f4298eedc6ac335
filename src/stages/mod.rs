//! One file per node kind: parameters, ports, run.

mod kinds; // what ports carry
mod io; // artefacts through ports
mod feature_set;
mod results;
mod ingest;
mod split;
mod transform;
mod sweep;
mod step;

pub use step::Step;
