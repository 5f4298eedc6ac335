//! Steps of a warp, each for a whole line of pixels: where they come from, which four pixels lie around that, what lies between those.
//!
//! Places are in pixels from the picture's corner: the centre of its first pixel is (0.5, 0.5). A place that is not a number is outside.

use super::homography::Homography;
use crate::data::augment::steps::Fill;
use crate::data::image::Rgb;
use crate::kernel::vectorised;

/// A picture as its lines are looked up: four bytes a pixel, and its edge pixels once more around it.
#[derive(Default)]
pub struct Framed {
    pixels: Vec<u32>,
    width: usize,
    height: usize,
}

impl Framed {
    /// Takes over a picture.
    pub fn take(&mut self, picture: &Rgb) {
        (self.width, self.height) = (picture.width(), picture.height());
        let stride = self.stride();
        self.pixels.resize(stride * (self.height + 2), 0);
        for (y, row) in picture.pixels().chunks_exact(self.width * 3).enumerate() {
            let line = &mut self.pixels[(y + 1) * stride..][..stride];
            let (pixels, _) = row.as_chunks::<3>();
            widen(pixels, &mut line[1..=self.width]);
            (line[0], line[self.width + 1]) = (line[1], line[self.width]);
        }
        self.pixels.copy_within(stride..2 * stride, 0);
        self.pixels.copy_within(self.height * stride..(self.height + 1) * stride, (self.height + 1) * stride);
    }

    fn stride(&self) -> usize {
        self.width + 2
    }
}

vectorised! {
    fn widen(from: &[[u8; 3]], to: &mut [u32]) {
        to.iter_mut().zip(from).for_each(|(to, [r, g, b])| *to = u32::from(*r) | u32::from(*g) << 8 | u32::from(*b) << 16);
    }
}

vectorised! {
    fn narrow(from: &[u32], to: &mut [[u8; 3]]) {
        to.iter_mut().zip(from).for_each(|(to, pixel)| *to = [*pixel as u8, (*pixel >> 8) as u8, (*pixel >> 16) as u8]);
    }
}

/// The places of a line, and what is found there.
#[derive(Default)]
pub struct Line {
    x: Vec<f64>,
    y: Vec<f64>,
    /// The pixel of the frame above and left of the place.
    at: Vec<u32>,
    /// How far right and below of it the place lies, 0 to 1.
    right: Vec<f32>,
    below: Vec<f32>,
    /// All bits of a colour where the place is inside, else none.
    inside: Vec<u32>,
    around: Around,
    pixels: Vec<u32>,
}

impl Line {
    /// Sets how many pixels it has.
    pub fn resize(&mut self, n: usize) {
        self.x.resize(n, 0.0);
        self.y.resize(n, 0.0);
        self.at.resize(n, 0);
        self.right.resize(n, 0.0);
        self.below.resize(n, 0.0);
        self.inside.resize(n, 0);
        self.around.resize(n);
        self.pixels.resize(n, 0);
    }

    /// Starts from the places (`left` + i, `y`).
    pub fn start(&mut self, left: f64, y: f64) {
        start(left, &mut self.x);
        self.y.fill(y);
    }

    /// Turns whole pixels by a map in 16-bit fixed point, to the centres of whole pixels again.
    pub fn rotate(&mut self, map: &[i64; 6]) {
        rotate(&map.map(|v| v as f64), &mut self.x, &mut self.y);
    }

    /// Takes each place back to where it came from.
    pub fn project(&mut self, map: &Homography) {
        project(map, &mut self.x, &mut self.y);
    }

    /// Places outside of `width` x `height` become none, or those that they mirror to.
    pub fn keep_inside(&mut self, width: usize, height: usize, fill: Fill) {
        let (width, height) = (width as f64, height as f64);
        match fill {
            Fill::Black => cut_off(width, height, &mut self.x, &mut self.y),
            Fill::Mirror => {
                self.x.iter_mut().for_each(|x| *x = mirrored(*x, width));
                self.y.iter_mut().for_each(|y| *y = mirrored(*y, height));
            }
        }
    }

    /// Looks up the pixels that the places lie in.
    pub fn nearest(&mut self, picture: &Framed) {
        self.corners(picture, 1.0);
        for ((to, at), inside) in self.pixels.iter_mut().zip(&self.at).zip(&self.inside) {
            *to = picture.pixels[*at as usize] & inside;
        }
    }

