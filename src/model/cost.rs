//! What a pass through the network costs, counted from its shapes.
//!
//! Operations of f32, a multiply-add counted as two: those of matrix products, attention and convolutions. What is left out (norms,
//! GELU, sums) is below two parts in a hundred. Memory in f32 numbers: what the buffers of `cpu` hold, part by part.

use super::{HeadSizes, Sizes, VitSizes, XcitSizes};
use crate::kernel::gram_flops;

/// A convolution of the stem, for one image.
struct Conv {
    /// Pixels of the output.
    pixels: usize,
    inputs: usize,
    outputs: usize,
}

fn stem(sizes: &XcitSizes, side: usize) -> Vec<Conv> {
    let mut side = side;
    let mut conv = |pair: &[usize]| {
        side = side.div_ceil(2);
        Conv { pixels: side * side, inputs: pair[0], outputs: pair[1] }
    };
    sizes.stem().windows(2).map(&mut conv).collect()
}

/// Tokens of an image, without the class token.
fn tokens(sizes: &Sizes, side: usize) -> usize {
    (side / sizes.patch()).pow(2)
}

fn conv_flops(conv: &Conv) -> f64 {
    (2 * 9 * conv.pixels * conv.inputs * conv.outputs) as f64
}

/// Returns the operations of the backbone's forward pass on one image of `side` × `side` pixels.
pub fn forward_flops(sizes: &Sizes, side: usize) -> f64 {
    let n = tokens(sizes, side) as f64;
    match sizes {
        Sizes::Xcit(own) => xcit_flops(own, n, side),
        Sizes::Vit(own) => vit_flops(own, n),
    }
}

/// Cross-covariance attention of one block with its projections, forward and backward.
fn xca_flops(sizes: &XcitSizes, n: f64) -> (f64, f64) {
    let d = sizes.dim as f64;
    let head_dim = d / sizes.heads as f64;
    if !sizes.attends_by_gram(n as usize) {
        // qkv and projection (3 + 1) D² a token; qᵀk and A·v.
        let forward = 2.0 * n * (4.0 * d * d + 2.0 * d * head_dim);
        return (forward, 2.0 * forward);
    }
    let (tokens, cube, heads) = (2.0 * n * d * d, 2.0 * d.powi(3), 2.0 * d * d * head_dim);
    // G; moments of q and k, M; scores and A·V of all heads; M·u. Then dM, its two ways on; of W', A·V and H (twice as deep); six of heads.
    (gram_flops(n as usize, sizes.dim) + 3.0 * cube + 2.0 * heads + tokens, 3.0 * tokens + 4.0 * cube + 6.0 * heads)
}

fn xcit_flops(sizes: &XcitSizes, n: f64, side: usize) -> f64 {
    let d = sizes.dim as f64;
    // MLP, 8 D² a token; two 3x3 convolutions of single channels.
    let block = xca_flops(sizes, n).0 + 2.0 * n * (8.0 * d * d + 18.0 * d);
    // Scores and weighted sum of all tokens for each head; q, k, v, projection and MLP of the class token.
    let class = 2.0 * (2.0 * (n + 1.0) * d * sizes.heads as f64 + 12.0 * d * d);
    let position = 2.0 * n * 64.0 * d;
    stem(sizes, side).iter().map(conv_flops).sum::<f64>() + position + sizes.depth as f64 * block + sizes.cls_depth as f64 * class
}

/// The patches' projection.
fn patch_flops(sizes: &VitSizes, n: f64) -> f64 {
    2.0 * n * (3 * sizes.patch * sizes.patch * sizes.dim) as f64
}

fn vit_flops(sizes: &VitSizes, n: f64) -> f64 {
    let (all, d) = (n + sizes.prefix() as f64, sizes.dim as f64);
    // qkv, projection and MLP (3 + 1 + 8) D² a token; q·kᵀ and A·v.
    patch_flops(sizes, n) + sizes.depth as f64 * 2.0 * all * (12.0 * d * d + 2.0 * all * d)
}

/// Returns the operations of forward and backward pass on one image: each product has two gradients, but for that of the pixels, and for
/// attention by Gram matrices.
pub fn training_flops(sizes: &Sizes, side: usize) -> f64 {
    let n = tokens(sizes, side) as f64;
    let less = match sizes {
        Sizes::Xcit(own) => {
            let (forward, backward) = xca_flops(own, n);
            stem(own, side).first().map_or(0.0, conv_flops) + own.depth as f64 * (2.0 * forward - backward)
        }
        Sizes::Vit(own) => patch_flops(own, n),
    };
    3.0 * forward_flops(sizes, side) - less
}

/// Returns the operations of the head's forward pass on one representation.
pub fn head_flops(head: &HeadSizes) -> f64 {
    let mlp: usize = head.mlp().iter().map(|(a, b)| a * b).sum();
    (2 * (mlp + head.bottleneck * head.outputs)) as f64
}

/// What a pass keeps of the blocks' activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// All, for a backward pass.
    All,
    /// What entered each block: the rest is computed again in the backward pass.
    Inputs,
    /// Nothing: no backward pass follows.
    Nothing,
}

