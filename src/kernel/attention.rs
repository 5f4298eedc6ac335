//! Attention between tokens (Vaswani et al. 2017, eq. 1) on the buffer of q, k and v as the projection leaves it.
//!
//! For each image and head, with q, k, v of T × d: A = softmax(q·kᵀ/√d) over the columns, out = A·v. A (T × T) is never held whole: a stretch
//! of its rows, which the second cache holds, is made, used and forgotten, and in the backward pass made again from what is kept of
//! each row: its largest score and 1/Σ exp (Rabe and Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135).

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::lanes::{LANES, largest, total};
use super::level::{mul_add, vectorised};
use super::matmul::{Matrix, Shared, Start, matmul_one};
use super::pointwise::{dot, exp};
use super::qkv::Shape;

/// What forward keeps: of each image, head and token the largest score and 1/Σ exp(score - largest).
#[derive(Default)]
pub struct Saved {
    rows: Vec<[f32; 2]>,
}

/// How many numbers of A are held at once at most: 512 KiB.
const HELD: usize = 1 << 17;

thread_local! {
    /// Room for stretches of A and of its gradient; kept, since a fresh page costs as much as filling it.
    static ROOM: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Cuts the rows of A into stretches of nearly equal length, by their number alone.
fn stretches(tokens: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let most = (HELD / tokens).clamp(1, tokens);
    let length = tokens.div_ceil(tokens.div_ceil(most));
    (0..tokens).step_by(length).map(move |first| first..(first + length).min(tokens))
}

fn scale(shape: Shape) -> f32 {
    1.0 / (shape.head_dim() as f32).sqrt()
}

/// out (B·T × D) from qkv (B·T × 3D).
pub fn forward(shape: Shape, qkv: &[f32], saved: &mut Saved, out: &mut Vec<f32>) {
    let _timer = timed(Group::Attention);
    let Shape { batch, tokens, dim, heads } = shape;
    out.resize(batch * tokens * dim, 0.0);
    saved.rows.resize(batch * heads * tokens, [0.0; 2]);
    let target = Shared::new(out);
    saved.rows.par_chunks_exact_mut(tokens).enumerate().for_each(|(index, kept)| {
        for rows in stretches(tokens) {
            ROOM.with_borrow_mut(|[scores, _]| {
                scores.resize(rows.len() * tokens, 0.0);
                let q = shape.part(qkv, index, 0).rows(rows.clone());
                matmul_one(q, shape.part(qkv, index, 1).t(), scores, tokens, Start::Nothing);
                let kept = &mut kept[rows.clone()];
                soften(scores, scale(shape), kept);
                let start = shape.out_start(index) + rows.start * dim;
                // SAFETY, here and below: each (image, head) has columns of its own.
                unsafe { target.matmul(Matrix::new(scores, rows.len(), tokens), shape.part(qkv, index, 2), start, dim, Start::Nothing) };
                for (i, [_, inverse]) in kept.iter().enumerate() {
                    unsafe { target.row(start + i * dim, shape.head_dim(), |row| row.iter_mut().for_each(|x| *x *= inverse)) };
                }
            });
        }
    });
}

/// Returns the row of A that belongs to the first token (the class token) of each image and head: B × heads × T.
pub fn attention_row(shape: Shape, qkv: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; shape.batch * shape.heads * shape.tokens];
    for (index, row) in all.chunks_exact_mut(shape.tokens).enumerate() {
        let mut kept = [[0.0; 2]];
        matmul_one(shape.part(qkv, index, 0).rows(0..1), shape.part(qkv, index, 1).t(), row, shape.tokens, Start::Nothing);
        soften(row, scale(shape), &mut kept);
        row.iter_mut().for_each(|x| *x *= kept[0][1]);
    }
    all
}

/// Returns A·v of the first token alone: B × D. Of q only its rows are read.
pub fn attend_row(shape: Shape, qkv: &[f32]) -> Vec<f32> {
    let _timer = timed(Group::Attention);
    let (rows, d) = (attention_row(shape, qkv), shape.head_dim());
    let mut out = vec![0.0; shape.batch * shape.dim];
    for (index, (row, out)) in rows.chunks_exact(shape.tokens).zip(out.chunks_exact_mut(d)).enumerate() {
        matmul_one(Matrix::new(row, 1, shape.tokens), shape.part(qkv, index, 2), out, d, Start::Nothing);
    }
    out
}

/// The gradient of qkv from that of out.
pub fn backward(shape: Shape, qkv: &[f32], saved: &Saved, d_out: &[f32], d_qkv: &mut Vec<f32>) {
    let _timer = timed(Group::Attention);
    let Shape { tokens, dim, .. } = shape;
    d_qkv.resize(qkv.len(), 0.0);
    let target = Shared::new(d_qkv);
    saved.rows.par_chunks_exact(tokens).enumerate().for_each(|(index, kept)| {
        let [q, k, v] = [0, 1, 2].map(|which| shape.part(qkv, index, which));
        let d_out = Matrix::strided(&d_out[shape.out_start(index)..], tokens, shape.head_dim(), dim, 1);
        for rows in stretches(tokens) {
            // What all stretches add to starts with the first.
            let add = if rows.start == 0 { Start::Nothing } else { Start::Target };
            let (n, q, d_out) = (rows.len(), q.rows(rows.clone()), d_out.rows(rows.clone()));
            ROOM.with_borrow_mut(|[weights, grad]| {
                weights.resize(n * tokens, 0.0);
                grad.resize(n * tokens, 0.0);
                matmul_one(q, k.t(), weights, tokens, Start::Nothing);
                soften_again(weights, scale(shape), &kept[rows.clone()]);
                matmul_one(d_out, v.t(), grad, tokens, Start::Nothing);
                let whole = Matrix::new(weights, n, tokens);
                // SAFETY, here and below: each (image, head) has columns of its own.
                unsafe { target.matmul(whole.t(), d_out, shape.start(index, 2), 3 * dim, add) };
                through_softmax(weights, scale(shape), tokens, grad);
                let grad = Matrix::new(grad, n, tokens);
                unsafe { target.matmul(grad, k, shape.start(index, 0) + rows.start * 3 * dim, 3 * dim, Start::Nothing) };
                unsafe { target.matmul(grad.t(), q, shape.start(index, 1), 3 * dim, add) };
            });
        }
    });
}

