//! Files of tensors as other programs write them, told apart by what they hold, not by what they are called.
//!
//! All readers take bytes and give names, shapes and windows on the values; nothing is decoded before somebody wants it, nothing a file
//! says of sizes is believed before it was held against the file, and nothing a file asks for is ever run.

mod machine; // the stack machine of a pickle
mod onnx; // protobuf messages of ONNX: initialisers and the nodes around them
mod onnx_names; // names that an export took away
mod pickle; // Python's pickles as data
mod read; // which format it is
mod stored; // a tensor: a window on bytes
mod torch; // the zip archive that torch.save writes

pub use read::contents;
pub use stored::{Origin, Stored, safetensors};
