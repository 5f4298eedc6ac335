//! The backward pass of [`xca_gram`](super::xca_gram), whose formulas and names it follows.

use rayon::prelude::*;

use super::linear::Scaled;
use super::xca::Xca;
use super::xca_gram::{GramTape, Image, outer};
use crate::kernel::clock::{Group, timed};
use crate::kernel::{Matrix, Start, matmul, matmul_one, matmul_untimed, sum_rows};

/// Room for one image, which every block uses in turn.
#[derive(Default)]
pub struct ImageWork {
    /// G; in the backward pass QᵀE + KᵀF, at last the gradient of W'.
    pub(super) square: Vec<f32>,
    /// dM = Σ d_n u_nᵀ, and Σ d_n.
    d_whole: Vec<f32>,
    d_sum: Vec<f32>,
    /// The gradients of A·V and A·b_v.
    d_values: Vec<f32>,
    d_value_bias: Vec<f32>,
    /// E, below it F: 2D × D; e and f.
    linear: Vec<f32>,
    constant: Vec<f32>,
    heads: Vec<HeadWork>,
}

#[derive(Default)]
struct HeadWork {
    /// Zᵀ, the gradient of Σ k_n q_nᵀ.
    product: Vec<f32>,
    /// p and r.
    pull: [Vec<f32>; 2],
    d_tau: f32,
}

/// out -= pull ∘ rows.
fn pull_rows(pull: &[f32], rows: &[f32], out: &mut [f32]) {
    let columns = rows.len() / pull.len();
    for ((out, row), pull) in out.chunks_exact_mut(columns).zip(rows.chunks_exact(columns)).zip(pull) {
        out.iter_mut().zip(row).for_each(|(out, x)| *out -= pull * x);
    }
}

impl HeadWork {
    /// Adds to `out` what the gradients of q (`of` 0) or k (1) are in numbers that are `own` in q's or k's place and `other` in the other's,
    /// `columns` for each channel: Z·other - p∘own, or Zᵀ·other - r∘own.
    fn add(&self, of: usize, own: &[f32], other: &[f32], columns: usize, out: &mut [f32]) {
        let d = self.pull[of].len();
        let product = Matrix::new(&self.product, d, d);
        let product = if of == 0 { product.t() } else { product };
        matmul_one(product, Matrix::new(other, d, columns), out, columns, Start::Target);
        pull_rows(&self.pull[of], own, out);
    }
}

impl ImageWork {
    /// From the tokens and the gradient of the stream to those of M and of A·V.
    fn sum(&mut self, proj: Matrix<'_>, u: &[f32], d: &[f32], dim: usize) {
        let rows = u.len() / dim;
        self.d_whole.resize(dim * dim, 0.0);
        matmul_untimed(Matrix::new(d, rows, dim).t(), Matrix::new(u, rows, dim), &mut self.d_whole, dim, Start::Nothing);
        self.d_sum.clear();
        self.d_sum.resize(dim, 0.0);
        sum_rows(d, &mut self.d_sum);
        self.d_values.resize(dim * dim, 0.0);
        matmul_untimed(proj.t(), Matrix::new(&self.d_whole, dim, dim), &mut self.d_values, dim, Start::Nothing);
        self.d_value_bias.resize(dim, 0.0);
        matmul_one(proj.t(), Matrix::new(&self.d_sum, dim, 1), &mut self.d_value_bias, 1, Start::Nothing);
    }

