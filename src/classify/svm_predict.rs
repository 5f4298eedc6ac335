//! What a support vector classifier says of blocks of queries: decisions of its pairs, votes, scores.
//!
//! Class by class: inner products -> kernel -> product with the coefficients -> votes, in pieces that stay in cache.

use super::dense::{Real, multiply, rows, vectored};
use super::params::Kernel;
use super::platt::couple;
use super::products::{Block, Points, WIDTH};
use super::svm::SvmModel;

/// Support vectors whose kernel is held at once.
const CHUNK: usize = 128;
/// How many support vectors before its turn the products of one are asked for.
const AHEAD: usize = 4;

impl<F: Real> SvmModel<F> {
    /// Calls `each` with every pair's decision values for the block's queries, in the order of `rho`.
    pub fn decisions(&self, points: &Points<F>, block: &Block<F>, mut each: impl FnMut(usize, usize, &[F])) {
        let others = self.supports.len() - 1;
        let mut sums = vec![F::default(); self.supports.len() * others * WIDTH];
        // On the heap: as an array it would fill a thread's stack.
        let mut kernel = F::zeros(CHUNK * WIDTH);
        for (support, sums) in self.supports.iter().zip(sums.chunks_exact_mut(others * WIDTH)) {
            let n = support.points.len();
            let coefficients = rows(&support.coefficients, others, n);
            for start in (0..n).step_by(CHUNK) {
                let chunk = &support.points[start..(start + CHUNK).min(n)];
                for ((at, &point), out) in chunk.iter().enumerate().zip(kernel.chunks_exact_mut(WIDTH)) {
                    if let Some(&soon) = support.points.get(start + at + AHEAD) {
                        block.expect(soon);
                    }
                    match self.kernel {
                        Kernel::Rbf => F::radial(out, block.products(point), points.norm(point), block.norms(), F::of(self.gamma)),
                        Kernel::Linear => out.copy_from_slice(block.products(point)),
                    }
                }
                let kernel = rows(&kernel[..chunk.len() * WIDTH], chunk.len(), WIDTH);
                multiply(sums, start > 0, coefficients.columns(start, chunk.len()), kernel);
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

    /// Writes the class of each query of the block: most votes or the largest probability, the lowest class among equals. If asked, also queries × classes, scores:
    /// probabilities where the model has them. Else of two classes the decision for each, of more votes + s / (3 (|s| + 1)) with s the sum of a
    /// class's decisions (`decision_function`).
    pub fn predict_block(&self, points: &Points<F>, block: &Block<F>, out: &mut [usize], scores: Option<&mut [f64]>) {
        let n = self.supports.len();
        let has_probabilities = !self.sigmoids.is_empty();
        let coupled = has_probabilities && (scores.is_some() || self.by_probability);
        let summed = scores.is_some() && !has_probabilities;
        let mut votes = vec![0u16; n * WIDTH];
        let mut sums = vec![0.0f64; if summed { n * WIDTH } else { 0 }];
        let mut of_first = Vec::with_capacity(if coupled { self.rho.len() * WIDTH } else { 0 });
        self.decisions(points, block, |a, b, decision| {
            if coupled {
                let sigmoid = self.sigmoids[of_first.len() / WIDTH];
                of_first.extend(decision.iter().map(|d| sigmoid.probability(d.wide())));
            }
            if summed {
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
        let mut scores = scores;
        let mut row = vec![0.0; n];
        for (query, out) in out.iter_mut().enumerate().take(block.used()) {
            let of = |class: usize| votes[class * WIDTH + query];
            let mut winner = (1..n).fold(0, |best, class| if of(class) > of(best) { class } else { best });
            if coupled {
                let pairs: Vec<f64> = of_first.iter().skip(query).step_by(WIDTH).copied().collect();
                row = couple(n, &pairs);
                if self.by_probability {
                    winner = (1..n).fold(0, |best, class| if row[class] > row[best] { class } else { best });
                }
            }
            *out = self.supports[winner].class;
            let Some(scores) = &mut scores else { continue };
            if summed {
                for (class, score) in row.iter_mut().enumerate() {
                    let sum = sums[class * WIDTH + query];
                    *score = if n == 2 { sum } else { f64::from(of(class)) + sum / (3.0 * (sum.abs() + 1.0)) };
                }
            }
            scores[query * n..(query + 1) * n].copy_from_slice(&row);
        }
    }
}
