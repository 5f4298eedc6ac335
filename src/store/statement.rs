//! An entry as others can check it: an in-toto Statement (v1) with a SLSA v1 provenance predicate, ready to be signed.
//!
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>, <https://slsa.dev/spec/v1.0/provenance>. Made from the entry
//! whenever it is wanted, so that there is one source of truth; its canonical text is JSON with sorted keys and no spaces.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Entry;
use crate::digest::Digest;
use crate::graph::Key;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

impl Entry {
    /// Returns what was made, from what, how, where and when: every component of the key is in it.
    pub fn statement(&self) -> Value {
        let how = &self.provenance;
        // Taken apart field by field, so that a new component of the key cannot be forgotten here.
        let Key { format, kind, version, params, seed, inputs, environment, program } = &self.key;
        let subject = self.outputs.iter().map(|(name, stored)| {
            json!({
                "name": name,
                // Of a folder, that of its listing: a JSON object of paths and the digests of their files.
                "digest": {"blake3": stored.digest},
                "annotations": {"bytes": stored.bytes, "folder": stored.folder},
            })
        });
        let dependencies =
            inputs.iter().map(|(role, digest)| dependency(role, digest, how.producers.get(role), self.folders.contains(digest)));
        let metrics: Map<String, Value> = self.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "_type": STATEMENT,
            "subject": subject.collect::<Vec<_>>(),
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": format!("flow:stage/{kind}/{version}"),
                    "externalParameters": {"params": params, "seed": seed, "environment": environment, "program": program},
                    "internalParameters": {"keyFormat": format, "device": how.device, "threads": how.threads, "host": how.host},
                    "resolvedDependencies": dependencies.collect::<Vec<_>>(),
                },
                "runDetails": {
                    "builder": {"id": "flow:builder/local", "version": {"flow": how.flow}},
                    "metadata": {
                        "invocationId": how.invocation,
                        "startedOn": moment(how.started),
                        "finishedOn": moment(how.started + how.seconds),
                    },
                    "byproducts": [
                        {"uri": "flow:byproduct/metrics", "annotations": metrics},
                        {"uri": "flow:byproduct/memory", "annotations": {"peakMiB": how.peak_mib}},
                    ],
                },
            },
        })
    }

    /// Returns the digest of the statement's canonical text: what a lock holds of it.
    pub fn statement_digest(&self) -> Digest {
        Digest::of_json(&self.statement())
    }
}

/// What was read at one port: an output of another node, or a file or folder outside. A folder's digest is that of its listing, a JSON
/// object of names and the digests of files and inner folders.
fn dependency(role: &str, digest: &Digest, producer: Option<&Digest>, folder: bool) -> Value {
    let about = match producer {
        Some(key) => json!({"producer": key}),
        None => json!({"outside": if folder { "folder" } else { "file" }}),
    };
    json!({"uri": format!("flow:input/{role}"), "digest": {"blake3": digest}, "annotations": about})
}

