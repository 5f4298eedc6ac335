//! The vision transformer in plain candle operations, on any device, in single or double precision, with gradients.
//!
//! The reference that the CPU kernels are held against, and the way to run on a GPU. As timm's `vision_transformer.py`: norms before the
//! branches, the class token first, registers between it and the patches; in networks with registers the class token has no position.

use candle_core::{DType, Device, Result, Tensor};

use super::candle_ops::{layer_norm, linear, linear_gelu, softmax};
use super::candle_tensors::Tensors;
use super::candle_xcit::Output;
use super::drop_path::DropPath;
use super::interpolate::interpolation;
use super::layout::Weights;
use super::sizes::grid;
use super::vit::VitSizes;
use crate::diagnostic::{Context, Failure};

/// A vision transformer without a classifier head.
pub struct CandleVit {
    sizes: VitSizes,
    tensors: Tensors,
}

impl CandleVit {
    /// Copies weights, named as in timm, to a device. Other tensors among them (a classifier head) are carried along.
    ///
    /// # Errors
    /// When the weights lack a tensor of a network of this size, or the device refuses.
    pub fn new(sizes: &VitSizes, weights: &Weights, dtype: DType, device: &Device) -> std::result::Result<Self, Failure> {
        Ok(Self { sizes: sizes.clone(), tensors: Tensors::holding(&sizes.layout(), weights, dtype, device)? })
    }

    /// Returns the same network (sharing memory) whose forward pass keeps nothing for a backward pass.
    pub fn without_gradient(&self) -> Self {
        Self { sizes: self.sizes.clone(), tensors: self.tensors.without_gradient() }
    }

    pub fn sizes(&self) -> &VitSizes {
        &self.sizes
    }

    /// Returns the parameters.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Runs images (B, 3, H, W), already normalised, of the network's own precision and device. Training differs in nothing but the
    /// branches that `drop` leaves out.
    ///
    /// # Errors
    /// When the sides do not divide into patches, `drop` is for another batch, precision or device differ, or the device refuses.
    pub fn forward_features(&self, images: &Tensor, drop: Option<&DropPath>) -> std::result::Result<Output, Failure> {
        let (batch, _, height, width) = images.dims4().doing(|| "reading images as (B, 3, H, W)")?;
        let (rows, columns) = grid(self.sizes.patch, height, width)?;
        if let Some(drop) = drop.filter(|drop| drop.images() != batch) {
            return Err(Failure::new(format!("drop path was drawn for {} images, but there are {batch}", drop.images())));
        }
        let run = || self.network(images, rows, columns, drop);
        let (tokens, cls_attention) = run().doing(|| "running the network")?;
        Ok(Output { tokens, cls_attention, statistics: Vec::new() })
    }

    fn network(&self, images: &Tensor, rows: usize, columns: usize, drop: Option<&DropPath>) -> Result<(Tensor, Tensor)> {
        let mut x = self.embed(images, rows, columns)?;
        let mut attention = None;
        for i in 0..self.sizes.depth {
            let (out, row) = self.block(i, &x, drop)?;
            (x, attention) = (out, Some(row));
        }
        let Some(attention) = attention else { candle_core::bail!("a vision transformer has at least one block") };
        Ok((self.norm("norm", &x)?, attention))
    }

