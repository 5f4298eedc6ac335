//! Projections y = x·Wᵀ + b, and those that end a residual branch: x += z·Wᵀ + b, or x += γ·(z·Wᵀ + b).
//!
//! γ (LayerScale) is folded into W and b, so that the branch's output is never stored: with W' = γ·W the product is added straight onto
//! the stream, and dγ_r = <W_r, dW'_r> + b_r·db'_r.

use std::cell::Cell;
use std::ops::Range;

use crate::kernel::{Matrix, Start, add_column_sums, add_scaled_columns, add_scaled_rows, matmul, row_dots, scaled_rows};
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
        let start = Start::Row(&params[self.bias.clone()]);
        matmul(Matrix::new(x, rows, self.inputs), self.weight(params).t(), out, self.outputs, start);
    }

    /// out = x·Wᵀ: where the bias is added by the pass that follows.
    pub fn forward_without_bias(&self, params: &[f32], x: &[f32], out: &mut Vec<f32>) {
        let rows = x.len() / self.inputs;
        out.resize(rows * self.outputs, 0.0);
        matmul(Matrix::new(x, rows, self.inputs), self.weight(params).t(), out, self.outputs, Start::Nothing);
    }

    /// As [`forward`](Self::forward) for some of the outputs and evenly spaced rows of x, written where the whole would lie.
    pub fn forward_part(&self, params: &[f32], x: &[f32], every: usize, outputs: Range<usize>, out: &mut [f32]) {
        let rows = x.len() / self.inputs / every;
        let weight = self.weight(params).rows(outputs.clone()).t();
        let start = Start::Row(&params[self.bias.clone()][outputs.clone()]);
        let x = Matrix::strided(x, rows, self.inputs, every * self.inputs, 1);
        matmul(x, weight, &mut out[outputs.start..], every * self.outputs, start);
    }

    /// Adds dᵀ·x to the weight's gradient, and Σ d to the bias's if `bias`.
    pub fn backward_params(&self, x: &[f32], d: &[f32], bias: bool, grads: &mut [f32]) {
        let rows = x.len() / self.inputs;
        let d_matrix = Matrix::new(d, rows, self.outputs);
        matmul(d_matrix.t(), Matrix::new(x, rows, self.inputs), &mut grads[self.weight.clone()], self.inputs, Start::Target);
        if bias {
            add_column_sums(d, &mut grads[self.bias.clone()]);
        }
    }

    /// dx = d·W, or dx += d·W.
    pub fn backward_input(&self, params: &[f32], d: &[f32], add: bool, dx: &mut Vec<f32>) {
        let rows = d.len() / self.outputs;
        dx.resize(rows * self.inputs, 0.0);
        matmul(Matrix::new(d, rows, self.outputs), self.weight(params), dx, self.inputs, if add { Start::Target } else { Start::Nothing });
    }
}

/// A projection W of which each head has some rows, W_h, and an input of its own: row (image, h) of B·H × inputs.
impl Linear {
    /// Row (image, h) of such an input or its gradient, for all images.
    fn head_rows<'a>(&self, x: &'a [f32], head: usize, heads: usize) -> Matrix<'a> {
        Matrix::strided(&x[head * self.inputs..], x.len() / (heads * self.inputs), self.inputs, heads * self.inputs, 1)
    }

    /// The outputs of a head in B × outputs.
    fn head_outputs<'a>(&self, y: &'a [f32], head: usize, heads: usize) -> Matrix<'a> {
        let width = self.outputs / heads;
        Matrix::strided(&y[head * width..], y.len() / self.outputs, width, self.outputs, 1)
    }

    fn head_weight<'a>(&self, params: &'a [f32], head: usize, heads: usize) -> Matrix<'a> {
        let width = self.outputs / heads;
        self.weight(params).rows(head * width..(head + 1) * width)
    }

    /// out (B × outputs): of each head x_h·W_hᵀ, and b if `bias`.
    pub fn heads_forward(&self, params: &[f32], x: &[f32], heads: usize, bias: bool, out: &mut Vec<f32>) {
        let width = self.outputs / heads;
        out.resize(x.len() / (heads * self.inputs) * self.outputs, 0.0);
        for head in 0..heads {
            let weight = self.head_weight(params, head, heads).t();
            let row = &params[self.bias.clone()][head * width..(head + 1) * width];
            let start = if bias { Start::Row(row) } else { Start::Nothing };
            matmul(self.head_rows(x, head, heads), weight, &mut out[head * width..], self.outputs, start);
        }
    }

    /// dx (B·H × inputs): of each head d_h·W_h.
    pub fn heads_input(&self, params: &[f32], d: &[f32], heads: usize, dx: &mut Vec<f32>) {
        dx.resize(d.len() / self.outputs * heads * self.inputs, 0.0);
        for head in 0..heads {
            let weight = self.head_weight(params, head, heads);
            matmul(self.head_outputs(d, head, heads), weight, &mut dx[head * self.inputs..], heads * self.inputs, Start::Nothing);
        }
    }

    /// Adds d_hᵀ·x_h of each head to the weight's gradient.
    pub fn heads_params(&self, x: &[f32], d: &[f32], heads: usize, grads: &mut [f32]) {
        let width = self.outputs / heads;
        for head in 0..heads {
            let own = &mut grads[self.weight.clone()][head * width * self.inputs..];
            matmul(self.head_outputs(d, head, heads).t(), self.head_rows(x, head, heads), own, self.inputs, Start::Target);
        }
    }
}

