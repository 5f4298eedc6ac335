//! The buffer of q, k and v as the projection leaves it (B·T × 3D), and where each head's part lies in it and in the output (B·T × D).

use super::matmul::Matrix;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images.
    pub batch: usize,
    /// Tokens of an image.
    pub tokens: usize,
    /// Width of a token.
    pub dim: usize,
    pub heads: usize,
}

impl Shape {
    pub(super) fn head_dim(self) -> usize {
        self.dim / self.heads
    }

    /// Returns q (0), k (1) or v (2) of an image and head: T × d, rows 3·D apart. Heads are numbered through all images.
    pub(super) fn part<'a>(self, qkv: &'a [f32], index: usize, which: usize) -> Matrix<'a> {
        Matrix::strided(&qkv[self.start(index, which)..], self.tokens, self.head_dim(), 3 * self.dim, 1)
    }

    /// Returns where that starts.
    pub(super) fn start(self, index: usize, which: usize) -> usize {
        let (image, head) = (index / self.heads, index % self.heads);
        image * self.tokens * 3 * self.dim + which * self.dim + head * self.head_dim()
    }

    /// Returns where the output of an image and head starts, rows D apart.
    pub(super) fn out_start(self, index: usize) -> usize {
        (index / self.heads) * self.tokens * self.dim + (index % self.heads) * self.head_dim()
    }
}
