//! One XCA block: x += γ1·XCA(LN1 x); x += γ3·LPI(LN3 x); x += γ2·MLP(LN2 x). LPI comes second though it is numbered third.

use std::ops::Range;

use super::linear::Norm;
use super::mlp::{Mlp, MlpTape, Purpose, gelu_for};
use super::xca::{Xca, XcaTape};
use super::xca_gram_back::ImageWork;
use crate::kernel::{
    BatchNorm, LayerNorm, Maps, affine, batch_norm_eval, batch_norm_train, depthwise, depthwise_weights, layer_norm, layer_norm_backward,
    multiply,
};
use crate::model::{Layout, XcitSizes};

/// Where a block's parameters and statistics lie.
pub struct Block {
    norm1: Norm,
    norm3: Norm,
    xca: Xca,
    conv1: Range<usize>,
    conv1_bias: Range<usize>,
    bn: Norm,
    running_mean: Range<usize>,
    running_var: Range<usize>,
    conv2: Range<usize>,
    conv2_bias: Range<usize>,
    gamma3: Range<usize>,
    mlp: Mlp,
    dim: usize,
}

/// What a block keeps for its backward pass: 13 numbers per token and channel, and what attention keeps (4 more, or less by Gram matrices).
#[derive(Default)]
pub struct BlockTape {
    ln1: LayerNorm,
    xca: XcaTape,
    ln3: LayerNorm,
    conv_slope: Vec<f32>,
    bn: BatchNorm,
    mlp: MlpTape,
}

/// Buffers that every block uses in turn.
#[derive(Default)]
pub struct Scratch {
    pub a: Vec<f32>,
    pub b: Vec<f32>,
    pub wide: Vec<f32>,
    pub images: Vec<ImageWork>,
}

/// A depthwise weight (C, 1, 3, 3) as nine rows of channels, each scaled.
fn taps(weight: &[f32], scale: Option<&[f32]>) -> Vec<f32> {
    let c = weight.len() / 9;
    (0..9).flat_map(|t| (0..c).map(move |i| weight[i * 9 + t] * scale.map_or(1.0, |s| s[i]))).collect()
}

impl Block {
    /// Finds the parameters of block `i`.
    pub fn find(layout: &Layout, sizes: &XcitSizes, i: usize) -> Self {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let d = sizes.dim;
        Self {
            norm1: Norm::find(layout, &name("norm1")),
            norm3: Norm::find(layout, &name("norm3")),
            xca: Xca::find(layout, sizes, i),
            conv1: layout.at(&name("local_mp.conv1.weight")),
            conv1_bias: layout.at(&name("local_mp.conv1.bias")),
            bn: Norm::find(layout, &name("local_mp.bn")),
            running_mean: layout.buffer_at(&name("local_mp.bn.running_mean")),
            running_var: layout.buffer_at(&name("local_mp.bn.running_var")),
            conv2: layout.at(&name("local_mp.conv2.weight")),
            conv2_bias: layout.at(&name("local_mp.conv2.bias")),
            gamma3: layout.at(&name("gamma3")),
            mlp: Mlp::find(layout, &format!("blocks.{i}"), d, Some(layout.at(&name("gamma2")))),
            dim: d,
        }
    }

    /// Changes the stream x (B·N × D) in place. With `train`, batch statistics are used and the running ones moved; with `learn`, a backward
    /// pass may follow.
    pub fn forward(
        &self,
        p: &[f32],
        buffers: &mut [f32],
        (train, learn): (bool, bool),
        maps: Maps,
        x: &mut [f32],
        tape: &mut BlockTape,
        scratch: &mut Scratch,
    ) {
        let u = &mut scratch.a;
        layer_norm(x, self.norm1.values(p), learn.then_some(&mut tape.ln1), u);
        self.xca.forward(p, maps, u, x, &mut tape.xca, &mut scratch.images);

        layer_norm(x, self.norm3.values(p), learn.then_some(&mut tape.ln3), u);
        let no_bias = vec![0.0; self.dim];
        tape.bn.normalised.resize(x.len(), 0.0);
        depthwise(maps, u, &taps(&p[self.conv1.clone()], None), &no_bias, false, false, &mut tape.bn.normalised);
        gelu_for(learn, &mut tape.bn.normalised, &mut tape.conv_slope, &p[self.conv1_bias.clone()]);
        self.batch_norm(p, buffers, train, &mut tape.bn, u);
        let gamma = &p[self.gamma3.clone()];
        let bias: Vec<f32> = p[self.conv2_bias.clone()].iter().zip(gamma).map(|(b, g)| b * g).collect();
        depthwise(maps, u, &taps(&p[self.conv2.clone()], Some(gamma)), &bias, false, true, x);

        self.mlp.forward(p, if learn { Purpose::Learn } else { Purpose::Look }, x, &mut tape.mlp, u);
    }

