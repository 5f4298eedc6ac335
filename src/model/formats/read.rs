//! Which format a file has, by what it holds.

use prost::bytes::Bytes;

use super::stored::{self, Stored};
use super::{onnx, torch};
use crate::diagnostic::Failure;

/// What a file of tensors holds.
#[derive(Debug)]
pub struct Contents {
    /// The format, for people.
    pub format: &'static str,
    pub tensors: Vec<Stored>,
    /// What else is in the file and was passed over: where, and what.
    pub unread: Vec<String>,
}

impl Contents {
    pub(super) fn new(format: &'static str) -> Self {
        Self { format, tensors: Vec::new(), unread: Vec::new() }
    }
}

/// How files begin that hold tensors in a way that is not read, or none, and what to do.
const OTHERS: [(&[u8], &str, &str); 9] = [
    (
        b"\x80",
        "a pickle, or PyTorch's format from before 1.6",
        "in Python: `torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW)`",
    ),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"\x89HDF\r\n", "an HDF5 file", "save the weights as safetensors"),
    (b"GGUF", "a GGUF file", "save the weights as safetensors"),
    (b"\x93NUMPY", "one NumPy array", "save the weights as safetensors"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "`git lfs pull` brings the file"),
    (b"<!DOCTYPE", "a web page", "the download went wrong: look at the address"),
    (b"<!doctype", "a web page", "the download went wrong: look at the address"),
    (b"<html", "a web page", "the download went wrong: look at the address"),
];

/// Reads safetensors, what `torch.save` writes, or ONNX.
///
/// # Errors
/// When the file is none of these, or damaged.
pub fn contents(bytes: &Bytes) -> Result<Contents, Failure> {
    let mut contents = match &bytes[..] {
        // A safetensors file begins with the length of its header, which is JSON.
        [_, _, _, _, _, _, _, _, b'{', ..] => Contents { tensors: stored::safetensors(bytes, "")?.0, ..Contents::new("safetensors") },
        [b'P', b'K', 3, 4, ..] => torch::read(bytes)?,
        // The first field of an ONNX model is its version, a small number.
        [0x08, 1..=99, ..] => onnx::read(bytes)?,
        other => return Err(no_tensors(other)),
    };
    if contents.tensors.is_empty() {
        let unread = contents.unread.iter().map(|what| format!("\n  {what}")).collect::<String>();
        return Err(Failure::new(format!("the {} file holds no tensors{unread}", contents.format))
            .help("the state dict of a network is wanted, `torch.save(model.state_dict(), FILE)`, not the network itself"));
    }
    contents.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(contents)
}

fn no_tensors(bytes: &[u8]) -> Failure {
    match OTHERS.iter().find(|(start, ..)| bytes.starts_with(start)) {
        Some((_, what, help)) => Failure::new(format!("the file is {what}")).help(*help),
        None if bytes.is_empty() => Failure::new("the file is empty"),
        None => Failure::new("the file is neither safetensors nor ONNX, nor did `torch.save` write it"),
    }
}
