//! An 8-bit RGB picture.

use crate::diagnostic::Failure;

/// An 8-bit RGB picture: `height * width * 3` values, row by row, RGB interleaved.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rgb {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Rgb {
    /// Wraps `pixels`, which must hold `height * width * 3` values.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, Failure> {
        if width == 0 || height == 0 || pixels.len() != width * height * 3 {
            return Err(Failure::new(format!(
                "{} values are no picture of {width} x {height} RGB pixels, which has {}",
                pixels.len(),
                width * height * 3
            )));
        }
        Ok(Self { width, height, pixels })
    }

    /// Returns a picture of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// Returns a grey picture as RGB: each value three times.
    pub fn from_grey(width: usize, height: usize, grey: &[u8]) -> Result<Self, Failure> {
        Self::new(width, height, grey.iter().flat_map(|v| [*v; 3]).collect())
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the values, row by row, RGB interleaved.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the values for writing.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Returns the values alone.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Returns the colour at column `x`, row `y`.
    ///
    /// # Panics
    /// If the place lies outside.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.pixels[i], self.pixels[i + 1], self.pixels[i + 2]]
    }

    /// Makes this a picture of the given size with unspecified content, keeping its memory.
    pub fn reshape(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.pixels.resize(width * height * 3, 0);
    }

    /// Cuts the square of `side` pixels whose centre is (`x`, `y`); what lies outside repeats the nearest edge pixel.
    ///
    /// The centre is pixel `side / 2` of the cut in both directions.
    pub fn cut_around(&self, x: i64, y: i64, side: usize) -> Self {
        let mut out = Self::filled(side, side, [0; 3]);
        let half = (side / 2) as i64;
        let inside = |v: i64, size: usize| v.clamp(0, size as i64 - 1) as usize;
        for row in 0..side {
            let from_y = inside(y - half + row as i64, self.height);
            for column in 0..side {
                let from = (from_y * self.width + inside(x - half + column as i64, self.width)) * 3;
                let to = (row * side + column) * 3;
                out.pixels[to..to + 3].copy_from_slice(&self.pixels[from..from + 3]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_at_the_corner_repeats_the_edge() {
        let picture = Rgb::from_grey(3, 2, &[1, 2, 3, 4, 5, 6]).unwrap();
        let cut = picture.cut_around(0, 0, 3);
        let grey: Vec<u8> = cut.pixels().chunks(3).map(|p| p[0]).collect();
        assert_eq!(grey, [1, 1, 2, 1, 1, 2, 4, 4, 5]);
    }

    #[test]
    fn a_picture_of_the_wrong_size_is_refused() {
        assert!(Rgb::new(2, 2, vec![0; 11]).is_err());
        assert!(Rgb::new(0, 2, vec![]).is_err());
    }
}
