//! flow: from a pipeline file to a report, running again only what changed.
//!
//! RON text -> `pipeline` -> `graph` -> `engine` (plan, run) -> `store` (artefacts) -> `report`

// Ground: used everywhere, uses nothing of ours.
pub mod digest; // content digests
pub mod random; // draws that do not depend on order or threads
pub mod params; // parameters with their defaults, written once
pub mod diagnostic; // messages that point, explain and help
pub mod stage; // the contract between the two wings
// Science wing: values in, values out. No cache, no terminal, no RON.
pub mod kernel; // CPU kernels, forward and backward
pub mod data; // images, labels, splits, augmentation
pub mod model; // XCiT, projection head, checkpoints
pub mod classify; // transforms, classifiers, metrics, the few-label sweep
pub mod train; // DINO, supervised training, linear probe
pub mod report; // figures, tables, the HTML page
// Flow wing: knows stages only through `stage`, nothing of images or losses.
pub mod graph; // nodes, ports, keys
pub mod store; // content-addressed artefacts and their entries
pub mod engine; // plan and run
// Where the wings meet, then the doors to the outside.
pub mod stages; // one file per node kind
pub mod pipeline; // RON text to a graph, every mistake at once
pub mod cli; // one file per command
