//! What a running stage may touch: its inputs, its scratch folder, and the one who watches.
//!
//! Unaware of keys and of how the store lies on disk: the engine fills it in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Keeper, Monitor, Pieces};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// The files below a path outside the store, each with the digest of its content.
#[derive(Clone, Debug)]
pub struct FileSet {
    /// Where they lie now. Never part of a result.
    pub root: PathBuf,
    /// Path relative to `root` with `/` between parts (empty where `root` is itself the file), and content; sorted by path.
    pub files: Vec<(String, Digest)>,
}

impl FileSet {
    /// Returns the content of the file at a path below the root.
    pub fn digest_of(&self, path: &Path) -> Option<Digest> {
        let name = path.strip_prefix(&self.root).ok()?.to_str()?;
        let at = self.files.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(self.files[at].1)
    }
}

/// A node on which the running one stands, for provenance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ancestor {
    pub node: String,
    pub kind: String,
    pub key: Digest,
    /// The key's components.
    pub components: Value,
    /// The node's headline figures.
    pub metrics: BTreeMap<String, f64>,
}

/// On which hardware a stage may compute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    #[default]
    Cpu,
    Cuda(usize),
    Metal,
}

/// Finds bytes by their digest, outside the store or in it.
pub trait Library: Send + Sync {
    /// Returns a file whose content has this digest, or says that none is known.
    fn find(&self, digest: &Digest) -> Result<PathBuf, Failure>;
}

/// Everything a running stage may touch.
pub struct Io {
    pub(crate) inputs: BTreeMap<String, PathBuf>,
    pub(crate) sources: BTreeMap<String, FileSet>,
    pub(crate) scratch: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) seed: u64,
    pub(crate) device: Device,
    pub(crate) gpus: Vec<usize>,
    pub(crate) environment: Arc<BTreeMap<String, String>>,
    pub(crate) ancestors: Vec<Ancestor>,
    pub(crate) library: Arc<dyn Library>,
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) monitor: Arc<dyn Monitor>,
    pub(crate) metrics: Mutex<BTreeMap<String, f64>>,
}

impl Io {
    /// Returns the verified file at an input port; a folder of copies where the output is a folder.
    pub fn input(&self, role: &str) -> Result<&Path, Failure> {
        self.optional(role).ok_or_else(|| Failure::new(format!("input `{role}` is not connected")))
    }

    /// Returns the verified file at an input port, if the port is connected.
    pub fn optional(&self, role: &str) -> Option<&Path> {
        self.inputs.get(role).map(PathBuf::as_path)
    }

    /// Returns the files of a source.
    pub fn source(&self, role: &str) -> Result<&FileSet, Failure> {
        self.sources.get(role).ok_or_else(|| Failure::new(format!("source `{role}` is not given")))
    }

    /// Returns the folder in which outputs are written; whatever else is left there goes.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns where to write an output: a file, or a folder that exists already.
    pub fn output(&self, port: &str) -> PathBuf {
        self.scratch.join(port)
    }

    /// Returns a folder that outlives a killed run of this very key, making it if need be: for checkpoints.
    pub fn state(&self) -> Result<&Path, Failure> {
        std::fs::create_dir_all(&self.state).doing(|| format!("failed to make `{}`", self.state.display()))?;
        Ok(&self.state)
    }

    /// Returns the pieces that earlier runs of this kind of stage have kept under `scope`, and keeps new ones: see [`Pieces`].
    pub fn pieces(&self, scope: &Value) -> Result<Arc<dyn Pieces>, Failure> {
        self.keeper.pieces(scope)
    }

    /// Returns the pipeline's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the device to compute on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the numbers of the GPUs that are this node's alone while it runs: as many as it said it needs.
    pub fn gpus(&self) -> &[usize] {
        &self.gpus
    }

    /// Returns the environment of whoever runs the pipeline. Only variables that the stage names may decide an output.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Returns every node this one stands on, in order.
    pub fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// Returns who finds bytes by their digest.
    pub fn library(&self) -> &dyn Library {
        &*self.library
    }

    /// Returns the one who watches.
    pub fn monitor(&self) -> &dyn Monitor {
        &*self.monitor
    }

    /// Records a headline figure of this node. One that is not finite is none: no text of an entry or a lock could hold it.
    pub fn metric(&self, name: impl Into<String>, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.into(), value);
    }
}
