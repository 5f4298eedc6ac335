//! Perspective and rotation in one pass over the pixels that are wanted, pixel for pixel as one after the other.

use super::homography::{Homography, in_fixed_point, perspective, rotation};
use super::lines::{Framed, Line};
use crate::data::augment::steps::Fill;
use crate::data::image::Rgb;

/// Working memory of warps.
#[derive(Default)]
pub struct WarpMemory {
    pub(super) frame: Framed,
    pub(super) line: Line,
    pub(super) sums: [Vec<f32>; 3],
}

/// Perspective, then rotation, of a picture of known size.
pub struct Warp {
    /// From a place in perspective to the picture's.
    perspective: Option<Homography>,
    /// From a pixel of the turned picture to one of that in perspective, in 16-bit fixed point.
    rotation: Option<[i64; 6]>,
    fill: Fill,
}

impl Warp {
    /// Takes where the corners (top left, top right, bottom right, bottom left) move to, and the counter-clockwise angle in degrees.
    pub fn new(width: usize, height: usize, corners: Option<&[[f64; 2]; 4]>, degrees: Option<f64>, fill: Fill) -> Self {
        Self {
            // Corners that lie on one line leave nothing to solve: the picture then stays as it is.
            perspective: corners.and_then(|corners| perspective(width, height, corners)),
            rotation: degrees.map(|degrees| in_fixed_point(&rotation(width, height, degrees))),
            fill,
        }
    }

    /// Writes the part of the warped picture that begins at column `left` and row `top` and has the size of `out`.
    ///
    /// Perspective is bilinear as in Pillow's `perspective_transform` and `bilinear_filter32RGB`; rotation picks whole pixels.
    pub fn part(&self, picture: &Rgb, left: usize, top: usize, out: &mut Rgb, memory: &mut WarpMemory) {
        let (width, stride) = (out.width(), picture.width() * 3);
        let rows = out.pixels_mut().chunks_exact_mut(width * 3).enumerate();
        if self.perspective.is_none() && self.rotation.is_none() {
            rows.for_each(|(row, out)| out.copy_from_slice(&picture.pixels()[(top + row) * stride + left * 3..][..width * 3]));
            return;
        }
        let WarpMemory { frame, line, .. } = memory;
        frame.take(picture);
        line.resize(width);
        for (row, out) in rows {
            line.start(left as f64 + 0.5, (top + row) as f64 + 0.5);
            if let Some(map) = &self.rotation {
                line.rotate(map);
                line.keep_inside(picture.width(), picture.height(), self.fill);
            }
            match &self.perspective {
                None => line.nearest(frame),
                Some(map) => {
                    line.project(map);
                    line.keep_inside(picture.width(), picture.height(), self.fill);
                    line.bilinear(frame);
                }
            }
            line.put(out);
        }
    }
}
