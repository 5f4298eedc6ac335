//! Our 8-bit operations give torchvision's pixels.
//!
//! Oracle: torchvision 0.29.2 `transforms.functional` on a PIL image; see `tests/golden/augment/README.md`.

use std::path::PathBuf;

use flow::data::{Fill, Filter, Rgb, ops, resize};
use safetensors::SafeTensors;
use serde_json::Value;

fn golden() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/augment");
    std::env::var_os("FLOW_GOLDEN_XCIT_DINO").map_or(own, PathBuf::from)
}

fn picture(tensors: &SafeTensors, name: &str) -> Rgb {
    let tensor = tensors.tensor(name).unwrap();
    Rgb::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec()).unwrap()
}

/// Does to `source` what torchvision has done to it under this name.
fn ours(operation: &Value, source: &Rgb) -> Rgb {
    let name = operation["name"].as_str().unwrap();
    let number = |key: &str| operation[key].as_f64().unwrap();
    let size = |key: &str| operation[key].as_u64().unwrap() as usize;
    let mut out = source.clone();
    let whole = |corners: Option<&[[f64; 2]; 4]>, degrees: Option<f64>| {
        let mut out = source.clone();
        ops::Warp::new(source.width(), source.height(), corners, degrees, Fill::Black).part(
            source,
            0,
            0,
            &mut out,
            &mut ops::WarpMemory::default(),
        );
        out
    };
    match name.split('_').next().unwrap() {
        "hflip" => ops::hflip(&mut out),
        "vflip" => ops::vflip(&mut out),
        "brightness" => ops::brightness(&mut out, number("factor")),
        "contrast" => ops::contrast(&mut out, number("factor")),
        "saturation" => ops::saturation(&mut out, number("factor")),
        "hue" => ops::hue(&mut out, number("factor")),
        "grey" => ops::grey(&mut out),
        "blur" => ops::blur(&mut out, size("kernel"), number("sigma"), &mut ops::BlurMemory::default()),
        "solarize" => ops::solarize(&mut out, size("threshold") as u8),
        "rotate" => out = whole(None, Some(number("degrees"))),
        "perspective" => {
            let corners: [[f64; 2]; 4] = serde_json::from_value(operation["end"].clone()).unwrap();
            out = whole(Some(&corners), None);
        }
        "crop" => {
            let mut part = Rgb::filled(size("width"), size("height"), [0; 3]);
            ops::Warp::new(source.width(), source.height(), None, None, Fill::Black).part(
                source,
                size("left"),
                size("top"),
                &mut part,
                &mut ops::WarpMemory::default(),
            );
            out = resize(&part, size("size"), size("size"), Filter::Bilinear).unwrap();
        }
        "resize" => {
            let filter = if name == "resize_nearest" { Filter::Nearest } else { Filter::Bicubic };
            out = resize(source, size("size"), size("size"), filter).unwrap();
        }
        other => panic!("no operation for `{other}`"),
    }
    out
}

#[test]
fn every_operation_gives_torchvisions_pixels() {
    let bytes = std::fs::read(golden().join("augment.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let said: Value = serde_json::from_slice(&std::fs::read(golden().join("augment.json")).unwrap()).unwrap();
    let source = picture(&tensors, "source");
    let mut wrong = Vec::new();
    for operation in said["operations"].as_array().unwrap() {
        let name = operation["name"].as_str().unwrap();
        let (found, expected) = (ours(operation, &source), picture(&tensors, name));
        assert_eq!((found.width(), found.height()), (expected.width(), expected.height()), "{name}");
        let difference = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let largest = found.pixels().iter().zip(expected.pixels()).map(difference).max().unwrap();
        let n = found.pixels().iter().zip(expected.pixels()).filter(|(a, b)| a != b).count();
        if largest > allowed(name) {
            wrong.push(format!("{name}: {n} values differ, by up to {largest}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The largest difference that an operation may have, in grey levels.
fn allowed(name: &str) -> u8 {
    match name.split('_').next().unwrap() {
        // Sums in single precision in another order; 16-bit weights where Pillow has 22 bits.
        "blur" | "crop" => 1,
        // Where a sum lies on the edge between two levels.
        "perspective" | "rotate" => 1,
        "resize" if name == "resize_bicubic" => 1,
        _ => 0,
    }
}
