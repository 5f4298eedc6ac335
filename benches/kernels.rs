//! `cargo bench`: what each kernel of a training step costs, and what its products reach of what the cores can do at most.
//!
//! Shapes are those of four global views of 224 x 224 pixels in `small_12_p8`: 3136 tokens of 384 numbers. `FLOW_PYTHON=python cargo bench`
//! sets PyTorch's times (`peers.py`; needs torch and timm) beside ours, taken in the same run. The whole step and each group's share of it:
//! `flow bench dino-step`.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow::kernel::{
    BatchNorm, LayerNorm, Maps, Matrix, QkvShape, Start, XcaSaved, batch_norm_train, depthwise, depthwise_weights, gelu, gelu_backward,
    gram, gram_flops, layer_norm, layer_norm_backward, matmul, on_workers, peak_flops, xca_backward, xca_forward,
};
use flow::model::Layout;
use flow::train::{Adam, Clip, Follower, Hyper};
use rayon::prelude::*;

const ROWS: usize = 3136;
const DIM: usize = 384;
/// Of one image.
const TOKENS: usize = 784;

/// Kernel, best time of seven in seconds, operations where they say something.
type Row = (String, f64, Option<f64>);

fn best(mut run: impl FnMut()) -> f64 {
    run();
    let mut time = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..7).map(|_| time()).fold(f64::MAX, f64::min)
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
}

fn products(rows: &mut Vec<Row>) {
    for (inputs, outputs) in [(DIM, 3 * DIM), (DIM, DIM), (DIM, 4 * DIM), (4 * DIM, DIM)] {
        let (x, w, mut y) = (numbers(ROWS * inputs), numbers(inputs * outputs), numbers(ROWS * outputs));
        let (mut dx, mut dw) = (vec![0.0; ROWS * inputs], vec![0.0; inputs * outputs]);
        let (x, w) = (Matrix::new(&x, ROWS, inputs), Matrix::new(&w, outputs, inputs));
        let flops = Some(2.0 * (ROWS * inputs * outputs) as f64);
        let name = |pass: &str| format!("linear {inputs}->{outputs} {pass}");
        rows.push((name("forward"), best(|| matmul(x, w.t(), &mut y, outputs, Start::Nothing)), flops));
        let y = Matrix::new(&y, ROWS, outputs);
        rows.push((name("input"), best(|| matmul(y, w, &mut dx, inputs, Start::Nothing)), flops));
        rows.push((name("weights"), best(|| matmul(y.t(), x, &mut dw, inputs, Start::Nothing)), flops));
    }
    let (u, images) = (numbers(ROWS * DIM), ROWS / TOKENS);
    let mut grams = vec![(vec![0.0; DIM * DIM], vec![0.0; DIM]); images];
    let side_by_side = || u.par_chunks_exact(TOKENS * DIM).zip(&mut grams).for_each(|(u, (g, sums))| gram(u, g, sums));
    rows.push(("gram".to_string(), best(side_by_side), Some(images as f64 * gram_flops(TOKENS, DIM))));
}

