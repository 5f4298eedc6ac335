//! Interleaved pixels in blocks of three planes, so that a loop over a block is one over whole vectors.

use crate::data::image::Rgb;

/// Pixels in a block: one AVX-512 vector of bytes.
pub const BLOCK: usize = 64;

/// Red, green and blue of the pixels of a block.
pub struct Planes {
    pub r: [u8; BLOCK],
    pub g: [u8; BLOCK],
    pub b: [u8; BLOCK],
}

impl Planes {
    #[inline(always)]
    fn of(pixels: &[u8; 3 * BLOCK]) -> Self {
        Self {
            r: std::array::from_fn(|i| pixels[3 * i]),
            g: std::array::from_fn(|i| pixels[3 * i + 1]),
            b: std::array::from_fn(|i| pixels[3 * i + 2]),
        }
    }

    #[inline(always)]
    fn put(&self, pixels: &mut [u8; 3 * BLOCK]) {
        for i in 0..BLOCK {
            pixels[3 * i] = self.r[i];
            pixels[3 * i + 1] = self.g[i];
            pixels[3 * i + 2] = self.b[i];
        }
    }
}

/// Calls `change` with each block; what it makes of the pixels beyond the last is dropped.
///
/// There is one call, so that the compiler takes it into the loop and the loop into a caller that may use wider vectors.
#[inline(always)]
pub fn change_blocks(picture: &mut Rgb, change: impl Fn(&mut Planes)) {
    for pixels in picture.pixels_mut().chunks_mut(3 * BLOCK) {
        let mut planes = read(pixels);
        change(&mut planes);
        match <&mut [u8; 3 * BLOCK]>::try_from(&mut *pixels) {
            Ok(block) => planes.put(block),
            Err(_) => {
                let mut block = [0; 3 * BLOCK];
                planes.put(&mut block);
                pixels.copy_from_slice(&block[..pixels.len()]);
            }
        }
    }
}

/// Calls `look` with each block; beyond the last pixel all is black.
#[inline(always)]
pub fn look_at_blocks(picture: &Rgb, mut look: impl FnMut(&Planes)) {
    for pixels in picture.pixels().chunks(3 * BLOCK) {
        look(&read(pixels));
    }
}

#[inline(always)]
fn read(pixels: &[u8]) -> Planes {
    match pixels.try_into() {
        Ok(block) => Planes::of(block),
        Err(_) => {
            let mut block = [0; 3 * BLOCK];
            block[..pixels.len()].copy_from_slice(pixels);
            Planes::of(&block)
        }
    }
}
