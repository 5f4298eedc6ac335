//! Gaussian blur, with torchvision's kernel and its mirrored edge.

use crate::data::image::Rgb;
use crate::kernel::vectorised;

/// Most taps from the middle of a kernel outwards: kernels have up to 99 (see `Steps::check`).
const MOST_TAPS: usize = 50;

/// Working memory of [`blur`].
#[derive(Default)]
pub struct BlurMemory {
    padded: Vec<f32>,
    rows: Vec<f32>,
    sums: Vec<f32>,
}

/// Blurs with a kernel of `side` x `side` pixels and deviation `sigma` (`gaussian_blur`), rows first, then columns.
///
/// Outside, the picture is mirrored without repeating its edge.
pub fn blur(picture: &mut Rgb, side: usize, sigma: f64, memory: &mut BlurMemory) {
    let taps = half_kernel(side, sigma);
    let reach = taps.len() - 1;
    if reach == 0 {
        return;
    }
    let (width, height) = (picture.width(), picture.height());
    let none: [&[f32]; 2] = [&[]; 2];
    let stride = width * 3;
    memory.rows.resize(height * stride, 0.0);
    memory.padded.resize((width + 2 * reach) * 3, 0.0);
    memory.sums.resize(stride, 0.0);
    for y in 0..height {
        let row = &picture.pixels()[y * stride..][..stride];
        let (before, rest) = memory.padded.split_at_mut(reach * 3);
        let (middle, after) = rest.split_at_mut(stride);
        widen(row, middle);
        for i in 0..reach {
            let left = mirrored(i as i64 - reach as i64, width) * 3;
            before[i * 3..][..3].copy_from_slice(&middle[left..left + 3]);
            let right = mirrored((width + i) as i64, width) * 3;
            after[i * 3..][..3].copy_from_slice(&middle[right..right + 3]);
        }
        let at = |offset: usize| &memory.padded[offset * 3..][..stride];
        let mut pairs = [none; MOST_TAPS];
        pairs.iter_mut().zip(0..=reach).for_each(|(pair, j)| *pair = [at(reach - j), at(reach + j)]);
        weighted(&taps, &pairs, &mut memory.rows[y * stride..][..stride]);
    }
    for y in 0..height {
        let at = |row: i64| &memory.rows[mirrored(row, height) * stride..][..stride];
        let mut pairs = [none; MOST_TAPS];
        pairs.iter_mut().zip(0..=reach as i64).for_each(|(pair, j)| *pair = [at(y as i64 - j), at(y as i64 + j)]);
        weighted(&taps, &pairs, &mut memory.sums);
        round(&memory.sums, &mut picture.pixels_mut()[y * stride..][..stride]);
    }
}

/// Numbers that are summed up side by side, in registers.
const RUN: usize = 64;

vectorised! {
    /// out = taps[0] · pairs[0][0] + Σ taps[j] · (pairs[j][0] + pairs[j][1]), in the order of the taps.
    fn weighted(taps: &[f32], pairs: &[[&[f32]; 2]], out: &mut [f32]) {
        let (runs, rest) = out.as_chunks_mut::<RUN>();
        let after = runs.len() * RUN;
        for (i, run) in runs.iter_mut().enumerate() {
            let of = |values: &[f32]| -> [f32; RUN] { std::array::from_fn(|k| values[i * RUN..][..RUN][k]) };
            let mut sums = of(pairs[0][0]).map(|v| v * taps[0]);
            for (tap, [a, b]) in taps[1..].iter().zip(&pairs[1..]) {
                let (a, b) = (&a[i * RUN..][..RUN], &b[i * RUN..][..RUN]);
                for k in 0..RUN {
                    sums[k] += tap * (a[k] + b[k]);
                }
            }
            *run = sums;
        }
        for (k, to) in rest.iter_mut().enumerate() {
            *to = pairs[0][0][after + k] * taps[0];
            for (tap, [a, b]) in taps[1..].iter().zip(&pairs[1..]) {
                *to += tap * (a[after + k] + b[after + k]);
            }
        }
    }
}

vectorised! {
    fn widen(from: &[u8], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from(*from));
    }
}

vectorised! {
    /// Rounds means of 8-bit values.
    fn round(from: &[f32], to: &mut [u8]) {
        // SAFETY: not negative, and hardly beyond 255; adding a half and cutting off rounds.
        to.iter_mut().zip(from).for_each(|(to, v)| *to = (unsafe { (v + 0.5).to_int_unchecked::<i32>() }) as u8);
    }
}

/// The kernel from its middle outwards, normalised; taps too small to change an 8-bit value are left out.
fn half_kernel(side: usize, sigma: f64) -> Vec<f32> {
    let half = (side / 2).min(MOST_TAPS - 1);
    let weights: Vec<f64> = (0..=half).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    let kept = weights.iter().take_while(|w| **w / total > 1e-6).count().max(1);
    weights[..kept].iter().map(|w| (w / total) as f32).collect()
}

/// The place that `i` mirrors to within `size`: ... 2 1 0 1 2 ... n-1 n-2 ...
fn mirrored(i: i64, size: usize) -> usize {
    let period = (2 * size as i64 - 2).max(1);
    let i = i.rem_euclid(period);
    i.min(period - i).min(size as i64 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_smaller_than_the_kernel_is_blurred_too() {
        let mut picture = Rgb::filled(2, 1, [40, 50, 60]);
        blur(&mut picture, 11, 3.0, &mut BlurMemory::default());
        assert_eq!(picture.pixels(), [40, 50, 60, 40, 50, 60]);
    }

    #[test]
    fn mirroring_does_not_repeat_the_edge() {
        let places: Vec<usize> = (-3..6).map(|i| mirrored(i, 3)).collect();
        assert_eq!(places, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
    }
}
