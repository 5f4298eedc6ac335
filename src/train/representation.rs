//! What the representations of a batch say about a training: whether they still tell images apart.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, Par};

/// Rows of length 1.
fn unit_rows(rows: &[f32], dim: usize) -> Vec<f64> {
    let unit = |row: &[f32]| -> Vec<f64> {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        row.iter().map(|x| f64::from(*x) / norm).collect()
    };
    rows.chunks_exact(dim).flat_map(unit).collect()
}

/// Returns the mean deviation over the rows of each dimension of the L2-normalised rows, times √D: near 1 when they fill the sphere.
pub fn spread(rows: &[f32], dim: usize) -> f64 {
    let unit = unit_rows(rows, dim);
    let n = unit.len() / dim;
    let (mut sum, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for row in unit.chunks_exact(dim) {
        for (i, x) in row.iter().enumerate() {
            sum[i] += x;
            squares[i] += x * x;
        }
    }
    let deviation = |i: usize| (squares[i] / n as f64 - (sum[i] / n as f64).powi(2)).max(0.0).sqrt();
    (0..dim).map(deviation).sum::<f64>() / dim as f64 * (dim as f64).sqrt()
}

/// Returns in how many directions the L2-normalised rows vary: e to the entropy of their singular values' shares, the mean taken out.
///
/// Roy and Vetterli 2007; Garrido et al. 2023 (RankMe, arXiv:2210.02885), who leave the mean in. At most min(rows - 1, D); 0 where all
/// rows are the same or one is no number.
pub fn effective_rank(rows: &[f32], dim: usize) -> f64 {
    let mut x = unit_rows(rows, dim);
    let n = x.len() / dim;
    if n < 2 || x.iter().any(|v| !v.is_finite()) {
        return 0.0;
    }
    for i in 0..dim {
        let mean = x.iter().skip(i).step_by(dim).sum::<f64>() / n as f64;
        x.iter_mut().skip(i).step_by(dim).for_each(|v| *v -= mean);
    }
    // The smaller of the two matrices of inner products has the same eigenvalues, but for zeros.
    let by_rows = n <= dim;
    let side = n.min(dim);
    let mut products = Mat::<f64>::zeros(side, side);
    for i in 0..side {
        for j in 0..=i {
            products[(i, j)] = match by_rows {
                true => x[i * dim..(i + 1) * dim].iter().zip(&x[j * dim..]).map(|(a, b)| a * b).sum(),
                false => x.chunks_exact(dim).map(|row| row[i] * row[j]).sum(),
            };
        }
    }
    let mut values = Diag::<f64>::zeros(side);
    // On one thread: faer cuts its work by the number of threads, which would show in the last bits of the curve.
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(side, ComputeEigenvectors::No, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    if self_adjoint_evd(products.as_ref(), values.as_mut(), None, Par::Seq, stack, Default::default()).is_err() {
        return 0.0;
    }
    let singular: Vec<f64> = values.column_vector().iter().map(|v| v.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum < 1e-9 * n as f64 {
        return 0.0;
    }
    singular.iter().map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_all_the_same_have_neither_spread_nor_rank() {
        let rows = [0.3f32, -0.5, 1.0].repeat(6);
        assert!(spread(&rows, 3) < 1e-6);
        assert_eq!(effective_rank(&rows, 3), 0.0);
        assert_eq!(effective_rank(&[f32::NAN; 6], 3), 0.0);
    }

    #[test]
    fn the_rank_is_the_number_of_directions_in_which_rows_vary_alike() {
        // Both signs of 1, 2 and 3 of 4 axes: more rows than dimensions and fewer.
        for axes in 1..4 {
            let rows: Vec<f32> =
                (0..2 * axes).flat_map(|i| (0..4).map(move |j| if j == i / 2 { 1.0 - 2.0 * (i % 2) as f32 } else { 0.0 })).collect();
            assert!((effective_rank(&rows, 4) - axes as f64).abs() < 1e-6, "{axes}: {}", effective_rank(&rows, 4));
        }
        // One direction in which they vary much and one in which little: between 1 and 2.
        let uneven = [1.0f32, 0.1, 0.0, 1.0, -0.1, 0.0, -1.0, 0.1, 0.0, -1.0, -0.1, 0.0];
        let rank = effective_rank(&uneven, 3);
        assert!(rank > 1.2 && rank < 1.8, "{rank}");
    }
}
