//! Backbones from files of others, with an account of every tensor.
//!
//! `formats` reads the file and `names` knows what its tensors are called; here they are brought to their places, or everything that
//! is wrong is listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accounting::{Accounting, Allowed, names_it};
use super::formats::{Origin, Stored, contents};
use super::layout::{Entry, Layout, Weights};
use super::names::{self, Fate};
use super::sizes::Sizes;
use crate::diagnostic::{Failure, count};

/// Reads a backbone of these sizes from a file of timm, facebookresearch, Hugging Face or sparsam:
/// safetensors, PyTorch or ONNX. Half and double precision are converted; heads are left out.
///
/// # Errors
/// When the bytes are no such file; when the backbone is not complete, or a tensor is not understood: all that is wrong is listed.
pub fn import(bytes: Vec<u8>, sizes: &Sizes, allowed: &Allowed) -> Result<(Weights, Accounting), Failure> {
    let layout = Arc::new(sizes.layout());
    let file = contents(&bytes.into())?;
    let mut accounting = Accounting { format: file.format.to_string(), dropped: file.unread, ..Accounting::default() };
    let mut found = sort_out(file.tensors, &mut accounting);
    class_position(&mut found, &layout, &mut accounting);
    let guess = guess(&found);
    // What may be missing keeps the values that it has here.
    let mut weights = match allowed.missing.is_empty() {
        true => Weights { params: vec![0.0; layout.n_params()], buffers: vec![0.0; layout.n_buffers()], layout: layout.clone() },
        false => Weights::start(layout.clone(), allowed.seed),
    };
    for (entries, values) in [(layout.params(), &mut weights.params), (layout.buffers(), &mut weights.buffers)] {
        for entry in entries {
            match take(entry, &mut found, &mut accounting) {
                Taken::Values(new) => values[entry.range()].copy_from_slice(&new),
                Taken::Nothing if names_it(&allowed.missing, &entry.name) => accounting.started.push(entry.name.clone()),
                Taken::Nothing => accounting.missing.push(format!("`{}` {:?}", entry.name, entry.shape)),
                Taken::Wrong => {}
            }
        }
    }
    for (name, tensor) in found {
        match names_it(&allowed.unexpected, &name) {
            true => accounting.dropped.push(tensor.name),
            false => accounting.unexpected.push(format!("`{}` {:?}", tensor.name, tensor.shape)),
        }
    }
    let wrongs = accounting.wrongs();
    if wrongs.is_empty() {
        return Ok((weights, accounting));
    }
    let failure = Failure::new(format!(
        "the {} file does not hold {sizes} ({}), {}:\n  {}",
        accounting.format,
        accounting.summary(),
        count(wrongs.len(), "difference"),
        wrongs.join("\n  ")
    ));
    Err(match guess {
        Some(guess) => failure.help(format!("the file looks like {guess}")),
        None => failure,
    })
}

type Found = BTreeMap<String, Stored>;

