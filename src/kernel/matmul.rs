//! Matrix products with strides, on all threads: our own where there is a matrix unit (`split_product`) or AVX-512 (`product`), else the
//! `gemm` crate's.
//!
//! Cost: 2·m·n·k operations; four fifths of a training step.

use rayon::prelude::*;

use super::clock::{Group, timed};
use super::maker::{Maker, maker, part, product};

/// A matrix inside a slice: element (i, j) lies at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix that lies row after row.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// A matrix with strides.
    ///
    /// # Panics
    /// If it reaches beyond the slice.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Self {
        assert!(reach(rows, columns, row_stride, column_stride) <= data.len(), "a matrix reaches beyond its slice");
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// Returns some of the rows.
    pub fn rows(self, rows: std::ops::Range<usize>) -> Self {
        Self::strided(&self.data[rows.start * self.row_stride..], rows.len(), self.columns, self.row_stride, self.column_stride)
    }

    /// Returns the transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

fn reach(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

#[derive(Clone, Copy)]
pub(super) struct Place(pub *mut f32);
// SAFETY: blocks handed to different threads do not overlap.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// Takes the whole struct into a closure, not the bare pointer.
    pub fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: callers stay inside the slice the pointer was made from.
        unsafe { self.0.add(offset) }
    }
}

/// What the target of a product holds before the product is added.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    Nothing,
    /// What lies there.
    Target,
    /// This row in every row, such as a bias.
    Row(&'a [f32]),
    TargetAndRow(&'a [f32]),
}

/// out (m × n, row stride `stride`) = start + a · b. Parts of it are made side by side.
pub fn matmul(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, start: Start<'_>) {
    let _timer = timed(Group::Products);
    matmul_untimed(a, b, out, stride, start);
}

/// As [`matmul`], for one of several that are made side by side under one timer.
pub fn matmul_untimed(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, start: Start<'_>) {
    let (m, n) = check(a, b, out, stride, start);
    let target = Place(out.as_mut_ptr());
    let by = maker(a, b);
    let (rows, columns) = if m * n * a.columns < 1 << 18 { (m.max(1), n.max(1)) } else { part(m, n, by) };
    #[cfg(target_arch = "x86_64")]
    if rows < m && columns >= n {
        // SAFETY: `check` proved that all of it lies inside `out`, and `maker` names only what this machine has.
        match by {
            Maker::MatrixUnit => return unsafe { super::split_product::product_by_rows(a, b, target.at(0), stride, start, rows) },
            Maker::Avx512 => return unsafe { super::product::product_by_rows(a, b, target.at(0), stride, start, rows) },
            Maker::Library => {}
        }
    }
    let corners: Vec<(usize, usize)> = (0..m).step_by(rows).flat_map(|i| (0..n).step_by(columns).map(move |j| (i, j))).collect();
    corners.into_par_iter().for_each(|(i, j)| {
        let (rows, columns) = (rows.min(m - i), columns.min(n - j));
        let a = Matrix { data: &a.data[i * a.row_stride..], rows, ..a };
        let b = Matrix { data: &b.data[j * b.column_stride..], columns, ..b };
        let start = match start {
            Start::Row(row) => Start::Row(&row[j..]),
            Start::TargetAndRow(row) => Start::TargetAndRow(&row[j..]),
            plain => plain,
        };
        // SAFETY: the rows and columns of this corner, which no other part touches.
        unsafe { product(by, a, b, target.at(i * stride + j), stride, start) };
    });
}

/// A slice into which many threads write products, each its own block.
pub struct Shared<'a> {
    target: Place,
    length: usize,
    slice: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Shared<'a> {
    /// Shares a slice for as long as it is borrowed.
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { target: Place(slice.as_mut_ptr()), length: slice.len(), slice: std::marker::PhantomData }
    }

    /// Writes a · b (or adds it) at `offset` with rows `stride` apart, on this thread alone.
    ///
    /// # Safety
    /// No other thread may touch these elements meanwhile.
    pub unsafe fn matmul(&self, a: Matrix<'_>, b: Matrix<'_>, offset: usize, stride: usize, start: Start<'_>) {
        let out = self.block(a, b, offset, stride);
        // SAFETY: inside the slice, as `block` proved, ours alone by the caller's promise.
        unsafe { product(maker(a, b), a, b, out, stride, start) };
    }

    /// Returns where a · b goes at `offset` with rows `stride` apart.
    ///
    /// # Panics
    /// If it reaches beyond the slice, or the inner sides differ.
    pub(super) fn block(&self, a: Matrix<'_>, b: Matrix<'_>, offset: usize, stride: usize) -> *mut f32 {
        assert_eq!(a.columns, b.rows, "the inner sides of a product differ");
        assert!(offset + reach(a.rows, b.columns, stride, 1) <= self.length, "a product reaches beyond its target");
        self.target.at(offset)
    }

    /// Calls `work` with row `row` of a block `columns` wide at `offset`.
    ///
    /// # Safety
    /// No other thread may touch these elements meanwhile.
    pub unsafe fn row(&self, offset: usize, columns: usize, work: impl FnOnce(&mut [f32])) {
        assert!(offset + columns <= self.length, "a row reaches beyond its target");
        // SAFETY: inside the slice by the assertion, ours alone by the caller's promise.
        work(unsafe { std::slice::from_raw_parts_mut(self.target.at(offset), columns) });
    }
}

/// As [`matmul`], on this thread alone: for small products of which many run side by side.
pub fn matmul_one(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, start: Start<'_>) {
    check(a, b, out, stride, start);
    // SAFETY: `check` proved that all of it lies inside `out`.
    unsafe { product(maker(a, b), a, b, out.as_mut_ptr(), stride, start) };
}

