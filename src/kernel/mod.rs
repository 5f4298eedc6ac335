//! CPU kernels, forward and backward, on token-major slices of f32.
//!
//! A "row" is one token (or pixel) with all its channels. Every kernel gives the same bits for any number of threads:
//! work is cut into pieces that depend on the shapes alone, and partial sums are added in the order of the pieces.

pub(crate) mod level; // which instructions this machine has
pub(crate) mod lanes; // sums side by side
mod pieces; // cutting work
mod workers; // where it is done
pub mod clock; // where the time goes
mod stopwatch; // what a piece of work takes, on all threads
mod peak; // what the cores can do at most
pub mod memory; // what the process uses, and may still get
mod matmul; // matrix products
mod maker; // who makes one
#[cfg(target_arch = "x86_64")]
mod product; // one with AVX-512
#[cfg(target_arch = "x86_64")]
mod tile; // its innermost loop
#[cfg(target_arch = "x86_64")]
mod whole_tile; // the same for tiles of the largest size
#[cfg(target_arch = "x86_64")]
mod matrix_unit; // what multiplies whole tiles of bf16
#[cfg(target_arch = "x86_64")]
mod split; // f32 as sums of bf16
#[cfg(target_arch = "x86_64")]
mod split_product; // a product made so
mod narrow; // products of one head's numbers, where they lie
mod transpose; // a matrix turned over
mod prefetch; // what will be read soon
mod pointwise; // exp, GELU, bias, scale
mod layer_norm;
mod batch_norm;
mod depthwise; // 3x3 convolution of each channel by itself
mod conv; // 3x3 stride-2 convolution of the stem
mod qkv; // where the parts of each head lie
mod cross_covariance; // XCA
mod gram; // the tokens' Gram matrix
mod attention; // between tokens
mod class_attention; // of one token to all others

pub use attention::{Saved as AttentionSaved, attend_row, attention_row, backward as attention_backward, forward as attention_forward};
pub use batch_norm::{BatchNorm, batch_norm_eval, batch_norm_train};
pub use class_attention::{Askers, backward as class_attention_backward, forward as class_attention_forward};
pub use conv::{Conv, conv_backward, conv_forward};
pub use cross_covariance::{Head as XcaHead, Saved as XcaSaved, backward as xca_backward, forward as xca_forward};
pub use depthwise::{Maps, depthwise, depthwise_weights};
pub use gram::{gram, gram_flops};
pub use layer_norm::{LayerNorm, affine, layer_norm, layer_norm_backward};
pub use level::{Level, choose, level};
pub(crate) use level::{mul_add, vectorised};
pub use maker::rows_stand_alone;
pub use matmul::{Matrix, Shared, Start, matmul, matmul_one, matmul_untimed};
pub use peak::peak_flops;
pub use pieces::{PIECES, column_sums, pieces};
pub use pointwise::{
    add_column_sums, add_scaled, add_scaled_columns, add_scaled_rows, dot, exp, gelu, gelu_backward, gelu_only, multiply, multiply_one,
    row_dots, scale_rows, scaled_rows, sum_rows,
};
pub use prefetch::prefetch;
pub use qkv::Shape as QkvShape;
pub use stopwatch::{Spent, Stopwatch};
pub use transpose::transpose;
pub use workers::{on_workers, side_by_side};
