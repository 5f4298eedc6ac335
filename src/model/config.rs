//! The sizes of XCiT networks: the published variants and free ones.
//!
//! El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers" (arXiv:2106.09681); sizes as in timm's `xcit.py`.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Failure, nearest};

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
pub struct Sizes {
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
    pub fn sizes(&self) -> Result<Sizes, (&'static str, String)> {
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
        let wrong = |field, message: String| Err((field, message));
        match () {
            () if ![4, 8, 16].contains(&patch) => wrong("patch", format!("must be 4, 8 or 16, got {patch}")),
            () if !(8..=4096).contains(&dim) || !dim.is_multiple_of(8) => {
                wrong("dim", format!("must be a multiple of 8 up to 4096, got {dim}"))
            }
            () if heads == 0 || !dim.is_multiple_of(heads) => wrong("heads", format!("must divide dim {dim}, got {heads}")),
            () if !(1..=96).contains(&depth) => wrong("depth", format!("must be 1 to 96, got {depth}")),
            () if !(eta.is_finite() && eta >= 0.0) => wrong("eta", format!("must be finite and not negative, got {eta}")),
            () => Ok(Sizes { dim, depth, heads, patch, eta, tokens_norm, cls_depth: 2 }),
        }
    }
}

fn variant(name: &str) -> Option<Sizes> {
    let name = name.strip_prefix("xcit_").unwrap_or(name);
    let (size, patch) = name.rsplit_once("_p")?;
    let patch = patch.parse().ok().filter(|p| [4, 8, 16].contains(p))?;
    let &(_, dim, depth, heads, eta, tokens_norm) = VARIANTS.iter().find(|v| v.0 == size)?;
    Some(Sizes { dim, depth, heads, patch, eta, tokens_norm, cls_depth: 2 })
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

impl Sizes {
    /// Returns the channels of the stem's convolutions, input first: 3 -> D/4 -> D/2 -> D for patch 8.
    pub fn stem(&self) -> Vec<usize> {
        let stages = self.patch.ilog2() as usize;
        std::iter::once(3).chain((0..stages).map(|i| self.dim >> (stages - 1 - i))).collect()
    }

    /// Returns the number of tokens in each direction of an image.
    ///
    /// # Errors
    /// When the sides are not multiples of the patch.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize), Failure> {
        let fits = |side: usize| side > 0 && side.is_multiple_of(self.patch);
        match fits(height) && fits(width) {
            true => Ok((height / self.patch, width / self.patch)),
            false => Err(Failure::new(format!("an image of {width}x{height} pixels does not divide into patches of {}", self.patch))
                .help(format!("choose a side that is a multiple of {}", self.patch))),
        }
    }
}
