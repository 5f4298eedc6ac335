//! Vision transformers: sizes, published and free, and tensors.
//!
//! Dosovitskiy et al. 2021 (arXiv:2010.11929), as DINO (Caron et al. 2021, arXiv:2104.14294) and DINOv2 (Oquab et al. 2023,
//! arXiv:2304.07193; registers: Darcet et al. 2024, arXiv:2309.16588) trained them; tensors as in timm's `vision_transformer.py`.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Start};
use super::sizes::{Sizes, Wrong, wrong};
use crate::diagnostic::nearest;

/// How learnt positions become those of images of another size than the one they were learnt at. All are bicubic, and change nothing at
/// that size; a network gives the features that its authors meant only with its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interpolation {
    /// Wider where the map shrinks (a = -0.5): timm's `resample_abs_pos_embed`, and DINOv2 with registers.
    #[default]
    Antialiased,
    /// As wide everywhere (a = -0.75): Hugging Face's `Dinov2Model`.
    Plain,
    /// The same, with steps as if the new map were a tenth of a token longer: DINO's and DINOv2's own code.
    Offset,
}

crate::params! {
    /// A vision transformer: a published variant by name, or free sizes.
    pub struct Vit {
        /// DINO's `tiny`, `small` or `base` with patches of 8 or 16 (`small_p16`); DINOv2's `small`, `base` or `large` with patches of 14
        /// and no or four registers (`small_p14`, `small_p14_reg4`). The sizes below replace its own.
        pub variant: Option<String> = None,
        /// Width of a token.
        pub dim: Option<usize> = None,
        pub depth: Option<usize> = None,
        pub heads: Option<usize> = None,
        /// Side of a patch in pixels.
        pub patch: Option<usize> = None,
        /// Side in pixels of the images whose patches have learnt positions; those of other images are interpolated. By default 224
        /// (DINOv2: 518), or the multiple of the patch below it.
        pub side: Option<usize> = None,
        /// Tokens that belong to no patch and are not read (registers).
        pub registers: Option<usize> = None,
        /// Initial LayerScale; a variant without one, and free sizes, have none.
        pub layer_scale: Option<f64> = None,
        pub interpolation: Interpolation = Interpolation::default(),
    }
}

/// The sizes of a vision transformer, all given and possible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitSizes {
    pub dim: usize,
    pub depth: usize,
    pub heads: usize,
    pub patch: usize,
    /// Side in pixels of the images whose patches have learnt positions.
    pub side: usize,
    pub registers: usize,
    /// Initial LayerScale, where there is one.
    pub layer_scale: Option<f64>,
    pub interpolation: Interpolation,
}

/// Name, width, blocks, heads (timm's `vit_{tiny,small,base,large}_*`).
const WIDTHS: [(&str, usize, usize, usize); 4] =
    [("tiny", 192, 12, 3), ("small", 384, 12, 6), ("base", 768, 12, 12), ("large", 1024, 24, 16)];

/// Width by name, patch, registers.
fn published() -> impl Iterator<Item = (&'static str, usize, usize)> {
    let dino = ["tiny", "small", "base"].into_iter().flat_map(|width| [(width, 8, 0), (width, 16, 0)]);
    dino.chain(["small", "base", "large"].into_iter().flat_map(|width| [(width, 14, 0), (width, 14, 4)]))
}

fn name_of((width, patch, registers): (&str, usize, usize)) -> String {
    let suffix = if registers == 0 { String::new() } else { format!("_reg{registers}") };
    format!("{width}_p{patch}{suffix}")
}

fn variant(name: &str) -> Option<VitSizes> {
    let name = name.strip_prefix("vit_").unwrap_or(name);
    let (width, patch, registers) = published().find(|of| name_of(*of) == name)?;
    let &(_, dim, depth, heads) = WIDTHS.iter().find(|w| w.0 == width)?;
    let (side, layer_scale) = if patch == 14 { (518, Some(1e-5)) } else { (224, None) };
    Some(VitSizes { dim, depth, heads, patch, side, registers, layer_scale, interpolation: Interpolation::default() })
}

/// Says that no variant has this name, and which one may have been meant.
fn no_variant(name: &str) -> String {
    let names: Vec<String> = published().map(name_of).collect();
    match nearest(name.strip_prefix("vit_").unwrap_or(name), names.iter().map(String::as_str)) {
        Some(meant) => format!("must be a published variant, got `{name}`: did you mean `{meant}`?"),
        None => format!("must be one of {}, got `{name}`", names.join(", ")),
    }
}

