//! A network of either family in candle operations, as training and feature extraction meet it on a GPU.

use candle_core::{DType, Device, Tensor};

use super::candle_tensors::Tensors;
use super::candle_vit::CandleVit;
use super::candle_xcit::{CandleXcit, Output};
use super::cpu::Batch;
use super::drop_path::DropPath;
use super::layout::Weights;
use super::sizes::Sizes;
use crate::diagnostic::{Context, Failure};
use crate::stage;

/// Opens the GPU that a run was given; none is needed for the processor, which has kernels of its own.
///
/// # Errors
/// When there is no such GPU, or the program was built without the means to use it.
pub fn open_gpu(device: &stage::Device) -> Result<Option<Device>, Failure> {
    let opened = match device {
        stage::Device::Cpu => return Ok(None),
        stage::Device::Cuda(number) => Device::new_cuda(*number),
        stage::Device::Metal => Device::new_metal(0),
    };
    opened.map(Some).doing(|| format!("opening {device:?}")).map_err(|failure| failure.help("run with `--device cpu`, or name another GPU"))
}

/// A network with its weights on a device.
pub struct CandleNetwork {
    family: Family,
}

enum Family {
    Xcit(CandleXcit),
    Vit(CandleVit),
}

impl CandleNetwork {
    /// Copies weights to a device, in single or double precision.
    ///
    /// # Errors
    /// When the weights lack a tensor of a network of these sizes, or the device refuses.
    pub fn new(sizes: &Sizes, weights: &Weights, dtype: DType, device: &Device) -> Result<Self, Failure> {
        let family = match sizes {
            Sizes::Xcit(own) => Family::Xcit(CandleXcit::new(own, weights, dtype, device)?),
            Sizes::Vit(own) => Family::Vit(CandleVit::new(own, weights, dtype, device)?),
        };
        Ok(Self { family })
    }

    /// Returns the same network (sharing memory) whose forward pass keeps nothing for a backward pass.
    pub fn without_gradient(&self) -> Self {
        let family = match &self.family {
            Family::Xcit(own) => Family::Xcit(own.without_gradient()),
            Family::Vit(own) => Family::Vit(own.without_gradient()),
        };
        Self { family }
    }

    /// Returns parameters and running statistics.
    pub fn tensors(&self) -> &Tensors {
        match &self.family {
            Family::Xcit(own) => own.tensors(),
            Family::Vit(own) => own.tensors(),
        }
    }

    /// Returns the class tokens (n × D) in training mode: batch statistics are used and the running ones moved, and the branches that `drop`
    /// names are left out (an XCiT has none).
    ///
    /// # Errors
    /// When the sides do not divide into patches, `drop` is for another batch, or the device refuses.
    pub fn forward(&self, batch: &Batch<'_>, drop: Option<&DropPath>) -> Result<Tensor, Failure> {
        let out = self.run(batch, drop, true)?;
        self.tensors().absorb(&out.statistics)?;
        out.cls()
    }

    /// Returns the class tokens (n × D) in evaluation mode: the representation.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn features(&self, batch: &Batch<'_>) -> Result<Tensor, Failure> {
        self.run(batch, None, false)?.cls()
    }

    fn run(&self, batch: &Batch<'_>, drop: Option<&DropPath>, train: bool) -> Result<Output, Failure> {
        let tensors = self.tensors();
        let images = upload(batch, tensors.dtype(), tensors.device()).doing(|| "copying images to the device")?;
        match &self.family {
            Family::Xcit(own) => own.forward_features(&images, train),
            Family::Vit(own) => own.forward_features(&images, drop),
        }
    }
}

/// Pixel-major images as (B, 3, H, W).
fn upload(batch: &Batch<'_>, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    let &Batch { pixels, n, height, width } = batch;
    Tensor::from_slice(pixels, (n, height, width, 3), device)?.to_dtype(dtype)?.permute((0, 3, 1, 2))?.contiguous()
}

/// Copies a tensor's numbers back, row by row.
///
/// # Errors
/// When the device refuses.
pub fn download(tensor: &Tensor) -> Result<Vec<f32>, Failure> {
    let numbers = || tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    numbers().doing(|| "copying numbers from the device")
}
