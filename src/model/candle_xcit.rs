//! XCiT in plain candle operations, on any device, in single or double precision, with gradients.
//!
//! The reference that the CPU kernels are held against, and the way to run on a GPU. Every quirk of the original is
//! kept (timm's `xcit.py` and facebookresearch/xcit agree): `norm3` and `gamma3` belong to the local interaction, which
//! runs second; in a class-attention block the patch tokens gain `gamma1 * norm1(x)` and are then doubled.

use candle_core::{DType, Device, IndexOp, Result, Tensor};

use super::candle_cross_covariance::cross_covariance;
use super::candle_maps::{BatchNorm, conv3, depthwise3, to_map, to_tokens};
use super::candle_ops::{add_scaled, gelu, layer_norm, linear, linear_gelu, softmax};
use super::candle_tensors::Tensors;
use super::layout::Weights;
use super::position::{CODE, position_code};
use super::sizes::grid;
use super::xcit::XcitSizes;
use crate::diagnostic::{Context, Failure};

/// An XCiT without a classifier head.
pub struct CandleXcit {
    sizes: XcitSizes,
    tensors: Tensors,
}

/// What a forward pass gives, for B images of N patches.
pub struct Output {
    /// (B, 1 + R + N, D) after the final norm: the class token, whose row is the representation, a ViT's R registers, the patches.
    pub tokens: Tensor,
    /// (B, heads, 1 + R + N): the attention of the class token in the last (class-attention) block; each row sums to 1.
    pub cls_attention: Tensor,
    /// The running statistics after this pass, by name; empty unless training. The network's own are left as they were:
    /// see [`Tensors::absorb`].
    pub statistics: Vec<(String, Tensor)>,
}

impl Output {
    /// Returns the representation, (B, D).
    pub fn cls(&self) -> std::result::Result<Tensor, Failure> {
        self.tokens.i((.., 0)).and_then(|cls| cls.contiguous()).doing(|| "taking the class token")
    }
}

impl CandleXcit {
    /// Copies weights, named as in timm, to a device. Other tensors among them (a classifier head) are carried along.
    ///
    /// # Errors
    /// When the weights lack a tensor of a network of this size, or the device refuses.
    pub fn new(sizes: &XcitSizes, weights: &Weights, dtype: DType, device: &Device) -> std::result::Result<Self, Failure> {
        Ok(Self { sizes: sizes.clone(), tensors: Tensors::holding(&sizes.layout(), weights, dtype, device)? })
    }

    /// Returns the same network (sharing memory) whose forward pass keeps nothing for a backward pass.
    pub fn without_gradient(&self) -> Self {
        Self { sizes: self.sizes.clone(), tensors: self.tensors.without_gradient() }
    }

    pub fn sizes(&self) -> &XcitSizes {
        &self.sizes
    }

    /// Returns parameters and running statistics.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Runs images (B, 3, H, W), already normalised, of the network's own precision and device. Training uses the
    /// batch's own statistics in batch norms and returns what the running ones become.
    ///
    /// # Errors
    /// When the sides do not divide into patches, precision or device differ, or the device refuses.
    pub fn forward_features(&self, images: &Tensor, train: bool) -> std::result::Result<Output, Failure> {
        let (_, _, height, width) = images.dims4().doing(|| "reading the shape of a batch of images")?;
        grid(self.sizes.patch, height, width)?;
        let mut pass = Pass { sizes: &self.sizes, tensors: &self.tensors, train, statistics: Vec::new() };
        let (tokens, cls_attention) = pass.network(images).doing(|| "running the network")?;
        Ok(Output { tokens, cls_attention, statistics: pass.statistics })
    }
}

/// One forward pass.
struct Pass<'a> {
    sizes: &'a XcitSizes,
    tensors: &'a Tensors,
    train: bool,
    statistics: Vec<(String, Tensor)>,
}