/// Brings every tensor under timm's names, keeping account.
fn sort_out(tensors: Vec<Stored>, accounting: &mut Accounting) -> Found {
    let mut found = Found::new();
    let mut thirds: BTreeMap<String, [Option<Stored>; 3]> = BTreeMap::new();
    let mut keep = |to: String, tensor: Stored, accounting: &mut Accounting| match found.get(&to) {
        Some(first) => accounting.unexpected.push(format!("`{}` is `{to}`, and so is `{}`", tensor.name, first.name)),
        None => drop(found.insert(to, tensor)),
    };
    let names: Vec<String> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
    let wanted = names::wanted(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (tensor, inner) in tensors.into_iter().zip(wanted) {
        let fate = inner.map_or(Fate::Dropped, names::fate);
        accounting.from_hugging_face |= inner == Some("embeddings.position_embeddings");
        if let (Origin::Transposed(from), false) = (&tensor.origin, fate == Fate::Dropped) {
            accounting.transposed.push(format!("{from} -> {}", tensor.name));
        }
        match fate {
            Fate::Whole(to) => {
                match &tensor.origin {
                    Origin::Joined(from) => accounting.joined.push(format!("{} -> {to}", from.join(", "))),
                    Origin::Renamed(from) | Origin::Transposed(from) if *from != to => accounting.renamed.push(format!("{from} -> {to}")),
                    _ if to == tensor.name => accounting.matched.push(to.clone()),
                    _ => accounting.renamed.push(format!("{} -> {to}", tensor.name)),
                }
                keep(to, tensor, accounting);
            }
            Fate::Part(i, to) => match &mut thirds.entry(to.clone()).or_default()[i] {
                Some(first) => accounting.unexpected.push(format!("`{}` is a part of `{to}`, and so is `{}`", tensor.name, first.name)),
                free => *free = Some(tensor),
            },
            Fate::Thirds(to) => {
                let last = |name: &String| name.rsplit('.').nth(1).unwrap_or_default().to_string();
                accounting.split.push(format!("{} -> {}", tensor.name, to.iter().map(last).collect::<Vec<_>>().join(", ")));
                match in_three(&tensor) {
                    Some(thirds) => to.into_iter().zip(thirds).for_each(|(to, third)| keep(to, third, accounting)),
                    None => {
                        accounting.wrong_shape.push(format!("`{}` is {:?}, which does not divide into three", tensor.name, tensor.shape))
                    }
                }
            }
            Fate::Dropped => accounting.dropped.push(tensor.name),
            Fate::Refused(why) => accounting.unexpected.push(format!("`{}` {:?}, {why}", tensor.name, tensor.shape)),
        }
    }
    for (to, parts) in thirds {
        let parts: Vec<Stored> = parts.into_iter().flatten().collect();
        let names = parts.iter().map(|part| part.name.clone()).collect::<Vec<_>>().join(", ");
        match Stored::joined(names.clone(), parts.clone(), 0).filter(|_| parts.len() == 3) {
            Some(whole) => {
                accounting.joined.push(format!("{names} -> {to}"));
                keep(to, whole, accounting);
            }
            None => accounting.wrong_shape.push(format!("`{to}` is not to be made of {names}")),
        }
    }
    found
}

/// Cuts a tensor into three along its first axis.
fn in_three(tensor: &Stored) -> Option<[Stored; 3]> {
    let rows = *tensor.shape.first()?;
    (rows > 0 && rows.is_multiple_of(3)).then_some(())?;
    let third = |i| tensor.part(0, i * rows / 3, rows / 3);
    Some([third(0)?, third(1)?, third(2)?])
}

/// Adds the class token's position to the token where the network keeps none for it: as timm does with DINOv2's registers
/// (`vision_transformer.py`, `checkpoint_filter_fn`).
fn class_position(found: &mut Found, layout: &Layout, accounting: &mut Accounting) {
    let Some(places) = layout.params().iter().find(|entry| entry.name == "pos_embed").map(|entry| entry.shape[1]) else { return };
    let parts = || {
        let (class, positions) = (found.get("cls_token")?, found.get("pos_embed")?);
        (positions.shape.len() == 3 && positions.shape[1] == places + 1).then_some(())?;
        Some((class.plus(&positions.part(1, 0, 1)?)?, positions.part(1, 1, places)?))
    };
    if let (true, Some((class, positions))) = (found.contains_key("reg_token"), parts()) {
        accounting.split.push(format!("{} -> cls_token (added), pos_embed", positions.name));
        found.insert("cls_token".into(), class);
        found.insert("pos_embed".into(), positions);
    }
}

/// What a file has for a tensor of the network.
enum Taken {
    Values(Vec<f32>),
    Nothing,
    /// Something that cannot be used; what, is noted.
    Wrong,
}

fn take(entry: &Entry, found: &mut Found, accounting: &mut Accounting) -> Taken {
    let Entry { name, shape, .. } = entry;
    match found.remove(name) {
        None => return Taken::Nothing,
        Some(t) if t.shape != *shape => accounting.wrong_shape.push(format!("`{name}` is {:?}, expected {shape:?}", t.shape)),
        Some(t) => match t.values() {
            Ok(values) => return Taken::Values(values),
            Err(why) => accounting.unusable.push(format!("`{}` {why}", t.name)),
        },
    }
    Taken::Wrong
}

/// Says what network the file seems to hold, where it holds one.
fn guess(found: &Found) -> Option<String> {
    let side = |name: &str, axis: usize| found.get(name).and_then(|tensor| tensor.shape.get(axis).copied());
    let blocks = (0..).take_while(|i| side(&format!("blocks.{i}.norm1.weight"), 0).is_some()).count();
    let dim = side("norm.weight", 0)?;
    if let Some(heads) = side("blocks.0.attn.temperature", 0) {
        let stem = (0..).take_while(|i| side(&format!("patch_embed.proj.{}.0.weight", 2 * i), 0).is_some()).count();
        return Some(format!("an XCiT of dim {dim}, depth {blocks}, heads {heads}, patch {}", 1_usize.checked_shl(stem as u32)?));
    }
    let (patch, registers) = (side("patch_embed.proj.weight", 2)?, side("reg_token", 1).unwrap_or(0));
    let places = side("pos_embed", 1)?.isqrt();
    let scaled = if side("blocks.0.ls1.gamma", 0).is_some() { "with" } else { "without" };
    let positions = patch.checked_mul(places)?;
    Some(format!(
        "a ViT of dim {dim}, depth {blocks}, patch {patch}, positions for {positions} pixels, {registers} registers, {scaled} LayerScale"
    ))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::super::Xcit;
    use super::*;

    /// Name, type, shape, bytes.
    type Raw = (String, Dtype, Vec<usize>, Vec<u8>);

    fn sizes(depth: usize) -> Sizes {
        Xcit { dim: Some(16), depth: Some(depth), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap()
    }

    /// Reads a backbone of these sizes, allowing nothing.
    fn read(file: Vec<u8>, sizes: &Sizes) -> Result<(Weights, Accounting), Failure> {
        import(file, sizes, &Allowed::default())
    }

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// A backbone's tensors under timm's names, with the step counters that PyTorch adds.
    fn timm() -> (Weights, Vec<Raw>) {
        let weights = Weights::start(Arc::new(sizes(2).layout()), 7);
        let raw = |entries: &[Entry], values: &[f32]| -> Vec<Raw> {
            entries.iter().map(|e| (e.name.clone(), Dtype::F32, e.shape.clone(), bytes_of(&values[e.range()]))).collect()
        };
        let mut file = raw(weights.layout.params(), &weights.params);
        file.extend(raw(weights.layout.buffers(), &weights.buffers));
        file.push(("blocks.0.local_mp.bn.num_batches_tracked".into(), Dtype::I64, vec![], 3_i64.to_le_bytes().to_vec()));
        file.push(("head.weight".into(), Dtype::F32, vec![2, 16], bytes_of(&[0.0; 32])));
        (weights, file)
    }

    fn file(raw: &[Raw]) -> Vec<u8> {
        let views = raw.iter().map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// The same tensors as facebookresearch/xcit names them: one `qkv` per class-attention block.
    fn facebook(timm: Vec<Raw>) -> Vec<Raw> {
        let mut out: BTreeMap<String, Raw> = BTreeMap::new();
        for part in ["q", "k", "v"] {
            for (name, dtype, shape, data) in timm.iter().filter(|r| r.0.contains(&format!(".attn.{part}."))) {
                let name = name.replace(&format!(".attn.{part}."), ".attn.qkv.");
                let whole = out.entry(name.clone()).or_insert_with(|| (name, *dtype, [vec![0], shape[1..].to_vec()].concat(), Vec::new()));
                whole.2[0] += shape[0];
                whole.3.extend(data);
            }
        }
        let rest = timm.into_iter().filter(|r| !["q", "k", "v"].iter().any(|p| r.0.contains(&format!(".attn.{p}."))));
        let rest = rest.map(|(name, dtype, shape, data)| (name.replace("pos_embed.", "pos_embeder."), dtype, shape, data));
        out.into_values().chain(rest).collect()
    }

    fn under(prefix: &str, raw: Vec<Raw>) -> Vec<Raw> {
        raw.into_iter().map(|(name, dtype, shape, data)| (format!("{prefix}{name}"), dtype, shape, data)).collect()
    }

    #[test]
    fn timm_s_names_are_taken_as_they_are() {
        let (weights, raw) = timm();
        let n = weights.layout.params().len() + weights.layout.buffers().len();
        let (seen, accounting) = read(file(&raw), &sizes(2)).unwrap();
        assert_eq!(seen, weights);
        assert_eq!(accounting.dropped, ["blocks.0.local_mp.bn.num_batches_tracked", "head.weight"]);
        assert_eq!(accounting.summary(), format!("{n} tensors matched, 2 dropped"));
    }

    #[test]
    fn facebook_s_names_are_renamed_and_split() {
        let (weights, raw) = timm();
        let (seen, accounting) = read(file(&facebook(raw)), &sizes(2)).unwrap();
        assert_eq!(seen, weights);
        assert_eq!(accounting.split.len(), 4);
        assert_eq!(accounting.split[0], "cls_attn_blocks.0.attn.qkv.bias -> q, k, v");
        assert_eq!(accounting.renamed.len(), 2);
        assert!(accounting.renamed.contains(&"pos_embeder.token_projection.bias -> pos_embed.token_projection.bias".to_string()));
    }

    #[test]
    fn a_dino_checkpoint_gives_its_teacher() {
        let (weights, raw) = timm();
        let other: Vec<Raw> = timm().1.into_iter().map(|(n, t, s, data)| (n, t, s, vec![0; data.len()])).collect();
        let both = [under("teacher.backbone.", facebook(raw)), under("student.module.backbone.", other)].concat();
        let (seen, accounting) = read(file(&both), &sizes(2)).unwrap();
        assert_eq!(seen, weights);
        assert!(accounting.dropped.contains(&"student.module.backbone.norm.weight".to_string()));
    }

    #[test]
    fn other_precisions_are_converted() {
        let (weights, raw) = timm();
        for (dtype, to, off) in [(Dtype::F64, DType::F64, 0.0), (Dtype::F16, DType::F16, 1e-3), (Dtype::BF16, DType::BF16, 8e-3)] {
            let convert = |(name, from, shape, data): &Raw| -> Raw {
                if *from != Dtype::F32 {
                    return (name.clone(), *from, shape.clone(), data.clone());
                }
                let tensor = Tensor::from_raw_buffer(data, DType::F32, &[data.len() / 4], &Device::Cpu).unwrap().to_dtype(to).unwrap();
                let mut bytes = Vec::new();
                tensor.write_bytes(&mut bytes).unwrap();
                (name.clone(), dtype, shape.clone(), bytes)
            };
            let (seen, _) = read(file(&raw.iter().map(convert).collect::<Vec<_>>()), &sizes(2)).unwrap();
            let near = seen.params.iter().zip(&weights.params).all(|(a, b)| (a - b).abs() <= off * b.abs() + off * 1e-4);
            assert!(near, "{dtype:?}");
        }
    }

    #[test]
    fn another_size_is_refused_with_the_full_list_and_a_guess() {
        let (_, raw) = timm();
        let failure = read(file(&raw), &sizes(3)).unwrap_err();
        let lacking = sizes(3).layout().params().iter().filter(|e| e.name.starts_with("blocks.2.")).count() + 2;
        assert_eq!(failure.message().matches("missing: ").count(), lacking, "{failure}");
        assert_eq!(failure.way_out(), Some("the file looks like an XCiT of dim 16, depth 2, heads 2, patch 4"));
        let failure = read(file(&raw), &sizes(1)).unwrap_err();
        assert!(failure.message().contains("unexpected: `blocks.1.gamma1` [16]"), "{failure}");
    }

    #[test]
    fn whatever_is_wrong_with_single_tensors_is_said() {
        let (_, mut raw) = timm();
        for tensor in &mut raw {
            match tensor.0.as_str() {
                "norm.weight" => (tensor.2, tensor.3) = (vec![2], bytes_of(&[1.0, 2.0])),
                "norm.bias" => tensor.3 = bytes_of(&[f32::INFINITY; 16]),
                "blocks.0.gamma1" => tensor.1 = Dtype::I32,
                "cls_token" => tensor.0 = "cls_tokens".into(),
                _ => {}
            }
        }
        raw.push(("module.blocks.0.gamma2".into(), Dtype::F32, vec![16], bytes_of(&[1.0; 16])));
        let failure = read(file(&raw), &sizes(2)).unwrap_err();
        for part in [
            "6 differences",
            "missing: `cls_token` [1, 1, 16]",
            "unexpected: `cls_tokens` [1, 1, 16]",
            "unexpected: `module.blocks.0.gamma2` is `blocks.0.gamma2`, and so is `blocks.0.gamma2`",
            "wrong shape: `norm.weight` is [2], expected [16]",
            "unusable: `norm.bias` holds `inf`",
            "unusable: `blocks.0.gamma1` holds I32, no real numbers",
        ] {
            assert!(failure.message().contains(part), "{part} not in {failure}");
        }
    }
}
