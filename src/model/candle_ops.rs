//! Layers written in plain candle operations, all of which have a gradient on every device.
//!
//! candle-nn's own `LayerNorm` and `softmax_last_dim` are fused operations without a backward pass: a network trained
//! through them keeps part of its weights unchanged without a word, so they have no place here.

use candle_core::{D, Result, Tensor};

use super::candle_backward::with_backward;

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
    shape.pop();
    shape.push(weight.dim(0)?);
    let x = rows(x)?;
    let out = match bias {
        None => x.matmul(&weight.t()?)?,
        Some(bias) => with_backward(
            "linear",
            [&x, weight, bias],
            |[x, weight, bias]| x.matmul(&weight.t()?)?.broadcast_add(bias),
            |[x, weight, _], d| Ok([d.matmul(weight)?, d.t()?.matmul(x)?, d.sum(0)?]),
        )?,
    };
    out.reshape(shape)
}

/// (.., C) as (R, C).
fn rows(x: &Tensor) -> Result<Tensor> {
    let columns = x.dim(D::Minus1)?.max(1);
    x.reshape((x.elem_count() / columns, columns))
}

/// Adds a branch whose last axis is scaled: x + branch · scale, with x and branch (.., C) and a scale (C).
pub fn add_scaled(x: &Tensor, branch: &Tensor, scale: &Tensor) -> Result<Tensor> {
    with_backward(
        "add_scaled",
        [x, branch, scale],
        |[x, branch, scale]| x + branch.broadcast_mul(scale)?,
        |[_, branch, scale], d| Ok([d.clone(), d.broadcast_mul(scale)?, rows(&(d * branch)?)?.sum(0)?]),
    )
}

/// Takes the mean off the last axis and divides it by its deviation; returns that deviation too.
fn standardised(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + LAYER_NORM_EPS)?.sqrt()?;
    Ok((centred.broadcast_div(&deviation)?, deviation))
}

/// Normalises the last axis to mean 0 and (biased) variance 1, then scales and shifts.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    with_backward(
        "layer_norm",
        [x, weight, bias],
        |[x, weight, bias]| standardised(x)?.0.broadcast_mul(weight)?.broadcast_add(bias),
        |[x, weight, _], d| {
            let (x, deviation) = standardised(x)?;
            let g = d.broadcast_mul(weight)?;
            let along = x.broadcast_mul(&(&g * &x)?.mean_keepdim(D::Minus1)?)?;
            let dx = (g.broadcast_sub(&g.mean_keepdim(D::Minus1)?)? - along)?.broadcast_div(&deviation)?;
            Ok([dx, rows(&(d * x)?)?.sum(0)?, rows(d)?.sum(0)?])
        },
    )
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
    with_backward(
        "depthwise3",
        [x, weight, bias],
        |[x, weight, bias]| shifted_sum(x, weight, false)?.broadcast_add(&per_channel(bias)?),
        |[x, weight, _], d| {
            let by_tap = shifts(x)?.map(|x| (x? * d)?.sum((0, 2, 3))).collect::<Result<Vec<_>>>()?;
            let d_weight = Tensor::stack(&by_tap, 1)?.reshape(weight.shape())?;
            Ok([shifted_sum(d, weight, true)?, d_weight, d.sum((0, 2, 3))?])
        },
    )
}

/// The map (B, C, H, W) shifted by each tap of a 3x3 kernel in turn, zeros coming in.
fn shifts(x: &Tensor) -> Result<impl Iterator<Item = Result<Tensor>>> {
    let (_, _, h, w) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    Ok((0..9).map(move |tap| padded.narrow(2, tap / 3, h)?.narrow(3, tap % 3, w)))
}

/// The sum of these, each times its tap; `turned` takes the taps from the last, which is the way back to the map.
fn shifted_sum(x: &Tensor, weight: &Tensor, turned: bool) -> Result<Tensor> {
    let c = x.dim(1)?;
    let taps = weight.reshape((1, c, 9, 1))?;
    let mut sum: Option<Tensor> = None;
    for (i, x) in shifts(x)?.enumerate() {
        let product = x?.broadcast_mul(&taps.narrow(2, if turned { 8 - i } else { i }, 1)?)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => (sum + product)?,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
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
        let blend = |old: &Tensor, new: Tensor| (old * (1.0 - BATCH_NORM_MOMENTUM))? + (new.flatten_all()? * BATCH_NORM_MOMENTUM)?;
        let (mean, _, var) = centred(&x.detach())?;
        let statistics =
            NewStatistics { mean: blend(self.running_mean, mean)?, var: blend(self.running_var, (var * (n as f64 / (n - 1) as f64))?)? };
        let out = with_backward(
            "batch_norm",
            [x, self.weight, self.bias],
            |[x, weight, bias]| {
                let (_, centred, var) = centred(x)?;
                BatchNorm { weight, bias, ..*self }.apply(&centred, &var)
            },
            |[x, weight, _], d| {
                let (_, centred, var) = centred(x)?;
                let deviation = (var + BATCH_NORM_EPS)?.sqrt()?;
                let x = centred.broadcast_div(&deviation)?;
                let (d_weight, d_bias) = ((d * &x)?.sum_keepdim((0, 2, 3))?, d.sum_keepdim((0, 2, 3))?);
                let n = (x.elem_count() / x.dim(1)?) as f64;
                let along = x.broadcast_mul(&(&d_weight / n)?)?;
                let dx = (d.broadcast_sub(&(&d_bias / n)?)? - along)?.broadcast_mul(&per_channel(weight)?.broadcast_div(&deviation)?)?;
                Ok([dx, d_weight.flatten_all()?, d_bias.flatten_all()?])
            },
        )?;
        Ok((out, statistics))
    }

    fn apply(&self, centred: &Tensor, var: &Tensor) -> Result<Tensor> {
        let scale = per_channel(self.weight)?.broadcast_div(&(var + BATCH_NORM_EPS)?.sqrt()?)?;
        centred.broadcast_mul(&scale)?.broadcast_add(&per_channel(self.bias)?)
    }
}

/// Returns each channel's mean, the map without it, and the biased variance.
fn centred(x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let mean = x.mean_keepdim((0, 2, 3))?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    Ok((mean, centred, var))
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
