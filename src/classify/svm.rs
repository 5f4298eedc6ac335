//! One-vs-one support vector classification (libsvm's C-SVC semantics) on shared kernel blocks.
//!
//! Fitting keeps one kernel block per class and makes the block of each pair of classes once, when the pair is solved.
//! Prediction goes class by class: inner products -> kernel -> product with the coefficients -> votes, in pieces that stay in cache.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, Data, Ix2};
use rayon::prelude::*;

use super::dense::{Real, multiply, rows, rows_mut, spread, vectored};
use super::groups::{ClassRows, by_class, class_weights};
use super::guard::Checked;
use super::params::{Gamma, Kernel, Svm};
use super::products::{Block, Points, WIDTH, predict_blocks};
use super::smo::{Machine, Pair, solve};
use crate::diagnostic::{Failure, thousands};

/// Support vectors whose kernel is held at once while predicting.
const CHUNK: usize = 128;
/// Largest kernel a fit may hold, in bytes.
const KERNEL_LIMIT: usize = 16 << 30;

/// A fitted machine whose support vectors are numbers of points held elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct SvmModel<F> {
    kernel: Kernel,
    gamma: f64,
    supports: Vec<Support<F>>,
    /// One per pair (0,1), (0,2) .. (1,2) ..
    rho: Vec<F>,
    pub iterations: usize,
    pub converged: bool,
}

/// The support vectors of one class.
#[derive(Clone, Debug)]
struct Support<F> {
    class: usize,
    points: Vec<usize>,
    /// (classes - 1) × support vectors: the coefficients against every other class, ascending.
    coefficients: Vec<F>,
}

/// The kernel between rows `a` and rows `b`.
fn kernel_block<F: Real>(how: Kernel, gamma: f64, dim: usize, a: &Gathered<F>, b: &Gathered<F>) -> Vec<F> {
    let (n, m) = (a.norms.len(), b.norms.len());
    let mut block = vec![F::default(); n * m];
    multiply(rows_mut(&mut block, n, m), false, rows(&a.data, n, dim), rows(&b.data, m, dim).transpose());
    if how == Kernel::Rbf {
        let mut dots = vec![F::default(); m];
        for (row, &norm) in block.chunks_exact_mut(m).zip(&a.norms) {
            dots.copy_from_slice(row);
            F::radial(row, &dots, norm, &b.norms, F::of(gamma));
        }
    }
    block
}

/// The rows of one class side by side.
struct Gathered<F> {
    data: Vec<F>,
    norms: Vec<F>,
}

impl<F: Real> Gathered<F> {
    fn new(points: &Points<F>, chosen: &[usize]) -> Self {
        let data = chosen.iter().flat_map(|&p| points.row(p).iter().copied()).collect();
        Self { data, norms: chosen.iter().map(|&p| points.norm(p)).collect() }
    }
}

