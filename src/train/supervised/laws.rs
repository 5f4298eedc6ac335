//! The laws of training with labels, on tiny pictures and a tiny network.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::classify::{Features, Protocol, RocAuc, Roster};
use crate::data::Views;
use crate::diagnostic::Failure;
use crate::random::Stream;
use crate::stage::{Memory, Monitor, Silent};

const SIDE: usize = 4;
const INPUTS: usize = SIDE * SIDE * 3;
const DIM: usize = 6;

/// Pictures of one colour per class under noise; augmented ones get more noise in every epoch.
struct Colours {
    noise: f64,
}

impl Views for Colours {
    fn n_images(&self) -> usize {
        120
    }
    fn side(&self, _: usize) -> usize {
        SIDE
    }
    fn fill(&self, image: usize, epoch: u64, view: usize, out: &mut [f32]) -> Result<(), Failure> {
        let mut own = Stream::new(1, "picture").at(image as u64).draws();
        let mut fresh = Stream::new(1, "augmented").at(image as u64).at(epoch).at(view as u64).draws();
        for (i, v) in out.iter_mut().enumerate() {
            let colour = if i % 3 == image % 3 { 0.8 } else { 0.0 };
            *v = (colour + 0.5 * own.normal() + self.noise * fresh.normal()) as f32;
        }
        Ok(())
    }
}

/// features = tanh(W · (picture - mean)); the mean is the batch's in training and a running one outside.
#[derive(Clone)]
struct Tiny {
    w: Vec<f32>,
    mean: Vec<f32>,
}

impl Tiny {
    fn new(repeat: usize) -> Self {
        let mut draws = Stream::new(9, "tiny").at(repeat as u64).draws();
        Self { w: (0..DIM * INPUTS).map(|_| draws.normal() as f32 * 0.1).collect(), mean: vec![0.0; INPUTS] }
    }

    fn forward(&self, pictures: &[f32], mean: &[f32]) -> Vec<f32> {
        let unit = |picture: &[f32], w: &[f32]| picture.iter().zip(mean).zip(w).map(|((x, m), w)| (x - m) * w).sum::<f32>().tanh();
        pictures.chunks_exact(INPUTS).flat_map(|p| self.w.chunks_exact(INPUTS).map(move |w| unit(p, w))).collect()
    }
}

impl Encoder for Tiny {
    fn dim(&self) -> usize {
        DIM
    }
    fn tensors(&self) -> Vec<Tensor> {
        vec![Tensor { range: 0..self.w.len(), unit: INPUTS, decays: true, below_top: 0 }]
    }
    fn parameters(&self) -> &[f32] {
        &self.w
    }
    fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.w
    }
    fn embed(&self, pictures: &[f32], _: usize, features: &mut Vec<f32>) -> Result<(), Failure> {
        features.extend(self.forward(pictures, &self.mean));
        Ok(())
    }
    fn learn(&mut self, pictures: &[f32], _: usize, loss: &mut dyn FnMut(&[f32], &mut [f32]), gradient: &mut [f32]) -> Result<(), Failure> {
        let n = (pictures.len() / INPUTS) as f32;
        let mut mean = vec![0.0; INPUTS];
        pictures.chunks_exact(INPUTS).for_each(|p| mean.iter_mut().zip(p).for_each(|(m, x)| *m += x / n));
        let features = self.forward(pictures, &mean);
        let mut back = vec![0.0; features.len()];
        loss(&features, &mut back);
        gradient.fill(0.0);
        for ((picture, f), b) in pictures.chunks_exact(INPUTS).zip(features.chunks_exact(DIM)).zip(back.chunks_exact(DIM)) {
            for ((row, f), b) in gradient.chunks_exact_mut(INPUTS).zip(f).zip(b) {
                row.iter_mut().zip(picture).zip(&mean).for_each(|((g, x), m)| *g += b * (1.0 - f * f) * (x - m));
            }
        }
        self.mean.iter_mut().zip(&mean).for_each(|(own, new)| *own += 0.1 * (new - *own));
        Ok(())
    }
    fn statistics(&self) -> Vec<f32> {
        self.mean.clone()
    }
    fn set_statistics(&mut self, statistics: &[f32]) {
        self.mean.copy_from_slice(statistics);
    }
}