fn check(a: Matrix<'_>, b: Matrix<'_>, out: &[f32], stride: usize, start: Start<'_>) -> (usize, usize) {
    if let Start::Row(row) | Start::TargetAndRow(row) = start {
        assert_eq!(row.len(), b.columns, "a row to add has another length than the product's");
    }
    assert_eq!(a.columns, b.rows, "the inner sides of a product differ");
    assert!(b.columns <= stride && reach(a.rows, b.columns, stride, 1) <= out.len(), "a product reaches beyond its target");
    (a.rows, b.columns)
}

#[cfg(test)]
mod tests {
    use super::super::level::{Level, found, limited_to};
    use super::super::maker::{library_product, rows_stand_alone};
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Every number of the target against the definition in f64, for both executions.
    fn assert_right(a: Matrix<'_>, b: Matrix<'_>, stride: usize) {
        let (m, n, k) = (a.rows, b.columns, a.columns);
        let row = numbers(n);
        let at = |x: Matrix<'_>, i: usize, j: usize| f64::from(x.data[i * x.row_stride + j * x.column_stride]);
        for start in [Start::Nothing, Start::Target, Start::Row(&row), Start::TargetAndRow(&row)] {
            let (mut ours, mut library) = (vec![1.0; m * stride], vec![1.0; m * stride]);
            matmul(a, b, &mut ours, stride, start);
            // SAFETY: all of `library` is ours.
            unsafe { library_product(a, b, library.as_mut_ptr(), stride, start) };
            for i in 0..m {
                for j in 0..n {
                    let terms: Vec<f64> = (0..k).map(|l| at(a, i, l) * at(b, l, j)).collect();
                    let scale = 2.0 + terms.iter().map(|term| term.abs()).sum::<f64>();
                    let exact: f64 = terms.iter().sum::<f64>()
                        + if matches!(start, Start::Target | Start::TargetAndRow(_)) { 1.0 } else { 0.0 }
                        + if matches!(start, Start::Row(_) | Start::TargetAndRow(_)) { f64::from(row[j]) } else { 0.0 };
                    for found in [ours[i * stride + j], library[i * stride + j]] {
                        assert!((f64::from(found) - exact).abs() < 4e-6 * scale, "{m}x{n}x{k} at {i}, {j}: {found} instead of {exact}");
                    }
                }
                assert!(ours[i * stride + n..(i + 1) * stride].iter().all(|x| *x == 1.0), "what lies between rows is left alone");
            }
        }
    }

    #[test]
    fn products_of_any_sides_and_strides_are_those_of_the_definition() {
        for most in [Level::Amx, Level::Avx512] {
            if found() >= most {
                limited_to(most, products_of_any_sides_and_strides);
            }
        }
        products_of_any_sides_and_strides();
    }

    fn products_of_any_sides_and_strides() {
        for (m, n, k) in [
            (1, 1, 1),
            (3, 4, 5),
            (14, 32, 16),
            (15, 33, 17),
            (300, 7, 40),
            (7, 500, 90),
            (66, 50, 400),
            (130, 260, 33),
            (140, 90, 400),
            (1, 256, 256),
            (300, 288, 256),
            (545, 401, 283),
        ] {
            let (a, b) = (numbers(m * k), numbers(n * k));
            let (plain, turned) = (Matrix::new(&a, m, k), Matrix::new(&a, k, m).t());
            for (a, b) in [
                (plain, Matrix::new(&b, k, n)),
                (plain, Matrix::new(&b, n, k).t()),
                (turned, Matrix::new(&b, k, n)),
                (turned, Matrix::new(&b, n, k).t()),
            ] {
                assert_right(a, b, n + 2);
            }
            let (a, b) = (numbers(3 * m * 2 * k), numbers(2 * k * 3 * n));
            assert_right(Matrix::strided(&a, m, k, 6 * k, 2), Matrix::strided(&b, k, n, 6 * n, 3), n);
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_other_rows_there_are() {
        for most in [Level::Amx, Level::Avx512] {
            if found() >= most {
                limited_to(most, rows_have_the_same_bits);
            }
        }
    }

    fn rows_have_the_same_bits() {
        assert!(rows_stand_alone());
        let (a, b) = (numbers(70 * 400), numbers(270 * 400));
        for (n, k) in [(90, 130), (90, 40), (256, 256), (270, 400)] {
            let right = Matrix::new(&b[..n * k], n, k).t();
            let mut all = vec![0.0; 70 * n];
            matmul(Matrix::new(&a[..70 * k], 70, k), right, &mut all, n, Start::Nothing);
            for (i, row) in all.chunks_exact(n).enumerate() {
                let mut alone = vec![0.0; n];
                matmul(Matrix::new(&a[i * k..(i + 1) * k], 1, k), right, &mut alone, n, Start::Nothing);
                assert!(row == alone, "row {i} of a product over {k} to {n}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_and_the_cut_change_no_bit() {
        let (a, b) = (numbers(1000 * 800), numbers(800 * 500));
        let (left, right) = (Matrix::new(&a, 1000, 800), Matrix::new(&b, 800, 500));
        let run = |threads, most| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; 1000 * 500];
            pool.install(|| limited_to(most, || matmul(left, right, &mut out, 500, Start::Nothing)));
            out
        };
        let one = run(1, found());
        assert!(one == run(3, found()) && one == run(16, found()));
        let one = run(1, found().min(Level::Avx512));
        assert!(one == run(3, found().min(Level::Avx512)) && one == run(16, found().min(Level::Avx512)));
    }

    #[test]
    fn a_product_over_no_depth_is_what_it_starts_from() {
        let mut out = vec![2.0; 6];
        matmul(Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 3), &mut out, 3, Start::Row(&[1.0, 2.0, 3.0]));
        assert_eq!(out, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    }
}
