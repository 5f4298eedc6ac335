//! The vision transformer's kernels against the plain candle operations.

use candle_core::{DType, Device, Tensor};

use super::tests::{close, flat, numbers, tensor, weights};
use super::{Batch, Network, Tape};
use crate::model::{CandleVit, DropPath, Interpolation, Sizes, Vit};
use crate::random::Stream;

/// With and without registers, LayerScale and a position of the class token.
fn sizes(registers: usize, layer_scale: Option<f64>, interpolation: Interpolation) -> Sizes {
    let (registers, side) = (Some(registers), Some(20));
    let written = Vit {
        dim: Some(24),
        depth: Some(3),
        heads: Some(3),
        patch: Some(4),
        side,
        registers,
        layer_scale,
        interpolation,
        ..Vit::default()
    };
    written.sizes().unwrap()
}

#[test]
fn every_number_of_the_kernels_is_candle_s() {
    for (sizes, height, width) in [
        (sizes(0, None, Interpolation::Antialiased), 12, 28),
        (sizes(0, Some(0.5), Interpolation::Plain), 20, 20),
        (sizes(4, Some(0.5), Interpolation::Offset), 24, 8),
    ] {
        let weights = weights(sizes.layout());
        let pixels = numbers("pixels", 3 * height * width * 3, 1.0);
        let batch = Batch { pixels: &pixels, n: 3, height, width };
        let network = Network::new(&sizes, weights.layout.clone());
        let Sizes::Vit(own) = &sizes else { panic!("a ViT") };
        let candle = CandleVit::new(own, &weights, DType::F32, &Device::Cpu).unwrap();

        let output = candle.forward_features(&tensor(&batch), None).unwrap();
        let (tokens, attention) = network.tokens(&weights, &batch, &mut Tape::default()).unwrap();
        close("tokens", &tokens, &flat(&output.tokens), 1e-4);
        close("attention", &attention, &flat(&output.cls_attention), 1e-4);
        close("features", &network.features(&weights, &batch, &mut Tape::default()).unwrap(), &flat(&output.cls().unwrap()), 1e-4);

        for drop in [None, Some(DropPath::draw(0.5, 3, 3, Stream::new(3, "drop path")))] {
            let mut tape = Tape::default();
            tape.set_drop_path(drop.clone());
            let class = network.forward(&weights.params, &mut [], &batch, &mut tape).unwrap();
            let x = candle_core::Var::from_tensor(&tensor(&batch)).unwrap();
            let expected = candle.forward_features(x.as_tensor(), drop.as_ref()).unwrap().cls().unwrap();
            close("class tokens in training", &class, &flat(&expected), 1e-4);

            let direction = numbers("direction", class.len(), 1.0);
            let (mut grads, mut d_pixels) = (vec![0.0; weights.params.len()], Vec::new());
            network.backward(&weights.params, &batch, &mut tape, &direction, &mut grads, Some(&mut d_pixels)).unwrap();
            let direction = Tensor::from_slice(&direction, expected.shape(), &Device::Cpu).unwrap();
            let store = (expected * direction).unwrap().sum_all().unwrap().backward().unwrap();
            for (entry, var) in candle.tensors().params() {
                let theirs = store.get(var.as_tensor()).unwrap_or_else(|| panic!("`{}` gets no gradient", entry.name));
                close(&entry.name, &grads[entry.range()], &flat(theirs), 1e-3);
            }
            let theirs = store.get(x.as_tensor()).unwrap().permute((0, 2, 3, 1)).unwrap();
            close("pixels", &d_pixels, &flat(&theirs), 1e-3);
        }
    }
}

#[test]
fn neither_the_number_of_threads_nor_blocks_computed_again_change_a_bit() {
    let sizes = sizes(4, Some(0.5), Interpolation::Antialiased);
    let weights = weights(sizes.layout());
    let pixels = numbers("pixels", 6 * 36 * 36 * 3, 1.0);
    let run = |threads, again| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let batch = Batch { pixels: &pixels, n: 6, height: 36, width: 36 };
            let network = Network::new(&sizes, weights.layout.clone()).checkpoint_blocks(again);
            let mut tape = Tape::default();
            tape.set_drop_path(Some(DropPath::draw(0.3, 3, 6, Stream::new(3, "drop path"))));
            let class = network.forward(&weights.params, &mut [], &batch, &mut tape).unwrap();
            let mut grads = vec![0.0; weights.params.len()];
            network.backward(&weights.params, &batch, &mut tape, &class, &mut grads, None).unwrap();
            (class, grads)
        })
    };
    assert!(run(1, false) == run(3, false) && run(1, false) == run(2, true));
}

#[test]
fn what_was_drawn_for_another_batch_is_refused_in_training_and_of_no_account_else() {
    let sizes = sizes(0, None, Interpolation::Antialiased);
    let weights = weights(sizes.layout());
    let pixels = numbers("pixels", 2 * 20 * 20 * 3, 1.0);
    let batch = Batch { pixels: &pixels, n: 2, height: 20, width: 20 };
    let (network, mut tape) = (Network::new(&sizes, weights.layout.clone()), Tape::default());
    let all = network.features(&weights, &batch, &mut tape).unwrap();
    let (tokens, _) = network.tokens(&weights, &batch, &mut tape).unwrap();
    let class: Vec<f32> = tokens.chunks_exact(26 * 24).flat_map(|image| image[..24].to_vec()).collect();
    close("class tokens alone", &all, &class, 1e-6);
    tape.set_drop_path(Some(DropPath::draw(0.9, 3, 3, Stream::new(3, "drop path"))));
    let failure = network.forward(&weights.params, &mut [], &batch, &mut tape).unwrap_err();
    assert_eq!(failure.message(), "drop path was drawn for 3 images, but there are 2");
    assert_eq!(network.forward_only(&weights.params, &mut [], &batch, &mut tape).unwrap(), all);
}
