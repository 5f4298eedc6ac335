//! Cross-covariance attention of all heads in one function, with its way back (El-Nouby et al. 2021, eq. 2).

use candle_core::{D, IndexOp, Result, Tensor};

use super::candle_backward::with_backward_of_two;
use super::candle_ops::{l2_backward, l2_forward, softmax};

/// What the way back needs, by head: (B, H, d, N), and d × d matrices.
struct Kept {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// q and k by their lengths along the tokens.
    unit_q: Tensor,
    unit_k: Tensor,
    /// What these come to, before the temperature.
    cosine: Tensor,
    attention: Tensor,
}

/// (B, N, D) from queries, keys and values (B, N, 3·D) and a temperature of each head (H, 1, 1): a d × d attention between the channels of a head.
pub fn cross_covariance(qkv: &Tensor, temperature: &Tensor, heads: usize) -> Result<Tensor> {
    let kept = forward(&qkv.detach(), &temperature.detach(), heads)?;
    let out = kept.attention.matmul(&kept.v)?;
    let (b, n, _) = qkv.dims3()?;
    with_backward_of_two(
        "cross_covariance",
        [qkv, temperature],
        |_| out.permute((0, 3, 1, 2))?.contiguous()?.reshape((b, n, ())),
        move |[_, temperature], d| backward(&kept, temperature, d),
    )
}

fn forward(qkv: &Tensor, temperature: &Tensor, heads: usize) -> Result<Kept> {
    let (b, n, width) = qkv.dims3()?;
    let parts = qkv.reshape((b, n, 3, heads, width / 3 / heads))?.permute((2, 0, 3, 4, 1))?.contiguous()?;
    let (q, k, v) = (parts.i(0)?, parts.i(1)?, parts.i(2)?);
    let (unit_q, unit_k) = (l2_forward(&q)?, l2_forward(&k)?);
    let cosine = unit_q.matmul(&unit_k.t()?)?;
    let attention = softmax(&cosine.broadcast_mul(temperature)?, 3)?;
    Ok(Kept { q, k, v, unit_q, unit_k, cosine, attention })
}

/// The gradients of qkv and of the temperatures.
fn backward(kept: &Kept, temperature: &Tensor, d: &Tensor) -> Result<[Tensor; 2]> {
    let (b, heads, width, n) = kept.q.dims4()?;
    let d = d.reshape((b, n, heads, width))?.permute((0, 2, 3, 1))?.contiguous()?;
    let dv = kept.attention.t()?.matmul(&d)?;
    let d_attention = d.matmul(&kept.v.t()?)?;
    let mean = (&d_attention * &kept.attention)?.sum_keepdim(D::Minus1)?;
    let d_logits = (d_attention.broadcast_sub(&mean)? * &kept.attention)?;
    let d_temperature = (&d_logits * &kept.cosine)?.sum((0, 2, 3))?.reshape(temperature.shape())?;
    let d_cosine = d_logits.broadcast_mul(temperature)?;
    let dq = l2_backward(&kept.q, &d_cosine.matmul(&kept.unit_k)?)?;
    let dk = l2_backward(&kept.k, &d_cosine.t()?.matmul(&kept.unit_q)?)?;
    let d_qkv = Tensor::stack(&[dq, dk, dv], 0)?.permute((1, 4, 0, 2, 3))?.contiguous()?.reshape((b, n, 3 * heads * width))?;
    Ok([d_qkv, d_temperature])
}
