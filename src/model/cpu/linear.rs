//! Projections y = x·Wᵀ + b, and those that end a residual branch: x += γ·(z·Wᵀ + b).
//!
//! γ (LayerScale) is folded into W and b, so that the branch's output is never stored: with W' = γ·W the product is added straight onto
//! the stream, and dγ_r = <W_r, dW'_r> + b_r·db'_r.

use std::ops::Range;

use crate::kernel::{Matrix, add_column_sums, add_rows, fill_rows, matmul};
use crate::model::Layout;

/// Where a projection's parameters lie.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub inputs: usize,
    pub outputs: usize,
}

impl Linear {
    /// Finds the projection of this name.
    pub fn find(layout: &Layout, name: &str, inputs: usize, outputs: usize) -> Self {
        Self { weight: layout.at(&format!("{name}.weight")), bias: layout.at(&format!("{name}.bias")), inputs, outputs }
    }

    fn weight<'a>(&self, params: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&params[self.weight.clone()], self.outputs, self.inputs)
    }

    /// out = x·Wᵀ + b.
    pub fn forward(&self, params: &[f32], x: &[f32], out: &mut Vec<f32>) {
        let rows = x.len() / self.inputs;
        out.resize(rows * self.outputs, 0.0);
        fill_rows(out, &params[self.bias.clone()]);
        matmul(Matrix::new(x, rows, self.inputs), self.weight(params).t(), out, self.outputs, true);
    }

    /// out = x·Wᵀ: where the bias is added by the pass that follows.
    pub fn forward_without_bias(&self, params: &[f32], x: &[f32], out: &mut Vec<f32>) {
        let rows = x.len() / self.inputs;
        out.resize(rows * self.outputs, 0.0);
        matmul(Matrix::new(x, rows, self.inputs), self.weight(params).t(), out, self.outputs, false);
    }

    /// Adds dᵀ·x to the weight's gradient, and Σ d to the bias's if `bias`.
    pub fn backward_params(&self, x: &[f32], d: &[f32], bias: bool, grads: &mut [f32]) {
        let rows = x.len() / self.inputs;
        let d_matrix = Matrix::new(d, rows, self.outputs);
        matmul(d_matrix.t(), Matrix::new(x, rows, self.inputs), &mut grads[self.weight.clone()], self.inputs, true);
        if bias {
            add_column_sums(d, &mut grads[self.bias.clone()]);
        }
    }

    /// dx = d·W, or dx += d·W.
    pub fn backward_input(&self, params: &[f32], d: &[f32], add: bool, dx: &mut Vec<f32>) {
        let rows = d.len() / self.outputs;
        dx.resize(rows * self.inputs, 0.0);
        matmul(Matrix::new(d, rows, self.outputs), self.weight(params), dx, self.inputs, add);
    }
}

/// A projection that ends a residual branch with a LayerScale.
#[derive(Clone, Debug)]
pub struct Scaled {
    pub linear: Linear,
    pub gamma: Range<usize>,
}

impl Scaled {
    /// W' = γ·W.
    fn folded(&self, params: &[f32]) -> Vec<f32> {
        let (weight, gamma) = (&params[self.linear.weight.clone()], &params[self.gamma.clone()]);
        weight.chunks_exact(self.linear.inputs).zip(gamma).flat_map(|(row, g)| row.iter().map(move |w| w * g)).collect()
    }

    /// x += γ·(z·Wᵀ + b).
    pub fn forward(&self, params: &[f32], z: &[f32], x: &mut [f32]) {
        let (bias, gamma) = (&params[self.linear.bias.clone()], &params[self.gamma.clone()]);
        let bias: Vec<f32> = bias.iter().zip(gamma).map(|(b, g)| b * g).collect();
        add_rows(x, &bias);
        let rows = z.len() / self.linear.inputs;
        let weight = self.folded(params);
        let weight = Matrix::new(&weight, self.linear.outputs, self.linear.inputs);
        matmul(Matrix::new(z, rows, self.linear.inputs), weight.t(), x, self.linear.outputs, true);
    }

    /// dz = γ·d·W; adds the gradients of W, b and γ.
    pub fn backward(&self, params: &[f32], z: &[f32], d: &[f32], dz: &mut Vec<f32>, grads: &mut [f32]) {
        let (inputs, outputs) = (self.linear.inputs, self.linear.outputs);
        let rows = z.len() / inputs;
        let d_matrix = Matrix::new(d, rows, outputs);
        let weight = self.folded(params);
        dz.resize(rows * inputs, 0.0);
        matmul(d_matrix, Matrix::new(&weight, outputs, inputs), dz, inputs, false);

        let mut d_weight = weight;
        matmul(d_matrix.t(), Matrix::new(z, rows, inputs), &mut d_weight, inputs, false);
        let mut d_bias = vec![0.0; outputs];
        add_column_sums(d, &mut d_bias);
        for r in 0..outputs {
            let gamma = params[self.gamma.start + r];
            let own = &params[self.linear.weight.start + r * inputs..][..inputs];
            let from = &d_weight[r * inputs..(r + 1) * inputs];
            let dot: f32 = own.iter().zip(from).map(|(w, d)| w * d).sum();
            grads[self.gamma.start + r] += dot + params[self.linear.bias.start + r] * d_bias[r];
            grads[self.linear.bias.start + r] += gamma * d_bias[r];
            let target = &mut grads[self.linear.weight.start + r * inputs..][..inputs];
            target.iter_mut().zip(from).for_each(|(t, d)| *t += gamma * d);
        }
    }
}

/// Where a norm's weight and bias lie.
#[derive(Clone, Debug)]
pub struct Norm {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

impl Norm {
    /// Finds the norm of this name.
    pub fn find(layout: &Layout, name: &str) -> Self {
        Self { weight: layout.at(&format!("{name}.weight")), bias: layout.at(&format!("{name}.bias")) }
    }

    /// Returns weight and bias.
    pub fn values<'a>(&self, params: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        (&params[self.weight.clone()], &params[self.bias.clone()])
    }

    /// Adds the gradients of weight and bias.
    pub fn add(&self, (weight, bias): (Vec<f32>, Vec<f32>), grads: &mut [f32]) {
        grads[self.weight.clone()].iter_mut().zip(weight).for_each(|(g, d)| *g += d);
        grads[self.bias.clone()].iter_mut().zip(bias).for_each(|(g, d)| *g += d);
    }
}
