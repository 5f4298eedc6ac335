//! The sizes of a network, of whichever family: what the rest of the house asks of a backbone without knowing which it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::vit::{Vit, VitSizes};
use super::xcit::{Xcit, XcitSizes};
use crate::diagnostic::Failure;

/// A size that cannot be used: its name, and what is wrong with it.
pub type Wrong = (&'static str, String);

/// Refuses a size.
pub(super) fn wrong(field: &'static str, message: String) -> Result<(), Wrong> {
    Err((field, message))
}

/// The sizes of a network, all given and possible.
///
/// Written without the name of the family: which one it is follows from the fields, so that model files of XCiT read as they always did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sizes {
    Xcit(XcitSizes),
    Vit(VitSizes),
}

impl Sizes {
    /// Returns those of a published variant: a ViT where the name starts with `vit_`, an XCiT else.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn named(name: &str) -> Result<Self, Wrong> {
        if name.starts_with("vit_") { Vit::named(name).sizes() } else { Xcit::named(name).sizes() }
    }

    /// Returns the width of a token, which is that of the representation.
    pub fn dim(&self) -> usize {
        match self {
            Self::Xcit(own) => own.dim,
            Self::Vit(own) => own.dim,
        }
    }

    /// Returns the number of blocks, without XCiT's class-attention blocks.
    pub fn depth(&self) -> usize {
        match self {
            Self::Xcit(own) => own.depth,
            Self::Vit(own) => own.depth,
        }
    }

    pub fn heads(&self) -> usize {
        match self {
            Self::Xcit(own) => own.heads,
            Self::Vit(own) => own.heads,
        }
    }

    /// Returns to which layer a tensor of the network belongs, counted from the pixels: 0 for patches, positions and tokens, then block by
    /// block, and [`top_layer`](Self::top_layer) for the final norm. As timm's `group_matcher`.
    pub fn layer(&self, tensor: &str) -> usize {
        let number = |prefix: &str| tensor.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        match (number("blocks."), number("cls_attn_blocks.")) {
            (Some(block), _) => 1 + block,
            (_, Some(block)) => 1 + self.depth() + block,
            _ if tensor.starts_with("norm.") => self.top_layer(),
            _ => 0,
        }
    }

    /// Returns the number of the last layer.
    pub fn top_layer(&self) -> usize {
        match self {
            Self::Xcit(own) => 1 + own.depth + own.cls_depth,
            Self::Vit(own) => 1 + own.depth,
        }
    }

    /// Returns the side of a patch in pixels.
    pub fn patch(&self) -> usize {
        match self {
            Self::Xcit(own) => own.patch,
            Self::Vit(own) => own.patch,
        }
    }

    /// Returns the tensors of such a network without a classifier head, in timm's order and under timm's names.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Xcit(own) => own.layout(),
            Self::Vit(own) => own.layout(),
        }
    }

    /// Returns the number of tokens in each direction of an image.
    ///
    /// # Errors
    /// When the sides are not multiples of the patch.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize), Failure> {
        grid(self.patch(), height, width)
    }

    /// Checks that the sizes fit together and are not beyond what a network may have: a file may say anything.
    ///
    /// # Errors
    /// With the size that does not.
    pub fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::Xcit(own) => own.check()?,
            Self::Vit(own) => own.check()?,
        }
        let (dim, depth, heads) = (self.dim(), self.depth(), self.heads());
        match () {
            () if !(8..=4096).contains(&dim) || !dim.is_multiple_of(8) => {
                wrong("dim", format!("must be a multiple of 8 up to 4096, got {dim}"))
            }
            () if heads == 0 || !dim.is_multiple_of(heads) => wrong("heads", format!("must divide dim {dim}, got {heads}")),
            () if !(1..=96).contains(&depth) => wrong("depth", format!("must be 1 to 96, got {depth}")),
            () => Ok(()),
        }
    }
}

/// As [`Sizes::grid`], for patches of this side.
pub(super) fn grid(patch: usize, height: usize, width: usize) -> Result<(usize, usize), Failure> {
    let fits = |side: usize| side > 0 && side.is_multiple_of(patch);
    match fits(height) && fits(width) {
        true => Ok((height / patch, width / patch)),
        false => Err(Failure::new(format!("an image of {width}x{height} pixels does not divide into patches of {patch}"))
            .help(format!("choose a side that is a multiple of {patch}"))),
    }
}

impl fmt::Display for Sizes {
    /// "an XCiT of dim 384, depth 12, heads 8, patch 8"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self {
            Self::Xcit(_) => "an XCiT",
            Self::Vit(_) => "a ViT",
        };
        write!(f, "{family} of dim {}, depth {}, heads {}, patch {}", self.dim(), self.depth(), self.heads(), self.patch())?;
        match self {
            Self::Xcit(_) => Ok(()),
            Self::Vit(VitSizes { side, registers, layer_scale, .. }) => {
                let scaled = if layer_scale.is_some() { "with" } else { "without" };
                write!(f, ", positions for {side} pixels, {registers} registers, {scaled} LayerScale")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_without_their_family_and_come_back_as_it() {
        let xcit = Xcit::named("nano_12_p16").sizes().unwrap();
        let text = serde_json::to_string(&xcit).unwrap();
        // As model files have always said it.
        assert_eq!(text, r#"{"dim":128,"depth":12,"heads":4,"patch":16,"eta":1.0,"tokens_norm":false,"cls_depth":2}"#);
        assert_eq!(serde_json::from_str::<Sizes>(&text).unwrap(), xcit);
        for name in ["tiny_p8", "small_p14", "large_p14_reg4"] {
            let vit = Vit::named(name).sizes().unwrap();
            assert_eq!(serde_json::from_str::<Sizes>(&serde_json::to_string(&vit).unwrap()).unwrap(), vit);
        }
    }

    #[test]
    fn layers_are_counted_from_the_pixels_to_the_final_norm() {
        let xcit = Xcit::named("nano_12_p16").sizes().unwrap();
        let layers = ["cls_token", "patch_embed.proj.0.0.weight", "blocks.0.norm1.weight", "blocks.11.gamma1"].map(|name| xcit.layer(name));
        assert_eq!(layers, [0, 0, 1, 12]);
        assert_eq!(["cls_attn_blocks.0.attn.q.weight", "cls_attn_blocks.1.gamma2", "norm.bias"].map(|name| xcit.layer(name)), [13, 14, 15]);
        let vit = Vit::named("small_p14").sizes().unwrap();
        assert_eq!(["pos_embed", "blocks.3.ls1.gamma", "norm.weight"].map(|name| vit.layer(name)), [0, 4, 13]);
    }

    #[test]
    fn sides_divide_into_patches_or_the_side_is_named() {
        let sizes = Vit::named("small_p14").sizes().unwrap();
        assert_eq!(sizes.grid(28, 42).unwrap(), (2, 3));
        let failure = sizes.grid(224, 225).unwrap_err();
        assert_eq!(failure.message(), "an image of 225x224 pixels does not divide into patches of 14");
        assert!(sizes.grid(0, 14).is_err());
    }
}
