//! Backbones from files of others, with an account of every tensor.
//!
//! Understands timm's names, those of facebookresearch/xcit (`pos_embeder`, one `qkv` per class-attention block), and the
//! prefixes under which checkpoints of DINO and of sparsam keep a backbone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::file::is_step_counter;
use super::layout::{Entry, Weights};
use super::sizes::Sizes;
use super::stored::{self, Stored};
use crate::diagnostic::{Failure, count};

/// Wrappings under which checkpoints keep a network, outermost first or in any other order.
const PREFIXES: [&str; 5] = ["module.", "backbone.", "teacher.", "model.", "state_dict."];

/// What became of every tensor of a file, and what it lacked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounting {
    /// Taken under the name they have.
    pub matched: Vec<String>,
    /// Taken under another name: `from -> to`.
    pub renamed: Vec<String>,
    /// Taken in three parts: `from -> q, k, v`.
    pub split: Vec<String>,
    /// Left out knowingly: heads, step counters, the student where there is a teacher.
    pub dropped: Vec<String>,
    pub missing: Vec<String>,
    /// Names that a network of this size does not have, or has once while the file gives it twice.
    pub unexpected: Vec<String>,
    pub wrong_shape: Vec<String>,
    /// Neither f32, f16, bf16 nor f64, or not finite.
    pub unusable: Vec<String>,
}

impl Accounting {
    /// Returns whether the whole backbone was found, and nothing that is not understood.
    pub fn is_complete(&self) -> bool {
        [&self.missing, &self.unexpected, &self.wrong_shape, &self.unusable].iter().all(|list| list.is_empty())
    }

    /// Returns one line: `245 tensors matched, 2 renamed, 4 split, 5 dropped`.
    pub fn summary(&self) -> String {
        let counted = [(&self.renamed, "renamed"), (&self.split, "split"), (&self.dropped, "dropped")];
        let counted = counted.iter().filter(|(list, _)| !list.is_empty()).map(|(list, word)| format!(", {} {word}", list.len()));
        format!("{} matched{}", count(self.matched.len(), "tensor"), counted.collect::<String>())
    }

    /// All that is wrong, a line each.
    fn wrongs(&self) -> Vec<String> {
        let lists = [
            ("missing", &self.missing),
            ("wrong shape", &self.wrong_shape),
            ("unexpected", &self.unexpected),
            ("unusable", &self.unusable),
        ];
        lists.iter().flat_map(|(word, list)| list.iter().map(move |item| format!("{word}: {item}"))).collect()
    }
}

/// Reads a backbone of this size from a safetensors file of timm, facebookresearch/xcit, DINO or sparsam. Half and double
/// precision are converted; classifier and projection heads (`head.*`) are left out.
///
/// # Errors
/// When the bytes are not a safetensors file; when the backbone is not complete, or a tensor is not understood: all that
/// is wrong is listed.
pub fn import(bytes: &[u8], sizes: &Sizes) -> Result<(Weights, Accounting), Failure> {
    let (tensors, _) = stored::read(bytes, "flow")?;
    let guess = guess(&tensors);
    let layout = Arc::new(sizes.layout());
    let mut accounting = Accounting::default();
    let mut found = sort_out(tensors, &mut accounting);
    let mut gather = |entries: &[Entry]| -> Vec<f32> { entries.iter().flat_map(|e| take(e, &mut found, &mut accounting)).collect() };
    let (params, buffers) = (gather(layout.params()), gather(layout.buffers()));
    accounting.unexpected.extend(found.into_values().map(|t| format!("`{}` {:?}", t.name, t.shape)));
    let wrongs = accounting.wrongs();
    if wrongs.is_empty() {
        return Ok((Weights { layout, params, buffers }, accounting));
    }
    let failure = Failure::new(format!(
        "the file does not hold {sizes} ({}), {}:\n  {}",
        accounting.summary(),
        count(wrongs.len(), "difference"),
        wrongs.join("\n  ")
    ));
    Err(match guess {
        Some(guess) => failure.help(format!("the file looks like {guess}")),
        None => failure,
    })
}

/// Brings every tensor under timm's names, keeping account.
fn sort_out(tensors: Vec<Stored>, accounting: &mut Accounting) -> BTreeMap<String, Stored> {
    let has_teacher = tensors.iter().any(|t| t.name.starts_with("teacher."));
    let mut found: BTreeMap<String, Stored> = BTreeMap::new();
    let mut keep = |to: String, tensor: Stored, accounting: &mut Accounting| {
        if let Some(first) = found.get(&to) {
            accounting.unexpected.push(format!("`{}` is `{to}`, and so is `{}`", tensor.name, first.name));
        } else {
            found.insert(to, tensor);
        }
    };
    for tensor in tensors {
        let to = timm_name(&tensor.name);
        let is_head = to.starts_with("head.") || to.starts_with("projection_head.");
        if is_step_counter(&to) || is_head || (has_teacher && tensor.name.starts_with("student.")) {
            accounting.dropped.push(tensor.name);
            continue;
        }
        let class_attention = to.strip_prefix("cls_attn_blocks.").and_then(|rest| rest.split_once(".attn.qkv."));
        let Some((block, part)) = class_attention else {
            match to == tensor.name {
                true => accounting.matched.push(to.clone()),
                false => accounting.renamed.push(format!("{} -> {to}", tensor.name)),
            }
            keep(to, tensor, accounting);
            continue;
        };
        accounting.split.push(format!("{} -> q, k, v", tensor.name));
        match in_three(&tensor) {
            Some(thirds) => {
                for (third, name) in thirds.into_iter().zip(["q", "k", "v"]) {
                    keep(format!("cls_attn_blocks.{block}.attn.{name}.{part}"), third, accounting);
                }
            }
            None => accounting.wrong_shape.push(format!("`{}` is {:?}, which does not divide into three", tensor.name, tensor.shape)),
        }
    }
    found
}

