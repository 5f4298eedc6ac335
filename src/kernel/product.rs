//! A product on one thread with AVX-512: lays both sides so that [`super::tile`] reads them in order.
//!
//! As in Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication": `b` is gathered in panels of 32 columns and
//! up to 384 steps of depth, which stay in the third cache, `a` in eight tiles' rows, which stay in the second; both are transposed on the
//! way where need be. A tile reads `a` where it lies, if its columns lie side by side, as in a gradient of weights, or its rows do and
//! come in whole tiles: gathering them cost one part in twenty. Each sum goes over the depth in the same order, in blocks that depend on
//! the depth alone, so a number has the same bits however the target is cut into parts.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::matmul::{Matrix, Start};
use super::tile::{COLUMNS, LANES, ROWS, Target, any_tile, mask, transpose};
use super::tile_of_rows::{STEPS, tile_of_rows};

/// How much of `b` is gathered at once at most: 2.25 MiB.
const DEPTH: usize = 384;
const WIDTH: usize = 1536;
/// How many tiles' rows of `a` are gathered at once at most: 192 KiB.
const TILES: usize = 8;
/// Up to here `b` is read where it lies, if its rows are whole: it would be gathered for too few rows.
const FEW_ROWS: usize = 64;

/// 64 bytes on a boundary of 64.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[expect(dead_code, reason = "read through a pointer to the first")] [f32; LANES]);

thread_local! {
    /// Where both sides are gathered; kept, since a fresh page costs as much as filling it.
    static ROOM: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Parts of nearly equal length, multiples of `unit`, at most `most` each.
fn even(length: usize, most: usize, unit: usize) -> usize {
    length.div_ceil(length.div_ceil(most)).next_multiple_of(unit)
}

/// target (row stride `stride`) = a · b from `start`.
///
/// # Safety
/// `out` must be valid for a.rows × b.columns values with this row stride, and nobody else may touch them. AVX-512 is there.
pub(super) unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>) {
    ROOM.with_borrow_mut(|room| {
        room.resize((WIDTH + TILES * LANES) * DEPTH / LANES, Line([0.0; LANES]));
        let panels = room.as_mut_ptr().cast::<f32>();
        // SAFETY: the caller's promise; the room holds WIDTH · DEPTH numbers for `b`, and for each of 8 tiles of `a` 16 · DEPTH.
        unsafe { slabs(a, b, out, stride, start, panels, panels.add(WIDTH * DEPTH)) }
    });
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn slabs(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>, panels: *mut f32, gathered: *mut f32) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let height = if m > TILES * ROWS { ROWS } else { even(m, ROWS, 1) };
    let (width, depth) = (even(n, WIDTH, COLUMNS), even(k, DEPTH, LANES));
    let block = height * TILES;
    let as_it_lies = b.column_stride == 1 && m <= FEW_ROWS;
    for j0 in (0..n).step_by(width) {
        let columns = width.min(n - j0);
        for p0 in (0..k).step_by(depth) {
            let steps = depth.min(k - p0);
            let part = &b.data[p0 * b.row_stride + j0 * b.column_stride..];
            // SAFETY: every offset stays inside the matrices, whose reach was proven when they were made, inside the room, and inside the
            // target by the caller's promise.
            unsafe {
                if !as_it_lies {
                    gather_panels(part.as_ptr(), b, (steps, columns), panels);
                }
                let slab = Slab {
                    b_gathered: !as_it_lies,
                    a: Matrix { data: &a.data[p0 * a.column_stride..], columns: steps, ..a },
                    panels: if as_it_lies { part.as_ptr() } else { panels },
                    strides: if as_it_lies { (COLUMNS, b.row_stride) } else { (COLUMNS * steps, COLUMNS) },
                    columns,
                    out: out.add(j0),
                    stride,
                    add: p0 > 0 || matches!(start, Start::Target | Start::TargetAndRow(_)),
                    bias: match start {
                        Start::Row(row) | Start::TargetAndRow(row) if p0 == 0 => Some(&row[j0..]),
                        _ => None,
                    },
                };
                (0..m).step_by(block).for_each(|i| slab.rows(i..m.min(i + block), height, gathered));
            }
        }
    }
}

/// Some steps of the depth for some columns of the target.
struct Slab<'a> {
    a: Matrix<'a>,
    /// Whether `b` is gathered, or read where it lies.
    b_gathered: bool,
    panels: *const f32,
    /// From one panel of `b` to the next, and from one step in it to the next.
    strides: (usize, usize),
    columns: usize,
    out: *mut f32,
    stride: usize,
    add: bool,
    bias: Option<&'a [f32]>,
}

