//! Layers of [`super::candle_ops`] in one or two passes each on a CUDA device (`fused.cu`), in f32.
//!
//! The plain operations stay what every other device uses, and what these are held against. In them each operation reads and writes the whole
//! map, and a step on a GPU took four times as long as PyTorch's.

use candle_core::{D, DType, Result, Tensor};

use super::launch::{Argument::*, Threads, launch};

/// Threads of a block, but for sums over a whole channel.
const BLOCK: usize = 256;
/// How many stretches of rows are summed side by side at most.
const STRETCHES: usize = 256;

/// Whether these kernels serve what lies on this tensor's device, in its precision.
pub fn serve(x: &Tensor) -> bool {
    cfg!(feature = "cuda") && x.device().is_cuda() && x.dtype() == DType::F32
}

/// One thread for each element.
fn elements(x: &Tensor) -> Threads {
    Threads { blocks: (x.elem_count().div_ceil(BLOCK), 1), block: BLOCK }
}

/// 32 threads for each row.
fn warps(rows: usize) -> Threads {
    Threads { blocks: ((rows * 32).div_ceil(BLOCK), 1), block: BLOCK }
}

/// One block for each channel.
fn channels(channels: usize) -> Threads {
    Threads { blocks: (channels, 1), block: 512 }
}

/// Rows and columns of (.., C).
fn sides(x: &Tensor) -> Result<(usize, usize)> {
    let columns = x.dim(D::Minus1)?;
    Ok((x.elem_count() / columns.max(1), columns))
}

/// Batch, channels, and places of a map (B, C, H, W).
fn planes(x: &Tensor) -> Result<(usize, usize, usize)> {
    let (b, c, h, w) = x.dims4()?;
    Ok((b, c, h * w))
}

/// One result of x's shape.
fn like(x: &Tensor, name: &'static str, threads: Threads, arguments: &[super::launch::Argument<'_>]) -> Result<Tensor> {
    launch(name, x.device(), &[x.elem_count()], threads, arguments)?.remove(0).reshape(x.shape())
}

/// Layer norm over the last axis.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (rows, columns) = sides(x)?;
    like(x, "layer_norm", warps(rows), &[In(x), In(weight), In(bias), Out, Count(rows), Count(columns), Float(eps)])
}

/// The gradients of x, weight and bias from that of the result.
pub fn layer_norm_backward(x: &Tensor, weight: &Tensor, d: &Tensor, eps: f64) -> Result<[Tensor; 3]> {
    let (rows, columns) = sides(x)?;
    let arguments = [In(x), In(weight), In(d), Out, Out, Count(rows), Count(columns), Float(eps)];
    let mut made = launch("layer_norm_backward", x.device(), &[x.elem_count(), 2 * rows], warps(rows), &arguments)?;
    let (moments, dx) = (made.remove(1), made.remove(0).reshape(x.shape())?);
    let [weight, bias] = column_sums(d, x, Some(&moments))?;
    Ok([dx, weight, bias])
}

/// The column sums of d · x and of d, both (.., C); x is first normalised by its rows' moments, if there are any.
pub fn column_sums(d: &Tensor, x: &Tensor, moments: Option<&Tensor>) -> Result<[Tensor; 2]> {
    let (rows, columns) = sides(d)?;
    let stretch = rows.div_ceil(STRETCHES).max(8);
    let stretches = rows.div_ceil(stretch);
    let threads = Threads { blocks: (columns.div_ceil(32), stretches), block: 256 };
    let arguments =
        [In(d), In(x), In(moments.unwrap_or(x)), Out, Count(rows), Count(columns), Count(stretch), Count(usize::from(moments.is_some()))];
    let sums = launch("column_sums", d.device(), &[stretches * 2 * columns], threads, &arguments)?.remove(0);
    let sums = sums.reshape((stretches, 2, columns))?.sum(0)?;
    Ok([sums.get(0)?, sums.get(1)?])
}

/// x + branch · scale, scale (C).
pub fn add_scaled(x: &Tensor, branch: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let arguments = [In(x), In(branch), In(scale), Out, Count(x.elem_count()), Count(scale.elem_count())];
    like(x, "add_scaled", elements(x), &arguments)
}

/// x · scale, scale (C).
pub fn scale_columns(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    like(x, "scale_columns", elements(x), &[In(x), In(scale), Out, Count(x.elem_count()), Count(scale.elem_count())])
}

/// x + row, row (C).
pub fn add_row(x: &Tensor, row: &Tensor) -> Result<Tensor> {
    like(x, "add_row", elements(x), &[In(x), In(row), Out, Count(x.elem_count()), Count(row.elem_count())])
}

