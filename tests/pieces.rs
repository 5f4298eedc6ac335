//! Pieces: a stage that runs again makes only the parts that are new, and the same bytes as if it had made them all.

mod house;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flow::diagnostic::Failure;
use flow::digest::Digest;
use flow::engine::{Event, Options, Outcome, Places, lock, rebuild, run};
use flow::graph::{Draft, Graph, build};
use flow::stage::{Device, Io, Kind, Output, Stage};
use flow::store::Store;
use house::{FILE, House, Said};
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
        gpus: Vec::new(),
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
    assert_eq!(lab.store.holdings(&[])[0].entry.metrics["made"], 3.0);
}

#[test]
fn pieces_stay_as_long_as_a_result_that_is_made_of_them() {
    let desk = Desk::new();
    desk.made(&ALL);
    desk.made(&Words { words: "one two", ..ALL });
    let sweep = |keep_runs| {
        let sweep = desk.store.sweepable(&desk.store.own_roots(keep_runs).unwrap(), None);
        desk.store.sweep_away(&sweep).unwrap();
        (sweep.entries.len(), sweep.pieces.len())
    };
    assert_eq!((sweep(1), desk.store.scopes().len()), ((1, 0), 1));
    assert_eq!((sweep(0), desk.store.scopes().len()), ((1, 1), 0));
    assert_eq!(desk.made(&ALL), 3.0);
}

#[test]
fn a_size_that_a_cache_must_fit_counts_pieces_and_what_results_share_once() {
    let desk = Desk::new();
    desk.made(&ALL);
    desk.made(&Words { words: "one two", ..ALL });
    let going = |most| desk.store.sweepable(&desk.store.own_roots(0).unwrap(), Some(most)).entries.len();
    let outputs = ("ONETWOTHREE".len() + "ONETWO".len()) as u64;
    let pieces: u64 = desk.store.scopes().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!([going(outputs + pieces), going(outputs + pieces - 1), going(outputs)], [0, 1, 2], "the pieces are of both");
}

/// Images from a table whose train rows are listed, so that a new image trains nothing again.
const TABLE: &str = r#"Pipeline(
    name: "table",
    nodes: {
        "images": Ingest(Table(file: "data/cells.csv", label: "label")),
        "split": Split(images: "images", labels: "images.labels", how: Lists(train: "data/train.csv")),
        "dino": Dino(
            images: "split.train", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 8, local: 4, n_local: 2),
            epochs: 1, batch: 8, outputs: 32, hidden: 16, bottleneck: 8,
        ),
        "features": Features(images: "images", model: "dino.teacher"),
        "sweep": Sweep(
            features: "features", labels: "images.labels", split: "split",
            per_class: [1, 2], repeats: 2, classifiers: [Svm(), Knn(k: 3)],
        ),
    },
)
"#;

/// Lists so many pictures; the first fifteen are for training.
fn list(house: &House, n: usize) {
    let pictures = house.pictures(n);
    let row = |path: &String| format!("{path},{}\n", path.split('/').next().unwrap());
    house.write("data/cells.csv", format!("path,label\n{}", pictures.iter().map(row).collect::<String>()));
    house.write("data/train.csv", format!("image\n{}\n", pictures[..15].join("\n")));
}

/// A house where `TABLE` has been run on 24 pictures.
fn studied() -> House {
    let house = House::new(TABLE);
    list(&house, 24);
    let first = house.run("");
    assert_eq!(first.ran(), ["dino", "features", "images", "split", "sweep"]);
    assert_eq!(taken(&first), NOTHING);
    house
}

const NOTHING: [&str; 0] = [];

/// What the run said of pieces.
fn taken(said: &Said) -> Vec<&str> {
    said.err.lines().filter(|line| line.contains("taken from earlier runs")).collect()
}

/// How many of its units a node told of.
fn told(said: &Said, node: &str) -> Vec<(u64, u64)> {
    let of_node = said.events.iter().filter(|e| e["event"] == "progress" && e["node"] == node);
    of_node.map(|e| (e["done"].as_u64().unwrap(), e["total"].as_u64().unwrap())).collect()
}

/// Refuses outputs that differ from those of a cache that holds nothing.
#[track_caller]
fn same_as_from_nothing(house: &House, said: &Said, nodes: &[&str]) {
    for (cache, threads) in [("one", "1"), ("three", "3")] {
        let _ = fs::remove_dir_all(house.path(cache));
        let arguments = format!("run {FILE} --events again.jsonl --cache {cache}");
        let output = house.command(&arguments).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success());
        let fresh =
            Said { code: Some(0), out: String::new(), err: String::from_utf8(output.stderr).unwrap(), events: house.events("again.jsonl") };
        assert_eq!(taken(&fresh), NOTHING);
        for node in nodes {
            assert_eq!(said.outputs(node), fresh.outputs(node), "{node} on {threads} threads");
        }
    }
}

