//! What runs again and what does not, on the real node kinds and the real program.

mod house;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use house::{FILE, House, Said};
use serde_json::Value;

/// A whole study, as small as it can be: eight nodes, seconds of work.
const STUDY: &str = r#"Pipeline(
    name: "stripes",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz", classes: ["flat", "tilted", "steep"])),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.3)),
        "dino": Dino(
            images: "split.train", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 8, local: 4, n_local: 2),
            epochs: 2, batch: 16, student_temp: 0.1, outputs: 32, hidden: 16, bottleneck: 8,
        ),
        "features": Features(images: "images", model: "dino.teacher"),
        "transform": Transform(features: "features", fit_on: "split.train"),
        "sweep": Sweep(
            features: "transform", labels: "images.labels", split: "split",
            per_class: [1, 2], repeats: 3, classifiers: [Svm(), Knn(k: 3)],
        ),
        "baseline": Supervised(
            images: "images", labels: "images.labels", split: "split", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            augment: (preset: Light, base: 12, global: 8), training: (stop: (blind_steps: 3, max_steps: 3)),
            per_class: [1, 2], repeats: 2,
        ),
        "report": Report(title: "Stripes", sweeps: ["sweep", "baseline"], curves: ["dino"], split: "split"),
    },
)
"#;

const NODES: [&str; 8] = ["baseline", "dino", "features", "images", "report", "split", "sweep", "transform"];
const NOTHING: [&str; 0] = [];
/// Where the report is laid out for people.
const PAGE: &str = "cache/out/stripes/report/report.html";

/// A house where the study has been run once.
fn studied() -> House {
    let house = House::new(STUDY);
    house.npz(60);
    assert_eq!(house.run("").ran(), NODES);
    house
}

#[test]
fn the_second_run_runs_nothing_and_makes_nothing() {
    let house = studied();
    let before = [house.files("cache/objects"), house.files("cache/entries")];
    let again = house.run("");
    assert_eq!((again.ran(), again.with("reused")), (vec![], NODES.to_vec()));
    assert_eq!([house.files("cache/objects"), house.files("cache/entries")], before);
}

