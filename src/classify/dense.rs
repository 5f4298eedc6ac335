//! Matrix products and elementwise loops that give the same bits for any number of threads.
//!
//! Products run on one thread each, those of f32 on our own kernel where there is AVX-512, else on faer's; callers share out fixed blocks.
//! Loops are compiled for the machine's vector unit at run time, without fused multiply-add and without sums across lanes, so the vector
//! width never shows in a result.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::kernel::{Matrix, Start, matmul_one, rows_stand_alone, transpose};

/// The two number types that classifiers work in.
pub trait Real: faer::traits::ComplexField + Copy + PartialOrd + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Rounds to this type.
    fn of(x: f64) -> Self;
    /// Half the distance from 1 to the next number.
    const UNIT: f64;
    /// Widens without loss.
    fn wide(self) -> f64;
    /// Returns `n` zeros on the heap.
    fn zeros(n: usize) -> Vec<Self> {
        vec![Self::default(); n]
    }
    /// Writes exp(-gamma · max(0, p + q[j] - 2 · dot[j])), the radial kernel, for one point of squared norm `p`.
    fn radial(out: &mut [Self], dot: &[Self], p: Self, q: &[Self], gamma: Self);
    /// Returns whether a row of a product has the same bits whatever other rows there are.
    fn rows_stand_alone() -> bool {
        false
    }
    /// Writes the transpose of a matrix: to\[j · n + i\] = from\[i · m + j\].
    fn transpose(from: &[Self], n: usize, m: usize, to: &mut [Self]) {
        for (j, row) in to.chunks_exact_mut(n).enumerate() {
            row.iter_mut().enumerate().for_each(|(i, v)| *v = from[i * m + j]);
        }
    }
    /// As [`multiply`].
    fn product(dst: &mut [Self], add: bool, a: Rows<'_, Self>, b: Rows<'_, Self>) {
        faer_product(dst, add, a, b);
    }
}

/// A matrix whose rows lie `stride` apart in a slice; turned, it is the transpose of that.
#[derive(Clone, Copy)]
pub struct Rows<'a, F> {
    data: &'a [F],
    n: usize,
    dim: usize,
    stride: usize,
    turned: bool,
}

impl<'a, F> Rows<'a, F> {
    /// Returns the transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// Returns `dim` columns from `first` on, of a matrix that is not turned.
    pub fn columns(self, first: usize, dim: usize) -> Self {
        Self { data: &self.data[first..], dim, ..self }
    }

    fn faer(self) -> MatRef<'a, F> {
        let plain = MatRef::from_row_major_slice_with_stride(self.data, self.n, self.dim, self.stride);
        if self.turned { plain.transpose() } else { plain }
    }
}

/// A matrix whose rows follow one another in `data`.
pub(crate) fn rows<F>(data: &[F], n: usize, dim: usize) -> Rows<'_, F> {
    Rows { data, n, dim, stride: dim, turned: false }
}

/// Runs a loop compiled for the widest vector unit of this machine.
#[inline(always)]
pub(crate) fn vectored<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// dst = a · b, or dst += a · b, on this thread; rows of dst follow one another.
pub(crate) fn multiply<F: Real>(dst: &mut [F], add: bool, a: Rows<'_, F>, b: Rows<'_, F>) {
    F::product(dst, add, a, b);
}

fn faer_product<F: Real>(dst: &mut [F], add: bool, a: Rows<'_, F>, b: Rows<'_, F>) {
    let accum = if add { Accum::Add } else { Accum::Replace };
    let (a, b) = (a.faer(), b.faer());
    matmul(MatMut::from_row_major_slice_mut(dst, a.nrows(), b.ncols()), accum, a, b, F::of(1.0), Par::Seq);
}