    fn batch_norm(&self, p: &[f32], buffers: &mut [f32], train: bool, bn: &mut BatchNorm, out: &mut Vec<f32>) {
        let (mean, var) = (self.running_mean.clone(), self.running_var.clone());
        if train {
            let (mut m, mut v) = (buffers[mean.clone()].to_vec(), buffers[var.clone()].to_vec());
            batch_norm_train(bn, (&mut m, &mut v), self.bn.values(p), out);
            buffers[mean].copy_from_slice(&m);
            buffers[var].copy_from_slice(&v);
        } else {
            batch_norm_eval(&mut bn.normalised, (&buffers[mean], &buffers[var]), self.bn.values(p), out);
        }
    }

    /// Turns the gradient `d` of the stream behind the block into that before it, in place, and adds the parameters' gradients.
    pub fn backward(&self, p: &[f32], maps: Maps, tape: &BlockTape, d: &mut [f32], grads: &mut [f32], scratch: &mut Scratch) {
        self.mlp.backward(p, None, &tape.mlp, d, grads, scratch);
        self.backward_lpi(p, maps, tape, d, grads, &mut scratch.a, &mut scratch.b);

        let (w, b) = self.norm1.values(p);
        self.xca.backward(p, maps, &tape.xca, |u| affine(&tape.ln1.normalised, w, b, u), d, grads, scratch);
        self.norm1.add(layer_norm_backward(&scratch.b, &tape.ln1, w, d), grads);
    }

    /// The gradient through conv1, GELU, batch norm, conv2 and γ3.
    fn backward_lpi(&self, p: &[f32], maps: Maps, tape: &BlockTape, d: &mut [f32], grads: &mut [f32], u: &mut Vec<f32>, du: &mut Vec<f32>) {
        let c = self.dim;
        let (w, b) = self.bn.values(p);
        affine(&tape.bn.normalised, w, b, u);
        let gamma = &p[self.gamma3.clone()];
        let sums = depthwise_weights(maps, u, d);
        let (conv2, conv2_bias) = (&p[self.conv2.clone()], &p[self.conv2_bias.clone()]);
        for i in 0..c {
            let mut d_gamma = conv2_bias[i] * sums[9 * c + i];
            for t in 0..9 {
                d_gamma += conv2[i * 9 + t] * sums[t * c + i];
                grads[self.conv2.start + i * 9 + t] += gamma[i] * sums[t * c + i];
            }
            grads[self.conv2_bias.start + i] += gamma[i] * sums[9 * c + i];
            grads[self.gamma3.start + i] += d_gamma;
        }
        let no_bias = vec![0.0; c];
        du.resize(d.len(), 0.0);
        depthwise(maps, d, &taps(conv2, Some(gamma)), &no_bias, true, false, du);
        self.bn.add(tape.bn.backward(du, w), grads);
        multiply(du, &tape.conv_slope);
        let (w, b) = self.norm3.values(p);
        affine(&tape.ln3.normalised, w, b, u);
        let sums = depthwise_weights(maps, u, du);
        for i in 0..c {
            (0..9).for_each(|t| grads[self.conv1.start + i * 9 + t] += sums[t * c + i]);
            grads[self.conv1_bias.start + i] += sums[9 * c + i];
        }
        depthwise(maps, du, &taps(&p[self.conv1.clone()], None), &no_bias, true, false, u);
        self.norm3.add(layer_norm_backward(u, &tape.ln3, w, d), grads);
    }
}
