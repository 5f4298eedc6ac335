//! Turning the hue, by way of Pillow's 8-bit HSV.

use crate::data::image::Rgb;

/// Turns the hue by `shift` of the circle, -0.5 to 0.5 (`adjust_hue`).
///
/// Computes as Pillow's C does, in its mixture of single and double precision: one step of an 8-bit hue is up to six grey levels.
pub fn hue(picture: &mut Rgb, shift: f64) {
    let turn = (shift * 255.0) as i32 as u8;
    let sectors: [(u8, f32); 256] = std::array::from_fn(|h| sector((h as u8).wrapping_add(turn)));
    for p in picture.pixels_mut().chunks_exact_mut(3) {
        let (h, s, v) = hsv([p[0], p[1], p[2]]);
        p.copy_from_slice(&rgb(sectors[usize::from(h)], s, v));
    }
}

/// Pillow's `rgb2hsv_row`.
#[inline]
fn hsv([r, g, b]: [u8; 3]) -> (u8, u8, u8) {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return (0, 0, most);
    }
    let range = f32::from(most - least);
    let s = range / f32::from(most);
    let far = |v: u8| f32::from(most - v) / range;
    let h = if r == most {
        far(b) - far(g)
    } else if g == most {
        (2.0 + f64::from(far(r)) - f64::from(far(b))) as f32
    } else {
        (4.0 + f64::from(far(g)) - f64::from(far(r))) as f32
    };
    let turned = f64::from(h) / 6.0 + 1.0;
    let h = (if turned >= 1.0 { turned - 1.0 } else { turned }) as f32;
    ((f64::from(h) * 255.0) as i32 as u8, (f64::from(s) * 255.0) as i32 as u8, most)
}

/// The sixth of the circle that a hue lies in, and how far into it.
fn sector(h: u8) -> (u8, f32) {
    let sixth = f32::from(h) * 6.0 / 255.0;
    (sixth as u8 % 6, sixth - sixth.floor())
}

/// Pillow's `hsv2rgb_row`.
#[inline]
fn rgb((sixth, f): (u8, f32), s: u8, v: u8) -> [u8; 3] {
    let fs = f32::from(s) / 255.0;
    let value = f32::from(v);
    let level = |x: f32| (x + 0.5) as i32 as u8;
    let p = level(value * (1.0 - fs));
    let q = level(value * (1.0 - fs * f));
    let t = level(value * (1.0 - fs * (1.0 - f)));
    match sixth {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