fn transposed<F: Real>(block: &[F], n: usize, m: usize) -> Vec<F> {
    let mut out = vec![F::default(); n * m];
    const TILE: usize = 32;
    for i0 in (0..n).step_by(TILE) {
        for j0 in (0..m).step_by(TILE) {
            for i in i0..(i0 + TILE).min(n) {
                for j in j0..(j0 + TILE).min(m) {
                    out[j * n + i] = block[i * m + j];
                }
            }
        }
    }
    out
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
    /// Fits on some of the points. `share` lets the pairs run on several threads; the result is the same.
    pub fn fit(points: &Points<F>, groups: &[ClassRows], how: &Svm, share: bool) -> Result<Self, Failure> {
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
            let mut block = kernel_block(how.kernel, gamma, dim, &own[c], &own[c]);
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
        let machines: Vec<Machine> = spread(share, pairs.len(), |at| {
            let (a, b) = pairs[at];
            let (n, m) = (groups[a].points.len(), groups[b].points.len());
            let across = kernel_block(how.kernel, gamma, dim, &own[a], &own[b]);
            let across_transposed = transposed(&across, n, m);
            let pair = Pair {
                n_first: n,
                n_second: m,
                first: &blocks[a],
                across: &across,
                across_transposed: &across_transposed,
                second: &blocks[b],
                c_first: how.c * weights[a],
                c_second: how.c * weights[b],
            };
            solve(&pair, how.tolerance)
        });
        Ok(Self {
            kernel: how.kernel,
            gamma,
            supports: supports(groups, &pairs, &machines),
            rho: machines.iter().map(|m| F::of(m.rho)).collect(),
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

    /// Calls `each` with every pair's decision values for the block's queries, in the order of `rho`.
    fn decisions(&self, points: &Points<F>, block: &Block<F>, mut each: impl FnMut(usize, usize, &[F])) {
        let others = self.supports.len() - 1;
        let mut sums = vec![F::default(); self.supports.len() * others * WIDTH];
        // On the heap: as an array it would fill a thread's stack.
        let mut kernel = F::zeros(CHUNK * WIDTH);
        for (support, sums) in self.supports.iter().zip(sums.chunks_exact_mut(others * WIDTH)) {
            let n = support.points.len();
            let coefficients = rows(&support.coefficients, others, n);
            for start in (0..n).step_by(CHUNK) {
                let chunk = &support.points[start..(start + CHUNK).min(n)];
                for (&point, out) in chunk.iter().zip(kernel.chunks_exact_mut(WIDTH)) {
                    match self.kernel {
                        Kernel::Rbf => F::radial(out, block.products(point), points.norm(point), block.norms(), F::of(self.gamma)),
                        Kernel::Linear => out.copy_from_slice(block.products(point)),
                    }
                }
                let kernel = rows(&kernel[..chunk.len() * WIDTH], chunk.len(), WIDTH);
                multiply(rows_mut(sums, others, WIDTH), start > 0, coefficients.subcols(start, chunk.len()), kernel);
            }
        }
        let mut decision = [F::default(); WIDTH];
        let mut at = 0;
        for a in 0..self.supports.len() {
            for b in a + 1..self.supports.len() {
                let of_a = &sums[(a * others + b - 1) * WIDTH..][..WIDTH];
                let of_b = &sums[(b * others + a) * WIDTH..][..WIDTH];
                for ((d, x), y) in decision.iter_mut().zip(of_a).zip(of_b) {
                    *d = *x + *y - self.rho[at];
                }
                each(a, b, &decision);
                at += 1;
            }
        }
    }

    /// Writes the class of each query of the block: most votes, the lowest class among equals. If asked, also queries × classes, scores:
    /// of two classes the decision for each, of more votes + s / (3 (|s| + 1)) with s the sum of a class's decisions (`decision_function`).
    pub fn predict_block(&self, points: &Points<F>, block: &Block<F>, out: &mut [usize], scores: Option<&mut [f32]>) {
        let n = self.supports.len();
        let mut votes = vec![0u16; n * WIDTH];
        let mut sums = vec![0.0f64; if scores.is_some() { n * WIDTH } else { 0 }];
        self.decisions(points, block, |a, b, decision| {
            if !sums.is_empty() {
                for (query, d) in decision.iter().enumerate() {
                    sums[a * WIDTH + query] += d.wide();
                    sums[b * WIDTH + query] -= d.wide();
                }
            }
            let (low, high) = votes.split_at_mut(b * WIDTH);
            let (for_a, for_b) = (&mut low[a * WIDTH..(a + 1) * WIDTH], &mut high[..WIDTH]);
            vectored(
                #[inline(always)]
                || {
                    for ((d, a), b) in decision.iter().zip(for_a).zip(for_b) {
                        let first = u16::from(*d > F::default());
                        *a += first;
                        *b += 1 - first;
                    }
                },
            );
        });
        for (query, out) in out.iter_mut().enumerate().take(block.used()) {
            let mut winner = 0;
            for class in 1..self.supports.len() {
                if votes[class * WIDTH + query] > votes[winner * WIDTH + query] {
                    winner = class;
                }
            }
            *out = self.supports[winner].class;
        }
        for (query, row) in scores.into_iter().flat_map(|scores| scores.chunks_exact_mut(n)).enumerate() {
            for (class, score) in row.iter_mut().enumerate() {
                let sum = sums[class * WIDTH + query];
                let whole = f64::from(votes[class * WIDTH + query]);
                *score = if n == 2 { sum } else { whole + sum / (3.0 * (sum.abs() + 1.0)) } as f32;
            }
        }
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

/// A support vector classifier with its own support vectors.
#[derive(Clone, Debug)]
pub struct FittedSvm<F> {
    model: SvmModel<F>,
    points: Points<F>,
}

impl<F: Real> FittedSvm<F> {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> Vec<usize> {
        self.model.classes().collect()
    }

    /// Returns how many support vectors each class has.
    pub fn n_support(&self) -> Vec<usize> {
        self.model.supports.iter().map(|s| s.points.len()).collect()
    }

    /// Returns gamma as used.
    pub fn gamma(&self) -> f64 {
        self.model.gamma
    }

    /// Returns the steps taken by all machines together.
    pub fn iterations(&self) -> usize {
        self.model.iterations
    }

    /// Returns whether every machine met its tolerance.
    pub fn converged(&self) -> bool {
        self.model.converged
    }

    /// Returns queries × pairs (0,1), (0,2) .. (1,2) ..: above 0 speaks for the first class of the pair.
    pub fn decision_values<D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> Array2<F> {
        let n = queries.nrows();
        let pairs = self.model.rho.len();
        let view = queries.view();
        let pieces: Vec<Vec<F>> = (0..n.div_ceil(WIDTH))
            .into_par_iter()
            .map(|piece| {
                let block = Block::new(&self.points, view, piece * WIDTH);
                let mut out = vec![F::default(); block.used() * pairs];
                let mut at = 0;
                self.model.decisions(&self.points, &block, |_, _, decision| {
                    for (query, &d) in decision.iter().enumerate().take(block.used()) {
                        out[query * pairs + at] = d;
                    }
                    at += 1;
                });
                out
            })
            .collect();
        Array2::from_shape_fn((n, pairs), |(i, j)| pieces[i / WIDTH][(i % WIDTH) * pairs + j])
    }
}

impl<F: Real, D: Data<Elem = F>, T: AsSingleTargets<Elem = usize>> Fit<ArrayBase<D, Ix2>, T, Failure> for Checked<Svm> {
    type Object = FittedSvm<F>;

    /// Fits on rows of any classes.
    ///
    /// # Errors
    /// When there are rows of fewer than two classes, or the kernel does not fit into memory.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedSvm<F>, Failure> {
        let all = Points::all(dataset.records.view());
        let groups = by_class(dataset.targets.as_single_targets().iter().copied());
        let mut model = SvmModel::fit(&all, &groups, self, true)?;
        let kept = model.support_points();
        let points = Points::gather(dataset.records.view(), kept.iter().copied());
        model.renumber(|old| kept.partition_point(|&k| k < old));
        Ok(FittedSvm { model, points })
    }
}

impl<F: Real, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for FittedSvm<F> {
    fn predict_inplace<'a>(&'a self, queries: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        assert_eq!(queries.nrows(), y.len(), "one class per query");
        predict_blocks(&self.points, queries, y, |block, out| self.model.predict_block(&self.points, block, out, None));
    }

    fn default_target(&self, queries: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(queries.nrows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::traits::Predict;
    use ndarray::array;

    #[test]
    fn a_linear_machine_separates_three_corners() {
        let x = array![[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.1], [0.0, 5.0], [0.1, 5.1]];
        let data = DatasetBase::new(x.clone(), array![4usize, 4, 7, 7, 9, 9]);
        let fitted = Svm { kernel: Kernel::Linear, ..Svm::default() }.fit(&data).unwrap();
        assert_eq!(fitted.predict(&x), array![4, 4, 7, 7, 9, 9]);
        assert_eq!(fitted.classes(), [4, 7, 9]);
    }

    // SVC(class_weight="balanced", tol=1e-10).fit(x, y).decision_function(queries), scikit-learn 1.9.1; of two classes for the second.
    #[test]
    fn scores_are_scikit_learns_decision_function() {
        let x = array![[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 1.0], [0.0, 5.0], [1.0, 6.0]];
        let queries: Array2<f64> = array![[2.0, 1.0], [0.0, 3.0], [4.0, 4.0]];
        let scores = |rows: usize| {
            let data = DatasetBase::new(x.slice(ndarray::s![..rows, ..]).to_owned(), Array1::from_shape_fn(rows, |i| i / 2));
            let fitted: FittedSvm<f64> = Svm { tolerance: 1e-10, ..Svm::default() }.fit(&data).unwrap();
            let (mut out, mut scores) = ([0; 3], vec![0.0; 3 * rows / 2]);
            let block = Block::new(&fitted.points, queries.view(), 0);
            fitted.model.predict_block(&fitted.points, &block, &mut out, Some(&mut scores));
            assert_eq!(fitted.predict(&queries).to_vec(), out);
            scores
        };
        let three = [2.17781339, 0.93158008, -0.15650571, 1.06099745, -0.16994885, 2.14979982, -0.10100624, 2.05970855, 1.05933345];
        let two = [0.49561275, -0.49561275, 0.39965657, -0.39965657, -0.19737633, 0.19737633];
        let apart =
            |found: Vec<f32>, expected: &[f64]| found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(apart(scores(6), &three) < 1e-6 && apart(scores(4), &two) < 1e-6);
    }

    #[test]
    fn one_class_is_refused_by_name() {
        let data = DatasetBase::new(array![[0.0], [1.0]], array![0usize, 0]);
        let failure = Svm::default().fit(&data).unwrap_err();
        assert_eq!(failure.message(), "a support vector machine needs rows of at least 2 classes, got 1");
    }
}
