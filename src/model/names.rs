//! The names that other programs give to a backbone's tensors, and timm's for each.

use super::file::is_step_counter;

/// Wrappings that say nothing: those of `DataParallel` and of `torch.compile`.
const SILENT: [&str; 2] = ["module", "_orig_mod"];

/// Wrappings that say which of several things in a file is wanted, the deciding ones first: of a teacher and a student the teacher, of
/// a network and the state of its training the network, of a backbone and its heads the backbone.
const TELLING: [&str; 8] = ["teacher", "student", "state_dict", "model", "backbone", "dinov2", "dinov2_with_registers", "vit"];

/// What becomes of a tensor. In names `#` is a number and a last `*` is the rest; `~` is a number that goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// It has this name in timm.
    Is(&'static str),
    /// It is the first, second or third part of this tensor.
    Part(usize, &'static str),
    /// It is these three, one below the other.
    Holds([&'static str; 3]),
    /// No part of a network that only looks.
    Goes,
    /// It belongs to a network that is not supported.
    Stops(&'static str),
}
use Rule::{Goes, Holds, Is, Part, Stops};

type Row = (&'static str, Rule);

/// Heads on top of a backbone, and what only training needs.
const NOT_OF_A_BACKBONE: [Row; 9] = [
    ("head.*", Goes),
    ("projection_head.*", Goes),
    ("dino_head.*", Goes),
    ("ibot_head.*", Goes),
    ("linear_head.*", Goes),
    ("classifier.*", Goes),
    ("pooler.*", Goes),
    ("mask_token", Goes),
    ("embeddings.mask_token", Goes),
];

/// facebookresearch/xcit, `xcit.py`.
const FACEBOOK_XCIT: [Row; 2] = [
    ("pos_embeder.*", Is("pos_embed.*")),
    ("cls_attn_blocks.#.attn.qkv.*", Holds(["cls_attn_blocks.#.attn.q.*", "cls_attn_blocks.#.attn.k.*", "cls_attn_blocks.#.attn.v.*"])),
];

const SWIGLU: &str = "of a network with SwiGLU, as DINOv2's giant one, which is not supported";

/// facebookresearch/dinov2, `vision_transformer.py`: blocks may lie in chunks, in which they keep the number they have in all.
const FACEBOOK_DINOV2: [Row; 4] = [
    ("register_tokens", Is("reg_token")),
    ("blocks.#.mlp.w12.*", Stops(SWIGLU)),
    ("blocks.~.#.mlp.w12.*", Stops(SWIGLU)),
    ("blocks.~.#.*", Is("blocks.#.*")),
];

/// Hugging Face's `ViTModel`, `Dinov2Model` and `Dinov2WithRegistersModel` (transformers, `modeling_*.py`).
const HUGGING_FACE: [Row; 31] = [
    ("embeddings.cls_token", Is("cls_token")),
    ("embeddings.register_tokens", Is("reg_token")),
    ("embeddings.position_embeddings", Is("pos_embed")),
    ("embeddings.patch_embeddings.projection.*", Is("patch_embed.proj.*")),
    ("encoder.layer.#.attention.attention.query.*", Part(0, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.attention.key.*", Part(1, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.attention.value.*", Part(2, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.output.dense.*", Is("blocks.#.attn.proj.*")),
    // Since version 5 a network's own names differ from those that `save_pretrained` writes.
    ("encoder.layer.#.attention.q_proj.*", Part(0, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.k_proj.*", Part(1, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.v_proj.*", Part(2, "blocks.#.attn.qkv.*")),
    ("encoder.layer.#.attention.o_proj.*", Is("blocks.#.attn.proj.*")),
    ("layers.#.attention.q_proj.*", Part(0, "blocks.#.attn.qkv.*")),
    ("layers.#.attention.k_proj.*", Part(1, "blocks.#.attn.qkv.*")),
    ("layers.#.attention.v_proj.*", Part(2, "blocks.#.attn.qkv.*")),
    ("layers.#.attention.o_proj.*", Is("blocks.#.attn.proj.*")),
    ("layers.#.layernorm_before.*", Is("blocks.#.norm1.*")),
    ("layers.#.layernorm_after.*", Is("blocks.#.norm2.*")),
    ("layers.#.mlp.*", Is("blocks.#.mlp.*")),
    ("encoder.layer.#.layer_scale1.lambda1", Is("blocks.#.ls1.gamma")),
    ("encoder.layer.#.layer_scale2.lambda1", Is("blocks.#.ls2.gamma")),
    ("encoder.layer.#.norm1.*", Is("blocks.#.norm1.*")),
    ("encoder.layer.#.norm2.*", Is("blocks.#.norm2.*")),
    ("encoder.layer.#.layernorm_before.*", Is("blocks.#.norm1.*")),
    ("encoder.layer.#.layernorm_after.*", Is("blocks.#.norm2.*")),
    ("encoder.layer.#.mlp.weights_in.*", Stops(SWIGLU)),
    ("encoder.layer.#.mlp.fc1.*", Is("blocks.#.mlp.fc1.*")),
    ("encoder.layer.#.mlp.fc2.*", Is("blocks.#.mlp.fc2.*")),
    ("encoder.layer.#.intermediate.dense.*", Is("blocks.#.mlp.fc1.*")),
    ("encoder.layer.#.output.dense.*", Is("blocks.#.mlp.fc2.*")),
    ("layernorm.*", Is("norm.*")),
];

/// What becomes of a tensor of a file, in timm's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Whole(String),
    /// One of three parts of a tensor.
    Part(usize, String),
    Thirds([String; 3]),
    /// Left out knowingly.
    Dropped,
    /// Why it cannot be used.
    Refused(&'static str),
}

/// Returns what becomes of a name without wrappings. What no table knows keeps its name.
pub fn fate(name: &str) -> Fate {
    if is_step_counter(name) {
        return Fate::Dropped;
    }
    let rows = NOT_OF_A_BACKBONE.iter().chain(&FACEBOOK_XCIT).chain(&FACEBOOK_DINOV2).chain(&HUGGING_FACE);
    let found = rows.into_iter().find_map(|(pattern, rule)| Some((rule, carried(name, pattern)?)));
    match found {
        None => Fate::Whole(name.to_string()),
        Some((Goes, _)) => Fate::Dropped,
        Some((Stops(why), _)) => Fate::Refused(why),
        Some((Is(to), carried)) => Fate::Whole(put(to, &carried)),
        Some((Part(i, to), carried)) => Fate::Part(*i, put(to, &carried)),
        Some((Holds(three), carried)) => Fate::Thirds(three.map(|to| put(to, &carried))),
    }
}

/// Returns what the signs of a pattern stand for in a name, if it has this form.
fn carried<'n>(name: &'n str, pattern: &str) -> Option<Vec<&'n str>> {
    let mut carried = Vec::new();
    let mut rest = Some(name);
    for sign in pattern.split('.') {
        if sign == "*" {
            carried.push(rest?);
            return Some(carried);
        }
        let (part, after) = rest?.split_once('.').map_or((rest?, None), |(part, after)| (part, Some(after)));
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match sign {
            "#" if is_number => carried.push(part),
            "~" if is_number => {}
            _ if sign == part => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(carried)
}

/// Puts in the place of signs what they stand for.
fn put(pattern: &str, carried: &[&str]) -> String {
    let mut carried = carried.iter();
    let put = |sign: &str| if matches!(sign, "#" | "*") { carried.next().copied().unwrap_or(sign).to_string() } else { sign.to_string() };
    pattern.split('.').map(put).collect::<Vec<_>>().join(".")
}

/// Takes the wrappings off a name: which telling ones it had, and what is left.
fn unwrapped(name: &str) -> (Vec<&str>, &str) {
    let (mut wrappings, mut inner) = (Vec::new(), name);
    while let Some((first, rest)) = inner.split_once('.') {
        match () {
            () if TELLING.contains(&first) => wrappings.push(first),
            () if !SILENT.contains(&first) => break,
            () => {}
        }
        inner = rest;
    }
    (wrappings, inner)
}

/// Returns each name without its wrappings, or nothing where it belongs to another part of the file than the network that is wanted.
pub fn wanted<'n>(names: &[&'n str]) -> Vec<Option<&'n str>> {
    let unwrapped: Vec<(Vec<&str>, &'n str)> = names.iter().map(|name| unwrapped(name)).collect();
    let mut kept = vec![true; names.len()];
    for wrapping in TELLING {
        let has = |i: usize| unwrapped[i].0.contains(&wrapping);
        if (0..names.len()).any(|i| kept[i] && has(i)) {
            (0..names.len()).for_each(|i| kept[i] &= has(i));
        }
    }
    unwrapped.iter().zip(kept).map(|((_, inner), kept)| kept.then_some(*inner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(name: &str) -> Fate {
        Fate::Whole(name.to_string())
    }

    #[test]
    fn names_of_every_family_become_timm_s() {
        for (name, expected) in [
            ("blocks.3.attn.qkv.weight", whole("blocks.3.attn.qkv.weight")),
            ("pos_embeder.token_projection.bias", whole("pos_embed.token_projection.bias")),
            ("blocks.1.7.ls1.gamma", whole("blocks.7.ls1.gamma")),
            ("register_tokens", whole("reg_token")),
            ("embeddings.position_embeddings", whole("pos_embed")),
            ("encoder.layer.11.attention.attention.key.bias", Fate::Part(1, "blocks.11.attn.qkv.bias".into())),
            ("encoder.layer.2.attention.output.dense.weight", whole("blocks.2.attn.proj.weight")),
            ("encoder.layer.2.output.dense.weight", whole("blocks.2.mlp.fc2.weight")),
            ("encoder.layer.2.layernorm_before.bias", whole("blocks.2.norm1.bias")),
            ("layernorm.weight", whole("norm.weight")),
            ("encoder.layer.0.attention.v_proj.bias", Fate::Part(2, "blocks.0.attn.qkv.bias".into())),
            ("layers.5.attention.o_proj.bias", whole("blocks.5.attn.proj.bias")),
            ("layers.5.mlp.fc1.bias", whole("blocks.5.mlp.fc1.bias")),
            ("blocks.0.3.mlp.w12.bias", Fate::Refused(SWIGLU)),
            ("mask_token", Fate::Dropped),
            ("patch_embed.proj.0.1.num_batches_tracked", Fate::Dropped),
            ("head.last_layer.weight_g", Fate::Dropped),
            ("heads.weight", whole("heads.weight")),
            ("encoder.layer.x.norm1.weight", whole("encoder.layer.x.norm1.weight")),
        ] {
            assert_eq!(fate(name), expected, "{name}");
        }
        let thirds = ["q", "k", "v"].map(|part| format!("cls_attn_blocks.1.attn.{part}.bias"));
        assert_eq!(fate("cls_attn_blocks.1.attn.qkv.bias"), Fate::Thirds(thirds));
    }

    #[test]
    fn a_checkpoint_s_other_parts_are_left_aside() {
        let of_dino =
            ["teacher.backbone.norm.weight", "teacher.head.mlp.0.bias", "student.module.backbone.norm.weight", "optimizer.state.0.step"];
        assert_eq!(wanted(&of_dino), [Some("norm.weight"), None, None, None]);
        assert_eq!(wanted(&["module.student.backbone.norm.bias", "student.projection_head.mlp.0.bias"]), [Some("norm.bias"), None]);
        assert_eq!(wanted(&["state_dict.module.norm.bias", "state_dict_ema.module.norm.bias"]), [Some("norm.bias"), None]);
        assert_eq!(wanted(&["dinov2.layernorm.bias", "classifier.bias"]), [Some("layernorm.bias"), None]);
        assert_eq!(wanted(&["norm.bias", "head.bias"]), [Some("norm.bias"), Some("head.bias")]);
    }
}
