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
