//! The golden backbones on the kernels, and the golden trajectory on the very step, optimiser and schedules that a `Dino` node runs.

use std::sync::Arc;

use flow::model::{Batch, HeadSizes, Layout, Network, Sizes, Tape};
use flow::train::{Adam, Clip, Cosine, Hyper, Pair, State, StepNumbers, StepViews, Training, warm_up};
use serde_json::Value;

use super::{Golden, Named, named, pixels};

/// Pixels of golden views (V, B, 3, H, W), pixel-major, view by view.
fn views(golden: &Golden, name: &str) -> (Vec<f32>, usize, usize) {
    let &[views, batch, channels, height, width] = golden.shape(name) else { panic!("{name} is not a batch of views") };
    (pixels(&golden.f32(name), &[views * batch, channels, height, width], false), views, height)
}

/// Returns what an XCiT makes of the images of its golden file: one pass in evaluation and one with its backward pass in training.
pub fn backbone(golden: &Golden) -> Named {
    let sizes = Sizes::Xcit(golden.sizes());
    let weights = golden.weights(sizes.layout(), "w.");
    let network = Network::new(&sizes, weights.layout.clone());
    let shape: [usize; 4] = golden.shape("x").try_into().unwrap();
    let x = pixels(&golden.f32("x"), &shape, false);
    let batch = Batch { pixels: &x, n: shape[0], height: shape[2], width: shape[3] };
    let mut seen = Named::new();
    let mut keep = |name: &str, values: &[f32]| {
        seen.insert(name.to_string(), (golden.shape(name).to_vec(), values.iter().map(|v| f64::from(*v)).collect()));
    };
    let (tokens, attention) = network.tokens(&weights, &batch, &mut Tape::default()).unwrap();
    keep("eval.tokens", &tokens);
    keep("eval.cls_attention", &attention);
    let (mut tape, mut buffers) = (Tape::default(), weights.buffers.clone());
    keep("train.cls", &network.forward(&weights.params, &mut buffers, &batch, &mut tape).unwrap());
    let (mut grads, mut d_x) = (vec![0.0; weights.params.len()], Vec::new());
    network.backward(&weights.params, &batch, &mut tape, &golden.f32("train.direction"), &mut grads, Some(&mut d_x)).unwrap();
    keep("grad.x", &pixels(&d_x, &shape, true));
    weights.layout.params().iter().for_each(|entry| keep(&format!("grad.{}", entry.name), &grads[entry.range()]));
    weights.layout.buffers().iter().for_each(|entry| keep(&format!("after.{}", entry.name), &buffers[entry.range()]));
    seen
}

/// Plays the trajectory with the training that `open` makes of its start; returns the final states and each step's loss.
pub fn trajectory(
    golden: &Golden,
    log: &Value,
    sizes: &Sizes,
    head: &HeadSizes,
    open: impl FnOnce(State) -> Box<dyn Training>,
) -> (Named, Vec<f64>) {
    let config = &log["config"];
    let number = |key: &str| config[key].as_u64().unwrap();
    let float = |key: &str| config[key].as_f64().unwrap();
    let pair = |key: &str| (config[key][0].as_f64().unwrap(), config[key][1].as_f64().unwrap());
    let start =
        Pair { backbone: golden.weights(sizes.layout(), "student0.backbone."), head: golden.weights(head.layout(), "student0.head.") };
    let adam = |layout: &Arc<Layout>| Adam::new(layout.clone());
    let state = State {
        step: 0,
        adam_backbone: adam(&start.backbone.layout),
        adam_head: adam(&start.head.layout),
        teacher: start.clone(),
        student: start,
        centre: vec![0.0; head.outputs],
    };
    let mut dino = open(state);
    let steps = number("steps");
    let cosine = |key: &str, warm_up: u64| Cosine { from: pair(key).0, to: pair(key).1, steps, warm_up };
    let (rate, decay, momentum) = (cosine("lr", number("lr_warmup_steps")), cosine("weight_decay", 0), cosine("momentum", 0));
    let losses = (0..steps).map(|s| {
        let (global, _, global_side) = views(golden, &format!("step{s}.global"));
        let (local, n_local, local_side) = views(golden, &format!("step{s}.local"));
        let batch = golden.shape(&format!("step{s}.global"))[1];
        let temps = pair("teacher_temp");
        let numbers = StepNumbers {
            hyper: Hyper::new(rate.at(s), decay.at(s), Clip::Agc(float("agc"))),
            teacher_momentum: momentum.at(s),
            teacher_temp: warm_up(temps.0, temps.1, number("teacher_temp_warmup_steps"), s),
            student_temp: float("student_temp"),
            centre_momentum: float("centre_momentum"),
            freeze_last_layer: s < number("freeze_last_layer_steps"),
            freeze_backbone: false,
            layer_decay: 1.0,
        };
        let views = StepViews { batch, global, global_side, local, local_side, n_local };
        dino.step(&[views], &numbers).unwrap().loss.loss
    });
    let losses = losses.collect();
    let mut seen = Named::new();
    let state = dino.state().unwrap();
    for (who, pair) in [("student", &state.student), ("teacher", &state.teacher)] {
        for (part, weights) in [("backbone", &pair.backbone), ("head", &pair.head)] {
            let layout = &weights.layout;
            let all = layout.params().iter().map(|e| (e, &weights.params)).chain(layout.buffers().iter().map(|e| (e, &weights.buffers)));
            let of = |(e, values): (&flow::model::Entry, &Vec<f32>)| {
                let values = values[e.range()].iter().map(|v| f64::from(*v)).collect();
                (format!("{who}{steps}.{part}.{}", e.name), e.shape.clone(), values)
            };
            seen.append(&mut named(all.map(of)));
        }
    }
    seen.insert("centre".to_string(), (vec![1, head.outputs], state.centre.iter().map(|v| f64::from(*v)).collect()));
    (seen, losses)
}
