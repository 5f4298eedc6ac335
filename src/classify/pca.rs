//! Rotation to principal axes, with scikit-learn's signs.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::dense::{multiply, rows, square};
use crate::diagnostic::{Failure, count};

/// Rows whose share of the covariance is summed at once.
const CHUNK: usize = 2048;
/// Rows that are rotated at once.
pub(super) const FEW: usize = 256;
/// Decompositions run on one thread: faer cuts its work by the number of threads, which would show in the last bits of every axis.
const ALONE: Par = Par::Seq;

/// A fitted rotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// Mean of each dimension.
    pub mean: Array1<f64>,
    /// Axes × dimensions, by falling variance; min(rows, dimensions) of them.
    ///
    /// Axes along which the fitted rows do not vary are kept: other rows may vary there. A later [`YeoJohnson`](super::YeoJohnson)
    /// leaves them as they are and does not blow their rounding noise up to variance 1, as scikit-learn would.
    pub components: Array2<f64>,
    /// Variance along each axis, divisor rows - 1.
    pub variance: Array1<f64>,
}

impl Pca {
    /// Fits on all rows.
    ///
    /// # Errors
    /// When there are fewer than two rows, or the decomposition does not converge.
    pub fn fit(x: ArrayView2<'_, f64>) -> Result<Self, Failure> {
        let (n, dim) = x.dim();
        if n < 2 || dim == 0 {
            return Err(Failure::new(format!(
                "principal axes need at least 2 rows and 1 dimension, got {} and {}",
                n,
                count(dim, "dimension")
            )));
        }
        let mean = x.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(dim));
        let x = x.as_standard_layout();
        let x = x.as_slice().unwrap_or_default();
        // As scikit-learn's `auto`: the covariance where rows abound, which squares the condition but is far cheaper.
        let (components, variance) = if n >= 10 * dim { by_covariance(x, &mean, n)? } else { by_svd(x, &mean, n)? };
        let mut pca = Self { mean, components, variance };
        pca.settle();
        Ok(pca)
    }

    /// Keeps the axes of largest variance, so many of them if there are.
    pub(super) fn to(mut self, most: usize) -> Self {
        let kept = most.min(self.variance.len());
        self.components = self.components.slice(s![..kept, ..]).to_owned();
        self.variance = self.variance.slice(s![..kept]).to_owned();
        self
    }

    /// Turns each axis so that its largest entry is positive (`svd_flip`, decided by the axes).
    fn settle(&mut self) {
        for mut axis in self.components.rows_mut() {
            let largest = axis.iter().fold(0.0f64, |m, &v| if v.abs() > m.abs() { v } else { m });
            if largest < 0.0 {
                axis.mapv_inplace(|v| -v);
            }
        }
    }

    /// Rotates rows: rows × axes.
    pub fn apply(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let x = x.as_standard_layout();
        let some = x.as_slice().unwrap_or_default().par_chunks((FEW * self.mean.len()).max(1));
        let all: Vec<f64> = some.flat_map_iter(|rows| self.apply_rows(rows.to_vec())).collect();
        let mut all = all.into_iter();
        Array2::from_shape_simple_fn((x.nrows(), self.components.nrows()), || all.next().unwrap_or(f64::NAN))
    }

    /// Rotates up to [`FEW`] rows that follow one another, on this thread.
    pub(super) fn apply_rows(&self, mut x: Vec<f64>) -> Vec<f64> {
        let (axes, dim) = self.components.dim();
        let n = x.len() / dim.max(1);
        centre(&mut x, &self.mean);
        // Every product has the same shape, so a row has the same bits whatever rows stand beside it.
        x.resize(FEW * dim, 0.0);
        let components = self.components.as_standard_layout();
        let components = components.as_slice().unwrap_or_default();
        let mut out = vec![0.0; FEW * axes];
        multiply(&mut out, false, rows(&x, FEW, dim), rows(components, axes, dim).t());
        out.truncate(n * axes);
        out
    }
}

/// Takes the mean from rows that follow one another.
fn centre(rows: &mut [f64], mean: &Array1<f64>) {
    let mean = mean.as_slice().unwrap_or_default();
    rows.chunks_exact_mut(mean.len().max(1)).for_each(|row| row.iter_mut().zip(mean).for_each(|(v, m)| *v -= m));
}

