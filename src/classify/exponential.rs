//! exp(x) - 1 and log(1 + x) without branches, so that a loop over them uses the vector unit.
//!
//! Both are off by at most two units in the last place, near zero too, and have the same bits on every machine: no step is fused. The
//! reduction and the constants are those of fdlibm (Sun Microsystems 1993, `e_exp.c` and `s_log1p.c`).

/// ln 2 in two parts: a multiple of the first by a small whole number is exact.
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Added to a small number, it leaves the nearest whole number in the last bits.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
const ONE: u64 = 0x3ff0_0000_0000_0000;
const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

/// Beyond it exp(x) is infinite here, a little before it leaves the range of f64.
const LARGEST: f64 = 709.0;

/// Returns exp(x) - 1.
#[inline(always)]
pub(super) fn exp_m1(x: f64) -> f64 {
    let beyond = x > LARGEST;
    // Below -700 it is -1 all the same.
    let x = x.clamp(-700.0, LARGEST);
    // x = n ln 2 + r with |r| up to half of ln 2.
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // exp(r) - 1 = r + r²/2! + .. + r^13/13!; the next term is below 5e-18 of it. Even and odd terms side by side, which waits half as long.
    let z = r * r;
    let (mut even, mut odd) = (1.0 / 479_001_600.0, 1.0 / 6_227_020_800.0);
    for (of_even, of_odd) in [(3_628_800.0, 39_916_800.0), (40_320.0, 362_880.0), (720.0, 5_040.0), (24.0, 120.0), (2.0, 6.0)] {
        even = even * z + 1.0 / of_even;
        odd = odd * z + 1.0 / of_odd;
    }
    let p = r + z * (even + r * odd);
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52); // 2^n
    if beyond { f64::INFINITY } else { power * p + (power - 1.0) }
}

/// Returns log(1 + x), for finite x of at least 0.
#[inline(always)]
pub(super) fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    // What rounding took from the sum. Beyond 2^53 it is the 1, which is nothing there.
    let lost = if x < 9e15 { x - (sum - 1.0) } else { 0.0 };
    // sum = 2^k m with m from the root of 1/2 to the root of 2.
    let bits = sum.to_bits().wrapping_add(ONE - ROOT_HALF);
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - 4_503_599_627_370_496.0 - 1023.0;
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + ROOT_HALF);
    // log m = 2 artanh(s), of which the polynomial gives all but the first term.
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = 1.479_819_860_511_658_6e-1;
    for factor in [
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ] {
        p = p * z + factor;
    }
    let half = 0.5 * f * f;
    let low = k * LN2_LOW + lost / sum;
    k * LN2_HIGH - ((half - (s * (half + z * p) + low)) - f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest difference to the standard library, in units in the last place of its result.
    fn worst(values: impl Iterator<Item = f64>, ours: fn(f64) -> f64, theirs: fn(f64) -> f64) -> f64 {
        values.map(|x| (ours(x) - theirs(x)).abs() / (theirs(x).abs() * f64::EPSILON).max(f64::MIN_POSITIVE)).fold(0.0, f64::max)
    }

    /// Both signs, every size from 1e-300 on, in steps that meet no round number.
    fn sizes(largest: f64) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(1e-300), |x| Some(x * 1.0137)).take_while(move |x| *x < largest)
    }

    #[test]
    fn both_are_within_two_units_in_the_last_place_of_the_standard_library() {
        assert!(worst(sizes(700.0), exp_m1, f64::exp_m1) <= 2.0);
        assert!(worst(sizes(700.0).map(|x| -x), exp_m1, f64::exp_m1) <= 2.0);
        assert!(worst(sizes(1e300), ln_1p, f64::ln_1p) <= 2.0);
        assert!(worst((0..200_000).map(|i| f64::from(i) * 1e-4 - 10.0), exp_m1, f64::exp_m1) <= 2.0);
        assert!(worst((0..200_000).map(|i| f64::from(i) * 1e-4), ln_1p, f64::ln_1p) <= 2.0);
    }

    #[test]
    fn zero_and_the_far_ends_are_exact() {
        assert_eq!([exp_m1(0.0), ln_1p(0.0), exp_m1(-1e9), exp_m1(-40.0), exp_m1(1e9)], [0.0, 0.0, -1.0, -1.0, f64::INFINITY]);
    }
}
