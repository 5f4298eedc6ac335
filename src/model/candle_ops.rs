//! Layers written in plain candle operations, all of which have a gradient on every device; on CUDA, in f32, fused kernels take their place.
//!
//! candle-nn's own `LayerNorm` and `softmax_last_dim` are fused operations without a backward pass: a network trained
//! through them keeps part of its weights unchanged without a word, so they have no place here.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::{D, Result, Tensor};

use super::candle_backward::{with_backward, with_backward_of_one};
use super::candle_fused as fused;

/// Divisor guard of layer norm in XCiT (timm).
const LAYER_NORM_EPS: f64 = 1e-6;
/// Smallest length that L2 normalisation divides by (PyTorch's `F.normalize`).
const LENGTH_EPS: f64 = 1e-12;

/// Returns `x W' + b` over the last axis: (.., in) with a weight (out, in) becomes (.., out).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return in_shape(&rows(x)?.matmul(&weight.t()?)?, x) };
    with_backward("linear", [x, weight, bias], |[x, weight, bias]| affine(x, weight, bias), linear_backward)
}

/// Returns GELU(x W' + b), as [`linear`] and [`gelu`].
pub fn linear_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let hidden = affine(&x.detach(), &weight.detach(), &bias.detach())?;
    let out = hidden.gelu_erf()?;
    with_backward(
        "linear_gelu",
        [x, weight, bias],
        |_| Ok(out),
        move |arguments, d| linear_backward(arguments, &gelu_backward(&hidden, d)?),
    )
}

fn affine(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let out = rows(x)?.matmul(&weight.t()?)?;
    in_shape(&if fused::serve(&out) { fused::add_row(&out, bias)? } else { out.broadcast_add(bias)? }, x)
}

/// The gradients of x, weight and bias.
fn linear_backward([x, weight, _]: [&Tensor; 3], d: &Tensor) -> Result<[Tensor; 3]> {
    let d = rows(d)?;
    Ok([in_shape(&d.matmul(weight)?, x)?, d.t()?.matmul(&rows(x)?)?, sum_of_rows(&d)?])
}

/// Rows in the shape of a tensor but for the last axis.
fn in_shape(rows: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(rows.dim(1)?);
    rows.reshape(shape)
}

/// (.., C) as (R, C).
fn rows(x: &Tensor) -> Result<Tensor> {
    let columns = x.dim(D::Minus1)?.max(1);
    x.reshape((x.elem_count() / columns, columns))
}

/// Returns the sum over all axes but the last.
fn sum_of_rows(x: &Tensor) -> Result<Tensor> {
    if fused::serve(x) {
        let [_, sum] = fused::column_sums(x, x, None)?;
        return Ok(sum);
    }
    rows(x)?.sum(0)
}

/// Adds a branch whose last axis is scaled: x + branch · scale, with x and branch (.., C) and a scale (C).
pub fn add_scaled(x: &Tensor, branch: &Tensor, scale: &Tensor) -> Result<Tensor> {
    with_backward(
        "add_scaled",
        [x, branch, scale],
        |[x, branch, scale]| {
            if fused::serve(x) { fused::add_scaled(x, branch, scale) } else { x + branch.broadcast_mul(scale)? }
        },
        |[_, branch, scale], d| {
            if fused::serve(d) {
                let [d_scale, _] = fused::column_sums(d, branch, None)?;
                return Ok([d.clone(), fused::scale_columns(d, scale)?, d_scale]);
            }
            Ok([d.clone(), d.broadcast_mul(scale)?, rows(&(d * branch)?)?.sum(0)?])
        },
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
        |[x, weight, bias]| {
            if fused::serve(x) {
                return fused::layer_norm(x, weight, bias, LAYER_NORM_EPS);
            }
            standardised(x)?.0.broadcast_mul(weight)?.broadcast_add(bias)
        },
        |[x, weight, _], d| {
            if fused::serve(x) {
                return fused::layer_norm_backward(x, weight, d, LAYER_NORM_EPS);
            }
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

/// x·Φ(x), element by element (Hendrycks and Gimpel 2016, the exact form).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    with_backward_of_one("gelu", [x], |[x]| x.gelu_erf(), |[x], d| Ok([gelu_backward(x, d)?]))
}

/// The gradient before a GELU: that behind it times Φ(x) + x·φ(x).
fn gelu_backward(x: &Tensor, d: &Tensor) -> Result<Tensor> {
    if fused::serve(x) {
        return fused::gelu_backward(x, d);
    }
    let below = ((x * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5;
    let density = ((x.sqr()? * -0.5)?.exp()? * (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2))?;
    d * (below? + (x * density)?)?
}

/// Divides the last axis by its length, or by 1e-12 where it is shorter.
pub fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    with_backward_of_one("l2_normalise", [x], |[x]| l2_forward(x), |[x], d| Ok([l2_backward(x, d)?]))
}

/// [`l2_normalise`] without a way back.
pub fn l2_forward(x: &Tensor) -> Result<Tensor> {
    if fused::serve(x) { fused::l2_normalise(x) } else { x.broadcast_div(&length(x)?) }
}

/// The gradient before [`l2_normalise`] from the one behind it.
pub fn l2_backward(x: &Tensor, d: &Tensor) -> Result<Tensor> {
    if fused::serve(x) {
        return fused::l2_normalise_backward(x, d);
    }
    let length = length(x)?;
    let unit = x.broadcast_div(&length)?;
    // Where the bound stands for the length, that does not change with x.
    let changes = length.gt(LENGTH_EPS)?.to_dtype(x.dtype())?;
    let along = ((d * &unit)?.sum_keepdim(D::Minus1)? * changes)?;
    (d - unit.broadcast_mul(&along)?)?.broadcast_div(&length)
}

fn length(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(LENGTH_EPS)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn a_vector_of_length_zero_stays_zero_and_has_a_gradient() {
        let x = Var::new(&[[0.0_f64, 0.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let y = l2_normalise(&x).unwrap();
        assert_eq!(y.to_vec2::<f64>().unwrap(), [[0.0, 0.0], [0.6, 0.8]]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|g| g.is_finite()));
    }
}
