//! A training says what memory it takes before it starts, that is near what it then takes, and what does not fit is refused.

#![expect(clippy::print_stdout, reason = "`--nocapture` shows how near the count comes")]

mod house;

use house::House;
use serde_json::Value;

/// How far the peak may lie from what was counted, either way.
const FACTOR: f64 = 1.2;

/// Counted and measured MiB of a step.
fn step(arguments: &str) -> (f64, f64) {
    let said = House::new("").flow(&format!("bench dino-step --steps 1 --warmup 1 --threads 2 {arguments}"));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let line: Value = serde_json::from_str(&said.out).unwrap();
    (line["counted_mib"].as_f64().unwrap(), line["peak_mib"].as_f64().unwrap())
}

#[test]
fn the_peak_is_what_was_counted() {
    let views = "--variant nano_12_p16 --global 224 --local 96 --n-local 5 --batch 8 --k 4096";
    let (whole, parts, again) = (views.to_string(), format!("{views} --accumulate 4"), format!("{views} --checkpoint-blocks"));
    let many_prototypes = "--variant nano_12_p16 --global 64 --local 32 --n-local 2 --batch 2 --k 65536".to_string();
    let patches_of_8 = "--variant nano_12_p8 --global 128 --local 64 --n-local 2 --batch 4 --k 1024".to_string();
    let mut peaks = Vec::new();
    let vit = "--variant vit_tiny_p16 --global 224 --local 96 --n-local 2 --batch 4 --k 4096";
    let (vit, vit_again) = (vit.to_string(), format!("{vit} --checkpoint-blocks"));
    for arguments in [whole, parts, again, many_prototypes, patches_of_8, vit, vit_again] {
        let (counted, peak) = step(&arguments);
        println!("{arguments}: counted {counted:.0} MiB, peak {peak:.0} MiB, ratio {:.2}", peak / counted);
        assert!(peak < FACTOR * counted && counted < FACTOR * peak, "{arguments}: counted {counted:.0} MiB, but the peak is {peak:.0} MiB");
        peaks.push(peak);
    }
    assert!(peaks[1] < 0.6 * peaks[0] && peaks[2] < 0.6 * peaks[0], "{peaks:?}");
}

const HUGE: &str = r#"Pipeline(
    name: "huge",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "dino": Dino(
            images: "images", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4), preset: Light, epochs: 1, batch: 8,
            outputs: 2000000000, hidden: 16, bottleneck: 8, augment: (base: 12, global: 12, local: 8, n_local: 2),
        ),
    },
)"#;

#[test]
fn what_cannot_fit_is_refused_before_it_starts() {
    let house = House::new(HUGE);
    house.npz(24);
    let said = house.run("").exits(1);
    assert!(said.err.contains("note   dino: memory: about "), "{}", said.err);
    assert!(said.err.contains("the training needs about ") && said.err.contains(" are free"), "{}", said.err);
    assert!(said.err.contains("choose a smaller `backbone`"), "{}", said.err);
    house.edit("outputs: 2000000000", "outputs: 64");
    assert_eq!(house.run("").ran(), ["dino"]);
    // What is traded for memory or ends a failure decides no byte, so it is in no key.
    house.edit("epochs: 1,", "epochs: 1, checkpoint_blocks: true, stop_on_collapse: true, accumulate: 1,");
    assert_eq!(house.run("").ran(), [""; 0]);
    house.edit("accumulate: 1,", "accumulate: 2,");
    assert_eq!(house.run("").ran(), ["dino"]);
    house.edit("accumulate: 2,", "accumulate: 5,");
    let said = house.flow("check study.ron").exits(2);
    assert!(said.err.contains("must leave at least 2 images in each part of a batch of 8, got 5"), "{}", said.err);
}
