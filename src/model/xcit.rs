//! XCiT networks: sizes, published and free, and tensors.
//!
//! El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers" (arXiv:2106.09681); sizes as in timm's `xcit.py`.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Start};
use super::sizes::{Sizes, Wrong, wrong};
use crate::diagnostic::nearest;

crate::params! {
    /// An XCiT: a published variant by name, or free sizes.
    pub struct Xcit {
        /// A published variant such as `small_12_p8`; the sizes below replace its own.
        pub variant: Option<String> = None,
        /// Width of a token.
        pub dim: Option<usize> = None,
        /// Cross-covariance blocks.
        pub depth: Option<usize> = None,
        pub heads: Option<usize> = None,
        /// Side of a patch in pixels: 4, 8 or 16.
        pub patch: Option<usize> = None,
        /// Initial LayerScale; by default 1 up to 18 blocks and 1e-5 beyond.
        pub eta: Option<f64> = None,
        /// Whether class-attention blocks normalise every token in their second norm.
        pub tokens_norm: Option<bool> = None,
    }
}

/// The sizes of an XCiT, all given and possible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct XcitSizes {
    pub dim: usize,
    pub depth: usize,
    pub heads: usize,
    pub patch: usize,
    pub eta: f64,
    pub tokens_norm: bool,
    /// Class-attention blocks after the others.
    pub cls_depth: usize,
}

/// Name, width, blocks, heads, LayerScale, tokens_norm (method: timm's table of variants).
const VARIANTS: [(&str, usize, usize, usize, f64, bool); 7] = [
    ("nano_12", 128, 12, 4, 1.0, false),
    ("tiny_12", 192, 12, 4, 1.0, true),
    ("tiny_24", 192, 24, 4, 1e-5, true),
    ("small_12", 384, 12, 8, 1.0, true),
    ("small_24", 384, 24, 8, 1e-5, true),
    ("medium_24", 512, 24, 8, 1e-5, true),
    ("large_24", 768, 24, 16, 1e-5, true),
];

impl Xcit {
    /// Returns the variant of this name.
    pub fn named(name: &str) -> Self {
        Self { variant: Some(name.to_string()), ..Self::default() }
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        self.sizes().err().into_iter().collect()
    }

    /// Fills in what the variant says, and checks that the sizes fit together.
    pub fn sizes(&self) -> Result<Sizes, Wrong> {
        let known = match &self.variant {
            None => None,
            Some(name) => Some(variant(name).ok_or_else(|| ("variant", no_variant(name)))?),
        };
        let missing = |field: &'static str| (field, "must be given where no variant is named".to_string());
        let need = |own: Option<usize>, known: Option<usize>, field| own.or(known).ok_or_else(|| missing(field));
        let dim = need(self.dim, known.as_ref().map(|k| k.dim), "dim")?;
        let depth = need(self.depth, known.as_ref().map(|k| k.depth), "depth")?;
        let heads = need(self.heads, known.as_ref().map(|k| k.heads), "heads")?;
        let patch = need(self.patch, known.as_ref().map(|k| k.patch), "patch")?;
        let eta = self.eta.or(known.as_ref().map(|k| k.eta)).unwrap_or(if depth <= 18 { 1.0 } else { 1e-5 });
        let tokens_norm = self.tokens_norm.or(known.as_ref().map(|k| k.tokens_norm)).unwrap_or(true);
        let sizes = Sizes::Xcit(XcitSizes { dim, depth, heads, patch, eta, tokens_norm, cls_depth: 2 });
        sizes.check().map(|()| sizes)
    }
}

fn variant(name: &str) -> Option<XcitSizes> {
    let name = name.strip_prefix("xcit_").unwrap_or(name);
    let (size, patch) = name.rsplit_once("_p")?;
    let patch = patch.parse().ok().filter(|p| [4, 8, 16].contains(p))?;
    let &(_, dim, depth, heads, eta, tokens_norm) = VARIANTS.iter().find(|v| v.0 == size)?;
    Some(XcitSizes { dim, depth, heads, patch, eta, tokens_norm, cls_depth: 2 })
}

/// Says that no variant has this name, and which one may have been meant.
fn no_variant(name: &str) -> String {
    let published: Vec<String> = VARIANTS.iter().flat_map(|v| [4, 8, 16].map(|patch| format!("{}_p{patch}", v.0))).collect();
    match nearest(name.strip_prefix("xcit_").unwrap_or(name), published.iter().map(String::as_str)) {
        Some(meant) => format!("must be a published variant, got `{name}`: did you mean `{meant}`?"),
        None => {
            let names: Vec<&str> = VARIANTS.iter().map(|v| v.0).collect();
            format!("must be one of {} with `_p4`, `_p8` or `_p16`, got `{name}`", names.join(", "))
        }
    }
}

impl XcitSizes {
    /// Returns the channels of the stem's convolutions, input first: 3 -> D/4 -> D/2 -> D for patch 8.
    pub fn stem(&self) -> Vec<usize> {
        let stages = self.patch.ilog2() as usize;
        std::iter::once(3).chain((0..stages).map(|i| self.dim >> (stages - 1 - i))).collect()
    }

    /// Whether cross-covariance attention over so many tokens is made by their Gram matrix (`cpu/xca_gram`): from two tokens for each channel
    /// on that is a quarter less work and more. With one and a half (`nano_12_p16` at 224 pixels) steps took as long.
    pub fn attends_by_gram(&self, tokens: usize) -> bool {
        tokens >= 2 * self.dim
    }

    /// Returns what is wrong with the sizes that only an XCiT has.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let Self { patch, eta, cls_depth, .. } = *self;
        match () {
            () if ![4, 8, 16].contains(&patch) => wrong("patch", format!("must be 4, 8 or 16, got {patch}")),
            () if !(eta.is_finite() && eta >= 0.0) => wrong("eta", format!("must be finite and not negative, got {eta}")),
            () if !(1..=8).contains(&cls_depth) => wrong("cls_depth", format!("must be 1 to 8, got {cls_depth}")),
            () => Ok(()),
        }
    }

    /// Returns the tensors without a classifier head, in timm's order and under timm's names.
    pub fn layout(&self) -> Layout {
        let d = self.dim;
        let mut layout = Layout::default();
        layout.param("cls_token", &[1, 1, d], Start::TruncatedNormal);
        let stem = self.stem();
        for (i, pair) in stem.windows(2).enumerate() {
            let conv = format!("patch_embed.proj.{}", 2 * i);
            layout.param(format!("{conv}.0.weight"), &[pair[1], pair[0], 3, 3], Start::Uniform { fan_in: pair[0] * 9 });
            layout.batch_norm(&format!("{conv}.1"), pair[1]);
        }
        layout.param("pos_embed.token_projection.weight", &[d, 64, 1, 1], Start::Uniform { fan_in: 64 });
        layout.param("pos_embed.token_projection.bias", &[d], Start::Uniform { fan_in: 64 });
        let gamma = Start::Constant(self.eta as f32);
        for i in 0..self.depth {
            let block = format!("blocks.{i}");
            for name in ["gamma1", "gamma2", "gamma3"] {
                layout.param(format!("{block}.{name}"), &[d], gamma);
            }
            layout.norm(&format!("{block}.norm1"), d);
            layout.param(format!("{block}.attn.temperature"), &[self.heads, 1, 1], Start::Constant(1.0));
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
        for j in 0..self.cls_depth {
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
}
