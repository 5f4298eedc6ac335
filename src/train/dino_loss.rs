//! DINO's loss (Caron et al. 2021, eq. 2 and algorithm 1), its gradient, and what both say about the training.
//!
//! P_t = softmax((z_t - c)/T_t), log P_s = log softmax(z_s/T_s); the loss is the mean over the pairs (teacher view q, student view v ≠ q)
//! of the batch mean of -Σ P_t log P_s. A teacher that says the same of everything sits at ln K (uniform) or at 0 (one prototype).

use rayon::prelude::*;

use crate::kernel::clock::{Group, timed};
use crate::kernel::lanes::{fold_pairs, largest};
use crate::kernel::{exp, mul_add, vectorised};

/// Loss and what goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossReport {
    pub loss: f64,
    /// Mean entropy of the teacher's distributions, in nats; at most ln K.
    pub entropy: f64,
    /// Entropy of the teacher's mean distribution over the batch, in nats: small when all images get one code.
    pub spread: f64,
}

/// Sizes of a batch of logits.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    /// Images of the whole step, of which this batch is a part.
    pub whole: usize,
    /// Views of the student: two global, then the local ones.
    pub views: usize,
    pub outputs: usize,
}

/// Adds up, over the parts of a step, what its report is made of.
pub struct LossSums {
    loss: f64,
    entropy: f64,
    /// Sum of the teacher's distributions.
    mean: Vec<f64>,
    rows: usize,
}

impl LossSums {
    /// Starts at nothing.
    pub fn new(outputs: usize) -> Self {
        Self { loss: 0.0, entropy: 0.0, mean: vec![0.0; outputs], rows: 0 }
    }

    /// Returns what the parts come to.
    pub fn report(&self) -> LossReport {
        let rows = self.rows as f64;
        let spread = self.mean.iter().map(|m| m / rows).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        LossReport { loss: self.loss, entropy: self.entropy / rows, spread }
    }
}

/// How many numbers are added up in f32 before their sum goes to f64: in lanes of sixteen, so that no addition waits for the one before.
const SOME: usize = 256;

/// Σ f(x, y), in lanes.
#[inline(always)]
fn sum(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut whole = 0.0;
    for (x, y) in x.chunks(SOME).zip(y.chunks(SOME)) {
        whole += f64::from(fold_pairs(x, y, |sum, x, y| sum + f(x, y)));
    }
    whole
}

vectorised! {
    /// Turns logits into softmax((x - centre)/temperature) and returns its entropy in nats.
    fn teacher_row(row: &mut [f32], centre: &[f32], scale: f32) -> f64 {
        row.iter_mut().zip(centre).for_each(|(x, c)| *x = (*x - c) * scale);
        let max = largest(row, |x| x);
        row.iter_mut().for_each(|x| *x -= max);
        let mass = sum(row, row, |x, _| exp::<FUSED>(x));
        // -Σ p ln p with ln p = x - ln Σ.
        let (inverse, log) = ((1.0 / mass) as f32, mass.ln() as f32);
        let entropy = sum(row, row, |x, _| exp::<FUSED>(x) * inverse * (log - x));
        row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x) * inverse);
        entropy
    }
}

vectorised! {
    /// Turns a student's logits into the gradient of -Σ wanted · log softmax(scale · x), times `factor`, and returns that sum.
    fn student_row(row: &mut [f32], wanted: &[f32], scale: f32, factor: f32) -> f64 {
        let max = largest(row, |x| x) * scale;
        let mass = sum(row, row, |x, _| exp::<FUSED>(mul_add::<FUSED>(x, scale, -max)));
        let cross = sum(row, wanted, |x, p| p * (x * scale));
        let total = sum(wanted, wanted, |p, _| p);
        let inverse = (total / mass) as f32;
        row.iter_mut().zip(wanted).for_each(|(x, p)| *x = factor * (exp::<FUSED>(mul_add::<FUSED>(*x, scale, -max)) * inverse - p));
        total * (mass.ln() + f64::from(max)) - cross
    }
}

