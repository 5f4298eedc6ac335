//! What a pass through the network costs, counted from its shapes.
//!
//! Operations of f32, a multiply-add counted as two: those of matrix products, attention and convolutions. What is left out (norms,
//! GELU, sums) is below two parts in a hundred.

use super::{HeadSizes, Sizes};

/// A convolution of the stem, for one image.
struct Conv {
    /// Pixels of the output.
    pixels: usize,
    inputs: usize,
    outputs: usize,
}

fn stem(sizes: &Sizes, side: usize) -> Vec<Conv> {
    let mut side = side;
    let mut conv = |pair: &[usize]| {
        side = side.div_ceil(2);
        Conv { pixels: side * side, inputs: pair[0], outputs: pair[1] }
    };
    sizes.stem().windows(2).map(&mut conv).collect()
}

/// Tokens of an image, without the class token.
fn tokens(sizes: &Sizes, side: usize) -> usize {
    (side / sizes.patch).pow(2)
}

fn conv_flops(conv: &Conv) -> f64 {
    (2 * 9 * conv.pixels * conv.inputs * conv.outputs) as f64
}

/// Returns the operations of the backbone's forward pass on one image of `side` × `side` pixels.
pub fn forward_flops(sizes: &Sizes, side: usize) -> f64 {
    let (n, d) = (tokens(sizes, side) as f64, sizes.dim as f64);
    let head_dim = d / sizes.heads as f64;
    // qkv, projection and MLP (3 + 1 + 8) D² a token; qᵀk and A·v; two 3x3 convolutions of single channels.
    let block = 2.0 * n * (12.0 * d * d + 2.0 * d * head_dim + 18.0 * d);
    // k and v of all tokens; q, projection and MLP of the class token; its attention.
    let class = 2.0 * (2.0 * (n + 1.0) * d * d + 10.0 * d * d + 2.0 * (n + 1.0) * d);
    let position = 2.0 * n * 64.0 * d;
    stem(sizes, side).iter().map(conv_flops).sum::<f64>() + position + sizes.depth as f64 * block + sizes.cls_depth as f64 * class
}

/// Returns the operations of forward and backward pass on one image: each product has two gradients, but for that of the pixels.
pub fn training_flops(sizes: &Sizes, side: usize) -> f64 {
    3.0 * forward_flops(sizes, side) - stem(sizes, side).first().map_or(0.0, conv_flops)
}

/// Returns the operations of the head's forward pass on one representation.
pub fn head_flops(head: &HeadSizes) -> f64 {
    let mlp: usize = head.mlp().iter().map(|(a, b)| a * b).sum();
    (2 * (mlp + head.bottleneck * head.outputs)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Xcit;

    #[test]
    fn the_published_network_costs_what_is_known() {
        let sizes = Xcit::named("small_12_p8").sizes().unwrap();
        // 37.4 and 6.9 GFLOP an image, counted by hand.
        assert!((forward_flops(&sizes, 224) / 37.4e9 - 1.0).abs() < 0.01, "{}", forward_flops(&sizes, 224));
        assert!((forward_flops(&sizes, 96) / 6.9e9 - 1.0).abs() < 0.01, "{}", forward_flops(&sizes, 96));
        assert!(training_flops(&sizes, 96) < 3.0 * forward_flops(&sizes, 96));
    }
}