/// A projection that ends a residual branch, with a LayerScale or without.
#[derive(Clone, Debug)]
pub struct Scaled {
    pub linear: Linear,
    pub gamma: Option<Range<usize>>,
}

thread_local! {
    /// Where W' is made; kept, since fresh pages cost as much as filling them. Taken out while in use: a worker that waits inside a kernel may
    /// take up other work that makes one too.
    static FOLDED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Scaled {
    /// Hands W' = γ·W to some work, which may leave it as it likes.
    fn with_folded(&self, params: &[f32], gamma: &[f32], work: impl FnOnce(&mut [f32])) {
        let mut folded = FOLDED.take();
        let weight = &params[self.linear.weight.clone()];
        folded.resize(folded.len().max(weight.len()), 0.0);
        scaled_rows(&mut folded[..weight.len()], weight, gamma);
        work(&mut folded[..weight.len()]);
        FOLDED.set(folded);
    }

    /// Hands W' = γ·W and b' = γ·b to some work.
    pub fn with_scaled(&self, params: &[f32], work: impl FnOnce(Matrix<'_>, &[f32])) {
        let bias = &params[self.linear.bias.clone()];
        let Some(gamma) = &self.gamma else { return work(self.linear.weight(params), bias) };
        let gamma = &params[gamma.clone()];
        let bias: Vec<f32> = bias.iter().zip(gamma).map(|(b, g)| b * g).collect();
        self.with_folded(params, gamma, |weight| work(Matrix::new(weight, self.linear.outputs, self.linear.inputs), &bias));
    }

    /// Adds the gradients of W, b and γ, from those of W' and b'.
    pub fn add_gradients(&self, params: &[f32], d_weight: &[f32], d_bias: &[f32], grads: &mut [f32]) {
        let (weight, bias) = (self.linear.weight.clone(), self.linear.bias.clone());
        let Some(range) = &self.gamma else {
            grads[weight].iter_mut().zip(d_weight).for_each(|(g, d)| *g += d);
            return grads[bias].iter_mut().zip(d_bias).for_each(|(g, d)| *g += d);
        };
        let gamma = &params[range.clone()];
        let dots = row_dots(d_weight, &params[weight.clone()], self.linear.outputs);
        for r in 0..self.linear.outputs {
            grads[range.start + r] += dots[r] + params[bias.start + r] * d_bias[r];
            grads[bias.start + r] += gamma[r] * d_bias[r];
        }
        add_scaled_rows(&mut grads[weight], d_weight, gamma);
    }

    /// x += γ·(z·Wᵀ + b).
    pub fn forward(&self, params: &[f32], z: &[f32], x: &mut [f32]) {
        let rows = z.len() / self.linear.inputs;
        self.with_scaled(params, |weight, bias| {
            matmul(Matrix::new(z, rows, self.linear.inputs), weight.t(), x, self.linear.outputs, Start::TargetAndRow(bias));
        });
    }

    /// As [`forward`](Self::forward) for few rows, of which the branch's output, made in `room`, is smaller than W.
    pub fn forward_few(&self, params: &[f32], z: &[f32], x: &mut [f32], room: &mut Vec<f32>) {
        let Some(gamma) = &self.gamma else { return self.forward(params, z, x) };
        self.linear.forward(params, z, room);
        add_scaled_columns(x, room, &params[gamma.clone()]);
    }

    /// dz = γ·d·W; adds the gradients of W, b and γ.
    pub fn backward(&self, params: &[f32], z: &[f32], d: &[f32], dz: &mut Vec<f32>, grads: &mut [f32]) {
        let Some(range) = &self.gamma else {
            self.linear.backward_params(z, d, true, grads);
            return self.linear.backward_input(params, d, false, dz);
        };
        let gamma = &params[range.clone()];
        let (inputs, outputs) = (self.linear.inputs, self.linear.outputs);
        let rows = z.len() / inputs;
        let d_matrix = Matrix::new(d, rows, outputs);
        dz.resize(rows * inputs, 0.0);
        let mut d_bias = vec![0.0; outputs];
        add_column_sums(d, &mut d_bias);
        self.with_folded(params, gamma, |room| {
            matmul(d_matrix, Matrix::new(room, outputs, inputs), dz, inputs, Start::Nothing);
            // Now the place of dW'.
            matmul(d_matrix.t(), Matrix::new(z, rows, inputs), room, inputs, Start::Nothing);
            self.add_gradients(params, room, &d_bias, grads);
        });
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