impl Slab<'_> {
    /// Makes these rows of the target, in tiles of `height` rows, gathering those of `a`.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    unsafe fn rows(&self, rows: Range<usize>, height: usize, gathered: *mut f32) {
        let steps = self.a.columns;
        let as_it_lies = self.a.row_stride == 1;
        // All of these tiles can read the rows of `a` where they lie.
        let whole = self.b_gathered
            && self.a.column_stride == 1
            && (height, rows.len() % ROWS, steps % STEPS) == (ROWS, 0, 0)
            && (self.columns - 1) % COLUMNS >= LANES;
        let from = |i: usize| self.a.data.as_ptr().wrapping_add(i * self.a.row_stride);
        // SAFETY: see `slabs`.
        unsafe {
            if !as_it_lies && !whole {
                gather_rows(from(rows.start), self.a, (rows.len(), height), gathered);
            }
            for (panel, j) in (0..self.columns).step_by(COLUMNS).enumerate() {
                for (tile, i) in rows.clone().step_by(height).enumerate() {
                    let target = Target {
                        at: self.out.add(i * self.stride + j),
                        stride: self.stride,
                        add: self.add,
                        bias: self.bias.map_or(std::ptr::null(), |row| row[j..].as_ptr()),
                    };
                    let sides = (height.min(rows.end - i), COLUMNS.min(self.columns - j));
                    let panel = self.panels.add(panel * self.strides.0);
                    if whole {
                        tile_of_rows(steps, from(i), self.a.row_stride, panel, target, sides.1);
                    } else {
                        let a = match as_it_lies {
                            true => (from(i), self.a.column_stride),
                            false => (gathered.add(tile * LANES * steps).cast_const(), LANES),
                        };
                        any_tile(sides, steps, a, (panel, self.strides.1), target);
                    }
                }
            }
        }
    }
}

/// Gathers `steps` rows of `b` in panels of 32 columns, 32 numbers for each; those beyond the columns are anything.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn gather_panels(from: *const f32, b: Matrix<'_>, (steps, columns): (usize, usize), panels: *mut f32) {
    let place = |j: usize| j / COLUMNS * COLUMNS * steps + j % COLUMNS;
    // SAFETY: rows below `steps`, columns below `columns`; each panel takes 32 · steps numbers. Prefetching may reach anywhere.
    unsafe {
        if b.column_stride != 1 {
            for j in (0..columns).step_by(LANES) {
                let sides = (LANES.min(columns - j), steps);
                gather(from.add(j * b.column_stride), (b.column_stride, b.row_stride), sides, panels.add(place(j)), COLUMNS);
            }
            return;
        }
        // Row by row, as memory likes to be read.
        for p in 0..steps {
            let (from, to) = (from.add(p * b.row_stride), panels.add(p * COLUMNS));
            for j in (0..columns).step_by(LANES) {
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(4 * b.row_stride + j).cast());
                _mm512_store_ps(to.add(place(j)), _mm512_maskz_loadu_ps(mask(columns - j), from.add(j)));
            }
        }
    }
}

/// Gathers rows of `a`, `height` of them for each tile: for each step 16 numbers, those beyond the tile's rows anything.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn gather_rows(from: *const f32, a: Matrix<'_>, (rows, height): (usize, usize), out: *mut f32) {
    for (tile, i) in (0..rows).step_by(height).enumerate() {
        let sides = (height.min(rows - i), a.columns);
        // SAFETY: rows and steps lie inside `a` by the caller's promise.
        unsafe { gather(from.add(i * a.row_stride), (a.row_stride, a.column_stride), sides, out.add(tile * LANES * a.columns), LANES) };
    }
}

/// out[p · out_stride + i] = from[i · strides.0 + p · strides.1] for 16 of i, those beyond `rows` anything.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn gather(from: *const f32, strides: (usize, usize), (rows, steps): (usize, usize), out: *mut f32, out_stride: usize) {
    for p in (0..steps).step_by(LANES) {
        let here = LANES.min(steps - p);
        // SAFETY: i below `rows`, p below `steps`.
        unsafe {
            if strides.1 == 1 {
                // What is gathered next lies below.
                (rows..2 * rows).for_each(|i| _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(i * strides.0 + p).cast()));
                transpose((rows, here), from.add(p), strides.0, out.add(p * out_stride), out_stride);
            } else {
                for q in p..p + here {
                    (0..LANES).for_each(|i| {
                        *out.add(q * out_stride + i) = *from.add(i.min(rows - 1) * strides.0 + q * strides.1);
                    });
                }
            }
        }
    }
}
