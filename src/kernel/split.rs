//! Numbers as sums of three bf16, in the tiles that [`super::matrix_unit`] reads.
//!
//! As in Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations"
//! (arXiv 1904.06376): x = high + middle + low exactly, each of 8 significant bits, and x·y is taken as the six products whose size is more
//! than 2^-24 of it: high·high, high·middle, middle·high, middle·middle, high·low, low·high. What is left out is less than f32 rounds away.
//! Parts below 2^-126 count as nothing, and a number beyond 3.39e38 becomes no number, as infinities do.

use std::arch::x86_64::*;

use super::matmul::Matrix;
use super::matrix_unit::{CHUNK, PART, SIDE, STEP, TILE};
use super::tile::{mask, transpose};

/// Which of the two sides of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A tile's line is a row, with pairs of its steps.
    Left,
    /// A tile's line is a pair of steps, of each column.
    Right,
}

/// Where a tile begins: chunks of a block lie one after the other.
pub fn place(tile: usize, chunk: usize, chunks: usize) -> usize {
    (tile / 2 * chunks + chunk) * STEP + tile % 2 * TILE
}

/// Splits the 32 numbers of a line and puts its 16 pairs (x_i, y_i) where each part has its own.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn put(x: __m512, y: __m512, line: *mut u32) {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let high = |v: __m512| {
        // To the nearest number with 8 significant bits.
        let rounded = _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000));
        _mm512_castsi512_ps(_mm512_and_si512(rounded, upper))
    };
    let pairs = |x: __m512, y: __m512| {
        let (x, y) = (_mm512_castps_si512(x), _mm512_castps_si512(y));
        _mm512_or_si512(_mm512_srli_epi32::<16>(x), _mm512_and_si512(y, upper))
    };
    let (x0, y0) = (high(x), high(y));
    let (x, y) = (_mm512_sub_ps(x, x0), _mm512_sub_ps(y, y0));
    let (x1, y1) = (high(x), high(y));
    // What is left has 8 bits at most, but where it is too small for a bf16.
    let (x2, y2) = (_mm512_sub_ps(x, x1), _mm512_sub_ps(y, y1));
    // SAFETY: the caller's promise.
    unsafe {
        _mm512_store_si512(line.cast(), pairs(x0, y0));
        _mm512_store_si512(line.add(PART).cast(), pairs(x1, y1));
        _mm512_store_si512(line.add(2 * PART).cast(), pairs(x2, y2));
    }
}

