//! Finished repeats on disk, so that a training that was cut off starts again where a repeat begins.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::repeat::Course;
use crate::classify::Run;
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// A repeat as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub run: Run,
    pub course: Course,
    /// The best checkpoint, of the first repeat only.
    #[serde(skip)]
    pub checkpoint: Option<Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// What the repeat was computed from; another digest means other work.
    of: Digest,
    checkpoint: Option<Digest>,
    finished: Finished,
}

/// The folder of one method with one number of labels.
pub(crate) struct Folder<'a> {
    pub path: &'a Path,
    pub name: String,
    /// Digest of everything that decides the result, but the repeat.
    pub of: Digest,
}

impl Folder<'_> {
    fn record(&self, repeat: usize) -> PathBuf {
        self.path.join(format!("{}-{repeat}.json", self.name))
    }

    fn weights(&self, repeat: usize) -> PathBuf {
        self.path.join(format!("{}-{repeat}.f32", self.name))
    }

    /// Returns a finished repeat if there is a whole one of just this work.
    pub fn find(&self, repeat: usize) -> Option<Finished> {
        let record: Record = serde_json::from_slice(&std::fs::read(self.record(repeat)).ok()?).ok()?;
        let mut finished = record.finished;
        if let Some(digest) = record.checkpoint {
            let bytes = std::fs::read(self.weights(repeat)).ok().filter(|bytes| Digest::of(bytes) == digest)?;
            finished.checkpoint = Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
        }
        (record.of == self.of && finished.run.repeat == repeat).then_some(finished)
    }

    /// Keeps a finished repeat; the record is renamed into place last, so that half a repeat is none.
    pub fn keep(&self, finished: &Finished) -> Result<(), Failure> {
        let repeat = finished.run.repeat;
        let bytes: Option<Vec<u8>> = finished.checkpoint.as_ref().map(|c| c.iter().flat_map(|v| v.to_le_bytes()).collect());
        if let Some(bytes) = &bytes {
            write_whole(&self.weights(repeat), bytes)?;
        }
        let record = Record { of: self.of, checkpoint: bytes.as_deref().map(Digest::of), finished: finished.clone() };
        let text = serde_json::to_vec(&record).doing(|| "cannot keep a finished repeat")?;
        write_whole(&self.record(repeat), &text)
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&beside)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().doing(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Confusion;
    use crate::train::supervised::stop::Ending;

    fn finished(repeat: usize) -> Finished {
        let run = Run { repeat, rows_used: 3, converged: true, confusion: Confusion::of(2, [(0, 0)]), predictions: None };
        let course = Course { ending: Ending::Blind, best_step: 4, curve: Vec::new() };
        Finished { run, course, checkpoint: Some(vec![1.0, -2.5]) }
    }

    #[test]
    fn a_kept_repeat_is_found_by_the_same_work_only() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |what: &[u8]| Folder { path: scratch.path(), name: "DL-5".into(), of: Digest::of(what) };
        folder(b"a").keep(&finished(2)).unwrap();
        assert_eq!(folder(b"a").find(2), Some(finished(2)));
        assert_eq!(folder(b"b").find(2), None);
        assert_eq!(folder(b"a").find(1), None);
        std::fs::write(folder(b"a").weights(2), b"cut off").unwrap();
        assert_eq!(folder(b"a").find(2), None);
    }
}
