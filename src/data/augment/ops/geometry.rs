//! Flips, and perspective and rotation in one pass over the pixels that are wanted.

use crate::data::augment::steps::Fill;
use crate::data::image::Rgb;

/// Mirrors left and right.
pub fn hflip(picture: &mut Rgb) {
    let width = picture.width();
    for row in picture.pixels_mut().chunks_exact_mut(width * 3) {
        let (mut left, mut right) = (0, width - 1);
        while left < right {
            for c in 0..3 {
                row.swap(left * 3 + c, right * 3 + c);
            }
            (left, right) = (left + 1, right - 1);
        }
    }
}

/// Mirrors top and bottom.
pub fn vflip(picture: &mut Rgb) {
    let (stride, height) = (picture.width() * 3, picture.height());
    let pixels = picture.pixels_mut();
    for y in 0..height / 2 {
        let (above, below) = pixels.split_at_mut((height - 1 - y) * stride);
        above[y * stride..][..stride].swap_with_slice(&mut below[..stride]);
    }
}

/// Working memory of [`Warp::part`]: the pixels as floats, each of which is looked at several times.
#[derive(Default)]
pub struct WarpMemory(Vec<[f32; 3]>);

/// Perspective, then rotation, of a picture of known size.
pub struct Warp {
    /// From an output place to the input place: (a x + b y + c) / (g x + h y + 1), (d x + e y + f) / (g x + h y + 1).
    perspective: Option<[f64; 8]>,
    /// From an output pixel to the input pixel, in 16-bit fixed point.
    rotation: Option<[i64; 6]>,
    fill: Fill,
    width: i64,
    height: i64,
}

impl Warp {
    /// Takes where the corners (top left, top right, bottom right, bottom left) move to, and the counter-clockwise angle in degrees.
    pub fn new(width: usize, height: usize, corners: Option<&[[f64; 2]; 4]>, degrees: Option<f64>, fill: Fill) -> Self {
        Self {
            // Corners that lie on one line leave nothing to solve: the picture then stays as it is.
            perspective: corners.and_then(|corners| perspective(width, height, corners)),
            rotation: degrees.map(|degrees| rotation(width, height, degrees)),
            fill,
            width: width as i64,
            height: height as i64,
        }
    }

    /// Writes the part of the warped picture that begins at column `left` and row `top` and has the size of `out`.
    pub fn part(&self, picture: &Rgb, left: usize, top: usize, out: &mut Rgb, memory: &mut WarpMemory) {
        let width = out.width();
        let wide = &mut memory.0;
        if self.perspective.is_some() {
            wide.clear();
            wide.extend(picture.pixels().chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(f32::from)));
        }
        let stride = picture.width() * 3;
        for (row, line) in out.pixels_mut().chunks_exact_mut(width * 3).enumerate() {
            let y = (top + row) as i64;
            match (&self.rotation, &self.perspective) {
                (None, None) => line.copy_from_slice(&picture.pixels()[(top + row) * stride + left * 3..][..width * 3]),
                (None, Some(a)) => {
                    for (column, pixel) in line.as_chunks_mut().0.iter_mut().enumerate() {
                        self.seen_through(a, wide, (left + column) as i64, y, pixel);
                    }
                }
                (Some(m), seen) => {
                    let (mut u, mut v) = (m[2] + m[1] * y + m[0] * left as i64, m[5] + m[4] * y + m[3] * left as i64);
                    for pixel in line.as_chunks_mut().0 {
                        match (self.inside(u >> 16, v >> 16), seen) {
                            (None, _) => pixel.fill(0),
                            (Some((x, y)), Some(a)) => self.seen_through(a, wide, x, y, pixel),
                            (Some((x, y)), None) => pixel.copy_from_slice(&picture.pixels()[y as usize * stride + x as usize * 3..][..3]),
                        }
                        u += m[0];
                        v += m[3];
                    }
                }
            }
        }
    }

    /// The place itself where it lies inside; else what `fill` says.
    fn inside(&self, x: i64, y: i64) -> Option<(i64, i64)> {
        if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
            return Some((x, y));
        }
        match self.fill {
            Fill::Black => None,
            Fill::Mirror => Some((mirrored(x, self.width), mirrored(y, self.height))),
        }
    }

    /// The pixel (`x`, `y`) of the picture in perspective, bilinear as in Pillow's `perspective_transform` and `bilinear_filter32RGB`.
    #[inline]
    fn seen_through(&self, a: &[f64; 8], wide: &[[f32; 3]], x: i64, y: i64, out: &mut [u8; 3]) {
        let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
        let depth = 1.0 / (a[6] * x + a[7] * y + 1.0);
        let (mut u, mut v) = ((a[0] * x + a[1] * y + a[2]) * depth, (a[3] * x + a[4] * y + a[5]) * depth);
        let within = |p: f64, size: i64| (0.0..size as f64).contains(&p);
        if !(within(u, self.width) && within(v, self.height)) {
            if self.fill == Fill::Black {
                out.fill(0);
                return;
            }
            (u, v) = (mirrored_place(u, self.width), mirrored_place(v, self.height));
        }
        // Both lie beyond -0.5, where cutting off after adding 1 is rounding down.
        let (u, v) = (u + 0.5, v + 0.5);
        let (left, top) = (u as i32, v as i32);
        let (dx, dy) = ((u - f64::from(left)) as f32, (v - f64::from(top)) as f32);
        let clip = |p: i32, size: i64| p.clamp(0, size as i32 - 1) as usize;
        let (x0, x1) = (clip(left - 1, self.width), clip(left, self.width));
        let (above, below) = (clip(top - 1, self.height) * self.width as usize, clip(top, self.height) * self.width as usize);
        let upper = between(&wide[above + x0], &wide[above + x1], dx);
        let lower = between(&wide[below + x0], &wide[below + x1], dx);
        *out = between(&upper, &lower, dy).map(|value| value as i32 as u8);
    }
}

