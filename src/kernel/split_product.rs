//! A product by the matrix unit: both sides laid in tiles by [`super::split`], then block after block of the target.
//!
//! Up to 384 steps of the depth at once: of `b` up to 1536 columns are laid, which stay in the third cache, of `a` sixteen blocks' rows for
//! each thread. A thread goes through twelve blocks' columns at a time, whose tiles stay in its second cache, row by row, so that it writes
//! rows of 1536 bytes; what comes next of `a` and of the target is asked for meanwhile. Each sum goes over the depth in one order that
//! depends on the depth alone, so a number has the same bits however the target is cut into parts.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{Matrix, Place, Start};
use super::matrix_unit::{BLOCK, CHUNK, SIDE, STEP, Soon, Unit};
use super::product::{COMMON, ROOM, even, with_room};
use super::split::{Side, lay, place};

/// How much of `b` is laid at once at most: 3.4 MiB.
const DEPTH: usize = 384;
const WIDTH: usize = 1536;
/// How many columns a thread goes through at a time: 864 KiB of `b`.
const NARROW: usize = 384;
/// How many rows of `a` a thread lays at once at most: 1.1 MiB.
const HEIGHT: usize = 512;

/// Pairs of bf16 (4 bytes) that so many rows or columns take at most.
const fn pairs(rows: usize) -> usize {
    rows / BLOCK * (DEPTH / CHUNK) * STEP
}

/// target (row stride `stride`) = a · b from `start`.
///
/// # Safety
/// `out` must be valid for a.rows × b.columns values with this row stride, and nobody else may touch them. The unit is granted.
pub(super) unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>) {
    with_room(&ROOM, pairs(WIDTH) + pairs(HEIGHT), |room| {
        slabs(a, b, out, stride, start, room.cast(), |slab| {
            // SAFETY: the caller's promise; the room holds `b` and then some rows of `a`.
            unsafe {
                slab.lay_columns(0..slab.b.rows);
                slab.rows(0..a.rows, room.add(pairs(WIDTH)).cast());
            }
        });
    });
}

/// As [`product`], on all threads: together they lay `b`, then each makes some rows of the target, `high` of them.
///
/// # Safety
/// As [`product`].
pub(super) unsafe fn product_by_rows(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>, high: usize) {
    with_room(&COMMON, pairs(WIDTH), |room| {
        slabs(a, b, out, stride, start, room.cast(), |slab| {
            let wide = slab.b.rows.div_ceil(a.rows.div_ceil(high)).next_multiple_of(BLOCK);
            // SAFETY: the caller's promise; each piece has columns or rows of its own, and the room holds all of the columns.
            (0..slab.b.rows.div_ceil(wide)).into_par_iter().for_each(|piece| unsafe {
                slab.lay_columns(piece * wide..slab.b.rows.min((piece + 1) * wide));
            });
            (0..a.rows.div_ceil(high)).into_par_iter().for_each(|piece| {
                let rows = piece * high..a.rows.min((piece + 1) * high);
                // SAFETY: as above; each thread lays `a` in a room of its own.
                with_room(&ROOM, pairs(HEIGHT), |room| unsafe { slab.rows(rows, room.cast()) });
            });
        });
    });
}

/// Calls `work` with each slab of a product in turn, whose `b` it has to lay in `laid`.
fn slabs(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>, laid: *mut u32, work: impl Fn(&Slab<'_>)) {
    let (n, k) = (b.columns, a.columns);
    let (width, depth) = (even(n, WIDTH, BLOCK), even(k, DEPTH, CHUNK));
    for j0 in (0..n).step_by(width) {
        for p0 in (0..k).step_by(depth) {
            let (columns, steps) = (width.min(n - j0), depth.min(k - p0));
            work(&Slab {
                a: Matrix { data: &a.data[p0 * a.column_stride..], columns: steps, ..a },
                b: Matrix { data: &b.data[p0 * b.row_stride + j0 * b.column_stride..], rows: steps, columns, ..b }.t(),
                laid,
                chunks: steps.div_ceil(CHUNK),
                out: Place(out.wrapping_add(j0)),
                stride,
                add: p0 > 0 || matches!(start, Start::Target | Start::TargetAndRow(_)),
                bias: match start {
                    Start::Row(row) | Start::TargetAndRow(row) if p0 == 0 => Some(&row[j0..j0 + columns]),
                    _ => None,
                },
            });
        }
    }
}

/// Some steps of the depth for some columns of the target.
struct Slab<'a> {
    a: Matrix<'a>,
    /// Turned: its rows are the columns of the target.
    b: Matrix<'a>,
    /// Where `b` is laid.
    laid: *mut u32,
    chunks: usize,
    out: Place,
    stride: usize,
    add: bool,
    bias: Option<&'a [f32]>,
}

