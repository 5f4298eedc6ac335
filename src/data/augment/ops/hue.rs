//! Turning the hue, by way of Pillow's 8-bit HSV (`rgb2hsv_row` and `hsv2rgb_row` of `Convert.c`).

use std::sync::OnceLock;

use crate::data::image::Rgb;

/// Turns the hue by `shift` of the circle, -0.5 to 0.5 (`adjust_hue`).
///
/// Computes as Pillow's C does, in its mixture of single and double precision: one step of an 8-bit hue is up to six grey levels.
pub fn hue(picture: &mut Rgb, shift: f64) {
    let turn = (shift * 255.0) as i32 as u8;
    let tables = Tables::known();
    let sectors: [(u8, f32); 256] = std::array::from_fn(|h| sector((h as u8).wrapping_add(turn)));
    for p in picture.pixels_mut().chunks_exact_mut(3) {
        let (h, s, v) = tables.hsv(p[0], p[1], p[2]);
        let (sixth, f) = sectors[usize::from(h)];
        let (value, fs) = (f32::from(v), tables.unit[usize::from(s)]);
        let level = |x: f32| (x + 0.5) as i32 as u8;
        let levels = [v, level(value * (1.0 - fs)), level(value * (1.0 - fs * f)), level(value * (1.0 - fs * (1.0 - f)))];
        let [r, g, b] = ORDER[usize::from(sixth)];
        p.copy_from_slice(&[levels[r], levels[g], levels[b]]);
    }
}

/// Which of v, p, q, t red, green and blue are, in each sixth of the circle.
const ORDER: [[usize; 3]; 6] = [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]];

/// The sixth of the circle that a hue lies in, and how far into it.
fn sector(h: u8) -> (u8, f32) {
    let sixth = f32::from(h) * 6.0 / 255.0;
    (sixth as u8 % 6, sixth - sixth.floor())
}

/// What would take divisions: a hue depends only on which channel is largest and which smallest, how far they lie apart, and how
/// far the third lies from the largest.
struct Tables {
    /// By order of the channels, range, and distance of the middle one from the largest.
    hue: Vec<u8>,
    /// By largest value and range.
    saturation: Vec<u8>,
    /// v / 255.
    unit: [f32; 256],
}

impl Tables {
    fn known() -> &'static Self {
        static TABLES: OnceLock<Tables> = OnceLock::new();
        TABLES.get_or_init(|| {
            let cells = || (0..256).flat_map(|a| (0..256).map(move |b| (a, b)));
            Self {
                hue: (0..6).flat_map(|order| cells().map(move |(range, middle)| hue_of(order, range, middle))).collect(),
                saturation: cells().map(|(most, range)| (f64::from(range as f32 / most as f32) * 255.0) as u8).collect(),
                unit: std::array::from_fn(|v| v as f32 / 255.0),
            }
        })
    }

    fn hsv(&self, r: u8, g: u8, b: u8) -> (u8, u8, u8) {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        if most == least {
            return (0, 0, most);
        }
        let order = match () {
            () if r == most => usize::from(g < b),
            () if g == most => 2 + usize::from(b < r),
            () => 4 + usize::from(r < g),
        };
        // All three sum to less than 2^10, whatever their order.
        let middle = u16::from(r) + u16::from(g) + u16::from(b) - u16::from(most) - u16::from(least);
        let range = usize::from(most - least);
        let hue = self.hue[(order << 16) | (range << 8) | usize::from(u16::from(most) - middle)];
        (hue, self.saturation[(usize::from(most) << 8) | range], most)
    }
}

/// The hue when `order` / 2 is the largest channel (red, green, blue) and the next one round the circle is the smallest (odd) or
/// the one after it (even).
fn hue_of(order: usize, range: usize, middle: usize) -> u8 {
    // (largest - v) / range is 1 for the smallest channel and x for the middle one.
    let x = middle as f32 / range as f32;
    let (plus, minus) = if order.is_multiple_of(2) { (1.0, x) } else { (x, 1.0) };
    let h = match order / 2 {
        0 => plus - minus,
        sixths => ((2 * sixths) as f64 + f64::from(plus) - f64::from(minus)) as f32,
    };
    let turned = f64::from(h) / 6.0 + 1.0;
    let h = (if turned >= 1.0 { turned - 1.0 } else { turned }) as f32;
    (f64::from(h) * 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pillow's `rgb2hsv_row` as it stands.
    fn pillow([r, g, b]: [u8; 3]) -> (u8, u8, u8) {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        if most == least {
            return (0, 0, most);
        }
        let range = f32::from(most - least);
        let far = |v: u8| f32::from(most - v) / range;
        let h = if r == most {
            far(b) - far(g)
        } else if g == most {
            (2.0 + f64::from(far(r)) - f64::from(far(b))) as f32
        } else {
            (4.0 + f64::from(far(g)) - f64::from(far(r))) as f32
        };
        let h = ((f64::from(h) / 6.0 + 1.0) % 1.0) as f32;
        ((f64::from(h) * 255.0) as u8, (f64::from(range / f32::from(most)) * 255.0) as u8, most)
    }

    #[test]
    fn the_tables_hold_what_pillow_computes() {
        let tables = Tables::known();
        for i in 0..1u32 << 24 {
            // Every seventh colour: 2.4 million, of all orders and ranges.
            if i % 7 == 0 {
                let [_, r, g, b] = i.to_be_bytes();
                assert_eq!(tables.hsv(r, g, b), pillow([r, g, b]), "{r} {g} {b}");
            }
        }
    }
}
