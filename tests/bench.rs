//! `flow bench` prints one line of JSON with the fields that scripts for other programs print, so that ratios can be taken in one run.

mod house;

use house::{House, Said};
use serde_json::Value;

/// The line, and whether it holds each of the fields.
fn line(said: &Said, fields: &[&str]) -> Value {
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out.lines().count(), 1);
    let line: Value = serde_json::from_str(&said.out).unwrap();
    let missing: Vec<&&str> = fields.iter().filter(|field| line.get(**field).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} in {line}");
    line
}

#[test]
fn a_dino_step_is_timed_with_the_fields_of_the_peer_and_our_own() {
    let house = House::new("");
    let small = "--variant nano_12_p16 --batch 2 --steps 2 --global 32 --local 16 --n-local 2 --k 256 --threads 2";
    let said = house.flow(&format!("bench dino-step {small}"));
    let peer = ["job", "peer", "variant", "batch", "threads", "seconds_per_step", "seconds", "images_per_second", "peak_mib"];
    let line = line(&said, &peer);
    let number = |field: &str| line[field].as_f64().unwrap();
    assert_eq!((line["job"].as_str(), line["seconds"].as_array().unwrap().len()), (Some("dino_step"), 2));
    assert!((number("images_per_second") * number("seconds_per_step") - 2.0).abs() < 1e-9);
    assert!(number("share_of_peak") > 0.0 && number("peak_mib") > 1.0);
    let shares = line["time_shares"].as_object().unwrap();
    let sum: f64 = shares.values().map(|share| share.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9 && shares["products"].as_f64().unwrap() > 0.0 && shares["rest"].as_f64().unwrap() > 0.0, "{line}");
}

