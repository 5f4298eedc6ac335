//! The state of a DINO training, and one step of it (Caron et al. 2021, algorithm 1).

use std::sync::Arc;

use super::dino_loss::{LossReport, LossSums, Shape, loss_and_gradient, move_centre};
use super::optimiser::{Adam, Follower, Hyper};
use super::representation::spread;
use crate::diagnostic::Failure;
use crate::kernel::{add_column_sums, on_workers, side_by_side};
use crate::model::{Batch, DropPath, Entry, Head, HeadSizes, HeadTape, Layout, Network, Sizes, Tape, Weights};
use crate::random::Stream;

/// A backbone's and a head's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub backbone: Weights,
    pub head: Weights,
}

/// Everything that a training is at one moment. Held by checkpoints whole.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps taken.
    pub step: u64,
    pub student: Pair,
    pub teacher: Pair,
    pub centre: Vec<f32>,
    pub adam_backbone: Adam,
    pub adam_head: Adam,
}

/// The views of some images, pixel-major: two global views of every image, then the local ones, view by view.
#[derive(Clone, Debug, Default)]
pub struct Views {
    pub batch: usize,
    pub global: Vec<f32>,
    pub global_side: usize,
    pub local: Vec<f32>,
    pub local_side: usize,
    pub n_local: usize,
}

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepNumbers {
    pub hyper: Hyper,
    pub teacher_momentum: f64,
    pub teacher_temp: f64,
    pub student_temp: f64,
    pub centre_momentum: f64,
    pub freeze_last_layer: bool,
    /// Whether the head learns alone.
    pub freeze_backbone: bool,
    /// How much of the learning rate a layer gets of what the one above it gets (Clark et al. 2020, arXiv:2003.10555; timm's `layer_decay`).
    pub layer_decay: f64,
}

/// What one step says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DinoStep {
    pub loss: LossReport,
    pub centre_norm: f64,
    /// Mean over the dimensions of the deviation of the L2-normalised global representations, times √D: near 1 when they fill the sphere, 0 at collapse.
    pub feature_std: f64,
}

/// A training in memory: its state, and the buffers of its passes.
pub struct Dino {
    pub state: State,
    network: Network,
    head: Head,
    global_tape: Tape,
    local_tape: Tape,
    teacher_tape: Tape,
    head_tape: HeadTape,
    teacher_head_tape: HeadTape,
    backbone_grads: Vec<f32>,
    head_grads: Vec<f32>,
    student_logits: Vec<f32>,
    teacher_logits: Vec<f32>,
    /// The student's representations of all global views of the last step.
    seen: Vec<f32>,
    /// How many branches the student leaves out, and where the draws start.
    drop_path: (f64, u64),
}

impl State {
    /// Starts a training: the teacher is a copy of the student (DINO; the paper's code differs, method note D25).
    pub fn start(head: &HeadSizes, backbone: Weights, seed: u64) -> Self {
        let student = Pair { backbone, head: Weights::start(Arc::new(head.layout()), seed) };
        Self {
            step: 0,
            teacher: student.clone(),
            centre: vec![0.0; head.outputs],
            adam_backbone: Adam::new(student.backbone.layout.clone()),
            adam_head: Adam::new(student.head.layout.clone()),
            student,
        }
    }
}

impl Dino {
    /// Goes on from a state.
    pub fn resume(sizes: &Sizes, head: &HeadSizes, state: State) -> Self {
        let backbone_layout: Arc<Layout> = state.student.backbone.layout.clone();
        Self {
            network: Network::new(sizes, backbone_layout),
            head: Head::new(head),
            backbone_grads: vec![0.0; state.student.backbone.params.len()],
            head_grads: vec![0.0; state.student.head.params.len()],
            state,
            global_tape: Tape::default(),
            local_tape: Tape::default(),
            teacher_tape: Tape::default(),
            head_tape: HeadTape::default(),
            teacher_head_tape: HeadTape::default(),
            student_logits: Vec::new(),
            teacher_logits: Vec::new(),
            seen: Vec::new(),
            drop_path: (0.0, 0),
        }
    }