vectorised! {
    /// Each row becomes exp(scale · row - largest); keeps the largest and 1/Σ.
    fn soften(scores: &mut [f32], scale: f32, kept: &mut [[f32; 2]]) {
        let columns = scores.len() / kept.len();
        for (row, kept) in scores.chunks_exact_mut(columns).zip(kept) {
            let largest = largest(row, |x| x) * scale;
            let (wide, rest) = row.as_chunks_mut::<LANES>();
            let mut sums = [0.0f32; LANES];
            for chunk in wide {
                for i in 0..LANES {
                    chunk[i] = exp::<FUSED>(mul_add::<FUSED>(chunk[i], scale, -largest));
                    sums[i] += chunk[i];
                }
            }
            let mut last = 0.0;
            for x in rest {
                *x = exp::<FUSED>(mul_add::<FUSED>(*x, scale, -largest));
                last += *x;
            }
            *kept = [largest, 1.0 / (total(sums) + last)];
        }
    }
}

vectorised! {
    /// Each row of scores becomes that of A, from what was kept of it.
    fn soften_again(scores: &mut [f32], scale: f32, kept: &[[f32; 2]]) {
        let columns = scores.len() / kept.len();
        for (row, [largest, inverse]) in scores.chunks_exact_mut(columns).zip(kept) {
            row.iter_mut().for_each(|x| *x = exp::<FUSED>(mul_add::<FUSED>(*x, scale, -*largest)) * *inverse);
        }
    }
}

vectorised! {
    /// The gradient of rows of q·kᵀ from that of rows of A, in place: A ∘ (d - <A, d>) · scale.
    fn through_softmax(weights: &[f32], scale: f32, columns: usize, grad: &mut [f32]) {
        for (row, a) in grad.chunks_exact_mut(columns).zip(weights.chunks_exact(columns)) {
            let along = dot(row, a);
            row.iter_mut().zip(a).for_each(|(d, a)| *d = (*d - along) * *a * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn numbers(purpose: &str, n: usize) -> Vec<f32> {
        let mut draws = Stream::new(1, purpose).draws();
        (0..n).map(|_| draws.normal() as f32).collect()
    }

    /// Attention by its definition, in f64.
    fn by_definition(shape: Shape, qkv: &[f32]) -> Vec<f64> {
        let Shape { batch, tokens, dim, heads } = shape;
        let d = dim / heads;
        let at = |image: usize, token: usize, which: usize, c: usize| f64::from(qkv[((image * tokens + token) * 3 + which) * dim + c]);
        let mut out = vec![0.0; batch * tokens * dim];
        for (image, head, t) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..tokens).map(move |t| (b, h, t)))) {
            let channels = head * d..(head + 1) * d;
            let score = |s: usize| channels.clone().map(|c| at(image, t, 0, c) * at(image, s, 1, c)).sum::<f64>() / (d as f64).sqrt();
            let weights: Vec<f64> = (0..tokens).map(|s| score(s).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for c in channels.clone() {
                out[(image * tokens + t) * dim + c] = (0..tokens).map(|s| weights[s] / sum * at(image, s, 2, c)).sum();
            }
        }
        out
    }

    #[test]
    fn a_large_map_in_stretches_gives_what_the_definition_gives() {
        for shape in [Shape { batch: 2, tokens: 5, dim: 12, heads: 3 }, Shape { batch: 1, tokens: 600, dim: 8, heads: 1 }] {
            assert_eq!(stretches(shape.tokens).count(), if shape.tokens == 600 { 3 } else { 1 });
            let qkv = numbers("qkv", shape.batch * shape.tokens * 3 * shape.dim);
            let mut out = Vec::new();
            forward(shape, &qkv, &mut Saved::default(), &mut out);
            for (seen, exact) in out.iter().zip(by_definition(shape, &qkv)) {
                assert!((f64::from(*seen) - exact).abs() < 2e-6, "{seen} instead of {exact}");
            }
        }
    }

    #[test]
    fn gradients_are_those_of_small_steps() {
        let shape = Shape { batch: 1, tokens: 600, dim: 8, heads: 2 };
        let (mut qkv, direction) = (numbers("qkv", 600 * 24), numbers("direction", 600 * 8));
        let (mut saved, mut out, mut grad) = (Saved::default(), Vec::new(), Vec::new());
        forward(shape, &qkv, &mut saved, &mut out);
        backward(shape, &qkv, &saved, &direction, &mut grad);
        let loss = |qkv: &[f32]| by_definition(shape, qkv).iter().zip(&direction).map(|(o, d)| o * f64::from(*d)).sum::<f64>();
        // Of q, k and v in both heads, in the first stretch and in the last.
        for place in [0, 9, 22, 300 * 24 + 5, 599 * 24 + 2, 599 * 24 + 13, 599 * 24 + 18] {
            let value = qkv[place];
            let mut at = |step: f32| {
                qkv[place] = value + step;
                let loss = loss(&qkv);
                qkv[place] = value;
                loss
            };
            let slope = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
            assert!((slope - f64::from(grad[place])).abs() < 1e-3 * slope.abs().max(0.02), "{place}: {} instead of {slope}", grad[place]);
        }
    }
}
