//! From 8-bit values to the numbers a network sees.

use serde::{Deserialize, Serialize};

/// How an 8-bit value becomes a network input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Normalisation {
    /// 0..255 becomes -1..1 (sparsam).
    #[default]
    MinusOneToOne,
    /// (v / 255 - mean) / std by channel, with the mean and deviation of ImageNet (torchvision, timm, DINO).
    ImageNet,
    /// The same with a mean and a deviation of one's own, red first: `MeanStd(mean: (0.53, 0.53, 0.53), std: (0.26, 0.26, 0.26))`.
    MeanStd { mean: [f64; 3], std: [f64; 3] },
}

impl Normalisation {
    /// Returns what is subtracted from each channel between 0 and 1, and by what the rest is divided.
    pub fn mean_and_deviation(self) -> ([f64; 3], [f64; 3]) {
        match self {
            Self::MinusOneToOne => ([0.5; 3], [0.5; 3]),
            Self::ImageNet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Self::MeanStd { mean, std } => (mean, std),
        }
    }

    /// Returns what is wrong with the numbers, if they cannot be used.
    pub fn check(self) -> Option<String> {
        let (mean, std) = self.mean_and_deviation();
        match () {
            () if mean.iter().any(|m| !m.is_finite()) => Some(format!("must have a finite mean, got {mean:?}")),
            () if std.iter().any(|s| !(s.is_finite() && *s > 1e-6)) => Some(format!("must have a deviation above 1e-6, got {std:?}")),
            () => None,
        }
    }

    /// Returns the network input of each of the 256 values of each channel.
    pub fn table(self) -> [[f32; 256]; 3] {
        let (mean, std) = self.mean_and_deviation();
        std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                let unit = value as f64 / 255.0;
                match self {
                    Self::MinusOneToOne => (unit * 2.0 - 1.0) as f32,
                    Self::ImageNet | Self::MeanStd { .. } => ((unit - mean[channel]) / std[channel]) as f32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_and_deviation_of_one_s_own_are_used_as_imagenet_s_are() {
        let (mean, std) = Normalisation::ImageNet.mean_and_deviation();
        assert_eq!(Normalisation::MeanStd { mean, std }.table(), Normalisation::ImageNet.table());
        let own: Normalisation = ron::from_str("MeanStd(mean: (0.5, 0.25, 0.5), std: (1.0, 0.5, 1.0))").unwrap();
        assert_eq!(own.table()[1][255], 1.5);
        assert!(own.check().is_none());
        for (mean, std) in [([f64::NAN; 3], [1.0; 3]), ([0.0; 3], [1.0, 0.0, 1.0]), ([0.0; 3], [-1.0; 3])] {
            assert!(Normalisation::MeanStd { mean, std }.check().is_some());
        }
    }
}