fn ids() -> Vec<String> {
    (0..120).map(|i| format!("{i:03}")).collect()
}

fn protocol() -> Protocol {
    Protocol { repeats: 3, keep_predictions: 1, ..Protocol::default() }
}

fn roster() -> Roster {
    let labels: BTreeMap<String, String> = ids().into_iter().enumerate().map(|(i, id)| (id, ["r", "g", "b"][i % 3].to_string())).collect();
    Roster::new(&labels, &ids()[..75], &ids()[75..], &protocol(), 1).unwrap()
}

fn with_task<T>(pieces: &Memory, work: impl FnOnce(&Task<'_>) -> T) -> T {
    let place: HashMap<String, usize> = ids().into_iter().enumerate().map(|(i, id)| (id, i)).collect();
    work(&Task {
        roster: &roster(),
        protocol: &protocol(),
        place: &place,
        augmented: &Colours { noise: 0.3 },
        plain: &Colours { noise: 0.0 },
        plain_views: 1,
        seed: 4,
        pieces,
        wants_model: true,
    })
}

fn quick() -> Stop {
    Stop { evaluate_every: 10, warm_up: 5, max_steps: Some(200), blind_steps: 60, ..Stop::default() }
}

fn how() -> Supervised {
    Supervised { rate: 1e-2, batch: 16, schedule: Schedule::Constant, stop: quick(), ..Supervised::default() }
}

fn baseline(pieces: &Memory, per_class: usize, monitor: &dyn Monitor) -> Result<Outcome<Learnt>, Failure> {
    baseline_by(&how(), pieces, per_class, monitor)
}

fn baseline_by(how: &Supervised, pieces: &Memory, per_class: usize, monitor: &dyn Monitor) -> Result<Outcome<Learnt>, Failure> {
    with_task(pieces, |task| supervised(task, how, per_class, &|repeat| Ok(Box::new(Tiny::new(repeat))), monitor))
}

fn plain_features() -> Features {
    let mut pictures = vec![0.0; INPUTS];
    let mut values = Vec::new();
    for image in 0..120 {
        Colours { noise: 0.0 }.fill(image, 0, 0, &mut pictures).unwrap();
        Tiny::new(0).embed(&pictures, SIDE, &mut values).unwrap();
    }
    Features::new(ids(), ndarray::Array2::from_shape_vec((120, DIM), values).unwrap()).unwrap()
}

fn probe(pieces: &Memory, per_class: usize) -> Outcome<Linear> {
    let how = LinearProbe { rate: 3e-2, batch: 16, crops: 5, stop: quick(), ..LinearProbe::default() };
    with_task(pieces, |task| linear_probe(task, &how, per_class, &Tiny::new(0), &plain_features(), &Silent)).unwrap()
}

#[test]
fn both_learn_to_tell_the_colours_apart() {
    let pieces = Memory::default();
    for cell in [baseline(&pieces, 20, &Silent).unwrap().cell, probe(&pieces, 20).cell] {
        assert_eq!(cell.runs.iter().map(|run| run.rows_used).collect::<Vec<_>>(), [60; 3]);
        for run in &cell.runs {
            assert!(run.confusion.balanced_accuracy() > 0.85, "{} {:?}", cell.classifier, run.confusion);
        }
    }
}

#[test]
fn one_image_per_class_is_learnt_without_validation_and_says_so() {
    let pieces = Memory::default();
    let outcome = baseline(&pieces, 1, &Silent).unwrap();
    assert_eq!(outcome.cell.runs[0].rows_used, 3);
    let last = outcome.curve.iter().rfind(|p| p.repeat == 0).unwrap();
    assert_eq!((last.step, last.validation), (60, None));
    let mean: f64 = outcome.cell.runs.iter().map(|run| run.confusion.balanced_accuracy()).sum::<f64>() / 3.0;
    assert!(mean > 0.4, "{mean}");
}

#[test]
fn the_network_stands_still_while_the_layer_warms_up() {
    // Sixty steps at one image per class.
    let after = |head_warm_up: usize| {
        let (network, head) = baseline_by(&Supervised { head_warm_up, ..how() }, &Memory::default(), 1, &Silent).unwrap().model.unwrap();
        (network.parameters().to_vec(), network.statistics(), head.parameters)
    };
    let start = Tiny::new(0);
    let (still, moved) = (after(60), after(59));
    assert_eq!((&still.0, &still.1), (&start.w, &start.mean));
    assert!(moved.0 != start.w && moved.1 != start.mean && moved.2 != still.2);
}

#[test]
fn the_model_that_comes_back_made_the_predictions_of_the_first_repeat() {
    let pieces = Memory::default();
    for _ in ["trained", "read back"] {
        let outcome = baseline(&pieces, 10, &Silent).unwrap();
        let (network, head) = outcome.model.as_ref().unwrap();
        let mut pictures = Vec::new();
        for image in 75..120 {
            let mut picture = vec![0.0; INPUTS];
            Colours { noise: 0.0 }.fill(image, 0, 0, &mut picture).unwrap();
            pictures.extend(picture);
        }
        let mut features = Vec::new();
        network.embed(&pictures, SIDE, &mut features).unwrap();
        assert_eq!(Some(head.predict(&features)), outcome.cell.runs[0].predictions);
    }
}

#[test]
fn areas_under_roc_curves_are_those_of_the_models_probabilities_and_asked_for_only() {
    let pieces = Memory::default();
    let without = baseline(&pieces, 10, &Silent).unwrap();
    assert!(without.cell.runs.iter().all(|run| run.roc_auc.is_none()));
    let ranked = Protocol { roc_auc: true, ..protocol() };
    let start = |repeat: usize| -> Result<Box<dyn Encoder>, Failure> { Ok(Box::new(Tiny::new(repeat))) };
    let with = with_task(&pieces, |task| supervised(&Task { protocol: &ranked, ..*task }, &how(), 10, &start, &Silent)).unwrap();
    // Repeats that are kept without areas are none of these.
    assert_eq!((without.taken, with.taken), (0, 0));
    assert_eq!(with.cell.runs[0].predictions, without.cell.runs[0].predictions);
    let (network, head) = with.model.as_ref().unwrap();
    let mut features = Vec::new();
    for image in 75..120 {
        let mut picture = vec![0.0; INPUTS];
        Colours { noise: 0.0 }.fill(image, 0, 0, &mut picture).unwrap();
        network.embed(&picture, SIDE, &mut features).unwrap();
    }
    let truth: Vec<usize> = roster().test.iter().map(|(_, class)| *class).collect();
    let probability = |class: usize| {
        let of_row = |row: &[f32]| f64::from(row[class]).exp() / row.iter().map(|z| f64::from(*z).exp()).sum::<f64>();
        Some(head.logits(&features).chunks_exact(3).map(of_row).collect())
    };
    let areas = with.cell.runs[0].roc_auc.as_ref().unwrap();
    assert_eq!(areas, &RocAuc::of(3, &truth, probability));
    assert!(areas.macro_average().unwrap() > 0.9, "{areas:?}");
}

#[test]
fn trainings_that_ran_out_of_steps_are_counted() {
    let cut_short = |max_steps, per_class| {
        let how = Supervised { stop: Stop { max_steps: Some(max_steps), ..quick() }, ..how() };
        baseline_by(&how, &Memory::default(), per_class, &Silent).unwrap().cut_short
    };
    // Nothing stops before the fifth evaluation, at step 50; with one image per class nothing is held out that could.
    assert_eq!([cut_short(40, 20), cut_short(2000, 20), cut_short(40, 1)], [3, 0, 0]);
}

#[test]
fn a_picture_is_told_by_the_mean_over_its_views() {
    let pieces = Memory::default();
    let start = |repeat: usize| -> Result<Box<dyn Encoder>, Failure> { Ok(Box::new(Tiny::new(repeat))) };
    // Every view has noise of its own, and much.
    let noisy = Colours { noise: 4.0 };
    let told = |plain_views| {
        let task = |task: &Task<'_>| supervised(&Task { plain: &noisy, plain_views, ..*task }, &how(), 20, &start, &Silent);
        let outcome = with_task(&pieces, task).unwrap();
        assert_eq!(outcome.taken, 0, "repeats told by another number of views are none of these");
        outcome.cell.runs.iter().map(|run| run.confusion.balanced_accuracy()).sum::<f64>() / 3.0
    };
    let (by_one, by_many) = (told(1), told(16));
    assert!(by_one < 0.7 && by_many > by_one + 0.15, "{by_one} {by_many}");
}

#[test]
fn a_training_cut_off_and_started_again_ends_the_same_on_any_number_of_threads() {
    /// Says stop after so many steps.
    struct After(AtomicUsize);
    impl Monitor for After {
        fn progress(&self, _: u64, _: u64, _: &'static str, _: &[(&'static str, f64)]) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        fn interrupted(&self) -> bool {
            self.0.load(Ordering::Relaxed) == 0
        }
    }
    let (whole, cut) = (Memory::default(), Memory::default());
    let expected = baseline(&whole, 1, &Silent).unwrap();
    // Sixty steps a repeat: the second one is cut.
    let stopped = baseline(&cut, 1, &After(AtomicUsize::new(80)));
    assert!(stopped.is_err_and(|failure| failure.is_interruption()));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let resumed = pool.install(|| baseline(&cut, 1, &Silent)).unwrap();
    assert_eq!((resumed.cell, resumed.curve), (expected.cell, expected.curve));
    assert_eq!(resumed.model.unwrap().0.parameters(), expected.model.unwrap().0.parameters());
    assert_eq!((expected.taken, resumed.taken), (0, 1));
    // Only what was not finished is trained again.
    assert!(baseline(&cut, 1, &After(AtomicUsize::new(1))).is_ok());
}

