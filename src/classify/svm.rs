//! One-vs-one support vector classification (libsvm's C-SVC semantics) on shared kernel blocks.
//!
//! Fitting keeps one kernel block per class and makes the block of each pair of classes once, when the pair is solved.

use super::dense::{Real, multiply, rows, spread, spread_in};
use super::groups::{ClassRows, class_weights};
use super::params::{Gamma, Kernel, Rule, Svm};
use super::platt::{Sigmoid, calibrate};
use super::products::Points;
use super::smo::{Machine, Pair, solve};
use crate::diagnostic::{Failure, thousands};
use crate::random::Stream;

/// Largest kernel a fit may hold, in bytes.
const KERNEL_LIMIT: usize = 16 << 30;

/// A fitted machine whose support vectors are numbers of points held elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct SvmModel<F> {
    pub kernel: Kernel,
    pub gamma: f64,
    pub supports: Vec<Support<F>>,
    /// One per pair (0,1), (0,2) .. (1,2) ..
    pub rho: Vec<F>,
    /// As `rho`; empty where no probabilities are wanted.
    pub sigmoids: Vec<Sigmoid>,
    /// Whether the largest probability names the class.
    pub by_probability: bool,
    pub iterations: usize,
    pub converged: bool,
}

/// The support vectors of one class.
#[derive(Clone, Debug)]
pub(crate) struct Support<F> {
    pub class: usize,
    pub points: Vec<usize>,
    /// (classes - 1) × support vectors: the coefficients against every other class, ascending.
    pub coefficients: Vec<F>,
}

/// Writes the kernel between rows `a` and rows `b`.
fn kernel_block<F: Real>(how: Kernel, gamma: f64, dim: usize, a: &Gathered<F>, b: &Gathered<F>, block: &mut Vec<F>) {
    let (n, m) = (a.norms.len(), b.norms.len());
    block.resize(n * m, F::default());
    multiply(block, false, rows(&a.data, n, dim), rows(&b.data, m, dim).t());
    if how == Kernel::Rbf {
        let mut dots = vec![F::default(); m];
        for (row, &norm) in block.chunks_exact_mut(m).zip(&a.norms) {
            dots.copy_from_slice(row);
            F::radial(row, &dots, norm, &b.norms, F::of(gamma));
        }
    }
}

/// The rows of one class side by side.
struct Gathered<F> {
    data: Vec<F>,
    norms: Vec<F>,
}

impl<F: Real> Gathered<F> {
    fn new(points: &Points<F>, chosen: &[usize]) -> Self {
        let mut data = Vec::with_capacity(chosen.len() * points.dim());
        chosen.iter().for_each(|&p| data.extend_from_slice(points.row(p)));
        Self { data, norms: chosen.iter().map(|&p| points.norm(p)).collect() }
    }
}

/// 1 / (dimensions · variance of all values of the rows), 1 when they are all equal, as scikit-learn.
fn scale<F: Real>(points: &Points<F>, groups: &[ClassRows]) -> f64 {
    let chosen = || groups.iter().flat_map(|g| g.points.iter()).flat_map(|&p| points.row(p).iter().map(|v| v.wide()));
    let n = groups.iter().map(|g| g.points.len()).sum::<usize>() * points.dim();
    let mean = chosen().sum::<f64>() / n as f64;
    let variance = chosen().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
    if variance > 0.0 { 1.0 / (points.dim() as f64 * variance) } else { 1.0 }
}

