//! Interleaved pixels in blocks of three planes, so that a loop over a block is one over whole vectors.
//!
//! No function here takes a closure: the compiler would make one of it for the narrowest vectors, and call that from everywhere.

/// Pixels in a block: one AVX-512 vector of bytes.
pub const BLOCK: usize = 64;
/// Bytes of a block's pixels.
pub const BLOCK_BYTES: usize = 3 * BLOCK;

/// Red, green and blue of the pixels of a block.
pub struct Planes {
    pub r: [u8; BLOCK],
    pub g: [u8; BLOCK],
    pub b: [u8; BLOCK],
}

impl Planes {
    /// Takes a block of interleaved pixels apart; beyond the last pixel of a short one all is black.
    #[inline(always)]
    pub fn read(pixels: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        let block = match pixels.try_into() {
            Ok(block) => block,
            Err(_) => {
                block[..pixels.len()].copy_from_slice(pixels);
                &block
            }
        };
        let (mut r, mut g, mut b) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
        for i in 0..BLOCK {
            (r[i], g[i], b[i]) = (block[3 * i], block[3 * i + 1], block[3 * i + 2]);
        }
        Self { r, g, b }
    }

    /// Puts them together again; of a short block, only as many as there are.
    #[inline(always)]
    pub fn write(&self, pixels: &mut [u8]) {
        let mut block = [0; BLOCK_BYTES];
        for i in 0..BLOCK {
            (block[3 * i], block[3 * i + 1], block[3 * i + 2]) = (self.r[i], self.g[i], self.b[i]);
        }
        match <&mut [u8; BLOCK_BYTES]>::try_from(&mut *pixels) {
            Ok(out) => *out = block,
            Err(_) => pixels.copy_from_slice(&block[..pixels.len()]),
        }
    }
}
