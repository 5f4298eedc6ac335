//! The engine on toy stages: what runs, what is reused, and what happens when things break.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flow::diagnostic::Failure;
use flow::engine::{Event, Options, Places, Planned, Reason, Status, Summary, plan, run};
use flow::graph::{Draft, Graph, build};
use flow::params::{DataPath, Ref};
use flow::stage::{Device, Input, Io, Kind, Output, Source, Stage};
use flow::store::Store;
use serde_json::{Value, json};

const TEXT: Kind = Kind("text");

/// Writes its text, then the texts it reads, in capitals if told so.
#[derive(Clone, Debug, Default)]
struct Toy {
    text: String,
    reads: Vec<&'static str>,
    file: Option<&'static str>,
    /// Makes the output independent of `text`: for early cutoff.
    constant: bool,
    fails: bool,
    panics: bool,
    version: u32,
}

impl Stage for Toy {
    fn kind(&self) -> &'static str {
        "Toy"
    }
    fn version(&self) -> u32 {
        self.version
    }
    fn params(&self) -> Value {
        json!({"text": self.text})
    }
    fn inputs(&self) -> Vec<Input> {
        let refs: Vec<Ref> = self.reads.iter().map(|r| Ref::from(*r)).collect();
        Input::each("reads", &refs, TEXT).collect()
    }
    fn sources(&self) -> Vec<Source> {
        let source = |f: &&str| Source { role: "file".into(), path: DataPath::from(*f), about: "a toy".into() };
        self.file.iter().map(source).collect()
    }
    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("out", TEXT)]
    }
    fn run(&self, io: &Io) -> Result<(), Failure> {
        if self.panics {
            panic!("toy broke");
        }
        if self.fails {
            return Err(Failure::new("toy is sad"));
        }
        let mut text = if self.constant { "constant".to_string() } else { self.text.clone() };
        for i in 0..self.reads.len() {
            text += &fs::read_to_string(io.input(&format!("reads.{i}"))?).unwrap();
        }
        if self.file.is_some() {
            text += &fs::read_to_string(&io.source("file")?.root).unwrap();
        }
        fs::write(io.output("out"), text).unwrap();
        Ok(())
    }
}

fn toy(text: &str, reads: &[&'static str]) -> Toy {
    Toy { text: text.into(), reads: reads.to_vec(), ..Toy::default() }
}

/// A scratch store and base folder.
struct House {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("cache")).unwrap());
        Self { folder, store }
    }

    fn base(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, nodes: &[(&str, Toy)]) -> Seen {
        self.run_with(nodes, &[], true)
    }

    fn run_with(&self, nodes: &[(&str, Toy)], forced: &[&str], keep_going: bool) -> Seen {
        let graph = graph(nodes);
        let options = Options {
            jobs: 2,
            forced: forced.iter().map(|n| graph.find(n).unwrap()).collect(),
            keep_going,
            device: Device::Cpu,
            gpus: vec![],
            places: Places { base: self.base().to_path_buf(), ..Places::default() },
            interrupt: Arc::new(AtomicBool::new(false)),
        };
        let wanted: Vec<_> = graph.ids().collect();
        let summary = run(&graph, &self.store, &wanted, &options, &mut |_: &Event| {}).unwrap();
        Seen { graph, summary }
    }

    fn read(&self, seen: &Seen, node: &str) -> String {
        let outcome = seen.outcome(node);
        fs::read_to_string(self.store.object(&outcome.outputs["out"]).unwrap()).unwrap()
    }
}

struct Seen {
    graph: Graph,
    summary: Summary,
}

impl Seen {
    fn outcome(&self, node: &str) -> &flow::engine::Outcome {
        let id = self.graph.find(node).unwrap();
        self.summary.outcomes.iter().find(|o| o.node == id).unwrap()
    }
    fn with(&self, status: Status) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.summary.outcomes.iter().filter(|o| o.status == status).map(|o| self.graph.node(o.node).name.as_str()).collect();
        names.sort_unstable();
        names
    }
    fn ran(&self) -> Vec<&str> {
        self.with(Status::Ran)
    }
}

fn graph(nodes: &[(&str, Toy)]) -> Graph {
    let drafts = nodes.iter().map(|(name, stage)| Draft { name: name.to_string(), stage: Arc::new(stage.clone()) });
    build("toys", 1, drafts.collect(), &[]).unwrap()
}

