//! A hundred runs killed at a hundred moments: each is finished by the same command, and ends as if nothing had happened.

mod house;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flow::random::Stream;
use house::House;

const STUDY: &str = r#"Pipeline(
    name: "study",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.4)),
        "dino": Dino(
            images: "split.train", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4), preset: Light, epochs: 2, batch: 8,
            outputs: 32, hidden: 16, bottleneck: 8, augment: (base: 12, global: 12, local: 8, n_local: 2),
        ),
        "features": Features(images: "images", model: "dino.teacher"),
        "transform": Transform(features: "features", fit_on: "split.train"),
        "sweep": Sweep(features: "transform", labels: "images.labels", split: "split", per_class: [1, 2], repeats: 2),
        "list": Command(run: ["sh", "-c", "ls {tables} > {names}"], inputs: {"tables": "sweep.tables"}, outputs: {"names": File}),
        "report": Report(title: "Study", sweeps: ["sweep"], curves: ["dino"]),
    },
)"#;

type Digests = BTreeMap<String, String>;

/// Runs to the end in a cache of this name; returns every output's digest.
fn finish(house: &House, cache: &str) -> Digests {
    let said = house.run(&format!("--cache {cache}"));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let nodes = said.nodes();
    let outputs = nodes.iter().flat_map(|(node, event)| {
        let outputs = event["outputs"].as_object().unwrap();
        outputs.iter().map(move |(port, digest)| (format!("{node}.{port}"), digest.to_string()))
    });
    outputs.collect()
}

#[test]
fn a_run_killed_at_any_moment_is_finished_by_the_same_command_with_the_same_results() {
    let house = House::new(STUDY);
    house.npz(48);
    let start = Instant::now();
    let expected = finish(&house, "undisturbed");
    let whole = start.elapsed();
    assert_eq!(expected.keys().filter(|port| port.starts_with("dino.")).count(), 6);
    for kill in 0..100u64 {
        let cache = format!("killed-{kill}");
        let mut child = house.command(&format!("run study.ron --cache {cache}")).spawn().unwrap();
        let moment = Stream::new(7, "kill").at(kill).draws().uniform();
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * moment));
        // It may be done already: then there was nothing to lose.
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(finish(&house, &cache), expected, "killed after {:.0} % of the time", 100.0 * moment);
        std::fs::remove_dir_all(house.path(&cache)).unwrap();
    }
}
