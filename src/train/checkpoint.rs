//! A training's whole state on disk: written whole or not at all, the last two kept.
//!
//! `checkpoint-STEP-DIGEST`: a JSON header (length first), then every array as little-endian f32, the snapshots last. The digest in the name is that of the
//! bytes, so that a damaged file is passed over and the one before it taken.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::curve::CurveRow;
use super::dino::State;
use super::snapshots::Snapshots;
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// What a checkpoint holds beside the arrays.
#[derive(Serialize, Deserialize)]
struct Header {
    step: u64,
    adam_backbone_steps: Vec<u64>,
    adam_head_steps: Vec<u64>,
    lengths: Vec<usize>,
    curve: Vec<CurveRow>,
    snapshot_steps: Vec<u64>,
    snapshot_numbers: usize,
}

/// Hands bytes on and takes their digest on the way, so that a checkpoint need not lie in memory whole.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Returns every array of a state, always in this order.
fn arrays(state: &State) -> Vec<&Vec<f32>> {
    let mut all = Vec::new();
    for pair in [&state.student, &state.teacher] {
        for weights in [&pair.backbone, &pair.head] {
            all.extend([&weights.params, &weights.buffers]);
        }
    }
    all.push(&state.centre);
    for adam in [&state.adam_backbone, &state.adam_head] {
        all.extend([&adam.first, &adam.second]);
    }
    all
}

fn arrays_mut(state: &mut State) -> Vec<&mut Vec<f32>> {
    let State { student, teacher, centre, adam_backbone, adam_head, .. } = state;
    let mut all = Vec::new();
    for pair in [student, teacher] {
        for weights in [&mut pair.backbone, &mut pair.head] {
            all.extend([&mut weights.params, &mut weights.buffers]);
        }
    }
    all.push(centre);
    for adam in [adam_backbone, adam_head] {
        all.extend([&mut adam.first, &mut adam.second]);
    }
    all
}

/// Writes a checkpoint and removes those before the last two.
pub fn save(folder: &Path, state: &State, curve: &[CurveRow], snapshots: &Snapshots) -> Result<(), Failure> {
    let what = || format!("failed to write a checkpoint in `{}`", folder.display());
    let header = Header {
        step: state.step,
        adam_backbone_steps: state.adam_backbone.steps.clone(),
        adam_head_steps: state.adam_head.steps.clone(),
        lengths: arrays(state).iter().map(|a| a.len()).collect(),
        curve: curve.to_vec(),
        snapshot_steps: snapshots.steps.clone(),
        snapshot_numbers: snapshots.features.len(),
    };
    let header = serde_json::to_vec(&header).doing(what)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).doing(what)?;
    let mut out = BufWriter::with_capacity(1 << 20, Hashed { to: file.as_file_mut(), hasher: blake3::Hasher::new() });
    out.write_all(&(header.len() as u64).to_le_bytes()).doing(what)?;
    out.write_all(&header).doing(what)?;
    for numbers in arrays(state).into_iter().chain([&snapshots.features]) {
        for some in numbers.chunks(1 << 16) {
            let bytes: Vec<u8> = some.iter().flat_map(|x| x.to_le_bytes()).collect();
            out.write_all(&bytes).doing(what)?;
        }
    }
    let digest = out.into_inner().doing(what)?.hasher.finalize().to_hex();
    file.as_file().sync_all().doing(what)?;
    file.persist(folder.join(format!("checkpoint-{:012}-{digest}", state.step))).doing(what)?;
    for old in known(folder).iter().rev().skip(2) {
        // A checkpoint too many costs disk only.
        let _ = fs::remove_file(old);
    }
    Ok(())
}

/// Returns the checkpoints of a folder, oldest first.
fn known(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path()).collect();
    found.retain(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("checkpoint-")));
    found.sort();
    found
}

/// Returns the name of the newest checkpoint, to tell the user.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    known(folder).pop()
}

/// Fills `state` (of the right sizes) from the newest sound checkpoint; returns its curve and snapshots, or nothing where there is none.
pub fn load(folder: &Path, state: &mut State) -> Option<(Vec<CurveRow>, Snapshots)> {
    known(folder).iter().rev().find_map(|path| {
        let bytes = fs::read(path).ok()?;
        let named = path.file_name()?.to_str()?.rsplit('-').next()?;
        (Digest::of(&bytes).hex() == named).then_some(())?;
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (header, mut rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let fits = header.lengths.iter().copied().eq(arrays(state).iter().map(|a| a.len()))
            && header.adam_backbone_steps.len() == state.adam_backbone.steps.len()
            && header.adam_head_steps.len() == state.adam_head.steps.len()
            && rest.len() == 4 * (header.lengths.iter().sum::<usize>() + header.snapshot_numbers);
        fits.then_some(())?;
        let mut snapshots = Snapshots { steps: header.snapshot_steps, features: vec![0.0; header.snapshot_numbers] };
        for array in arrays_mut(state).into_iter().chain([&mut snapshots.features]) {
            let (own, after) = rest.split_at(4 * array.len());
            array.iter_mut().zip(own.as_chunks::<4>().0).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
            rest = after;
        }
        state.step = header.step;
        state.adam_backbone.steps = header.adam_backbone_steps;
        state.adam_head.steps = header.adam_head_steps;
        Some((header.curve, snapshots))
    })
}
