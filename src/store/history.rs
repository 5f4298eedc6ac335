//! What was run before: the last key of every node, and a record of every run.
//!
//! Only for explanations: nothing here decides what runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Durability, Store, atomically};
use crate::diagnostic::{Context, Failure, count};
use crate::digest::Digest;
use crate::graph::Key;

/// The last key of every node of one pipeline.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub nodes: BTreeMap<String, Key>,
}

/// What became of one node in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    pub kind: String,
    pub status: String,
    pub key: Option<Digest>,
    pub seconds: f64,
    pub outputs: BTreeMap<String, Digest>,
    pub metrics: BTreeMap<String, f64>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    pub run: String,
    pub pipeline: String,
    pub status: String,
    pub started: f64,
    pub seconds: f64,
    pub nodes: BTreeMap<String, NodeRecord>,
}

/// The first line of a pipeline's history: a digest of the last run's nodes and keys, so that a run like it need not read the rest.
const HEAD: usize = 65;

fn read_head(path: &Path) -> Option<[u8; HEAD]> {
    let mut head = [0; HEAD];
    fs::File::open(path).ok()?.read_exact(&mut head).ok()?;
    Some(head)
}

impl Store {
    /// Returns the last keys of the pipeline of this name; empty if there are none.
    pub fn history(&self, pipeline: &str) -> History {
        let bytes = fs::read(self.last_path(pipeline)).unwrap_or_default();
        let (_, body) = bytes.split_at_checked(HEAD).unwrap_or_default();
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Remembers the keys of this run's nodes, given with their digests, beside those of nodes it did not touch.
    pub fn remember(&self, pipeline: &str, nodes: &[(&str, &Key, Digest)]) -> Result<(), Failure> {
        self.hint(nodes.iter().map(|(_, _, key)| *key));
        let said = nodes.iter().map(|(name, _, key)| format!("{name} {key}\n")).collect::<String>();
        let head = format!("{}\n", Digest::of(said.as_bytes()));
        let path = self.last_path(pipeline);
        if read_head(&path).is_some_and(|was| was == head.as_bytes()) {
            return Ok(());
        }
        let mut history = self.history(pipeline);
        history.nodes.extend(nodes.iter().map(|(name, key, _)| (name.to_string(), (*key).clone())));
        let mut text = head.into_bytes();
        serde_json::to_writer(&mut text, &history).doing(|| "failed to write the history")?;
        atomically(&path, &text, Durability::Soon)
    }

    /// Keeps the record of a run.
    pub fn keep(&self, record: &RunRecord) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(record).doing(|| "failed to write a run's record")?;
        atomically(&self.history_path().join("runs").join(format!("{}.json", record.run)), &text, Durability::Soon)
    }

    /// Returns the records of all runs that ran something, the oldest first. A damaged record counts as none.
    pub fn runs(&self) -> Vec<RunRecord> {
        let files = fs::read_dir(self.history_path().join("runs")).into_iter().flatten().flatten();
        let mut runs: Vec<RunRecord> = files.filter_map(|file| serde_json::from_slice(&fs::read(file.path()).ok()?).ok()).collect();
        runs.sort_by(|a, b| a.started.total_cmp(&b.started).then_with(|| a.run.cmp(&b.run)));
        runs
    }

    /// Returns the run that a text means: the first letters of its id, `last`, or `last-2` for the second before it.
    ///
    /// # Errors
    /// When no run or more than one is meant.
    pub fn run_called(&self, text: &str) -> Result<RunRecord, Failure> {
        let mut runs = self.runs();
        let back = match text.strip_prefix("last") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('-').and_then(|n| n.parse::<usize>().ok()),
            None => None,
        };
        if let Some(back) = back {
            let known = runs.len();
            let place = known.checked_sub(back + 1);
            return place.map(|place| runs.swap_remove(place)).ok_or_else(|| {
                Failure::new(format!("`{text}` reaches back beyond the {} on record", count(known, "run"))).help("`flow runs` lists them")
            });
        }
        runs.retain(|run| run.run.starts_with(text));
        match runs.len() {
            1 => Ok(runs.swap_remove(0)),
            0 => {
                Err(Failure::new(format!("no run is called `{text}`")).help("`flow runs` lists them; `last` and `last-1` name the latest"))
            }
            n => Err(Failure::new(format!("`{text}` begins the names of {}", count(n, "run"))).help("write more of its letters")),
        }
    }

    fn last_path(&self, pipeline: &str) -> std::path::PathBuf {
        self.history_path().join("last").join(format!("{}.json", Digest::of(pipeline.as_bytes()).short()))
    }
}
