//! From decision values to probabilities, as libsvm does it: a sigmoid for each pair of classes (Platt 2000, fitted by the Newton method of
//! Lin, Lin and Weng 2007, Machine Learning 68(3):267), and the pairs coupled (Wu, Lin and Weng 2004, JMLR 5:975, their second approach).
//!
//! A sigmoid is fitted on decision values of machines that have not seen their rows: five folds of the pair's rows in random order, all from
//! the pair's own kernel. libsvm draws the folds from the C library, scikit-learn from a seed; here they belong to a named stream.

use super::dense::Real;
use super::smo::{Pair, solve};
use crate::random::Stream;

/// The purpose that streams of folds are named for.
pub(crate) const FOLDS_OF: &str = "folds for probabilities";
/// Folds of the cross-validation.
const FOLDS: usize = 5;
/// Pairwise probabilities keep this far from 0 and 1.
const LEAST: f64 = 1e-7;

/// The probability of the first class of a pair: 1 / (1 + exp(a · decision + b)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sigmoid {
    pub a: f64,
    pub b: f64,
}

impl Sigmoid {
    /// Fits on decision values and on whether each is of a row of the first class: maximum likelihood of targets that are drawn in from 0
    /// and 1 by one row of each class (libsvm's `sigmoid_train`).
    pub fn fit(decisions: &[f64], is_first: &[bool]) -> Self {
        let n_first = is_first.iter().filter(|first| **first).count() as f64;
        let n_second = is_first.len() as f64 - n_first;
        let (high, low) = ((n_first + 1.0) / (n_first + 2.0), 1.0 / (n_second + 2.0));
        let rows = || decisions.iter().zip(is_first).map(|(d, first)| (*d, if *first { high } else { low }));
        let loss = |at: &Self| rows().map(|(d, target)| at.loss(d, target)).sum::<f64>();
        let mut at = Self { a: 0.0, b: ((n_second + 1.0) / (n_first + 1.0)).ln() };
        let mut value = loss(&at);
        for _ in 0..100 {
            // Gradient and Hessian; what is added to the diagonal keeps it positive.
            let (mut aa, mut bb, mut ab, mut by_a, mut by_b) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for (d, target) in rows() {
                let p = at.probability(d);
                let (curvature, slope) = (p * (1.0 - p), target - p);
                aa += d * d * curvature;
                bb += curvature;
                ab += d * curvature;
                by_a += d * slope;
                by_b += slope;
            }
            if by_a.abs() < 1e-5 && by_b.abs() < 1e-5 {
                break;
            }
            let determinant = aa * bb - ab * ab;
            let (to_a, to_b) = ((ab * by_b - bb * by_a) / determinant, (ab * by_a - aa * by_b) / determinant);
            let fall = by_a * to_a + by_b * to_b;
            let steps = std::iter::successors(Some(1.0), |step| Some(step / 2.0)).take_while(|step| *step >= 1e-10);
            let better = steps.map(|step| (step, Self { a: at.a + step * to_a, b: at.b + step * to_b })).find_map(|(step, new)| {
                let new_value = loss(&new);
                (new_value < value + 1e-4 * step * fall).then_some((new, new_value))
            });
            let Some(better) = better else { break };
            (at, value) = better;
        }
        at
    }

    /// Returns the probability of the first class.
    pub fn probability(&self, decision: f64) -> f64 {
        // Whichever exponent is not positive, so that nothing overflows.
        let z = decision * self.a + self.b;
        if z >= 0.0 { (-z).exp() / (1.0 + (-z).exp()) } else { 1.0 / (1.0 + z.exp()) }
    }

    /// The cross-entropy of one row.
    fn loss(&self, decision: f64, target: f64) -> f64 {
        let z = decision * self.a + self.b;
        if z >= 0.0 { target * z + (-z).exp().ln_1p() } else { (target - 1.0) * z + z.exp().ln_1p() }
    }
}

/// Joins the probabilities of pairs into one for each class, which sum to 1 (libsvm's `multiclass_probability`).
///
/// `of_first` holds for the pairs (0,1), (0,2) .. (1,2) .. the probability of the pair's first class.
pub fn couple(n_classes: usize, of_first: &[f64]) -> Vec<f64> {
    let k = n_classes;
    // r[i, j]: the probability of i when it is i or j; q as in eq. 20 of Wu, Lin and Weng.
    let mut r = vec![0.0; k * k];
    let pairs = (0..k).flat_map(|i| (i + 1..k).map(move |j| (i, j)));
    for ((i, j), p) in pairs.zip(of_first) {
        r[i * k + j] = p.clamp(LEAST, 1.0 - LEAST);
        r[j * k + i] = 1.0 - r[i * k + j];
    }
    let mut q = vec![0.0; k * k];
    for i in 0..k {
        q[i * k + i] = (0..k).filter(|j| *j != i).map(|j| r[j * k + i].powi(2)).sum();
        (0..k).filter(|j| *j != i).for_each(|j| q[i * k + j] = -r[j * k + i] * r[i * k + j]);
    }
    let mut p = vec![1.0 / k as f64; k];
    let mut qp = vec![0.0; k];
    for _ in 0..k.max(100) {
        for (qp, row) in qp.iter_mut().zip(q.chunks_exact(k)) {
            *qp = row.iter().zip(&p).map(|(q, p)| q * p).sum();
        }
        let mut pqp: f64 = p.iter().zip(&qp).map(|(p, qp)| p * qp).sum();
        if qp.iter().all(|qp| (qp - pqp).abs() < 0.005 / k as f64) {
            break;
        }
        for t in 0..k {
            let step = (pqp - qp[t]) / q[t * k + t];
            p[t] += step;
            pqp = (pqp + step * (step * q[t * k + t] + 2.0 * qp[t])) / (1.0 + step).powi(2);
            for j in 0..k {
                qp[j] = (qp[j] + step * q[t * k + j]) / (1.0 + step);
                p[j] /= 1.0 + step;
            }
        }
    }
    p
}

