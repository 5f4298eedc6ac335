//! Checkpoints of PyTorch: the zip archive that `torch.save` writes since 1.6 (`torch/serialization.py`).
//!
//! `NAME/data.pkl` is a pickle of dictionaries, in which a tensor is a call of `torch._utils._rebuild_tensor_v2(storage, offset, size,
//! stride, ..)`, and `NAME/data/KEY` are the storages' bytes. Those calls are understood; every other one is passed over and listed, and
//! none is made.

use std::collections::HashMap;
use std::io::{Cursor, copy, sink};

use prost::bytes::Bytes;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, Value};
use super::read::Contents;
use super::stored::{Real, Stored};
use crate::diagnostic::{Context, Failure};

/// How far a table of tensors may go: a file can say a great deal in a few bytes.
const DEEPEST: usize = 24;
const LONGEST_NAME: usize = 1024;
const MOST_VALUES: usize = 1 << 20;

/// Reads every tensor, named by its keys: `teacher.backbone.norm.weight`.
///
/// # Errors
/// When the archive is damaged, is none of PyTorch's, or says of a tensor what cannot be.
pub fn read(bytes: &Bytes) -> Result<Contents, Failure> {
    let mut archive = Archive::open(bytes)?;
    let pickle =
        archive.member("data.pkl")?.ok_or_else(|| Failure::new("the zip file holds no `data.pkl`: `torch.save` did not write it"))?;
    if archive.member("constants.pkl")?.is_some() {
        return Err(Failure::new("the file is a TorchScript program")
            .help("in Python: `torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), NEW)`"));
    }
    if archive.member("byteorder")?.is_some_and(|order| &order[..] != b"little") {
        return Err(Failure::new("the file holds numbers in another byte order").help("load and save it on a common machine"));
    }
    let pickle = Pickle::read(&pickle).map_err(Failure::new)?;
    let mut walk = Walk { archive, pickle: &pickle, storages: HashMap::new(), contents: Contents::new("PyTorch"), seen: 0 };
    walk.visit("", pickle.root(), 0)?;
    Ok(walk.contents)
}

/// The members of a zip file, as windows on its bytes.
struct Archive<'a> {
    bytes: &'a Bytes,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The folder in which everything lies: the name under which the file was saved.
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a Bytes) -> Result<Self, Failure> {
        let zip = ZipArchive::new(Cursor::new(&bytes[..])).doing(|| "reading the zip archive of a PyTorch file")?;
        let names: Vec<String> = zip.file_names().filter_map(|name| name.ok().map(|name| name.into_owned())).collect();
        let folder = names.iter().find_map(|name| name.strip_suffix("data.pkl")).unwrap_or_default().to_string();
        Ok(Self { bytes, zip, folder })
    }

    /// Returns the bytes of a member, held against their checksum.
    fn member(&mut self, name: &str) -> Result<Option<Bytes>, Failure> {
        let name = format!("{}{name}", self.folder);
        let Some(index) = self.zip.index_for_name(&name) else { return Ok(None) };
        let mut member = self.zip.by_index(index).doing(|| format!("reading `{name}` of the file"))?;
        // `torch.save` stores, so a member is never longer than the file that holds it.
        if member.compression() != CompressionMethod::Stored {
            return Err(Failure::new(format!("`{name}` is compressed, which `torch.save` never does")).help("load and save the file anew"));
        }
        let size = copy(&mut member, &mut sink()).doing(|| format!("reading `{name}` of the file"))?;
        let start = member.data_start().and_then(|start| usize::try_from(start).ok());
        let window = start.and_then(|start| Some(start..start.checked_add(usize::try_from(size).ok()?)?));
        match window.filter(|window| window.end <= self.bytes.len()) {
            Some(window) => Ok(Some(self.bytes.slice(window))),
            None => Err(Failure::new(format!("`{name}` goes beyond the end of the file"))),
        }
    }
}

/// A storage: the numbers that tensors are windows on.
#[derive(Clone)]
enum Storage {
    Of(Real, Bytes),
    /// Numbers that are not real ones: the name of their type.
    Other(String),
}

struct Walk<'a> {
    archive: Archive<'a>,
    pickle: &'a Pickle,
    storages: HashMap<String, Storage>,
    contents: Contents,
    seen: usize,
}

