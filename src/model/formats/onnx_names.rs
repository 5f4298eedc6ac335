//! Names that an export to ONNX took away: found again through what a tensor is used for.
//!
//! PyTorch's exporter computes what it can beforehand. A linear layer's weight is then transposed and called `onnx::MatMul_123`, while
//! its bias keeps its name; learnt positions that are cut into those of the class and of the patches are two nameless tensors; and the
//! class token, laid out for a fixed number of images, is one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::onnx::Node;
use super::stored::{Origin, Stored};

type Found = BTreeMap<String, Stored>;

/// Operations that hand on their first input in another form.
const HANDING_ON: [&str; 9] = ["Cast", "Expand", "Identity", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze"];
/// What the convolution that makes tokens of patches is called, in timm and at Hugging Face.
const PATCHES: [&str; 2] = ["patch_embed.proj.weight", "patch_embeddings.projection.weight"];
/// How many of them may lie between a tensor and its use.
const FARTHEST: usize = 16;

/// Gives back their names to initialisers.
pub fn restore(nodes: &[Node], mut found: Found) -> Found {
    // Equal initialisers are written once; an identity gives the others their names.
    for node in nodes {
        if let ("Identity", [input], [output]) = (node.operation.as_str(), &node.inputs[..], &node.outputs[..])
            && let Some(tensor) = found.get(input).cloned()
        {
            found.insert(output.clone(), tensor.named(output.clone(), Origin::Renamed(input.clone())));
        }
    }
    let makers: HashMap<&str, &Node> = nodes.iter().flat_map(|node| node.outputs.iter().map(move |name| (name.as_str(), node))).collect();
    let uses = Uses { makers, found: &found };
    let (mut taken, mut named) = (BTreeSet::new(), Vec::new());
    for node in nodes {
        if let Some((from, tensor)) = uses.weight(node).or_else(|| uses.positions(node)).or_else(|| uses.class(node)) {
            taken.extend(from);
            named.push(tensor);
        }
    }
    for name in taken {
        found.remove(&name);
    }
    for tensor in named {
        found.entry(tensor.name.clone()).or_insert(tensor);
    }
    found
}

struct Uses<'a> {
    makers: HashMap<&'a str, &'a Node>,
    found: &'a Found,
}

