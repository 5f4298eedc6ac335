//! A stage whose outputs change has another version: otherwise caches would keep, and locks would promise, what it no longer makes.
//!
//! `golden/versions/study.ron` has every node kind once. Each node reads what `golden/versions/inputs` holds of the nodes before it, not
//! what these make today, so that a change shows at the stage that changed and nowhere else. What each makes is held against
//! `golden/versions/table.json`. `FLOW_ACCEPT_VERSIONS=1 cargo test --test versions` takes over what changed together with its version,
//! and, for a new kind or a new type of machine, what was not there. Where a new version writes a form that later stages cannot read,
//! remove `golden/versions/inputs` before: it is then written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow::diagnostic::Source;
use flow::digest::Digest;
use flow::engine::{Options, Places, Status, run};
use flow::graph::{Graph, NodeId};
use flow::pipeline::read;
use flow::stage::Device;
use flow::store::{Durability, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Kinds whose bytes are the same on all machines; those of the others follow from the order in which a processor adds.
const EXACT: [&str; 9] = ["Command", "Fingerprints", "Import", "ImportFeatures", "Ingest", "Pack", "Pool", "Report", "Split"];

/// Every node kind, and the file that holds its version.
const KINDS: [(&str, &str); 16] = [
    ("Command", "command"),
    ("Dino", "dino"),
    ("Features", "features"),
    ("Fingerprints", "fingerprints"),
    ("Import", "import"),
    ("ImportFeatures", "import_features"),
    ("Ingest", "ingest"),
    ("LinearProbe", "linear_probe"),
    ("Pack", "pack"),
    ("Pool", "pool"),
    ("Report", "report"),
    ("Split", "split"),
    ("Supervised", "supervised"),
    ("Sweep", "sweep"),
    ("Transform", "transform"),
    ("Watch", "watch"),
];

/// The version of a kind, and the digests of its outputs by machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    version: u32,
    outputs: BTreeMap<String, BTreeMap<String, String>>,
}

type Table = BTreeMap<String, Row>;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/versions").join(name)
}

/// What decides bits besides the program: the vector instructions, and the library with `exp` and `ln`.
fn machine() -> String {
    let libm = if cfg!(target_env = "gnu") { "gnu" } else { "other" };
    format!("{}-{}-{libm} {:?}", std::env::consts::ARCH, std::env::consts::OS, flow::kernel::level())
}

fn column(kind: &str) -> String {
    if EXACT.contains(&kind) { "any".to_string() } else { machine() }
}

/// Says something even of a test that passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs every node by itself on the golden inputs; `write` keeps what they make as such.
fn made_now(write: bool) -> Table {
    let text = fs::read_to_string(golden("study.ron")).unwrap();
    let graph = read(Source { name: "study.ron".into(), text }).unwrap().graph;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let mut table = Table::new();
    for id in graph.ids() {
        let stage = &graph.node(id).stage;
        let options = Options {
            jobs: 1,
            forced: vec![id],
            keep_going: false,
            device: Device::Cpu,
            gpus: Vec::new(),
            places: Places { base: golden(""), ..Places::default() },
            interrupt: Arc::default(),
        };
        let summary = run(&graph, &store, &[id], &options, &mut |_| {}).unwrap();
        let outcome = summary.outcomes.iter().find(|outcome| outcome.node == id).unwrap();
        assert_eq!(outcome.status, Status::Ran, "`{}`: {:?}", graph.node(id).name, outcome.trouble);
        let digest = |(port, digest): (&String, &Digest)| {
            let seen = if stage.kind() == "Report" { without_provenance(&store, digest) } else { *digest };
            (port.clone(), seen.hex())
        };
        let outputs = BTreeMap::from([(column(stage.kind()), outcome.outputs.iter().map(digest).collect())]);
        table.insert(stage.kind().to_string(), Row { version: stage.version(), outputs });
        stand_in(&graph, &store, id, &outcome.key.unwrap(), write);
    }
    table
}

