//! The sizes and tensors of DINO's projection head.
//!
//! Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers" (arXiv:2104.14294), appendix C.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Start};

/// Sizes of a projection head: linear layers with GELU between them, L2 normalisation, a weight-normed last layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadSizes {
    /// Width of the representation that enters.
    pub dim: usize,
    pub hidden: usize,
    pub bottleneck: usize,
    /// Prototypes: width of what leaves.
    pub outputs: usize,
    /// Linear layers before the last, at least 2 (DINO: 3).
    pub layers: usize,
}

impl HeadSizes {
    /// Returns inputs and outputs of the linear layers before the last, in order.
    pub fn mlp(&self) -> Vec<(usize, usize)> {
        let widths = [vec![self.dim], vec![self.hidden; self.layers.saturating_sub(1)], vec![self.bottleneck]].concat();
        widths.windows(2).map(|w| (w[0], w[1])).collect()
    }

    /// Returns the head's tensors under DINO's names: `mlp.{0,2,4}.*`, `last_layer.weight_g`, `last_layer.weight_v`.
    pub fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        for (i, (inputs, outputs)) in self.mlp().into_iter().enumerate() {
            layout.linear(&format!("mlp.{}", 2 * i), inputs, outputs);
        }
        layout.param("last_layer.weight_g", &[self.outputs, 1], Start::Constant(1.0));
        layout.param("last_layer.weight_v", &[self.outputs, self.bottleneck], Start::Uniform { fan_in: self.bottleneck });
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_heads_have_their_number_of_parameters() {
        let head = |layers| HeadSizes { dim: 384, hidden: 2048, bottleneck: 256, outputs: 65536, layers };
        // facebookresearch/dino, `DINOHead(384, 65536, nlayers=..)`: the MLP, the directions, the gains.
        assert_eq!(head(3).layout().n_params(), 5_509_376 + 16_777_216 + 65_536);
        assert_eq!(head(4).layout().n_params(), 9_705_728 + 16_777_216 + 65_536);
    }
}