impl Uses<'_> {
    /// Understands the sum of a bias that has a name and a product: the matrix is the transposed weight. In `Gemm` both are one node.
    fn weight(&self, node: &Node) -> Option<(Vec<String>, Stored)> {
        let (matrix, bias, transposed) = match (node.operation.as_str(), &node.inputs[..]) {
            ("Gemm", [_, matrix, bias]) => (matrix, bias, !node.says("transB")),
            ("Add", [a, b]) => {
                let (bias, product) = if self.stem(a).is_some() { (a, b) } else { (b, a) };
                let product = self.makers.get(product.as_str()).filter(|maker| maker.operation == "MatMul")?;
                (product.inputs.get(1)?, bias, true)
            }
            _ => return None,
        };
        let (stem, tensor) = (self.stem(bias)?, self.found.get(matrix)?);
        let name = format!("{stem}.weight");
        let fits = tensor.shape.len() == 2 && (name == *matrix || !self.found.contains_key(&name));
        let weight = match (fits, transposed) {
            (false, _) => None,
            (true, true) => tensor.transposed().map(|tensor| tensor.named(name, Origin::Transposed(matrix.clone()))),
            (true, false) if name == *matrix => None,
            (true, false) => Some(tensor.clone().named(name, Origin::Renamed(matrix.clone()))),
        };
        Some((vec![matrix.clone()], weight?))
    }

    /// Returns the layer of which this is the bias.
    fn stem<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_suffix(".bias").filter(|_| self.found.contains_key(name))
    }

    /// Understands what is added to the class token and the patches: the positions, in one nameless tensor or in two.
    fn positions(&self, node: &Node) -> Option<(Vec<String>, Stored)> {
        let ("Add", [a, b]) = (node.operation.as_str(), &node.inputs[..]) else { return None };
        let (places, class) = match (self.class_token(a), self.class_token(b)) {
            (Some(class), None) => (b, class),
            (None, Some(class)) => (a, class),
            _ => return None,
        };
        let stem = class.strip_suffix("cls_token")?;
        let name = format!("{stem}{}", if stem.ends_with("embeddings.") { "position_embeddings" } else { "pos_embed" });
        let from: Vec<String> = match self.concatenated(places) {
            Some(parts) => parts.iter().map(|part| self.origin(part).map(str::to_string)).collect::<Option<_>>()?,
            None => vec![self.origin(places)?.to_string()],
        };
        let mut tensors: Vec<Stored> = from.iter().map(|name| self.found.get(name).cloned()).collect::<Option<_>>()?;
        if self.found.contains_key(&name) || from.iter().any(|name| !is_nameless(name)) || tensors.iter().any(|t| t.shape.len() != 3) {
            return None;
        }
        let positions = match (tensors.pop()?, tensors.is_empty()) {
            (one, true) => one.named(name, Origin::Renamed(from[0].clone())),
            (last, false) => Stored::joined(name, tensors.into_iter().chain([last]).collect(), 1)?,
        };
        Some((from, positions))
    }

    /// Returns the class token's name where this puts it before other tokens.
    fn class_token(&self, name: &str) -> Option<&str> {
        self.concatenated(name)?.iter().find_map(|part| self.origin(part).filter(|origin| origin.ends_with("cls_token")))
    }

    /// Understands what is put before the patches, which a convolution of a known name makes: the class token, as often as there are images.
    fn class(&self, node: &Node) -> Option<(Vec<String>, Stored)> {
        let ("Concat", [class, patches]) = (node.operation.as_str(), &node.inputs[..]) else { return None };
        let (from, convolution) = (self.origin(class)?, self.maker(patches, "Conv")?);
        let tensor = self.found.get(from).filter(|tensor| tensor.shape.len() == 3 && tensor.shape[1] == 1)?;
        let stem = PATCHES.iter().find_map(|name| convolution.inputs.get(1)?.strip_suffix(name))?;
        let name = format!("{stem}cls_token");
        if from.ends_with("cls_token") || self.found.contains_key(&name) {
            return None;
        }
        Some((vec![from.to_string()], tensor.part(0, 0, 1)?.named(name, Origin::Renamed(from.to_string()))))
    }

    /// Returns the operation of this sort that made something which was then only put in another form.
    fn maker<'s>(&'s self, mut name: &'s str, operation: &str) -> Option<&'s Node> {
        for _ in 0..FARTHEST {
            let maker = self.makers.get(name)?;
            if maker.operation == operation {
                return Some(maker);
            }
            name = maker.inputs.first().filter(|_| HANDING_ON.contains(&maker.operation.as_str()))?;
        }
        None
    }

    fn concatenated(&self, name: &str) -> Option<&[String]> {
        self.makers.get(name).filter(|maker| maker.operation == "Concat").map(|maker| maker.inputs.as_slice())
    }

    /// Returns the initialiser that this is, in whatever form.
    fn origin<'s>(&'s self, mut name: &'s str) -> Option<&'s str> {
        for _ in 0..FARTHEST {
            if self.found.contains_key(name) {
                return Some(name);
            }
            let maker = self.makers.get(name).filter(|maker| HANDING_ON.contains(&maker.operation.as_str()))?;
            name = maker.inputs.first()?;
        }
        None
    }
}

/// Whether an exporter made this name up: `onnx::Concat_1957`, `1957`, `val_12`, `/embeddings/Slice_output_0`.
pub fn is_nameless(name: &str) -> bool {
    name.contains("::") || name.starts_with('/') || name.trim_start_matches("val_").bytes().all(|byte| byte.is_ascii_digit())
}
