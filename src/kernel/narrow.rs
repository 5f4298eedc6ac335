//! Products of one head's numbers, where they lie: N tokens by d numbers, d at most 64.
//!
//! With AVX-512 neither side is gathered, since both are as narrow as the target: 8 rows of the target by up to 48 columns (4 by 64) stay in
//! registers. A sum over tokens goes in blocks of 48, which stay in the first cache for all rows of the target: rows of q, k and v lie so far
//! apart that more of them would push each other out. Other machines and wider heads get the general product. 1.2 to 1.4 times as fast as that for
//! d = 48, and 1.2 to 2.3 times for d = 32 and few tokens.

use super::matmul::{Matrix, Shared, Start};

/// Writes a · b - x ∘ row at `offset` of a target with rows `stride` apart, on this thread alone; `less` holds x, of the target's sides, and row.
///
/// # Safety
/// No other thread may touch these elements meanwhile.
pub(super) unsafe fn narrow(
    a: Matrix<'_>,
    b: Matrix<'_>,
    target: &Shared<'_>,
    offset: usize,
    stride: usize,
    less: Option<(Matrix<'_>, &[f32])>,
) {
    if let Some((x, row)) = less {
        assert_eq!((x.rows, x.columns, x.column_stride, row.len()), (a.rows, b.columns, 1, b.columns), "what is taken from a product");
    }
    #[cfg(target_arch = "x86_64")]
    if super::level::level() >= super::level::Level::Avx512 && avx512::can(a, b) {
        let out = target.block(a, b, offset, stride);
        // SAFETY: `block` proved that all of it lies inside the target, ours alone by the caller's promise; the instructions are there.
        return unsafe { avx512::product(a, b, out, stride, less) };
    }
    // SAFETY: the caller's promise.
    unsafe { target.matmul(a, b, offset, stride, Start::Nothing) };
    let Some((x, row)) = less else { return };
    for i in 0..x.rows {
        let x = &x.data[i * x.row_stride..][..x.columns];
        // SAFETY: the caller's promise.
        unsafe {
            target.row(offset + i * stride, x.len(), |out| out.iter_mut().zip(x).zip(row).for_each(|((out, x), r)| *out -= x * r));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::matmul::Matrix;
    use super::super::tile::{LANES, mask};

    /// Columns at most: four vectors.
    pub const WIDTH: usize = 64;
    /// How many tokens are summed before the sums go to the target.
    const DEPTH: usize = 48;
    /// How many tokens ahead the next are asked for.
    const AHEAD: usize = 12;

    /// Whether the sides are narrow, there is something to sum, and numbers lie side by side where they are read so.
    pub fn can(a: Matrix<'_>, b: Matrix<'_>) -> bool {
        (1..=WIDTH).contains(&b.columns) && b.column_stride == 1 && a.columns > 0 && (a.row_stride == 1 || a.column_stride == 1)
    }

    /// Where a tile goes, and what is taken from it: rows of x, as far apart as the second number says, by a row, or null.
    #[derive(Clone, Copy)]
    struct Target {
        at: *mut f32,
        stride: usize,
        add: bool,
        x: (*const f32, usize),
        row: *const f32,
    }

    /// target (a.rows × b.columns) = a · b - x ∘ row.
    ///
    /// # Safety
    /// The target is valid for that and nobody else's; x and row have its sides; and [`can`] said yes. AVX-512 is there.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    pub unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, less: Option<(Matrix<'_>, &[f32])>) {
        let vectors = b.columns.div_ceil(LANES);
        let last = mask(b.columns - LANES * (vectors - 1));
        let height = if vectors > 3 { 4 } else { 8 };
        let is_turned = a.row_stride == 1;
        let depth = if is_turned { DEPTH } else { a.columns };
        for p in (0..a.columns).step_by(depth) {
            let steps = depth.min(a.columns - p);
            let less = less.filter(|_| p + steps == a.columns);
            let mut i = 0;
            while i < a.rows {
                let rows = height.min(1 << (a.rows - i).ilog2());
                let target = Target {
                    at: out.wrapping_add(i * stride),
                    stride,
                    add: p > 0,
                    x: less.map_or((std::ptr::null(), 0), |(x, _)| (x.data.as_ptr().wrapping_add(i * x.row_stride), x.row_stride)),
                    row: less.map_or(std::ptr::null(), |(_, row)| row.as_ptr()),
                };
                let from = a.data.as_ptr().wrapping_add(i * a.row_stride + p * a.column_stride);
                let by = b.data.as_ptr().wrapping_add(p * b.row_stride);
                macro_rules! of_sides {
                    ($($m:literal $v:literal)*) => {
                        // SAFETY: the caller's promise.
                        unsafe {
                            match (rows, vectors) {
                                $(($m, $v) if is_turned => tile::<$m, $v, true>(steps, from, a.column_stride, by, b.row_stride, target, last),
                                ($m, $v) => tile::<$m, $v, false>(steps, from, a.row_stride, by, b.row_stride, target, last),)*
                                _ => unreachable!("a tile has 8, 4, 2 or 1 rows"),
                            }
                        }
                    };
                }
                of_sides!(8 1 4 1 2 1 1 1 8 2 4 2 2 2 1 2 8 3 4 3 2 3 1 3 4 4 2 4 1 4);
                i += rows;
            }
        }
    }

    /// A tile of M rows by V vectors, the last with these lanes. Of `a`, where it is `TURNED`, the numbers of a step lie side by side and the steps
    /// `stride` apart; else those of a row do, and rows lie `stride` apart.
    ///
    /// # Safety
    /// As [`product`].
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    unsafe fn tile<const M: usize, const V: usize, const TURNED: bool>(
        steps: usize,
        mut a: *const f32,
        stride: usize,
        mut b: *const f32,
        b_stride: usize,
        target: Target,
        last: __mmask16,
    ) {
        let lanes = |v: usize| if v + 1 == V { last } else { !0 };
        let (down, along) = if TURNED { (1, stride) } else { (stride, 1) };
        let ask = |at: *const f32| _mm_prefetch::<_MM_HINT_T0>(at.cast());
        // SAFETY: the caller's promise; prefetching may reach anywhere.
        unsafe {
            let mut row_at = target.at.cast_const();
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            for p in 0..steps {
                if TURNED {
                    ask(a.wrapping_add(AHEAD * stride));
                    (0..V).for_each(|v| ask(b.wrapping_add(AHEAD * b_stride + LANES * v)));
                } else if p % LANES == 0 {
                    (M..2 * M).for_each(|i| ask(a.wrapping_add(i * stride)));
                }
                if p < M {
                    (0..V).for_each(|v| ask(row_at.wrapping_add(LANES * v)));
                    row_at = row_at.wrapping_add(target.stride);
                }
                let mut row = [_mm512_setzero_ps(); V];
                for (v, row) in row.iter_mut().enumerate() {
                    *row = _mm512_maskz_loadu_ps(lanes(v), b.add(LANES * v));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(i * down));
                    for (sum, row) in sums.iter_mut().zip(&row) {
                        *sum = _mm512_fmadd_ps(x, *row, *sum);
                    }
                }
                (a, b) = (a.wrapping_add(along), b.wrapping_add(b_stride));
            }
            for (i, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let at = target.at.add(i * target.stride + LANES * v);
                    let mut sum = *sum;
                    if target.add {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes(v), at));
                    }
                    if !target.row.is_null() {
                        let x = _mm512_maskz_loadu_ps(lanes(v), target.x.0.add(i * target.x.1 + LANES * v));
                        sum = _mm512_fnmadd_ps(x, _mm512_maskz_loadu_ps(lanes(v), target.row.add(LANES * v)), sum);
                    }
                    _mm512_mask_storeu_ps(at, lanes(v), sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::{Level, limited_to};
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Every number against the definition in f64, with and without something taken away, beside numbers that are left alone.
    fn assert_right(a: Matrix<'_>, b: Matrix<'_>) {
        let (m, n, k) = (a.rows, b.columns, a.columns);
        let (x, row) = (numbers(2 * m * n), numbers(n));
        let x = Matrix::strided(&x, m, n, 2 * n, 1);
        let at = |x: Matrix<'_>, i: usize, j: usize| f64::from(x.data[i * x.row_stride + j * x.column_stride]);
        for less in [None, Some((x, row.as_slice()))] {
            let stride = n + 3;
            let mut out = vec![7.0; m * stride + 1];
            // SAFETY: nobody else has it.
            unsafe { narrow(a, b, &Shared::new(&mut out), 1, stride, less) };
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|p| at(a, i, p) * at(b, p, j)).sum();
                    let exact = sum - less.map_or(0.0, |(x, row)| at(x, i, j) * f64::from(row[j]));
                    let found = f64::from(out[1 + i * stride + j]);
                    assert!((found - exact).abs() < 1e-6 * (2.0 + k as f64), "{m}x{n}x{k} at {i}, {j}: {found} instead of {exact}");
                }
            }
            let between = (0..m).flat_map(|i| (n..stride).map(move |j| 1 + i * stride + j));
            assert!(out[0] == 7.0 && between.into_iter().all(|at| out[at] == 7.0), "{m}x{n}x{k}: what lies between rows is left alone");
        }
    }

    #[test]
    fn products_of_narrow_sides_are_those_of_the_definition() {
        for level in [Level::Portable, super::super::level::level()] {
            limited_to(level, || {
                for d in [1, 5, 12, 16, 17, 32, 48, 50, 64, 65, 80] {
                    for tokens in [1, 3, 4, 16, 47, 144, 197] {
                        // q, k and v of one of two heads.
                        let qkv = numbers(tokens * 6 * d);
                        let part = |which: usize| Matrix::strided(&qkv[2 * which * d..], tokens, d, 6 * d, 1);
                        let square = numbers(d * d);
                        assert_right(part(0).t(), part(1));
                        assert_right(part(2), Matrix::new(&square, d, d));
                    }
                }
            });
        }
    }
}