#[test]
fn features_are_timed_with_the_fields_of_the_peer() {
    let said = House::new("").flow("bench features --variant nano_12_p16 --size 32 --batch 3 --batches 2");
    let line = line(&said, &["job", "peer", "variant", "size", "threads", "images_per_second", "peak_mib", "share_of_peak"]);
    assert!(line["images_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn instructions_are_used_where_they_are_asked_for_and_there() {
    let small = "features --variant nano_12_p16 --size 32 --batch 1 --batches 1";
    let said = House::new("").flow(&format!("bench {small}"));
    assert_ne!(line(&said, &["instructions"])["instructions"].as_str(), Some("Amx"));
    let said = House::new("").flow(&format!("--instructions amx bench {small}"));
    match said.code {
        Some(0) => assert_eq!(line(&said, &["instructions"])["instructions"].as_str(), Some("Amx")),
        code => {
            assert_eq!(code, Some(2));
            assert!(said.err.starts_with("error: this machine has not the instructions that `--instructions` names"), "{}", said.err);
        }
    }
    let said = House::new("").flow(&format!("bench {small} --instructions mmx"));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("expected `amx` or `avx512`, found `mmx`"), "{}", said.err);
}

#[test]
fn decoding_is_timed_with_the_fields_of_the_peer() {
    let house = House::new("");
    house.pictures(5);
    let said = house.flow("bench decode . --images 2 --side 32 --rounds 1 --shorter");
    assert_eq!(line(&said, &[])["shorter"].as_bool(), Some(true));
    let said = house.flow("bench decode . --images 4 --side 32 --rounds 1 --threads 2");
    let line = line(&said, &["job", "peer", "images", "images_per_cpu_second", "wall"]);
    assert_eq!((line["job"].as_str(), line["images"].as_u64(), line["side"].as_u64()), (Some("decode"), Some(4), Some(32)));
    assert!(line["images_per_cpu_second"].as_f64().unwrap() > 0.0);
    let said = house.flow("bench decode . --side 5000");
    assert_eq!((said.code, said.err.as_str()), (Some(2), "error: `--side` must be at most 4096 pixels, got 5000\n"));
}

#[test]
fn views_are_timed_with_the_fields_of_the_peer_from_files_and_from_pixels() {
    let house = House::new("");
    house.pictures(5);
    let peer = ["job", "peer", "images", "views", "views_per_cpu_second", "images_per_cpu_second", "wall"];
    for (further, input) in [("", "files"), (" --packed --threads 2", "packed")] {
        let said = house.flow(&format!("bench augment . --images 4 --global 32 --local 16 --n-local 3 --rounds 1{further}"));
        let line = line(&said, &peer);
        let number = |field: &str| line[field].as_f64().unwrap();
        assert_eq!((line["job"].as_str(), line["input"].as_str()), (Some("augment"), Some(input)));
        assert_eq!((number("images"), number("views")), (4.0, 20.0));
        assert!((number("views_per_cpu_second") / number("images_per_cpu_second") - 5.0).abs() < 1e-9, "{line}");
    }
    let said = house.flow("bench augment . --local 2");
    assert_eq!((said.code, said.err.as_str()), (Some(2), "error: `--local` must be 4 to 4096 pixels, got 2\n"));
}

/// Writes an array as numpy would.
fn npy(house: &House, name: &str, descr: &str, shape: &str, items: Vec<u8>) {
    let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    house.write(name, [&b"\x93NUMPY\x01\x00\x76\x00"[..], format!("{head:117}\n").as_bytes(), &items].concat());
}

/// Three heaps of points in a plane, far from each other, as `sweep.py --make` lays them out.
fn heaps(house: &House, part: &str, n: usize) {
    let row = |i: usize| [(i % 3) as f32 * 5.0 + (i as f32).sin(), (i * i % 3) as f32 * 5.0 + (i as f32).cos()];
    let rows = (0..n).flat_map(row).flat_map(f32::to_le_bytes).collect();
    npy(house, &format!("heaps/{part}_x.npy"), "<f4", &format!("({n}, 2)"), rows);
    let labels = (0..n).flat_map(|i| (i as i64 % 3).to_le_bytes()).collect();
    npy(house, &format!("heaps/{part}_y.npy"), "<i8", &format!("({n},)"), labels);
}

#[test]
fn a_sweep_is_timed_with_the_fields_of_the_peer_and_its_accuracies() {
    let house = House::new("");
    heaps(&house, "train", 90);
    heaps(&house, "test", 60);
    let said = house.flow("bench sweep heaps --n 2,20 --repeats 2 --classifiers svm,knn --test-rows 30 --threads 1");
    let line = line(&said, &["job", "peer", "wall_cpu_seconds", "total_cpu", "cells", "threads", "peak_mib", "total_cpu_together"]);
    let spent: std::collections::BTreeMap<String, [f64; 2]> = serde_json::from_value(line["wall_cpu_seconds"].clone()).unwrap();
    let names: Vec<&str> = spent.keys().map(String::as_str).collect();
    assert_eq!(names, ["join", "knn_fit", "knn_predict", "svm_fit", "svm_predict", "transform_fit", "transform_test"]);
    let sum: f64 = spent.values().map(|[_, cpu]| cpu).sum();
    assert!((line["total_cpu"].as_f64().unwrap() - sum).abs() < 1e-9, "{line}");
    let of_fit = ["pca_fit", "yeo_johnson_fit"].map(|step| line[step][1].as_f64().unwrap());
    assert!((of_fit[0] + of_fit[1] - spent["transform_fit"][1]).abs() < 1e-9, "{line}");
    let cells = line["cells"].as_array().unwrap();
    let of = |i: usize| (cells[i]["classifier"].as_str().unwrap(), cells[i]["n"].as_u64().unwrap(), cells[i]["repeat"].as_u64().unwrap());
    let expected =
        [("svm", 2, 0), ("svm", 2, 1), ("svm", 20, 0), ("svm", 20, 1), ("knn", 2, 0), ("knn", 2, 1), ("knn", 20, 0), ("knn", 20, 1)];
    assert_eq!((0..cells.len()).map(of).collect::<Vec<_>>(), expected);
    assert_eq!([&cells[2]["balanced_accuracy"], &cells[7]["balanced_accuracy"]], [1.0, 1.0]);
}

#[test]
fn a_sweep_on_what_is_not_there_or_does_not_fit_says_so() {
    let house = House::new("");
    let said = house.flow("bench sweep heaps");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(said.err.starts_with("error: failed to read `heaps/train_x.npy`"), "{}", said.err);
    heaps(&house, "train", 9);
    heaps(&house, "test", 6);
    npy(&house, "heaps/test_x.npy", "<f4", "(6, 1)", vec![0; 24]);
    let said = house.flow("bench sweep heaps --n 2");
    assert_eq!((said.code, said.err.as_str()), (Some(1), "error: features have 1 dimension, expected 2 as in the fit\n"));
    assert_eq!(house.flow("bench sweep heaps --n 0").code, Some(2));
}

#[test]
fn a_network_that_is_not_known_and_sides_that_do_not_divide_are_refused() {
    let house = House::new("");
    let said = house.flow("bench features --variant smal_12_p8");
    assert_eq!(said.code, Some(2));
    assert_eq!(said.err, "error: `--variant` must be a published variant, got `smal_12_p8`: did you mean `small_12_p8`?\n");
    let said = house.flow("bench dino-step --variant nano_12_p16 --local 40");
    assert_eq!(said.code, Some(2));
    assert!(said.err.starts_with("error: an image of 40x40 pixels does not divide into patches of 16"), "{}", said.err);
    assert_eq!(house.flow("bench features --batch 0").code, Some(2));
}
