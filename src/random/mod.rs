//! Random draws that depend on what they are for, never on when or on which thread they are made.
//!
//! A stream is named by a seed, a purpose and any number of coordinates (epoch, image, view): the BLAKE3 hash of the name
//! keys a ChaCha8 generator. The distributions below are our own, so that no release of another crate can shift a result.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// The name of a stream of draws.
///
/// ```
/// use flow::random::Stream;
/// let flips = Stream::new(7, "flip").at(3).at(41);
/// assert_eq!(flips.draws().uniform(), flips.draws().uniform());
/// ```
#[derive(Clone)]
pub struct Stream(blake3::Hasher);

impl Stream {
    /// Names the stream for `purpose` under the pipeline's seed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("flow random stream v1");
        hasher.update(&seed.to_le_bytes());
        Self(hasher).of(purpose)
    }

    /// Adds a word to the name.
    pub fn of(mut self, word: &str) -> Self {
        // Length first, so that ("ab", "c") and ("a", "bc") are two names.
        self.0.update(&(word.len() as u64).to_le_bytes());
        self.0.update(word.as_bytes());
        self
    }

    /// Adds a coordinate to the name.
    pub fn at(mut self, coordinate: u64) -> Self {
        self.0.update(&[0xff; 8]);
        self.0.update(&coordinate.to_le_bytes());
        self
    }

    /// Starts the stream from its first draw.
    pub fn draws(&self) -> Draws {
        Draws(ChaCha8Rng::from_seed(*self.0.finalize().as_bytes()))
    }
}

/// The draws of one stream, in order.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Returns a number in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Returns true with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Returns a whole number in 0..n, without bias (Lemire 2019, arXiv:1805.10941).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no number lies below 0");
        let n = n as u64;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(n);
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as usize;
            }
        }
    }

    /// Returns a standard normal number (Box and Muller 1958; the second of each pair is not used).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Returns a normal number of mean 0 and deviation `std`, drawn again until it lies within ±`cut`.
    pub fn truncated_normal(&mut self, std: f64, cut: f64) -> f64 {
        loop {
            let x = self.normal() * std;
            if x.abs() <= cut {
                return x;
            }
        }
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Returns the numbers 0..n in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draws_of_a_stream_never_change() {
        let mut draws = Stream::new(1, "golden").at(2).draws();
        let seen: Vec<u64> = (0..3).map(|_| draws.bits()).collect();
        assert_eq!(seen, GOLDEN);
    }
    const GOLDEN: [u64; 3] = [7726363695969473632, 8924740424855133362, 482555330392015978];

    #[test]
    fn names_are_not_confused() {
        let a = Stream::new(1, "ab").of("c").draws().bits();
        let b = Stream::new(1, "a").of("bc").draws().bits();
        assert_ne!(a, b);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut draws = Stream::new(3, "moments").draws();
        let n = 100_000;
        let uniform: f64 = (0..n).map(|_| draws.uniform()).sum::<f64>() / f64::from(n);
        let normals: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.005, "{uniform}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[draws.below(7)] += 1);
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
    }
}