    /// Makes backward passes compute the blocks' activations again instead of keeping them: the same bits, with less memory and more time.
    pub fn checkpoint_blocks(mut self, yes: bool) -> Self {
        self.network = self.network.checkpoint_blocks(yes);
        self
    }

    /// Makes the student leave out branches of images at this rate (see [`DropPath`]). The draws follow from seed, step, part and view.
    pub fn drop_path(mut self, rate: f64, seed: u64) -> Self {
        self.drop_path = (rate, seed);
        self
    }

    /// Draws what the student leaves out of its passes over some images: those of the global views, and those of the local ones.
    fn draw_drop_path(&mut self, part: usize, global: usize, local: usize) {
        let (rate, seed) = self.drop_path;
        let stream = Stream::new(seed, "drop path").at(self.state.step).at(part as u64);
        let depth = self.network.sizes().depth();
        for (view, (tape, images)) in [(&mut self.global_tape, global), (&mut self.local_tape, local)].into_iter().enumerate() {
            tape.set_drop_path((rate > 0.0).then(|| DropPath::draw(rate, depth, images, stream.clone().at(view as u64))));
        }
    }

    /// Returns the student's representations of the last step's global views, row by row.
    pub fn seen(&self) -> &[f32] {
        &self.seen
    }

    /// Returns the network, which holds no weights.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Takes one step on the images of all parts together.
    ///
    /// The parts pass the networks one after the other, so that memory is that of the largest. Their gradients are added, their teacher's
    /// outputs make one move of the centre, and there is one step of the optimiser and of the teacher: the same as for one part, except
    /// that batch norms use the statistics of each part (and move the running ones once for each).
    ///
    /// # Errors
    /// When the views do not fit the network, or the loss is not finite: the state is then as before the step but for batch statistics.
    pub fn step(&mut self, parts: &[Views], numbers: &StepNumbers) -> Result<DinoStep, Failure> {
        on_workers(|| self.step_on_worker(parts, numbers))
    }

    fn step_on_worker(&mut self, parts: &[Views], numbers: &StepNumbers) -> Result<DinoStep, Failure> {
        let whole: usize = parts.iter().map(|views| views.batch).sum();
        let outputs = self.head.outputs();
        let (mut sums, mut logit_sums) = (LossSums::new(outputs), vec![0.0; outputs]);
        self.seen.clear();
        for (i, views) in parts.iter().enumerate() {
            self.draw_drop_path(i, 2 * views.batch, views.n_local * views.batch);
            if let Err(failure) = self.part(views, whole, numbers, &mut sums, &mut logit_sums) {
                // What went wrong leaves nothing in the next step's gradients, which else are 0 after each.
                self.head_grads.fill(0.0);
                self.backbone_grads.fill(0.0);
                return Err(failure);
            }
        }
        let State { step, student, teacher, centre, adam_backbone, adam_head } = &mut self.state;
        let frozen = numbers.freeze_last_layer;
        let follow = |params| Some(Follower { params, momentum: numbers.teacher_momentum });
        let (pair, grads) = (&mut student.backbone, &mut self.backbone_grads);
        adam_backbone.step(&mut pair.params, grads, &numbers.hyper, follow(&mut teacher.backbone.params), |entry| {
            backbone_rate(self.network.sizes(), entry, numbers)
        });
        let (pair, grads) = (&mut student.head, &mut self.head_grads);
        adam_head.step(&mut pair.params, grads, &numbers.hyper, follow(&mut teacher.head.params), |entry| head_rate(entry, frozen));
        move_centre(centre, &logit_sums, 2 * whole, numbers.centre_momentum);
        *step += 1;
        let centre_norm = centre.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
        Ok(DinoStep { loss: sums.report(), centre_norm, feature_std: spread(&self.seen, self.network.sizes().dim()) })
    }

