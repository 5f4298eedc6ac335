//! L-BFGS: minimising a smooth function of many numbers (Nocedal and Wright 2006, algorithms 7.5, 3.5 and 3.6).
//!
//! Our own rather than argmin's: value and gradient come from one pass over the rows here, argmin asks for them apart and so
//! pays for every product twice.

use std::collections::VecDeque;

use super::dense::vectored;

/// Pairs of steps and gradient changes that are remembered, as in scipy.
const MEMORY: usize = 10;

/// Where a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub iterations: usize,
    /// The largest gradient entry came below the tolerance, or the value cannot be lowered in f64.
    pub converged: bool,
}

/// The latest steps and gradient changes, with 1 / (step · change).
#[derive(Default)]
pub(crate) struct Memory(VecDeque<(Vec<f64>, Vec<f64>, f64)>);

/// Lowers `f` from `x` until no gradient entry exceeds `tolerance`. `f` writes the gradient and returns the value.
///
/// `memory` may come from an earlier search of nearly the same function.
pub(crate) fn minimise(
    x: &mut [f64],
    tolerance: f64,
    max_iter: usize,
    Memory(memory): &mut Memory,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Ending {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = f(x, &mut gradient);
    let mut trial = Trial { x: vec![0.0; n], gradient: vec![0.0; n] };
    for iteration in 0..max_iter {
        if largest(&gradient) <= tolerance {
            return Ending { iterations: iteration, converged: true };
        }
        let mut direction = two_loops(&gradient, memory);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding spoilt the memory: start again from the steepest descent.
            memory.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let first = if memory.is_empty() { (1.0 / gradient.iter().map(|g| g.abs()).sum::<f64>()).min(1.0) } else { 1.0 };
        let Some(lower) = line_search(x, value, slope, &direction, first, &mut trial, &mut f) else {
            if memory.is_empty() {
                return Ending { iterations: iteration, converged: true };
            }
            memory.clear();
            continue;
        };
        let step: Vec<f64> = trial.x.iter().zip(&*x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = trial.gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((step, change, 1.0 / curvature));
        }
        x.copy_from_slice(&trial.x);
        gradient.copy_from_slice(&trial.gradient);
        value = lower;
    }
    Ending { iterations: max_iter, converged: largest(&gradient) <= tolerance }
}

/// A point on the search line with its gradient.
struct Trial {
    x: Vec<f64>,
    gradient: Vec<f64>,
}

/// The quasi-Newton direction (algorithm 7.4).
fn two_loops(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for (step, change, rho) in memory.iter().rev() {
        let alpha = rho * dot(step, &q);
        q.iter_mut().zip(change).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((_, change, rho)) = memory.back() {
        let scale = 1.0 / (rho * dot(change, change));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((step, change, rho), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(change, &q);
        q.iter_mut().zip(step).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q
}

/// Finds a step that fulfils the strong Wolfe conditions and leaves it in `trial`; none when the value cannot be lowered any more.
fn line_search(
    x: &[f64],
    value: f64,
    slope: f64,
    direction: &[f64],
    first: f64,
    trial: &mut Trial,
    f: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<f64> {
    const ENOUGH: f64 = 1e-4;
    const FLAT: f64 = 0.9;
    // Near the minimum the value changes by less than its rounding; then the slope alone decides (Hager and Zhang 2005).
    let noise = 4.0 * f64::EPSILON * value.abs();
    let (mut low, mut low_value, mut low_slope) = (0.0, value, slope);
    let mut high: Option<(f64, f64)> = None;
    let mut step = first;
    for _ in 0..40 {
        for ((t, &x), &d) in trial.x.iter_mut().zip(x).zip(direction) {
            *t = x + step * d;
        }
        let here = f(&trial.x, &mut trial.gradient);
        let here_slope = dot(&trial.gradient, direction);
        let too_high = !here.is_finite() || here > value + ENOUGH * step * slope + noise || (here > low_value + noise && low > 0.0);
        if !too_high && here_slope.abs() <= -FLAT * slope {
            return Some(here);
        }
        if too_high || here_slope >= 0.0 {
            high = Some((step, here));
        } else {
            (low, low_value, low_slope) = (step, here, here_slope);
        }
        step = match high {
            None => step * 2.0,
            Some((high, high_value)) => {
                // The minimum of the parabola through the low end, its slope and the high end, kept off both ends.
                let width = high - low;
                let bend = high_value - low_value - low_slope * width;
                let inside = if bend.is_finite() && bend > 0.0 { -low_slope * width / (2.0 * bend) } else { 0.5 };
                let next = low + width * inside.clamp(0.1, 0.9);
                if width <= f64::EPSILON * high {
                    return None;
                }
                next
            }
        };
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    vectored(
        #[inline(always)]
        || {
            let mut lanes = [0.0; 8];
            let (xs, ys) = (a.chunks_exact(8), b.chunks_exact(8));
            let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
            for (x, y) in xs.zip(ys) {
                for lane in 0..8 {
                    lanes[lane] += x[lane] * y[lane];
                }
            }
            lanes.iter().sum::<f64>() + rest
        },
    )
}

fn largest(gradient: &[f64]) -> f64 {
    gradient.iter().fold(0.0, |largest: f64, g| if g.abs() > largest || g.is_nan() { g.abs() } else { largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rosenbrock_valley_is_followed_to_its_end() {
        let mut x = vec![-1.2, 1.0, -1.2, 1.0];
        let ending = minimise(&mut x, 1e-10, 500, &mut Memory::default(), |x, g| {
            let mut value = 0.0;
            for i in [0, 2] {
                let (a, b) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
                value += a * a + 100.0 * b * b;
                g[i] = -2.0 * a - 400.0 * x[i] * b;
                g[i + 1] = 200.0 * b;
            }
            value
        });
        assert!(ending.converged && ending.iterations < 80, "{ending:?}");
        assert!(x.iter().all(|v| (v - 1.0).abs() < 1e-9), "{x:?}");
    }
}
