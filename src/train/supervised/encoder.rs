//! What training with labels asks of a network: pictures in, features out, and the way back.

use std::ops::Range;

use crate::diagnostic::Failure;
use crate::random::Stream;

/// One tensor of a flat list of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Where its numbers lie.
    pub range: Range<usize>,
    /// Numbers per unit: the length of a slice along the first dimension, or all of them for a vector.
    pub unit: usize,
    /// Whether weight decay applies: not to biases, norms and other vectors.
    pub decays: bool,
    /// Layers between it and the last one of its network.
    pub below_top: usize,
}

/// A network whose parameters are one flat list.
pub trait Encoder: Send + Sync {
    /// Numbers per feature row.
    fn dim(&self) -> usize;

    /// How many pictures of this side should be embedded together: one, where the bits of its features would depend on its company.
    fn at_once(&self, _side: usize) -> usize {
        1
    }

    /// The tensors that make up the parameters, in order and without gaps.
    fn tensors(&self) -> Vec<Tensor>;

    fn parameters(&self) -> &[f32];

    fn parameters_mut(&mut self) -> &mut [f32];

    /// Appends the features of pictures, as they are used outside training: running statistics, nothing changes.
    ///
    /// Pictures follow one another, side × side × 3. The same pictures in the same call always give the same bits.
    fn embed(&self, pictures: &[f32], side: usize, features: &mut Vec<f32>) -> Result<(), Failure>;

    /// Makes the next pass in training mode leave out residual branches at this rate, where the network knows how.
    fn leave_out(&mut self, _rate: f64, _draws: Stream) {}

    /// One pass forth and back in training mode.
    ///
    /// `loss` gets the features and writes the gradient by them; the gradient by the parameters is written into `gradient`.
    /// Batch statistics are used, and running statistics move.
    fn learn(
        &mut self,
        pictures: &[f32],
        side: usize,
        loss: &mut dyn FnMut(&[f32], &mut [f32]),
        gradient: &mut [f32],
    ) -> Result<(), Failure>;

    /// What the network keeps beside its parameters: running statistics.
    fn statistics(&self) -> Vec<f32>;

    fn set_statistics(&mut self, statistics: &[f32]);
}
