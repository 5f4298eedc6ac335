//! The laws of a DINO step, on tiny networks and pictures of noise.

use std::sync::Arc;

use super::candle_dino::CandleDino;
use super::dino::{Dino, State, StepNumbers, Views};
use super::optimiser::{Clip, Hyper};
use super::representation::effective_rank;
use super::training::Training;
use crate::model::{HeadSizes, Sizes, Vit, Weights, Xcit};
use crate::random::Stream;

const N_LOCAL: usize = 3;

fn sizes() -> Sizes {
    Xcit { dim: Some(16), depth: Some(3), heads: Some(2), patch: Some(4), ..Xcit::default() }.sizes().unwrap()
}

const HEAD: HeadSizes = HeadSizes { dim: 16, hidden: 24, bottleneck: 8, outputs: 40, layers: 3 };

fn dino_on(sizes: &Sizes) -> Dino {
    Dino::resume(sizes, &HEAD, start(sizes))
}

fn start(sizes: &Sizes) -> State {
    State::start(&HEAD, Weights::start(Arc::new(sizes.layout()), 3), 3)
}

fn dino() -> Dino {
    dino_on(&sizes())
}

fn numbers() -> StepNumbers {
    StepNumbers {
        hyper: Hyper::new(1e-3, 0.1, Clip::Off),
        teacher_momentum: 0.9,
        teacher_temp: 0.04,
        student_temp: 0.1,
        centre_momentum: 0.9,
        freeze_last_layer: false,
        freeze_backbone: false,
        layer_decay: 1.0,
    }
}

/// Views of these images, view by view.
fn views(images: &[u64]) -> Views {
    let pixels = |side: usize, first: usize, n: usize| -> Vec<f32> {
        let one = |view: usize, image: u64| {
            let mut draws = Stream::new(9, "pixels").at(image).at((first + view) as u64).draws();
            (0..side * side * 3).map(move |_| draws.normal() as f32).collect::<Vec<f32>>()
        };
        (0..n).flat_map(|view| images.iter().flat_map(move |image| one(view, *image))).collect()
    };
    Views { batch: images.len(), global: pixels(16, 0, 2), global_side: 16, local: pixels(8, 2, N_LOCAL), local_side: 8, n_local: N_LOCAL }
}

#[track_caller]
fn close(what: &str, a: &[f32], b: &[f32]) {
    let largest = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-4 * largest, "{what}: off by {worst} of {largest}");
}

#[test]
fn parts_that_are_alike_make_the_step_of_the_whole() {
    // Alike, so that batch norm sees the same mean and variance in a part as in the whole.
    let (mut whole, mut parts) = (dino(), dino());
    let of_whole = whole.step(&[views(&[1, 2, 1, 2])], &numbers()).unwrap();
    let of_parts = parts.step(&[views(&[1, 2]), views(&[1, 2])], &numbers()).unwrap();
    for (a, b) in [
        (of_whole.loss.loss, of_parts.loss.loss),
        (of_whole.loss.entropy, of_parts.loss.entropy),
        (of_whole.loss.spread, of_parts.loss.spread),
        (of_whole.feature_std, of_parts.feature_std),
        (of_whole.centre_norm, of_parts.centre_norm),
        (effective_rank(whole.seen(), 16), effective_rank(parts.seen(), 16)),
    ] {
        assert!((a - b).abs() < 1e-4 * a.abs(), "{a} and {b}");
    }
    let (whole, parts) = (&whole.state, &parts.state);
    // AdamW's first moment after one step is a tenth of the gradient.
    close("gradient of the backbone", &parts.adam_backbone.first, &whole.adam_backbone.first);
    close("gradient of the head", &parts.adam_head.first, &whole.adam_head.first);
    close("centre", &parts.centre, &whole.centre);
    assert_eq!((parts.step, &parts.adam_backbone.steps), (1, &whole.adam_backbone.steps), "one step of the optimiser");
    assert!(whole.centre.iter().any(|c| *c != 0.0) && whole.adam_backbone.first.iter().any(|g| *g != 0.0));
}

