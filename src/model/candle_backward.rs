//! Functions of a few tensors whose way back is written down, instead of being found operation by operation.
//!
//! What automatic differentiation keeps of a layer norm or a depthwise convolution is many times its result: each small operation's own. Here
//! nothing is kept but the arguments and what `backward` holds; what else the way back needs, it makes again. And where a gradient arrives, candle
//! adds it to zeros, so that every operation less saves three passes over its result.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail};

/// A result that has been made, and the way back from its gradient.
struct Made<F> {
    name: &'static str,
    /// Handed out once, so that it is not held a second time.
    out: Mutex<Option<Tensor>>,
    backward: F,
}

impl<F> Made<F> {
    fn new(name: &'static str, out: Tensor, backward: F) -> Self {
        Self { name, out: Mutex::new(Some(out)), backward }
    }

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

    fn of_cpu(&self) -> Result<(CpuStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Cpu(own) = storage { Some(own.try_clone(layout)) } else { None })
    }

    fn of_cuda(&self) -> Result<(CudaStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Cuda(own) = storage { Some(own.try_clone(layout)) } else { None })
    }

    fn of_metal(&self) -> Result<(MetalStorage, Shape)> {
        self.hand_out(|storage, layout| if let Storage::Metal(own) = storage { Some(own.try_clone(layout)) } else { None })
    }
}

/// The operation of so many tensors, and the function that makes one.
macro_rules! operation_of {
    ($n:literal, $function:ident, $operation:ident, $apply:ident, [$first:ident $(, $other:ident)*], [$($d:ident),+], $gradients:ty, $each:expr) => {
        /// Returns `forward` of these tensors, from which no gradient passes but by `backward`, which gets the tensors and the gradient of the result.
        pub fn $function<B>(
            name: &'static str,
            [$first $(, $other)*]: [&Tensor; $n],
            forward: impl FnOnce([&Tensor; $n]) -> Result<Tensor>,
            backward: B,
        ) -> Result<Tensor>
        where
            B: Fn([&Tensor; $n], &Tensor) -> Result<[Tensor; $n]> + Send + Sync + 'static,
        {
            let out = forward([&$first.detach() $(, &$other.detach())*])?.contiguous()?;
            if !($first.track_op() $(|| $other.track_op())*) {
                return Ok(out);
            }
            $first.$apply($($other,)* Made::new(name, out, backward))
        }

        impl<F> $operation for Made<F>
        where
            F: Fn([&Tensor; $n], &Tensor) -> Result<[Tensor; $n]>,
        {
            fn name(&self) -> &'static str {
                self.name
            }

            operation_of!(@forwards [$first $(, $other)*]);

            fn bwd(&self, $first: &Tensor, $($other: &Tensor,)* _: &Tensor, d: &Tensor) -> Result<$gradients> {
                let [$($d),+] = (self.backward)([&$first.detach() $(, &$other.detach())*], &d.detach())?;
                Ok($each)
            }
        }
    };
    (@forwards [$($x:ident),+]) => {
        operation_of!(@forward cpu_fwd of_cpu CpuStorage [$($x),+]);
        operation_of!(@forward cuda_fwd of_cuda CudaStorage [$($x),+]);
        operation_of!(@forward metal_fwd of_metal MetalStorage [$($x),+]);
    };
    (@forward $name:ident $by:ident $storage:ident [$x:ident]) => {
        fn $name(&self, _: &$storage, _: &Layout) -> Result<($storage, Shape)> {
            self.$by()
        }
    };
    (@forward $name:ident $by:ident $storage:ident [$x:ident, $y:ident]) => {
        fn $name(&self, _: &$storage, _: &Layout, _: &$storage, _: &Layout) -> Result<($storage, Shape)> {
            self.$by()
        }
    };
    (@forward $name:ident $by:ident $storage:ident [$x:ident, $y:ident, $z:ident]) => {
        fn $name(&self, _: &$storage, _: &Layout, _: &$storage, _: &Layout, _: &$storage, _: &Layout) -> Result<($storage, Shape)> {
            self.$by()
        }
    };
}

operation_of!(1, with_backward_of_one, CustomOp1, apply_op1, [a], [da], Option<Tensor>, Some(da));
operation_of!(2, with_backward_of_two, CustomOp2, apply_op2, [a, b], [da, db], (Option<Tensor>, Option<Tensor>), (Some(da), Some(db)));
operation_of!(
    3,
    with_backward,
    CustomOp3,
    apply_op3,
    [a, b, c],
    [da, db, dc],
    (Option<Tensor>, Option<Tensor>, Option<Tensor>),
    (Some(da), Some(db), Some(dc))
);
