//! Gaussian blur, with torchvision's kernel and its mirrored edge.

use crate::data::image::Rgb;

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
    let stride = width * 3;
    memory.rows.resize(height * stride, 0.0);
    memory.padded.resize((width + 2 * reach) * 3, 0.0);
    memory.sums.resize(stride, 0.0);
    for y in 0..height {
        let row = &picture.pixels()[y * stride..][..stride];
        let (before, rest) = memory.padded.split_at_mut(reach * 3);
        let (middle, after) = rest.split_at_mut(stride);
        middle.iter_mut().zip(row).for_each(|(to, from)| *to = f32::from(*from));
        for i in 0..reach {
            let left = mirrored(i as i64 - reach as i64, width) * 3;
            before[i * 3..][..3].copy_from_slice(&middle[left..left + 3]);
            let right = mirrored((width + i) as i64, width) * 3;
            after[i * 3..][..3].copy_from_slice(&middle[right..right + 3]);
        }
        let out = &mut memory.rows[y * stride..][..stride];
        let at = |offset: usize| &memory.padded[offset * 3..][..stride];
        out.iter_mut().zip(at(reach)).for_each(|(to, v)| *to = v * taps[0]);
        for (j, tap) in taps.iter().enumerate().skip(1) {
            add(out, at(reach - j), at(reach + j), *tap);
        }
    }
    for y in 0..height {
        let at = |row: i64| &memory.rows[mirrored(row, height) * stride..][..stride];
        let y = y as i64;
        memory.sums.iter_mut().zip(at(y)).for_each(|(to, v)| *to = v * taps[0]);
        for (j, tap) in taps.iter().enumerate().skip(1) {
            add(&mut memory.sums, at(y - j as i64), at(y + j as i64), *tap);
        }
        let out = &mut picture.pixels_mut()[y as usize * stride..][..stride];
        // The sums are not negative, so that adding a half and cutting off rounds.
        out.iter_mut().zip(&memory.sums).for_each(|(to, v)| *to = (v + 0.5) as u8);
    }
}

fn add(out: &mut [f32], a: &[f32], b: &[f32], tap: f32) {
    for ((to, a), b) in out.iter_mut().zip(a).zip(b) {
        *to += tap * (a + b);
    }
}

/// The kernel from its middle outwards, normalised; taps too small to change an 8-bit value are left out.
fn half_kernel(side: usize, sigma: f64) -> Vec<f32> {
    let half = side / 2;
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
