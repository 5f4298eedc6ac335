//! One node's work, on a thread of its own: lock, run in a scratch folder, store, record.
//!
//! Gets owned values and answers by message; knows nothing of other nodes.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::decide::is_complete;
use super::gpu::GpuLock;
use super::pieces::Cupboard;
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::graph::{Key, NodeId};
use crate::stage::{Ancestor, Device, Io, Library, Monitor, Stage};
use crate::store::{Durability, Entry, Provenance, Seen, Store, Stored};

/// What a worker tells the one who decides.
pub(super) enum Message {
    Progress {
        node: NodeId,
        done: u64,
        total: u64,
        unit: &'static str,
        values: Vec<(&'static str, f64)>,
    },
    Note {
        node: NodeId,
        line: String,
    },
    /// The node's entry, and whether this worker made it (or another run did meanwhile).
    Finished {
        node: NodeId,
        result: Result<(Box<Entry>, bool), Failure>,
        seconds: f64,
    },
}

/// A result that took longer to make is on the disk before its node is done.
const WORTH_WAITING_FOR: Duration = Duration::from_secs(1);

/// Everything one node's work needs.
pub(super) struct Job {
    pub node: NodeId,
    pub stage: Arc<dyn Stage>,
    pub key: Key,
    pub forced: bool,
    pub inputs: BTreeMap<String, Stored>,
    pub sources: BTreeMap<String, Arc<Seen>>,
    pub seed: u64,
    pub device: Device,
    /// How many GPUs it needs, and the numbers of those it may take.
    pub gpus: (usize, Vec<usize>),
    pub environment: Arc<BTreeMap<String, String>>,
    pub ancestors: Vec<Ancestor>,
    pub upstream_sources: Vec<Arc<Seen>>,
    /// What the run is called, and which keys made the inputs: for provenance.
    pub run: String,
    pub producers: BTreeMap<String, Digest>,
    pub store: Arc<Store>,
    pub interrupt: Arc<AtomicBool>,
    pub sender: Sender<Message>,
}

impl Job {
    /// Does the work and answers, whatever happens.
    pub fn work(self) {
        let (node, sender) = (self.node, self.sender.clone());
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.attempt())).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::new(format!("flow has a mistake of its own: {}", said.unwrap_or("a stage panicked")))
                .help("please report it with the pipeline and this message"))
        });
        // Without a listener the run is over and nobody needs the answer.
        let _ = sender.send(Message::Finished { node, result, seconds: start.elapsed().as_secs_f64() });
    }

    fn attempt(self) -> Result<(Box<Entry>, bool), Failure> {
        let monitor: Arc<dyn Monitor> =
            Arc::new(Messenger { node: self.node, sender: Mutex::new(self.sender.clone()), interrupt: self.interrupt.clone() });
        let key = self.key.digest();
        let _lock = self.store.lock(&key, self.ancestors.iter().map(|ancestor| ancestor.key), &*monitor)?;
        // Another run may have done this work while we waited for the lock.
        if !self.forced
            && let Some(entry) = self.store.entry(&key)
            && is_complete(&*self.stage, &entry)
            && self.store.damaged(&entry).is_empty()
        {
            return Ok((Box::new(entry), false));
        }
        let gpus = GpuLock::take(self.gpus.0, &self.gpus.1, &*monitor)?;
        if let Some(entry) = self.store.entry(&key) {
            self.store.damaged(&entry).into_iter().for_each(|(_, stored)| self.store.forget_damaged(stored));
        }
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let clock = Instant::now();
        let store = self.store.clone();
        let scratch = store.scratch()?;
        for output in self.stage.outputs().iter().filter(|o| o.folder) {
            std::fs::create_dir_all(scratch.join(&*output.name)).doing(|| "failed to make an output folder")?;
        }
        let inputs = self.inputs.iter().map(|(role, stored)| Ok((role.clone(), self.open(role, stored, &scratch)?)));
        let inputs = inputs.collect::<Result<_, Failure>>()?;
        let library = Shelf { store: self.store.clone(), seen: self.upstream_sources, index: OnceLock::new() };
        // Open until the entry names its scopes, so that no clean-up takes them away before.
        let cupboard = Arc::new(Cupboard::new(self.store.clone(), &self.key, &self.device, self.forced, monitor.clone()));
        let io = Io {
            inputs,
            sources: self.sources.iter().map(|(role, seen)| (role.clone(), seen.file_set())).collect(),
            scratch: scratch.to_path_buf(),
            state: self.store.state(&key),
            seed: self.seed,
            device: self.device.clone(),
            gpus: gpus.numbers(),
            environment: self.environment,
            ancestors: self.ancestors,
            library: Arc::new(library),
            keeper: cupboard.clone(),
            monitor,
            metrics: Mutex::default(),
        };
        self.stage.run(&io)?;
        if let Some(file) = self.sources.values().find_map(|seen| seen.first_moved()) {
            return Err(Failure::new(format!("`{file}` changed while it was being read, so nothing was recorded")).help("run again"));
        }
        let durability = if clock.elapsed() < WORTH_WAITING_FOR { Durability::Soon } else { Durability::Now };
        let mut outputs = BTreeMap::new();
        for output in self.stage.outputs() {
            let path = io.output(&output.name);
            if !path.exists() {
                return Err(Failure::new(format!("the stage did not write its output `{}`", output.name))
                    .help("please report it: flow has a mistake of its own"));
            }
            let stored = if output.folder { self.store.take_folder(&path, durability) } else { self.store.take_file(&path, durability) }?;
            outputs.insert(output.name.to_string(), stored);
        }
        let folders = self.sources.values().filter_map(|seen| self.store.keep_listings(seen).transpose()).collect::<Result<_, _>>()?;
        let entry = Entry {
            key: self.key,
            outputs,
            metrics: io.metrics.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
            pieces: cupboard.close(),
            provenance: Provenance {
                flow: env!("CARGO_PKG_VERSION").to_string(),
                host: host(),
                device: format!("{:?}", self.device),
                threads: rayon::current_num_threads(),
                started,
                seconds: clock.elapsed().as_secs_f64(),
                peak_mib: peak_mib(),
                invocation: self.run,
                producers: self.producers,
            },
            folders,
        };
        self.store.record(&entry, durability)?;
        self.store.clear_state(&key);
        Ok((Box::new(entry), true))
    }
}

