//! Which tensors a network has: one flat arena of parameters, one of running statistics, both addressed by timm's names.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::random::Stream;

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Normal with deviation 0.02, cut at ±2 (timm's `trunc_normal_`).
    TruncatedNormal,
    /// Uniform in ±1/√fan_in: the framework's default for convolutions.
    Uniform {
        fan_in: usize,
    },
    Constant(f32),
}

/// A tensor's place in its arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub start: Start,
}

impl Entry {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns where the values lie in the arena.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Whether weight decay applies: not to biases nor to anything one-dimensional (DINO's parameter groups).
    pub fn decays(&self) -> bool {
        self.shape.len() > 1 && !self.name.ends_with(".bias")
    }
}

/// Names, shapes and places of all tensors of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    params: Vec<Entry>,
    buffers: Vec<Entry>,
    by_name: HashMap<String, (bool, usize)>,
}

impl Layout {
    fn add(&mut self, is_param: bool, name: String, shape: &[usize], start: Start) {
        let list = if is_param { &mut self.params } else { &mut self.buffers };
        let offset = list.last().map_or(0, |e| e.offset + e.len());
        self.by_name.insert(name.clone(), (is_param, list.len()));
        list.push(Entry { name, shape: shape.to_vec(), offset, start });
    }

    /// Adds a parameter.
    pub fn param(&mut self, name: impl Into<String>, shape: &[usize], start: Start) {
        self.add(true, name.into(), shape, start);
    }

    /// Adds a running statistic.
    pub fn buffer(&mut self, name: impl Into<String>, shape: &[usize], start: Start) {
        self.add(false, name.into(), shape, start);
    }

    /// Adds a linear layer's weight and bias.
    pub fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.param(format!("{name}.weight"), &[outputs, inputs], Start::TruncatedNormal);
        self.param(format!("{name}.bias"), &[outputs], Start::Constant(0.0));
    }

    /// Adds a norm's weight and bias.
    pub(super) fn norm(&mut self, name: &str, dim: usize) {
        self.param(format!("{name}.weight"), &[dim], Start::Constant(1.0));
        self.param(format!("{name}.bias"), &[dim], Start::Constant(0.0));
    }

    /// Adds a batch norm's weight, bias and running statistics.
    pub(super) fn batch_norm(&mut self, name: &str, dim: usize) {
        self.norm(name, dim);
        self.buffer(format!("{name}.running_mean"), &[dim], Start::Constant(0.0));
        self.buffer(format!("{name}.running_var"), &[dim], Start::Constant(1.0));
    }

    /// Returns the parameters in order.
    pub fn params(&self) -> &[Entry] {
        &self.params
    }

    /// Returns the running statistics in order.
    pub fn buffers(&self) -> &[Entry] {
        &self.buffers
    }

    /// Returns the number of parameter values.
    pub fn n_params(&self) -> usize {
        self.params.last().map_or(0, |e| e.offset + e.len())
    }

    /// Returns the number of running-statistic values.
    pub fn n_buffers(&self) -> usize {
        self.buffers.last().map_or(0, |e| e.offset + e.len())
    }

    /// Returns where the parameter of this name lies.
    ///
    /// # Panics
    /// If there is none: names are written by us, not by users.
    pub fn at(&self, name: &str) -> Range<usize> {
        match self.by_name.get(name) {
            Some((true, i)) => self.params[*i].range(),
            _ => panic!("the network has no parameter `{name}`"),
        }
    }

    /// Returns where the running statistic of this name lies.
    ///
    /// # Panics
    /// If there is none.
    pub fn buffer_at(&self, name: &str) -> Range<usize> {
        match self.by_name.get(name) {
            Some((false, i)) => self.buffers[*i].range(),
            _ => panic!("the network has no running statistic `{name}`"),
        }
    }
}

/// A network's parameters and running statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub layout: Arc<Layout>,
    pub params: Vec<f32>,
    pub buffers: Vec<f32>,
}

impl Weights {
    /// Draws starting values. Each tensor has a stream of its own, so that adding one shifts no other.
    pub fn start(layout: Arc<Layout>, seed: u64) -> Self {
        let fill = |entries: &[Entry]| -> Vec<f32> {
            let draw = |entry: &Entry| -> Vec<f32> {
                let mut draws = Stream::new(seed, "weights").of(&entry.name).draws();
                let mut one = || match entry.start {
                    Start::TruncatedNormal => draws.truncated_normal(0.02, 2.0) as f32,
                    Start::Uniform { fan_in } => {
                        let bound = 1.0 / (fan_in as f64).sqrt();
                        draws.between(-bound, bound) as f32
                    }
                    Start::Constant(value) => value,
                };
                (0..entry.len()).map(|_| one()).collect()
            };
            entries.iter().flat_map(draw).collect()
        };
        let (params, buffers) = (fill(layout.params()), fill(layout.buffers()));
        Self { layout, params, buffers }
    }

    /// Returns the values of the parameter of this name.
    pub fn param(&self, name: &str) -> &[f32] {
        &self.params[self.layout.at(name)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Xcit;
    use super::*;

    #[test]
    fn every_variant_has_timm_s_number_of_parameters() {
        // timm 1.0: sum(p.numel() for p in create_model(name, num_classes=0).parameters())
        for (name, p16, p8) in [
            ("nano_12", 2_924_224, 2_920_016),
            ("tiny_12", 6_523_272, 6_513_504),
            ("tiny_24", 11_923_896, 11_914_128),
            ("small_12", 25_868_304, 25_828_032),
            ("small_24", 47_286_384, 47_246_112),
            ("medium_24", 83_882_752, 83_810_624),
            ("large_24", 188_327_136, 188_163_648),
        ] {
            for (patch, expected) in [(16, p16), (8, p8)] {
                let sizes = Xcit::named(&format!("{name}_p{patch}")).sizes().unwrap();
                assert_eq!(sizes.layout().n_params(), expected, "{name}_p{patch}");
            }
        }
    }

    #[test]
    fn starting_values_depend_on_the_seed_and_the_name_alone() {
        let sizes = |depth| Xcit { dim: Some(16), depth: Some(depth), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let weights = |depth, seed| Weights::start(Arc::new(sizes(depth).layout()), seed);
        assert_eq!(weights(1, 3).param("norm.weight"), [1.0; 16]);
        assert_eq!(weights(1, 3).param("blocks.0.attn.qkv.weight"), weights(2, 3).param("blocks.0.attn.qkv.weight"));
        assert_ne!(weights(1, 3).params, weights(1, 4).params);
    }
}
