//! Which tensors a network has: one flat arena of parameters, one of running statistics, both addressed by timm's names.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::config::Sizes;
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
    fn norm(&mut self, name: &str, dim: usize) {
        self.param(format!("{name}.weight"), &[dim], Start::Constant(1.0));
        self.param(format!("{name}.bias"), &[dim], Start::Constant(0.0));
    }

    fn batch_norm(&mut self, name: &str, dim: usize) {
        self.norm(name, dim);
        self.buffer(format!("{name}.running_mean"), &[dim], Start::Constant(0.0));
        self.buffer(format!("{name}.running_var"), &[dim], Start::Constant(1.0));
    }

    /// Returns the tensors of an XCiT without a classifier head, in timm's order and under timm's names.
    pub fn xcit(sizes: &Sizes) -> Self {
        let d = sizes.dim;
        let mut layout = Self::default();
        layout.param("cls_token", &[1, 1, d], Start::TruncatedNormal);
        let stem = sizes.stem();
        for (i, pair) in stem.windows(2).enumerate() {
            let conv = format!("patch_embed.proj.{}", 2 * i);
            layout.param(format!("{conv}.0.weight"), &[pair[1], pair[0], 3, 3], Start::Uniform { fan_in: pair[0] * 9 });
            layout.batch_norm(&format!("{conv}.1"), pair[1]);
        }
        layout.param("pos_embed.token_projection.weight", &[d, 64, 1, 1], Start::Uniform { fan_in: 64 });
        layout.param("pos_embed.token_projection.bias", &[d], Start::Uniform { fan_in: 64 });
        let gamma = Start::Constant(sizes.eta as f32);
        for i in 0..sizes.depth {
            let block = format!("blocks.{i}");
            for name in ["gamma1", "gamma2", "gamma3"] {
                layout.param(format!("{block}.{name}"), &[d], gamma);
            }
            layout.norm(&format!("{block}.norm1"), d);
            layout.param(format!("{block}.attn.temperature"), &[sizes.heads, 1, 1], Start::Constant(1.0));
            layout.linear(&format!("{block}.attn.qkv"), d, 3 * d);
            layout.linear(&format!("{block}.attn.proj"), d, d);
            layout.norm(&format!("{block}.norm3"), d);
            for conv in ["conv1", "conv2"] {
                layout.param(format!("{block}.local_mp.{conv}.weight"), &[d, 1, 3, 3], Start::Uniform { fan_in: 9 });
                layout.param(format!("{block}.local_mp.{conv}.bias"), &[d], Start::Uniform { fan_in: 9 });
                if conv == "conv1" {
                    layout.batch_norm(&format!("{block}.local_mp.bn"), d);
                }
            }
            layout.norm(&format!("{block}.norm2"), d);
            layout.linear(&format!("{block}.mlp.fc1"), d, 4 * d);
            layout.linear(&format!("{block}.mlp.fc2"), 4 * d, d);
        }
        for j in 0..sizes.cls_depth {
            let block = format!("cls_attn_blocks.{j}");
            layout.param(format!("{block}.gamma1"), &[d], gamma);
            layout.param(format!("{block}.gamma2"), &[d], gamma);
            layout.norm(&format!("{block}.norm1"), d);
            for name in ["q", "k", "v", "proj"] {
                layout.linear(&format!("{block}.attn.{name}"), d, d);
            }
            layout.norm(&format!("{block}.norm2"), d);
            layout.linear(&format!("{block}.mlp.fc1"), d, 4 * d);
            layout.linear(&format!("{block}.mlp.fc2"), 4 * d, d);
        }
        layout.norm("norm", d);
        layout
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
    use super::super::config::Xcit;
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
                assert_eq!(Layout::xcit(&sizes).n_params(), expected, "{name}_p{patch}");
            }
        }
    }

    #[test]
    fn starting_values_depend_on_the_seed_and_the_name_alone() {
        let sizes = |depth| Xcit { dim: Some(16), depth: Some(depth), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap();
        let weights = |depth, seed| Weights::start(Arc::new(Layout::xcit(&sizes(depth))), seed);
        assert_eq!(weights(1, 3).param("norm.weight"), [1.0; 16]);
        assert_eq!(weights(1, 3).param("blocks.0.attn.qkv.weight"), weights(2, 3).param("blocks.0.attn.qkv.weight"));
        assert_ne!(weights(1, 3).params, weights(1, 4).params);
    }
}
