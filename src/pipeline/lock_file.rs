//! A lock as text: `NAME.lock.ron` beside its pipeline, one block per node in the order of their names, so that merges stay local.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;
use crate::engine::{LOCK_FORMAT, Lock};

const HEAD: &str = "// Written by `flow lock`, read by `flow verify` and `flow run --locked`. Commit it; do not edit it.\n";

/// Returns where the lock of a pipeline lies.
pub fn lock_path(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock.ron")
}

/// Returns the text of a lock; the same lock always has the same text.
pub fn lock_text(lock: &Lock) -> Result<String, Failure> {
    let pretty = ron::ser::PrettyConfig::new().struct_names(true).indentor("    ").new_line("\n");
    let text = ron::ser::to_string_pretty(lock, pretty).doing(|| "failed to write the lock")?;
    Ok(format!("{HEAD}{text}\n"))
}

/// Reads a lock.
///
/// # Errors
/// When the file is not there, is no lock, or is of a format that this flow does not know.
pub fn read_lock(path: &Path) -> Result<Lock, Failure> {
    let text = std::fs::read_to_string(path)
        .doing(|| format!("failed to read the lock `{}`", path.display()))
        .map_err(|failure| failure.help("`flow lock` writes it"))?;
    #[derive(Deserialize)]
    #[serde(rename = "Lock")]
    struct Head {
        format: u32,
    }
    let no_lock = |error: &dyn std::fmt::Display| {
        Failure::new(format!("`{}` is not a lock: {error}", path.display())).help("write it again with `flow lock`")
    };
    // The format first: what else there is depends on it.
    let format = ron::from_str::<Head>(&text).map_err(|error| no_lock(&error))?.format;
    if format != LOCK_FORMAT {
        let message = format!("`{}` has lock format {format}: this flow knows format {LOCK_FORMAT}", path.display());
        return Err(Failure::new(message).help("hold it with the flow that wrote it, or write it again with `flow lock`"));
    }
    ron::from_str(&text).map_err(|error| no_lock(&error))
}

/// Returns the keys that a lock of any format names.
///
/// # Errors
/// When the file cannot be read: what it keeps is then unknown.
pub fn locked_keys(path: &Path) -> Result<BTreeSet<Digest>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename = "Lock")]
    struct Keys {
        nodes: BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    #[serde(rename = "LockedNode")]
    struct Node {
        key: Digest,
    }
    let what = || format!("failed to read the lock `{}`, so what it keeps is unknown", path.display());
    let keys = std::fs::read_to_string(path).doing(what).and_then(|text| ron::from_str::<Keys>(&text).doing(what));
    let keys = keys.map_err(|failure| failure.help("put it back, write it again with `flow lock`, or remove it"))?;
    Ok(keys.nodes.into_values().map(|node| node.key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Figure, LockedNode};

    #[test]
    fn a_lock_survives_its_text_and_stands_beside_its_pipeline() {
        let node = LockedNode {
            kind: "Sweep".into(),
            version: 2,
            key: Digest::of(b"key"),
            key_format: 1,
            seed: Some(1),
            params: r#"{"classifiers":[{"Knn":{"k":3}}]}"#.into(),
            inputs: BTreeMap::from([("features".into(), Digest::of(b"f"))]),
            environment: BTreeMap::from([("LANG".into(), None)]),
            program: None,
            outputs: BTreeMap::from([("results".into(), Digest::of(b"r"))]),
            metrics: BTreeMap::from([("features.SVM.10".into(), Figure { value: 0.61, tolerance: Some(0.02) })]),
            provenance: Digest::of(b"p"),
        };
        let lock = Lock { format: LOCK_FORMAT, pipeline: "demo".into(), nodes: BTreeMap::from([("sweep".into(), node)]) };
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder.path().join("demo.ron"));
        assert_eq!(path.file_name().unwrap(), "demo.lock.ron");
        std::fs::write(&path, lock_text(&lock).unwrap()).unwrap();
        assert_eq!(read_lock(&path).unwrap(), lock);
        assert_eq!(locked_keys(&path).unwrap(), BTreeSet::from([Digest::of(b"key")]));
        // Of another format, a lock still says what it keeps.
        let text = lock_text(&lock).unwrap().replace("format: ", "format: 9").replace("kind: \"Sweep\",", "");
        std::fs::write(&path, text).unwrap();
        let said = read_lock(&path).unwrap_err();
        assert!(said.message().ends_with("has lock format 92: this flow knows format 2"), "{said}");
        assert_eq!(locked_keys(&path).unwrap(), BTreeSet::from([Digest::of(b"key")]));
        std::fs::write(&path, "Lock(").unwrap();
        assert!(read_lock(&path).unwrap_err().to_string().contains("is not a lock"));
    }
}