/// Lays `m`, whose rows are those of the left side or the columns of the right one and whose columns are the depth, from tile `first` on.
///
/// # Safety
/// `m` is valid, and `to` for all tiles and chunks that it reaches, from a boundary of 64 bytes on. AVX-512 is there.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn lay(m: Matrix<'_>, side: Side, first: usize, to: *mut u32) {
    let chunks = m.columns.div_ceil(CHUNK);
    let from = m.data.as_ptr();
    let in_order = match side {
        Side::Left => m.column_stride == 1,
        Side::Right => m.row_stride == 1,
    };
    let mut turned = [[0.0f32; SIDE]; CHUNK];
    // SAFETY: rows and steps below the matrix's sides; lines inside the tiles.
    unsafe {
        match side {
            Side::Left if in_order => {
                for i in 0..m.rows {
                    let row = from.add(i * m.row_stride);
                    for chunk in 0..chunks {
                        let (p, left) = (chunk * CHUNK, m.columns - chunk * CHUNK);
                        // What is laid next lies some rows below.
                        let soon = row.wrapping_add(4 * m.row_stride + p);
                        _mm_prefetch::<_MM_HINT_T0>(soon.cast());
                        _mm_prefetch::<_MM_HINT_T0>(soon.wrapping_add(SIDE).cast());
                        let x = _mm512_maskz_loadu_ps(mask(left), row.add(p));
                        let y = _mm512_maskz_loadu_ps(mask(left.saturating_sub(SIDE)), row.wrapping_add(p + SIDE));
                        put(x, y, to.add(place(first + i / SIDE, chunk, chunks) + i % SIDE * SIDE));
                    }
                }
            }
            Side::Right if in_order => {
                for chunk in 0..chunks {
                    for i in 0..SIDE {
                        let step = |p: usize, j: usize| {
                            let lanes = if p < m.columns { mask(m.rows - j) } else { 0 };
                            _mm512_maskz_loadu_ps(lanes, from.wrapping_add(p * m.column_stride + j))
                        };
                        let p = chunk * CHUNK + i;
                        for j in (0..m.rows).step_by(SIDE) {
                            let soon = from.wrapping_add((p + 2) * m.column_stride + j);
                            _mm_prefetch::<_MM_HINT_T0>(soon.cast());
                            _mm_prefetch::<_MM_HINT_T0>(soon.wrapping_add(SIDE * m.column_stride).cast());
                            put(step(p, j), step(p + SIDE, j), to.add(place(first + j / SIDE, chunk, chunks) + i * SIDE));
                        }
                    }
                }
            }
            _ => {
                for i in (0..m.rows).step_by(SIDE) {
                    for chunk in 0..chunks {
                        let p = chunk * CHUNK;
                        let (rows, left) = (SIDE.min(m.rows - i), CHUNK.min(m.columns - p));
                        let corner = from.add(i * m.row_stride + p * m.column_stride);
                        let to = to.add(place(first + i / SIDE, chunk, chunks));
                        turn(corner, (m.row_stride, m.column_stride), (rows, left), side, &mut turned);
                        let turned = turned.as_ptr().cast::<f32>();
                        for line in 0..SIDE {
                            let (x, y) = match side {
                                Side::Left => (turned.add(line * CHUNK), turned.add(line * CHUNK + SIDE)),
                                Side::Right => (turned.add(line * SIDE), turned.add((line + SIDE) * SIDE)),
                            };
                            put(_mm512_loadu_ps(x), _mm512_loadu_ps(y), to.add(line * SIDE));
                        }
                    }
                }
            }
        }
    }
}

