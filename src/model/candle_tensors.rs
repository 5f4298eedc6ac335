//! A network's weights as candle tensors on any device, addressed by name.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::layout::{Entry, Layout, Weights};
use crate::diagnostic::{Context, Failure};

/// Parameters and running statistics on a device, in single or double precision.
pub struct Tensors {
    layout: Arc<Layout>,
    device: Device,
    dtype: DType,
    params: Vec<Var>,
    buffers: Vec<Var>,
    /// What a forward pass reads; shares its memory with the variables.
    by_name: HashMap<String, Tensor>,
}

impl Tensors {
    /// Copies weights to a device; gradients reach every parameter.
    ///
    /// # Errors
    /// When the precision is neither `F32` nor `F64`, or the device refuses.
    pub fn new(weights: &Weights, dtype: DType, device: &Device) -> std::result::Result<Self, Failure> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Failure::new(format!("a network runs in `F32` or `F64`, got `{dtype:?}`")));
        }
        let vars = |entries: &[Entry], values: &[f32]| -> Result<Vec<Var>> {
            let var = |entry: &Entry| {
                let tensor = Tensor::from_slice(&values[entry.range()], entry.shape.as_slice(), &Device::Cpu)?;
                Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)
            };
            entries.iter().map(var).collect()
        };
        let layout = weights.layout.clone();
        let copied =
            || -> Result<(Vec<Var>, Vec<Var>)> { Ok((vars(layout.params(), &weights.params)?, vars(layout.buffers(), &weights.buffers)?)) };
        let (params, buffers) = copied().doing(|| "copying weights to the device")?;
        let mut tensors = Self { layout, device: device.clone(), dtype, params, buffers, by_name: HashMap::new() };
        tensors.by_name = tensors.readable(true);
        Ok(tensors)
    }

    /// As [`new`](Self::new), for a network that needs the tensors of `own`; others among the weights (a head) are carried along.
    ///
    /// # Errors
    /// When the weights lack one of them, too.
    pub fn holding(own: &Layout, weights: &Weights, dtype: DType, device: &Device) -> std::result::Result<Self, Failure> {
        let shape = |name: &str, list: &[Entry]| list.iter().find(|e| e.name == name).map(|e| e.shape.clone());
        for (wanted, given) in [(own.params(), weights.layout.params()), (own.buffers(), weights.layout.buffers())] {
            if let Some(entry) = wanted.iter().find(|e| shape(&e.name, given).as_ref() != Some(&e.shape)) {
                return Err(Failure::new(format!("the weights have no `{}` of shape {:?}", entry.name, entry.shape)));
            }
        }
        Self::new(weights, dtype, device)
    }

    /// Returns the same tensors (sharing memory) whose forward pass keeps nothing for a backward pass: for a teacher,
    /// or for features.
    pub fn without_gradient(&self) -> Self {
        Self {
            layout: self.layout.clone(),
            device: self.device.clone(),
            dtype: self.dtype,
            params: self.params.clone(),
            buffers: self.buffers.clone(),
            by_name: self.readable(false),
        }
    }

    fn readable(&self, gradient: bool) -> HashMap<String, Tensor> {
        let params = self.layout.params().iter().zip(&self.params);
        let params = params.map(|(e, v)| (e.name.clone(), if gradient { v.as_tensor().clone() } else { v.as_detached_tensor() }));
        let buffers = self.layout.buffers().iter().zip(&self.buffers);
        params.chain(buffers.map(|(e, v)| (e.name.clone(), v.as_detached_tensor()))).collect()
    }

    /// Returns which tensors there are.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns the parameters in the layout's order: an optimiser sets them, a gradient store is asked by them.
    pub fn params(&self) -> impl Iterator<Item = (&Entry, &Var)> {
        self.layout.params().iter().zip(&self.params)
    }

    /// Returns the running statistics in the layout's order.
    pub fn buffers(&self) -> impl Iterator<Item = (&Entry, &Var)> {
        self.layout.buffers().iter().zip(&self.buffers)
    }

    /// Returns the tensor of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.by_name.get(name) {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("the network has no tensor `{name}`"),
        }
    }

    /// Copies weights of the same layout over these.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn set(&self, weights: &Weights) -> std::result::Result<(), Failure> {
        let params = self.params().map(|(entry, var)| (entry, var, &weights.params));
        for (entry, var, values) in params.chain(self.buffers().map(|(entry, var)| (entry, var, &weights.buffers))) {
            let copy = || Tensor::from_slice(&values[entry.range()], entry.shape.as_slice(), &self.device)?.to_dtype(self.dtype);
            copy().and_then(|values| var.set(&values)).doing(|| format!("copying `{}` to the device", entry.name))?;
        }
        Ok(())
    }

    /// Writes new running statistics, as a training pass returns them.
    ///
    /// # Errors
    /// When a name is unknown or a shape differs.
    pub fn absorb(&self, statistics: &[(String, Tensor)]) -> std::result::Result<(), Failure> {
        for (name, values) in statistics {
            let (_, buffer) = self
                .buffers()
                .find(|(e, _)| e.name == *name)
                .ok_or_else(|| Failure::new(format!("the network has no running statistic `{name}`")))?;
            buffer.set(values).doing(|| format!("keeping `{name}`"))?;
        }
        Ok(())
    }

    /// Copies everything back, in single precision.
    pub fn weights(&self) -> std::result::Result<Weights, Failure> {
        let gather = |vars: &[Var]| -> Result<Vec<f32>> {
            let mut all = Vec::new();
            for var in vars {
                all.extend(var.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
            }
            Ok(all)
        };
        let copied = || -> Result<(Vec<f32>, Vec<f32>)> { Ok((gather(&self.params)?, gather(&self.buffers)?)) };
        let (params, buffers) = copied().doing(|| "copying weights from the device")?;
        Ok(Weights { layout: self.layout.clone(), params, buffers })
    }
}
