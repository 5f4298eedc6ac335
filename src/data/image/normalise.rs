//! From 8-bit values to the numbers a network sees.

use serde::{Deserialize, Serialize};

/// How an 8-bit value becomes a network input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalisation {
    /// 0..255 becomes -1..1 (sparsam).
    #[default]
    MinusOneToOne,
    /// (v / 255 - mean) / std by channel, with the mean and deviation of ImageNet (torchvision, timm, DINO).
    ImageNet,
}

impl Normalisation {
    /// Returns the network input of each of the 256 values of each channel.
    pub fn table(self) -> [[f32; 256]; 3] {
        const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
        const STD: [f64; 3] = [0.229, 0.224, 0.225];
        std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                let unit = value as f64 / 255.0;
                match self {
                    Self::MinusOneToOne => (unit * 2.0 - 1.0) as f32,
                    Self::ImageNet => ((unit - MEAN[channel]) / STD[channel]) as f32,
                }
            })
        })
    }
}

/// Writes `pixels` (RGB interleaved) as network inputs.
pub fn apply(table: &[[f32; 256]; 3], pixels: &[u8], out: &mut [f32]) {
    for (from, to) in pixels.chunks_exact(3).zip(out.chunks_exact_mut(3)) {
        to[0] = table[0][usize::from(from[0])];
        to[1] = table[1][usize::from(from[1])];
        to[2] = table[2][usize::from(from[2])];
    }
}
