//! Sums (and the largest) over slices with 32 of them side by side, two wide registers, since one after the other would wait for each addition.
//!
//! Plain loops, since the compiler leaves `for_each` over a range as a call, number by number.

use std::hint::black_box;

/// How many sums there are.
pub const LANES: usize = 32;

/// Joins all lanes, half with half.
#[inline(always)]
fn joined(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    // Through memory: else the compiler takes the registers of the loop before apart as well, into fours.
    let lanes = black_box(lanes);
    let (mut sixteen, mut eight, mut four) = ([0.0; 16], [0.0; 8], [0.0; 4]);
    for i in 0..16 {
        sixteen[i] = join(lanes[i], lanes[i + 16]);
    }
    for i in 0..8 {
        eight[i] = join(sixteen[i], sixteen[i + 8]);
    }
    for i in 0..4 {
        four[i] = join(eight[i], eight[i + 4]);
    }
    join(join(four[0], four[2]), join(four[1], four[3]))
}

/// Returns the sum of all lanes.
#[inline(always)]
pub fn total(lanes: [f32; LANES]) -> f32 {
    joined(lanes, |a, b| a + b)
}

/// Folds a slice by `add(sum, x)`, where the sum of sums is that of all.
#[inline(always)]
pub fn fold(x: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = add(lanes[i], x[i]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = add(*lane, *x);
    }
    total(lanes)
}

/// Folds two slices of equal length by `add(sum, x, y)`.
#[inline(always)]
pub fn fold_pairs(x: &[f32], y: &[f32], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((x, last_x), (y, last_y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for i in 0..LANES {
            lanes[i] = add(lanes[i], x[i], y[i]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(last_x.iter().zip(last_y)) {
        *lane = add(*lane, *x, *y);
    }
    total(lanes)
}

/// Returns the largest f(x), -∞ for none.
#[inline(always)]
pub fn largest(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], f(x[i]));
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, f(*x));
    }
    joined(lanes, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_takes_every_number_once_and_the_largest_is_found() {
        for n in [0, 1, 31, 32, 33, 95, 384] {
            let x: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let whole = (n * (n + 1) / 2) as f32;
            assert_eq!(fold(&x, |sum, x| sum + x), whole, "{n}");
            assert_eq!(fold_pairs(&x, &vec![2.0; n], |sum, x, y| sum + x * y), 2.0 * whole, "{n}");
            assert_eq!(largest(&x, |x| -x), if n > 0 { -1.0 } else { f32::NEG_INFINITY }, "{n}");
        }
    }
}