impl Job {
    /// Returns where the stage reads an input: a file in the store, or a folder laid out for this run.
    fn open(&self, role: &str, stored: &Stored, scratch: &Path) -> Result<PathBuf, Failure> {
        if stored.folder {
            let folder = scratch.join(".inputs").join(role);
            self.store.lay_out_folder(stored, &folder)?;
            return Ok(folder);
        }
        let gone = || Failure::new(format!("input `{role}` was damaged or removed meanwhile")).help("run again: it will be made anew");
        self.store.object(&stored.digest).ok_or_else(gone)
    }
}

/// Returns the machine's name.
fn host() -> String {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned()).clone()
}

/// Returns the process's peak resident memory in MiB, 0 where the system does not tell.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// Finds bytes by digest: in the store, or in a file set of a node upstream.
struct Shelf {
    store: Arc<Store>,
    seen: Vec<Arc<Seen>>,
    index: OnceLock<HashMap<Digest, PathBuf>>,
}

impl Library for Shelf {
    fn find(&self, digest: &Digest) -> Result<PathBuf, Failure> {
        if let Some(path) = self.store.object(digest) {
            return Ok(path);
        }
        let index = self.index.get_or_init(|| {
            let place = |root: &Path, name: &str| if name.is_empty() { root.to_path_buf() } else { root.join(name) };
            let sets = self.seen.iter().map(|seen| seen.file_set());
            sets.flat_map(|set| set.files.into_iter().map(move |(name, digest)| (digest, place(&set.root, &name)))).collect()
        });
        index.get(digest).cloned().ok_or_else(|| {
            Failure::new(format!("no file with content {} is known", digest.short()))
                .help("the data set changed or moved while it was being used; run again")
        })
    }
}

/// Carries a stage's words to the one who decides.
struct Messenger {
    node: NodeId,
    sender: Mutex<Sender<Message>>,
    interrupt: Arc<AtomicBool>,
}

impl Messenger {
    fn send(&self, message: Message) {
        let _ = self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send(message);
    }
}

impl Monitor for Messenger {
    fn progress(&self, done: u64, total: u64, unit: &'static str, values: &[(&'static str, f64)]) {
        self.send(Message::Progress { node: self.node, done, total, unit, values: values.to_vec() });
    }

    fn note(&self, line: &str) {
        self.send(Message::Note { node: self.node, line: line.to_string() });
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}
