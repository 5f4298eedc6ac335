//! Who makes a product: our own kernels where the machine has what they need, else the `gemm` crate.

use gemm::Parallelism;

use super::level::{Level, level};
use super::matmul::{Matrix, Start};

/// Who makes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Library,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    MatrixUnit,
}

/// Returns who makes a product, by the sides alone; of one whose left side lies row by row without a look at how many rows there are, so
/// that rows stand alone.
pub(super) fn maker(a: Matrix<'_>, b: Matrix<'_>) -> Maker {
    #[cfg(target_arch = "x86_64")]
    {
        /// Numbers of a right side up to which laying it for the unit costs little even for a few rows.
        const LIGHT: usize = 1 << 22;
        /// Sides from which on laying both costs little beside the product.
        const LARGE: usize = 256;
        let is_large = a.columns >= LARGE && b.columns >= LARGE;
        let is_worth_it = if a.column_stride == 1 { a.columns * b.columns <= LIGHT } else { a.rows >= LARGE };
        match level() {
            Level::Amx if is_large && is_worth_it => Maker::MatrixUnit,
            Level::Amx | Level::Avx512 if a.columns > 0 => Maker::Avx512,
            _ => Maker::Library,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (a, b);
        Maker::Library
    }
}

/// Returns the rows and columns of a part that one thread makes at once.
pub(super) fn part(m: usize, n: usize, by: Maker) -> (usize, usize) {
    let cut = |length: usize, parts: usize, unit: usize| length.div_ceil(parts.max(1)).next_multiple_of(unit);
    if by != Maker::Library {
        // Our own product has the same bits however it is cut: whole tiles, 8 of them at least, the same number of parts for every thread; of
        // whole rows with AVX-512 more than one, some 224 rows each, for a thread that is held up leaves the rest of its own to the others.
        let unit = if by == Maker::Avx512 { 14 } else { 32 };
        let parts = rayon::current_num_threads();
        let (high, wide) = (parts.min(m / 112).max(1), parts.min(n / 128).max(1));
        return if m >= n {
            let again = if by == Maker::Avx512 && high == parts { (m / high / 224).max(1) } else { 1 };
            (cut(m, high * again, unit), cut(n, (parts / high).min(wide), 32))
        } else {
            (cut(m, (parts / wide).min(high), unit), cut(n, wide, 32))
        };
    }
    // The library's bits depend on the sides of what it is given, so the parts depend on nothing else: about 192 rows or columns, at most 8
    // of them, since each gathers the other side again. Small sides, such as the weight gradients of narrow networks, are cut finer, or one
    // core would do them all.
    let parts = |length: usize| (length / 192).max((length / 32).min(4)).clamp(1, 8);
    if m >= n { (cut(m, parts(m), 8), n) } else { (m, cut(n, parts(n), 8)) }
}

/// Whether the bits of a product's row are the same whatever other rows there are: the `gemm` crate's depend on the sides.
pub fn rows_stand_alone() -> bool {
    level() >= Level::Avx512
}

/// target (row stride `stride`) = a · b from `start`, on this thread.
///
/// # Safety
/// `out` must be valid for a.rows × b.columns values with this row stride, and nobody else may touch them; `by` is there.
pub(super) unsafe fn product(by: Maker, a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>) {
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    // SAFETY: the caller's promise, and the bounds that `Matrix::strided` proved.
    unsafe {
        match by {
            #[cfg(target_arch = "x86_64")]
            Maker::MatrixUnit => super::split_product::product(a, b, out, stride, start),
            #[cfg(target_arch = "x86_64")]
            Maker::Avx512 => super::product::product(a, b, out, stride, start),
            Maker::Library => library_product(a, b, out, stride, start),
        }
    }
}

/// A product by the `gemm` crate, which knows the vector units of other machines.
///
/// # Safety
/// As [`product`].
pub(super) unsafe fn library_product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>) {
    if let Start::Row(row) | Start::TargetAndRow(row) = start {
        for i in 0..a.rows {
            // SAFETY: row i of the target, by the caller's promise.
            let target = unsafe { std::slice::from_raw_parts_mut(out.add(i * stride), b.columns) };
            match start {
                Start::Row(_) => target.copy_from_slice(&row[..b.columns]),
                _ => target.iter_mut().zip(row).for_each(|(t, r)| *t += *r),
            }
        }
    }
    let (add, ones) = (!matches!(start, Start::Nothing), 1.0);
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
            ones,
            ones,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
