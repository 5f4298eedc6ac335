//! XCiT on the CPU kernels: forward and backward written by hand, no tape but the buffers that each part keeps.

mod block; // cross-covariance attention, local patch interaction, MLP
mod class_attention; // the two blocks that gather the class token
mod head; // DINO's projection head
mod linear; // projections and their gradients
mod network; // the whole
mod stem; // patches, positions

pub use head::{Head, HeadTape};
pub use network::{Batch, Network, Tape};

#[cfg(test)]
mod tests;
