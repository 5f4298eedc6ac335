//! Turning the hue, by way of Pillow's 8-bit HSV (`rgb2hsv_row` and `hsv2rgb_row` of `Convert.c`).

use super::planes::{BLOCK, change_blocks};
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
        change_blocks(picture, |p| {
            for i in 0..BLOCK {
                (p.r[i], p.g[i], p.b[i]) = hsv(p.r[i], p.g[i], p.b[i]);
            }
            for i in 0..BLOCK {
                (p.r[i], p.g[i], p.b[i]) = rgb(p.r[i].wrapping_add(by), p.g[i], p.b[i]);
            }
        });
    }
}

/// Cuts off the fraction of a number that is known to lie within 0 to 255.
#[inline(always)]
fn level(x: f32) -> u8 {
    // SAFETY: small and finite, as every caller makes sure.
    (unsafe { x.to_int_unchecked::<i32>() }) as u8
}

/// Pillow's `rgb2hsv_row`, every way computed and one of them chosen: no branch, so that a loop of it is one of vectors.
#[inline(always)]
fn hsv(r: u8, g: u8, b: u8) -> (u8, u8, u8) {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let grey = most == least;
    // Of a grey pixel nothing counts but its value; 1 keeps the divisions finite.
    let range = if grey { 1.0 } else { f32::from(most - least) };
    let far = |v: u8| f32::from(most - v) / range;
    let (far_r, far_g, far_b) = (far(r), far(g), far(b));
    let (sixths, plus, minus) = if r == most {
        (0.0, far_b, far_g)
    } else if g == most {
        (2.0, far_r, far_b)
    } else {
        (4.0, far_g, far_r)
    };
    // sixths + plus - minus, rounded once as in double precision: that of the two which belongs to the smallest channel is 1.
    let h = if plus == 1.0 { (sixths + 1.0) - minus } else { (sixths - 1.0) + plus };
    let turned = f64::from(h) / 6.0 + 1.0;
    // The remainder by 1 of a number from 5/6 to 11/6.
    let h = (if turned >= 1.0 { turned - 1.0 } else { turned }) as f32;
    // SAFETY: a number from 0 to 1, times 255.
    let part = |x: f32| (unsafe { (f64::from(x) * 255.0).to_int_unchecked::<i32>() }) as u8;
    let (hue, saturation) = (part(h), part(range / if grey { 1.0 } else { f32::from(most) }));
    if grey { (0, 0, most) } else { (hue, saturation, most) }
}

/// Pillow's `hsv2rgb_row`.
#[inline(always)]
fn rgb(h: u8, s: u8, v: u8) -> (u8, u8, u8) {
    let sixths = f32::from(h) * 6.0 / 255.0;
    let sector = level(sixths);
    let (f, fs, value) = (sixths - f32::from(sector), f32::from(s) / 255.0, f32::from(v));
    let p = level(value * (1.0 - fs) + 0.5);
    let q = level(value * (1.0 - fs * f) + 0.5);
    let t = level(value * (1.0 - fs * (1.0 - f)) + 0.5);
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