    /// Goes between the four pixels around each place, and cuts off what is beyond 8 bits.
    pub fn bilinear(&mut self, picture: &Framed) {
        self.corners(picture, 0.5);
        self.around.fetch(picture, &self.at);
        bilinear(&self.around, &self.right, &self.below, &self.inside, &mut self.pixels);
    }

    /// Adds what [`Self::bilinear`] would find, unrounded, to `sums`: red, green and blue, each as long as the line.
    pub fn add_bilinear(&mut self, picture: &Framed, sums: &mut [Vec<f32>; 3]) {
        self.corners(picture, 0.5);
        self.around.fetch(picture, &self.at);
        let [red, green, blue] = sums;
        add_bilinear(&self.around, &self.right, &self.below, &self.inside, red, green, blue);
    }

    /// Takes sums, each of `n` values, as what was looked up.
    pub fn take_means(&mut self, sums: &[Vec<f32>; 3], n: usize) {
        means(sums, 1.0 / n as f32, &mut self.pixels);
    }

    /// Writes what was looked up, three bytes a pixel.
    pub fn put(&self, out: &mut [u8]) {
        narrow(&self.pixels, out.as_chunks_mut::<3>().0);
    }

    /// Finds the pixel of the frame in which each place lies once it is moved by `shift`, and where in it.
    fn corners(&mut self, picture: &Framed, shift: f64) {
        let Self { x, y, at, right, below, inside, .. } = self;
        corners(picture.stride() as u32, shift, x, y, at, right, below, inside);
    }
}

vectorised! {
    fn start(left: f64, xs: &mut [f64]) {
        xs.iter_mut().enumerate().for_each(|(i, x)| *x = left + f64::from(i as u32 as i32));
    }
}

vectorised! {
    fn rotate(m: &[f64; 6], xs: &mut [f64], ys: &mut [f64]) {
        for (x, y) in xs.iter_mut().zip(ys) {
            // Whole numbers far below 2^53, so that every step is exact.
            let (column, row) = (*x - 0.5, *y - 0.5);
            *x = ((m[2] + m[1] * row + m[0] * column) / 65_536.0).floor() + 0.5;
            *y = ((m[5] + m[4] * row + m[3] * column) / 65_536.0).floor() + 0.5;
        }
    }
}

vectorised! {
    fn project(m: &Homography, xs: &mut [f64], ys: &mut [f64]) {
        for (x, y) in xs.iter_mut().zip(ys) {
            let depth = 1.0 / (m[6] * *x + m[7] * *y + m[8]);
            (*x, *y) = ((m[0] * *x + m[1] * *y + m[2]) * depth, (m[3] * *x + m[4] * *y + m[5]) * depth);
        }
    }
}

vectorised! {
    fn cut_off(width: f64, height: f64, xs: &mut [f64], ys: &mut [f64]) {
        for (x, y) in xs.iter_mut().zip(ys) {
            let inside = (*x >= 0.0) & (*x < width) & (*y >= 0.0) & (*y < height);
            *x = if inside { *x } else { f64::NAN };
        }
    }
}

/// ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...; what is no number becomes 0.
fn mirrored(p: f64, size: f64) -> f64 {
    if (0.0..size).contains(&p) {
        return p;
    }
    if !p.is_finite() {
        return 0.0;
    }
    let p = p.rem_euclid(2.0 * size);
    p.min(2.0 * size - p)
}

vectorised! {
    fn corners(
        stride: u32,
        shift: f64,
        xs: &[f64],
        ys: &[f64],
        at: &mut [u32],
        right: &mut [f32],
        below: &mut [f32],
        inside: &mut [u32],
    ) {
        let n = xs.len();
        let (ys, at, right, below, inside) = (&ys[..n], &mut at[..n], &mut right[..n], &mut below[..n], &mut inside[..n]);
        for i in 0..n {
            let is_place = !xs[i].is_nan();
            let u = if is_place { xs[i] + shift } else { shift };
            let v = if is_place { ys[i] + shift } else { shift };
            // SAFETY: `keep_inside` has left only places within a picture, whose sides are small numbers.
            let (left, top) = unsafe { (u.to_int_unchecked::<i32>(), v.to_int_unchecked::<i32>()) };
            right[i] = (u - f64::from(left)) as f32;
            below[i] = (v - f64::from(top)) as f32;
            at[i] = (top as u32).wrapping_mul(stride).wrapping_add(left as u32);
            inside[i] = if is_place { 0xff_ffff } else { 0 };
        }
    }
}

