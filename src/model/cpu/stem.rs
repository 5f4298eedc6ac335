//! From pixels to tokens: 3x3 stride-2 convolutions with batch norm and GELU between them, then the positions added.

use std::ops::Range;

use super::linear::Norm;
use super::mlp::gelu_for;
use super::network::Batch;
use rayon::prelude::*;

use crate::kernel::{
    BatchNorm, Conv, Matrix, Start, add_column_sums, batch_norm_eval, batch_norm_train, conv_backward, conv_forward, matmul, multiply,
};
use crate::model::position::position_code;
use crate::model::{Layout, XcitSizes};

/// One convolution and its batch norm.
struct Stage {
    conv: Range<usize>,
    bn: Norm,
    running_mean: Range<usize>,
    running_var: Range<usize>,
    inputs: usize,
    outputs: usize,
}

/// Where the stem's parameters lie.
pub struct Stem {
    stages: Vec<Stage>,
    position: Range<usize>,
    position_bias: Range<usize>,
    dim: usize,
}

/// What the stem keeps for its backward pass.
#[derive(Default)]
pub struct StemTape {
    bns: Vec<BatchNorm>,
    /// The inputs of the second convolution and on.
    inputs: Vec<Vec<f32>>,
    slopes: Vec<Vec<f32>>,
    patches: Vec<f32>,
    code: Vec<f32>,
    /// Room for the gradient of a convolution's input; kept, since a fresh page costs as much as filling it.
    d_input: Vec<f32>,
}

impl Stem {
    /// Finds the stem's parameters.
    pub fn find(layout: &Layout, sizes: &XcitSizes) -> Self {
        let channels = sizes.stem();
        let stages = channels.windows(2).enumerate().map(|(i, pair)| {
            let name = format!("patch_embed.proj.{}", 2 * i);
            Stage {
                conv: layout.at(&format!("{name}.0.weight")),
                bn: Norm::find(layout, &format!("{name}.1")),
                running_mean: layout.buffer_at(&format!("{name}.1.running_mean")),
                running_var: layout.buffer_at(&format!("{name}.1.running_var")),
                inputs: pair[0],
                outputs: pair[1],
            }
        });
        Self {
            stages: stages.collect(),
            position: layout.at("pos_embed.token_projection.weight"),
            position_bias: layout.at("pos_embed.token_projection.bias"),
            dim: sizes.dim,
        }
    }

    /// Returns the sizes of each convolution for such a batch.
    fn convs(&self, batch: &Batch<'_>) -> Vec<Conv> {
        let (mut height, mut width) = (batch.height, batch.width);
        let mut conv = |stage: &Stage| {
            let conv = Conv { batch: batch.n, height, width, inputs: stage.inputs, outputs: stage.outputs };
            (height, width) = conv.out();
            conv
        };
        self.stages.iter().map(&mut conv).collect()
    }

    /// Writes the tokens (B·N × D) of the batch.
    /// With `train`, batch statistics are used and the running ones moved; with `learn`, a backward pass may follow.
    pub fn forward(
        &self,
        p: &[f32],
        buffers: &mut [f32],
        (train, learn): (bool, bool),
        batch: &Batch<'_>,
        tape: &mut StemTape,
        tokens: &mut Vec<f32>,
    ) {
        let last = self.stages.len() - 1;
        tape.bns.resize_with(self.stages.len(), BatchNorm::default);
        tape.inputs.resize_with(last, Vec::new);
        tape.slopes.resize_with(last, Vec::new);
        for (i, (stage, conv)) in self.stages.iter().zip(self.convs(batch)).enumerate() {
            let input = if i == 0 { batch.pixels } else { &tape.inputs[i - 1] };
            conv_forward(conv, input, &p[stage.conv.clone()], &mut tape.patches, &mut tape.bns[i].normalised);
            let bn = &mut tape.bns[i];
            let (affine, out) = (stage.bn.values(p), if i == last { &mut *tokens } else { &mut tape.inputs[i] });
            if train {
                let (mut mean, mut var) = (buffers[stage.running_mean.clone()].to_vec(), buffers[stage.running_var.clone()].to_vec());
                batch_norm_train(bn, (&mut mean, &mut var), affine, out);
                buffers[stage.running_mean.clone()].copy_from_slice(&mean);
                buffers[stage.running_var.clone()].copy_from_slice(&var);
            } else {
                let running = (&buffers[stage.running_mean.clone()], &buffers[stage.running_var.clone()]);
                batch_norm_eval(&mut bn.normalised, running, affine, out);
            }
            if i < last {
                gelu_for(learn, out, &mut tape.slopes[i], &vec![0.0; stage.outputs]);
            }
        }
        let (hp, wp) = self.convs(batch)[last].out();
        tape.code = position_code(hp, wp);
        let mut position = vec![0.0; hp * wp * self.dim];
        let bias = Start::Row(&p[self.position_bias.clone()]);
        let weight = Matrix::new(&p[self.position.clone()], self.dim, 64);
        matmul(Matrix::new(&tape.code, hp * wp, 64), weight.t(), &mut position, self.dim, bias);
        tokens.par_chunks_exact_mut(position.len()).for_each(|image| image.iter_mut().zip(&position).for_each(|(t, p)| *t += p));
    }

    /// Adds the parameters' gradients from that of the tokens, which it uses up, and writes the pixels' where they are wanted.
    pub fn backward(
        &self,
        p: &[f32],
        batch: &Batch<'_>,
        tape: &mut StemTape,
        d: &mut Vec<f32>,
        grads: &mut [f32],
        mut d_pixels: Option<&mut Vec<f32>>,
    ) {
        let n = tape.code.len() / 64;
        let mut d_position = vec![0.0; n * self.dim];
        d_position.par_chunks_exact_mut(self.dim).enumerate().for_each(|(token, sums)| {
            let rows = d.chunks_exact(self.dim).skip(token).step_by(n);
            rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(s, x)| *s += x));
        });
        add_column_sums(&d_position, &mut grads[self.position_bias.clone()]);
        let d_matrix = Matrix::new(&d_position, n, self.dim);
        matmul(d_matrix.t(), Matrix::new(&tape.code, n, 64), &mut grads[self.position.clone()], 64, Start::Target);

        let convs = self.convs(batch);
        for (i, stage) in self.stages.iter().enumerate().rev() {
            if i + 1 < self.stages.len() {
                multiply(d, &tape.slopes[i]);
            }
            let (w, _) = stage.bn.values(p);
            stage.bn.add(tape.bns[i].backward(d, w), grads);
            let input = if i == 0 { batch.pixels } else { &tape.inputs[i - 1] };
            let weight_grad = &mut grads[stage.conv.clone()];
            let d_input = if i > 0 { Some(&mut tape.d_input) } else { d_pixels.as_deref_mut() };
            conv_backward(convs[i], input, &p[stage.conv.clone()], d, &mut tape.patches, weight_grad, d_input);
            if i > 0 {
                std::mem::swap(d, &mut tape.d_input);
            }
        }
    }
}
