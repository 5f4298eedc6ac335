//! ONNX models: the initialisers, which are the weights, and as much of the graph as gives them their names.
//!
//! Messages after `onnx.proto` (<https://github.com/onnx/onnx>), with the fields that are wanted here and no others.

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;

use super::onnx_names;
use super::read::Contents;
use super::stored::{Real, Stored};
use crate::diagnostic::{Context, Failure};

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

/// What is computed, in order, and from what.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Initializer>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "4")]
    pub operation: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    number: i64,
}

impl Node {
    /// Returns whether an attribute of this name is a number other than 0.
    pub fn says(&self, name: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute.name == name && attribute.number != 0)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Initializer {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    floats: Vec<f32>,
    /// Numbers of 16 bits, each in 32.
    #[prost(int32, repeated, tag = "5")]
    halves: Vec<i32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "bytes", tag = "9")]
    raw: Bytes,
    #[prost(double, repeated, tag = "10")]
    doubles: Vec<f64>,
    #[prost(message, repeated, tag = "13")]
    elsewhere: Vec<Place>,
    /// 1 where the values lie in another file.
    #[prost(int32, tag = "14")]
    location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Reads every initialiser, under the name that it had before the export where the graph gives it away.
///
/// # Errors
/// When the bytes are no ONNX model, or an initialiser's values lie in another file or are not as many as it says.
pub fn read(bytes: &Bytes) -> Result<Contents, Failure> {
    let graph = Model::decode(bytes.clone()).doing(|| "reading an ONNX file")?.graph;
    let graph = graph.ok_or_else(|| Failure::new("reading an ONNX file: there is no graph"))?;
    let mut contents = Contents::new("ONNX");
    let mut found = BTreeMap::new();
    for initializer in &graph.initializers {
        match initializer.tensor()? {
            Some(tensor) if found.contains_key(&tensor.name) => {
                return Err(Failure::new(format!("the ONNX file has two initialisers `{}`", tensor.name)));
            }
            Some(tensor) => drop(found.insert(tensor.name.clone(), tensor)),
            None => contents.unread.push(format!("`{}`: numbers of the graph that are not real ones", initializer.name)),
        }
    }
    for tensor in onnx_names::restore(&graph.nodes, found).into_values() {
        match tensor.shape.iter().product::<usize>() == 1 && onnx_names::is_nameless(&tensor.name) {
            true => contents.unread.push(format!("`{}`: a number of the graph", tensor.name)),
            false => contents.tensors.push(tensor),
        }
    }
    Ok(contents)
}

