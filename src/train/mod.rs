//! DINO, supervised training and the linear probe.

mod schedule; // learning rate, weight decay, momentum, temperature over the steps
mod optimiser; // gradient clipping, AdamW and the teacher's average in one pass
mod recipe; // all numbers of a DINO training
mod dino_loss; // loss, its gradient, and what they say about the training
mod representation; // spread and rank of a batch's representations
mod dino; // the state of a training and one step of it
mod training; // a training wherever it runs
mod candle_adam; // the same optimiser and step in candle operations, for GPUs
mod candle_dino;
mod snapshots; // the teacher's view of some pictures, for a watcher
mod checkpoint; // the state on disk
mod curve; // how a training went, and a verdict
mod mix; // which images an epoch holds
mod plan; // schedules, and which images when
mod footprint; // memory, counted before the start
mod dino_loop; // epochs of steps
mod bench; // how fast a step and a forward pass are here
mod encoder; // the network as supervised training meets it
mod candle_encoder; // the same in candle operations, for GPUs
pub mod supervised; // the deep-learning baseline and the linear layer

pub use bench::{FeaturesBench, StepBench, StepTimes};
pub use candle_dino::CandleDino;
pub use candle_encoder::CandleBackbone;
pub use curve::{Curve, CurveRow, Verdict};
pub use dino::{Dino, DinoStep, Pair, State, StepNumbers, Views as StepViews};
pub use dino_loop::{TrainedDino, train_dino};
pub use encoder::{Backbone, open_backbone};
pub use footprint::{Footprint, Setting};
pub use optimiser::{Adam, Clip, Follower, Hyper};
pub use recipe::{DinoRecipe, Preset};
pub use schedule::{Cosine, warm_up};
pub use snapshots::{Snapshots, Watch};
pub use training::Training;

#[cfg(test)]
mod dino_laws;
