//! Gradient clipping, AdamW and the teacher's average in candle operations: the twin of [`Adam`] that GPUs use.
//!
//! The moments stay on the device. Formulas and sources as in `optimiser.rs`.

use candle_core::{Result, Tensor};

use super::optimiser::{AGC_EPS, Adam, Clip, Hyper};
use crate::diagnostic::{Context, Failure};
use crate::model::{Entry, Tensors, download};

/// AdamW's moments over the parameters of one network, on its device.
pub struct CandleAdam {
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    steps: Vec<u64>,
}

impl CandleAdam {
    /// Copies moments to the device of the network whose parameters they belong to.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn new(adam: &Adam, tensors: &Tensors) -> std::result::Result<Self, Failure> {
        let copy = |moments: &[f32]| -> Result<Vec<Tensor>> {
            let one = |(entry, _): (&Entry, _)| Tensor::from_slice(&moments[entry.range()], entry.shape.as_slice(), tensors.device());
            tensors.params().map(|param| one(param)?.to_dtype(tensors.dtype())).collect()
        };
        let what = || "copying moments to the device";
        Ok(Self { first: copy(&adam.first).doing(what)?, second: copy(&adam.second).doing(what)?, steps: adam.steps.clone() })
    }

    /// Copies the moments back.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn read_into(&self, adam: &mut Adam) -> std::result::Result<(), Failure> {
        for (from, to) in [(&self.first, &mut adam.first), (&self.second, &mut adam.second)] {
            to.clear();
            from.iter().try_for_each(|moments| download(moments).map(|values| to.extend(values)))?;
        }
        adam.steps.clone_from(&self.steps);
        Ok(())
    }

    /// Takes a step, `gradients` in the layout's order; then the teacher follows. Of no gradients at all, the teacher alone moves.
    ///
    /// `rate` says how much of the learning rate a parameter gets; with 0 it takes no step.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn step(
        &mut self,
        student: &Tensors,
        gradients: &[Tensor],
        hyper: &Hyper,
        teacher: Option<(&Tensors, f64)>,
        rate: impl Fn(&Entry) -> f64,
    ) -> std::result::Result<(), Failure> {
        for (i, ((entry, var), gradient)) in student.params().zip(gradients).enumerate().filter(|(_, ((entry, _), _))| rate(entry) > 0.0) {
            let hyper = Hyper { lr: hyper.lr * rate(entry), ..*hyper };
            let next = self.next(i, entry, &var.as_detached_tensor(), gradient, &hyper).doing(|| format!("a step of `{}`", entry.name))?;
            var.set(&next).doing(|| format!("keeping `{}`", entry.name))?;
        }
        let Some((teacher, momentum)) = teacher else { return Ok(()) };
        for ((entry, to), (_, from)) in teacher.params().zip(student.params()) {
            let mean = || (to.as_detached_tensor() * momentum)? + (from.as_detached_tensor() * (1.0 - momentum))?;
            to.set(&mean().doing(|| format!("averaging `{}`", entry.name))?).doing(|| format!("keeping `{}`", entry.name))?;
        }
        Ok(())
    }

    /// Moves the moments of parameter `i` and returns its new value.
    fn next(&mut self, i: usize, entry: &Entry, param: &Tensor, gradient: &Tensor, hyper: &Hyper) -> Result<Tensor> {
        self.steps[i] += 1;
        let t = self.steps[i] as i32;
        let gradient = clipped(param, gradient, hyper.clip)?;
        self.first[i] = ((&self.first[i] * hyper.beta1)? + (&gradient * (1.0 - hyper.beta1))?)?;
        self.second[i] = ((&self.second[i] * hyper.beta2)? + (gradient.sqr()? * (1.0 - hyper.beta2))?)?;
        let (rate, scale) = (hyper.lr / (1.0 - hyper.beta1.powi(t)), 1.0 / (1.0 - hyper.beta2.powi(t)).sqrt());
        let moved = (&self.first[i] / self.second[i].sqrt()?.affine(scale, hyper.eps)?)?;
        let decay = if entry.decays() { 1.0 - hyper.lr * hyper.weight_decay } else { 1.0 };
        (param * decay)? - (moved * rate)?
    }
}

