//! What a stage promises and what it may ask: the only thing both wings know.
//!
//! A stage is a value: its parameters, already checked. It names its ports and files before anything runs, so that the flow
//! wing can type-check a graph, compute keys and explain them without knowing what a stage does.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{Device, Io};
use crate::diagnostic::Failure;
use crate::params::{DataPath, Ref};

/// What an output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub &'static str);

impl Kind {
    /// An input of this kind takes whatever the named output holds.
    pub const ANY: Self = Self("anything");

    /// Returns whether an output of kind `output` may be read at a port of this kind.
    pub fn takes(self, output: Self) -> bool {
        self == output || self == Self::ANY
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A port that takes another node's output.
#[derive(Clone, Debug)]
pub struct Input {
    /// The parameter that names it; for the third of a list, `sweeps.2`.
    pub role: String,
    /// What the user wrote there.
    pub reference: Ref,
    pub kind: Kind,
    pub presence: Presence,
}

/// Whether a port must be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    /// May be left open; what is written there must fit.
    Optional,
    /// Taken along where the named node happens to provide such an output.
    Beside,
}

impl Input {
    /// A port that must be connected.
    pub fn required(role: impl Into<String>, reference: &Ref, kind: Kind) -> Self {
        Self { role: role.into(), reference: reference.clone(), kind, presence: Presence::Required }
    }

    /// A port that may be left open.
    pub fn optional(role: impl Into<String>, reference: &Ref, kind: Kind) -> Self {
        Self { presence: Presence::Optional, ..Self::required(role, reference, kind) }
    }

    /// A port that takes a second output of a node which another port names, where there is one.
    pub fn beside(role: impl Into<String>, reference: &Ref, kind: Kind) -> Self {
        let node = reference.as_str().split('.').next().unwrap_or_default();
        Self { presence: Presence::Beside, ..Self::required(role, &Ref::from(node), kind) }
    }

    /// A port for each of a list.
    pub fn each<'a>(role: &'a str, references: &'a [Ref], kind: Kind) -> impl Iterator<Item = Self> + 'a {
        references.iter().enumerate().map(move |(i, reference)| Self::required(format!("{role}.{i}"), reference, kind))
    }
}

/// A port that others may take from.
#[derive(Clone, Debug)]
pub struct Output {
    pub name: Cow<'static, str>,
    pub kind: Kind,
    /// A folder of files rather than one file.
    pub folder: bool,
}

impl Output {
    /// One file.
    pub fn file(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind, folder: false }
    }

    /// A folder of files.
    pub fn folder(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind, folder: true }
    }
}

/// A file or folder outside the store that a stage reads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The parameter that names it.
    pub role: String,
    pub path: DataPath,
    /// What lies there and where to get it: shown when it is missing.
    pub about: String,
}

/// How many cores a node keeps busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    Some(usize),
    /// Every core by itself: two such nodes side by side would only slow each other.
    All,
}

/// What a node occupies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    pub cores: Cores,
    pub gpus: usize,
}

impl Default for Needs {
    fn default() -> Self {
        Self { cores: Cores::Some(1), gpus: 0 }
    }
}

impl Needs {
    /// What computing with networks or matrices occupies: a GPU where it is done there, else every core.
    pub fn whole(device: &Device) -> Self {
        match device {
            Device::Cpu => Self { cores: Cores::All, gpus: 0 },
            Device::Cuda(_) | Device::Metal => Self { cores: Cores::Some(1), gpus: 1 },
        }
    }
}

/// A parameter whose value cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Complaint {
    /// The field, with dots into nested ones.
    pub field: String,
    /// "must be ..., got ..."
    pub message: String,
}

/// One node's work.
pub trait Stage: Send + Sync + fmt::Debug {
    /// The node kind as written in pipelines: `Dino`.
    fn kind(&self) -> &'static str;

    /// Raised whenever the same inputs would now give other bytes.
    fn version(&self) -> u32;

    /// The parameters that decide the output, without those at their defaults, without names and paths.
    fn params(&self) -> Value;

    /// The parameters whose values cannot be used.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }

    /// The environment variables whose values decide the output.
    fn environment(&self) -> Vec<String> {
        Vec::new()
    }

    /// The program and arguments that print the version of what it runs, where that decides the output.
    fn version_probe(&self) -> Option<Vec<String>> {
        None
    }

    /// The ports it reads.
    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }

    /// The files and folders it reads.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    /// The ports it fills. Where one output alone has the kind that is expected, the node's bare name means it.
    fn outputs(&self) -> Vec<Output>;

    /// Whether it draws random numbers, so that the pipeline's seed belongs to its key.
    fn seeded(&self) -> bool {
        false
    }

    /// What its run occupies on `device`: nodes for which there is no room wait.
    fn needs(&self, device: &Device) -> Needs {
        let _ = device;
        Needs::default()
    }

    /// Whether its run may ask for its ancestors or for bytes by their digest.
    fn looks_upstream(&self) -> bool {
        true
    }

    /// How far a headline figure may lie from that of another type of CPU, as a share of the larger of the figure and 1; none where it is
    /// the same on all.
    fn tolerance(&self, metric: &str) -> Option<f64> {
        let _ = metric;
        None
    }

    /// Whether a run leaves something to look at: such an output is also laid out as plain files beside the store.
    fn shown(&self) -> bool {
        false
    }

    /// Does the work: reads inputs through `io`, fills every output.
    fn run(&self, io: &Io) -> Result<(), Failure>;
}