    /// du = d·M + u·(QᵀE + KᵀF) + (Qᵀe + Kᵀf); `weight` holds Q and K.
    fn input(&mut self, weight: &[f32], whole: &[f32], u: &[f32], d: &[f32], du: &mut [f32], dim: usize) {
        let rows = u.len() / dim;
        let weight = Matrix::new(weight, 2 * dim, dim);
        self.square.resize(dim * dim, 0.0);
        matmul_untimed(Matrix::new(&self.linear, 2 * dim, dim).t(), weight, &mut self.square, dim, Start::Nothing);
        let mut row = vec![0.0; dim];
        matmul_one(Matrix::new(&self.constant, 1, 2 * dim), weight, &mut row, dim, Start::Nothing);
        matmul_untimed(Matrix::new(d, rows, dim), Matrix::new(whole, dim, dim), du, dim, Start::Nothing);
        matmul_untimed(Matrix::new(u, rows, dim), Matrix::new(&self.square, dim, dim), du, dim, Start::TargetAndRow(&row));
    }
}

impl Xca {
    /// From the gradient `d` of the stream: du; adds the gradients of the parameters.
    pub(super) fn backward_by_gram(
        &self,
        p: &[f32],
        batch: usize,
        tape: &GramTape,
        (u, d): (&[f32], &[f32]),
        du: &mut Vec<f32>,
        grads: &mut [f32],
        work: &mut Vec<ImageWork>,
    ) {
        let (dim, length) = (self.sizes.dim, u.len() / batch);
        let (weight, bias) = (&p[self.qkv.weight.clone()], &p[self.qkv.bias.clone()]);
        work.resize_with(work.len().max(batch), ImageWork::default);
        let work = &mut work[..batch];
        let tokens = || u.par_chunks_exact(length).zip(d.par_chunks_exact(length));
        self.proj.with_scaled(p, |proj, _| {
            let _timer = timed(Group::Products);
            work.par_iter_mut().zip(tokens()).for_each(|(work, (u, d))| work.sum(proj, u, d, dim));
        });
        let attention = timed(Group::Attention);
        work.par_iter_mut()
            .zip(&tape.images)
            .for_each(|(work, image)| self.attend_back(work, image, (weight, bias), &p[self.temperature.clone()]));
        self.add_gradients(work, tape, grads);
        drop(attention);
        du.resize(u.len(), 0.0);
        let products = timed(Group::Products);
        let images = work.par_iter_mut().zip(&tape.images).zip(tokens().zip(du.par_chunks_exact_mut(length)));
        images.for_each(|((work, image), ((u, d), du))| work.input(&weight[..2 * dim * dim], &image.whole, u, d, du, dim));
        drop(products);
        add_projection(&self.proj, p, work, tape, grads);
    }

    /// From the gradient of A·V of each head through A to E, F, e and f.
    fn attend_back(&self, work: &mut ImageWork, image: &Image, (weight, bias): (&[f32], &[f32]), temperature: &[f32]) {
        let (dim, d) = (self.sizes.dim, self.sizes.dim / self.sizes.heads);
        let ImageWork { d_values, d_value_bias, linear, constant, heads, .. } = work;
        heads.resize_with(self.sizes.heads, HeadWork::default);
        linear.clear();
        linear.resize(2 * dim * dim, 0.0);
        constant.clear();
        constant.resize(2 * dim, 0.0);
        let (to_q, to_k) = linear.split_at_mut(dim * dim);
        let linear = to_q.par_chunks_exact_mut(d * dim).zip(to_k.par_chunks_exact_mut(d * dim));
        let (to_q, to_k) = constant.split_at_mut(dim);
        let constant = to_q.par_chunks_exact_mut(d).zip(to_k.par_chunks_exact_mut(d));
        heads.par_iter_mut().zip(linear).zip(constant).enumerate().for_each(
            |(h, ((head, (linear_q, linear_k)), (constant_q, constant_k)))| {
                let [(q_rows, q), (k_rows, k), (v_rows, v)] = [0, 1, 2].map(|of| self.rows(of, h));
                let (d_values, d_value_bias) = (&d_values[q.clone()], &d_value_bias[q_rows.clone()]);
                head.product.resize(d * d, 0.0);
                outer(&bias[v_rows], d_value_bias, &mut head.product);
                matmul_one(Matrix::new(&weight[v], d, dim), Matrix::new(d_values, d, dim).t(), &mut head.product, d, Start::Target);
                (head.pull, head.d_tau) = image.heads[h].back(&mut head.product, temperature[h]);
                let ((q, k), (b, c)) = ((&weight[q], &weight[k]), (&bias[q_rows], &bias[k_rows]));
                head.add(0, q, k, dim, linear_q);
                head.add(1, k, q, dim, linear_k);
                head.add(0, b, c, 1, constant_q);
                head.add(1, c, b, 1, constant_k);
            },
        );
    }