#[test]
fn only_what_changed_runs_again_and_going_back_runs_nothing() {
    let house = House::new();
    let first = [("a", toy("a", &[])), ("b", toy("b", &["a"])), ("c", toy("c", &["b"])), ("d", toy("d", &["a"]))];
    let seen = house.run(&first);
    assert_eq!(seen.ran(), ["a", "b", "c", "d"]);
    assert_eq!(house.read(&seen, "c"), "cba");
    assert_eq!(house.run(&first).ran(), [""; 0]);

    let mut edited = first.clone();
    edited[1].1.text = "B".into();
    assert_eq!(house.run(&edited).ran(), ["b", "c"]);
    assert_eq!(house.run(&first).ran(), [""; 0]);
}

#[test]
fn an_output_that_stays_the_same_stops_the_change_there() {
    let house = House::new();
    let mut nodes = [("a", toy("a", &[])), ("b", Toy { constant: true, ..toy("b", &["a"]) }), ("c", toy("c", &["b"]))];
    nodes[1].1.reads = vec![];
    house.run(&nodes);
    nodes[1].1.text = "other".into();
    assert_eq!(house.run(&nodes).ran(), ["b"]);
}

#[test]
fn renaming_a_node_or_moving_the_project_runs_nothing() {
    let house = House::new();
    house.run(&[("a", toy("a", &[])), ("b", toy("b", &["a"]))]);
    assert_eq!(house.run(&[("x", toy("a", &[])), ("b", toy("b", &["x"]))]).ran(), [""; 0]);
}

#[test]
fn a_revised_stage_runs_again_and_says_so() {
    let house = House::new();
    house.run(&[("a", toy("a", &[]))]);
    let seen = house.run(&[("a", Toy { version: 1, ..toy("a", &[]) })]);
    assert_eq!(seen.outcome("a").reason.as_ref().unwrap().to_string(), "the stage was revised from version 0 to 1");
}

#[test]
fn a_forced_node_runs_though_its_result_is_known() {
    let house = House::new();
    let nodes = [("a", toy("a", &[])), ("b", toy("b", &["a"]))];
    house.run(&nodes);
    assert_eq!(house.run_with(&nodes, &["a"], true).ran(), ["a"]);
}

#[test]
fn a_failing_node_stops_only_what_needs_it() {
    let house = House::new();
    let nodes = [("a", Toy { fails: true, ..toy("a", &[]) }), ("b", toy("b", &["a"])), ("c", toy("c", &["b"])), ("d", toy("d", &[]))];
    let seen = house.run(&nodes);
    assert_eq!(seen.summary.status, "failed");
    assert_eq!((seen.with(Status::Failed), seen.with(Status::Skipped), seen.ran()), (vec!["a"], vec!["b", "c"], vec!["d"]));
    assert_eq!(seen.outcome("a").trouble.as_deref(), Some("toy is sad"));
    assert_eq!(seen.outcome("b").trouble.as_deref(), Some("needs `a`, which failed"));
}

#[test]
fn a_panic_in_a_stage_is_a_failure_of_its_node() {
    let house = House::new();
    let seen = house.run(&[("a", Toy { panics: true, ..toy("a", &[]) }), ("b", toy("b", &[]))]);
    assert!(seen.outcome("a").trouble.as_deref().unwrap().starts_with("flow has a mistake of its own: toy broke"));
    assert_eq!(seen.ran(), ["b"]);
}

#[test]
fn a_changed_file_runs_what_reads_it_even_if_size_and_mtime_are_the_same() {
    let house = House::new();
    let path = house.base().join("data.txt");
    fs::write(&path, "one").unwrap();
    let nodes = [("a", Toy { file: Some("data.txt"), ..toy("a", &[]) })];
    house.run(&nodes);
    assert_eq!(house.run(&nodes).ran(), [""; 0]);
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    let seen = house.run(&nodes);
    assert_eq!(seen.ran(), ["a"]);
    assert_eq!(house.read(&seen, "a"), "atwo");
}

#[test]
fn a_missing_file_fails_its_node_with_the_way_out() {
    let house = House::new();
    let seen = house.run(&[("a", Toy { file: Some("none.txt"), ..toy("a", &[]) })]);
    let said = seen.outcome("a").trouble.clone().unwrap();
    assert!(said.contains("none.txt` does not exist") && said.ends_with("help: a toy"), "{said}");
}

