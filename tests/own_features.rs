//! Features of another program, studied like our own: imported from any of three forms, split, transformed, swept, reported.

mod house;

use std::collections::HashMap;

use house::House;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

const STUDY: &str = r#"Pipeline(
    name: "mine",
    nodes: {
        "mine": ImportFeatures(file: "rows.csv", of: "others"),
        "split": Split(images: "mine", labels: "mine", how: Stratified(test: 0.4)),
        "transform": Transform(features: "mine", fit_on: "split.train"),
        "sweep": Sweep(features: "transform", labels: "mine", split: "split", per_class: [1, 10], repeats: 3),
        "report": Report(title: "Mine", sweeps: ["sweep"], images: "mine", split: "split"),
    },
)"#;

/// Two heaps of points that lie apart.
fn row(i: usize) -> [f32; 2] {
    [(i % 2) as f32 * 4.0 + (i as f32 * 1.7).sin(), (i as f32 * 2.3).cos()]
}

fn id(i: usize) -> String {
    format!("cell {i:02}")
}

fn label(i: usize) -> &'static str {
    ["round", "sickle"][i % 2]
}

const N: usize = 60;

fn csv(order: impl Iterator<Item = usize>) -> String {
    let line = |i: usize| format!("{},{},{},{}\n", id(i), row(i)[0], label(i), row(i)[1]);
    std::iter::once("image,x,label,y\n".to_string()).chain(order.map(line)).collect()
}

fn labels() -> String {
    std::iter::once("label,id\n".to_string()).chain((0..N).rev().map(|i| format!("{},{}\n", label(i), id(i)))).collect()
}

fn bytes() -> Vec<u8> {
    (0..N).flat_map(row).flat_map(f32::to_le_bytes).collect()
}

fn study() -> House {
    let house = House::new(STUDY);
    house.write("rows.csv", csv(0..N));
    house
}

#[test]
fn a_table_of_features_goes_from_import_to_report_and_the_order_of_its_rows_decides_nothing() {
    let house = study();
    let said = house.run("");
    assert_eq!(said.ran(), ["mine", "report", "split", "sweep", "transform"]);
    assert_eq!(house.flow("export study.ron sweep -o sweep").code, Some(0));
    let summary = std::fs::read_to_string(house.path("sweep/tables/summary.csv")).unwrap();
    let svm: Vec<&str> = summary.lines().find(|line| line.starts_with("SVM,10,")).unwrap().split(',').collect();
    assert!(svm[4].parse::<f64>().unwrap() > 0.95, "{summary}");
    assert!(said.err.contains("60 rows of 2 numbers, 2 classes"), "{}", said.err);

    house.write("rows.csv", csv((0..N).rev()));
    assert_eq!(house.run("").ran(), ["mine"]);
    house.write("rows.csv", csv(0..N).replace("cell 00,0,round", "cell 00,0,sickle"));
    assert_eq!(house.run("split transform").ran().first(), Some(&"mine"));
}

