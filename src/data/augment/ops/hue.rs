//! Turning the hue, by way of Pillow's 8-bit HSV (`rgb2hsv_row` and `hsv2rgb_row` of `Convert.c`).

use super::planes::{BLOCK, BLOCK_BYTES, Planes};
use crate::data::image::Rgb;
use crate::kernel::vectorised;

/// Turns the hue by `shift` of the circle, -0.5 to 0.5 (`adjust_hue`).
///
/// Computes as Pillow's C does, in its mixture of single and double precision: one step of an 8-bit hue is up to six grey levels.
pub fn hue(picture: &mut Rgb, shift: f64) {
    turn(picture, (shift * 255.0) as i32 as u8);
}

vectorised! {
    /// Adds `by` to each 8-bit hue.
    fn turn(picture: &mut Rgb, by: u8) {
        // In steps, each with one width of numbers, so that each is a loop of whole vectors.
        for pixels in picture.pixels_mut().chunks_mut(BLOCK_BYTES) {
            let mut p = Planes::read(pixels);
            let (mut sixths, mut share, mut value, mut turned) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
            for i in 0..BLOCK {
                (sixths[i], share[i], value[i]) = hsv(f32::from(p.r[i]), f32::from(p.g[i]), f32::from(p.b[i]));
            }
            let (mut hue, mut saturation) = ([0; BLOCK], [0; BLOCK]);
            for i in 0..BLOCK {
                turned[i] = share_of_circle(sixths[i]);
            }
            for i in 0..BLOCK {
                let moved = level_of(turned[i]) + i32::from(by);
                hue[i] = if moved > 255 { moved - 256 } else { moved };
            }
            for i in 0..BLOCK {
                saturation[i] = level_of(share[i]);
            }
            for i in 0..BLOCK {
                let (r, g, b) = rgb(hue[i] as f32, saturation[i] as f32, value[i]);
                (p.r[i], p.g[i], p.b[i]) = (r as u8, g as u8, b as u8);
            }
            p.write(pixels);
        }
    }
}

/// Pillow's `rgb2hsv_row` up to its 8-bit levels: hue in sixths of the circle, -1 to 5, saturation 0 to 1, value 0 to 255.
///
/// Every way is computed and one of them chosen: no branch.
#[inline(always)]
fn hsv(r: f32, g: f32, b: f32) -> (f32, f32, f32) {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let smaller = |a: f32, b: f32| if a < b { a } else { b };
    let (most, least) = (larger(larger(r, g), b), smaller(smaller(r, g), b));
    let grey = most == least;
    // Of a grey pixel nothing counts but its value; 1 keeps the divisions finite.
    let (range, whole) = if grey { (1.0, 1.0) } else { (most - least, most) };
    let (far_r, far_g, far_b) = ((most - r) / range, (most - g) / range, (most - b) / range);
    let (is_r, is_g) = (r == most, g == most);
    let start = if is_r {
        0.0
    } else if is_g {
        2.0
    } else {
        4.0
    };
    let plus = if is_r {
        far_b
    } else if is_g {
        far_r
    } else {
        far_g
    };
    let minus = if is_r {
        far_g
    } else if is_g {
        far_b
    } else {
        far_r
    };
    // start + plus - minus, rounded once as in double precision: that of the two which belongs to the smallest channel is 1.
    let sixths = if plus == 1.0 { (start + 1.0) - minus } else { (start - 1.0) + plus };
    (if grey { 0.0 } else { sixths }, if grey { 0.0 } else { range / whole }, most)
}

/// The hue as a share of the circle, in Pillow's mixture of precisions.
#[inline(always)]
fn share_of_circle(sixths: f32) -> f32 {
    let turned = f64::from(sixths) / 6.0 + 1.0;
    // The remainder by 1 of a number from 5/6 to 11/6.
    let whole = if turned >= 1.0 { 1.0 } else { 0.0 };
    (turned - whole) as f32
}

/// The 8-bit level of a share of the whole: cut off, in double precision.
#[inline(always)]
fn level_of(share: f32) -> i32 {
    // SAFETY: a number from 0 to 1, times 255.
    unsafe { (f64::from(share) * 255.0).to_int_unchecked() }
}

/// Pillow's `hsv2rgb_row`, of 8-bit levels.
#[inline(always)]
fn rgb(h: f32, s: f32, v: f32) -> (i32, i32, i32) {
    // SAFETY: a number from 0 to 255.5.
    let cut = |x: f32| -> i32 { unsafe { x.to_int_unchecked() } };
    let sixths = h * 6.0 / 255.0;
    let sector = cut(sixths);
    let (f, fs) = (sixths - sector as f32, s / 255.0);
    let p = cut(v * (1.0 - fs) + 0.5);
    let q = cut(v * (1.0 - fs * f) + 0.5);
    let t = cut(v * (1.0 - fs * (1.0 - f)) + 0.5);
    let v = cut(v);
    // The last of the 256 hues is the first once more.
    let sector = if sector == 6 { 0 } else { sector };
    let red = if (sector == 0) | (sector == 5) {
        v
    } else if sector == 1 {
        q
    } else if sector == 4 {
        t
    } else {
        p
    };
    let green = if (sector == 1) | (sector == 2) {
        v
    } else if sector == 3 {
        q
    } else if sector == 0 {
        t
    } else {
        p
    };
    let blue = if (sector == 3) | (sector == 4) {
        v
    } else if sector == 5 {
        q
    } else if sector == 2 {
        t
    } else {
        p
    };
    (red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pillow's two functions as they stand, branches and all.
    fn pillow([r, g, b]: [u8; 3], turn: u8) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let (mut h, mut s) = (0, 0);
        if most != least {
            let range = f32::from(most - least);
            let far = |v: u8| f32::from(most - v) / range;
            let sixths = if r == most {
                far(b) - far(g)
            } else if g == most {
                (2.0 + f64::from(far(r)) - f64::from(far(b))) as f32
            } else {
                (4.0 + f64::from(far(g)) - f64::from(far(r))) as f32
            };
            let part = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
            h = (f64::from(part) * 255.0) as u8;
            s = (f64::from(range / f32::from(most)) * 255.0) as u8;
        }
        let sixths = f32::from(h.wrapping_add(turn)) * 6.0 / 255.0;
        let (f, fs) = (sixths - sixths.floor(), f32::from(s) / 255.0);
        let level = |part: f32| (f32::from(most) * part + 0.5) as i32 as u8;
        let (v, p, q, t) = (most, level(1.0 - fs), level(1.0 - fs * f), level(1.0 - fs * (1.0 - f)));
        [[v, t, p], [q, v, p], [p, v, t], [p, q, v], [t, p, v], [v, p, q]][sixths.floor() as usize % 6]
    }

    #[test]
    fn every_colour_becomes_what_pillow_computes() {
        // Every seventh colour: 2.4 million, of all orders and ranges.
        let colours: Vec<[u8; 3]> = (0..1u32 << 24).step_by(7).map(|i| [(i >> 16) as u8, (i >> 8) as u8, i as u8]).collect();
        for (shift, turn) in [(0.0, 0), (0.1, 25), (-0.07, 239)] {
            let mut picture = Rgb::new(colours.len(), 1, colours.concat()).unwrap();
            hue(&mut picture, shift);
            for (found, colour) in picture.pixels().chunks_exact(3).zip(&colours) {
                assert_eq!(found, pillow(*colour, turn), "{colour:?} by {shift}");
            }
        }
    }
}