/// The pixels above left, above right, below left and below right of each place.
///
/// They are fetched for a whole line before anything is computed of them: a vector that is loaded right after its parts were stored one
/// by one has to wait for them.
#[derive(Default)]
struct Around([Vec<u32>; 4]);

impl Around {
    fn resize(&mut self, n: usize) {
        self.0.iter_mut().for_each(|pixels| pixels.resize(n, 0));
    }

    fn fetch(&mut self, picture: &Framed, at: &[u32]) {
        let (frame, stride) = (&picture.pixels[..], picture.stride());
        let last = at.iter().fold(0, |last, at| last.max(*at)) as usize;
        assert!(last + stride + 1 < frame.len(), "a place lies outside of its picture");
        let n = at.len();
        let [a, b, c, d] = &mut self.0;
        let (a, b, c, d) = (&mut a[..n], &mut b[..n], &mut c[..n], &mut d[..n]);
        for (i, at) in at.iter().enumerate() {
            // SAFETY: not beyond `last`, which has just been held against the length.
            let pixel = |further: usize| unsafe { *frame.get_unchecked(*at as usize + further) };
            (a[i], b[i], c[i], d[i]) = (pixel(0), pixel(1), pixel(stride), pixel(stride + 1));
        }
    }
}

/// The colour between four pixels, of the channel that begins at bit `shift`.
#[inline(always)]
fn between(pixels: [u32; 4], shift: u32, right: f32, below: f32) -> f32 {
    let [a, b, c, d] = pixels.map(|pixel| ((pixel >> shift) & 255) as i32 as f32);
    let (upper, lower) = (a + (b - a) * right, c + (d - c) * right);
    upper + (lower - upper) * below
}

vectorised! {
    fn bilinear(around: &Around, right: &[f32], below: &[f32], inside: &[u32], pixels: &mut [u32]) {
        let n = pixels.len();
        let [a, b, c, d] = &around.0;
        let (a, b, c, d, right, below, inside) = (&a[..n], &b[..n], &c[..n], &d[..n], &right[..n], &below[..n], &inside[..n]);
        for i in 0..n {
            let four = [a[i], b[i], c[i], d[i]];
            // SAFETY: between 8-bit values.
            let level = |shift| (unsafe { between(four, shift, right[i], below[i]).to_int_unchecked::<i32>() }) as u32;
            pixels[i] = (level(0) | level(8) << 8 | level(16) << 16) & inside[i];
        }
    }
}

vectorised! {
    fn add_bilinear(around: &Around, right: &[f32], below: &[f32], inside: &[u32], red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
        let n = red.len();
        let [a, b, c, d] = &around.0;
        let (a, b, c, d, right, below, inside) = (&a[..n], &b[..n], &c[..n], &d[..n], &right[..n], &below[..n], &inside[..n]);
        let (green, blue) = (&mut green[..n], &mut blue[..n]);
        for i in 0..n {
            let four = [a[i], b[i], c[i], d[i]].map(|pixel| pixel & inside[i]);
            red[i] += between(four, 0, right[i], below[i]);
            green[i] += between(four, 8, right[i], below[i]);
            blue[i] += between(four, 16, right[i], below[i]);
        }
    }
}

vectorised! {
    fn means(sums: &[Vec<f32>; 3], part: f32, pixels: &mut [u32]) {
        let n = pixels.len();
        let [r, g, b] = sums;
        let (r, g, b) = (&r[..n], &g[..n], &b[..n]);
        // SAFETY: means of 8-bit values; adding a half and cutting off rounds.
        let level = |sum: f32| (unsafe { (sum * part + 0.5).to_int_unchecked::<i32>() }) as u32;
        for i in 0..n {
            pixels[i] = level(r[i]) | level(g[i]) << 8 | level(b[i]) << 16;
        }
    }
}