/// The lower triangle of dst = aᵀ · a, on this thread; above it dst stays as it is.
pub(crate) fn square<F: Real>(dst: &mut [F], a: Rows<'_, F>) {
    use BlockStructure::{Rectangular, TriangularLower};
    let (dim, a) = (a.dim, a.faer());
    let dst = MatMut::from_row_major_slice_mut(dst, dim, dim);
    triangular::matmul(dst, TriangularLower, Accum::Replace, a.transpose(), Rectangular, a, Rectangular, F::of(1.0), Par::Seq);
}

/// Does `n` pieces of work in order or on all threads; the results are in order either way.
pub(crate) fn spread<T: Send>(share: bool, n: usize, work: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    spread_in(share, n, || (), |(), at| work(at))
}

/// As [`spread`], in rooms that one piece of work leaves to the next.
pub(crate) fn spread_in<R, T: Send>(
    share: bool,
    n: usize,
    room: impl Fn() -> R + Send + Sync,
    work: impl Fn(&mut R, usize) -> T + Send + Sync,
) -> Vec<T> {
    if share {
        return (0..n).into_par_iter().map_init(room, work).collect();
    }
    let mut room = room();
    (0..n).map(|at| work(&mut room, at)).collect()
}

/// Returns the sum of `f` over a few values, in eight lanes and so in a fixed order.
#[inline(always)]
pub(crate) fn lane_sum(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let (some, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in some {
        for lane in 0..8 {
            lanes[lane] += f(eight[lane]);
        }
    }
    // Lanes that lie in memory are summed side by side; else the compiler pairs them as they are added up here.
    let [a, b, c, d, e, g, h, i] = std::hint::black_box(lanes);
    rest.iter().fold(((a + b) + (c + d)) + ((e + g) + (h + i)), |sum, v| sum + f(*v))
}

/// Returns the squared length, summed in f64 in a fixed order.
pub(crate) fn squared_norm<F: Real>(x: &[F]) -> f64 {
    vectored(
        #[inline(always)]
        || {
            let mut lanes = [0.0; 8];
            let mut chunks = x.chunks_exact(8);
            for chunk in &mut chunks {
                for (lane, &v) in lanes.iter_mut().zip(chunk) {
                    *lane += v.wide() * v.wide();
                }
            }
            lanes.iter().sum::<f64>() + chunks.remainder().iter().map(|v| v.wide() * v.wide()).sum::<f64>()
        },
    )
}

/// Returns the squared distance, summed in f64 in a fixed order: exactly zero for equal rows.
pub(crate) fn squared_distance<F: Real>(x: &[F], y: &[F]) -> f64 {
    vectored(
        #[inline(always)]
        || {
            let mut lanes = [0.0; 8];
            let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
            let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| (a.wide() - b.wide()).powi(2)).sum();
            for (a, b) in xs.zip(ys) {
                for lane in 0..8 {
                    let d = a[lane].wide() - b[lane].wide();
                    lanes[lane] += d * d;
                }
            }
            lanes.iter().sum::<f64>() + rest
        },
    )
}

impl Real for f32 {
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn rows_stand_alone() -> bool {
        rows_stand_alone()
    }
    fn product(dst: &mut [f32], add: bool, a: Rows<'_, f32>, b: Rows<'_, f32>) {
        if !rows_stand_alone() {
            return faer_product(dst, add, a, b);
        }
        let [a, b] = [a, b].map(|side| {
            let plain = Matrix::strided(side.data, side.n, side.dim, side.stride, 1);
            (if side.turned { plain.t() } else { plain }, if side.turned { side.n } else { side.dim })
        });
        matmul_one(a.0, b.0, dst, b.1, if add { Start::Target } else { Start::Nothing });
    }
    fn transpose(from: &[f32], n: usize, m: usize, to: &mut [f32]) {
        transpose(from, n, m, to);
    }
    fn radial(out: &mut [f32], dot: &[f32], p: f32, q: &[f32], gamma: f32) {
        vectored(
            #[inline(always)]
            || {
                for ((out, &dot), &q) in out.iter_mut().zip(dot).zip(q) {
                    let square = p + q - 2.0 * dot;
                    let square = if square > 0.0 { square } else { 0.0 };
                    *out = exp(-gamma * square);
                }
            },
        );
    }
}