/// Turns the student's logits (views · batch × K, view by view) into the gradient of the whole step's loss, in place, and adds to `sums`.
///
/// `teacher` holds the logits of the two global views (2 · batch × K) and becomes their distributions.
pub fn loss_and_gradient(
    shape: Shape,
    teacher: &mut [f32],
    student: &mut [f32],
    centre: &[f32],
    teacher_temp: f64,
    student_temp: f64,
    sums: &mut LossSums,
) {
    let _timer = timed(Group::Loss);
    let Shape { batch, whole, views, outputs } = shape;
    let temperature = 1.0 / teacher_temp as f32;
    let entropies: Vec<f64> = teacher.par_chunks_exact_mut(outputs).map(|row| teacher_row(row, centre, temperature)).collect();
    sums.entropy += entropies.iter().sum::<f64>();
    teacher.chunks_exact(outputs).for_each(|row| sums.mean.iter_mut().zip(row).for_each(|(m, p)| *m += f64::from(*p)));
    sums.rows += teacher.len() / outputs;

    let (first, second) = teacher.split_at(batch * outputs);
    // What a local view is held against: both global views of its image.
    let both: Vec<f32> = if views > 2 { first.par_iter().zip(second).map(|(a, b)| a + b).collect() } else { Vec::new() };
    let pairs = 2 * (views - 1);
    let weight = 1.0 / (pairs * whole) as f64;
    let losses: Vec<f64> = student
        .par_chunks_exact_mut(outputs)
        .enumerate()
        .map(|(index, row)| {
            let (view, image) = (index / batch, index % batch);
            let wanted = [second, first].get(view).copied().unwrap_or(&both);
            student_row(row, &wanted[image * outputs..][..outputs], 1.0 / student_temp as f32, (weight / student_temp) as f32)
        })
        .collect();
    sums.loss += losses.iter().sum::<f64>() * weight;
}

/// centre = momentum · centre + (1 - momentum) · the mean of the teacher's logits, given as the sum of so many rows.
pub fn move_centre(centre: &mut [f32], logit_sums: &[f32], rows: usize, momentum: f64) {
    let rows = rows as f32;
    let (keep, take) = (momentum as f32, (1.0 - momentum) as f32);
    centre.iter_mut().zip(logit_sums).for_each(|(c, s)| *c = keep * *c + take * s / rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let shape = Shape { batch: 2, whole: 2, views: 4, outputs: 5 };
        let numbers = |n: usize, k: usize| -> Vec<f32> { (0..n).map(|i| ((i * k + 3) % 17) as f32 / 40.0).collect() };
        let (teacher, student, centre) = (numbers(20, 7), numbers(40, 5), numbers(5, 3));
        let loss = |student: &[f32]| {
            let mut grad = student.to_vec();
            let mut sums = LossSums::new(5);
            loss_and_gradient(shape, &mut teacher.clone(), &mut grad, &centre, 0.05, 0.1, &mut sums);
            (sums.report().loss, grad)
        };
        let (_, grad) = loss(&student);
        for i in [0, 7, 19, 33] {
            let nudged = |by: f32| {
                let mut s = student.clone();
                s[i] += by;
                loss(&s).0
            };
            let slope = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
            assert!((slope - f64::from(grad[i])).abs() < 2e-3, "{i}: {slope} {}", grad[i]);
        }
    }

    #[test]
    fn a_uniform_teacher_and_student_sit_at_the_logarithm_of_the_prototypes() {
        let shape = Shape { batch: 1, whole: 1, views: 3, outputs: 64 };
        let mut sums = LossSums::new(64);
        loss_and_gradient(shape, &mut [0.0; 128], &mut [0.0; 192], &[0.0; 64], 0.04, 0.1, &mut sums);
        let report = sums.report();
        assert!((report.loss - 64f64.ln()).abs() < 1e-6 && (report.entropy - 64f64.ln()).abs() < 1e-6);
    }
}