    /// Adds the gradients of the temperatures and of the weights and biases of q, k and v, image after image.
    fn add_gradients(&self, work: &[ImageWork], tape: &GramTape, grads: &mut [f32]) {
        for work in work {
            grads[self.temperature.clone()].iter_mut().zip(&work.heads).for_each(|(grad, head)| *grad += head.d_tau);
        }
        self.add_parts(&mut grads[self.qkv.weight.clone()], self.sizes.dim, work, tape, |image, work| (&image.moments, &work.d_values));
        self.add_parts(&mut grads[self.qkv.bias.clone()], 1, work, tape, |image, work| (&image.sums, &work.d_value_bias));
    }

    /// Adds to the gradients of q's, k's and v's weights or biases, `columns` numbers for each channel, what follows from sums of q and k of those
    /// columns and from the gradient of what v becomes.
    fn add_parts(
        &self,
        grads: &mut [f32],
        columns: usize,
        work: &[ImageWork],
        tape: &GramTape,
        given: impl for<'a> Fn(&'a Image, &'a ImageWork) -> (&'a [f32], &'a [f32]) + Sync,
    ) {
        let (part, own) = (self.sizes.dim * columns, self.sizes.dim / self.sizes.heads * columns);
        let (to_q, rest) = grads.split_at_mut(part);
        let (to_k, to_v) = rest.split_at_mut(part);
        let heads = to_q.par_chunks_exact_mut(own).zip(to_k.par_chunks_exact_mut(own)).zip(to_v.par_chunks_exact_mut(own));
        heads.enumerate().for_each(|(h, ((to_q, to_k), to_v))| {
            let d = own / columns;
            for (work, image) in work.iter().zip(&tape.images) {
                let (sums, d_values) = given(image, work);
                let (q, k) = (&sums[h * own..][..own], &sums[part + h * own..][..own]);
                work.heads[h].add(0, q, k, columns, to_q);
                work.heads[h].add(1, k, q, columns, to_k);
                let d_values = Matrix::new(&d_values[h * own..], d, columns);
                matmul_one(Matrix::new(&image.heads[h].attention, d, d), d_values, to_v, columns, Start::Target);
            }
        });
    }
}

/// Adds the gradients of the projection behind attention: that of W' is Σ dM·(A·V)ᵀ + Σ d_n·(A·b_v)ᵀ over the images.
fn add_projection(proj: &Scaled, p: &[f32], work: &mut [ImageWork], tape: &GramTape, grads: &mut [f32]) {
    let dim = proj.linear.outputs;
    let mut d_proj = std::mem::take(&mut work[0].square);
    d_proj.fill(0.0);
    let mut d_bias = vec![0.0; dim];
    for (work, image) in work.iter().zip(&tape.images) {
        let values = Matrix::new(&image.values, dim, dim).t();
        matmul(Matrix::new(&work.d_whole, dim, dim), values, &mut d_proj, dim, Start::Target);
        for ((row, d_bias), d) in d_proj.chunks_exact_mut(dim).zip(&mut d_bias).zip(&work.d_sum) {
            *d_bias += d;
            row.iter_mut().zip(&image.value_bias).for_each(|(out, v)| *out += d * v);
        }
    }
    proj.add_gradients(p, &d_proj, &d_bias, grads);
    work[0].square = d_proj;
}
