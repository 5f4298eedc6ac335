//! From pixels to tokens: one projection of every patch, learnt positions, class token and registers.

use std::ops::Range;

use rayon::prelude::*;

use super::linear::Linear;
use super::network::Batch;
use crate::kernel::{Matrix, Start, matmul};
use crate::model::interpolate::interpolation;
use crate::model::{Layout, VitSizes};

/// Where the parameters of tokens lie.
pub struct Embed {
    projection: Linear,
    positions: Range<usize>,
    class: Range<usize>,
    registers: Option<Range<usize>>,
    sizes: VitSizes,
}

/// The matrices of an interpolation, or none for the learnt map itself.
type Stretch = Option<[Vec<f32>; 2]>;

impl Embed {
    /// Finds the parameters.
    pub fn find(layout: &Layout, sizes: &VitSizes) -> Self {
        Self {
            projection: Linear::find(layout, "patch_embed.proj", 3 * sizes.patch * sizes.patch, sizes.dim),
            positions: layout.at("pos_embed"),
            class: layout.at("cls_token"),
            registers: (sizes.registers > 0).then(|| layout.at("reg_token")),
            sizes: sizes.clone(),
        }
    }

    /// Where the positions of patches lie: behind that of the class token, if it has one.
    fn places(&self) -> Range<usize> {
        self.positions.start + usize::from(self.sizes.class_has_position()) * self.sizes.dim..self.positions.end
    }

    fn stretch(&self, (rows, columns): (usize, usize)) -> Stretch {
        let matrices = interpolation(self.sizes.places(), rows, columns, self.sizes.interpolation);
        matrices.map(|both| both.map(|matrix| matrix.into_iter().map(|w| w as f32).collect()))
    }

    /// The positions of a map (N × D).
    fn map(&self, p: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
        let (learnt, places, d) = (&p[self.places()], self.sizes.places(), self.sizes.dim);
        let Some([by_row, by_column]) = self.stretch((rows, columns)) else { return learnt.to_vec() };
        let mut tall = vec![0.0; rows * places * d];
        matmul(Matrix::new(&by_row, rows, places), Matrix::new(learnt, places, places * d), &mut tall, places * d, Start::Nothing);
        let mut map = vec![0.0; rows * columns * d];
        for (row, out) in tall.chunks_exact(places * d).zip(map.chunks_exact_mut(columns * d)) {
            matmul(Matrix::new(&by_column, columns, places), Matrix::new(row, places, d), out, d, Start::Nothing);
        }
        map
    }

    /// Adds the gradient of the learnt positions from that of a map.
    fn map_backward(&self, d_map: &[f32], (rows, columns): (usize, usize), grads: &mut [f32]) {
        let (places, d) = (self.sizes.places(), self.sizes.dim);
        let grads = &mut grads[self.places()];
        let Some([by_row, by_column]) = self.stretch((rows, columns)) else {
            return grads.iter_mut().zip(d_map).for_each(|(g, d)| *g += d);
        };
        let mut tall = vec![0.0; rows * places * d];
        for (row, out) in d_map.chunks_exact(columns * d).zip(tall.chunks_exact_mut(places * d)) {
            matmul(Matrix::new(&by_column, columns, places).t(), Matrix::new(row, columns, d), out, d, Start::Nothing);
        }
        let by_row = Matrix::new(&by_row, rows, places).t();
        matmul(by_row, Matrix::new(&tall, rows, places * d), grads, places * d, Start::Target);
    }