#[test]
fn a_loss_that_is_no_number_stops_the_training() {
    let pieces = Memory::default();
    let how = Supervised { rate: 1e30, clip: None, schedule: Schedule::Constant, stop: quick(), ..Supervised::default() };
    let failure = with_task(&pieces, |task| supervised(task, &how, 5, &|_| Ok(Box::new(Tiny::new(0))), &Silent)).err().unwrap();
    assert!(failure.message().starts_with("the loss is NaN at step"), "{failure}");
}

#[test]
fn mistakes_and_missing_pictures_are_named() {
    let pieces = Memory::default();
    let how = LinearProbe { batch: 0, crops: 0, ..LinearProbe::default() };
    let run = |task: &Task<'_>| linear_probe(task, &how, 5, &Tiny::new(0), &plain_features(), &Silent);
    let failure = with_task(&pieces, run).err().unwrap();
    assert_eq!(failure.message(), "linear probe: `batch` must be at least 1, got 0; `crops` must be at least 1, got 0");
    let failure = with_task(&pieces, |task| {
        let place = HashMap::new();
        supervised(&Task { place: &place, ..*task }, &Supervised::default(), 5, &|_| Ok(Box::new(Tiny::new(0))), &Silent).err().unwrap()
    });
    assert_eq!(failure.message(), "`002` takes part but is not among the pictures");
}