/// Goes from colour `a` to colour `b` by `d`.
#[inline]
fn between(a: &[f32; 3], b: &[f32; 3], d: f32) -> [f32; 3] {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * d)
}

/// ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...
fn mirrored(i: i64, size: i64) -> i64 {
    let i = i.rem_euclid(2 * size);
    i.min(2 * size - 1 - i)
}

fn mirrored_place(p: f64, size: i64) -> f64 {
    let size = size as f64;
    if !p.is_finite() {
        return 0.0;
    }
    let p = p.rem_euclid(2.0 * size);
    p.min(2.0 * size - p)
}

/// Pillow's `Image.rotate` (nearest, same size, about the centre) in the fixed point of its `affine_fixed`.
fn rotation(width: usize, height: usize, degrees: f64) -> [i64; 6] {
    let angle = -(degrees.rem_euclid(360.0)).to_radians();
    // Rounded to 15 decimals as Pillow does, so that quarter turns are exact.
    let round = |x: f64| (x * 1e15).round() / 1e15;
    let (a, b) = (round(angle.cos()), round(angle.sin()));
    let (d, e) = (round(-angle.sin()), round(angle.cos()));
    let (cx, cy) = (width as f64 / 2.0, height as f64 / 2.0);
    let (c, f) = (a * -cx + b * -cy + cx, d * -cx + e * -cy + cy);
    let fixed = |x: f64| (x * 65_536.0 + 0.5).floor() as i64;
    [fixed(a), fixed(b), fixed(c + a * 0.5 + b * 0.5), fixed(d), fixed(e), fixed(f + d * 0.5 + e * 0.5)]
}

/// torchvision's `_get_perspective_coeffs`: the map that takes the moved corners back to the picture's own.
fn perspective(width: usize, height: usize, to: &[[f64; 2]; 4]) -> Option<[f64; 8]> {
    let (right, bottom) = (width as f64 - 1.0, height as f64 - 1.0);
    let from = [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]];
    let mut rows = [[0.0; 9]; 8];
    for (i, (s, e)) in from.iter().zip(to).enumerate() {
        rows[2 * i] = [e[0], e[1], 1.0, 0.0, 0.0, 0.0, -s[0] * e[0], -s[0] * e[1], s[0]];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, e[0], e[1], 1.0, -s[1] * e[0], -s[1] * e[1], s[1]];
    }
    solve(rows)
}

/// Solves eight linear equations by elimination with row pivots.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for column in 0..8 {
        let pivot = (column..8).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        if rows[pivot][column].abs() < 1e-12 {
            return None;
        }
        rows.swap(column, pivot);
        let pivot = rows[column];
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != column) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).skip(column).for_each(|(value, above)| *value -= factor * above);
        }
    }
    Some(std::array::from_fn(|i| rows[i][8] / rows[i][i]))
}