impl Initializer {
    /// Returns real numbers; others steer the graph and are no weights.
    fn tensor(&self) -> Result<Option<Stored>, Failure> {
        // TensorProto.DataType
        let real = match self.data_type {
            1 => Real::F32,
            10 => Real::F16,
            11 => Real::F64,
            16 => Real::Bf16,
            _ => return Ok(None),
        };
        if self.location != 0 || !self.elsewhere.is_empty() {
            let file = self.elsewhere.iter().find(|place| place.key == "location").map_or("another file", |place| &place.value);
            let said = format!("the values of `{}` lie in `{file}`, not in the ONNX file", self.name);
            return Err(Failure::new(said).help("in Python, beside that file: `onnx.save(onnx.load(FILE), NEW)` makes one of them"));
        }
        let shape: Option<Vec<usize>> = self.dims.iter().map(|side| usize::try_from(*side).ok()).collect();
        let shape = shape.ok_or_else(|| Failure::new(format!("`{}` has a size that is none: {:?}", self.name, self.dims)))?;
        let bytes = match real {
            _ if !self.raw.is_empty() => self.raw.clone(),
            Real::F32 => self.floats.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Real::F64 => self.doubles.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Real::F16 | Real::Bf16 => self.halves.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect(),
        };
        Stored::dense(self.name.clone(), shape, real, bytes).map(Some).map_err(Failure::new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::Origin;
    use super::*;

    fn initializer(name: &str, dims: &[i64], values: &[f32]) -> Initializer {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Initializer { name: name.into(), dims: dims.to_vec(), data_type: 1, raw: raw.into(), ..Initializer::default() }
    }

    fn node(operation: &str, inputs: &[&str], output: &str) -> Node {
        let inputs = inputs.iter().map(|name| name.to_string()).collect();
        Node { operation: operation.into(), inputs, outputs: vec![output.into()], attributes: Vec::new() }
    }

    fn file(nodes: Vec<Node>, initializers: Vec<Initializer>) -> Bytes {
        // The version comes first, as exporters write it.
        let model = Model { graph: Some(Graph { nodes, initializers }) };
        [vec![0x08, 7], model.encode_to_vec()].concat().into()
    }

    fn tensors(nodes: Vec<Node>, initializers: Vec<Initializer>) -> BTreeMap<String, Stored> {
        read(&file(nodes, initializers)).unwrap().tensors.into_iter().map(|t| (t.name.clone(), t)).collect()
    }

    #[test]
    fn values_are_read_however_they_are_written() {
        let typed = |data_type, more: Initializer| Initializer { name: "x".into(), dims: vec![2], data_type, ..more };
        for (initializer, values) in [
            (typed(1, Initializer { floats: vec![1.5, -2.0], ..Initializer::default() }), [1.5, -2.0]),
            (typed(11, Initializer { doubles: vec![1.5, -2.0], ..Initializer::default() }), [1.5, -2.0]),
            (typed(10, Initializer { halves: vec![0x3e00, 0xc000], ..Initializer::default() }), [1.5, -2.0]),
            (typed(16, Initializer { halves: vec![0x3fc0, 0xc000], ..Initializer::default() }), [1.5, -2.0]),
            (typed(10, Initializer { raw: vec![0, 0x3e, 0, 0xc0].into(), ..Initializer::default() }), [1.5, -2.0]),
        ] {
            assert_eq!(tensors(vec![], vec![initializer])["x"].values().unwrap(), values);
        }
    }

    #[test]
    fn a_linear_weight_is_found_through_its_bias_and_turned_back() {
        let nodes = vec![
            node("MatMul", &["tokens", "onnx::MatMul_12"], "product"),
            node("Add", &["net.fc.bias", "product"], "sum"),
            Node {
                attributes: vec![Attribute { name: "transB".into(), number: 1 }],
                ..node("Gemm", &["sum", "7", "net.head.bias"], "out")
            },
            node("Gemm", &["sum", "8", "net.other.bias"], "others"),
        ];
        let matrix = |name: &str| initializer(name, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let found = tensors(
            nodes,
            vec![
                matrix("onnx::MatMul_12"),
                matrix("7"),
                matrix("8"),
                initializer("net.fc.bias", &[3], &[0.0; 3]),
                initializer("net.head.bias", &[2], &[0.0; 2]),
                initializer("net.other.bias", &[3], &[0.0; 3]),
            ],
        );
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["net.fc.bias", "net.fc.weight", "net.head.bias", "net.head.weight", "net.other.bias", "net.other.weight"]);
        let fc = &found["net.fc.weight"];
        assert_eq!((fc.shape.as_slice(), fc.origin.clone()), (&[3, 2][..], Origin::Transposed("onnx::MatMul_12".into())));
        assert_eq!(fc.values().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(
            (found["net.head.weight"].shape.as_slice(), found["net.head.weight"].origin.clone()),
            (&[2, 3][..], Origin::Renamed("7".into()))
        );
        assert_eq!(found["net.other.weight"].shape, [3, 2]);
    }

    #[test]
    fn positions_that_were_cut_in_two_are_one_again() {
        let nodes = vec![
            node("Expand", &["net.embeddings.cls_token", "sizes"], "class"),
            node("Concat", &["class", "patches"], "tokens"),
            node("Reshape", &["onnx::Reshape_9", "grid"], "map"),
            node("Resize", &["map", "", "", "size"], "resized"),
            node("Concat", &["onnx::Concat_8", "resized"], "places"),
            node("Add", &["tokens", "places"], "out"),
        ];
        let found = tensors(
            nodes,
            vec![
                initializer("net.embeddings.cls_token", &[1, 1, 2], &[0.0; 2]),
                initializer("onnx::Concat_8", &[1, 1, 2], &[1.0, 2.0]),
                initializer("onnx::Reshape_9", &[1, 2, 2], &[3.0, 4.0, 5.0, 6.0]),
            ],
        );
        let places = &found["net.embeddings.position_embeddings"];
        assert_eq!((places.shape.as_slice(), places.values().unwrap()), (&[1, 3, 2][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(places.origin, Origin::Joined(vec!["onnx::Concat_8".into(), "onnx::Reshape_9".into()]));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_class_token_laid_out_for_some_images_is_one_again() {
        let nodes = vec![
            node("Conv", &["x", "net.patch_embed.proj.weight"], "map"),
            node("Reshape", &["map", "sizes"], "rows"),
            node("Transpose", &["rows"], "patches"),
            node("Concat", &["expand", "patches"], "tokens"),
        ];
        let weight = initializer("net.patch_embed.proj.weight", &[2, 3, 1, 1], &[0.0; 6]);
        let found = tensors(nodes, vec![weight, initializer("expand", &[2, 1, 2], &[1.0, 2.0, 1.0, 2.0])]);
        let class = &found["net.cls_token"];
        assert_eq!((class.shape.as_slice(), class.values().unwrap()), (&[1, 1, 2][..], vec![1.0, 2.0]));
        assert_eq!((class.origin.clone(), found.len()), (Origin::Renamed("expand".into()), 2));
    }

    #[test]
    fn one_initialiser_under_two_names_is_both() {
        let nodes = vec![node("Identity", &["a.norm1.weight"], "a.norm2.weight")];
        let found = tensors(nodes, vec![initializer("a.norm1.weight", &[1], &[1.0])]);
        assert_eq!(found["a.norm2.weight"].values().unwrap(), found["a.norm1.weight"].values().unwrap());
    }

    #[test]
    fn values_in_another_file_and_sizes_that_lie_are_refused() {
        let whole = initializer("w", &[2], &[1.0, 2.0]);
        let place = Place { key: "location".into(), value: "net.onnx.data".into() };
        for (initializer, wrong) in [
            (
                Initializer { location: 1, elsewhere: vec![place], ..whole.clone() },
                "the values of `w` lie in `net.onnx.data`, not in the ONNX file",
            ),
            (Initializer { dims: vec![3], ..whole.clone() }, "`w` [3] cannot be the 8 bytes that the file has for it"),
            (Initializer { dims: vec![-1], ..whole.clone() }, "`w` has a size that is none: [-1]"),
            (
                Initializer { dims: vec![i64::MAX, i64::MAX], ..whole.clone() },
                "`w` [9223372036854775807, 9223372036854775807] cannot be the 8 bytes that the file has for it",
            ),
        ] {
            assert_eq!(read(&file(vec![], vec![initializer])).unwrap_err().message(), wrong);
        }
        assert!(read(&file(vec![], vec![whole.clone(), whole])).unwrap_err().message().contains("two initialisers `w`"));
    }
}
