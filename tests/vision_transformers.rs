//! A vision transformer goes wherever an XCiT goes: it is trained without labels and with them, probed, and embeds.

mod house;

use std::fs;

use flow::model::{ModelFile, Sizes};
use house::{FILE, House};

const STUDY: &str = r#"Pipeline(
    name: "vit",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.3)),
        "dino": Dino(
            images: "split.train", backbone: Vit(dim: 16, depth: 2, heads: 2, patch: 4, side: 8, registers: 2, layer_scale: 0.1),
            preset: Light, augment: (base: 12, global: 12, local: 8, n_local: 2), drop_path: 0.2,
            epochs: 2, batch: 8, outputs: 32, hidden: 16, bottleneck: 8,
        ),
        "tuned": Supervised(
            images: "images", labels: "images.labels", split: "split", start: "dino.teacher",
            backbone: Vit(dim: 16, depth: 2, heads: 2, patch: 4, side: 8, registers: 2, layer_scale: 0.1),
            augment: (preset: Light, base: 12, global: 12), training: (stop: (blind_steps: 3, max_steps: 3)), per_class: [2], repeats: 2,
        ),
        "probe": LinearProbe(
            images: "images", labels: "images.labels", split: "split", model: "dino.teacher",
            augment: (preset: Light, base: 12, global: 12), training: (stop: (blind_steps: 3, max_steps: 3)), per_class: [2], repeats: 2,
        ),
        "features": Features(images: "images", model: "dino.teacher", size: 16),
        "sweep": Sweep(features: "features", labels: "images.labels", split: "split", per_class: [2], repeats: 2, classifiers: [Knn(k: 1)]),
    },
)
"#;

fn house() -> House {
    let house = House::new(STUDY);
    house.npz(24);
    house
}

#[test]
fn every_node_takes_it_and_its_model_says_what_it_is() {
    let house = house();
    let first = house.run("");
    assert_eq!(first.ran(), ["dino", "features", "images", "probe", "split", "sweep", "tuned"], "{}", first.err);
    house.flow(&format!("export {FILE} dino -o out")).exits(0);
    let model = ModelFile::open(&fs::read(house.path("out/teacher.safetensors")).unwrap()).unwrap();
    let Sizes::Vit(sizes) = &model.about.sizes else { panic!("{}", model.about.sizes) };
    assert_eq!((sizes.dim, sizes.depth, sizes.side, sizes.registers, sizes.layer_scale), (16, 2, 8, 2, Some(0.1)));
    house.edit("drop_path: 0.2", "drop_path: 0.3");
    assert_eq!(house.run("").ran(), ["dino", "features", "probe", "sweep", "tuned"]);
}

#[test]
fn what_does_not_fit_is_said_with_its_sizes() {
    for (was, is, complaint) in [
        ("size: 16", "size: 18", "an image of 18x18 pixels does not divide into patches of 4"),
        (
            "start: \"dino.teacher\",\n            backbone: Vit(dim: 16, depth: 2",
            "start: \"dino.teacher\",\n            backbone: Vit(dim: 16, depth: 3",
            "`start` is a ViT of dim 16, depth 2",
        ),
    ] {
        let house = house();
        house.edit(was, is);
        let said = house.run("").exits(1);
        assert!(said.err.contains(complaint), "{}", said.err);
    }
    const OWN: &str =
        r#"images: "split.train", backbone: Vit(dim: 16, depth: 2, heads: 2, patch: 4, side: 8, registers: 2, layer_scale: 0.1)"#;
    let other = |is: &str| format!(r#"images: "split.train", backbone: {is}"#);
    let whole = other("Xcit(dim: 16, depth: 1, heads: 2, patch: 4)");
    let odd = other("Vit(dim: 16, depth: 2, heads: 2, patch: 4, side: 9)");
    for (was, is, complaint) in [
        (OWN, odd.as_str(), "`backbone.side` must be a multiple of the patch of 4 up to 4096, got 9"),
        (OWN, whole.as_str(), "`drop_path` is for a `Vit`: an `Xcit` trains whole"),
        ("drop_path: 0.2", "drop_path: 1.0", "`drop_path` must be 0 or more and below 1, got 1"),
        ("local: 8", "local: 6", "must make views whose side is a multiple of the patch of 4, such as 8, got 6"),
    ] {
        let house = house();
        house.edit(was, is);
        let said = house.flow(&format!("check {FILE}")).exits(2);
        assert!(said.err.contains(complaint), "{}", said.err);
    }
}