    fn get(&self, block: &str, name: &str) -> Result<&Tensor> {
        self.tensors.get(&format!("{block}.{name}"))
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, self.get(name, "weight")?, self.get(name, "bias")?)
    }

    fn linear(&self, block: &str, name: &str, x: &Tensor) -> Result<Tensor> {
        let name = format!("{block}.{name}");
        linear(x, self.get(&name, "weight")?, Some(self.get(&name, "bias")?))
    }

    /// (B, 3, H, W) -> (B, 1 + R + N, D): one projection of every patch, positions, class token and registers.
    fn embed(&self, images: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let VitSizes { dim, patch, registers, .. } = self.sizes;
        let batch = images.dim(0)?;
        // (B, 3, rows, p, columns, p) -> (B, N, 3·p·p), in the order of the projection's weight.
        let patches = images.reshape(&[batch, 3, rows, patch, columns, patch][..])?.permute(vec![0, 2, 4, 1, 3, 5])?;
        let patches = patches.contiguous()?.reshape((batch, rows * columns, 3 * patch * patch))?;
        let weight = self.tensors.get("patch_embed.proj.weight")?.reshape((dim, 3 * patch * patch))?;
        let tokens = linear(&patches, &weight, Some(self.tensors.get("patch_embed.proj.bias")?))?;
        let tokens = tokens.broadcast_add(&self.positions(rows, columns)?)?;
        let mut class = self.tensors.get("cls_token")?.clone();
        if self.sizes.class_has_position() {
            class = (class + self.tensors.get("pos_embed")?.narrow(1, 0, 1)?)?;
        }
        let mut all = vec![class.broadcast_as((batch, 1, dim))?];
        if registers > 0 {
            all.push(self.tensors.get("reg_token")?.broadcast_as((batch, registers, dim))?);
        }
        all.push(tokens);
        Tensor::cat(&all, 1)
    }

    /// (1, N, D): the learnt positions of the patches, interpolated where the map is another than theirs.
    fn positions(&self, rows: usize, columns: usize) -> Result<Tensor> {
        let (places, dim) = (self.sizes.places(), self.sizes.dim);
        let first = usize::from(self.sizes.class_has_position());
        let learnt = self.tensors.get("pos_embed")?.narrow(1, first, places * places)?;
        let Some([by_row, by_column]) = interpolation(places, rows, columns, self.sizes.interpolation) else {
            return Ok(learnt);
        };
        let matrix = |values: Vec<f64>, n: usize| {
            Tensor::from_vec(values, (n, places), &Device::Cpu)?.to_dtype(self.tensors.dtype())?.to_device(self.tensors.device())
        };
        let stretched = matrix(by_row, rows)?.matmul(&learnt.contiguous()?.reshape((places, places * dim))?)?;
        let by_column = matrix(by_column, columns)?.broadcast_left(rows)?.contiguous()?;
        by_column.matmul(&stretched.reshape((rows, places, dim))?)?.reshape((1, rows * columns, dim))
    }

    /// x += s·γ1·MHSA(LN1 x); x += s·γ2·MLP(LN2 x), with s of drop path. Returns beside x the attention of the class token.
    fn block(&self, i: usize, x: &Tensor, drop: Option<&DropPath>) -> Result<(Tensor, Tensor)> {
        let block = format!("blocks.{i}");
        let (out, attention) = self.attention(&block, &self.norm(&format!("{block}.norm1"), x)?)?;
        let x = (x + self.scaled(&block, "ls1", out, drop.map(|drop| drop.branch(i, 0)))?)?;
        let normed = self.norm(&format!("{block}.norm2"), &x)?;
        let hidden = linear_gelu(&normed, self.get(&block, "mlp.fc1.weight")?, self.get(&block, "mlp.fc1.bias")?)?;
        let out = self.linear(&block, "mlp.fc2", &hidden)?;
        let x = (&x + self.scaled(&block, "ls2", out, drop.map(|drop| drop.branch(i, 1)))?)?;
        Ok((x, attention))
    }

    /// A branch times LayerScale, where there is one, and each image's factor of drop path.
    fn scaled(&self, block: &str, name: &str, mut out: Tensor, drop: Option<&[f32]>) -> Result<Tensor> {
        if self.sizes.layer_scale.is_some() {
            out = out.broadcast_mul(self.get(block, &format!("{name}.gamma"))?)?;
        }
        match drop {
            None => Ok(out),
            Some(factors) => {
                let factors = Tensor::from_slice(factors, (factors.len(), 1, 1), &Device::Cpu)?;
                out.broadcast_mul(&factors.to_dtype(self.tensors.dtype())?.to_device(self.tensors.device())?)
            }
        }
    }

    /// Multi-head self-attention: (B, T, D), and the class token's softmax rows (B, H, T).
    fn attention(&self, block: &str, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, n, dim) = x.dims3()?;
        let (heads, width) = (self.sizes.heads, dim / self.sizes.heads);
        let qkv = self.linear(block, "attn.qkv", x)?.reshape((b, n, 3, heads, width))?.permute((2, 0, 3, 1, 4))?;
        let part = |i: usize| qkv.narrow(0, i, 1)?.squeeze(0)?.contiguous(); // (B, H, T, d)
        let (q, k, v) = ((part(0)? * (width as f64).powf(-0.5))?, part(1)?, part(2)?);
        let attention = softmax(&q.matmul(&k.transpose(2, 3)?.contiguous()?)?, 3)?;
        let out = attention.matmul(&v)?.transpose(1, 2)?.reshape((b, n, dim))?;
        Ok((self.linear(block, "attn.proj", &out)?, attention.narrow(2, 0, 1)?.squeeze(2)?))
    }
}