impl Real for f64 {
    const UNIT: f64 = f64::EPSILON / 2.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    fn radial(out: &mut [f64], dot: &[f64], p: f64, q: &[f64], gamma: f64) {
        for ((out, &dot), &q) in out.iter_mut().zip(dot).zip(q) {
            *out = -gamma * (p + q - 2.0 * dot).max(0.0);
        }
        exponentials(out);
    }
}

/// exp for arguments up to 88, within 2 units in the last place; below -87 it stays at 1.6e-38 (Cephes' `expf`, Moshier 1992).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    y * f32::from_bits(power)
}

/// Replaces each number, at most 0, by its exponential, within 2 units in the last place.
///
/// Below -708 it stays at 3.3e-308.
pub(crate) fn exponentials(values: &mut [f64]) {
    vectored(
        #[inline(always)]
        || values.iter_mut().for_each(|v| *v = exp64(*v)),
    );
}

/// exp by its Taylor polynomial on ±ln 2 / 2, where fourteen terms reach the last bit.
#[inline(always)]
fn exp64(x: f64) -> f64 {
    // As in `exp`: 1.5 · 2^52 rounds to a whole number and leaves it in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = if x < -708.0 { -708.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.0 / 6_227_020_800.0;
    for inverse in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + inverse;
    }
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023) << 52;
    p * f64::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_exponential_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.4e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 2e-38);
    }

    #[test]
    fn the_fast_exponentials_of_f64_are_within_two_units_in_the_last_place() {
        let mut values: Vec<f64> = (0..=700_000).map(|i| -f64::from(i) * 1e-3).collect();
        let exact: Vec<f64> = values.iter().map(|v| v.exp()).collect();
        exponentials(&mut values);
        let worst = values.iter().zip(&exact).map(|(v, e)| ((v - e) / e).abs()).fold(0.0, f64::max);
        assert!(worst < 4.5e-16, "{worst:e}");
        let mut ends = [0.0, -1e9];
        exponentials(&mut ends);
        assert!(ends[0] == 1.0 && ends[1] < 1e-307);
    }

    #[test]
    fn products_of_turned_matrices_and_of_some_columns_are_those_of_the_definition() {
        fn check<F: Real>() {
            let whole = |n: usize| -> Vec<F> { (0..n).map(|i| F::of((i * 7 % 11) as f64 - 5.0)).collect() };
            let (a, b, mut out) = (whole(6 * 9), whole(4 * 5), vec![F::of(2.0); 6 * 4]);
            multiply(&mut out, true, rows(&a, 6, 9).columns(2, 5), rows(&b, 4, 5).t());
            for (at, found) in out.iter().enumerate() {
                let (i, j) = (at / 4, at % 4);
                let sum: f64 = (0..5).map(|p| a[i * 9 + 2 + p].wide() * b[j * 5 + p].wide()).sum();
                assert_eq!(found.wide(), 2.0 + sum, "{i}, {j}");
            }
            let mut squared = vec![F::of(7.0); 9 * 9];
            square(&mut squared, rows(&a, 6, 9));
            for (at, found) in squared.iter().enumerate() {
                let (i, j) = (at / 9, at % 9);
                let sum: f64 = (0..6).map(|p| a[p * 9 + i].wide() * a[p * 9 + j].wide()).sum();
                assert_eq!(found.wide(), if j <= i { sum } else { 7.0 }, "{i}, {j}");
            }
        }
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn equal_rows_are_at_distance_zero() {
        let x: Vec<f32> = (0..37).map(|i| (i as f32).sin() * 1e3).collect();
        assert_eq!(squared_distance(&x, &x), 0.0);
        let y: Vec<f32> = x.iter().map(|v| v + 0.5).collect();
        assert!((squared_distance(&x, &y) - 37.0 * 0.25).abs() < 1e-2);
    }
}
