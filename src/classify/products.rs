//! Inner products of points with a block of queries: the one expensive matrix product, shared by everything that measures distances.
//!
//! Every product has the shape of a panel, unless the shape changes no bit: an inner product is the same whatever other points take part.

use ndarray::{Array1, ArrayBase, ArrayView1, ArrayView2, Data, Ix2};
use rayon::prelude::*;

use super::dense::{Real, multiply, rows, squared_norm};
use crate::kernel::prefetch;

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
        chosen.for_each(|row| push(&mut data, matrix.row(row)));
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

/// The inner products of all points with up to [`WIDTH`] queries; kept from block to block, since fresh memory costs as much as filling it.
#[derive(Default)]
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
    pub fn fill(&mut self, points: &Points<F>, queries: ArrayView2<'_, F>, first: usize) {
        let dim = points.dim;
        self.used = (queries.nrows() - first).min(WIDTH);
        self.queries.clear();
        (first..first + self.used).for_each(|row| push(&mut self.queries, queries.row(row)));
        self.norms.clear();
        self.norms.extend((0..self.used).map(|i| F::of(squared_norm(&self.queries[i * dim..(i + 1) * dim]))));
        self.queries.resize(WIDTH * dim, F::default());
        self.norms.resize(WIDTH, F::default());

        self.products.resize(points.data.len() / dim.max(1) * WIDTH, F::default());
        let panel = if F::rows_stand_alone() { points.data.len() / dim.max(1) } else { PANEL };
        if dim > 0 && panel > 0 {
            let queries = rows(&self.queries, WIDTH, dim);
            for (out, points) in self.products.chunks_exact_mut(panel * WIDTH).zip(points.data.chunks_exact(panel * dim)) {
                multiply(out, false, rows(points, panel, dim), queries.t());
            }
        }
    }

    /// Returns a point's inner products with the queries.
    pub fn products(&self, point: usize) -> &[F] {
        &self.products[point * WIDTH..(point + 1) * WIDTH]
    }

    /// Asks for a point's inner products some time before they are read.
    #[inline(always)]
    pub fn expect(&self, point: usize) {
        prefetch(self.products(point));
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

/// Adds a row, at once where its numbers follow one another.
fn push<F: Real>(data: &mut Vec<F>, row: ArrayView1<'_, F>) {
    match row.as_slice() {
        Some(row) => data.extend_from_slice(row),
        None => data.extend(row),
    }
}

/// Does some work with every block of queries on all threads; what it makes is in the order of the queries.
pub(crate) fn each_block<F: Real, T: Send>(
    points: &Points<F>,
    queries: ArrayView2<'_, F>,
    work: impl Fn(&Block<F>) -> Vec<T> + Sync,
) -> Vec<T> {
    let of_piece = |block: &mut Block<F>, piece: usize| {
        block.fill(points, queries, piece * WIDTH);
        work(block)
    };
    (0..queries.nrows().div_ceil(WIDTH)).into_par_iter().map_init(Block::default, of_piece).flatten_iter().collect()
}

/// Predicts block by block on all threads.
pub(crate) fn predict_blocks<F: Real, D: Data<Elem = F>>(
    points: &Points<F>,
    queries: &ArrayBase<D, Ix2>,
    y: &mut Array1<usize>,
    predict: impl Fn(&Block<F>, &mut [usize]) + Sync,
) {
    let out = each_block(points, queries.view(), |block| {
        let mut out = vec![0; block.used()];
        predict(block, &mut out);
        out
    });
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
        let of = |points: &Points<f32>, first: usize| {
            let mut block = Block::default();
            // A block that held others before is as good as a fresh one.
            block.fill(&Points::all(queries.view()), matrix.view(), 200);
            block.fill(points, queries.view(), first);
            block
        };
        let all = of(&Points::all(matrix.view()), 0);
        let few = of(&Points::gather(matrix.view(), [299, 3, 150].into_iter()), 0);
        for (place, point) in [299, 3, 150].into_iter().enumerate() {
            assert_eq!(all.products(point), few.products(place));
        }
        let exact: f32 = (0..50).map(|j| value(3, j) * value(1002, j)).sum();
        assert!((all.products(3)[2] - exact).abs() < 1e-4);
    }
}