#[test]
fn the_three_forms_of_a_table_are_one() {
    let house = study();
    house.write("labels.csv", labels());
    house.write("ids.txt", (0..N).map(|i| id(i) + "\n").collect::<String>());
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({N}, 2), }}");
    house.write("rows.npy", [&b"\x93NUMPY\x01\x00\x76\x00"[..], format!("{head:117}\n").as_bytes(), &bytes()].concat());
    let ids = serde_json::to_string(&(0..N).map(id).collect::<Vec<_>>()).unwrap();
    let (data, few) = (bytes(), [0; 4]);
    let views =
        [("bias", TensorView::new(Dtype::F32, vec![1], &few).unwrap()), ("rows", TensorView::new(Dtype::F32, vec![N, 2], &data).unwrap())];
    house.write("rows.safetensors", safetensors::serialize(views, Some(HashMap::from([("ids".to_string(), ids)]))).unwrap());

    let outputs = |settings: &str| -> Value {
        let said = house.run(&format!("mine {settings}"));
        assert_eq!(said.ran(), ["mine"]);
        said.outputs("mine").clone()
    };
    let from_csv = outputs("");
    assert_eq!(outputs(r#"--set mine.file="rows.npy" --set mine.ids="ids.txt" --set mine.labels="labels.csv""#), from_csv);
    assert_eq!(outputs(r#"--set mine.file="rows.safetensors" --set mine.tensor="rows" --set mine.labels="labels.csv""#), from_csv);
}

#[test]
fn published_lists_divide_imported_rows_and_equal_rows_in_two_parts_are_refused() {
    let house = study();
    house.edit("Stratified(test: 0.4)", r#"Lists(train: "train.csv", test: "test.csv")"#);
    let list = |part: usize| -> String {
        std::iter::once("id\n".to_string()).chain((0..N).filter(|i| i / 2 % 2 == part).map(|i| id(i) + "\n")).collect()
    };
    house.write("train.csv", list(0));
    house.write("test.csv", list(1));
    let said = house.run("sweep");
    assert_eq!(said.ran(), ["mine", "split", "sweep", "transform"]);
    assert_eq!(house.flow("export study.ron split -o split").code, Some(0));
    assert_eq!(std::fs::read_to_string(house.path("split/test")).unwrap().lines().count(), 1 + N / 2);

    // Row 2, of the test part, now says what row 0 says.
    let [x, y] = row(0);
    let line = |i: usize| format!("{},{},{},{}\n", id(i), row(i)[0], label(i), row(i)[1]);
    house.write("rows.csv", csv(0..N).replace(&line(2), &format!("{},{x},{},{y}\n", id(2), label(2))));
    let said = house.run("sweep").exits(1);
    let expected = "1 image with the same bytes as an image of another part: `cell 00` and `cell 02` first";
    assert!(said.err.contains(expected), "{}", said.err);
}

#[test]
fn kept_predictions_say_id_truth_prediction_and_scores_and_make_no_other_figure() {
    let house = study();
    let whole = house.run("sweep");
    assert!(house.flow("export study.ron sweep -o none").code == Some(0) && !house.path("none/tables/predictions.csv").exists());
    let kept = house.run("sweep --set sweep.keep_predictions=true");
    assert_eq!(kept.ran(), ["sweep"]);
    assert_eq!(kept.outputs("sweep")["results"], whole.outputs("sweep")["results"]);
    house.edit("repeats: 3)", "repeats: 3, keep_predictions: 1)");
    assert_eq!(house.run("sweep").ran(), ["sweep"]);
    assert_eq!(house.flow("export study.ron sweep -o some").code, Some(0));
    let text = std::fs::read_to_string(house.path("some/tables/predictions.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["classifier", "per_class", "repeat", "id", "truth", "prediction", "score round", "score sickle"]);
    // Three classifiers, two sizes, one repeat, 24 test rows.
    assert_eq!(lines.len(), 1 + 3 * 2 * 24);
    for line in &lines[1..] {
        let number: usize = line[3].strip_prefix("cell ").unwrap().parse().unwrap();
        assert_eq!((line[2], line[4]), ("0", label(number)));
        let [round, sickle] = [6, 7].map(|at: usize| line[at].parse::<f32>().unwrap());
        assert!(round == sickle || line[5] == if round > sickle { "round" } else { "sickle" }, "{line:?}");
    }
    let err = house.run("sweep --set sweep.keep_predictions=some").err;
    assert!(err.contains("expected `true`, `false`, or how many repeats keep their predictions"), "{err}");
}

#[test]
fn what_does_not_fit_together_is_said_with_its_place() {
    let house = study();
    let said = |settings: &str| house.run(&format!("mine {settings}")).exits(1).err;
    let refused = |settings: &str, expected: &str| {
        let err = said(settings);
        assert!(err.contains(expected), "`{expected}` is not in\n{err}");
    };
    house.write("bare.csv", csv(0..3).replace(",label,", ",size,").replace("round", "1").replace("sickle", "2"));
    refused(r#"--set mine.file="bare.csv""#, "the rows have no labels");
    house.write("labels.csv", "id,label\ncell 00,a\ncell 02,b\n");
    refused(r#"--set mine.file="bare.csv" --set mine.labels="labels.csv""#, "no line for 1 row with features: row 1, `cell 01`, first");
    house.write("labels.csv", "id,label\ncell 00,a\ncell 77,b\n");
    refused(r#"--set mine.file="bare.csv" --set mine.labels="labels.csv""#, "line 3 labels `cell 77`, which has no features");
    house.write("labels.csv", "id,label\ncell 00,a\ncell 00,b\n");
    refused(r#"--set mine.file="bare.csv" --set mine.labels="labels.csv""#, "line 3 labels `cell 00`, as line 2 does already");
    house.write("labels.csv", "id,class\ncell 00,a\n");
    refused(r#"--set mine.file="bare.csv" --set mine.labels="labels.csv""#, "no column `label`: found `id`, `class`");
    refused(r#"--set mine.labels="labels.csv""#, "the table has a column `label` of its own");
    refused(r#"--set mine.ids="labels.csv""#, "the table brings ids of its own");
    house.write("rows.csv", csv(0..N).replace("cell 07,", "cell 06,"));
    refused("", "line 9: the id `cell 06` stands in line 8 already");
    house.edit(r#"file: "rows.csv""#, r#"file: """#);
    let check = house.flow("check study.ron");
    assert!(check.code == Some(2) && check.err.contains("`mine` does not say its `file`, which `ImportFeatures` needs"), "{}", check.err);
}

/// The rows of another hospital, which calls one class otherwise and has one that nobody learns.
fn elsewhere() -> String {
    let label = |i: usize| ["round", "crescent", "blurred"][if i < 6 { 2 } else { i % 2 }];
    let line = |i: usize| format!("{},{},{},{}\n", id(i), row(i + 3 + i % 2)[0], label(i), row(i)[1]);
    std::iter::once("image,x,label,y\n".to_string()).chain((0..20).map(line)).collect()
}

#[test]
fn further_test_sets_have_their_own_results_and_change_nothing_for_the_splits() {
    let house = study();
    house.write("elsewhere.csv", elsewhere());
    house.run("");
    house.flow("export study.ron sweep -o before");
    let table = |folder: &str, name: &str| std::fs::read_to_string(house.path(&format!("{folder}/tables/{name}"))).unwrap();
    let before = table("before", "repeats.csv");

    house.edit(
        r#""split": Split("#,
        r#""elsewhere": ImportFeatures(file: "elsewhere.csv", of: "others"),
        "moved": Transform(features: "elsewhere", fitted: "transform"),
        "split": Split("#,
    );
    house.edit(
        "repeats: 3)",
        r#"repeats: 3, keep_predictions: 1, roc_auc: true, images: "mine", tests: {
            "elsewhere": (images: "elsewhere", labels: "elsewhere", features: "moved", rename: {"crescent": "sickle"}, drop: ["blurred"]),
            "again": (images: "split.test"),
        })"#,
    );
    let said = house.run("");
    assert_eq!(said.ran(), ["elsewhere", "moved", "report", "sweep"], "{}", said.err);
    house.flow("export study.ron sweep -o after");
    let after = table("after", "repeats.csv");
    let head = after.lines().next().unwrap();
    assert!(head.starts_with("data_set,classifier,per_class,repeat,") && head.contains(",roc_auc,"), "{head}");
    let of = |set: &str| -> Vec<String> {
        after
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{set},")))
            .map(|line| line.split(',').take(7).collect::<Vec<_>>().join(","))
            .collect()
    };
    let own: Vec<String> = before.lines().skip(1).map(|line| line.split(',').take(7).collect::<Vec<_>>().join(",")).collect();
    assert_eq!((of("test"), of("again"), of("elsewhere").len()), (own.clone(), own.clone(), own.len()));
    assert_ne!(of("elsewhere"), own);

    let predictions = table("after", "predictions.csv");
    // 24 rows of the split twice and 14 of 20 elsewhere, by 3 classifiers at 2 sizes.
    assert_eq!(predictions.lines().count(), 1 + (24 + 24 + 14) * 6, "{predictions}");
    assert!(predictions.starts_with("data_set,classifier,per_class,repeat,id,truth,prediction,score round,score sickle\n"));
    let page = std::fs::read_to_string(house.path("cache/out/mine/report/report.html")).unwrap();
    assert!(page.contains("others on elsewhere") && page.contains("Area under the ROC curve"));

    // A training row among them is named, and so is a class that nobody learns.
    house.edit(r#""again": (images: "split.test")"#, r#""again": (images: "split.train")"#);
    let err = house.run("sweep").exits(1).err;
    assert!(err.contains("36 images with the bytes of one that is learnt from: `cell "), "{err}");
    house.edit(r#""again": (images: "split.train")"#, r#""again": (images: "split.test")"#);
    house.edit(r#", drop: ["blurred"]"#, "");
    let err = house.run("sweep").exits(1).err;
    assert!(err.contains("its class `blurred` is none of those that are learnt"), "{err}");
}

#[test]
fn a_transform_of_each_labelled_subset_is_left_to_the_sweep_and_its_default_makes_what_it_made() {
    let house = study();
    let said = house.run("");
    let before = said.outputs("sweep").clone();
    let by_draw = house.run("--set transform.scope=PerSubset");
    assert_eq!(by_draw.ran(), ["report", "sweep", "transform"]);
    assert_ne!(by_draw.outputs("sweep"), &before);
    assert_eq!(house.run("--set transform.scope=Train").ran(), [""; 0]);
}
