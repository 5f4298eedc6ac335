//! One step of DINO in candle operations: the twin of [`Dino`](super::Dino) that GPUs use.
//!
//! Networks, moments and centre stay on the device between steps. What comes back in each is small: the loss, the student's
//! representations, and the mean of the teacher's distributions, for the curve.

use candle_core::{DType, Device, Tensor};

use super::candle_adam::CandleAdam;
use super::dino::{DinoStep, State, StepNumbers, Views, backbone_rate, head_rate, not_finite};
use super::dino_loss::LossReport;
use super::representation::spread;
use super::training::Training;
use crate::diagnostic::{Context, Failure};
use crate::model::{
    Batch, CandleHead, CandleNetwork, DropPath, HeadSizes, Sizes, Tensors, dino_log_softmax, dino_loss, download, next_centre,
};
use crate::random::Stream;

/// A backbone and a head.
struct Pair {
    backbone: CandleNetwork,
    head: CandleHead,
}

impl Pair {
    fn new(sizes: &Sizes, head: &HeadSizes, pair: &super::dino::Pair, device: &Device) -> Result<Self, Failure> {
        let backbone = CandleNetwork::new(sizes, &pair.backbone, DType::F32, device)?;
        Ok(Self { backbone, head: CandleHead::new(head, &pair.head, DType::F32, device)? })
    }

    fn without_gradient(&self) -> Self {
        Self { backbone: self.backbone.without_gradient(), head: self.head.without_gradient() }
    }

    fn tensors(&self) -> [&Tensors; 2] {
        [self.backbone.tensors(), self.head.tensors()]
    }
}

/// A training on a device.
pub struct CandleDino {
    sizes: Sizes,
    /// But for the step, as it was when somebody last asked for it.
    state: State,
    student: Pair,
    teacher: Pair,
    centre: Tensor,
    adam: [CandleAdam; 2],
    seen: Vec<f32>,
    drop_path: (f64, u64),
}

/// What the parts of a step add up to.
#[derive(Default)]
struct Sums {
    /// By parameter, those of the backbone first unless it is frozen.
    gradients: Vec<Tensor>,
    teacher_logits: Vec<Tensor>,
    loss: f64,
    entropy: f64,
    /// Sum of the teacher's distributions.
    mean: Vec<f64>,
    rows: usize,
}

impl CandleDino {
    /// Goes on from a state, on a device. The student leaves out branches as [`Dino::drop_path`](super::Dino::drop_path) says.
    ///
    /// # Errors
    /// When the device refuses, for want of memory say.
    pub fn resume(sizes: &Sizes, head: &HeadSizes, state: State, device: &Device, drop_path: (f64, u64)) -> Result<Self, Failure> {
        let student = Pair::new(sizes, head, &state.student, device)?;
        let teacher = Pair::new(sizes, head, &state.teacher, device)?.without_gradient();
        let centre = Tensor::from_slice(&state.centre, (1, state.centre.len()), device).doing(|| "copying the centre to the device")?;
        let adam = [
            CandleAdam::new(&state.adam_backbone, student.backbone.tensors())?,
            CandleAdam::new(&state.adam_head, student.head.tensors())?,
        ];
        Ok(Self { sizes: sizes.clone(), state, student, teacher, centre, adam, seen: Vec::new(), drop_path })
    }