/// Returns seconds since 1970 as RFC 3339 in UTC, to the microsecond; nothing where no calendar has that moment.
fn moment(seconds: f64) -> Value {
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).map_or(Value::Null, |time| json!(format!("{time:.6}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Provenance, Stored};
    use std::collections::BTreeMap;

    fn entry() -> Entry {
        let key = Key {
            format: 1,
            kind: "Sweep".into(),
            version: 2,
            params: json!({"repeats": 5, "classifiers": [{"Knn": {"k": 10}}]}),
            seed: Some(7),
            inputs: BTreeMap::from([("features".into(), Digest::of(b"f")), ("table".into(), Digest::of(b"t"))]),
            environment: BTreeMap::from([("LANG".into(), Some("C".into())), ("TERM".into(), None)]),
            program: Some("Python 3.12.1".into()),
        };
        let provenance = Provenance {
            flow: "0.1.0".into(),
            host: "bench".into(),
            device: "Cpu".into(),
            threads: 2,
            started: 1_795_680_000.25,
            seconds: 61.5,
            peak_mib: 300.0,
            invocation: "19ab-1".into(),
            producers: BTreeMap::from([("features".into(), Digest::of(b"key"))]),
        };
        let outputs = BTreeMap::from([("results".into(), Stored { digest: Digest::of(b"r"), bytes: 9, folder: false })]);
        Entry {
            key,
            outputs,
            metrics: BTreeMap::from([("features.SVM.10".into(), 0.61)]),
            provenance,
            folders: Vec::new(),
            pieces: Default::default(),
        }
    }

    /// Reads the key back from the statement alone.
    fn key_of(statement: &Value) -> Key {
        let definition = &statement["predicate"]["buildDefinition"];
        let build_type: Vec<&str> = definition["buildType"].as_str().unwrap().split('/').collect();
        let input = |dependency: &Value| {
            let role = dependency["uri"].as_str().unwrap().strip_prefix("flow:input/").unwrap().to_string();
            let digest = dependency["digest"].as_object().unwrap().values().next().unwrap();
            (role, digest.as_str().unwrap().parse().unwrap())
        };
        Key {
            format: definition["internalParameters"]["keyFormat"].as_u64().unwrap() as u32,
            kind: build_type[1].to_string(),
            version: build_type[2].parse().unwrap(),
            params: definition["externalParameters"]["params"].clone(),
            seed: definition["externalParameters"]["seed"].as_u64(),
            inputs: definition["resolvedDependencies"].as_array().unwrap().iter().map(input).collect(),
            environment: serde_json::from_value(definition["externalParameters"]["environment"].clone()).unwrap(),
            program: definition["externalParameters"]["program"].as_str().map(str::to_string),
        }
    }

    /// Every value at the end of a path through a JSON value.
    fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, inner)| leaves(inner, format!("{path}/{name}"), found)),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, inner)| leaves(inner, format!("{path}/{i}"), found)),
            _ => found.push(path),
        }
    }

    #[test]
    fn the_whole_key_can_be_read_back_from_the_statement() {
        assert_eq!(key_of(&entry().statement()), entry().key);
    }

    #[test]
    fn every_component_of_the_key_is_in_the_statement() {
        let mut paths = Vec::new();
        let components = entry().key.components();
        leaves(&components, String::new(), &mut paths);
        assert!(paths.len() >= 10, "{paths:?}");
        for path in paths {
            let mut changed = components.clone();
            let leaf = changed.pointer_mut(&path).unwrap();
            *leaf = match &*leaf {
                Value::Number(n) => json!(n.as_u64().unwrap() + 1),
                Value::String(_) if path.starts_with("/inputs") => json!(Digest::of(b"another")),
                _ => json!("another"),
            };
            let changed = Entry { key: serde_json::from_value(changed).unwrap(), ..entry() };
            assert_ne!(changed.key, entry().key, "{path}");
            assert_ne!(changed.statement_digest(), entry().statement_digest(), "{path} is not in the statement");
        }
    }

    #[test]
    fn a_statement_says_what_was_made_from_what_when_and_by_whom() {
        let statement = entry().statement();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(statement["subject"][0]["digest"]["blake3"], Digest::of(b"r").hex());
        let definition = &statement["predicate"]["buildDefinition"];
        assert_eq!(definition["buildType"], "flow:stage/Sweep/2");
        let [features, table] = [0, 1].map(|i| &definition["resolvedDependencies"][i]);
        assert_eq!(features["annotations"]["producer"], Digest::of(b"key").hex());
        assert_eq!((&table["digest"]["blake3"], &table["annotations"]["outside"]), (&json!(Digest::of(b"t")), &json!("file")));
        let details = &statement["predicate"]["runDetails"];
        assert_eq!(details["metadata"]["startedOn"], "2026-11-26T08:00:00.250000Z");
        assert_eq!(details["metadata"]["finishedOn"], "2026-11-26T08:01:01.750000Z");
        assert_eq!(details["metadata"]["invocationId"], "19ab-1");
        assert_eq!(details["byproducts"][0]["annotations"]["features.SVM.10"], 0.61);
    }
}
