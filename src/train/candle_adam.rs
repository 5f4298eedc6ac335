//! Gradient clipping, AdamW and the teacher's average in candle operations: the twin of [`Adam`] that GPUs use.
//!
//! The moments stay on the device. Formulas and sources as in `optimiser.rs`. What costs time there is the number of operations and not
//! their size, so parameters whose units (slices along the first axis, or whole vectors) are equally long are stepped together, as the
//! rows of one matrix.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::optimiser::{AGC_EPS, Adam, Clip, Hyper};
use crate::diagnostic::{Context, Failure};
use crate::model::{Entry, Tensors, download};

/// AdamW's moments over the parameters of one network, on its device.
pub struct CandleAdam {
    groups: Vec<Group>,
    /// Of each parameter, in the layout's order.
    steps: Vec<u64>,
}

/// Parameters whose units are `unit` numbers long; moments are (rows of all members × unit).
struct Group {
    unit: usize,
    members: Vec<Member>,
    first: Tensor,
    second: Tensor,
}

struct Member {
    /// Its number in the layout's order, and where it lies in the arena.
    param: usize,
    range: Range<usize>,
    rows: usize,
}

/// What a step holds for one parameter.
struct Own {
    /// One that stands still keeps its moments too, which a learning rate of 0 does not.
    moves: bool,
    lr: f64,
    decay: f64,
    steps: i32,
}

impl Group {
    /// Lays what belongs to each member below that of the one before it.
    fn gather(&self, of: impl Fn(usize) -> Tensor) -> Result<Tensor> {
        let parts = self.members.iter().map(|m| of(m.param).reshape((m.rows, self.unit))).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    /// Writes rows back to the members they belong to.
    fn scatter(&self, rows: &Tensor, to: &[(&Entry, &Var)]) -> Result<()> {
        let mut at = 0;
        for member in &self.members {
            let var = to[member.param].1;
            var.set(&rows.narrow(0, at, member.rows)?.reshape(var.shape())?)?;
            at += member.rows;
        }
        Ok(())
    }

    /// One number for each row, the same for all rows of a member.
    fn column(&self, of: impl Fn(usize) -> f64) -> Result<Tensor> {
        let values: Vec<f64> = self.members.iter().flat_map(|m| std::iter::repeat_n(of(m.param), m.rows)).collect();
        Tensor::from_vec(values, ((), 1), &Device::Cpu)?.to_dtype(self.first.dtype())?.to_device(self.first.device())
    }

    /// Moves the moments and returns the members' new values.
    fn next(&mut self, p: &Tensor, gradient: &Tensor, hyper: &Hyper, own: &[Own]) -> Result<Tensor> {
        let moves = |i: usize| f64::from(u8::from(own[i].moves));
        let mean = |old: &Tensor, new: Tensor, beta: f64, group: &Self| {
            old + (new - old)?.broadcast_mul(&group.column(|i| (1.0 - beta) * moves(i))?)?
        };
        self.first = mean(&self.first, gradient.clone(), hyper.beta1, self)?;
        self.second = mean(&self.second, gradient.sqr()?, hyper.beta2, self)?;
        let rate = self.column(|i| if own[i].moves { own[i].lr / (1.0 - hyper.beta1.powi(own[i].steps)) } else { 0.0 })?;
        let scale = self.column(|i| if own[i].moves { 1.0 / (1.0 - hyper.beta2.powi(own[i].steps)).sqrt() } else { 1.0 })?;
        let moved = (&self.first / (self.second.sqrt()?.broadcast_mul(&scale)? + hyper.eps)?)?;
        p.broadcast_mul(&self.column(|i| own[i].decay)?)? - moved.broadcast_mul(&rate)?
    }
}

impl CandleAdam {
    /// Copies moments to the device of the network whose parameters they belong to.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn new(adam: &Adam, tensors: &Tensors) -> std::result::Result<Self, Failure> {
        let mut by_unit: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for (param, (entry, _)) in tensors.params().enumerate() {
            let rows = if entry.shape.len() <= 1 { 1 } else { entry.shape[0] };
            by_unit.entry(entry.len() / rows.max(1)).or_default().push(Member { param, range: entry.range(), rows });
        }
        let group = |(unit, members): (usize, Vec<Member>)| -> Result<Group> {
            let copy = |moments: &[f32]| {
                let rows: Vec<f32> = members.iter().flat_map(|m| moments[m.range.clone()].iter().copied()).collect();
                Tensor::from_vec(rows, ((), unit), tensors.device())?.to_dtype(tensors.dtype())
            };
            Ok(Group { first: copy(&adam.first)?, second: copy(&adam.second)?, unit, members })
        };
        let groups = by_unit.into_iter().map(group).collect::<Result<_>>().doing(|| "copying moments to the device")?;
        Ok(Self { groups, steps: adam.steps.clone() })
    }

