//! A training that reads its pictures from a pack ends with the bytes of one that decodes them, and a pack that does not fit is refused.

mod house;

use house::{FILE, House};

const PACKED: &str = r#"Pipeline(
    name: "packed",
    nodes: {
        "images": Ingest(Folder(root: "data")),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.3)),
        "pack": Pack(images: ["images"], size: 12, filter: Bilinear),
        "decoded": Dino(
            images: "split.train", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 8, local: 4, n_local: 2),
            epochs: 2, batch: 8, outputs: 32, hidden: 16, bottleneck: 8,
        ),
        "mapped": Dino(
            images: "split.train", pack: "pack", backbone: Xcit(dim: 16, depth: 1, heads: 2, patch: 4),
            preset: Light, augment: (base: 12, global: 8, local: 4, n_local: 2),
            epochs: 2, batch: 8, outputs: 32, hidden: 16, bottleneck: 8,
        ),
    },
)
"#;

fn house() -> House {
    let house = House::new(PACKED);
    house.pictures(24);
    house
}

#[test]
fn a_training_on_packed_pictures_is_bit_for_bit_the_training_on_the_files() {
    let house = house();
    let said = house.run("").exits(0);
    assert_eq!(said.ran(), ["decoded", "images", "mapped", "pack", "split"]);
    for output in ["teacher", "student", "head", "log", "sheet"] {
        assert_eq!(said.outputs("mapped")[output], said.outputs("decoded")[output], "{output}");
    }
    // The pictures are needed no more; the pack is read through the store.
    assert!(house.run("").exits(0).ran().is_empty());
}

#[test]
fn a_pack_of_another_side_or_filter_is_refused_with_the_one_that_fits() {
    let house = house();
    house.edit("size: 12, filter: Bilinear", "size: 10");
    let said = house.run("").exits(1);
    assert!(
        said.err.contains("the pack holds pictures of side 10 by Nearest: views are made from such of side 12 by Bilinear"),
        "{}",
        said.err
    );
    assert!(said.err.contains("give the pack `size: 12, filter: Bilinear`"), "{}", said.err);
    house.edit("size: 10", "size: 2");
    let said = house.flow(&format!("check {FILE}")).exits(2);
    assert!(said.err.contains("must be 4 to 4096 pixels, got 2"), "{}", said.err);
}