/// The kernel of some rows of a pair.
struct Part<F> {
    n_first: usize,
    first: Vec<F>,
    across: Vec<F>,
    across_transposed: Vec<F>,
    second: Vec<F>,
}

impl<F: Real> Part<F> {
    /// Copies the kernel of `rows`, ascending.
    fn new(pair: &Pair<'_, F>, rows: &[usize]) -> Self {
        let n_first = rows.partition_point(|row| *row < pair.n_first);
        let (mut first, mut across, mut across_transposed, mut second) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, &row) in rows.iter().enumerate() {
            let (to_first, to_second) = pair.row(row);
            let (own, other) = if at < n_first { (&mut first, &mut across) } else { (&mut across_transposed, &mut second) };
            own.extend(rows[..n_first].iter().map(|&row| to_first[row]));
            other.extend(rows[n_first..].iter().map(|&row| to_second[row - pair.n_first]));
        }
        Self { n_first, first, across, across_transposed, second }
    }

    /// As a pair of the same penalties as the whole.
    fn as_pair(&self, n_second: usize, whole: &Pair<'_, F>) -> Pair<'_, F> {
        Pair {
            n_first: self.n_first,
            n_second,
            first: &self.first,
            across: &self.across,
            across_transposed: &self.across_transposed,
            second: &self.second,
            c_first: whole.c_first,
            c_second: whole.c_second,
        }
    }
}

/// Fits the sigmoid of a pair of classes on decision values from cross-validation; `folds` names the order of the rows.
pub(crate) fn calibrate<F: Real>(pair: &Pair<'_, F>, tolerance: f64, folds: &Stream) -> Sigmoid {
    let n = pair.n_first + pair.n_second;
    let order = folds.draws().permutation(n);
    let mut decisions = vec![0.0; n];
    for fold in 0..FOLDS {
        let held = fold * n / FOLDS..(fold + 1) * n / FOLDS;
        let mut rest = [&order[..held.start], &order[held.end..]].concat();
        rest.sort_unstable();
        let n_first = rest.partition_point(|row| *row < pair.n_first);
        let n_second = rest.len() - n_first;
        let (coefficients, rho) = match (n_first, n_second) {
            // Where one class alone is left, its decision is taken for certain; where nothing is, there is none.
            (0, 0) => (Vec::new(), 0.0),
            (_, 0) => (Vec::new(), -1.0),
            (0, _) => (Vec::new(), 1.0),
            _ => {
                let machine = solve(&Part::new(pair, &rest).as_pair(n_second, pair), tolerance);
                (machine.coefficients, machine.rho)
            }
        };
        for &row in &order[held] {
            let (to_first, to_second) = pair.row(row);
            let kernel = rest.iter().map(|&other| if other < pair.n_first { to_first[other] } else { to_second[other - pair.n_first] });
            decisions[row] = kernel.zip(&coefficients).map(|(kernel, coefficient)| kernel.wide() * coefficient).sum::<f64>() - rho;
        }
    }
    let is_first: Vec<bool> = (0..n).map(|row| row < pair.n_first).collect();
    Sigmoid::fit(&decisions, &is_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_agree_are_coupled_to_what_they_were_made_of() {
        let p: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
        let pairs = (0..4).flat_map(|i| (i + 1..4).map(move |j| p[i] / (p[i] + p[j]))).collect::<Vec<f64>>();
        let found = couple(4, &pairs);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(found.iter().zip(p).all(|(a, b)| (a - b).abs() < 2e-3), "{found:?}");
        let sure = couple(3, &[1.0, 1.0, 0.5]);
        assert!(sure[0] > 0.99 && sure[1] > 0.0 && sure[2] > 0.0, "{sure:?}");
    }

    #[test]
    fn every_row_is_judged_by_machines_that_have_not_seen_it() {
        // All rows alike: a machine that has seen a row knows no more than the shares of the classes, and the sigmoid says these.
        let ones = [1.0f64; 12 * 12];
        let pair = |n_first: usize, n_second: usize| Pair {
            n_first,
            n_second,
            first: &ones[..n_first * n_first],
            across: &ones[..n_first * n_second],
            across_transposed: &ones[..n_first * n_second],
            second: &ones[..n_second * n_second],
            c_first: 1.0,
            c_second: 1.0,
        };
        let even = calibrate(&pair(12, 12), 1e-3, &Stream::new(0, "folds"));
        assert!((even.probability(0.0) - 0.5).abs() < 0.2, "{even:?}");
        // One row of each: who is held out is judged by the other class alone, or by both, and there is no telling.
        let few = calibrate(&pair(1, 1), 1e-3, &Stream::new(0, "folds"));
        assert!(few.a.is_finite() && few.b.is_finite());
        let again = calibrate(&pair(1, 1), 1e-3, &Stream::new(0, "folds"));
        assert_eq!(few, again);
    }
}