// SAFETY: threads write to different rows of the target, and lay different columns before any of them reads.
unsafe impl Sync for Slab<'_> {}

impl Slab<'_> {
    /// Lays these columns of `b`, from a whole block on.
    unsafe fn lay_columns(&self, columns: Range<usize>) {
        let first = columns.start / SIDE;
        // SAFETY: the room holds all columns; AVX-512 is wherever the unit is.
        unsafe { lay(self.b.rows(columns), Side::Right, first, self.laid) };
    }

    /// Makes these rows of the target; `room` is for those of `a`.
    unsafe fn rows(&self, rows: Range<usize>, room: *mut u32) {
        let columns = self.b.rows;
        // SAFETY: granted by the caller's promise; nothing below shapes it again.
        let unit = unsafe { Unit::shaped() };
        for i0 in rows.clone().step_by(HEIGHT) {
            let rows = i0..rows.end.min(i0 + HEIGHT);
            // SAFETY: the room holds so many rows; AVX-512 is wherever the unit is.
            unsafe { lay(self.a.rows(rows.clone()), Side::Left, 0, room) };
            for j0 in (0..columns).step_by(NARROW) {
                let end = columns.min(j0 + NARROW);
                for i in rows.clone().step_by(BLOCK) {
                    let a = room.wrapping_add(place((i - i0) / SIDE, 0, self.chunks));
                    // Of the next block's rows of `a` each block of these asks for its share.
                    let share = (self.chunks * STEP).div_ceil((end - j0).div_ceil(BLOCK));
                    for (q, j) in (j0..end).step_by(BLOCK).enumerate() {
                        let (next_i, next_j) = if j + BLOCK < end { (i, j + BLOCK) } else { (i + BLOCK, j0) };
                        let soon = Soon {
                            target: self.out.0.wrapping_add(next_i * self.stride + next_j),
                            side: a.wrapping_add(self.chunks * STEP + q * share),
                        };
                        let sides = (BLOCK.min(rows.end - i), BLOCK.min(end - j));
                        // SAFETY: a block of these rows and columns, whose sides are laid.
                        unsafe { self.block(&unit, (i, j), sides, a, soon) };
                    }
                }
            }
        }
    }

    /// Makes one block; where it is not whole, by way of one that is.
    unsafe fn block(&self, unit: &Unit, (i, j): (usize, usize), (rows, columns): (usize, usize), a: *const u32, soon: Soon) {
        static ZEROS: [f32; BLOCK] = [0.0; BLOCK];
        let b = self.laid.wrapping_add(place(j / SIDE, 0, self.chunks));
        let bias = self.bias.map(|row| &row[j..j + columns]);
        // SAFETY: a row of this block in the target, by the caller's promise.
        let row = |r: usize| unsafe { std::slice::from_raw_parts_mut(self.out.at((i + r) * self.stride + j), columns) };
        let add = |to: &mut [f32], bias: &[f32]| to.iter_mut().zip(bias).for_each(|(t, b)| *t += *b);
        if (rows, columns) == (BLOCK, BLOCK) {
            if let (true, Some(bias)) = (self.add, bias) {
                (0..rows).for_each(|r| add(row(r), bias));
            }
            let out = self.out.at(i * self.stride + j);
            let start = match bias {
                _ if self.add => (out.cast_const(), self.stride),
                Some(bias) => (bias.as_ptr(), 0),
                None => (ZEROS.as_ptr(), 0),
            };
            // SAFETY: a whole block of the target.
            return unsafe { unit.block(self.chunks, (a, b), start, (out, self.stride), soon) };
        }
        let mut whole = [[0.0f32; BLOCK]; BLOCK];
        for (r, to) in whole[..rows].iter_mut().enumerate() {
            if self.add {
                to[..columns].copy_from_slice(row(r));
            }
            bias.inspect(|bias| add(to, bias));
        }
        let at = whole.as_mut_ptr().cast::<f32>();
        // SAFETY: a whole block.
        unsafe { unit.block(self.chunks, (a, b), (at, BLOCK), (at, BLOCK), soon) };
        (0..rows).for_each(|r| row(r).copy_from_slice(&whole[r][..columns]));
    }
}