/// Overwrites an object in place, as a disk or a person might.
fn damage(house: &House, seen: &Seen, node: &str) {
    let path = house.store.object(&seen.outcome(node).outputs["out"]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, "X").unwrap();
}

#[test]
fn a_damaged_output_is_noticed_said_and_remade() {
    let house = House::new();
    let nodes = [("a", toy("a", &[])), ("b", toy("b", &["a"]))];
    let seen = house.run(&nodes);
    damage(&house, &seen, "a");
    let again = house.run(&nodes);
    assert_eq!(again.ran(), ["a"]);
    let said = format!("`out` is damaged (object {})", seen.outcome("a").outputs["out"].short());
    assert_eq!(again.outcome("a").reason, Some(Reason::OutputDamaged { outputs: vec![said] }));
    assert_eq!(house.read(&again, "a"), "a");
}

#[test]
fn a_damaged_input_is_remade_before_it_is_read() {
    let house = House::new();
    let nodes = [("a", toy("a", &[])), ("b", toy("b", &["a"])), ("c", toy("c", &["b", "a"]))];
    let seen = house.run(&nodes);
    damage(&house, &seen, "a");
    let graph = graph(&[("a", toy("a", &[])), ("b", toy("b", &["a"])), ("c", toy("C", &["b", "a"]))]);
    let options = Options {
        jobs: 1,
        forced: vec![],
        keep_going: true,
        device: Device::Cpu,
        gpus: vec![],
        places: Places { base: house.base().to_path_buf(), ..Places::default() },
        interrupt: Arc::new(AtomicBool::new(false)),
    };
    // Only `c` is wanted, so `a` is looked at closely only when `c` is about to read it.
    let wanted = [graph.find("c").unwrap()];
    let summary = run(&graph, &house.store, &wanted, &options, &mut |_: &Event| {}).unwrap();
    let seen = Seen { graph, summary };
    assert_eq!(seen.ran(), ["a", "c"]);
    assert_eq!(house.read(&seen, "c"), "Cbaa");
}

#[test]
fn a_damaged_entry_counts_as_unknown() {
    let house = House::new();
    let nodes = [("a", toy("a", &[]))];
    let seen = house.run(&nodes);
    let key = seen.outcome("a").key.unwrap().hex();
    let entry = house.store.root().join("entries").join(&key[..2]).join(format!("{}.json", &key[2..]));
    fs::write(entry, "{ half").unwrap();
    assert_eq!(house.run(&nodes).ran(), ["a"]);
}

#[test]
fn an_interrupted_run_says_so_and_starts_nothing_more() {
    let house = House::new();
    let graph = graph(&[("a", toy("a", &[])), ("b", toy("b", &["a"]))]);
    let options = Options {
        jobs: 1,
        forced: vec![],
        keep_going: true,
        device: Device::Cpu,
        gpus: vec![],
        places: Places::default(),
        interrupt: Arc::new(AtomicBool::new(false)),
    };
    let wanted: Vec<_> = graph.ids().collect();
    let flag = options.interrupt.clone();
    let summary = run(&graph, &house.store, &wanted, &options, &mut |event: &Event| {
        if matches!(event, Event::Node(_)) {
            flag.store(true, Ordering::SeqCst);
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.status, summary.outcomes.len()), ("interrupted", 1));
}

#[test]
fn a_plan_names_the_cause_and_what_follows() {
    let house = House::new();
    let mut nodes = [("a", toy("a", &[])), ("b", toy("b", &["a"])), ("c", toy("c", &[]))];
    house.run(&nodes);
    nodes[0].1.text = "A".into();
    let graph = graph(&nodes);
    let wanted: Vec<_> = graph.ids().collect();
    let planned = plan(&graph, &house.store, &Places::default(), &wanted, &[]).unwrap();
    let said: BTreeMap<&str, String> = planned
        .iter()
        .map(|(id, what)| {
            let word = match what {
                Planned::Reuse { .. } => "reuse".to_string(),
                Planned::Run { reason, .. } => reason.to_string(),
                Planned::After { nodes } => format!("after {}", graph.node(nodes[0]).name),
                Planned::Blocked { trouble } => trouble.clone(),
            };
            (graph.node(*id).name.as_str(), word)
        })
        .collect();
    assert_eq!(said["a"], "parameter `text` changed from \"a\" to \"A\"");
    assert_eq!(said["b"], "after a");
    assert_eq!(said["c"], "reuse");
}
