//! The key of a node: everything that decides its output bytes, and nothing else.
//!
//! | in | out |
//! |---|---|
//! | key format, node kind, the stage's semantic version | node names, the pipeline's name |
//! | parameters that differ from their defaults | paths, times, host |
//! | the seed, where the stage draws random numbers | thread counts, jobs, device |
//! | environment variables that the stage says count; the version that a program says it has | all other variables |
//! | role and content digest of each direct input and file set | digests of anything further upstream |
//!
//! The struct is hashed, stored beside the outputs and shown by `flow why`: one value, three uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Change;
use super::change::compare;
use crate::digest::Digest;

/// Raised when keys of older stores can no longer be compared with new ones.
pub const KEY_FORMAT: u32 = 1;

/// Everything that decides a node's output bytes. Its fields stand in the order of their names, in which they are hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Environment variables that the stage says count; none for one that is not set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
    pub format: u32,
    pub inputs: BTreeMap<String, Digest>,
    pub kind: String,
    pub params: Value,
    /// What the program that the stage runs says of its version, where the stage asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    pub seed: Option<u64>,
    pub version: u32,
}

impl Key {
    /// Returns the name under which the outputs are stored.
    pub fn digest(&self) -> Digest {
        // The text of `components`, without making that value: a test holds the two together.
        Digest::of(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// Returns the key as JSON with sorted keys: what is hashed, stored and shown.
    pub fn components(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Returns what differs from an earlier key of the same node.
    pub fn changes_since(&self, earlier: &Key) -> Vec<Change> {
        let mut changes = Vec::new();
        if earlier.kind != self.kind {
            changes.push(Change::Kind { was: earlier.kind.clone(), is: self.kind.clone() });
        }
        if (earlier.version, earlier.format) != (self.version, self.format) {
            changes.push(Change::StageRevised { was: earlier.version, is: self.version });
        }
        compare("", &earlier.params, &self.params, &mut changes);
        if earlier.seed != self.seed {
            changes.push(Change::Seed { was: earlier.seed, is: self.seed });
        }
        let names: std::collections::BTreeSet<&String> = earlier.environment.keys().chain(self.environment.keys()).collect();
        for name in names {
            let value = |key: &Key| key.environment.get(name).cloned().flatten();
            let (was, is) = (value(earlier), value(self));
            if was != is || earlier.environment.contains_key(name) != self.environment.contains_key(name) {
                changes.push(Change::Environment { name: name.clone(), was, is });
            }
        }
        if earlier.program != self.program {
            changes.push(Change::Program { was: earlier.program.clone(), is: self.program.clone() });
        }
        let roles: std::collections::BTreeSet<&String> = earlier.inputs.keys().chain(self.inputs.keys()).collect();
        for role in roles {
            let (was, is) = (earlier.inputs.get(role).copied(), self.inputs.get(role).copied());
            if was != is {
                changes.push(Change::Input { role: role.clone(), was, is, files: None });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> Key {
        Key {
            format: KEY_FORMAT,
            kind: "Sweep".into(),
            version: 1,
            params: json!({"repeats": 5, "classifiers": [{"Knn": {"k": 10}}]}),
            seed: Some(1),
            inputs: BTreeMap::from([("features".into(), Digest::of(b"f"))]),
            environment: BTreeMap::from([("LANG".into(), None)]),
            program: None,
        }
    }

    #[test]
    fn every_component_changes_the_digest_and_is_named() {
        let base = key();
        type Edit = fn(&mut Key);
        let edits: [(Edit, &str); 7] = [
            (|k| k.version = 2, "the stage was revised from version 1 to 2"),
            (|k| k.params["classifiers"][0]["Knn"]["k"] = json!(5), "parameter `classifiers.0.Knn.k` changed from 10 to 5"),
            (|k| k.params["repeats"] = Value::Null, "parameter `repeats` changed from 5 to its default"),
            (
                |k| k.environment = BTreeMap::from([("LANG".into(), Some("C".into()))]),
                "environment variable `LANG` changed from nothing to \"C\"",
            ),
            (|k| k.program = Some("Python 3.12".into()), "the program's version changed from nothing to \"Python 3.12\""),
            (|k| k.seed = Some(2), "the seed changed from 1 to 2"),
            (|k| k.inputs = BTreeMap::from([("features".into(), Digest::of(b"g"))]), "input `features` changed from "),
        ];
        for (edit, said) in edits {
            let mut changed = base.clone();
            edit(&mut changed);
            assert_ne!(changed.digest(), base.digest());
            let changes = changed.changes_since(&base);
            assert_eq!(changes.len(), 1);
            assert!(changes[0].to_string().starts_with(said), "{}", changes[0]);
        }
        assert!(base.changes_since(&base).is_empty());
        assert_eq!(base.digest(), Digest::of_json(&base.components()));
    }
}
