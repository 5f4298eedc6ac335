//! The innermost loop of a product, in AVX-512: a tile of up to 14 rows by 32 columns stays in registers while the depth goes by.
//!
//! 28 of the 32 registers hold sums, so that each number of `b` that is loaded is used 14 times and each of `a` 32 times: per step of
//! depth 28 multiply-adds against 16 loads. Both sides come gathered (see `product`), which keeps the loads in order and near; each step asks for
//! what is needed some steps later, and for the target's rows one by one: asked for at once, they kept both sides waiting.

use std::arch::x86_64::*;

/// Rows of a tile at most.
pub const ROWS: usize = 14;
/// Columns of a tile at most: two vectors.
pub const COLUMNS: usize = 32;
/// Numbers in a vector; also how far apart the rows' values of two steps lie in a gathered `a`.
pub const LANES: usize = 16;

/// What a tile starts from, and where it goes.
#[derive(Clone, Copy)]
pub struct Target {
    pub at: *mut f32,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Whether what lies there is added to.
    pub add: bool,
    /// A row to add to every row, or null.
    pub bias: *const f32,
}

/// target (M × columns) = or += a (M × depth) · b (depth × columns), with 16·(V - 1) < columns ≤ 16·V.
///
/// # Safety
/// `a` is gathered: M of 16 numbers, `depth` times. `b` is valid for `columns` numbers as often, with where the first lie and how far it is to
/// the next; the target and its bias are valid for `columns`. AVX-512 is there.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn tile<const M: usize, const V: usize>(
    depth: usize,
    mut a: *const f32,
    (mut b, b_stride): (*const f32, usize),
    target: Target,
    columns: usize,
) {
    let last = mask(columns - LANES * (V - 1));
    let lanes = |v: usize| if v + 1 == V { last } else { !0 };
    // SAFETY: the caller's promise; prefetching may reach anywhere.
    unsafe {
        let (mut row_at, mut rows_left) = (target.at, M);
        let mut sums = [[_mm512_setzero_ps(); V]; M];
        macro_rules! step {
            ($ahead:literal) => {
                let from = b.wrapping_add($ahead * b_stride);
                let soon = a.wrapping_add(($ahead + 10) * LANES);
                _mm_prefetch::<_MM_HINT_T0>(soon.cast());
                (0..V).for_each(|v| _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(12 * b_stride + LANES * v).cast()));
                let mut row = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    row[v] = _mm512_maskz_loadu_ps(lanes(v), from.add(LANES * v));
                }
                for i in 0..M {
                    let x = _mm512_set1_ps(*a.add($ahead * LANES + i));
                    for v in 0..V {
                        sums[i][v] = _mm512_fmadd_ps(x, row[v], sums[i][v]);
                    }
                }
            };
        }
        let mut left = depth;
        while left >= 4 {
            if rows_left > 0 {
                (0..V).for_each(|v| _mm_prefetch::<_MM_HINT_T0>(row_at.wrapping_add(LANES * v).cast()));
                (row_at, rows_left) = (row_at.wrapping_add(target.stride), rows_left - 1);
            }
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            (a, b, left) = (a.wrapping_add(4 * LANES), b.wrapping_add(4 * b_stride), left - 4);
        }
        while left > 0 {
            step!(0);
            (a, b, left) = (a.wrapping_add(LANES), b.wrapping_add(b_stride), left - 1);
        }
        // Here and not in a function of its own, so that the sums stay in registers.
        for (i, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let at = target.at.add(i * target.stride + LANES * v);
                let mut sum = *sum;
                if target.add {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes(v), at));
                }
                if !target.bias.is_null() {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes(v), target.bias.add(LANES * v)));
                }
                _mm512_mask_storeu_ps(at, lanes(v), sum);
            }
        }
    }
}

/// [`tile`] for a number of rows and columns known at run time.
///
/// # Safety
/// As [`tile`], with 0 < rows ≤ 14 and 0 < columns ≤ 32.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn any_tile((rows, columns): (usize, usize), depth: usize, a: *const f32, b: (*const f32, usize), target: Target) {
    macro_rules! of_rows {
        ($($m:literal)*) => {
            // SAFETY: the caller's promise.
            unsafe {
                match (rows, columns > LANES) {
                    $(($m, true) => tile::<$m, 2>(depth, a, b, target, columns),
                    ($m, false) => tile::<$m, 1>(depth, a, b, target, columns),)*
                    _ => unreachable!("a tile has 1 to 14 rows"),
                }
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// The first `n` of 16 lanes.
pub fn mask(n: usize) -> __mmask16 {
    if n >= LANES { !0 } else { (1 << n) - 1 }
}

/// out[p · out_stride + j] = from[j · stride + p] for j < rows and p < columns, both at most 16; for other j, anything.
///
/// # Safety
/// Both are valid for that; `out` for whole vectors. AVX-512 is there.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn transpose((rows, columns): (usize, usize), from: *const f32, stride: usize, out: *mut f32, out_stride: usize) {
    // Loops over constants throughout, so that all of it stays in registers.
    let mut r: [__m512; LANES] = std::array::from_fn(|j| {
        // SAFETY: a row below `rows`, lanes below `columns`.
        unsafe { _mm512_maskz_loadu_ps(mask(columns), from.add(j.min(rows - 1) * stride)) }
    });
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|l| _mm512_castps_pd(t[4 * i + l]));
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    // Now quarter q of r[4i + l] holds column 4q + l of the rows 4i to 4i + 3.
    for l in 0..4 {
        let even = [0, 8].map(|i| _mm512_shuffle_f32x4::<0x88>(r[i + l], r[i + 4 + l]));
        let odd = [0, 8].map(|i| _mm512_shuffle_f32x4::<0xdd>(r[i + l], r[i + 4 + l]));
        t[l] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
        t[8 + l] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
        t[4 + l] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
        t[12 + l] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
    }
    for (p, t) in t.into_iter().enumerate() {
        if p < columns {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(out.add(p * out_stride), t) };
        }
    }
}