impl Pass<'_> {
    fn get(&self, block: &str, name: &str) -> Result<&Tensor> {
        self.tensors.get(&format!("{block}.{name}"))
    }

    fn linear(&self, block: &str, layer: &str, x: &Tensor) -> Result<Tensor> {
        let name = format!("{block}.{layer}");
        linear(x, self.get(&name, "weight")?, Some(self.get(&name, "bias")?))
    }

    fn layer_norm(&self, block: &str, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, self.get(block, "weight")?, self.get(block, "bias")?)
    }

    fn batch_norm(&mut self, name: &str, x: &Tensor) -> Result<Tensor> {
        let norm = BatchNorm {
            weight: self.get(name, "weight")?,
            bias: self.get(name, "bias")?,
            running_mean: self.get(name, "running_mean")?,
            running_var: self.get(name, "running_var")?,
        };
        if !self.train {
            return norm.eval(x);
        }
        let (out, new) = norm.train(x)?;
        self.statistics.push((format!("{name}.running_mean"), new.mean));
        self.statistics.push((format!("{name}.running_var"), new.var));
        Ok(out)
    }

    fn network(&mut self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let map = self.stem(images)?;
        let (batch, dim, rows, columns) = map.dims4()?;
        let tokens = to_tokens(&map)?;
        let mut x = tokens.broadcast_add(&self.positions(rows, columns)?)?;
        for i in 0..self.sizes.depth {
            x = self.block(&format!("blocks.{i}"), &x, rows, columns)?;
        }
        let cls = self.tensors.get("cls_token")?.broadcast_as((batch, 1, dim))?;
        x = Tensor::cat(&[&cls, &x], 1)?;
        let mut attention = None;
        for j in 0..self.sizes.cls_depth {
            let (out, rows) = self.cls_block(&format!("cls_attn_blocks.{j}"), &x)?;
            (x, attention) = (out, Some(rows));
        }
        let Some(attention) = attention else { candle_core::bail!("an XCiT has at least one class-attention block") };
        Ok((self.layer_norm("norm", &x)?, attention))
    }

    /// (B, 3, H, W) -> (B, D, H / p, W / p): convolutions of stride 2 with batch norms; GELU between them, not after.
    fn stem(&mut self, images: &Tensor) -> Result<Tensor> {
        let stages = self.sizes.stem().len() - 1;
        let mut x = images.clone();
        for stage in 0..stages {
            let name = format!("patch_embed.proj.{}", 2 * stage);
            x = conv3(&x, self.get(&name, "0.weight")?)?;
            x = self.batch_norm(&format!("{name}.1"), &x)?;
            if stage + 1 < stages {
                x = gelu(&x)?;
            }
        }
        Ok(x)
    }

    /// (1, N, D): the learnt projection of the Fourier code.
    fn positions(&self, rows: usize, columns: usize) -> Result<Tensor> {
        let code = Tensor::from_vec(position_code(rows, columns), (rows * columns, CODE), &Device::Cpu)?;
        let code = code.to_dtype(self.tensors.dtype())?.to_device(self.tensors.device())?;
        let weight = self.get("pos_embed.token_projection", "weight")?.reshape((self.sizes.dim, CODE))?;
        linear(&code, &weight, Some(self.get("pos_embed.token_projection", "bias")?))?.unsqueeze(0)
    }

    /// Cross-covariance attention, local interaction, MLP, each added with its LayerScale.
    fn block(&mut self, block: &str, x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let out = self.cross_covariance(block, &self.layer_norm(&format!("{block}.norm1"), x)?)?;
        let x = add_scaled(x, &out, self.get(block, "gamma1")?)?;
        let out = self.local(block, &self.layer_norm(&format!("{block}.norm3"), &x)?, rows, columns)?;
        let x = add_scaled(&x, &out, self.get(block, "gamma3")?)?;
        let out = self.mlp(block, &self.layer_norm(&format!("{block}.norm2"), &x)?)?;
        add_scaled(&x, &out, self.get(block, "gamma2")?)
    }

    /// Attention between channels: a d x d matrix per head, of queries and keys normalised along the tokens.
    fn cross_covariance(&self, block: &str, x: &Tensor) -> Result<Tensor> {
        let qkv = self.linear(block, "attn.qkv", x)?;
        let out = cross_covariance(&qkv, self.get(block, "attn.temperature")?, self.sizes.heads)?;
        self.linear(block, "attn.proj", &out)
    }

    /// Local patch interaction: depthwise convolution, GELU, batch norm, depthwise convolution.
    fn local(&mut self, block: &str, x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let name = format!("{block}.local_mp");
        let map = to_map(x, rows, columns)?;
        let map = gelu(&depthwise3(&map, self.get(&name, "conv1.weight")?, self.get(&name, "conv1.bias")?)?)?;
        let map = self.batch_norm(&format!("{name}.bn"), &map)?;
        to_tokens(&depthwise3(&map, self.get(&name, "conv2.weight")?, self.get(&name, "conv2.bias")?)?)
    }

    fn mlp(&self, block: &str, x: &Tensor) -> Result<Tensor> {
        let fc1 = format!("{block}.mlp.fc1");
        let hidden = linear_gelu(x, self.get(&fc1, "weight")?, self.get(&fc1, "bias")?)?;
        self.linear(block, "mlp.fc2", &hidden)
    }

    /// Class attention. Only the class token is attended for; the patch tokens change all the same: they gain
    /// `gamma1 * norm1(x)` and are doubled.
    fn cls_block(&self, block: &str, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let patches = x.dim(1)? - 1;
        let u = self.layer_norm(&format!("{block}.norm1"), x)?;
        let (cls, attention) = self.class_attention(block, &u)?;
        let y = Tensor::cat(&[&cls, &u.narrow(1, 1, patches)?], 1)?;
        let x = add_scaled(x, &y, self.get(block, "gamma1")?)?;
        let norm2 = format!("{block}.norm2");
        let x = match self.sizes.tokens_norm {
            true => self.layer_norm(&norm2, &x)?,
            false => Tensor::cat(&[&self.layer_norm(&norm2, &x.narrow(1, 0, 1)?)?, &x.narrow(1, 1, patches)?], 1)?,
        };
        let cls = self.mlp(block, &x.narrow(1, 0, 1)?)?.broadcast_mul(self.get(block, "gamma2")?)?;
        let z = Tensor::cat(&[&cls, &x.narrow(1, 1, patches)?], 1)?;
        Ok(((x + z)?, attention))
    }

    /// Returns the attended class token (B, 1, D) and its attention (B, H, 1 + N).
    fn class_attention(&self, block: &str, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, n, dim) = u.dims3()?;
        let (heads, width) = (self.sizes.heads, dim / self.sizes.heads);
        let split = |x: Tensor, n: usize| x.reshape((b, n, heads, width))?.transpose(1, 2)?.contiguous(); // (B, H, n, d)
        let q = (split(self.linear(block, "attn.q", &u.narrow(1, 0, 1)?)?, 1)? * (width as f64).powf(-0.5))?;
        let k = split(self.linear(block, "attn.k", u)?, n)?;
        let v = split(self.linear(block, "attn.v", u)?, n)?;
        let attention = softmax(&q.matmul(&k.transpose(2, 3)?.contiguous()?)?, 3)?;
        let out = attention.matmul(&v)?.transpose(1, 2)?.reshape((b, 1, dim))?;
        Ok((self.linear(block, "attn.proj", &out)?, attention.squeeze(2)?))
    }
}
