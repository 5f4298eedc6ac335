//! Work that was done is never done twice: a run that is killed or interrupted goes on where it was, to the same bytes.

mod house;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flow::random::Stream;
use house::{FILE, House, Said};
use serde_json::Value;

/// A training of some seconds, so that there is a middle to stop it in.
const TRAINING: &str = r#"Pipeline(
    name: "training",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels"),
        "dino": Dino(
            images: "split.train", backbone: Xcit(dim: 32, depth: 2, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 12, local: 8, n_local: 2),
            epochs: 80, batch: 14, outputs: 256, hidden: 64, bottleneck: 32,
        ),
    },
)
"#;

/// Eight short trainings one after the other.
const BASELINE: &str = r#"Pipeline(
    name: "baseline",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels"),
        "baseline": Supervised(
            images: "images", labels: "images.labels", split: "split", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            augment: (preset: Light, base: 12, global: 12), training: (stop: (blind_steps: 100)), per_class: [1, 2], repeats: 4,
        ),
    },
)
"#;

const EVENTS: &str = "events.jsonl";

/// Long enough for any machine; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(120);

fn house(pipeline: &str) -> House {
    let house = House::new(pipeline);
    house.npz(60);
    house
}

/// Returns the outputs of a training that nobody disturbs.
fn undisturbed() -> &'static Value {
    static OUTPUTS: OnceLock<Value> = OnceLock::new();
    OUTPUTS.get_or_init(|| house(TRAINING).run("").exits(0).outputs("dino").clone())
}

/// Starts a run and lets it go on until `far_enough`; it must not have ended before.
fn stopped_when(house: &House, far_enough: impl Fn() -> bool) -> Child {
    // The events of an earlier run say nothing about this one.
    let _ = std::fs::remove_file(house.path(EVENTS));
    let mut child = house.command(&format!("run {FILE} --events {EVENTS}")).spawn().unwrap();
    let start = Instant::now();
    while !far_enough() {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it could be stopped: make it longer");
        assert!(start.elapsed() < DEADLINE, "the training does not come far enough");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Returns how many steps the events tell of.
fn steps(house: &House) -> u64 {
    house.events(EVENTS).iter().rev().find_map(|e| (e["unit"] == "step").then(|| e["done"].as_u64().unwrap())).unwrap_or(0)
}

fn has_checkpoint(house: &House) -> bool {
    let is_checkpoint = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-");
    house.files("cache").iter().any(is_checkpoint)
}

/// Runs again and refuses anything but going on from a step past the first.
fn goes_on(house: &House) -> Said {
    let again = house.run("").exits(0);
    assert_eq!((again.with("reused"), again.with("ran")), (vec!["images", "split"], vec!["dino"]));
    let note = again.err.lines().find(|line| line.starts_with("note   dino: goes on from step "));
    let words: Vec<&str> = note.unwrap_or_else(|| panic!("it started anew:\n{}", again.err)).split(' ').collect();
    let from: u64 = words[words.len() - 3].parse().unwrap();
    let first = again.events.iter().find(|e| e["unit"] == "step").unwrap()["done"].as_u64().unwrap();
    assert!(from > 0 && first == from + 1, "from step {from}, but the first step told is {first}");
    again
}

#[test]
fn a_killed_training_goes_on_from_its_checkpoint_and_ends_with_the_same_bytes() {
    let house = house(TRAINING);
    let mut child = stopped_when(&house, || has_checkpoint(&house) && steps(&house) > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.events(EVENTS).iter().all(|e| e["event"] == "progress" || e["node"] != "dino"), "nothing tells of an end");
    assert_eq!(goes_on(&house).outputs("dino"), undisturbed());
    assert!(!has_checkpoint(&house), "a finished training needs no checkpoints");
    assert_eq!(house.run("").ran(), [""; 0]);
}

#[test]
fn a_training_killed_again_and_again_ends_with_the_same_bytes() {
    let house = house(TRAINING);
    for _ in 0..3 {
        let mut child = stopped_when(&house, || has_checkpoint(&house) && steps(&house) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(goes_on(&house).outputs("dino"), undisturbed());
}

#[test]
fn a_training_killed_at_twenty_random_steps_ends_with_the_same_bytes() {
    let house = house(TRAINING);
    // 42 pictures in batches of 14.
    let all = 80 * 3;
    let mut draws = Stream::new(3, "kills").draws();
    let mut moments: Vec<u64> = (0..20).map(|_| 1 + draws.below(all * 9 / 10) as u64).collect();
    moments.sort_unstable();
    for moment in moments {
        let mut child = stopped_when(&house, || steps(&house) >= moment);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(goes_on(&house).outputs("dino"), undisturbed());
}

#[test]
fn an_interrupted_training_keeps_a_checkpoint_says_so_and_goes_on_to_the_same_bytes() {
    let house = house(TRAINING);
    let child = stopped_when(&house, || steps(&house) >= 3);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopping: running nodes save what they can; once more ends at once\n"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("interrupted: 2 ran in "), "{said}");
    assert!(has_checkpoint(&house));
    let last = house.events(EVENTS).pop().unwrap();
    assert_eq!([&last["event"], &last["status"]], ["run", "interrupted"]);
    assert_eq!(goes_on(&house).outputs("dino"), undisturbed());
}

#[test]
fn a_killed_baseline_trains_only_the_repeats_that_were_not_finished() {
    let undisturbed = house(BASELINE).run("").exits(0);
    let house = house(BASELINE);
    let finished = || house.files("cache/pieces").iter().filter(|path| path.extension().is_some_and(|e| e == "pack")).count();
    let mut child = stopped_when(&house, || finished() >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let again = house.run("").exits(0);
    let note =
        again.err.lines().find_map(|line| line.strip_prefix("note   baseline: ")?.strip_suffix(" of 8 repeats taken from earlier runs"));
    let kept: usize = note.unwrap_or_else(|| panic!("it started anew:\n{}", again.err)).parse().unwrap();
    assert!(kept >= 2, "{kept}");
    let begun = again.events.iter().filter(|e| e["unit"] == "step" && e["done"] == 1).count();
    assert_eq!((again.with("ran"), begun), (vec!["baseline"], 8 - kept));
    assert_eq!(again.outputs("baseline"), undisturbed.outputs("baseline"));
}

#[test]
fn two_runs_at_once_do_each_piece_of_work_once() {
    let house = house(BASELINE);
    let start = |events: &str| house.command(&format!("run {FILE} --events {events}")).spawn().unwrap();
    let children = [start("one.jsonl"), start("two.jsonl")];
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let events = [house.events("one.jsonl"), house.events("two.jsonl")].concat();
    let ended = |status: &str| {
        let mut names: Vec<&str> = events.iter().filter(|e| e["status"] == status).filter_map(|e| e["node"].as_str()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!((ended("ran"), ended("reused")), (vec!["baseline", "images", "split"], vec!["baseline", "images", "split"]));
}
