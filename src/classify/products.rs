//! Inner products of points with a block of queries: the one expensive matrix product, shared by everything that measures distances.
//!
//! Every product of a panel has the same shape, so an inner product has the same bits whatever other points take part.

use ndarray::{Array1, ArrayBase, ArrayView2, Data, Ix2};
use rayon::prelude::*;

use super::dense::{Real, multiply, squared_norm};

/// Queries of a block.
pub(crate) const WIDTH: usize = 256;
/// Points of a panel.
const PANEL: usize = 128;

/// Points in rows, with their squared norms.
#[derive(Clone, Debug)]
pub(crate) struct Points<F> {
    /// Rows follow one another; zero rows fill the last panel.
    data: Vec<F>,
    norms: Vec<F>,
    largest_norm: f64,
    dim: usize,
}

impl<F: Real> Points<F> {
    /// Copies the chosen rows of a matrix.
    pub fn gather(matrix: ArrayView2<'_, F>, chosen: impl ExactSizeIterator<Item = usize>) -> Self {
        let (n, dim) = (chosen.len(), matrix.ncols());
        let mut data = Vec::with_capacity(n.next_multiple_of(PANEL) * dim);
        for row in chosen {
            data.extend(matrix.row(row).iter().copied());
        }
        let norms: Vec<F> = (0..n).map(|i| F::of(squared_norm(&data[i * dim..(i + 1) * dim]))).collect();
        data.resize(n.next_multiple_of(PANEL) * dim, F::default());
        let largest_norm = norms.iter().fold(0.0, |m, n| n.wide().max(m));
        Self { data, norms, largest_norm, dim }
    }

    pub fn all(matrix: ArrayView2<'_, F>) -> Self {
        Self::gather(matrix, 0..matrix.nrows())
    }

    pub fn len(&self) -> usize {
        self.norms.len()
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn row(&self, i: usize) -> &[F] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// Returns the largest squared norm.
    pub fn largest_norm(&self) -> f64 {
        self.largest_norm
    }

    /// Returns the squared norm of a point.
    pub fn norm(&self, i: usize) -> F {
        self.norms[i]
    }
}

/// The inner products of all points with up to [`WIDTH`] queries.
pub(crate) struct Block<F> {
    /// Points × WIDTH.
    products: Vec<F>,
    /// WIDTH × dimensions, the queries themselves; zero rows fill up.
    queries: Vec<F>,
    norms: Vec<F>,
    used: usize,
}

impl<F: Real> Block<F> {
    /// Multiplies all points with the queries `first..` of a matrix, at most [`WIDTH`] of them.
    pub fn new(points: &Points<F>, queries: ArrayView2<'_, F>, first: usize) -> Self {
        let dim = points.dim;
        let used = (queries.nrows() - first).min(WIDTH);
        let mut own = Vec::with_capacity(WIDTH * dim);
        for row in first..first + used {
            own.extend(queries.row(row).iter().copied());
        }
        let mut norms: Vec<F> = (0..used).map(|i| F::of(squared_norm(&own[i * dim..(i + 1) * dim]))).collect();
        own.resize(WIDTH * dim, F::default());
        norms.resize(WIDTH, F::default());

        let mut products = vec![F::default(); points.data.len() / dim.max(1) * WIDTH];
        if dim > 0 {
            let q = super::dense::rows(&own, WIDTH, dim);
            for (out, panel) in products.chunks_exact_mut(PANEL * WIDTH).zip(points.data.chunks_exact(PANEL * dim)) {
                let p = super::dense::rows(panel, PANEL, dim);
                multiply(super::dense::rows_mut(out, PANEL, WIDTH), false, p, q.transpose());
            }
        }
        Self { products, queries: own, norms, used }
    }

    /// Returns a point's inner products with the queries.
    pub fn products(&self, point: usize) -> &[F] {
        &self.products[point * WIDTH..(point + 1) * WIDTH]
    }

    /// Returns the squared norms of the queries.
    pub fn norms(&self) -> &[F] {
        &self.norms
    }

    /// Returns how many queries are real; the rest are zero rows.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn query(&self, i: usize) -> &[F] {
        let dim = self.queries.len() / WIDTH;
        &self.queries[i * dim..(i + 1) * dim]
    }

    /// Returns all queries, WIDTH rows.
    pub fn queries(&self) -> &[F] {
        &self.queries
    }
}

/// Predicts block by block on all threads.
pub(crate) fn predict_blocks<F: Real, D: Data<Elem = F>>(
    points: &Points<F>,
    queries: &ArrayBase<D, Ix2>,
    y: &mut Array1<usize>,
    predict: impl Fn(&Block<F>, &mut [usize]) + Sync,
) {
    let view = queries.view();
    let out: Vec<usize> = (0..queries.nrows().div_ceil(WIDTH))
        .into_par_iter()
        .flat_map_iter(|piece| {
            let block = Block::new(points, view, piece * WIDTH);
            let mut out = vec![0; block.used()];
            predict(&block, &mut out);
            out
        })
        .collect();
    y.iter_mut().zip(out).for_each(|(y, class)| *y = class);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_product_has_the_same_bits_whatever_points_stand_beside_it() {
        let value = |i: usize, j: usize| ((i * 37 + j * 11) as f32 * 0.37).sin();
        let matrix = Array2::from_shape_fn((300, 50), |(i, j)| value(i, j));
        let queries = Array2::from_shape_fn((70, 50), |(i, j)| value(i + 1000, j));
        let all = Block::new(&Points::all(matrix.view()), queries.view(), 0);
        let few = Block::new(&Points::gather(matrix.view(), [299, 3, 150].into_iter()), queries.view(), 0);
        for (place, point) in [299, 3, 150].into_iter().enumerate() {
            assert_eq!(all.products(point), few.products(place));
        }
        let exact: f32 = (0..50).map(|j| value(3, j) * value(1002, j)).sum();
        assert!((all.products(3)[2] - exact).abs() < 1e-4);
    }
}