    /// Copies the moments back.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn read_into(&self, adam: &mut Adam) -> std::result::Result<(), Failure> {
        for group in &self.groups {
            for (from, to) in [(&group.first, &mut adam.first), (&group.second, &mut adam.second)] {
                let values = download(from)?;
                let mut rest = values.as_slice();
                for member in &group.members {
                    let (own, after) = rest.split_at(member.range.len());
                    to[member.range.clone()].copy_from_slice(own);
                    rest = after;
                }
            }
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
        let params: Vec<(&Entry, &Var)> = student.params().collect();
        let mut own = Vec::with_capacity(params.len());
        for ((entry, _), steps) in params.iter().zip(&mut self.steps) {
            let (moves, lr) = (!gradients.is_empty() && rate(entry) != 0.0, hyper.lr * rate(entry));
            *steps += u64::from(moves);
            let decay = if moves && entry.decays() { 1.0 - lr * hyper.weight_decay } else { 1.0 };
            own.push(Own { moves, lr, decay, steps: *steps as i32 });
        }
        for group in &mut self.groups {
            let moves = group.members.iter().any(|m| own[m.param].moves);
            let mut one = || -> Result<()> {
                let mut p = group.gather(|i| params[i].1.as_detached_tensor())?;
                if moves {
                    let gradient = clipped(group, &p, gradients, hyper.clip)?;
                    p = group.next(&p, &gradient, hyper, &own)?;
                    group.scatter(&p, &params)?;
                }
                let Some((teacher, momentum)) = teacher else { return Ok(()) };
                let followers: Vec<(&Entry, &Var)> = teacher.params().collect();
                let t = group.gather(|i| followers[i].1.as_detached_tensor())?;
                group.scatter(&((t * momentum)? + (p * (1.0 - momentum))?)?, &followers)
            };
            one().doing(|| "a step of the optimiser")?;
        }
        Ok(())
    }
}

/// The gradients of a group, clipped unit by unit or tensor by tensor.
fn clipped(group: &Group, p: &Tensor, gradients: &[Tensor], clip: Clip) -> Result<Tensor> {
    let norm = |rows: &Tensor| rows.sqr()?.sum_keepdim(1)?.sqrt();
    let g = group.gather(|i| gradients[i].clone())?;
    let factor = match clip {
        Clip::Off => return Ok(g),
        // limit / (norm + 1e-6), at most 1.
        Clip::Tensor(limit) => {
            let squares = g.sqr()?.sum(1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            let mut rest = squares.as_slice();
            let mut factors = vec![1.0; gradients.len()];
            for member in &group.members {
                let (own, after) = rest.split_at(member.rows);
                factors[member.param] = (limit / (own.iter().map(|s| f64::from(*s)).sum::<f64>().sqrt() + 1e-6)).min(1.0);
                rest = after;
            }
            group.column(|i| factors[i])?
        }
        Clip::Agc(share) => {
            let limit = norm(p)?.maximum(f64::from(AGC_EPS))?.affine(share, 0.0)?;
            limit.div(&norm(&g)?.maximum(1e-6)?)?.minimum(1.0)?
        }
    };
    g.broadcast_mul(&factor)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            for step in 0..3 {
                // A warm-up begins with a learning rate of 0, which moves the moments all the same.
                let hyper = Hyper::new(if step == 1 { 0.0 } else { 0.01 }, 0.1, clip);
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