/// Fills `out` with a tile's numbers in the order in which its lines want them, nothing beyond the depth: 16 rows of 32, or 32 of 16.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn turn(from: *const f32, strides: (usize, usize), (rows, steps): (usize, usize), side: Side, out: &mut [[f32; SIDE]; CHUNK]) {
    let out = out.as_mut_ptr().cast::<f32>();
    let at = |i: usize, p: usize| match side {
        Side::Left => i * CHUNK + p,
        Side::Right => p * SIDE + i,
    };
    // SAFETY: i below 16, p below 32; reading below `rows` and `steps`.
    unsafe {
        if steps < CHUNK {
            (0..CHUNK * SIDE).for_each(|n| *out.add(n) = 0.0);
        }
        for half in [0, SIDE] {
            let here = steps.saturating_sub(half).min(SIDE);
            if here == 0 {
                break;
            }
            match (side, strides) {
                // Each step's numbers lie side by side: they become columns.
                (Side::Left, (1, stride)) if here == SIDE => {
                    transpose((here, rows), from.add(half * stride), stride, out.add(half), CHUNK);
                }
                (Side::Right, (stride, 1)) => transpose((rows, here), from.add(half), stride, out.add(half * SIDE), SIDE),
                _ => {
                    for p in half..half + here {
                        (0..rows).for_each(|i| *out.add(at(i, p)) = *from.add(i * strides.0 + p * strides.1));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::{Level, found};
    use super::*;

    /// Tiles on a boundary of 64 bytes, filled with something.
    fn room(pairs: usize) -> Vec<__m512i> {
        // SAFETY: any bits are numbers.
        vec![unsafe { std::mem::transmute::<[u32; 16], __m512i>([0x4444_3333; 16]) }; pairs / 16]
    }

    /// The three parts of the number in row or column `i` and step `p` of what was laid.
    fn parts(laid: &[u32], side: Side, chunks: usize, (i, p): (usize, usize)) -> [f32; 3] {
        let (pair, upper) = (p % CHUNK % SIDE, p % CHUNK >= SIDE);
        let (line, column) = if side == Side::Left { (i % SIDE, pair) } else { (pair, i % SIDE) };
        let at = place(i / SIDE, p / CHUNK, chunks) + line * SIDE + column;
        [0, 1, 2].map(|part| {
            let pair = laid[at + part * PART];
            f32::from_bits(if upper { pair & 0xffff_0000 } else { pair << 16 })
        })
    }

    #[test]
    fn the_parts_of_every_number_add_up_to_it_wherever_it_lay() {
        if found() < Level::Avx512 {
            return;
        }
        for (rows, columns) in [(1, 1), (16, 32), (17, 33), (50, 100), (32, 384), (5, 20)] {
            let numbers: Vec<f32> = (0..4 * rows * columns).map(|i| ((i * 7919 + 13) % 10_007) as f32 / 3.0e3 - 1.5).collect();
            for (row_stride, column_stride) in [(columns, 1), (1, rows), (2 * columns, 2)] {
                let m = Matrix::strided(&numbers, rows, columns, row_stride, column_stride);
                for side in [Side::Left, Side::Right] {
                    let chunks = columns.div_ceil(CHUNK);
                    let mut tiles = room(rows.div_ceil(2 * SIDE) * chunks * STEP);
                    // SAFETY: room for all blocks; AVX-512 is there.
                    unsafe { lay(m, side, 0, tiles.as_mut_ptr().cast()) };
                    // SAFETY: the same bytes as numbers.
                    let laid = unsafe { std::slice::from_raw_parts(tiles.as_ptr().cast::<u32>(), tiles.len() * 16) };
                    for i in 0..rows {
                        for p in 0..chunks * CHUNK {
                            let [high, middle, low] = parts(laid, side, chunks, (i, p));
                            let number = if p < columns { numbers[i * row_stride + p * column_stride] } else { 0.0 };
                            assert_eq!(low + middle + high, number, "({i}, {p}) of {rows} x {columns}");
                            assert!(
                                (number - high).abs() <= number.abs() / 256.0 && (number - high - middle).abs() <= number.abs() / 65_536.0
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_too_small_for_the_unit_leaves_its_neighbour_alone() {
        if found() < Level::Avx512 {
            return;
        }
        let mut numbers = [1.0f32 / 3.0; CHUNK];
        numbers[SIDE..].iter_mut().enumerate().for_each(|(i, tiny)| *tiny = f32::from_bits(0x7f80 + 0x1357 * i as u32));
        let mut tiles = room(STEP);
        // SAFETY: room for one block; AVX-512 is there.
        unsafe { lay(Matrix::new(&numbers, 1, CHUNK), Side::Left, 0, tiles.as_mut_ptr().cast()) };
        // SAFETY: the same bytes as numbers.
        let laid = unsafe { std::slice::from_raw_parts(tiles.as_ptr().cast::<u32>(), tiles.len() * 16) };
        for (p, number) in numbers[..SIDE].iter().enumerate() {
            assert_eq!(parts(laid, Side::Left, 1, (0, p)).iter().rev().sum::<f32>(), *number);
            assert!(parts(laid, Side::Left, 1, (0, p + SIDE)).iter().sum::<f32>() < 1e-38);
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        if found() < Level::Avx512 {
            return;
        }
        for what in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MAX, f32::from_bits(0x7fff_ffff)] {
            let mut tiles = room(STEP);
            // SAFETY: room for one block; AVX-512 is there.
            unsafe { lay(Matrix::new(&[what], 1, 1), Side::Left, 0, tiles.as_mut_ptr().cast()) };
            // SAFETY: the same bytes as numbers.
            let laid = unsafe { std::slice::from_raw_parts(tiles.as_ptr().cast::<u32>(), tiles.len() * 16) };
            assert!(parts(laid, Side::Left, 1, (0, 0)).iter().sum::<f32>().is_nan(), "{what}");
        }
    }
}
