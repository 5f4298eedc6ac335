//! Mirroring, in place.

use crate::data::image::Rgb;

/// Mirrors left and right.
pub fn hflip(picture: &mut Rgb) {
    let width = picture.width();
    for row in picture.pixels_mut().chunks_exact_mut(width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
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
