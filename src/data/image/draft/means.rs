//! What a coefficient adds to the means over a block's pixels, so that nobody has to know the pixels.

/// Where the coefficients of a block stand, row by row, in the order in which they are coded (ITU-T T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56,
    57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The cosines of 0 to 8 sixteenths of pi, the same on every machine.
const COSINES: [f64; 9] = [
    1.0,
    0.980_785_280_403_230_4,
    0.923_879_532_511_286_7,
    0.831_469_612_302_545_2,
    0.707_106_781_186_547_5,
    0.555_570_233_019_602_2,
    0.382_683_432_365_089_8,
    0.195_090_322_016_128_27,
    0.0,
];

/// Returns, for each coefficient in the order in which they are coded, what one quantum of it adds to each of `n[0]` means side by side in
/// `n[1]` lines; each number is 1, 2, 4 or 8.
///
/// Pixel x of a line is sum over u of C(u) / 2 * F(u) * cos((2 x + 1) u pi / 16), with C(0) = 1 / sqrt(2) and 1 else, and a block so in both
/// ways (A.3.3); the mean of some pixels is the same sum with the means of their cosines.
pub(super) fn basis(n: [usize; 2], quantisation: &[f32; 64]) -> Vec<f32> {
    let [across, down] = n.map(|n| (0..n).map(|i| [0, 1, 2, 3, 4, 5, 6, 7].map(|u| mean(i, n, u))).collect::<Vec<_>>());
    let adds = |(quantum, place): (&f32, u8)| {
        let (u, v) = (usize::from(place % 8), usize::from(place / 8));
        let (across, quantum) = (&across, f64::from(*quantum));
        down.iter().flat_map(move |line| across.iter().map(move |mean| (quantum * line[v] * mean[u]) as f32)).collect::<Vec<_>>()
    };
    quantisation.iter().zip(ZIGZAG).flat_map(adds).collect()
}

/// The mean of what coefficient `u` of a line adds to the pixels of the `i`th of its `n` parts.
fn mean(i: usize, n: usize, u: usize) -> f64 {
    let cosine = |sixteenths: usize| match sixteenths % 32 {
        k @ 0..=8 => COSINES[k],
        k @ 9..=16 => -COSINES[16 - k],
        k @ 17..=24 => -COSINES[k - 16],
        k => COSINES[32 - k],
    };
    let pixel = |x: usize| if u == 0 { 0.5 * COSINES[4] } else { 0.5 * cosine((2 * x + 1) * u) };
    let pixels = 8 / n;
    (i * pixels..(i + 1) * pixels).map(pixel).sum::<f64>() / pixels as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_pixels() {
        let quantisation = std::array::from_fn(|i| 1.0 + i as f32);
        let coded: [f64; 64] = std::array::from_fn(|i| ((i * i) as f64 * 1.7).sin() * 9.0);
        let mut values = [0.0; 64];
        for (i, place) in ZIGZAG.iter().enumerate() {
            values[usize::from(*place)] = coded[i] * f64::from(quantisation[i]);
        }
        let pixel = |x: usize, y: usize| -> f64 {
            let c = |u: usize| if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos();
            let one = |i: usize| 0.25 * c(i % 8) * c(i / 8) * values[i] * cosine(x, i % 8) * cosine(y, i / 8);
            (0..64).map(one).sum()
        };
        for (n_x, n_y) in [1, 2, 4, 8].into_iter().flat_map(|n_x| [1, 2, 4, 8].map(|n_y| (n_x, n_y))) {
            let basis = basis([n_x, n_y], &quantisation);
            let (wide, high) = (8 / n_x, 8 / n_y);
            for (lane, (x, y)) in (0..n_y).flat_map(|y| (0..n_x).map(move |x| (x, y))).enumerate() {
                let pixels = (0..wide * high).map(|i| pixel(x * wide + i % wide, y * high + i / wide));
                let mean = pixels.sum::<f64>() / (wide * high) as f64;
                let ours: f64 = basis.chunks(n_x * n_y).zip(coded).map(|(adds, coded)| f64::from(adds[lane]) * coded).sum();
                assert!((ours - mean).abs() < 1e-3, "{n_x} x {n_y} at {x}, {y}: {ours} {mean}");
            }
        }
    }
}
