//! Layers on maps (B, C, H, W), with gradients on every device; on CUDA, in f32, fused kernels take the place of plain operations.

use candle_core::{Result, Tensor};

use super::candle_backward::{with_backward, with_backward_of_one, with_backward_of_two};
use super::candle_fused as fused;

/// Divisor guard of batch norm (PyTorch's default).
const BATCH_NORM_EPS: f64 = 1e-5;
/// Weight of a new batch in the running statistics (PyTorch's default).
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// Tokens (B, H·W, C) as a map.
pub fn to_map(x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    with_backward_of_one("to_map", [x], |[x]| map_of(x, rows, columns), |_, d| Ok([tokens_of(d)?]))
}

/// A map as tokens (B, H·W, C).
pub fn to_tokens(x: &Tensor) -> Result<Tensor> {
    let (_, _, rows, columns) = x.dims4()?;
    with_backward_of_one("to_tokens", [x], |[x]| tokens_of(x), move |_, d| Ok([map_of(d, rows, columns)?]))
}

fn map_of(x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let (b, _, c) = x.dims3()?;
    x.transpose(1, 2)?.contiguous()?.reshape((b, c, rows, columns))
}

fn tokens_of(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

/// 3x3 convolution of stride 2 with a border of zeros: (B, C, H, W) with weights (O, C, 3, 3) becomes (B, O, H / 2, W / 2), rounded up.
pub fn conv3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !fused::serve(x) {
        return x.conv2d(weight, 1, 2, 1, 1);
    }
    let (b, _, h, w) = x.dims4()?;
    let (o, _, _, _) = weight.dims4()?;
    let outer = move |weight: &Tensor| weight.flatten_from(1);
    with_backward_of_two(
        "conv3",
        [x, weight],
        |[x, weight]| {
            let around = fused::unfold3(x)?;
            let (_, inner, _) = around.dims3()?;
            outer(weight)?.broadcast_as((b, o, inner))?.matmul(&around)?.reshape((b, o, h.div_ceil(2), w.div_ceil(2)))
        },
        move |[x, weight], d| {
            let (d, around) = (d.flatten_from(2)?, fused::unfold3(x)?);
            let (_, inner, _) = around.dims3()?;
            let d_weight = d.matmul(&around.transpose(1, 2)?)?.sum(0)?.reshape(weight.shape())?;
            let d_around = outer(weight)?.t()?.broadcast_as((b, inner, o))?.matmul(&d)?;
            Ok([fused::fold3(x, &d_around)?, d_weight])
        },
    )
}

/// Depthwise 3x3 convolution with a border of zeros: (B, C, H, W) with weights (C, 1, 3, 3) and a bias (C).
///
/// Nine shifted products: candle's grouped convolution runs channel by channel.
pub fn depthwise3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    with_backward(
        "depthwise3",
        [x, weight, bias],
        |[x, weight, bias]| {
            if fused::serve(x) {
                return fused::depthwise3(x, weight, Some(bias));
            }
            shifted_sum(x, weight, false)?.broadcast_add(&per_channel(bias)?)
        },
        |[x, weight, _], d| {
            if fused::serve(x) {
                let [d_weight, d_bias] = fused::depthwise3_sums(x, d)?;
                return Ok([fused::depthwise3(d, weight, None)?, d_weight, d_bias]);
            }
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
        // The fused kernel has no way back here.
        let is_followed = [x, self.weight, self.bias].iter().any(|t| t.track_op());
        if fused::serve(x) && !is_followed {
            return fused::batch_norm(x, [self.running_mean, self.running_var], self.weight, self.bias, BATCH_NORM_EPS);
        }
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
        let is_fused = fused::serve(x);
        let [mean, var] = if is_fused {
            fused::channel_moments(&x.detach())?
        } else {
            let (mean, _, var) = centred(&x.detach())?;
            [mean, var]
        };
        let unbiased = (&var * (n as f64 / (n - 1) as f64))?;
        let statistics = NewStatistics { mean: blend(self.running_mean, mean.clone())?, var: blend(self.running_var, unbiased)? };
        if is_fused {
            let of_x = [mean.clone(), var.clone()];
            let out = with_backward(
                "batch_norm",
                [x, self.weight, self.bias],
                |[x, weight, bias]| fused::batch_norm(x, [&mean, &var], weight, bias, BATCH_NORM_EPS),
                move |[x, weight, _], d| fused::batch_norm_backward(x, of_x.each_ref(), weight, d, BATCH_NORM_EPS),
            )?;
            return Ok((out, statistics));
        }
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
    use candle_core::Device;

    use super::*;

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
