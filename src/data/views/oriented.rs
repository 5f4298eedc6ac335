//! A picture turned and mirrored: what has no up and down may be looked at from all sides.

use super::contract::Views;
use crate::diagnostic::Failure;

/// Other views from all sides: view number `view` is view 0 in one of the eight orientations of a square.
pub struct Oriented<'a>(pub &'a dyn Views);

impl Views for Oriented<'_> {
    fn n_images(&self) -> usize {
        self.0.n_images()
    }

    fn side(&self, _view: usize) -> usize {
        self.0.side(0)
    }

    fn weight(&self, image: usize) -> f64 {
        self.0.weight(image)
    }

    fn fill(&self, image: usize, epoch: u64, view: usize, out: &mut [f32]) -> Result<(), Failure> {
        self.0.fill(image, epoch, 0, out)?;
        orient(out, self.side(view), view);
        Ok(())
    }
}

/// Brings a square of RGB values into an orientation, 0 to 7: the lowest bit mirrors left and right, the next one top and bottom, the
/// highest rows and columns. So 0 and 1 are a picture and its mirror image, 0 to 3 its flips, and 4 to 7 the same with a quarter turn.
fn orient(pixels: &mut [f32], side: usize, orientation: usize) {
    let (pixels, _) = pixels.as_chunks_mut::<3>();
    if orientation & 1 > 0 {
        pixels.chunks_exact_mut(side).for_each(<[[f32; 3]]>::reverse);
    }
    if orientation & 2 > 0 {
        for y in 0..side / 2 {
            (0..side).for_each(|x| pixels.swap(y * side + x, (side - 1 - y) * side + x));
        }
    }
    if orientation & 4 > 0 {
        for y in 0..side {
            (0..y).for_each(|x| pixels.swap(y * side + x, x * side + y));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corners of a square of 2 x 2, read line by line.
    fn corners(orientation: usize) -> String {
        let mut pixels: Vec<f32> = (0..4u8).flat_map(|corner| [f32::from(corner); 3]).collect();
        orient(&mut pixels, 2, orientation);
        pixels.chunks_exact(3).map(|p| char::from(b'a' + p[0] as u8)).collect()
    }

    #[test]
    fn there_are_eight_orientations_of_which_the_first_is_the_picture() {
        let all: Vec<String> = (0..8).map(corners).collect();
        assert_eq!(all, ["abcd", "badc", "cdab", "dcba", "acbd", "bdac", "cadb", "dbca"]);
    }

    #[test]
    fn mirroring_a_larger_picture_leaves_its_middle() {
        let mut pixels: Vec<f32> = (0..27).map(|v| v as f32).collect();
        orient(&mut pixels, 3, 3);
        assert_eq!(pixels.as_chunks::<3>().0.iter().map(|p| p[0] / 3.0).collect::<Vec<_>>(), [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    }
}
