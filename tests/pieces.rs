//! Pieces: a stage that runs again makes only the parts that are new, and the same bytes as if it had made them all.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flow::diagnostic::Failure;
use flow::digest::Digest;
use flow::engine::{Event, Options, Outcome, Places, lock, rebuild, run};
use flow::graph::{Draft, Graph, build};
use flow::stage::{Device, Io, Kind, Output, Stage};
use flow::store::Store;
use serde_json::{Value, json};

/// Writes words in capitals; each word is a piece. Its figure says how many it had to write itself.
#[derive(Clone, Debug)]
struct Words {
    words: &'static str,
    version: u32,
    /// Fails after so many words.
    fails_after: usize,
}

const ALL: Words = Words { words: "one two three", version: 1, fails_after: usize::MAX };

impl Stage for Words {
    fn kind(&self) -> &'static str {
        "Words"
    }
    fn version(&self) -> u32 {
        self.version
    }
    fn params(&self) -> Value {
        json!({"words": self.words})
    }
    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("out", Kind("text"))]
    }
    fn run(&self, io: &Io) -> Result<(), Failure> {
        let pieces = io.pieces(&json!({"case": "upper"}))?;
        let (mut text, mut made) = (Vec::new(), 0);
        for (i, word) in self.words.split(' ').enumerate() {
            if i >= self.fails_after {
                return Err(Failure::new("out of ink"));
            }
            let name = Digest::of(word.as_bytes());
            text.extend(pieces.get(&name).unwrap_or_else(|| {
                made += 1;
                pieces.put(name, word.to_uppercase().as_bytes());
                word.to_uppercase().into_bytes()
            }));
        }
        io.metric("made", f64::from(made));
        fs::write(io.output("out"), text).unwrap();
        Ok(())
    }
}

fn graph(stage: &Words) -> Graph {
    build("words", 1, vec![Draft { name: "words".into(), stage: Arc::new(stage.clone()) }], &[]).unwrap()
}

fn options(graph: &Graph, forced: bool) -> Options {
    Options {
        jobs: 1,
        forced: graph.ids().filter(|_| forced).collect(),
        keep_going: true,
        device: Device::Cpu,
        places: Places::default(),
        interrupt: Arc::new(AtomicBool::new(false)),
    }
}

/// A store, and what toy stages make in it.
struct Desk {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        Self { _folder: folder, store }
    }

    fn outcome(&self, stage: &Words, forced: bool) -> Outcome {
        let graph = graph(stage);
        let wanted: Vec<_> = graph.ids().collect();
        run(&graph, &self.store, &wanted, &options(&graph, forced), &mut |_: &Event| {}).unwrap().outcomes.remove(0)
    }

    /// Runs the stage; returns how many words it wrote itself.
    fn made(&self, stage: &Words) -> f64 {
        self.outcome(stage, false).metrics["made"]
    }
}

#[test]
fn only_new_pieces_are_made_and_the_bytes_are_those_of_a_run_without() {
    let desk = Desk::new();
    assert_eq!(desk.made(&ALL), 3.0);
    let longer = Words { words: "three four one", ..ALL };
    let outcome = desk.outcome(&longer, false);
    assert_eq!(outcome.metrics["made"], 1.0);
    assert_eq!(outcome.outputs, Desk::new().outcome(&longer, false).outputs);
}

#[test]
fn a_raised_version_forgets_all_pieces() {
    let desk = Desk::new();
    desk.made(&ALL);
    assert_eq!(desk.made(&Words { version: 2, ..ALL }), 3.0);
}

#[test]
fn a_forced_node_makes_all_its_pieces_anew() {
    let desk = Desk::new();
    desk.made(&ALL);
    assert_eq!(desk.outcome(&ALL, true).metrics["made"], 3.0);
    assert_eq!(desk.made(&Words { words: "one two", ..ALL }), 0.0);
}

#[test]
fn what_a_failed_run_has_made_is_kept() {
    let desk = Desk::new();
    let failed = desk.outcome(&Words { fails_after: 2, ..ALL }, false);
    assert_eq!(failed.trouble.as_deref(), Some("out of ink"));
    assert_eq!(desk.made(&ALL), 1.0);
}

#[test]
fn a_rebuild_sees_no_pieces() {
    let desk = Desk::new();
    desk.made(&ALL);
    let graph = graph(&ALL);
    let locked = lock(&graph, &desk.store, &Places::default()).unwrap();
    let again: Vec<_> = graph.ids().collect();
    let lab = rebuild(&graph, &desk.store, &locked, &again, &options(&graph, false), &mut |_: &Event| {}).unwrap();
    assert_eq!(lab.store.holdings(0)[0].entry.metrics["made"], 3.0);
}

#[test]
fn pieces_stay_as_long_as_a_result_that_is_made_of_them() {
    let desk = Desk::new();
    desk.made(&ALL);
    desk.made(&Words { words: "one two", ..ALL });
    let sweep = |keep_runs| {
        let sweep = desk.store.sweepable(keep_runs, None);
        desk.store.sweep_away(&sweep).unwrap();
        (sweep.entries.len(), sweep.pieces.len())
    };
    assert_eq!((sweep(1), desk.store.scopes().len()), ((1, 0), 1));
    assert_eq!((sweep(0), desk.store.scopes().len()), ((1, 1), 0));
    assert_eq!(desk.made(&ALL), 3.0);
}