/// Returns how many numbers a pass over `n` images of `side` × `side` pixels holds at its peak.
pub fn pass_numbers(sizes: &Sizes, n: usize, side: usize, keeps: Keeps) -> usize {
    let tokens = n * tokens(sizes, side);
    match sizes {
        Sizes::Xcit(own) => xcit_numbers(own, n, side, tokens, keeps),
        Sizes::Vit(own) => vit_numbers(own, n, tokens, keeps),
    }
}

fn xcit_numbers(sizes: &XcitSizes, n: usize, side: usize, tokens: usize, keeps: Keeps) -> usize {
    let d = sizes.dim;
    // Numbers of one token stream.
    let t = tokens * d;
    let by_gram = sizes.attends_by_gram(tokens / n.max(1));
    // Normalised three times, q, k and v, attended, twice inside the convolutions, twice 4 D in the MLP; two small matrices per head. By Gram
    // matrices four of D x D in the place of q, k, v and attended.
    let attention = if by_gram { 4 * n * d * d } else { 4 * t };
    let block = 13 * t + attention + n * 2 * d * (d / sizes.heads + 1);
    let blocks = match keeps {
        Keeps::All => sizes.depth * block,
        Keeps::Inputs => block + (sizes.depth - 1) * t,
        Keeps::Nothing => block,
    };
    let class = sizes.cls_depth * (1 + usize::from(sizes.tokens_norm)) * t;
    let convs = stem(sizes, side);
    let out = |conv: &Conv| n * conv.pixels * conv.outputs;
    // Normalised for every convolution; input of the next and slope for all but the last.
    let stem = convs.iter().map(out).sum::<usize>() + convs.iter().rev().skip(1).map(|conv| 2 * out(conv)).sum::<usize>();
    let gathered = |conv: &Conv| (8192 / conv.pixels).clamp(1, n.max(1)) * conv.pixels * 9 * conv.inputs;
    let patches = convs.iter().map(gathered).max().unwrap_or(0);
    // The stream, the stream with class tokens, and one to work in; G of each image, and what takes its place in a backward pass.
    let room = if by_gram { n * d * d * if keeps == Keeps::Nothing { 1 } else { 5 } } else { 0 };
    let streams = 3 * t + room;
    let backward = match keeps {
        Keeps::Nothing => 0,
        // A second buffer, a wide one and two gradients stay. Beside them either class attention holds two more, or the stem the
        // gradients of two neighbouring convolutions.
        _ => 7 * t + (2 * t).max(convs.windows(2).map(|pair| out(&pair[0]) + out(&pair[1])).max().unwrap_or(0)),
    };
    blocks + class + stem + patches + streams + backward
}

fn vit_numbers(sizes: &VitSizes, n: usize, tokens: usize, keeps: Keeps) -> usize {
    let rows = tokens + n * sizes.prefix();
    let t = rows * sizes.dim;
    // Normalised twice, q, k and v, attended, twice 4 D in the MLP; two numbers per row and head.
    let block = 14 * t + 2 * rows * sizes.heads;
    let blocks = match keeps {
        Keeps::All => sizes.depth * block,
        Keeps::Inputs => block + (sizes.depth - 1) * t,
        Keeps::Nothing => block,
    };
    let patches = tokens * 3 * sizes.patch * sizes.patch;
    // The stream and one to work in; in a backward pass a second such, a wide one, the gradient of the stream and its part of the patches.
    let streams = match keeps {
        Keeps::Nothing => 2 * t,
        _ => 9 * t,
    };
    blocks + patches + streams
}

/// Returns how many numbers the head holds for so many rows of a pass, logits included.
pub fn head_numbers(head: &HeadSizes, rows: usize) -> usize {
    let widths: usize = head.mlp().iter().map(|(inputs, outputs)| inputs + outputs).sum();
    rows * (widths + head.bottleneck + head.outputs) + head.outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Xcit;

    #[test]
    fn the_published_network_costs_what_is_known() {
        let sizes = Xcit::named("small_12_p8").sizes().unwrap();
        // 6.7 GFLOP an image of 96 pixels, counted by hand; with keys and values of all tokens in class attention 6.9. At 224 pixels they are 36.5,
        // and in training 109, where attention makes q, k and v of all tokens.
        assert!((forward_flops(&sizes, 96) / 6.7e9 - 1.0).abs() < 0.01, "{}", forward_flops(&sizes, 96));
        assert!(training_flops(&sizes, 96) < 3.0 * forward_flops(&sizes, 96));
        assert!((forward_flops(&sizes, 224) / 33.6e9 - 1.0).abs() < 0.01, "{}", forward_flops(&sizes, 224));
        assert!((training_flops(&sizes, 224) / 97.4e9 - 1.0).abs() < 0.01, "{}", training_flops(&sizes, 224));
        // 4.6 G multiply-adds an image of 224 pixels (DeiT, table 5 of arXiv:2012.12877); attention beside it 0.36.
        let vit = Sizes::named("vit_small_p16").unwrap();
        assert!((forward_flops(&vit, 224) / 9.2e9 - 1.0).abs() < 0.01, "{}", forward_flops(&vit, 224));
    }
}