/// Strips wrappings and takes timm's spelling.
fn timm_name(name: &str) -> String {
    let mut inner = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| inner.strip_prefix(prefix)) {
        inner = rest;
    }
    match inner.strip_prefix("pos_embeder.") {
        Some(rest) => format!("pos_embed.{rest}"),
        None => inner.to_string(),
    }
}

/// Cuts a tensor into three along its first axis.
fn in_three(tensor: &Stored) -> Option<[Stored; 3]> {
    let rows = *tensor.shape.first()?;
    if rows == 0 || !rows.is_multiple_of(3) {
        return None;
    }
    Some(std::array::from_fn(|i| {
        let mut shape = tensor.shape.clone();
        shape[0] = rows / 3;
        let third = |values: &Vec<f32>| {
            let len = values.len() / 3;
            values[i * len..(i + 1) * len].to_vec()
        };
        Stored { name: tensor.name.clone(), shape, values: tensor.values.as_ref().map(third).map_err(Clone::clone) }
    }))
}

/// Takes the values of one tensor of the network, or notes what is wrong.
fn take(entry: &Entry, found: &mut BTreeMap<String, Stored>, accounting: &mut Accounting) -> Vec<f32> {
    let Entry { name, shape, .. } = entry;
    match found.remove(name) {
        None => accounting.missing.push(format!("`{name}` {shape:?}")),
        Some(t) if t.shape != *shape => accounting.wrong_shape.push(format!("`{name}` is {:?}, expected {shape:?}", t.shape)),
        Some(t) => match t.values {
            Ok(values) => return values,
            Err(why) => accounting.unusable.push(format!("`{}` {why}", t.name)),
        },
    }
    Vec::new()
}

/// Says what XCiT the file seems to hold, where it holds one.
fn guess(tensors: &[Stored]) -> Option<String> {
    let named: Vec<(String, &[usize])> = tensors.iter().map(|t| (timm_name(&t.name), t.shape.as_slice())).collect();
    let first = |name: &str| named.iter().find(|(n, _)| n == name).and_then(|(_, shape)| shape.first().copied());
    let blocks = (0..).take_while(|i| first(&format!("blocks.{i}.attn.temperature")).is_some()).count();
    let stem = (0..).take_while(|i| first(&format!("patch_embed.proj.{}.0.weight", 2 * i)).is_some()).count();
    let (dim, heads) = (first("norm.weight")?, first("blocks.0.attn.temperature")?);
    Some(format!("an XCiT of dim {dim}, depth {blocks}, heads {heads}, patch {}", 1_usize.checked_shl(stem as u32)?))
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
        let (seen, accounting) = import(&file(&raw), &sizes(2)).unwrap();
        assert_eq!(seen, weights);
        assert_eq!(accounting.dropped, ["blocks.0.local_mp.bn.num_batches_tracked", "head.weight"]);
        assert_eq!(accounting.summary(), format!("{n} tensors matched, 2 dropped"));
        assert!(accounting.is_complete());
    }

    #[test]
    fn facebook_s_names_are_renamed_and_split() {
        let (weights, raw) = timm();
        let (seen, accounting) = import(&file(&facebook(raw)), &sizes(2)).unwrap();
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
        let (seen, accounting) = import(&file(&both), &sizes(2)).unwrap();
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
            let (seen, _) = import(&file(&raw.iter().map(convert).collect::<Vec<_>>()), &sizes(2)).unwrap();
            let near = seen.params.iter().zip(&weights.params).all(|(a, b)| (a - b).abs() <= off * b.abs() + off * 1e-4);
            assert!(near, "{dtype:?}");
        }
    }

    #[test]
    fn another_size_is_refused_with_the_full_list_and_a_guess() {
        let (_, raw) = timm();
        let failure = import(&file(&raw), &sizes(3)).unwrap_err();
        let lacking = sizes(3).layout().params().iter().filter(|e| e.name.starts_with("blocks.2.")).count() + 2;
        assert_eq!(failure.message().matches("missing: ").count(), lacking, "{failure}");
        assert_eq!(failure.way_out(), Some("the file looks like an XCiT of dim 16, depth 2, heads 2, patch 4"));
        let failure = import(&file(&raw), &sizes(1)).unwrap_err();
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
        let failure = import(&file(&raw), &sizes(2)).unwrap_err();
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