impl Vit {
    /// Returns the variant of this name.
    pub fn named(name: &str) -> Self {
        Self { variant: Some(name.to_string()), ..Self::default() }
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<Wrong> {
        self.sizes().err().into_iter().collect()
    }

    /// Fills in what the variant says, and checks that the sizes fit together.
    pub fn sizes(&self) -> Result<Sizes, Wrong> {
        let known = match &self.variant {
            None => None,
            Some(name) => Some(variant(name).ok_or_else(|| ("variant", no_variant(name)))?),
        };
        let known = known.as_ref();
        let need = |own: Option<usize>, known: Option<usize>, field: &'static str| {
            own.or(known).ok_or_else(|| (field, "must be given where no variant is named".to_string()))
        };
        let patch = need(self.patch, known.map(|k| k.patch), "patch")?;
        // A patch of 0 is refused below.
        let whole = |side: usize| (side / patch.max(1)).max(1) * patch;
        let sizes = Sizes::Vit(VitSizes {
            dim: need(self.dim, known.map(|k| k.dim), "dim")?,
            depth: need(self.depth, known.map(|k| k.depth), "depth")?,
            heads: need(self.heads, known.map(|k| k.heads), "heads")?,
            patch,
            side: self.side.unwrap_or_else(|| whole(known.map_or(224, |k| k.side))),
            registers: self.registers.or(known.map(|k| k.registers)).unwrap_or(0),
            layer_scale: self.layer_scale.or(known.and_then(|k| k.layer_scale)),
            interpolation: self.interpolation,
        });
        sizes.check().map(|()| sizes)
    }
}

impl VitSizes {
    /// Returns how many places along each side have a learnt position.
    pub fn places(&self) -> usize {
        self.side / self.patch
    }

    /// Returns how many tokens stand before those of the patches: the class token, then the registers.
    pub fn prefix(&self) -> usize {
        1 + self.registers
    }

    /// Whether the class token has a position: not in networks with registers (timm's `no_embed_class`).
    pub fn class_has_position(&self) -> bool {
        self.registers == 0
    }