    /// Passes one part of a step through both networks and back, adding to the sums.
    fn part(&mut self, part: usize, views: &Views, whole: usize, numbers: &StepNumbers, sums: &mut Sums) -> Result<(), Failure> {
        let global = Batch { pixels: &views.global, n: 2 * views.batch, height: views.global_side, width: views.global_side };
        let local = Batch { pixels: &views.local, n: views.n_local * views.batch, height: views.local_side, width: views.local_side };
        let (rate, seed) = self.drop_path;
        let stream = Stream::new(seed, "drop path").at(self.state.step).at(part as u64);
        let draw = |view: u64, images| (rate > 0.0).then(|| DropPath::draw(rate, self.sizes.depth(), images, stream.clone().at(view)));

        let taught = self.teacher.head.forward(&self.teacher.backbone.forward(&global, None)?)?;
        let mut features = self.student.backbone.forward(&global, draw(0, global.n).as_ref())?;
        self.seen.extend(download(&features)?);
        if views.n_local > 0 {
            let local = self.student.backbone.forward(&local, draw(1, local.n).as_ref())?;
            features = Tensor::cat(&[features, local], 0).doing(|| "joining views")?;
        }
        if numbers.freeze_backbone {
            features = features.detach();
        }
        let learnt = self.student.head.forward(&features)?;
        let loss = dino_loss(&learnt, &taught, &self.centre, numbers.student_temp, numbers.teacher_temp)?;
        let share = views.batch as f64 / whole as f64;
        sums.loss += share * f64::from(download(&loss)?[0]);
        if !sums.loss.is_finite() {
            return Err(not_finite(sums.loss, self.state.step));
        }
        let added = || -> candle_core::Result<()> {
            let store = (loss * share)?.backward()?;
            let vars = self.student.tensors().into_iter().skip(usize::from(numbers.freeze_backbone)).flat_map(Tensors::params);
            for (i, (entry, var)) in vars.enumerate() {
                let Some(gradient) = store.get(var) else { candle_core::bail!("no gradient reaches `{}`", entry.name) };
                match sums.gradients.get_mut(i) {
                    Some(sum) => *sum = (&*sum + gradient)?,
                    None => sums.gradients.push(gradient.clone()),
                }
            }
            let log = dino_log_softmax(&taught, &self.centre, numbers.teacher_temp)?;
            let p = log.exp()?;
            sums.entropy -= f64::from((&p * log)?.sum_all()?.to_scalar::<f32>()?);
            let mean = p.sum(0)?.to_vec1::<f32>()?;
            sums.mean.resize(mean.len(), 0.0);
            sums.mean.iter_mut().zip(mean).for_each(|(sum, p)| *sum += f64::from(p));
            sums.rows += taught.dim(0)?;
            Ok(())
        };
        added().doing(|| "the way back through the networks")?;
        sums.teacher_logits.push(taught);
        Ok(())
    }
}

impl Training for CandleDino {
    fn step(&mut self, parts: &[Views], numbers: &StepNumbers) -> Result<DinoStep, Failure> {
        let whole = parts.iter().map(|views| views.batch).sum();
        self.seen.clear();
        let mut sums = Sums::default();
        for (i, views) in parts.iter().enumerate() {
            self.part(i, views, whole, numbers, &mut sums).map_err(tell_of_memory)?;
        }
        let [of_backbone, of_head] = &mut self.adam;
        let of_it = if numbers.freeze_backbone { 0 } else { self.student.backbone.tensors().params().count() };
        let (backbone, head) = sums.gradients.split_at(of_it);
        let (frozen, momentum) = (numbers.freeze_last_layer, numbers.teacher_momentum);
        let teacher = Some((self.teacher.backbone.tensors(), momentum));
        of_backbone
            .step(self.student.backbone.tensors(), backbone, &numbers.hyper, teacher, |entry| backbone_rate(&self.sizes, entry, numbers))?;
        let teacher = Some((self.teacher.head.tensors(), momentum));
        of_head.step(self.student.head.tensors(), head, &numbers.hyper, teacher, |entry| head_rate(entry, frozen))?;
        let logits = Tensor::cat(&sums.teacher_logits, 0).doing(|| "joining the teacher's outputs")?;
        self.centre = next_centre(&self.centre, &logits, numbers.centre_momentum)?;
        self.state.step += 1;

        let rows = sums.rows as f64;
        let spread_of_mean = sums.mean.iter().map(|m| m / rows).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        let centre_norm = download(&self.centre)?.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
        Ok(DinoStep {
            loss: LossReport { loss: sums.loss, entropy: sums.entropy / rows, spread: spread_of_mean },
            centre_norm,
            feature_std: spread(&self.seen, self.sizes.dim()),
        })
    }

    fn state(&mut self) -> Result<&State, Failure> {
        let State { student, teacher, centre, adam_backbone, adam_head, .. } = &mut self.state;
        for (from, to) in [(&self.student, student), (&self.teacher, teacher)] {
            (to.backbone, to.head) = (from.backbone.tensors().weights()?, from.head.tensors().weights()?);
        }
        *centre = download(&self.centre)?;
        self.adam[0].read_into(adam_backbone)?;
        self.adam[1].read_into(adam_head)?;
        Ok(&self.state)
    }

    fn seen(&self) -> &[f32] {
        &self.seen
    }

    fn look(&self, pictures: &Batch<'_>) -> Result<Vec<f32>, Failure> {
        download(&self.teacher.backbone.features(pictures)?)
    }
}

/// Says what to do about a device that has run out of memory.
fn tell_of_memory(failure: Failure) -> Failure {
    let words = failure.to_string().to_lowercase();
    match words.contains("out of memory") || words.contains("out_of_memory") {
        true => failure.help("raise `accumulate`: each part of the batch passes by itself"),
        false => failure,
    }
}