/// Puts the golden outputs of a node in the place of those that it made.
fn stand_in(graph: &Graph, store: &Store, id: NodeId, key: &Digest, write: bool) {
    let mut entry = store.entry(key).unwrap();
    let edges = graph.ids().flat_map(|reader| &graph.node(reader).inputs).filter(|edge| edge.from == id);
    let mut read: BTreeSet<&str> = edges.map(|edge| edge.port.as_str()).collect();
    // No wire leads to packed pictures: they are found by their digest.
    read.extend(entry.key.kind.starts_with("Ingest").then_some("pixels"));
    for port in read {
        let file = golden("inputs").join(&graph.node(id).name).join(port);
        if write {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, fs::read(store.object(&entry.outputs[port].digest).unwrap()).unwrap()).unwrap();
        }
        let scratch = store.scratch().unwrap();
        let copy = scratch.join(port);
        fs::copy(&file, &copy).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        entry.outputs.insert(port.to_string(), store.take_file(&copy, Durability::Soon).unwrap());
    }
    store.record(&entry, Durability::Soon).unwrap();
}

/// The digest of a report but for its section on provenance, which names versions and keys of all kinds before it.
fn without_provenance(store: &Store, listing: &Digest) -> Digest {
    let bytes = |digest: &Digest| fs::read(store.object(digest).unwrap()).unwrap();
    let mut files: BTreeMap<String, Digest> = serde_json::from_slice(&bytes(listing)).unwrap();
    let page = String::from_utf8(bytes(&files["report.html"])).unwrap();
    let (before, rest) = page.split_once("<section id=\"provenance\">").unwrap();
    let after = rest.split_once("</section>").unwrap().1;
    files.insert("report.html".into(), Digest::of(format!("{before}{after}").as_bytes()));
    let mut results: Value = serde_json::from_slice(&bytes(&files["results.json"])).unwrap();
    results.as_object_mut().unwrap().remove("provenance");
    files.insert("results.json".into(), Digest::of_json(&results));
    Digest::of_json(&serde_json::to_value(&files).unwrap())
}

/// How a kind is not as the table has it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Difference {
    /// The table knows nothing of this machine.
    Unknown,
    /// A new kind or a new version.
    New,
    /// Other outputs under the same version.
    Unraised,
}

/// Returns what differs, in words.
fn complaint(kind: &str, known: Option<&Row>, now: &Row) -> Option<(Difference, String)> {
    let Some(known) = known else { return Some((Difference::New, format!("`{kind}` is not in the table"))) };
    if known.version != now.version {
        return Some((Difference::New, format!("`{kind}` has version {}, the table version {}", now.version, known.version)));
    }
    let Some(was) = known.outputs.get(&column(kind)) else {
        return Some((Difference::Unknown, format!("the table holds no outputs of `{kind}` on this machine ({})", machine())));
    };
    let is = &now.outputs[&column(kind)];
    let ports: BTreeSet<&String> = was.keys().chain(is.keys()).filter(|port| was.get(*port) != is.get(*port)).collect();
    let ports: Vec<&str> = ports.into_iter().map(String::as_str).collect();
    let file = KINDS.iter().find(|(known, _)| *known == kind).map_or("?", |(_, file)| file);
    let said = format!(
        "outputs of `{kind}` changed but its version did not: raise `version` in src/stages/{file}.rs, or undo (other bytes in `{}`)",
        ports.join("`, `")
    );
    (!ports.is_empty()).then_some((Difference::Unraised, said))
}

/// The table with what is accepted; a new version leaves nothing of what the old one made on other machines.
fn accepted(mut table: Table, now: Table) -> Table {
    for (kind, row) in now {
        match table.get_mut(&kind) {
            Some(known) if known.version == row.version => known.outputs.extend(row.outputs),
            _ => _ = table.insert(kind, row),
        }
    }
    table
}