#[test]
fn parts_that_differ_count_by_their_images() {
    let (mut uneven, mut repeated) = (dino(), dino());
    uneven.step(&[views(&[1, 2]), views(&[1, 2, 1, 2])], &numbers()).unwrap();
    repeated.step(&[views(&[1, 2, 1, 2]), views(&[1, 2])], &numbers()).unwrap();
    close("gradient", &uneven.state.adam_backbone.first, &repeated.state.adam_backbone.first);
    close("centre", &uneven.state.centre, &repeated.state.centre);
}

#[test]
fn blocks_computed_again_change_no_bit() {
    let (mut kept, mut again) = (dino(), dino().checkpoint_blocks(true));
    for step in 0..3 {
        let parts = [views(&[step, step + 1]), views(&[7, 8])];
        assert_eq!(kept.step(&parts, &numbers()).unwrap(), again.step(&parts, &numbers()).unwrap());
    }
    assert!(kept.state == again.state);
}

#[test]
fn a_vision_transformer_leaves_out_branches_by_seed_and_step_alone() {
    let free = Vit { dim: Some(16), depth: Some(3), heads: Some(2), patch: Some(4), side: Some(16), ..Vit::default() };
    let sizes = Vit { registers: Some(4), layer_scale: Some(0.1), ..free }.sizes().unwrap();
    let take = |dino: &mut Dino, steps: std::ops::Range<u64>| {
        steps.for_each(|step| {
            dino.step(&[views(&[step, step + 1]), views(&[7, 8])], &numbers()).unwrap();
        });
    };
    let all = |rate: f64, seed: u64, again: bool| {
        let mut dino = dino_on(&sizes).drop_path(rate, seed).checkpoint_blocks(again);
        take(&mut dino, 0..3);
        dino.state
    };
    let whole = all(0.3, 5, false);
    assert!(whole == all(0.3, 5, true), "blocks computed again leave out the same");
    assert!(whole != all(0.3, 6, false) && whole != all(0.0, 5, false));
    let mut first = dino_on(&sizes).drop_path(0.3, 5);
    take(&mut first, 0..1);
    let mut resumed = Dino::resume(&sizes, &HEAD, first.state).drop_path(0.3, 5);
    take(&mut resumed, 1..3);
    assert!(resumed.state == whole);
    let start = dino_on(&sizes).state.student.backbone;
    for entry in start.layout.params() {
        assert_ne!(start.params[entry.range()], whole.student.backbone.params[entry.range()], "`{}` learns nothing", entry.name);
    }
}

#[test]
fn a_frozen_backbone_stands_still_while_the_head_learns_and_layers_near_the_pixels_move_less() {
    let sizes = sizes();
    let on = |training: &str| -> Box<dyn Training> {
        match training {
            "kernels" => Box::new(dino_on(&sizes)),
            _ => Box::new(CandleDino::resume(&sizes, &HEAD, start(&sizes), &candle_core::Device::Cpu, (0.0, 0)).unwrap()),
        }
    };
    for training in ["kernels", "candle"] {
        let before = start(&sizes);
        let mut dino = on(training);
        let frozen = StepNumbers { freeze_backbone: true, ..numbers() };
        let parts = [views(&[1, 2]), views(&[7, 8, 9])];
        dino.step(&parts, &frozen).unwrap();
        let after = dino.state().unwrap();
        assert_eq!(after.student.backbone.params, before.student.backbone.params, "{training}");
        assert!(after.student.head.params != before.student.head.params && after.teacher.head.params != before.teacher.head.params);
        // Adam's first step is the learning rate in the direction of the sign, so it shows what a layer gets of it.
        let hyper = Hyper::new(1e-3, 0.0, Clip::Off);
        dino.step(&parts, &StepNumbers { hyper, layer_decay: 0.5, ..numbers() }).unwrap();
        let layout = before.student.backbone.layout.clone();
        let mut moved = |name: &str| {
            let entry = layout.params().iter().find(|e| e.name == name).unwrap();
            let (a, b) = (&before.student.backbone.params, &dino.state().unwrap().student.backbone.params);
            entry.range().map(|i| (a[i] - b[i]).abs()).fold(0.0, f32::max)
        };
        for (name, below_top) in
            [("norm.weight", 0), ("cls_attn_blocks.1.mlp.fc1.weight", 1), ("blocks.2.attn.qkv.weight", 3), ("cls_token", 6)]
        {
            let expected = 1e-3 * 0.5f32.powi(below_top);
            assert!((moved(name) / expected - 1.0).abs() < 0.01, "{training}, {name}: {} instead of {expected}", moved(name));
        }
    }
}