    /// Writes the tokens (B × T × D) of a batch with this map; `patches` keeps its pixels in the projection's order.
    pub fn forward(&self, p: &[f32], batch: &Batch<'_>, grid: (usize, usize), patches: &mut Vec<f32>, x: &mut Vec<f32>) {
        let (d, n, prefix) = (self.sizes.dim, grid.0 * grid.1, self.sizes.prefix());
        let map = self.map(p, grid);
        let mut first = p[self.class.clone()].to_vec();
        if self.sizes.class_has_position() {
            first.iter_mut().zip(&p[self.positions.clone()]).for_each(|(c, p)| *c += p);
        }
        if let Some(registers) = &self.registers {
            first.extend_from_slice(&p[registers.clone()]);
        }
        gather(batch, grid, self.sizes.patch, patches);
        x.clear();
        for _ in 0..batch.n {
            x.extend_from_slice(&first);
            x.extend_from_slice(&map);
        }
        let (inputs, bias) = (self.projection.inputs, &p[self.projection.bias.clone()]);
        let weight = Matrix::new(&p[self.projection.weight.clone()], d, inputs).t();
        for (image, patches) in x.chunks_exact_mut((prefix + n) * d).zip(patches.chunks_exact(n * inputs)) {
            matmul(Matrix::new(patches, n, inputs), weight, &mut image[prefix * d..], d, Start::TargetAndRow(bias));
        }
    }

    /// Adds the parameters' gradients from that of the tokens, and writes the pixels' where they are wanted.
    pub fn backward(
        &self,
        p: &[f32],
        batch: &Batch<'_>,
        grid: (usize, usize),
        patches: &[f32],
        d_x: &[f32],
        grads: &mut [f32],
        d_pixels: Option<&mut Vec<f32>>,
    ) {
        let (d, n, prefix) = (self.sizes.dim, grid.0 * grid.1, self.sizes.prefix());
        let mut sum = vec![0.0; (prefix + n) * d];
        d_x.chunks_exact(sum.len()).for_each(|image| sum.iter_mut().zip(image).for_each(|(s, x)| *s += x));
        let mut add = |range: &Range<usize>, sum: &[f32]| grads[range.clone()].iter_mut().zip(sum).for_each(|(g, s)| *g += s);
        add(&self.class, &sum[..d]);
        if self.sizes.class_has_position() {
            add(&(self.positions.start..self.positions.start + d), &sum[..d]);
        }
        if let Some(registers) = &self.registers {
            add(registers, &sum[d..prefix * d]);
        }
        self.map_backward(&sum[prefix * d..], grid, grads);
        let of_patches: Vec<f32> = d_x.chunks_exact((prefix + n) * d).flat_map(|image| image[prefix * d..].iter().copied()).collect();
        self.projection.backward_params(patches, &of_patches, true, grads);
        if let Some(out) = d_pixels {
            let mut d_patches = Vec::new();
            self.projection.backward_input(p, &of_patches, false, &mut d_patches);
            scatter(batch, grid, self.sizes.patch, &d_patches, out);
        }
    }
}

/// Calls `each(pixel, patch)` for every value of an image's patches: its place among the image's pixels, and among all the patches' values,
/// which lie by patch, channel, row and column.
fn places(width: usize, (rows, columns): (usize, usize), patch: usize, mut each: impl FnMut(usize, usize)) {
    let mut at = 0;
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        for (channel, y) in (0..3).flat_map(|channel| (0..patch).map(move |y| (channel, y))) {
            let line = ((row * patch + y) * width + column * patch) * 3 + channel;
            (0..patch).for_each(|x| each(line + 3 * x, at + x));
            at += patch;
        }
    }
}

fn gather(batch: &Batch<'_>, grid: (usize, usize), patch: usize, patches: &mut Vec<f32>) {
    let size = batch.height * batch.width * 3;
    patches.resize(batch.n * size, 0.0);
    let images = patches.par_chunks_exact_mut(size).zip(batch.pixels.par_chunks_exact(size));
    images.for_each(|(patches, pixels)| places(batch.width, grid, patch, |pixel, at| patches[at] = pixels[pixel]));
}

fn scatter(batch: &Batch<'_>, grid: (usize, usize), patch: usize, patches: &[f32], out: &mut Vec<f32>) {
    let size = batch.height * batch.width * 3;
    out.resize(batch.n * size, 0.0);
    let images = out.par_chunks_exact_mut(size).zip(patches.par_chunks_exact(size));
    images.for_each(|(pixels, patches)| places(batch.width, grid, patch, |pixel, at| pixels[pixel] = patches[at]));
}