#[test]
fn no_stage_makes_other_outputs_under_the_same_version() {
    let accept = std::env::var_os("FLOW_ACCEPT_VERSIONS").is_some_and(|value| value == "1");
    let write = accept && !golden("inputs").exists();
    let now = made_now(write);
    let table: Table = fs::read(golden("table.json")).map_or_else(|_| Table::new(), |bytes| serde_json::from_slice(&bytes).unwrap());
    let found = KINDS.iter().filter_map(|(kind, _)| complaint(kind, table.get(*kind), &now[*kind]));
    let found: Vec<(Difference, String)> = found.collect();
    let said = |wanted: fn(Difference) -> bool| -> Vec<&str> {
        found.iter().filter(|(difference, _)| wanted(*difference)).map(|(_, said)| said.as_str()).collect()
    };
    if accept {
        let refused = said(|difference| difference == Difference::Unraised);
        assert!(refused.is_empty() || write, "not accepted:\n{}", refused.join("\n"));
        let text = serde_json::to_string_pretty(&accepted(if write { Table::new() } else { table }, now)).unwrap();
        fs::write(golden("table.json"), text + "\n").unwrap();
        return;
    }
    for unknown in said(|difference| difference == Difference::Unknown) {
        say(&format!("not held against anything: {unknown}; FLOW_ACCEPT_VERSIONS=1 adds them"));
    }
    let wrong = said(|difference| difference != Difference::Unknown);
    assert!(
        wrong.is_empty(),
        "{}\naccept what is meant with FLOW_ACCEPT_VERSIONS=1 cargo test --release --test versions",
        wrong.join("\n")
    );
}

#[test]
fn every_kind_is_in_the_study_once_and_its_version_where_the_message_says() {
    let text = fs::read_to_string(golden("study.ron")).unwrap();
    let step = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stages/step.rs")).unwrap();
    let kinds = step.split("pub enum Step {").nth(1).unwrap().split('}').next().unwrap();
    let kinds: BTreeSet<&str> = kinds.lines().filter_map(|line| line.trim().split('(').next()).filter(|kind| !kind.is_empty()).collect();
    assert_eq!(kinds, KINDS.iter().map(|(kind, _)| *kind).collect());
    for (kind, file) in KINDS {
        assert_eq!(text.matches(&format!(": {kind}(")).count(), 1, "`{kind}` in study.ron");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/stages/{file}.rs"));
        assert!(fs::read_to_string(source).unwrap().contains(&format!("impl Stage for {kind} ")), "{file}");
    }
}

#[test]
fn a_change_without_a_new_version_is_told_and_one_with_it_is_accepted() {
    let row = |version, digest: &str| Row {
        version,
        outputs: BTreeMap::from([(column("Sweep"), BTreeMap::from([("results".to_string(), digest.to_string())]))]),
    };
    let said = |known: Option<&Row>, now: &Row| complaint("Sweep", known, now);
    assert_eq!(said(Some(&row(1, "a")), &row(1, "a")), None);
    let (difference, changed) = said(Some(&row(1, "a")), &row(1, "b")).unwrap();
    let expected =
        "outputs of `Sweep` changed but its version did not: raise `version` in src/stages/sweep.rs, or undo (other bytes in `results`)";
    assert_eq!((difference, changed.as_str()), (Difference::Unraised, expected));
    assert_eq!(said(Some(&row(1, "a")), &row(2, "b")), Some((Difference::New, "`Sweep` has version 2, the table version 1".to_string())));
    let elsewhere = Row { outputs: BTreeMap::from([("another machine".to_string(), BTreeMap::new())]), ..row(1, "") };
    assert_eq!(said(Some(&elsewhere), &row(1, "a")).unwrap().0, Difference::Unknown);
    let table = |row: Row| Table::from([("Sweep".to_string(), row)]);
    assert_eq!(accepted(table(elsewhere.clone()), table(row(1, "a")))["Sweep"].outputs.len(), 2);
    assert_eq!(accepted(table(elsewhere), table(row(2, "b")))["Sweep"].outputs.len(), 1);
}
