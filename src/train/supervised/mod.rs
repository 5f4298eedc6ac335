//! Training with labels: the paper's deep-learning baseline and its linear layer.
//!
//! Both draw the same labelled rows as the few-label sweep and end in the same [`Cell`](crate::classify::Cell)s, so that they stand
//! in one table. The network itself is met only through [`Encoder`]. Unaware of files of pictures, of checkpoints' formats and of the cache.

mod params; // what a user writes
mod encoder; // what training asks of a network
mod head; // the linear layer and the weighted cross-entropy
mod optimiser; // Adam, AdamW, adaptive clipping
mod schedule; // the learning rate from step to step
mod subset; // labelled rows of one repeat: to learn from and to validate on
mod stop; // when to stop, and which checkpoint was best
mod repeat; // one training, start to best checkpoint
mod keep; // finished repeats as pieces
mod baseline; // the whole network trained
mod probe; // the linear layer alone
#[cfg(test)]
mod laws; // what all of it promises

pub use baseline::{Learnt, Outcome, StartOf, Task, supervised};
pub use encoder::{Encoder, Tensor};
pub use head::Linear;
pub use params::{LinearProbe, Optimiser, Plateau, Schedule, Stop, Supervised};
pub use probe::linear_probe;
pub use repeat::CurvePoint;
pub use stop::Ending;