    /// Returns what is wrong with the sizes that only a vision transformer has.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let Self { patch, side, registers, layer_scale, .. } = *self;
        match () {
            () if !(2..=64).contains(&patch) => wrong("patch", format!("must be 2 to 64, got {patch}")),
            () if !(patch..=4096).contains(&side) || !side.is_multiple_of(patch) => {
                wrong("side", format!("must be a multiple of the patch of {patch} up to 4096, got {side}"))
            }
            () if registers > 64 => wrong("registers", format!("must be at most 64, got {registers}")),
            () if layer_scale.is_some_and(|scale| !(scale.is_finite() && scale >= 0.0)) => {
                wrong("layer_scale", format!("must be finite and not negative, got {}", layer_scale.unwrap_or_default()))
            }
            () => Ok(()),
        }
    }

    /// Returns the tensors without a classifier head, in timm's order and under timm's names.
    pub fn layout(&self) -> Layout {
        let d = self.dim;
        let mut layout = Layout::default();
        layout.param("cls_token", &[1, 1, d], Start::TruncatedNormal);
        if self.registers > 0 {
            layout.param("reg_token", &[1, self.registers, d], Start::TruncatedNormal);
        }
        let places = self.places().pow(2) + usize::from(self.class_has_position());
        layout.param("pos_embed", &[1, places, d], Start::TruncatedNormal);
        let convolution = Start::Uniform { fan_in: 3 * self.patch * self.patch };
        layout.param("patch_embed.proj.weight", &[d, 3, self.patch, self.patch], convolution);
        layout.param("patch_embed.proj.bias", &[d], convolution);
        for i in 0..self.depth {
            let block = format!("blocks.{i}");
            let scale = |layout: &mut Layout, name: &str| {
                if let Some(start) = self.layer_scale {
                    layout.param(format!("{block}.{name}.gamma"), &[d], Start::Constant(start as f32));
                }
            };
            layout.norm(&format!("{block}.norm1"), d);
            layout.linear(&format!("{block}.attn.qkv"), d, 3 * d);
            layout.linear(&format!("{block}.attn.proj"), d, d);
            scale(&mut layout, "ls1");
            layout.norm(&format!("{block}.norm2"), d);
            layout.linear(&format!("{block}.mlp.fc1"), d, 4 * d);
            layout.linear(&format!("{block}.mlp.fc2"), 4 * d, d);
            scale(&mut layout, "ls2");
        }
        layout.norm("norm", d);
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_timm_s_number_of_parameters_and_tensors() {
        // timm 1.0.31: m = create_model(name, num_classes=0); sum(p.numel() for p in m.parameters()), len(m.state_dict()), of
        // vit_{tiny,small,base}_patch16_224 (patch_size=8) and vit_{small,base,large}_patch14[_reg4]_dinov2
        for (name, parameters, tensors) in [
            ("tiny_p16", 5_524_416, 150),
            ("tiny_p8", 5_526_720, 150),
            ("small_p16", 21_665_664, 150),
            ("small_p8", 21_670_272, 150),
            ("base_p16", 85_798_656, 150),
            ("base_p8", 85_807_872, 150),
            ("small_p14", 22_056_192, 174),
            ("base_p14", 86_579_712, 174),
            ("large_p14", 304_367_616, 342),
            ("small_p14_reg4", 22_057_344, 175),
            ("base_p14_reg4", 86_582_016, 175),
            ("large_p14_reg4", 304_370_688, 343),
        ] {
            let layout = Vit::named(&format!("vit_{name}")).sizes().unwrap().layout();
            assert_eq!((layout.n_params(), layout.params().len(), layout.n_buffers()), (parameters, tensors, 0), "{name}");
        }
    }

    #[test]
    fn tensors_have_timm_s_names_order_and_shapes() {
        let layout = Vit::named("small_p14_reg4").sizes().unwrap().layout();
        let seen: Vec<(&str, &[usize])> = layout.params().iter().take(19).map(|e| (e.name.as_str(), e.shape.as_slice())).collect();
        // timm 1.0.31: create_model("vit_small_patch14_reg4_dinov2", num_classes=0).state_dict()
        let expected: [(&str, &[usize]); 19] = [
            ("cls_token", &[1, 1, 384]),
            ("reg_token", &[1, 4, 384]),
            ("pos_embed", &[1, 1369, 384]),
            ("patch_embed.proj.weight", &[384, 3, 14, 14]),
            ("patch_embed.proj.bias", &[384]),
            ("blocks.0.norm1.weight", &[384]),
            ("blocks.0.norm1.bias", &[384]),
            ("blocks.0.attn.qkv.weight", &[1152, 384]),
            ("blocks.0.attn.qkv.bias", &[1152]),
            ("blocks.0.attn.proj.weight", &[384, 384]),
            ("blocks.0.attn.proj.bias", &[384]),
            ("blocks.0.ls1.gamma", &[384]),
            ("blocks.0.norm2.weight", &[384]),
            ("blocks.0.norm2.bias", &[384]),
            ("blocks.0.mlp.fc1.weight", &[1536, 384]),
            ("blocks.0.mlp.fc1.bias", &[1536]),
            ("blocks.0.mlp.fc2.weight", &[384, 1536]),
            ("blocks.0.mlp.fc2.bias", &[384]),
            ("blocks.0.ls2.gamma", &[384]),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_field() {
        let free = Vit { dim: Some(32), depth: Some(2), heads: Some(4), patch: Some(6), ..Vit::default() };
        let Sizes::Vit(sizes) = free.sizes().unwrap() else { panic!("a ViT") };
        assert_eq!((sizes.side, sizes.registers, sizes.layer_scale), (222, 0, None));
        for (wrong, field) in [
            (Vit { patch: Some(0), ..free.clone() }, "patch"),
            (Vit { side: Some(20), ..free.clone() }, "side"),
            (Vit { registers: Some(100), ..free.clone() }, "registers"),
            (Vit { layer_scale: Some(f64::NAN), ..free.clone() }, "layer_scale"),
            (Vit { heads: Some(5), ..free.clone() }, "heads"),
            (Vit { depth: None, ..free.clone() }, "depth"),
            (Vit::named("small_p15"), "variant"),
        ] {
            assert_eq!(wrong.check()[0].0, field);
        }
        assert!(Vit::named("smal_p14").check()[0].1.ends_with("did you mean `small_p14`?"));
    }
}