#[test]
fn a_new_image_costs_one_image() {
    let house = studied();
    list(&house, 25);
    let said = house.run("");
    assert_eq!(said.ran(), ["features", "images", "split", "sweep"]);
    assert_eq!(taken(&said), ["note   features: 24 of 25 images taken from earlier runs"]);
    // The network, the untrained one, and the pixels.
    assert_eq!(told(&said, "features"), [(1, 2), (2, 2), (1, 1)]);
    same_as_from_nothing(&house, &said, &["features", "sweep"]);
}

#[test]
fn a_renamed_image_costs_nothing_and_another_floor_only_itself() {
    let house = studied();
    fs::rename(house.path("data/flat/21.png"), house.path("data/flat/moved.png")).unwrap();
    house.edit_in("data/cells.csv", "flat/21.png", "flat/moved.png");
    let said = house.run("");
    assert_eq!((taken(&said)[0], told(&said, "features")), ("note   features: 24 of 24 images taken from earlier runs", vec![]));
    house.edit(r#"model: "dino.teacher")"#, r#"model: "dino.teacher", floors: [Pixels])"#);
    assert_eq!(told(&house.run(""), "features"), []);
}

#[test]
fn another_model_embeds_all_images_and_keeps_the_floors() {
    let house = studied();
    house.edit("epochs: 1", "epochs: 2");
    let said = house.run("");
    assert_eq!(told(&said, "features").last(), Some(&(24, 24)));
    same_as_from_nothing(&house, &said, &["features"]);
}

#[test]
fn a_changed_classifier_and_a_new_size_fit_only_their_cells() {
    let house = studied();
    house.edit("k: 3", "k: 2");
    let said = house.run("");
    assert_eq!((said.ran(), taken(&said)), (vec!["sweep"], vec!["note   sweep: 6 of 8 cells taken from earlier runs"]));
    same_as_from_nothing(&house, &said, &["sweep"]);
    house.edit("per_class: [1, 2]", "per_class: [3, 1, 2]");
    assert_eq!(taken(&house.run("")), ["note   sweep: 8 of 12 cells taken from earlier runs"]);
    // A corrected label is another study.
    house.edit_in("data/cells.csv", "flat/21.png,flat", "flat/21.png,steep");
    assert_eq!(taken(&house.run("")), NOTHING);
}

#[test]
fn forced_nodes_take_nothing_and_make_the_same() {
    let house = studied();
    let known = house.run("");
    let forced = house.run("--force features --force sweep");
    assert_eq!((forced.ran(), taken(&forced)), (vec!["features", "sweep"], vec![]));
    assert_eq!(told(&forced, "features").len(), told(&house.run("--force features"), "features").len());
    for node in ["features", "sweep"] {
        assert_eq!(forced.outputs(node), known.outputs(node));
    }
}

/// Short trainings with the few labels.
const TRAINED: &str = r#"Pipeline(
    name: "trained",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels"),
        "baseline": Supervised(
            images: "images", labels: "images.labels", split: "split", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            augment: (preset: Light, base: 12, global: 12), training: (stop: (blind_steps: 3)), per_class: [1, 2], repeats: 2,
        ),
        "layer": LinearProbe(
            images: "images", labels: "images.labels", split: "split", model: "baseline.model",
            augment: (preset: Light, base: 12, global: 12), training: (stop: (blind_steps: 3)), per_class: [1, 2], repeats: 2,
        ),
    },
)
"#;

#[test]
fn more_repeats_and_new_sizes_train_only_what_is_new() {
    let house = House::new(TRAINED);
    house.npz(60);
    assert_eq!(taken(&house.run("")), NOTHING);
    let both = fs::read_to_string(house.path(FILE)).unwrap().replace("repeats: 2", "repeats: 3");
    house.write(FILE, &both);
    let more = house.run("");
    let expected = ["note   baseline: 4 of 6 repeats taken from earlier runs", "note   layer: 4 of 6 repeats taken from earlier runs"];
    assert_eq!((more.ran(), taken(&more)), (vec!["baseline", "layer"], expected.to_vec()));
    same_as_from_nothing(&house, &more, &["baseline", "layer"]);
    // The model that goes out is that of the last number of labels: here another one, whose weights nobody has kept.
    house.write(FILE, both.replace("per_class: [1, 2]", "per_class: [2, 4, 1]"));
    let sizes = house.run("baseline");
    assert_eq!(taken(&sizes), ["note   baseline: 5 of 9 repeats taken from earlier runs"]);
    same_as_from_nothing(&house, &sizes, &["baseline"]);
}