#[test]
fn candle_operations_take_the_steps_of_the_kernels() {
    let vit = Vit { dim: Some(16), depth: Some(3), heads: Some(2), patch: Some(4), side: Some(16), ..Vit::default() }.sizes().unwrap();
    for (sizes, drop_path) in [(sizes(), (0.0, 0)), (vit, (0.3, 5))] {
        // So large an epsilon that no step is made of the rounding of a gradient that is zero by law (a bias before a norm).
        let hyper = Hyper { eps: 1e-3, ..Hyper::new(1e-3, 0.1, Clip::Agc(0.1)) };
        let numbers = StepNumbers { hyper, freeze_last_layer: true, ..numbers() };
        let mut kernels = dino_on(&sizes).drop_path(drop_path.0, drop_path.1);
        let mut candle = CandleDino::resume(&sizes, &HEAD, start(&sizes), &candle_core::Device::Cpu, drop_path).unwrap();
        for step in 0..3 {
            let parts = [views(&[step, step + 1]), views(&[7, 8, 9])];
            let (expected, seen) = (kernels.step(&parts, &numbers).unwrap(), candle.step(&parts, &numbers).unwrap());
            for (a, b) in [
                (expected.loss.loss, seen.loss.loss),
                (expected.loss.entropy, seen.loss.entropy),
                (expected.loss.spread, seen.loss.spread),
                (expected.centre_norm, seen.centre_norm),
                (expected.feature_std, seen.feature_std),
            ] {
                assert!((a - b).abs() < 1e-4 * a.abs(), "step {step}: {expected:?} and {seen:?}");
            }
        }
        let (expected, seen) = (&kernels.state, candle.state().unwrap());
        assert_eq!((seen.step, &seen.adam_head.steps), (3, &expected.adam_head.steps));
        close("centre", &seen.centre, &expected.centre);
        close("statistics", &seen.student.backbone.buffers, &expected.student.backbone.buffers);
        close("the teacher's statistics", &seen.teacher.backbone.buffers, &expected.teacher.backbone.buffers);
        for (what, seen, expected) in [
            ("backbone", &seen.student.backbone.params, &expected.student.backbone.params),
            ("head", &seen.student.head.params, &expected.student.head.params),
            ("teacher", &seen.teacher.backbone.params, &expected.teacher.backbone.params),
            ("moments", &seen.adam_backbone.first, &expected.adam_backbone.first),
        ] {
            close(what, seen, expected);
        }
        // A training can move from one to the other.
        let mut moved = Dino::resume(&sizes, &HEAD, seen.clone()).drop_path(drop_path.0, drop_path.1);
        let (a, b) = (moved.step(&[views(&[1, 2])], &numbers).unwrap(), candle.step(&[views(&[1, 2])], &numbers).unwrap());
        assert!((a.loss.loss - b.loss.loss).abs() < 1e-4 * a.loss.loss, "{a:?} and {b:?}");
    }
}

#[test]
fn a_loss_that_is_no_number_leaves_the_state_as_it_was() {
    let mut dino = dino();
    let before = dino.state.clone();
    let mut broken = views(&[1, 2]);
    broken.global[0] = f32::NAN;
    let failure = dino.step(&[views(&[3, 4]), broken], &numbers()).unwrap_err();
    assert!(failure.message().starts_with("the loss is NaN in step 0"), "{failure}");
    let after = &dino.state;
    assert!((&after.student.backbone.params, &after.student.head.params) == (&before.student.backbone.params, &before.student.head.params));
    assert!((&after.centre, after.step, &after.adam_head) == (&before.centre, 0, &before.adam_head));
}