/// Clips a gradient unit by unit (a slice along the first axis, or the whole of a vector), or as a whole.
fn clipped(param: &Tensor, gradient: &Tensor, clip: Clip) -> Result<Tensor> {
    let norm = |rows: &Tensor| rows.sqr()?.sum_keepdim(1)?.sqrt();
    match clip {
        Clip::Off => Ok(gradient.clone()),
        Clip::Tensor(limit) => {
            let whole = gradient.reshape((1, ()))?;
            // limit / (norm + 1e-6), at most 1.
            let factor = (norm(&whole)? + 1e-6)?.recip()?.affine(limit, 0.0)?.minimum(1.0)?;
            whole.broadcast_mul(&factor)?.reshape(gradient.shape())
        }
        Clip::Agc(share) => {
            let units = if gradient.rank() <= 1 { 1 } else { gradient.dim(0)? };
            let (p, g) = (param.reshape((units, ()))?, gradient.reshape((units, ()))?);
            let limit = norm(&p)?.maximum(f64::from(AGC_EPS))?.affine(share, 0.0)?;
            let factor = limit.div(&norm(&g)?.maximum(1e-6)?)?.minimum(1.0)?;
            g.broadcast_mul(&factor)?.reshape(gradient.shape())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device};

    use super::super::optimiser::Follower;
    use super::*;
    use crate::model::{HeadSizes, Weights};
    use crate::random::Stream;

    #[test]
    fn three_steps_move_parameters_moments_and_teacher_as_the_kernels_do() {
        let sizes = HeadSizes { dim: 6, hidden: 8, bottleneck: 4, outputs: 10, layers: 2 };
        let start = Weights::start(Arc::new(sizes.layout()), 3);
        for clip in [Clip::Agc(0.05), Clip::Tensor(0.3), Clip::Off] {
            let (mut params, mut teacher, mut adam) = (start.params.clone(), start.params.clone(), Adam::new(start.layout.clone()));
            let copy = || Tensors::new(&start, DType::F32, &Device::Cpu).unwrap();
            let (on_device, its_teacher) = (copy(), copy());
            let mut candle = CandleAdam::new(&adam, &on_device).unwrap();
            let hyper = Hyper::new(0.01, 0.1, clip);
            for step in 0..3 {
                // The last layer is held for a step, and its correction starts afterwards.
                let held = |entry: &Entry| step == 0 && entry.name.starts_with("last_layer");
                let rate = |entry: &Entry| if held(entry) { 0.0 } else { 0.5 };
                let mut draws = Stream::new(5, "gradients").at(step).draws();
                let mut gradients: Vec<f32> = params.iter().map(|_| draws.normal() as f32).collect();
                let one = |e: &Entry| Tensor::from_slice(&gradients[e.range()], e.shape.as_slice(), &Device::Cpu).unwrap();
                let list: Vec<Tensor> = start.layout.params().iter().map(one).collect();
                candle.step(&on_device, &list, &hyper, Some((&its_teacher, 0.9)), rate).unwrap();
                adam.step(&mut params, &mut gradients, &hyper, Some(Follower { params: &mut teacher, momentum: 0.9 }), rate);
            }
            let mut moments = Adam::new(start.layout.clone());
            candle.read_into(&mut moments).unwrap();
            assert_eq!(moments.steps, adam.steps);
            let pairs = [
                (&params, &on_device.weights().unwrap().params),
                (&teacher, &its_teacher.weights().unwrap().params),
                (&adam.first, &moments.first),
                (&adam.second, &moments.second),
            ];
            for (expected, seen) in pairs {
                let off = expected.iter().zip(seen).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(expected.len() == seen.len() && off < 2e-6, "{clip:?}: {off}");
            }
        }
    }
}
