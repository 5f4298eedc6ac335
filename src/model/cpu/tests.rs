//! The CPU kernels against the plain candle operations: the same network, the same numbers.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Batch, Head, HeadTape, Network, Tape};
use crate::model::{CandleHead, CandleXcit, HeadSizes, Layout, Sizes, Weights, Xcit};
use crate::random::Stream;

fn sizes(patch: usize, tokens_norm: bool) -> Sizes {
    let written =
        Xcit { dim: Some(32), depth: Some(2), heads: Some(4), patch: Some(patch), tokens_norm: Some(tokens_norm), ..Xcit::default() };
    written.sizes().unwrap()
}

pub fn numbers(purpose: &str, n: usize, scale: f64) -> Vec<f32> {
    let mut draws = Stream::new(5, purpose).draws();
    (0..n).map(|_| (draws.normal() * scale) as f32).collect()
}

/// Weights that matter everywhere: nothing at 0 or 1.
pub fn weights(layout: Layout) -> Weights {
    let mut weights = Weights::start(Arc::new(layout), 1);
    let noise = numbers("params", weights.params.len(), 0.1);
    weights.params.iter_mut().zip(noise).for_each(|(p, n)| *p += n);
    let noise = numbers("buffers", weights.buffers.len(), 0.1);
    weights.buffers.iter_mut().zip(noise).for_each(|(b, n)| *b += n.abs());
    weights
}

pub fn close(what: &str, ours: &[f32], theirs: &[f32], bound: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= bound * largest, "{what}: off by {worst} of {largest}");
}

pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// B × H × W × 3 as candle's B × 3 × H × W.
pub fn tensor(batch: &Batch<'_>) -> Tensor {
    let shape = (batch.n, batch.height, batch.width, 3);
    Tensor::from_slice(batch.pixels, shape, &Device::Cpu).unwrap().permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()
}

#[test]
fn every_number_of_the_kernels_is_candle_s() {
    // The last two have two and more tokens for each of the 32 channels: attention by Gram matrices.
    for (patch, tokens_norm, height, width) in
        [(4, true, 12, 20), (8, false, 32, 16), (16, true, 32, 48), (4, true, 32, 32), (8, false, 72, 80)]
    {
        let sizes = sizes(patch, tokens_norm);
        let weights = weights(sizes.layout());
        let pixels = numbers("pixels", 3 * height * width * 3, 1.0);
        let batch = Batch { pixels: &pixels, n: 3, height, width };
        let network = Network::new(&sizes, weights.layout.clone());
        let Sizes::Xcit(own) = &sizes else { panic!("an XCiT") };
        let candle = CandleXcit::new(own, &weights, DType::F32, &Device::Cpu).unwrap();

        let output = candle.forward_features(&tensor(&batch), false).unwrap();
        let (tokens, attention) = network.tokens(&weights, &batch, &mut Tape::default()).unwrap();
        close("tokens", &tokens, &flat(&output.tokens), 1e-4);
        close("attention", &attention, &flat(&output.cls_attention), 1e-4);

        let mut tape = Tape::default();
        let mut buffers = weights.buffers.clone();
        let class = network.forward(&weights.params, &mut buffers, &batch, &mut tape).unwrap();
        let output = candle.forward_features(&tensor(&batch), true).unwrap();
        let expected = output.cls().unwrap();
        close("class tokens in training", &class, &flat(&expected), 1e-4);

        let direction = numbers("direction", class.len(), 1.0);
        let mut grads = vec![0.0; weights.params.len()];
        network.backward(&weights.params, &batch, &mut tape, &direction, &mut grads, None).unwrap();
        let direction = Tensor::from_slice(&direction, expected.shape(), &Device::Cpu).unwrap();
        let store = (expected * direction).unwrap().sum_all().unwrap().backward().unwrap();
        for (entry, var) in candle.tensors().params() {
            let theirs = store.get(var.as_tensor()).unwrap_or_else(|| panic!("`{}` gets no gradient", entry.name));
            close(&entry.name, &grads[entry.range()], &flat(theirs), 1e-3);
        }
        candle.tensors().absorb(&output.statistics).unwrap();
        close("running statistics", &buffers, &candle.tensors().weights().unwrap().buffers, 1e-4);
    }
}

#[test]
fn the_head_s_numbers_are_candle_s() {
    let sizes = HeadSizes { dim: 32, hidden: 48, bottleneck: 16, outputs: 96, layers: 3 };
    let head = Head::new(&sizes);
    let weights = weights(sizes.layout());
    let x = numbers("x", 5 * 32, 1.0);
    let candle = CandleHead::new(&sizes, &weights, DType::F32, &Device::Cpu).unwrap();
    let input = candle_core::Var::from_slice(&x, (5, 32), &Device::Cpu).unwrap();
    let expected = candle.forward(input.as_tensor()).unwrap();
    let (mut tape, mut logits) = (HeadTape::default(), Vec::new());
    head.forward(&weights.params, &x, &mut tape, &mut logits);
    close("logits", &logits, &flat(&expected), 1e-4);

    let mut direction = numbers("direction", logits.len(), 1.0);
    let loss = (expected * Tensor::from_slice(&direction, (5, 96), &Device::Cpu).unwrap()).unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    let mut grads = vec![0.0; weights.params.len()];
    let dx = head.backward(&weights.params, &tape, &mut direction, false, &mut grads);
    close("input", &dx, &flat(store.get(input.as_tensor()).unwrap()), 1e-3);
    for (entry, var) in candle.tensors().params().filter(|(entry, _)| !entry.name.ends_with("weight_g")) {
        close(&entry.name, &grads[entry.range()], &flat(store.get(var.as_tensor()).unwrap()), 1e-3);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let sizes = sizes(4, true);
    let weights = weights(sizes.layout());
    // At 32 x 32 pixels attention is made by Gram matrices.
    for side in [28, 32] {
        the_number_of_threads_changes_no_bit_at(&sizes, &weights, side);
    }
}

fn the_number_of_threads_changes_no_bit_at(sizes: &Sizes, weights: &Weights, side: usize) {
    let pixels = numbers("pixels", 8 * side * side * 3, 1.0);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let batch = Batch { pixels: &pixels, n: 8, height: side, width: side };
            let network = Network::new(sizes, weights.layout.clone());
            let (mut tape, mut buffers) = (Tape::default(), weights.buffers.clone());
            let class = network.forward(&weights.params, &mut buffers, &batch, &mut tape).unwrap();
            let mut grads = vec![0.0; weights.params.len()];
            network.backward(&weights.params, &batch, &mut tape, &class, &mut grads, None).unwrap();
            (class, buffers, grads)
        })
    };
    assert_eq!(run(1), run(3));
}
