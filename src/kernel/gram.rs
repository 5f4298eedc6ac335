//! The second moments of an image's tokens: G = uᵀu (D × D) of u (N × D), and Σ u.
//!
//! G is symmetric: of its blocks of columns only those rows are made that reach to the diagonal, two thirds of the operations for D = 384,
//! and the rest is copied.

use super::matmul::{Matrix, Start, matmul_untimed};
use super::pointwise::sum_rows;

/// Columns of a block, and of a line of memory.
const BLOCK: usize = 128;
const LANES: usize = 16;

/// Returns the operations of [`gram`], a multiply-add counted as two.
pub fn gram_flops(tokens: usize, dim: usize) -> f64 {
    (0..dim).step_by(BLOCK).map(|j| BLOCK.min(dim - j) * dim.min(j + BLOCK) * 2 * tokens).sum::<usize>() as f64
}

/// Writes G of u (N × D), and its column sums to `sums`.
///
/// # Panics
/// When `g` does not hold D · D numbers.
pub fn gram(u: &[f32], g: &mut [f32], sums: &mut [f32]) {
    let dim = sums.len();
    let tokens = u.len() / dim;
    assert_eq!(g.len(), dim * dim, "second moments of {dim} channels");
    let columns = |j: usize, n: usize| Matrix::strided(&u[j..], tokens, n, dim, 1);
    for j in (0..dim).step_by(BLOCK) {
        let width = BLOCK.min(dim - j);
        matmul_untimed(columns(0, j + width).t(), columns(j, width), &mut g[j..], dim, Start::Nothing);
        // What lies above the diagonal block is read a line of memory wide.
        for above in (0..j).step_by(LANES) {
            for i in j..j + width {
                (above..above + LANES).for_each(|above| g[i * dim + above] = g[above * dim + i]);
            }
        }
    }
    sums.fill(0.0);
    sum_rows(u, sums);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_definition() {
        for (tokens, dim) in [(1, 1), (7, 12), (50, 128), (33, 200), (20, 384)] {
            let u: Vec<f32> = (0..tokens * dim).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
            let (mut g, mut sums) = (vec![9.0; dim * dim], vec![9.0; dim]);
            gram(&u, &mut g, &mut sums);
            let column = |i: usize| u.iter().skip(i).step_by(dim).map(|x| f64::from(*x));
            for i in 0..dim {
                assert!((f64::from(sums[i]) - column(i).sum::<f64>()).abs() < 1e-4, "Σ u of {tokens} x {dim}");
                for j in 0..dim {
                    let exact: f64 = column(i).zip(column(j)).map(|(a, b)| a * b).sum();
                    assert!((f64::from(g[i * dim + j]) - exact).abs() < 1e-4, "{tokens} x {dim} at {i}, {j}");
                }
            }
        }
    }
}
