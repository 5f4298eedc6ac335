//! Functions of three tensors whose way back is written down, instead of being found operation by operation.
//!
//! What automatic differentiation keeps of a layer norm or a depthwise convolution is many times its result: each small operation's own. Here
//! nothing is kept but the arguments; what else the way back needs, it makes again.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail};

/// A result that has been made, and the way back from its gradient.
struct Made<F> {
    name: &'static str,
    /// Handed out once, so that it is not held a second time.
    out: Mutex<Option<Tensor>>,
    backward: F,
}

/// Returns `forward` of three tensors, from which no gradient passes but by `backward`, which gets the tensors and the gradient of the result.
pub fn with_backward<B>(
    name: &'static str,
    [a, b, c]: [&Tensor; 3],
    forward: impl FnOnce([&Tensor; 3]) -> Result<Tensor>,
    backward: B,
) -> Result<Tensor>
where
    B: Fn([&Tensor; 3], &Tensor) -> Result<[Tensor; 3]> + Send + Sync + 'static,
{
    let out = forward([&a.detach(), &b.detach(), &c.detach()])?.contiguous()?;
    if !(a.track_op() || b.track_op() || c.track_op()) {
        return Ok(out);
    }
    a.apply_op3(b, c, Made { name, out: Mutex::new(Some(out)), backward })
}

impl<F> Made<F> {
    /// Copies the result's storage by `pick`, which knows the device.
    fn hand_out<S>(&self, pick: impl FnOnce(&Storage, &Layout) -> Option<Result<S>>) -> Result<(S, Shape)> {
        let Some(out) = self.out.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("`{}` was asked for its result twice", self.name)
        };
        let (storage, layout) = out.storage_and_layout();
        match pick(&storage, layout) {
            Some(storage) => Ok((storage?, out.shape().clone())),
            None => bail!("`{}` was made on another device than its arguments lie on", self.name),
        }
    }
}

impl<F> CustomOp3 for Made<F>
where
    F: Fn([&Tensor; 3], &Tensor) -> Result<[Tensor; 3]>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Cpu(own) = storage { Some(own.try_clone(layout)) } else { None })
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Cuda(own) = storage { Some(own.try_clone(layout)) } else { None })
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Metal(own) = storage { Some(own.try_clone(layout)) } else { None })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, d: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.backward)([&a.detach(), &b.detach(), &c.detach()], &d.detach())?;
        Ok((Some(a), Some(b), Some(c)))
    }
}