fn passes(rows: &mut Vec<Row>) {
    let (x, w, b) = (numbers(ROWS * DIM), numbers(DIM), numbers(DIM));
    let mut row = |name: &str, seconds: f64| rows.push((name.to_string(), seconds, None));
    let (mut saved, mut out, mut d) = (LayerNorm::default(), Vec::new(), x.clone());
    row(
        "layer_norm forward",
        best(|| {
            layer_norm(&x, (&w, &b), Some(&mut saved), &mut out);
        }),
    );
    row("layer_norm backward", best(|| drop(layer_norm_backward(&x, &saved, &w, &mut d))));

    let (mut wide, mut slopes, bias) = (numbers(4 * ROWS * DIM), vec![0.0; 4 * ROWS * DIM], numbers(4 * DIM));
    row("gelu forward", best(|| gelu(&mut wide, &mut slopes, &bias)));
    row("gelu backward", best(|| gelu_backward(&mut wide, &slopes, &mut bias.clone())));

    let mut bn = BatchNorm::default();
    row(
        "batch_norm forward",
        best(|| {
            bn.normalised.clone_from(&x);
            batch_norm_train(&mut bn, (&mut w.clone(), &mut b.clone()), (&w, &b), &mut out);
        }),
    );
    row("batch_norm backward", best(|| drop(bn.backward(&mut d, &w))));

    let (maps, taps) = (Maps { batch: 4, height: 28, width: 28, channels: DIM }, numbers(9 * DIM));
    row("depthwise forward", best(|| depthwise(maps, &x, &taps, &b, false, false, &mut d)));
    row(
        "depthwise backward",
        best(|| {
            depthwise(maps, &x, &taps, &b, true, false, &mut d);
            drop(depthwise_weights(maps, &x, &d));
        }),
    );

    let (shape, tau) = (QkvShape { batch: 4, tokens: TOKENS, dim: DIM, heads: 8 }, vec![1.0; 8]);
    let (qkv, mut saved, mut d_qkv) = (numbers(3 * ROWS * DIM), XcaSaved::default(), Vec::new());
    row("xca forward", best(|| xca_forward(shape, &qkv, &tau, &mut saved, &mut out)));
    row("xca backward", best(|| xca_backward(shape, &qkv, &tau, &saved, &x, &mut d_qkv, &mut tau.clone())));
}

/// As many parameters as XCiT-S/12 and DINO's head, in matrices of the MLP's shape.
fn optimiser(rows: &mut Vec<Row>) {
    let mut layout = Layout::default();
    (0..81).for_each(|i| layout.param(format!("{i}.weight"), &[4 * DIM, DIM], flow::model::Start::Constant(0.0)));
    let layout = Arc::new(layout);
    let n = layout.n_params();
    let (mut adam, mut p, mut g, mut t) = (Adam::new(layout), numbers(n), numbers(n), numbers(n));
    let hyper = Hyper::new(1e-4, 0.04, Clip::Agc(0.32));
    rows.push((
        "optimiser".to_string(),
        best(|| adam.step(&mut p, &mut g, &hyper, Some(Follower { params: &mut t, momentum: 0.996 }), |_| 1.0)),
        None,
    ));
}

/// What `peers.py` says, by name; nothing where no Python is named.
fn peers(threads: usize) -> BTreeMap<String, f64> {
    let Some(python) = std::env::var_os("FLOW_PYTHON") else { return BTreeMap::new() };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");
    let output = Command::new(&python).args([script, &threads.to_string()]).output();
    let output = output.unwrap_or_else(|error| panic!("failed to start {}: {error}", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.rsplit_once(' ')).filter_map(|(name, s)| Some((name.to_string(), s.parse().ok()?))).collect()
}

#[expect(clippy::print_stdout, reason = "a bench prints its table")]
fn main() {
    let threads = rayon::current_num_threads();
    let peak = peak_flops(threads, Duration::from_millis(500));
    let mut rows = Vec::new();
    on_workers(|| {
        products(&mut rows);
        passes(&mut rows);
        optimiser(&mut rows);
    });
    let peers = peers(threads);
    println!("{threads} threads, at most {:.0} GFLOP/s", peak / 1e9);
    println!("{:<26} {:>9} {:>9} {:>7} {:>10} {:>7}", "kernel", "ms", "GFLOP/s", "of peak", "PyTorch ms", "ratio");
    for (name, seconds, flops) in rows {
        let speed = flops.map(|flops| (format!("{:.0}", flops / seconds / 1e9), format!("{:.0} %", 100.0 * flops / seconds / peak)));
        let (reached, share) = speed.unwrap_or_default();
        let (peer, ratio) = peers.get(&name).map(|s| (format!("{:.2}", s * 1e3), format!("{:.2}x", s / seconds))).unwrap_or_default();
        println!("{name:<26} {:>9.2} {reached:>9} {share:>7} {peer:>10} {ratio:>7}", seconds * 1e3);
    }
}
