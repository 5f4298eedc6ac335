//! Brightness, contrast, saturation, grey, solarize.

use super::planes::{BLOCK, BLOCK_BYTES, Planes};
use crate::data::image::Rgb;
use crate::kernel::vectorised;

/// Pillow's luma of ITU-R 601: L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point.
#[inline(always)]
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// Pillow's `Image.blend(from, to, alpha)` of one value: cut off, not rounded.
#[inline(always)]
fn blend(from: f32, to: u8, alpha: f32) -> u8 {
    // Clipping before the cast is Pillow's clipping for alpha beyond 1, and changes nothing below.
    let value = (from + alpha * (f32::from(to) - from)).clamp(0.0, 255.0);
    // SAFETY: a number from 0 to 255; factors are finite.
    (unsafe { value.to_int_unchecked::<i32>() }) as u8
}

vectorised! {
    fn blend_all(values: &mut [u8], from: f32, alpha: f32) {
        for value in values {
            *value = blend(from, *value, alpha);
        }
    }
}

vectorised! {
    fn sum_of_lumas(picture: &Rgb) -> u64 {
        let mut sum = 0;
        for pixels in picture.pixels().chunks(BLOCK_BYTES) {
            let p = Planes::read(pixels);
            let mut lumas = [0; BLOCK];
            for (i, to) in lumas.iter_mut().enumerate() {
                *to = luma(p.r[i], p.g[i], p.b[i]);
            }
            sum += u64::from(lumas.iter().map(|l| u32::from(*l)).sum::<u32>());
        }
        sum
    }
}

vectorised! {
    fn saturate(picture: &mut Rgb, alpha: f32) {
        for pixels in picture.pixels_mut().chunks_mut(BLOCK_BYTES) {
            let mut p = Planes::read(pixels);
            for i in 0..BLOCK {
                let grey = f32::from(luma(p.r[i], p.g[i], p.b[i]));
                p.r[i] = blend(grey, p.r[i], alpha);
                p.g[i] = blend(grey, p.g[i], alpha);
                p.b[i] = blend(grey, p.b[i], alpha);
            }
            p.write(pixels);
        }
    }
}

/// Multiplies all values by `factor` (`adjust_brightness`).
pub fn brightness(picture: &mut Rgb, factor: f64) {
    blend_all(picture.pixels_mut(), 0.0, factor as f32);
}

/// Moves all values away from the mean grey by `factor` (`adjust_contrast`).
pub fn contrast(picture: &mut Rgb, factor: f64) {
    let n = (picture.width() * picture.height()) as f64;
    let mean = (sum_of_lumas(picture) as f64 / n + 0.5) as u8;
    blend_all(picture.pixels_mut(), f32::from(mean), factor as f32);
}

/// Moves every colour away from its own grey by `factor` (`adjust_saturation`).
pub fn saturation(picture: &mut Rgb, factor: f64) {
    saturate(picture, factor as f32);
}

vectorised! {
    /// Replaces every colour by its grey (`rgb_to_grayscale` with three channels).
    pub fn grey(picture: &mut Rgb) {
        for pixels in picture.pixels_mut().chunks_mut(BLOCK_BYTES) {
            let mut p = Planes::read(pixels);
            for i in 0..BLOCK {
                p.r[i] = luma(p.r[i], p.g[i], p.b[i]);
            }
            (p.g, p.b) = (p.r, p.r);
            p.write(pixels);
        }
    }
}

vectorised! {
    /// Inverts all values from `threshold` on (`ImageOps.solarize`).
    pub fn solarize(picture: &mut Rgb, threshold: u8) {
        picture.pixels_mut().iter_mut().for_each(|v| *v = if *v < threshold { *v } else { 255 - *v });
    }
}
