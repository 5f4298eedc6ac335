//! The key of a node: everything that decides its output bytes, and nothing else.
//!
//! | in | out |
//! |---|---|
//! | key format, node kind, the stage's semantic version | node names, the pipeline's name |
//! | parameters that differ from their defaults | paths, times, host |
//! | the seed, where the stage draws random numbers | thread counts, jobs, device |
//! | environment variables that the stage says count | all others |
//! | role and content digest of each direct input and file set | digests of anything further upstream |
//!
//! The struct is hashed, stored beside the outputs and shown by `flow why`: one value, three uses.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// Raised when keys of older stores can no longer be compared with new ones.
pub const KEY_FORMAT: u32 = 1;

/// Everything that decides a node's output bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub format: u32,
    pub kind: String,
    pub version: u32,
    pub params: Value,
    pub seed: Option<u64>,
    pub inputs: BTreeMap<String, Digest>,
    /// Environment variables that the stage says count; none for one that is not set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
}

/// One difference between two keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Change {
    /// The node now is of another kind.
    Kind {
        was: String,
        is: String,
    },
    /// The stage's code was revised: the same inputs would give other bytes.
    StageRevised {
        was: u32,
        is: u32,
    },
    /// A parameter has another value; null stands for its default.
    Parameter {
        name: String,
        was: Value,
        is: Value,
    },
    Seed {
        was: Option<u64>,
        is: Option<u64>,
    },
    /// An environment variable that counts has another value.
    Environment {
        name: String,
        was: Option<String>,
        is: Option<String>,
    },
    /// What is read at this port has other content.
    Input {
        role: String,
        was: Option<Digest>,
        is: Option<Digest>,
    },
}

impl Key {
    /// Returns the name under which the outputs are stored.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&self.components())
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
        let roles: std::collections::BTreeSet<&String> = earlier.inputs.keys().chain(self.inputs.keys()).collect();
        for role in roles {
            let (was, is) = (earlier.inputs.get(role).copied(), self.inputs.get(role).copied());
            if was != is {
                changes.push(Change::Input { role: role.clone(), was, is });
            }
        }
        changes
    }
}

/// Walks two parameter values side by side and names the deepest fields that differ.
fn compare(path: &str, was: &Value, is: &Value, changes: &mut Vec<Change>) {
    if was == is {
        return;
    }
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), changes);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}.{i}"), x, y, changes);
            }
        }
        _ => changes.push(Change::Parameter { name: path.to_string(), was: was.clone(), is: is.clone() }),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: &Value| if v.is_null() { "its default".to_string() } else { v.to_string() };
        let digest = |d: &Option<Digest>| d.map_or("nothing".to_string(), |d| d.short());
        let seed = |s: &Option<u64>| s.map_or("none".to_string(), |s| s.to_string());
        match self {
            Self::Kind { was, is } => write!(f, "the node was a `{was}` and is a `{is}`"),
            Self::StageRevised { was, is } => write!(f, "the stage was revised from version {was} to {is}"),
            Self::Parameter { name, was, is } => write!(f, "parameter `{name}` changed from {} to {}", value(was), value(is)),
            Self::Seed { was, is } => write!(f, "the seed changed from {} to {}", seed(was), seed(is)),
            Self::Environment { name, was, is } => {
                let value = |v: &Option<String>| v.as_ref().map_or("nothing".to_string(), |v| format!("{v:?}"));
                write!(f, "environment variable `{name}` changed from {} to {}", value(was), value(is))
            }
            Self::Input { role, was, is } => write!(f, "input `{role}` changed from {} to {}", digest(was), digest(is)),
        }
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
        }
    }

    #[test]
    fn every_component_changes_the_digest_and_is_named() {
        let base = key();
        type Edit = fn(&mut Key);
        let edits: [(Edit, &str); 6] = [
            (|k| k.version = 2, "the stage was revised from version 1 to 2"),
            (|k| k.params["classifiers"][0]["Knn"]["k"] = json!(5), "parameter `classifiers.0.Knn.k` changed from 10 to 5"),
            (|k| k.params["repeats"] = Value::Null, "parameter `repeats` changed from 5 to its default"),
            (
                |k| k.environment = BTreeMap::from([("LANG".into(), Some("C".into()))]),
                "environment variable `LANG` changed from nothing to \"C\"",
            ),
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
    }
}
