//! What differs between two keys, in words.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

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
        /// Of a folder outside: which files, where both listings are known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<FileChanges>,
    },
    /// The version probe of the program says something else.
    Program {
        was: Option<String>,
        is: Option<String>,
    },
}

/// Which files of a folder differ, by their paths below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileChanges {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

/// How many files of each sort are named.
const NAMED: usize = 3;

impl fmt::Display for FileChanges {
    /// "+2 ~1 -0 files: +c/8.png +c/9.png ~a/1.png"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorts = [('+', &self.added), ('~', &self.changed), ('-', &self.removed)];
        let counts = sorts.map(|(sign, names)| format!("{sign}{}", names.len())).join(" ");
        let all: usize = sorts.iter().map(|(_, names)| names.len()).sum();
        let named: Vec<String> =
            sorts.iter().flat_map(|(sign, names)| names.iter().take(NAMED).map(move |name| format!("{sign}{name}"))).collect();
        let further = if all > named.len() { format!(", and {} more", all - named.len()) } else { String::new() };
        write!(f, "{counts} {}: {}{further}", if all == 1 { "file" } else { "files" }, named.join(" "))
    }
}

/// Walks two parameter values side by side and names the deepest fields that differ.
pub(super) fn compare(path: &str, was: &Value, is: &Value, changes: &mut Vec<Change>) {
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
            Self::Input { role, files: Some(files), .. } => write!(f, "`{role}` changed by {files}"),
            Self::Program { was, is } => {
                let said = |v: &Option<String>| v.as_ref().map_or("nothing".to_string(), |v| format!("{v:?}"));
                write!(f, "the program's version changed from {} to {}", said(was), said(is))
            }
            Self::Input { role, was, is, files: None } => write!(f, "input `{role}` changed from {} to {}", digest(was), digest(is)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_counted_and_the_first_are_named() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let files = FileChanges { added: names(&["a", "b", "c", "d", "e"]), changed: names(&["x"]), removed: Vec::new() };
        assert_eq!(files.to_string(), "+5 ~1 -0 files: +a +b +c ~x, and 2 more");
    }
}
