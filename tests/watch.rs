//! A training is watched with labels that never reach it: whoever changes them watches again and trains nothing.

mod house;

use house::{FILE, House};

const WATCHED: &str = r#"Pipeline(
    name: "watched",
    nodes: {
        "images": Ingest(Table(file: "data/cells.csv", label: "label")),
        "dino": Dino(
            images: "images", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 8, local: 4, n_local: 2),
            epochs: 2, batch: 8, outputs: 32, hidden: 16, bottleneck: 8, watch: "images", watch_every: 2,
        ),
        "watch": Watch(snapshots: "dino", labels: "images", k: 3),
    },
)
"#;

fn house() -> House {
    let house = House::new(WATCHED);
    let pictures = house.pictures(24);
    let row = |path: &String| format!("{path},{}\n", path.split('/').next().unwrap());
    house.write("data/cells.csv", format!("path,label\n{}", pictures.iter().map(row).collect::<String>()));
    house
}

#[test]
fn a_corrected_label_is_watched_again_and_trains_nothing() {
    let house = house();
    let first = house.run("");
    assert_eq!(first.ran(), ["dino", "images", "watch"]);
    house.edit_in("data/cells.csv", "flat/03.png,flat", "flat/03.png,steep");
    let corrected = house.run("");
    assert_eq!(corrected.ran(), ["images", "watch"]);
    assert_ne!(corrected.outputs("watch")["curve"], first.outputs("watch")["curve"]);
    house.edit("k: 3", "k: 1");
    assert_eq!(house.run("").ran(), ["watch"]);
}

#[test]
fn the_curve_has_a_point_before_on_the_way_and_at_the_end() {
    let house = house();
    house.run("").exits(0);
    house.flow(&format!("export {FILE} watch -o out")).exits(0);
    let curve: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(house.path("out/curve")).unwrap()).unwrap();
    let points = curve["panels"][0]["lines"][0]["points"].as_array().unwrap();
    // Three steps an epoch, two epochs, a look every two steps.
    let epochs: Vec<f64> = points.iter().map(|point| point[0].as_f64().unwrap()).collect();
    assert_eq!(epochs, [0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0]);
    assert!(points.iter().all(|point| (0.0..=1.0).contains(&point[1].as_f64().unwrap())));
}

#[test]
fn labels_fit_no_port_of_the_training_and_a_training_that_is_not_watched_has_no_snapshots() {
    let house = House::new(&WATCHED.replace(r#"watch: "images""#, r#"watch: "images.labels""#));
    let said = house.flow(&format!("check {FILE}")).exits(2);
    assert!(said.err.starts_with("error: `dino` needs images for its `watch`, but `images.labels` is labels\n"), "{}", said.err);
    let house = House::new(&WATCHED.replace(r#", watch: "images""#, ""));
    let said = house.flow(&format!("check {FILE}")).exits(2);
    assert!(said.err.contains("`watch`") && said.err.contains("`dino`"), "{}", said.err);
}
