//! One file per node kind: parameters, ports, run.

mod step;

pub use step::Step;
