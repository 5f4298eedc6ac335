//! DINO's projection head and loss in plain candle operations: the reference for the CPU's own, and the way to run on a
//! GPU.

use candle_core::{DType, Device, Result, Tensor};

use super::candle_ops::{gelu, l2_normalise, linear, log_softmax, softmax};
use super::candle_tensors::Tensors;
use super::head::HeadSizes;
use super::layout::Weights;
use crate::diagnostic::{Context, Failure};

/// A projection head.
pub struct CandleHead {
    sizes: HeadSizes,
    tensors: Tensors,
}

impl CandleHead {
    /// Copies weights with the layout of [`HeadSizes::layout`] to a device.
    ///
    /// # Errors
    /// When the layout is another, or the device refuses.
    pub fn new(sizes: &HeadSizes, weights: &Weights, dtype: DType, device: &Device) -> std::result::Result<Self, Failure> {
        if *weights.layout != sizes.layout() {
            return Err(Failure::new("the weights are not those of a projection head of this size"));
        }
        Ok(Self { sizes: sizes.clone(), tensors: Tensors::new(weights, dtype, device)? })
    }

    /// Returns the same head (sharing memory) whose forward pass keeps nothing for a backward pass.
    pub fn without_gradient(&self) -> Self {
        Self { sizes: self.sizes.clone(), tensors: self.tensors.without_gradient() }
    }

    /// Returns the parameters. The gain `last_layer.weight_g` receives a gradient as all others do: leaving it at 1
    /// (DINO's `norm_last_layer`) is the optimiser's decision.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Returns the logits (B, K) of representations (B, D).
    pub fn forward(&self, x: &Tensor) -> std::result::Result<Tensor, Failure> {
        self.logits(x).doing(|| "running the projection head")
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for i in 0..self.sizes.layers {
            if i > 0 {
                x = gelu(&x)?;
            }
            let get = |part: &str| self.tensors.get(&format!("mlp.{}.{part}", 2 * i));
            x = linear(&x, get("weight")?, Some(get("bias")?))?;
        }
        let direction = self.tensors.get("last_layer.weight_v")?;
        let length = direction.sqr()?.sum_keepdim(1)?.sqrt()?;
        let weight = direction.broadcast_mul(&self.tensors.get("last_layer.weight_g")?.broadcast_div(&length)?)?;
        linear(&l2_normalise(&x)?, &weight, None)
    }
}

/// DINO's loss: the mean cross entropy between the teacher's view of an image and every other view of the student's.
///
/// `student` holds V views and `teacher` the first 2 of them, each as blocks of B rows: (V * B, K) and (2 * B, K).
/// `centre` is (1, K). No gradient reaches the teacher. Returns a scalar. Caron et al. 2021, equation 1 and algorithm 1.
///
/// # Errors
/// When the rows do not divide into views, or the device refuses.
pub fn dino_loss(
    student: &Tensor,
    teacher: &Tensor,
    centre: &Tensor,
    student_temperature: f64,
    teacher_temperature: f64,
) -> std::result::Result<Tensor, Failure> {
    let loss = || -> Result<Tensor> {
        let batch = teacher.dim(0)? / 2;
        let rows = student.dim(0)?;
        if batch == 0 || teacher.dim(0)? != 2 * batch || rows < 2 * batch || !rows.is_multiple_of(batch) {
            candle_core::bail!("{rows} rows of the student do not match {} rows of the teacher, two views", teacher.dim(0)?);
        }
        let target = softmax(&(teacher.detach().broadcast_sub(centre)? / teacher_temperature)?, 1)?;
        let log_p = log_softmax(&(student / student_temperature)?, 1)?;
        let (views, outputs) = (rows / batch, student.dim(1)?);
        // Σ over the views v ≠ q of P_q log P_v is P_q times what all views come to less q's own.
        let all = log_p.reshape((views, batch, outputs))?.sum(0)?;
        let view = |x: &Tensor, q: usize| x.narrow(0, q * batch, batch);
        let others = |q: usize| view(&target, q)? * (&all - view(&log_p, q)?)?;
        (others(0)? + others(1)?)?.sum_all()? / -((2 * (views - 1) * batch) as f64)
    };
    loss().doing(|| "computing the loss")
}

/// Returns the logarithm of the teacher's distributions, log softmax((z - c) / T), by row: (B, K) of logits (B, K) and a centre (1, K).
pub fn dino_log_softmax(teacher: &Tensor, centre: &Tensor, temperature: f64) -> Result<Tensor> {
    log_softmax(&(teacher.detach().broadcast_sub(centre)? / temperature)?, 1)
}

/// Returns the next centre (1, K): an exponential mean of the mean logits of the teacher.
pub fn next_centre(centre: &Tensor, teacher: &Tensor, momentum: f64) -> std::result::Result<Tensor, Failure> {
    let next = || (centre * momentum)? + (teacher.detach().mean_keepdim(0)? * (1.0 - momentum))?;
    next().doing(|| "moving the centre")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[[f64; 4]]) -> Tensor {
        Tensor::from_slice(values.as_flattened(), (values.len(), 4), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_student_that_knows_nothing_sits_at_the_logarithm_of_the_outputs() {
        let teacher = rows(&[[9.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]]);
        let student = rows(&[[1.0; 4]; 5]);
        let loss = dino_loss(&student, &teacher, &rows(&[[0.0; 4]]), 0.1, 0.04).unwrap().to_scalar::<f64>().unwrap();
        assert!((loss - 4.0_f64.ln()).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn a_view_is_never_compared_with_itself() {
        let (a, b) = ([9.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]);
        let teacher = rows(&[a, b]);
        let loss =
            |student: &[[f64; 4]]| dino_loss(&rows(student), &teacher, &rows(&[[0.0; 4]]), 0.1, 0.04).unwrap().to_scalar::<f64>().unwrap();
        // Each view of the student must say what the teacher said of the other.
        assert!(loss(&[b, a]) < 1e-9 && loss(&[a, b]) > 50.0);
    }

    #[test]
    fn rows_that_are_no_views_are_refused() {
        assert!(dino_loss(&rows(&[[0.0; 4]; 3]), &rows(&[[0.0; 4]; 4]), &rows(&[[0.0; 4]]), 0.1, 0.04).is_err());
    }
}