#[test]
fn changing_the_report_title_trains_nothing_again() {
    let house = studied();
    house.edit(r#"title: "Stripes""#, r#"title: "Bars""#);
    assert_eq!(house.run("").ran(), ["report"]);
}

#[test]
fn changing_a_classifier_runs_the_sweep_and_the_report() {
    let house = studied();
    house.edit("k: 3", "k: 2");
    assert_eq!(house.run("").ran(), ["report", "sweep"]);
}

#[test]
fn changing_a_training_number_runs_the_training_and_all_after_it_and_going_back_runs_nothing() {
    let house = studied();
    house.edit("student_temp: 0.1", "student_temp: 0.2");
    assert_eq!(house.run("").ran(), ["dino", "features", "report", "sweep", "transform"]);
    house.edit("student_temp: 0.2", "student_temp: 0.1");
    assert_eq!(house.run("").ran(), NOTHING);
}

#[test]
fn writing_out_a_default_or_reordering_parameters_runs_nothing() {
    let house = studied();
    house.edit("Knn(k: 3)", "Knn(weights: Distance, k: 3) /* as ever */");
    assert_eq!(house.run("").ran(), NOTHING);
}

#[test]
fn renaming_a_node_runs_nothing() {
    let house = studied();
    house.edit(r#""dino": Dino("#, r#""pretraining": Dino("#);
    house.edit(r#"model: "dino.teacher""#, r#"model: "pretraining.teacher""#);
    house.edit(r#"curves: ["dino"]"#, r#"curves: ["pretraining"]"#);
    assert_eq!(house.run("").ran(), NOTHING);
}

#[test]
fn moving_pipeline_data_and_cache_runs_nothing() {
    let mut house = studied();
    house.move_away();
    assert_eq!(house.run("").ran(), NOTHING);
}

#[test]
fn other_numbers_of_jobs_and_another_cache_give_the_same_bytes() {
    let house = studied();
    let known = house.run("");
    let again = house.run("--jobs 1 --cache elsewhere");
    assert_eq!(again.ran(), NODES);
    for node in NODES {
        assert_eq!(again.outputs(node), known.outputs(node), "{node}");
    }
}

#[test]
fn a_forced_node_runs_and_makes_the_same_so_nothing_follows() {
    let house = studied();
    assert_eq!(house.run("--force dino").ran(), ["dino"]);
}

#[test]
fn a_damaged_output_is_noticed_said_and_remade() {
    let house = studied();
    let known = house.run("");
    let digest = known.outputs("features")["features"].as_str().unwrap();
    let object = house.path(&format!("cache/objects/{}/{}", &digest[..2], &digest[2..]));
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "bits that rotted").unwrap();
    let again = house.run("");
    assert_eq!((again.ran(), &again.nodes()["features"]["reason"]["why"]), (vec!["features"], &Value::from("output_damaged")));
    assert_eq!(again.outputs("features"), known.outputs("features"));
}

#[test]
fn only_the_named_nodes_and_what_they_read_are_brought_up_to_date() {
    let house = House::new(STUDY);
    house.npz(60);
    assert_eq!(house.run("split").ran(), ["images", "split"]);
    let rest = house.run("transform");
    assert_eq!((rest.ran(), rest.with("reused")), (vec!["dino", "features", "transform"], vec!["images", "split"]));
}

/// Images and labels from a table, parts from lists: what a lab has that corrects its labels.
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
        "features": Features(images: "images", model: "dino.teacher", floors: []),
        "sweep": Sweep(
            features: "features", labels: "images.labels", split: "split", per_class: [1], repeats: 2, classifiers: [Knn(k: 1)],
        ),
    },
)
"#;

#[test]
fn correcting_a_label_trains_nothing_again() {
    let house = House::new(TABLE);
    let pictures = house.pictures(24);
    let row = |path: &String| format!("{path},{}\n", path.split('/').next().unwrap());
    house.write("data/cells.csv", format!("path,label\n{}", pictures.iter().map(row).collect::<String>()));
    house.write("data/train.csv", format!("image\n{}\n", pictures[..15].join("\n")));
    let first = house.run("");
    assert_eq!(first.ran(), ["dino", "features", "images", "split", "sweep"]);
    house.edit_in("data/cells.csv", "flat/03.png,flat", "flat/03.png,steep");
    let corrected = house.run("");
    assert_eq!(corrected.ran(), ["images", "split", "sweep"]);
    assert_eq!(corrected.outputs("images")["images"], first.outputs("images")["images"]);
    assert_ne!(corrected.outputs("images")["labels"], first.outputs("images")["labels"]);
}

#[test]
fn labels_cannot_be_wired_into_dino() {
    let house = House::new(&STUDY.replace(r#"images: "split.train", backbone"#, r#"images: "images.labels", backbone"#));
    let said = house.flow(&format!("check {FILE}")).exits(2);
    assert!(said.err.starts_with("error: `dino` needs images for its `images`, but `images.labels` is labels\n"), "{}", said.err);
}

#[test]
fn plan_why_and_dry_run_run_nothing_and_name_the_cause() {
    let house = studied();
    house.edit("k: 3", "k: 2");
    let before = [house.files("cache/objects"), house.files("cache/entries")];
    let plan = house.flow(&format!("plan {FILE}")).exits(0);
    let expected = "\
run    sweep: parameter `classifiers.1.Knn.k` changed from 3 to 2
run    report: follows `sweep`, and is reused if its output stays the same
1 node to run, 1 that follows, 6 reused
";
    assert_eq!(plan.out, expected);
    assert_eq!(house.flow(&format!("run {FILE} --dry-run")).exits(0).out, expected);

    let why = house.flow(&format!("why {FILE} sweep")).exits(0).out;
    assert_eq!(why.lines().next(), Some("`sweep` would run: parameter `classifiers.1.Knn.k` changed from 3 to 2"));
    let components: BTreeSet<&str> = why.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(["key", "kind", "seed", "input", "param"].iter().all(|word| components.contains(word)), "{why}");
    let why = house.flow(&format!("why {FILE} dino")).exits(0).out;
    assert_eq!(why.lines().next(), Some("`dino` is up to date"));

    assert_eq!([house.files("cache/objects"), house.files("cache/entries")], before);
    assert_eq!(house.run("").ran(), ["report", "sweep"]);
}

#[test]
fn quiet_says_nothing_and_prints_the_result() {
    let house = studied();
    let said = house.flow(&format!("run {FILE} --quiet --force report")).exits(0);
    assert_eq!(said.err, "");
    let page = house.path(PAGE).canonicalize().unwrap();
    assert_eq!(said.out.lines().last(), Some(&*format!("report: {}", page.display())));
}

#[test]
fn a_setting_on_the_command_line_is_an_edit_of_the_pipeline() {
    let house = studied();
    assert_eq!(house.run("--set sweep.classifiers.1.k=2").ran(), ["report", "sweep"]);
    house.edit("k: 3", "k: 2");
    assert_eq!(house.run("").ran(), NOTHING);
}

/// Two data sets with a picture each that cannot be read, a sound one, and a split that needs the first.
const BAD: &str = r#"Pipeline(
    name: "bad",
    nodes: {
        "one": Ingest(Folder(root: "data/one")),
        "two": Ingest(Folder(root: "data/two")),
        "good": Ingest(Folder(root: "data/good")),
        "split": Split(images: "one", labels: "one"),
    },
)
"#;

fn with_bad_pictures() -> House {
    let house = House::new(BAD);
    for picture in house.pictures(6) {
        let bytes = fs::read(house.path("data").join(&picture)).unwrap();
        house.write(&format!("data/good/{picture}"), bytes);
    }
    house.write("data/one/well/a.png", "no picture");
    house.write("data/two/well/b.png", "no picture either");
    house
}

#[test]
fn a_node_that_fails_is_told_with_its_cause_and_ends_with_exit_code_1() {
    let house = with_bad_pictures();
    let said = house.run("").exits(1);
    assert_eq!((said.with("failed"), said.with("skipped"), said.with("ran")), (vec!["one", "two"], vec!["split"], vec!["good"]));
    let expected = "\
error: `one` failed: scanning `data/one`: 1 picture cannot be used:
  `data/one/well/a.png`: the content is no picture we can read: expected JPEG, PNG, BMP, TIFF, WebP or DICOM
help: repair or remove them, or leave them out with `on_bad: Skip`
";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(said.err.contains("skip   split: needs `one`, which failed\n"), "{}", said.err);
    assert!(said.err.lines().last().unwrap().starts_with("failed: 1 ran, 2 failed, 1 skipped in "), "{}", said.err);
}

#[test]
fn without_keep_going_nothing_starts_after_a_failure() {
    let house = with_bad_pictures();
    let said = house.run("--keep-going false --jobs 1 one two").exits(1);
    assert_eq!(said.with("failed").len(), 1);
    assert_eq!(house.run("--keep-going true --jobs 1 one two").exits(1).with("failed"), ["one", "two"]);
}

#[test]
fn a_command_line_that_cannot_be_understood_ends_with_exit_code_2() {
    let house = studied();
    for wrong in ["run", "fly", "run study.ron --jobs many", "run study.ron --device tpu", "run study.ron --force dyno", "plan nowhere.ron"]
    {
        let said = house.flow(wrong).exits(2);
        assert!(said.err.starts_with("error: ") || said.err.contains("Usage:"), "{wrong}: {}", said.err);
        assert_eq!(said.out, "", "{wrong}");
    }
}

/// Returns the fields of an event, sorted.
fn fields(event: &Value) -> Vec<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_promised(said: &Said) {
    for event in &said.events {
        let status = event["status"].as_str().unwrap_or_default();
        match event["event"].as_str().unwrap() {
            "node" => {
                let mut promised = vec!["event", "key", "kind", "node", "outputs", "reason", "seconds", "status"];
                if ["failed", "skipped"].contains(&status) {
                    promised.insert(0, "error");
                }
                assert_eq!(fields(event), promised);
                assert_eq!(event["reason"].is_object(), ["ran", "failed"].contains(&status), "{event}");
                assert_eq!(event["key"].is_string(), status != "skipped", "{event}");
                let outputs = event["outputs"].as_object().unwrap();
                assert!(outputs.values().all(|digest| digest.as_str().unwrap().len() == 64), "{event}");
            }
            "progress" => {
                assert_eq!(fields(event), ["done", "event", "node", "total", "unit", "values"]);
                assert!(event["done"].as_u64() <= event["total"].as_u64() && event["values"].is_object(), "{event}");
            }
            "run" => assert_eq!(fields(event), ["event", "failed", "ran", "reused", "run", "seconds", "skipped", "status"]),
            other => panic!("an event `{other}` is not promised"),
        }
    }
    assert_eq!(said.events.iter().filter(|e| e["event"] == "run").count(), 1);
    assert_eq!(said.events.last().unwrap()["event"], "run");
}

#[test]
fn events_have_exactly_the_promised_fields() {
    let house = studied();
    let said = house.run("--force dino");
    assert_promised(&said);
    let dino = said.nodes()["dino"];
    assert_eq!((&dino["kind"], &dino["reason"]["why"]), (&Value::from("dino"), &Value::from("forced")));
    let steps: Vec<u64> = said.events.iter().filter(|e| e["unit"] == "step").map(|e| e["done"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    let run = said.events.last().unwrap();
    assert_eq!([&run["status"], &run["ran"], &run["reused"]], [&Value::from("done"), &Value::from(1), &Value::from(7)]);
    assert_promised(&with_bad_pictures().run(""));
}

#[test]
fn events_on_standard_output_stand_there_alone() {
    let house = studied();
    let said = house.flow(&format!("run {FILE} --events -")).exits(0);
    let events: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), NODES.len() + 1);
    assert!(said.err.trim_end().ends_with(PAGE), "{}", said.err);
}
