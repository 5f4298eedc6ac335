//! Reading and writing the artefacts of the science wing through a stage's ports.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::{Alike, Files, Filter, ImageRow, ImageTable, Labels, Pack, PoolWeights, Prints, SplitLists};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::params::Ref;
use crate::stage::{Complaint, Io, Library};

/// Reads the images at a port.
pub(super) fn images(io: &Io, role: &str) -> Result<ImageTable, Failure> {
    let path = io.input(role)?;
    ImageTable::read(open(path)?).map_err(|f| f.while_doing(format!("input `{role}`")))
}

/// Reads the labels at a port.
pub(super) fn labels(io: &Io, role: &str) -> Result<Labels, Failure> {
    Labels::read(open(io.input(role)?)?).map_err(|f| f.while_doing(format!("input `{role}`")))
}

/// Reads the parts at a port.
pub(super) fn split(io: &Io, role: &str) -> Result<SplitLists, Failure> {
    SplitLists::read(open(io.input(role)?)?).map_err(|f| f.while_doing(format!("input `{role}`")))
}

/// Reads the fingerprints at a port, if it is connected, and finds which of `rows` are alike.
pub(super) fn alike<'a>(
    io: &Io,
    role: &str,
    rows: impl IntoIterator<Item = &'a ImageRow>,
    near: Option<u32>,
) -> Result<Option<Alike>, Failure> {
    let Some(path) = io.optional(role) else { return Ok(None) };
    let prints = Prints::read(open(path)?).map_err(|f| f.while_doing(format!("input `{role}`")))?;
    prints.alike(rows, near).map(Some)
}

/// Says what is wrong with how alike pictures may look.
pub(super) fn check_near(near: Option<u32>, prints: &Ref) -> Option<Complaint> {
    let complaint = |message: String| Some(Complaint { field: "near".into(), message });
    match near? {
        _ if prints.is_empty() => complaint("needs fingerprints: name a node `Fingerprints` with `prints`".into()),
        near if near > 64 => complaint(format!("must be at most 64 of 256 bits, got {near}")),
        _ => None,
    }
}

/// Reads the weights of a pool's images at a port.
pub(super) fn pool_weights(io: &Io, role: &str) -> Result<PoolWeights, Failure> {
    PoolWeights::read(open(io.input(role)?)?).map_err(|f| f.while_doing(format!("input `{role}`")))
}

/// Lets the pack at port `pack` stand for the files of `images`, where one is connected: pictures of this side, resized by this filter.
pub(super) fn packed(io: &Io, images: &ImageTable, side: usize, filter: Filter) -> Result<ImageTable, Failure> {
    match io.optional("pack") {
        Some(_) => json::<Pack>(io, "pack")?.under(images, side, filter),
        None => Ok(images.clone()),
    }
}

/// Reads all bytes at a port.
pub(super) fn bytes(io: &Io, role: &str) -> Result<Vec<u8>, Failure> {
    let path = io.input(role)?;
    std::fs::read(path).doing(|| format!("failed to read input `{role}`"))
}

/// Reads a JSON value at a port.
pub(super) fn json<T: DeserializeOwned>(io: &Io, role: &str) -> Result<T, Failure> {
    serde_json::from_slice(&bytes(io, role)?).doing(|| format!("failed to read input `{role}`"))
}

/// Writes an output by handing its writer to `write`.
pub(super) fn write(io: &Io, port: &str, write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>) -> Result<(), Failure> {
    let what = || format!("failed to write output `{port}`");
    let mut out = BufWriter::new(File::create(io.output(port)).doing(what)?);
    write(&mut out)?;
    out.into_inner().doing(what)?;
    Ok(())
}

/// Writes bytes to an output.
pub(super) fn write_bytes(io: &Io, port: &str, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(io.output(port), bytes).doing(|| format!("failed to write output `{port}`"))
}

/// Writes a value as JSON to an output.
pub(super) fn write_json(io: &Io, port: &str, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(value).doing(|| format!("failed to write output `{port}`"))?;
    write_bytes(io, port, &text)
}

/// Finds image files through the engine's library.
pub(super) struct Shelf<'a>(pub &'a dyn Library);

impl Files for Shelf<'_> {
    fn path(&self, file: &Digest) -> Result<PathBuf, Failure> {
        self.0.find(file)
    }
}

/// Turns the science wing's list of mistakes into complaints, under `prefix` if the fields are nested.
pub(super) fn complaints<F: ToString>(prefix: &str, mistakes: Vec<(F, String)>) -> Vec<Complaint> {
    let field = |name: String| if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
    mistakes.into_iter().map(|(name, message)| Complaint { field: field(name.to_string()), message }).collect()
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).doing(|| format!("failed to read `{}`", path.display()))
}
