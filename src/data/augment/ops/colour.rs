//! Brightness, contrast, saturation, grey, solarize.

use crate::data::image::Rgb;

/// Pillow's luma of ITU-R 601: L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point.
fn luma(p: &[u8]) -> u8 {
    ((u32::from(p[0]) * 19_595 + u32::from(p[1]) * 38_470 + u32::from(p[2]) * 7_471 + 0x8000) >> 16) as u8
}

/// Pillow's `Image.blend(from, to, alpha)` of one value: cut off, not rounded.
fn blend(from: u8, to: u8, alpha: f32) -> u8 {
    // A float's cast to u8 saturates in Rust, which is Pillow's clipping for alpha beyond 1.
    (f32::from(from) + alpha * (f32::from(to) - f32::from(from))) as u8
}

fn map(picture: &mut Rgb, table: &[u8; 256]) {
    picture.pixels_mut().iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Multiplies all values by `factor` (`adjust_brightness`).
pub fn brightness(picture: &mut Rgb, factor: f64) {
    map(picture, &std::array::from_fn(|v| blend(0, v as u8, factor as f32)));
}

/// Moves all values away from the mean grey by `factor` (`adjust_contrast`).
pub fn contrast(picture: &mut Rgb, factor: f64) {
    let sum: u64 = picture.pixels().chunks_exact(3).map(|p| u64::from(luma(p))).sum();
    let n = (picture.width() * picture.height()) as f64;
    let mean = (sum as f64 / n + 0.5) as u8;
    map(picture, &std::array::from_fn(|v| blend(mean, v as u8, factor as f32)));
}

/// Moves every colour away from its own grey by `factor` (`adjust_saturation`).
pub fn saturation(picture: &mut Rgb, factor: f64) {
    for p in picture.pixels_mut().chunks_exact_mut(3) {
        let grey = luma(p);
        p.iter_mut().for_each(|v| *v = blend(grey, *v, factor as f32));
    }
}

/// Replaces every colour by its grey (`rgb_to_grayscale` with three channels).
pub fn grey(picture: &mut Rgb) {
    for p in picture.pixels_mut().chunks_exact_mut(3) {
        let grey = luma(p);
        p.fill(grey);
    }
}

/// Inverts all values from `threshold` on (`ImageOps.solarize`).
pub fn solarize(picture: &mut Rgb, threshold: u8) {
    picture.pixels_mut().iter_mut().for_each(|v| *v = if *v < threshold { *v } else { 255 - *v });
}
