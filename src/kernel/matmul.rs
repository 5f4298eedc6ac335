//! Matrix products with strides, by the `gemm` crate, cut into blocks that depend on the shapes alone.
//!
//! Cost: 2·m·n·k operations; four fifths of a training step.

use gemm::Parallelism;
use rayon::prelude::*;

use super::clock::{Group, timed};

/// A matrix inside a slice: element (i, j) lies at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
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

    /// Returns the transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

fn reach(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: blocks handed to different threads do not overlap.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// Takes the whole struct into a closure, not the bare pointer.
    fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: callers stay inside the slice the pointer was made from.
        unsafe { self.0.add(offset) }
    }
}

/// out (m × n, row stride `stride`) = a · b, or out += a · b. Blocks of the longer side run side by side.
pub fn matmul(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, add: bool) {
    let _timer = timed(Group::Products);
    let (m, n) = check(a, b, out, stride);
    let target = Target(out.as_mut_ptr());
    // Blocks of about 96 rows or columns, at most 16 of them: packing the other side again stays cheap. Small sides, such as the weight
    // gradients of narrow networks, are cut finer, or one core would do them all.
    let blocks = |length: usize| if m * n * a.columns < 1 << 18 { 1 } else { (length / 96).max((length / 32).min(4)).clamp(1, 16) };
    if m >= n {
        let step = m.div_ceil(blocks(m)).next_multiple_of(8);
        (0..m).step_by(step).collect::<Vec<_>>().into_par_iter().for_each(|start| {
            let rows = step.min(m - start);
            let part = Matrix { data: &a.data[start * a.row_stride..], rows, ..a };
            // SAFETY: rows start..start + rows of `out`, which no other block touches.
            unsafe { product(part, b, target.at(start * stride), stride, add) };
        });
    } else {
        let step = n.div_ceil(blocks(n)).next_multiple_of(8);
        (0..n).step_by(step).collect::<Vec<_>>().into_par_iter().for_each(|start| {
            let columns = step.min(n - start);
            let part = Matrix { data: &b.data[start * b.column_stride..], columns, ..b };
            // SAFETY: columns start..start + columns of `out`, which no other block touches.
            unsafe { product(a, part, target.at(start), stride, add) };
        });
    }
}

/// A slice into which many threads write products, each its own block.
pub struct Shared<'a> {
    target: Target,
    length: usize,
    slice: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Shared<'a> {
    /// Shares a slice for as long as it is borrowed.
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { target: Target(slice.as_mut_ptr()), length: slice.len(), slice: std::marker::PhantomData }
    }

    /// Writes a · b (or adds it) at `offset` with rows `stride` apart, on this thread alone.
    ///
    /// # Safety
    /// No other thread may touch these elements meanwhile.
    pub unsafe fn matmul(&self, a: Matrix<'_>, b: Matrix<'_>, offset: usize, stride: usize, add: bool) {
        assert_eq!(a.columns, b.rows, "the inner sides of a product differ");
        assert!(offset + reach(a.rows, b.columns, stride, 1) <= self.length, "a product reaches beyond its target");
        // SAFETY: inside the slice by the assertion, ours alone by the caller's promise.
        unsafe { product(a, b, self.target.at(offset), stride, add) };
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
pub fn matmul_one(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize, add: bool) {
    check(a, b, out, stride);
    // SAFETY: `check` proved that all of it lies inside `out`.
    unsafe { product(a, b, out.as_mut_ptr(), stride, add) };
}

fn check(a: Matrix<'_>, b: Matrix<'_>, out: &[f32], stride: usize) -> (usize, usize) {
    assert_eq!(a.columns, b.rows, "the inner sides of a product differ");
    assert!(b.columns <= stride && reach(a.rows, b.columns, stride, 1) <= out.len(), "a product reaches beyond its target");
    (a.rows, b.columns)
}

/// # Safety
/// `out` must be valid for a.rows × b.columns values with this row stride, and nobody else may touch them.
unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, add: bool) {
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    // SAFETY: the caller's promise, and the bounds that `Matrix::strided` proved.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn products_with_any_strides_are_those_of_the_definition() {
        for (m, n, k) in [(3, 4, 5), (300, 7, 40), (7, 500, 90), (130, 260, 33)] {
            let (a, b) = (numbers(m * k), numbers(n * k));
            let mut out = vec![1.0; m * (n + 2)];
            matmul(Matrix::new(&a, k, m).t(), Matrix::new(&b, n, k).t(), &mut out, n + 2, true);
            for (i, j) in [(0, 0), (m - 1, n - 1), (m / 2, n / 3)] {
                let exact: f64 = 1.0 + (0..k).map(|l| f64::from(a[l * m + i]) * f64::from(b[j * k + l])).sum::<f64>();
                assert!((f64::from(out[i * (n + 2) + j]) - exact).abs() < 1e-4);
            }
            assert_eq!(out[n], 1.0, "what lies between rows is left alone");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, b) = (numbers(1000 * 64), numbers(64 * 200));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; 1000 * 200];
            pool.install(|| matmul(Matrix::new(&a, 1000, 64), Matrix::new(&b, 64, 200), &mut out, 200, false));
            out
        };
        assert_eq!(run(1), run(3));
    }
}