/// The gradient before a GELU from the one behind it.
pub fn gelu_backward(x: &Tensor, d: &Tensor) -> Result<Tensor> {
    like(x, "gelu_backward", elements(x), &[In(x), In(d), Out, Count(x.elem_count())])
}

/// x by the length of its last axis.
pub fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = sides(x)?;
    like(x, "l2_normalise", warps(rows), &[In(x), Out, Count(rows), Count(columns)])
}

/// The gradient before [`l2_normalise`] from the one behind it.
pub fn l2_normalise_backward(x: &Tensor, d: &Tensor) -> Result<Tensor> {
    let (rows, columns) = sides(x)?;
    like(x, "l2_normalise_backward", warps(rows), &[In(x), In(d), Out, Count(rows), Count(columns)])
}

/// 3x3 by channel over (B, C, H, W) with a bias; without one the taps are taken from the last, which is the way back to the map.
pub fn depthwise3(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (_, c, h, w) = x.dims4()?;
    let turned = usize::from(bias.is_none());
    let arguments =
        [In(x), In(weight), In(bias.unwrap_or(weight)), Out, Count(x.elem_count()), Count(c), Count(h), Count(w), Count(turned)];
    like(x, "depthwise3", elements(x), &arguments)
}

/// The gradients of its weights (C, 1, 3, 3) and bias (C).
pub fn depthwise3_sums(x: &Tensor, d: &Tensor) -> Result<[Tensor; 2]> {
    let (b, c, h, w) = x.dims4()?;
    let sums = launch("depthwise3_sums", x.device(), &[10 * c], channels(c), &[In(x), In(d), Out, Count(b), Count(c), Count(h), Count(w)])?;
    let sums = sums[0].reshape((10, c))?;
    Ok([sums.narrow(0, 0, 9)?.t()?.reshape((c, 1, 3, 3))?, sums.get(9)?])
}

/// Mean and biased variance of each channel of (B, C, H, W), both (C).
pub fn channel_moments(x: &Tensor) -> Result<[Tensor; 2]> {
    let (b, c, plane) = planes(x)?;
    let made = launch("channel_moments", x.device(), &[2 * c], channels(c), &[In(x), Out, Count(b), Count(c), Count(plane)])?;
    let made = made[0].reshape((2, c))?;
    Ok([made.get(0)?, made.get(1)?])
}

/// Batch norm by these moments.
pub fn batch_norm(x: &Tensor, [mean, var]: [&Tensor; 2], weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (_, c, plane) = planes(x)?;
    let arguments = [In(x), In(mean), In(var), In(weight), In(bias), Out, Count(x.elem_count()), Count(c), Count(plane), Float(eps)];
    like(x, "batch_norm", elements(x), &arguments)
}

/// The gradients of x, weight and bias, where the moments are those of x.
pub fn batch_norm_backward(x: &Tensor, [mean, var]: [&Tensor; 2], weight: &Tensor, d: &Tensor, eps: f64) -> Result<[Tensor; 3]> {
    let (b, c, plane) = planes(x)?;
    let arguments = [In(x), In(d), In(mean), In(var), Out, Count(b), Count(c), Count(plane), Float(eps)];
    let sums = launch("batch_norm_sums", x.device(), &[2 * c], channels(c), &arguments)?.remove(0);
    let values = Float((b * plane) as f64);
    let arguments =
        [In(x), In(d), In(mean), In(var), In(weight), In(&sums), Out, Count(x.elem_count()), Count(c), Count(plane), values, Float(eps)];
    let dx = like(x, "batch_norm_backward", elements(x), &arguments)?;
    let sums = sums.reshape((2, c))?;
    Ok([dx, sums.get(0)?, sums.get(1)?])
}

/// The numbers around each place of a 3x3 convolution of stride 2: (B, C, H, W) becomes (B, 9·C, H'·W').
pub fn unfold3(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let (plane, n) = (h.div_ceil(2) * w.div_ceil(2), b * c * 9 * h.div_ceil(2) * w.div_ceil(2));
    let threads = Threads { blocks: (n.div_ceil(BLOCK), 1), block: BLOCK };
    let arguments = [In(x), Out, Count(n), Count(plane), Count(h), Count(w), Count(w.div_ceil(2))];
    launch("unfold3", x.device(), &[n], threads, &arguments)?.remove(0).reshape((b, 9 * c, plane))
}

/// The gradient before [`unfold3`] from the one behind it, where that made it from `x`.
pub fn fold3(x: &Tensor, d: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let plane = h.div_ceil(2) * w.div_ceil(2);
    like(x, "fold3", elements(x), &[In(d), Out, Count(x.elem_count()), Count(plane), Count(h), Count(w), Count(w.div_ceil(2))])
}