impl Walk<'_> {
    /// Goes through a value and those in it.
    fn visit(&mut self, name: &str, id: Id, depth: usize) -> Result<(), Failure> {
        self.seen += 1;
        if depth > DEEPEST || self.seen > MOST_VALUES || name.len() > LONGEST_NAME {
            return Err(Failure::new("the file is no table of tensors: it goes on and on"));
        }
        let below = |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
        match self.pickle.get(id) {
            Value::Dict(pairs) => {
                for (key, value) in pairs {
                    match self.pickle.get(*key) {
                        Value::Text(key) => self.visit(&below(key), *value, depth + 1)?,
                        Value::Int(key) => self.visit(&below(&key.to_string()), *value, depth + 1)?,
                        _ => self.contents.unread.push(format!("`{}`: a key that is no name", below("?"))),
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.visit(&below(&i.to_string()), *item, depth + 1)?;
                }
            }
            Value::Call(callable, arguments) => match self.tensor(name, *callable, *arguments, 0)? {
                Some(tensor) => self.contents.tensors.push(tensor),
                None => {
                    let called = self.pickle.global(*callable).unwrap_or("something unnamed");
                    self.contents.unread.push(format!("`{name}`: {called}"));
                }
            },
            Value::Int(_) | Value::Text(_) | Value::Global(_) | Value::Outside(_) | Value::Other => {}
        }
        Ok(())
    }

    /// Understands a call that rebuilds a tensor; `None` for any other.
    fn tensor(&mut self, name: &str, callable: Id, arguments: Id, depth: usize) -> Result<Option<Stored>, Failure> {
        let (Some(called), Some(given)) = (self.pickle.global(callable), self.pickle.items(arguments)) else { return Ok(None) };
        match (called, given) {
            ("torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor", [storage, offset, size, stride, ..]) => {
                self.window(name, [*storage, *offset, *size, *stride], None).map(Some)
            }
            ("torch._utils._rebuild_tensor_v3", [storage, offset, size, stride, _, _, dtype, ..]) => {
                self.window(name, [*storage, *offset, *size, *stride], Some(*dtype)).map(Some)
            }
            // A parameter is its tensor, and a subclass of tensors gives the call that rebuilds it.
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [data, ..]) if depth < 4 => {
                match self.pickle.get(*data) {
                    Value::Call(callable, arguments) => self.tensor(name, *callable, *arguments, depth + 1),
                    _ => Ok(None),
                }
            }
            ("torch._tensor._rebuild_from_type_v2", [callable, _, arguments, ..]) if depth < 4 => {
                self.tensor(name, *callable, *arguments, depth + 1)
            }
            _ => Ok(None),
        }
    }

    /// Returns the window on a storage that a call describes: storage, offset, size, stride.
    fn window(&mut self, name: &str, of: [Id; 4], dtype: Option<Id>) -> Result<Stored, Failure> {
        let [storage, offset, size, stride] = of;
        let counts = |id: Id| -> Option<Vec<usize>> { self.pickle.items(id)?.iter().map(|n| self.pickle.count(*n)).collect() };
        let (Some(offset), Some(shape), Some(strides)) = (self.pickle.count(offset), counts(size), counts(stride)) else {
            return Err(Failure::new(format!("`{name}` has a size that is none")));
        };
        match self.storage(name, storage, dtype)? {
            Storage::Of(real, bytes) => Stored::strided(name.to_string(), shape, real, bytes, offset, strides).map_err(Failure::new),
            Storage::Other(kind) => Ok(Stored::unusable(name.to_string(), shape, format!("holds {kind}, no real numbers"))),
        }
    }

    /// Finds the storage that is named `('storage', type, key, device, numbers)`.
    fn storage(&mut self, name: &str, id: Id, dtype: Option<Id>) -> Result<Storage, Failure> {
        let Some((kind, key, n)) = self.named_storage(id) else {
            return Err(Failure::new(format!("`{name}` is stored nowhere that is understood")));
        };
        // One without a type of its own counts bytes, and who uses it says of which type they are.
        let (kind, untyped) = match (dtype.and_then(|dtype| self.pickle.global(dtype)), kind) {
            (Some(dtype), kind) => (dtype, kind.ends_with("UntypedStorage")),
            (None, kind) => (kind, false),
        };
        let known = format!("{key} {kind}");
        if let Some(storage) = self.storages.get(&known) {
            return Ok(storage.clone());
        }
        let storage = match real(kind) {
            None => Storage::Other(kind.to_string()),
            Some(real) => {
                let member = format!("data/{key}");
                let missing = || Failure::new(format!("`{name}` is stored in `{member}`, which the file does not hold"));
                let bytes = self.archive.member(&member)?.ok_or_else(missing)?;
                let wanted = n.checked_mul(if untyped { 1 } else { real.size() });
                if wanted != Some(bytes.len()) {
                    let said = format!("`{name}` is stored in `{member}`, which is said to hold {n} numbers and has {} bytes", bytes.len());
                    return Err(Failure::new(said));
                }
                Storage::Of(real, bytes)
            }
        };
        self.storages.insert(known, storage.clone());
        Ok(storage)
    }

    fn named_storage(&self, id: Id) -> Option<(&str, &str, usize)> {
        let Value::Outside(named) = self.pickle.get(id) else { return None };
        let [word, kind, key, _, n] = self.pickle.items(*named)? else { return None };
        (self.pickle.text(*word)? == "storage").then_some(())?;
        Some((self.pickle.global(*kind)?, self.pickle.text(*key)?, self.pickle.count(*n)?))
    }
}

/// Returns the numbers of a type of storage, or of a type of tensor.
fn real(kind: &str) -> Option<Real> {
    match kind.strip_prefix("torch.")? {
        "FloatStorage" | "float32" => Some(Real::F32),
        "HalfStorage" | "float16" => Some(Real::F16),
        "BFloat16Storage" | "bfloat16" => Some(Real::Bf16),
        "DoubleStorage" | "float64" => Some(Real::F64),
        _ => None,
    }
}