impl<F: Real> SvmModel<F> {
    /// Fits on some of the points. `share` lets the pairs run on several threads; the result is the same. `folds` names the draws of the
    /// cross-validation where probabilities are wanted.
    pub fn fit(points: &Points<F>, groups: &[ClassRows], how: &Svm, folds: &Stream, share: bool) -> Result<Self, Failure> {
        if groups.len() < 2 {
            return Err(Failure::new(format!("a support vector machine needs rows of at least 2 classes, got {}", groups.len())));
        }
        let largest = groups.iter().map(|g| g.points.len()).max().unwrap_or(0);
        let held = groups.iter().map(|g| g.points.len().pow(2)).sum::<usize>() + 2 * largest * largest;
        if held * size_of::<F>() > KERNEL_LIMIT {
            return Err(Failure::new(format!(
                "the kernel of {} rows in one class needs {} MB, more than the {} MB a fit may hold",
                thousands(largest),
                thousands((held * size_of::<F>()) >> 20),
                thousands(KERNEL_LIMIT >> 20)
            ))
            .help("fit on fewer rows per class"));
        }
        let dim = points.dim();
        let gamma = match how.gamma {
            Gamma::Scale => scale(points, groups),
            Gamma::Auto => 1.0 / dim as f64,
            Gamma::Value(gamma) => gamma,
        };
        let own: Vec<Gathered<F>> = groups.iter().map(|g| Gathered::new(points, &g.points)).collect();
        let within = |c: usize| {
            let mut block = Vec::new();
            kernel_block(how.kernel, gamma, dim, &own[c], &own[c], &mut block);
            if how.kernel == Kernel::Rbf {
                // Rounding keeps |x|² + |x|² - 2 x·x off zero; a row's kernel with itself is 1.
                let n = groups[c].points.len();
                (0..n).for_each(|i| block[i * n + i] = F::of(1.0));
            }
            block
        };
        let n_classes = groups.len();
        let blocks: Vec<Vec<F>> = spread(share, n_classes, within);
        let weights = class_weights(groups, how.class_weight);
        let pairs: Vec<(usize, usize)> = (0..n_classes).flat_map(|a| (a + 1..n_classes).map(move |b| (a, b))).collect();
        let room = || (Vec::new(), Vec::new());
        let solved: Vec<(Machine, Option<Sigmoid>)> = spread_in(share, pairs.len(), room, |(across, across_transposed), at| {
            let (a, b) = pairs[at];
            let (n, m) = (groups[a].points.len(), groups[b].points.len());
            kernel_block(how.kernel, gamma, dim, &own[a], &own[b], across);
            across_transposed.resize(n * m, F::default());
            F::transpose(across, n, m, across_transposed);
            let pair = Pair {
                n_first: n,
                n_second: m,
                first: &blocks[a],
                across,
                across_transposed,
                second: &blocks[b],
                c_first: how.c * weights[a],
                c_second: how.c * weights[b],
            };
            let folds = folds.clone().at(groups[a].class as u64).at(groups[b].class as u64);
            (solve(&pair, how.tolerance), how.probability.then(|| calibrate(&pair, how.tolerance, &folds)))
        });
        let (machines, sigmoids): (Vec<Machine>, Vec<Option<Sigmoid>>) = solved.into_iter().unzip();
        Ok(Self {
            kernel: how.kernel,
            gamma,
            supports: supports(groups, &pairs, &machines),
            rho: machines.iter().map(|m| F::of(m.rho)).collect(),
            sigmoids: sigmoids.into_iter().flatten().collect(),
            by_probability: how.predict == Rule::Probability,
            iterations: machines.iter().map(|m| m.iterations).sum(),
            converged: machines.iter().all(|m| m.converged),
        })
    }

    /// Returns the fitted classes, ascending.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = usize> {
        self.supports.iter().map(|s| s.class)
    }

    /// Renames the points, when the model moves to another set of points.
    pub fn renumber(&mut self, new: impl Fn(usize) -> usize) {
        for support in &mut self.supports {
            support.points.iter_mut().for_each(|p| *p = new(*p));
        }
    }

    /// Returns the points that carry any coefficient, ascending.
    pub fn support_points(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.supports.iter().flat_map(|s| s.points.iter().copied()).collect();
        all.sort_unstable();
        all
    }
}

/// Turns the machines of all pairs into coefficients by class; rows without any coefficient are left out.
fn supports<F: Real>(groups: &[ClassRows], pairs: &[(usize, usize)], machines: &[Machine]) -> Vec<Support<F>> {
    let others = groups.len() - 1;
    let mut dense: Vec<Vec<f64>> = groups.iter().map(|g| vec![0.0; others * g.points.len()]).collect();
    for (&(a, b), machine) in pairs.iter().zip(machines) {
        let (n, m) = (groups[a].points.len(), groups[b].points.len());
        dense[a][(b - 1) * n..b * n].copy_from_slice(&machine.coefficients[..n]);
        dense[b][a * m..(a + 1) * m].copy_from_slice(&machine.coefficients[n..]);
    }
    groups
        .iter()
        .zip(dense)
        .map(|(group, dense)| {
            let n = group.points.len();
            let carry: Vec<usize> = (0..n).filter(|&i| (0..others).any(|o| dense[o * n + i] != 0.0)).collect();
            Support {
                class: group.class,
                points: carry.iter().map(|&i| group.points[i]).collect(),
                coefficients: (0..others).flat_map(|o| carry.iter().map(|&i| F::of(dense[o * n + i])).collect::<Vec<F>>()).collect(),
            }
        })
        .collect()
}
