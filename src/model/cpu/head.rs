//! DINO's projection head on the CPU kernels: linear layers with GELU between, L2 normalisation, a weight-normed last layer.
//!
//! logits_k = g_k · (z·v_k)/|v_k|. The rows v_k are never normalised in memory: 1/|v_k| scales the columns of the product. g is frozen.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::linear::Linear;
use crate::kernel::{Matrix, Start, add_scaled, dot, gelu, gelu_backward, matmul, matmul_one, multiply_one, row_dots, scale_rows};
use crate::model::{HeadSizes, Layout};

/// A projection head that runs on the CPU kernels. Holds no weights.
pub struct Head {
    layers: Vec<Linear>,
    gain: Range<usize>,
    directions: Range<usize>,
    bottleneck: usize,
    outputs: usize,
    layout: Arc<Layout>,
}

/// What a pass keeps.
#[derive(Default)]
pub struct HeadTape {
    /// The input of each layer; the last is the bottleneck before normalisation.
    inputs: Vec<Vec<f32>>,
    slopes: Vec<Vec<f32>>,
    /// The bottleneck, normalised, and 1/|bottleneck| of each row.
    unit: Vec<f32>,
    inverse: Vec<f32>,
    /// g_k/|v_k|.
    scale: Vec<f32>,
}

/// Norms below this count as this (PyTorch's `normalize`).
const EPS: f32 = 1e-12;

impl Head {
    /// Lays out a head of these sizes.
    pub fn new(sizes: &HeadSizes) -> Self {
        let layout = Arc::new(sizes.layout());
        let mlp = sizes.mlp();
        Self {
            layers: mlp.iter().enumerate().map(|(i, (a, b))| Linear::find(&layout, &format!("mlp.{}", 2 * i), *a, *b)).collect(),
            gain: layout.at("last_layer.weight_g"),
            directions: layout.at("last_layer.weight_v"),
            bottleneck: sizes.bottleneck,
            outputs: sizes.outputs,
            layout,
        }
    }

    /// Returns the layout of its weights.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns where the frozen gain and the directions of the last layer lie.
    pub fn last_layer(&self) -> (Range<usize>, Range<usize>) {
        (self.gain.clone(), self.directions.clone())
    }

    /// Returns how wide its output is.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Writes the logits (rows × K) of representations (rows × D).
    pub fn forward(&self, p: &[f32], x: &[f32], tape: &mut HeadTape, logits: &mut Vec<f32>) {
        let last = self.layers.len() - 1;
        tape.inputs.resize_with(last + 2, Vec::new);
        tape.slopes.resize_with(last, Vec::new);
        tape.inputs[0].clear();
        tape.inputs[0].extend_from_slice(x);
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = tape.inputs.split_at_mut(i + 1);
            if i == last {
                layer.forward(p, &before[i], &mut after[0]);
            } else {
                layer.forward_without_bias(p, &before[i], &mut after[0]);
                tape.slopes[i].resize(after[0].len(), 0.0);
                gelu(&mut after[0], &mut tape.slopes[i], &p[layer.bias.clone()]);
            }
        }
        let b = self.bottleneck;
        let z = &tape.inputs[last + 1];
        let rows = x.len() / self.layers[0].inputs;
        let inverse_norm = |square: &f32| 1.0 / square.sqrt().max(EPS);
        tape.inverse = row_dots(z, z, rows).iter().map(inverse_norm).collect();
        tape.unit.clone_from(z);
        scale_rows(&mut tape.unit, &tape.inverse);
        let v = &p[self.directions.clone()];
        tape.scale = row_dots(v, v, self.outputs).iter().map(inverse_norm).zip(&p[self.gain.clone()]).map(|(r, g)| r * g).collect();
        logits.resize(rows * self.outputs, 0.0);
        matmul(Matrix::new(&tape.unit, rows, b), Matrix::new(v, self.outputs, b).t(), logits, self.outputs, Start::Nothing);
        logits.par_chunks_exact_mut(self.outputs).for_each(|row| multiply_one(row, &tape.scale));
    }

    /// Returns the gradient of the representations; adds the parameters'. `d` (that of the logits) is used up.
    /// While `frozen`, the last layer gets no gradient.
    pub fn backward(&self, p: &[f32], tape: &HeadTape, d: &mut [f32], frozen: bool, grads: &mut [f32]) -> Vec<f32> {
        let (b, k) = (self.bottleneck, self.outputs);
        let rows = d.len() / k;
        d.par_chunks_exact_mut(k).for_each(|row| multiply_one(row, &tape.scale));
        let v = &p[self.directions.clone()];
        let d_matrix = Matrix::new(d, rows, k);
        let mut dz = vec![0.0; rows * b];
        matmul(d_matrix, Matrix::new(v, k, b), &mut dz, b, Start::Nothing);
        if !frozen {
            let (d_matrix, unit) = (d_matrix.t(), Matrix::new(&tape.unit, rows, b));
            // As many prototypes at a time as the inner cache holds of their gradient.
            let some = (32_768 / b).max(1);
            grads[self.directions.clone()].par_chunks_mut(some * b).zip(v.par_chunks(some * b)).enumerate().for_each(|(i, (out, v))| {
                let n = v.len() / b;
                let mut dv = vec![0.0; n * b];
                matmul_one(d_matrix.rows(i * some..i * some + n), unit, &mut dv, b, Start::Nothing);
                // Through the weight norm: what points along v itself is taken out.
                for ((out, dv), v) in out.chunks_exact_mut(b).zip(dv.chunks_exact_mut(b)).zip(v.chunks_exact(b)) {
                    let along = dot(dv, v) / dot(v, v).max(EPS);
                    add_scaled(dv, v, -along);
                    add_scaled(out, dv, 1.0);
                }
            });
        }
        // Through the L2 normalisation.
        for ((dz, unit), r) in dz.chunks_exact_mut(b).zip(tape.unit.chunks_exact(b)).zip(&tape.inverse) {
            let along = dot(dz, unit);
            dz.iter_mut().zip(unit).for_each(|(d, u)| *d = (*d - along * u) * r);
        }
        let mut d = dz;
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let is_last = i + 1 == self.layers.len();
            if !is_last {
                gelu_backward(&mut d, &tape.slopes[i], &mut grads[layer.bias.clone()]);
            }
            layer.backward_params(&tape.inputs[i], &d, is_last, grads);
            let mut dx = Vec::new();
            layer.backward_input(p, &d, false, &mut dx);
            d = dx;
        }
        d
    }
}
