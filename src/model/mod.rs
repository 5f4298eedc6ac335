//! XCiT and vision transformers, the projection head, and the files that hold their weights.

mod sizes; // those of a network of either family
mod layout;
mod xcit; // sizes and tensors of XCiT
mod vit; // sizes and tensors of vision transformers
mod position; // the code of a token's place (XCiT)
mod interpolate; // learnt positions at another size (ViT)
mod drop_path; // which branches are left out (ViT)
mod head; // sizes and tensors of the projection head
mod cost; // operations and memory of a pass
mod cpu; // the network and the head on the CPU kernels
mod candle_backward; // functions whose way back is written down
mod candle_ops; // layers in candle operations, with gradients
mod candle_maps; // those of maps
mod candle_cross_covariance; // XCA
mod candle_fused; // the same in a pass or two each, on CUDA
mod launch; // how such a pass is started
mod candle_tensors; // weights on a device
mod candle_xcit; // the networks in candle operations
mod candle_vit;
mod candle_network; // either of them, on a GPU
mod candle_head; // projection head and loss in candle operations
mod card; // what a reader of exported weights must know
mod formats; // files of tensors of all kinds
mod file; // model files
mod accounting; // what became of every tensor of a file
mod names; // what others call the tensors of a backbone
mod import; // backbones from files of others

pub use accounting::{Accounting, Allowed};
pub use candle_head::{CandleHead, dino_log_softmax, dino_loss, next_centre};
pub use candle_network::{CandleNetwork, download, open_gpu};
pub use candle_tensors::Tensors;
pub use candle_vit::CandleVit;
pub use candle_xcit::{CandleXcit, Output};
pub use cost::{Keeps, forward_flops, head_flops, head_numbers, pass_numbers, training_flops};
pub use cpu::{Batch, Head, HeadTape, Network, Tape};
pub use drop_path::DropPath;
pub use file::{About, ModelFile, Preprocessing};
pub use head::HeadSizes;
pub use import::import;
pub use layout::{Entry, Layout, Start, Weights};
pub use position::{CODE, position_code};
pub use sizes::Sizes;
use sizes::grid;
pub use vit::{Interpolation, Vit, VitSizes};
pub use xcit::{Xcit, XcitSizes};
