//! The networks on the CPU kernels: forward and backward written by hand, no tape but the buffers that each part keeps.

mod block; // XCiT: attention, local patch interaction, MLP
mod class_attention; // XCiT: the two blocks that gather the class token
mod head; // DINO's projection head
mod linear; // projections and their gradients
mod mlp; // the half of a block that both families share
mod network; // either family, as others meet it
mod stem; // XCiT: patches, positions
mod vit; // the whole vision transformer
mod vit_block; // attention between tokens, MLP
mod vit_embed; // patches, positions, class token, registers
mod xca; // XCiT: cross-covariance attention with its projections
mod xca_gram; // the same by the tokens' Gram matrix
mod xca_gram_back; // its backward pass
mod xcit; // the whole XCiT

pub use head::{Head, HeadTape};
pub use network::{Batch, Network, Tape};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vit_tests;