    /// Passes one part of a step through both networks and back, adding to the gradients and sums.
    fn part(
        &mut self,
        views: &Views,
        whole: usize,
        numbers: &StepNumbers,
        sums: &mut LossSums,
        logit_sums: &mut [f32],
    ) -> Result<(), Failure> {
        let State { step, student, teacher, centre, .. } = &mut self.state;
        let global = Batch { pixels: &views.global, n: 2 * views.batch, height: views.global_side, width: views.global_side };
        let local = Batch { pixels: &views.local, n: views.n_local * views.batch, height: views.local_side, width: views.local_side };

        // The teacher's pass and the student's know nothing of each other.
        let (network, head) = (&self.network, &self.head);
        let (teacher_tapes, teacher_logits) = ((&mut self.teacher_tape, &mut self.teacher_head_tape), &mut self.teacher_logits);
        let look = || {
            let Pair { backbone, head: weights } = teacher;
            let features = network.forward_only(&backbone.params, &mut backbone.buffers, &global, teacher_tapes.0)?;
            head.forward(&weights.params, &features, teacher_tapes.1, teacher_logits);
            Ok::<_, Failure>(())
        };
        let (tapes, student_logits) = ((&mut self.global_tape, &mut self.local_tape, &mut self.head_tape), &mut self.student_logits);
        let learn = || {
            let Pair { backbone, head: weights } = &mut *student;
            let mut features = network.forward(&backbone.params, &mut backbone.buffers, &global, tapes.0)?;
            let split = features.len();
            if views.n_local > 0 {
                features.extend(network.forward(&backbone.params, &mut backbone.buffers, &local, tapes.1)?);
            }
            head.forward(&weights.params, &features, tapes.2, student_logits);
            Ok::<_, Failure>((features, split))
        };
        let (looked, learned) = side_by_side(look, learn);
        let ((), (features, split)) = (looked?, learned?);
        self.seen.extend_from_slice(&features[..split]);
        add_column_sums(&self.teacher_logits, logit_sums);

        let shape = Shape { batch: views.batch, whole, views: 2 + views.n_local, outputs: self.head.outputs() };
        let temps = (numbers.teacher_temp, numbers.student_temp);
        loss_and_gradient(shape, &mut self.teacher_logits, &mut self.student_logits, centre, temps.0, temps.1, sums);
        let loss = sums.report().loss;
        if !loss.is_finite() {
            return Err(not_finite(loss, *step));
        }

        let frozen = numbers.freeze_last_layer;
        let d = self.head.backward(&student.head.params, &self.head_tape, &mut self.student_logits, frozen, &mut self.head_grads);
        if numbers.freeze_backbone {
            return Ok(());
        }
        self.network.backward(&student.backbone.params, &global, &mut self.global_tape, &d[..split], &mut self.backbone_grads, None)?;
        if views.n_local > 0 {
            self.network.backward(&student.backbone.params, &local, &mut self.local_tape, &d[split..], &mut self.backbone_grads, None)?;
        }
        Ok(())
    }
}

/// How much of the learning rate a tensor of the head gets: the gain of the last layer none, its directions none while they are frozen.
pub(super) fn head_rate(entry: &Entry, frozen: bool) -> f64 {
    if entry.name.ends_with("weight_g") || (frozen && entry.name.starts_with("last_layer")) { 0.0 } else { 1.0 }
}

/// How much of the learning rate a tensor of the backbone gets.
pub(super) fn backbone_rate(sizes: &Sizes, entry: &Entry, numbers: &StepNumbers) -> f64 {
    match numbers.freeze_backbone {
        true => 0.0,
        false => numbers.layer_decay.powi((sizes.top_layer() - sizes.layer(&entry.name)) as i32),
    }
}

/// The end of a training that diverged.
pub(super) fn not_finite(loss: f64, step: u64) -> Failure {
    Failure::new(format!("the loss is {loss} in step {step}")).help("lower `lr`, raise `warm_up_epochs`, or keep gradient clipping on")
}
