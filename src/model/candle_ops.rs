//! Layers written in plain candle operations, all of which have a gradient on every device.
//!
//! candle-nn's own `LayerNorm` and `softmax_last_dim` are fused operations without a backward pass: a network trained
//! through them keeps part of its weights unchanged without a word, so they have no place here.

use candle_core::{D, Result, Tensor};

/// Divisor guard of layer norm in XCiT (timm).
const LAYER_NORM_EPS: f64 = 1e-6;
/// Divisor guard of batch norm (PyTorch's default).
const BATCH_NORM_EPS: f64 = 1e-5;
/// Weight of a new batch in the running statistics (PyTorch's default).
const BATCH_NORM_MOMENTUM: f64 = 0.1;
/// Smallest length that L2 normalisation divides by (PyTorch's `F.normalize`).
const LENGTH_EPS: f64 = 1e-12;

/// Returns `x W' + b` over the last axis: (.., in) with a weight (out, in) becomes (.., out).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let inputs = shape.pop().unwrap_or(1);
    let rows = x.elem_count() / inputs.max(1);
    let out = x.reshape((rows, inputs))?.matmul(&weight.t()?)?;
    shape.push(weight.dim(0)?);
    let out = match bias {
        Some(bias) => out.broadcast_add(bias)?,
        None => out,
    };
    out.reshape(shape)
}

/// Normalises the last axis to mean 0 and (biased) variance 1, then scales and shifts.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + LAYER_NORM_EPS)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Normalises `axis` to sum 1 through exponentials; the largest value is taken off first and counts as a constant.
pub fn softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let exp = shifted(x, axis)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(axis)?)
}

/// Returns the logarithm of [`softmax`].
pub fn log_softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let shifted = shifted(x, axis)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(axis)?.log()?)
}

fn shifted(x: &Tensor, axis: usize) -> Result<Tensor> {
    x.broadcast_sub(&x.detach().max_keepdim(axis)?)
}

/// Divides by the length along `axis`, or by 1e-12 where it is shorter.
pub fn l2_normalise(x: &Tensor, axis: usize) -> Result<Tensor> {
    // The bound is put on the square: a length of zero has no gradient, its square has.
    let length = x.sqr()?.sum_keepdim(axis)?.maximum(LENGTH_EPS * LENGTH_EPS)?.sqrt()?;
    x.broadcast_div(&length)
}

/// Depthwise 3x3 convolution with a border of zeros: (B, C, H, W) with weights (C, 1, 3, 3) and a bias (C).
///
/// Nine shifted products: candle's grouped convolution runs channel by channel.
pub fn depthwise3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, c, h, w) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let weight = weight.reshape((1, c, 3, 3))?;
    let mut sum = None;
    for dy in 0..3 {
        for dx in 0..3 {
            let tap = weight.narrow(2, dy, 1)?.narrow(3, dx, 1)?;
            let product = padded.narrow(2, dy, h)?.narrow(3, dx, w)?.broadcast_mul(&tap)?;
            sum = Some(match sum {
                None => product,
                Some(sum) => (sum + product)?,
            });
        }
    }
    let bias = bias.reshape((1, c, 1, 1))?;
    match sum {
        Some(sum) => sum.broadcast_add(&bias),
        None => unreachable!("nine taps were added"),
    }
}

/// Scale, shift and running statistics of a batch norm, each (C).
pub struct BatchNorm<'a> {
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    pub running_mean: &'a Tensor,
    pub running_var: &'a Tensor,
}

/// The running statistics after a training pass, each (C), without a gradient.
pub struct NewStatistics {
    pub mean: Tensor,
    pub var: Tensor,
}

impl BatchNorm<'_> {
    /// Normalises each channel of (B, C, H, W) with the running statistics.
    pub fn eval(&self, x: &Tensor) -> Result<Tensor> {
        let (mean, var) = (per_channel(self.running_mean)?, per_channel(self.running_var)?);
        self.apply(&x.broadcast_sub(&mean)?, &var)
    }

    /// Normalises each channel with its mean and biased variance over batch and map, and returns what the running
    /// statistics become (they take the unbiased variance).
    ///
    /// # Errors
    /// When there is one value per channel only: it has no variance.
    pub fn train(&self, x: &Tensor) -> Result<(Tensor, NewStatistics)> {
        let n = x.elem_count() / x.dim(1)?.max(1);
        if n < 2 {
            candle_core::bail!("batch norm needs more than one value per channel to train, got {n}");
        }
        let mean = x.mean_keepdim((0, 2, 3))?;
        let centred = x.broadcast_sub(&mean)?;
        let var = centred.sqr()?.mean_keepdim((0, 2, 3))?;
        let blend = |old: &Tensor, new: Tensor| (old * (1.0 - BATCH_NORM_MOMENTUM))? + (new.flatten_all()? * BATCH_NORM_MOMENTUM)?;
        let statistics = NewStatistics {
            mean: blend(self.running_mean, mean.detach())?,
            var: blend(self.running_var, (var.detach() * (n as f64 / (n - 1) as f64))?)?,
        };
        Ok((self.apply(&centred, &var)?, statistics))
    }

    fn apply(&self, centred: &Tensor, var: &Tensor) -> Result<Tensor> {
        let scale = per_channel(self.weight)?.broadcast_div(&(var + BATCH_NORM_EPS)?.sqrt()?)?;
        centred.broadcast_mul(&scale)?.broadcast_add(&per_channel(self.bias)?)
    }
}

fn per_channel(values: &Tensor) -> Result<Tensor> {
    values.reshape((1, values.elem_count(), 1, 1))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn a_vector_of_length_zero_stays_zero_and_has_a_gradient() {
        let x = Var::new(&[[0.0_f64, 0.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let y = l2_normalise(&x, 1).unwrap();
        assert_eq!(y.to_vec2::<f64>().unwrap(), [[0.0, 0.0], [0.6, 0.8]]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|g| g.is_finite()));
    }

    #[test]
    fn a_depthwise_kernel_with_one_tap_moves_the_map() {
        let x = Tensor::arange(0.0_f64, 12.0, &Device::Cpu).unwrap().reshape((1, 1, 3, 4)).unwrap();
        let mut taps = [0.0; 9];
        taps[5] = 1.0; // middle row, right column
        let weight = Tensor::from_slice(&taps, (1, 1, 3, 3), &Device::Cpu).unwrap();
        let bias = Tensor::from_slice(&[10.0], 1, &Device::Cpu).unwrap();
        let y = depthwise3(&x, &weight, &bias).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(y, [11.0, 12.0, 13.0, 10.0, 15.0, 16.0, 17.0, 10.0, 19.0, 20.0, 21.0, 10.0]);
    }

    #[test]
    fn one_value_per_channel_cannot_train_a_batch_norm() {
        let c = Tensor::ones(2, candle_core::DType::F64, &Device::Cpu).unwrap();
        let norm = BatchNorm { weight: &c, bias: &c, running_mean: &c, running_var: &c };
        assert!(norm.train(&Tensor::ones((1, 2, 1, 1), candle_core::DType::F64, &Device::Cpu).unwrap()).is_err());
    }
}
