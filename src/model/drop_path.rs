//! Stochastic depth (Huang et al. 2016, arXiv:1603.09382), as timm's `DropPath`: in training, residual branches of single images are left out.

use crate::random::Stream;

/// What each branch of each block is multiplied by, for every image of a batch: 0, or 1 / (1 - rate) so that the mean stays.
#[derive(Clone, Debug, PartialEq)]
pub struct DropPath {
    images: usize,
    /// By block, branch (attention, MLP) and image.
    factors: Vec<f32>,
}

impl DropPath {
    /// Draws for a network of `depth` blocks and a batch of so many images. The rate grows from 0 in the first block to `rate` in the last.
    pub fn draw(rate: f64, depth: usize, images: usize, stream: Stream) -> Self {
        let mut factors = Vec::with_capacity(depth * 2 * images);
        for block in 0..depth {
            let rate = rate * block as f64 / (depth.max(2) - 1) as f64;
            for branch in 0..2 {
                let mut draws = stream.clone().at(block as u64).at(branch).draws();
                let mut one = || if draws.uniform() < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 };
                factors.extend((0..images).map(|_| one()));
            }
        }
        Self { images, factors }
    }

    /// Takes factors that were drawn elsewhere, by block, branch and image.
    pub fn of(images: usize, factors: Vec<f32>) -> Self {
        Self { images, factors }
    }

    /// Returns how many images these are for.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Returns the factor of every image in the first (attention) or second (MLP) branch of a block.
    pub fn branch(&self, block: usize, branch: usize) -> &[f32] {
        &self.factors[(2 * block + branch) * self.images..][..self.images]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_keeps_all_and_the_last_leaves_out_its_rate_with_the_mean_kept() {
        let drawn = DropPath::draw(0.25, 3, 10_000, Stream::new(1, "drop path"));
        assert!((0..2).all(|branch| drawn.branch(0, branch).iter().all(|f| *f == 1.0)));
        for (block, rate) in [(1, 0.125), (2, 0.25)] {
            for branch in 0..2 {
                let factors = drawn.branch(block, branch);
                let out = factors.iter().filter(|f| **f == 0.0).count() as f64 / 1e4;
                assert!((out - rate).abs() < 0.015, "{out}");
                assert!(factors.iter().all(|f| *f == 0.0 || (f64::from(*f) * (1.0 - rate) - 1.0).abs() < 1e-6));
            }
        }
        assert_ne!(drawn.branch(2, 0), drawn.branch(2, 1));
        assert_eq!(drawn, DropPath::draw(0.25, 3, 10_000, Stream::new(1, "drop path")));
    }
}
