//! A product with AVX-512: lays both sides so that [`super::tile`] reads them in order.
//!
//! As in Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication": `b` is gathered in panels of 32 columns and
//! up to 384 steps of depth, which stay in the third cache, `a` in eight tiles' rows, which stay in the second; both are transposed on the
//! way where need be. A tile reads `a` where it lies, if its rows lie side by side and come in whole tiles: gathering them cost one part in
//! twenty. Each sum goes over the depth in the same order, in blocks that depend on the depth alone, so a number has the same bits however
//! the target is cut into parts.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;

use rayon::prelude::*;

use super::matmul::{Matrix, Place, Start};
use super::tile::{COLUMNS, LANES, ROWS, Target, any_tile, mask, transpose};
use super::whole_tile::{STEPS, gathered_tile, tile_of_rows};

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
pub(super) struct Line(#[expect(dead_code, reason = "read through a pointer to the first")] [f32; LANES]);

pub(super) type Room = Vec<Line>;

thread_local! {
    /// Where one thread gathers both sides; kept, since a fresh page costs as much as filling it.
    pub(super) static ROOM: RefCell<Room> = const { RefCell::new(Vec::new()) };
    /// Where all of them gather `b`, for the thread that asked for the product.
    pub(super) static COMMON: RefCell<Room> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a thread's room of so many numbers, which nobody else meets meanwhile: not even another product that comes by on the
/// same thread while this one waits.
pub(super) fn with_room(of: &'static LocalKey<RefCell<Room>>, numbers: usize, work: impl FnOnce(*mut f32)) {
    let mut room = of.take();
    room.resize(room.len().max(numbers.div_ceil(LANES)), Line([0.0; LANES]));
    work(room.as_mut_ptr().cast());
    of.set(room);
}

/// Parts of nearly equal length, multiples of `unit`, at most `most` each.
pub(super) fn even(length: usize, most: usize, unit: usize) -> usize {
    length.div_ceil(length.div_ceil(most)).next_multiple_of(unit)
}

/// target (row stride `stride`) = a · b from `start`.
///
/// # Safety
/// `out` must be valid for a.rows × b.columns values with this row stride, and nobody else may touch them. AVX-512 is there.
pub(super) unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>) {
    let as_it_lies = b.column_stride == 1 && a.rows <= FEW_ROWS;
    with_room(&ROOM, (WIDTH + TILES * LANES) * DEPTH, |panels| {
        slabs(a, b, out, stride, start, (!as_it_lies).then_some(panels), |slab| {
            // SAFETY: the caller's promise; the room holds WIDTH · DEPTH numbers for `b`, and for each of 8 tiles of `a` 16 · DEPTH.
            unsafe {
                if !as_it_lies {
                    slab.gather(0..slab.b.columns, panels);
                }
                slab.rows(0..a.rows, panels.add(WIDTH * DEPTH));
            }
        });
    });
}

/// As [`product`], on all threads: together they gather `b`, then each makes some rows of the target, `high` of them.
///
/// # Safety
/// As [`product`].
pub(super) unsafe fn product_by_rows(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>, high: usize) {
    with_room(&COMMON, WIDTH * DEPTH, |panels| {
        slabs(a, b, out, stride, start, Some(panels), |slab| {
            let panels = Place(panels);
            let wide = slab.b.columns.div_ceil(a.rows.div_ceil(high)).next_multiple_of(COLUMNS);
            // SAFETY: the caller's promise; each piece has columns or rows of its own, and the room holds all of the columns.
            (0..slab.b.columns.div_ceil(wide)).into_par_iter().for_each(|piece| unsafe {
                slab.gather(piece * wide..slab.b.columns.min((piece + 1) * wide), panels.at(0));
            });
            (0..a.rows.div_ceil(high)).into_par_iter().for_each(|piece| {
                let rows = piece * high..a.rows.min((piece + 1) * high);
                // SAFETY: as above; each thread gathers `a` in a room of its own.
                with_room(&ROOM, TILES * LANES * DEPTH, |gathered| unsafe { slab.rows(rows, gathered) });
            });
        });
    });
}

/// Calls `work` with each slab of a product in turn, whose `b` it has to gather in `panels`; without them `b` is read where it lies.
fn slabs(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize, start: Start<'_>, panels: Option<*mut f32>, work: impl Fn(&Slab<'_>)) {
    let (n, k) = (b.columns, a.columns);
    let (width, depth) = (even(n, WIDTH, COLUMNS), even(k, DEPTH, LANES));
    for j0 in (0..n).step_by(width) {
        for p0 in (0..k).step_by(depth) {
            let (columns, steps) = (width.min(n - j0), depth.min(k - p0));
            let data = &b.data[p0 * b.row_stride + j0 * b.column_stride..];
            work(&Slab {
                a: Matrix { data: &a.data[p0 * a.column_stride..], columns: steps, ..a },
                b: Matrix { data, rows: steps, columns, ..b },
                b_gathered: panels.is_some(),
                panels: panels.map_or(data.as_ptr(), <*mut f32>::cast_const),
                strides: if panels.is_some() { (COLUMNS * steps, COLUMNS) } else { (COLUMNS, b.row_stride) },
                out: out.wrapping_add(j0),
                stride,
                add: p0 > 0 || matches!(start, Start::Target | Start::TargetAndRow(_)),
                bias: match start {
                    Start::Row(row) | Start::TargetAndRow(row) if p0 == 0 => Some(&row[j0..]),
                    _ => None,
                },
            });
        }
    }
}

