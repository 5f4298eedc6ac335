//! Starts a kernel of `fused.cu` on a CUDA device.

use candle_core::{Device, Result, Tensor};

/// How many threads run: blocks along two axes, and threads of each.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only CUDA runs them"))]
#[derive(Clone, Copy)]
pub struct Threads {
    pub blocks: (usize, usize),
    pub block: usize,
}

/// What a kernel gets, in its own order.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only CUDA reads them"))]
pub enum Argument<'a> {
    /// All numbers of a tensor, in order.
    In(&'a Tensor),
    /// Room for the next result.
    Out,
    /// A number of elements, or the length of an axis.
    Count(usize),
    Float(f64),
}

/// Runs a kernel, which fills results of these many numbers each.
///
/// # Errors
/// When a length does not fit, or the device refuses.
#[cfg(feature = "cuda")]
pub fn launch(name: &'static str, device: &Device, lengths: &[usize], threads: Threads, arguments: &[Argument<'_>]) -> Result<Vec<Tensor>> {
    use std::sync::OnceLock;

    use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, LaunchConfig, PushKernelArg};
    use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
    use candle_core::cuda_backend::{CudaStorage, WrapErr};
    use candle_core::op::BackpropOp;
    use candle_core::{Error, Storage, bail};

    /// The kernels as the driver takes them.
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();

    let narrowed = |n: usize| {
        u32::try_from(n).map_err(|_| Error::Msg(format!("`{name}`: {n} numbers are too many for a kernel; pass fewer images at once")))
    };
    let Device::Cuda(cuda) = device else { bail!("`{name}` runs on CUDA devices only") };
    if lengths.contains(&0) || threads.blocks.0 * threads.blocks.1 == 0 {
        return lengths.iter().map(|n| Tensor::zeros(*n, candle_core::DType::F32, device)).collect();
    }
    let ptx = PTX.get_or_init(|| compile_ptx(include_str!("fused.cu")).map(|ptx| ptx.to_src()).map_err(|e| format!("{e:?}")));
    let ptx = ptx
        .as_ref()
        .map_err(|e| Error::Msg(format!("compiling the fused kernels with NVRTC: {e}; a run with `--device cpu` does without")))?;
    let function = cuda.get_or_load_custom_func(name, "flow_fused", ptx)?;
    // SAFETY: the kernel writes every number of its results.
    let mut made = lengths.iter().map(|n| unsafe { cuda.alloc::<f32>(*n) }).collect::<Result<Vec<CudaSlice<f32>>>>()?;

    // First everything that the kernel reads, so that it lives until the launch.
    let tensors = arguments.iter().filter_map(|a| if let Argument::In(x) = a { Some(x.contiguous()) } else { None });
    let tensors = tensors.collect::<Result<Vec<Tensor>>>()?;
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut views: Vec<CudaView<'_, f32>> = Vec::new();
    for (storage, layout) in &held {
        let Storage::Cuda(storage) = &**storage else { bail!("`{name}` was given a tensor of another device") };
        let (start, n) = (layout.start_offset(), layout.shape().elem_count());
        views.push(storage.as_cuda_slice::<f32>()?.slice(start..start + n));
    }
    let (mut counts, mut floats) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument {
            Argument::Count(n) => counts.push(narrowed(*n)?),
            Argument::Float(x) => floats.push(*x as f32),
            Argument::In(_) | Argument::Out => {}
        }
    }
    let (mut views, mut outs) = (views.iter(), made.iter_mut());
    let (mut counts, mut floats) = (counts.iter(), floats.iter());
    let mut builder = function.builder();
    for argument in arguments {
        let is_there = match argument {
            Argument::In(_) => views.next().map(|x| builder.arg(x)).is_some(),
            Argument::Out => outs.next().map(|x| builder.arg(x)).is_some(),
            Argument::Count(_) => counts.next().map(|x| builder.arg(x)).is_some(),
            Argument::Float(_) => floats.next().map(|x| builder.arg(x)).is_some(),
        };
        if !is_there {
            bail!("`{name}` has more results than lengths");
        }
    }
    let config = LaunchConfig {
        grid_dim: (narrowed(threads.blocks.0)?, narrowed(threads.blocks.1)?, 1),
        block_dim: (narrowed(threads.block)?, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments are those of the kernel's signature, in its order, and as long as it takes them to be.
    unsafe { builder.launch(config) }.w()?;
    let wrap = |slice| Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, cuda.clone()));
    Ok(lengths.iter().zip(made).map(|(n, slice)| Tensor::from_storage(wrap(slice), *n, BackpropOp::none(), false)).collect())
}

/// Without CUDA there is nothing to run, and no tensor that would ask for it.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn launch(name: &'static str, _: &Device, _: &[usize], _: Threads, _: &[Argument<'_>]) -> Result<Vec<Tensor>> {
    candle_core::bail!("`{name}` needs a build with CUDA")
}