/// Eigenvectors of the covariance of rows that follow one another.
fn by_covariance(x: &[f64], mean: &Array1<f64>, n: usize) -> Result<(Array2<f64>, Array1<f64>), Failure> {
    let dim = mean.len();
    let shares: Vec<&[f64]> = x.chunks(CHUNK * dim).collect();
    // As many shares at a time as there are threads, each in a room that is kept; they are added in their order.
    let mut rooms = vec![(Vec::new(), vec![0.0; dim * dim]); rayon::current_num_threads().min(shares.len())];
    let mut covariance = vec![0.0; dim * dim];
    for some in shares.chunks(rooms.len()) {
        some.par_iter().zip(&mut rooms).for_each(|(share, (piece, out))| {
            piece.clear();
            piece.extend_from_slice(share);
            centre(piece, mean);
            square(out, rows(piece, piece.len() / dim, dim));
        });
        for (_, out) in &rooms[..some.len()] {
            covariance.iter_mut().zip(out).for_each(|(c, p)| *c += p / (n - 1) as f64);
        }
    }
    let (mut vectors, mut values) = (Mat::<f64>::zeros(dim, dim), Diag::<f64>::zeros(dim));
    let scratch = self_adjoint_evd_scratch::<f64>(dim, ComputeEigenvectors::Yes, ALONE, Default::default());
    self_adjoint_evd(
        MatRef::from_row_major_slice(&covariance, dim, dim),
        values.as_mut(),
        Some(vectors.as_mut()),
        ALONE,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Failure::new("the eigen decomposition of the covariance did not converge"))?;
    // Eigenvalues ascend; axes are wanted by falling variance. Rounding may leave a variance below zero.
    let components = Array2::from_shape_fn((dim, dim), |(a, d)| vectors[(d, dim - 1 - a)]);
    let variance = Array1::from_shape_fn(dim, |a| values[dim - 1 - a].max(0.0));
    Ok((components, variance))
}

/// Right singular vectors of the centred rows.
fn by_svd(x: &[f64], mean: &Array1<f64>, n: usize) -> Result<(Array2<f64>, Array1<f64>), Failure> {
    let dim = mean.len();
    let mut centred = x.to_vec();
    centre(&mut centred, mean);
    let x = MatRef::from_row_major_slice(&centred, n, dim);
    // faer wants tall matrices for the short way; a wide one is turned over.
    let tall: Mat<f64> = if n >= dim { x.to_owned() } else { x.transpose().to_owned() };
    let (n_tall, axes) = (n.max(dim), n.min(dim));
    let (mut u, mut v, mut values) = (Mat::<f64>::zeros(n_tall, axes), Mat::<f64>::zeros(axes, axes), Diag::<f64>::zeros(axes));
    let scratch = svd_scratch::<f64>(n_tall, axes, ComputeSvdVectors::Thin, ComputeSvdVectors::Thin, ALONE, Default::default());
    svd(
        tall.as_ref(),
        values.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        ALONE,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Failure::new("the singular value decomposition of the features did not converge"))?;
    let vectors = if n >= dim { v } else { u };
    let components = Array2::from_shape_fn((axes, dim), |(a, d)| vectors[(d, a)]);
    let variance = Array1::from_shape_fn(axes, |a| values[a].powi(2) / (n - 1) as f64);
    Ok((components, variance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_axes() {
        let x = Array2::from_shape_fn((60, 5), |(i, j)| ((i * (j + 3)) as f64 * 0.61).sin() * (j + 1) as f64);
        let a = Pca::fit(x.view()).unwrap();
        let (components, variance) = by_svd(x.as_slice().unwrap(), &a.mean, 60).unwrap();
        let mut b = Pca { mean: a.mean.clone(), components, variance };
        b.settle();
        assert!((&a.variance - &b.variance).iter().all(|d| d.abs() < 1e-12));
        assert!((&a.components - &b.components).iter().all(|d| d.abs() < 1e-11));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let wave = |n: usize| Array2::from_shape_fn((n, 96), |(i, j)| ((i * (2 * j + 3)) as f64 * 0.61).sin() * (j + 1) as f64);
        // By singular values of tall and of wide rows, and by the covariance.
        for n in [300, 60, 5000] {
            let fit = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Pca::fit(wave(n).view()).unwrap())
            };
            let alone = fit(1);
            for threads in [2, 3, 8] {
                assert!(fit(threads) == alone, "{n} rows on {threads} threads");
            }
        }
    }

    #[test]
    fn a_rotation_keeps_distances_even_where_the_fitted_rows_do_not_vary() {
        let x = Array2::from_shape_fn((80, 3), |(i, j)| if j == 2 { 1.0 } else { ((i * (j + 2)) as f64).sin() });
        let other = ndarray::array![[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]];
        let rotated = Pca::fit(x.view()).unwrap().apply(other.view());
        assert!((&rotated.row(0) - &rotated.row(1)).mapv(|d| d * d).sum() - 4.0 < 1e-12);
    }
}