/// Some steps of the depth for some columns of the target.
struct Slab<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    /// Whether `b` is gathered, or read where it lies.
    b_gathered: bool,
    panels: *const f32,
    /// From one panel of `b` to the next, and from one step in it to the next.
    strides: (usize, usize),
    out: *mut f32,
    stride: usize,
    add: bool,
    bias: Option<&'a [f32]>,
}

// SAFETY: threads write to different rows of the target, and gather different columns before any of them reads.
unsafe impl Sync for Slab<'_> {}

impl Slab<'_> {
    /// Gathers these columns of `b`, from a whole panel on: for each step 32 numbers, those beyond the columns anything.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    unsafe fn gather(&self, columns: Range<usize>, panels: *mut f32) {
        let (b, steps) = (self.b, self.b.rows);
        let from = b.data.as_ptr();
        let place = |j: usize| j / COLUMNS * COLUMNS * steps + j % COLUMNS;
        // SAFETY: rows and columns of `b`; each panel takes 32 · steps numbers. Prefetching may reach anywhere.
        unsafe {
            if b.column_stride != 1 {
                for j in columns.clone().step_by(LANES) {
                    let sides = (LANES.min(columns.end - j), steps);
                    gather(from.add(j * b.column_stride), (b.column_stride, b.row_stride), sides, panels.add(place(j)), COLUMNS);
                }
                return;
            }
            // Row by row, as memory likes to be read.
            for p in 0..steps {
                let (from, to) = (from.add(p * b.row_stride), panels.add(p * COLUMNS));
                for j in columns.clone().step_by(LANES) {
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(4 * b.row_stride + j).cast());
                    _mm512_store_ps(to.add(place(j)), _mm512_maskz_loadu_ps(mask(columns.end - j), from.add(j)));
                }
            }
        }
    }

    /// Makes these rows of the target; those of `a` that cannot be read where they lie are gathered, eight tiles at once.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    unsafe fn rows(&self, rows: Range<usize>, gathered: *mut f32) {
        let height = if rows.len() > TILES * ROWS { ROWS } else { even(rows.len(), ROWS, 1) };
        for i in rows.clone().step_by(height * TILES) {
            // SAFETY: the caller's promise.
            unsafe { self.block(i..rows.end.min(i + height * TILES), height, gathered) };
        }
    }

    /// Makes some of them, in tiles of `height` rows.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
    unsafe fn block(&self, rows: Range<usize>, height: usize, gathered: *mut f32) {
        let steps = self.a.columns;
        let is_deep = self.b_gathered && steps.is_multiple_of(STEPS);
        // The rows of whole tiles are read where they lie, if they lie side by side and every panel is wide; the others are gathered.
        let are_read = is_deep && height == ROWS && self.a.column_stride == 1 && (self.b.columns - 1) % COLUMNS >= LANES;
        let n_read = if are_read { rows.len() / ROWS } else { 0 };
        let from = |i: usize| self.a.data.as_ptr().wrapping_add(i * self.a.row_stride);
        let gathered = |tile: usize| gathered.wrapping_add(tile * LANES * steps);
        let left = rows.start + n_read * ROWS..rows.end;
        // SAFETY: see `slabs`.
        unsafe {
            gather_rows(from(left.start), self.a, (left.len(), height), gathered(n_read));
            for (panel, j) in (0..self.b.columns).step_by(COLUMNS).enumerate() {
                for (tile, i) in rows.clone().step_by(height).enumerate() {
                    let target = Target {
                        at: self.out.add(i * self.stride + j),
                        stride: self.stride,
                        add: self.add,
                        bias: self.bias.map_or(std::ptr::null(), |row| row[j..].as_ptr()),
                    };
                    let sides = (height.min(rows.end - i), COLUMNS.min(self.b.columns - j));
                    let panel = self.panels.add(panel * self.strides.0);
                    if tile < n_read {
                        tile_of_rows(steps, from(i), self.a.row_stride, panel, target, sides.1);
                    } else if is_deep && sides.0 == ROWS && sides.1 > LANES {
                        gathered_tile(steps, gathered(tile), panel, target, sides.1);
                    } else {
                        any_tile(sides, steps, gathered(tile), (panel, self.strides.1), target);
                    }
                }
            }
        }
    }
}

/// Gathers rows of `a`, `height` of them for each tile: for each step 16 numbers, those beyond the tile's rows anything.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn gather_rows(from: *const f32, a: Matrix<'_>, (rows, height): (usize, usize), out: *mut f32) {
    let tiles = || (0..rows).step_by(height).enumerate();
    // SAFETY: rows and steps lie inside `a` by the caller's promise. Prefetching may reach anywhere.
    unsafe {
        if a.row_stride == 1 {
            // Step by step, as memory likes to be read.
            for p in 0..a.columns {
                let (from, to) = (from.add(p * a.column_stride), out.add(p * LANES));
                for (tile, i) in tiles() {
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(8 * a.column_stride + i).cast());
                    _mm512_store_ps(to.add(tile * LANES * a.columns), _mm512_maskz_loadu_ps(mask(rows - i), from.add(i)));
                }
            }
            return;
        }
        for (tile, i) in tiles() {
            let sides = (height.min(rows - i), a.columns);
            gather(from.add(i * a.row_stride), (a.row_stride, a.column_stride), sides, out.add(tile * LANES * a.columns), LANES);
        }
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
