//! Our vision transformers give the numbers of timm.
//!
//! Origin of the numbers: `tests/golden/vit/README.md`. An execution is a function from a golden file's inputs to tensors under the golden
//! file's names; `golden_help::hold` compares.

#![expect(clippy::print_stdout, reason = "`--nocapture` shows how near each execution comes")]

mod golden_help;

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use flow::model::{Batch, CandleVit, DropPath, Interpolation, Network, Sizes, Tape, VitSizes};
use golden_help::{Golden, Named, hold, pixels};

const FILES: [&str; 3] = ["dino.safetensors", "dinov2.safetensors", "dinov2_reg4.safetensors"];

fn folder() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vit");
    std::env::var_os("FLOW_GOLDEN_VIT").map_or(own, PathBuf::from)
}

fn golden(file: &str) -> Golden {
    Golden::open(&folder().join(file))
}

/// What the file says of the network; initial LayerScale is of no account, since the weights are the file's.
fn sizes(golden: &Golden, interpolation: Interpolation) -> VitSizes {
    VitSizes {
        dim: golden.number("dim"),
        depth: golden.number("depth"),
        heads: golden.number("heads"),
        patch: golden.number("patch"),
        side: golden.number("side"),
        registers: golden.number("registers"),
        layer_scale: (golden.said("layer_scale") == "true").then_some(1e-5),
        interpolation,
    }
}

/// Everything a file holds beyond weights and inputs.
fn expected(golden: &Golden) -> Named {
    let mut all = golden.part(&["eval.", "square.tokens", "plain.", "offset.", "train.cls", "grad.", "drop."]);
    all.remove("drop.factors");
    all
}

fn drop_path(golden: &Golden) -> DropPath {
    DropPath::of(golden.shape("drop.factors")[2], golden.f32("drop.factors"))
}

fn values(tensor: &Tensor) -> (Vec<usize>, Vec<f64>) {
    (tensor.dims().to_vec(), tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
}

fn candle_numbers(golden: &Golden, dtype: DType) -> Named {
    let tensor = |name: &str| Tensor::from_slice(golden.f64(name), golden.shape(name), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let network = |interpolation| {
        let sizes = sizes(golden, interpolation);
        CandleVit::new(&sizes, &golden.weights(sizes.layout(), "w."), dtype, &Device::Cpu).unwrap()
    };
    let own = network(Interpolation::Antialiased);
    let mut seen = Named::new();
    let eval = own.without_gradient().forward_features(&tensor("x"), None).unwrap();
    seen.insert("eval.tokens".to_string(), values(&eval.tokens));
    seen.insert("eval.cls_attention".to_string(), values(&eval.cls_attention));
    seen.insert("square.tokens".to_string(), values(&own.forward_features(&tensor("square"), None).unwrap().tokens));
    for (name, how) in [("plain.tokens", Interpolation::Plain), ("offset.tokens", Interpolation::Offset)] {
        seen.insert(name.to_string(), values(&network(how).forward_features(&tensor("x"), None).unwrap().tokens));
    }
    let x = Var::from_tensor(&tensor("x")).unwrap();
    for (drop, cls, grad) in [(None, "train.cls", "grad"), (Some(drop_path(golden)), "drop.cls", "drop.grad")] {
        let out = own.forward_features(x.as_tensor(), drop.as_ref()).unwrap().cls().unwrap();
        seen.insert(cls.to_string(), values(&out));
        let gradients = (out * tensor("train.direction")).unwrap().sum_all().unwrap().backward().unwrap();
        seen.insert(format!("{grad}.x"), values(gradients.get(&x).unwrap()));
        for (entry, var) in own.tensors().params() {
            let name = format!("{grad}.{}", entry.name);
            if let Some(gradient) = gradients.get(var).filter(|_| golden.tensors.contains_key(&name)) {
                seen.insert(name, values(gradient));
            }
        }
    }
    seen
}

#[test]
fn candle_gives_timm_s_outputs_and_gradients_in_double_precision() {
    for file in FILES {
        let golden = golden(file);
        let (name, off) = hold(file, &expected(&golden), &candle_numbers(&golden, DType::F64), |_| 1e-5);
        println!("{file} f64: at most {off:.1e} off, in {name}");
    }
}

#[test]
fn candle_gives_timm_s_outputs_and_gradients_in_single_precision() {
    for file in FILES {
        let golden = golden(file);
        let bound = |name: &str| if name.contains("grad.") { 1e-3 } else { 1e-4 };
        let (name, off) = hold(file, &expected(&golden), &candle_numbers(&golden, DType::F32), bound);
        println!("{file} f32: at most {off:.1e} off, in {name}");
    }
}

fn kernel_numbers(golden: &Golden) -> Named {
    let shape = |name: &str| -> [usize; 4] { golden.shape(name).try_into().unwrap() };
    let given = |name: &str| (pixels(&golden.f32(name), &shape(name), false), shape(name));
    fn batch(given: &(Vec<f32>, [usize; 4])) -> Batch<'_> {
        Batch { pixels: &given.0, n: given.1[0], height: given.1[2], width: given.1[3] }
    }
    let (x, square) = (given("x"), given("square"));
    let mut seen = Named::new();
    let mut keep = |name: &str, values: &[f32]| {
        seen.insert(name.to_string(), (golden.shape(name).to_vec(), values.iter().map(|v| f64::from(*v)).collect()));
    };
    for (how, name) in [(Interpolation::Antialiased, "eval"), (Interpolation::Plain, "plain"), (Interpolation::Offset, "offset")] {
        let sizes = Sizes::Vit(sizes(golden, how));
        let weights = golden.weights(sizes.layout(), "w.");
        let network = Network::new(&sizes, weights.layout.clone());
        let (tokens, attention) = network.tokens(&weights, &batch(&x), &mut Tape::default()).unwrap();
        keep(&format!("{name}.tokens"), &tokens);
        if how != Interpolation::Antialiased {
            continue;
        }
        keep("eval.cls_attention", &attention);
        keep("square.tokens", &network.tokens(&weights, &batch(&square), &mut Tape::default()).unwrap().0);
        for (drop, cls, grad) in [(None, "train.cls", "grad"), (Some(drop_path(golden)), "drop.cls", "drop.grad")] {
            let mut tape = Tape::default();
            tape.set_drop_path(drop);
            keep(cls, &network.forward(&weights.params, &mut [], &batch(&x), &mut tape).unwrap());
            let (mut grads, mut d_x) = (vec![0.0; weights.params.len()], Vec::new());
            network.backward(&weights.params, &batch(&x), &mut tape, &golden.f32("train.direction"), &mut grads, Some(&mut d_x)).unwrap();
            keep(&format!("{grad}.x"), &pixels(&d_x, &x.1, true));
            for entry in weights.layout.params() {
                let name = format!("{grad}.{}", entry.name);
                if golden.tensors.contains_key(&name) {
                    keep(&name, &grads[entry.range()]);
                }
            }
        }
    }
    seen
}

#[test]
fn the_kernels_give_timm_s_outputs_and_gradients() {
    for file in FILES {
        let golden = golden(file);
        let bound = |name: &str| if name.contains("grad.") { 1e-3 } else { 1e-4 };
        let (name, off) = hold(file, &expected(&golden), &kernel_numbers(&golden), bound);
        println!("{file} on the kernels: at most {off:.1e} off, in {name}");
    }
}
