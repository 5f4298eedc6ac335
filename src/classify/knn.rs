//! The k nearest neighbours, exactly.
//!
//! Inner products screen the points: whatever could be among the k nearest, given the rounding of a product, is measured again
//! in f64 by differences. So equal rows are at distance zero and near ties are decided rightly.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, Data, Ix2};

use super::dense::{Real, squared_distance, vectored};
use super::groups::{ClassRows, by_class};
use super::guard::Checked;
use super::params::{Knn, Vote};
use super::products::{Block, Points, WIDTH, each_block, predict_blocks};
use crate::diagnostic::Failure;
use crate::kernel::prefetch;

/// The rows that vote, as numbers of points held elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct KnnModel {
    k: usize,
    weights: Vote,
    classes: Vec<usize>,
    points: Vec<usize>,
    /// Place of each point's class among the classes.
    places: Vec<u32>,
}

/// Candidates kept beyond k, so that the rounding of a product rarely leaves a doubt.
const SPARE: usize = 6;

/// Working space, kept from block to block.
pub(crate) struct Scratch<F> {
    /// Per query, ascending: squared distance less the query's norm, and place in the model's points.
    candidates: Vec<(F, u32)>,
    exact: Vec<(f64, u32)>,
    votes: Vec<f64>,
}

impl<F> Scratch<F> {
    pub fn new() -> Self {
        Self { candidates: Vec::new(), exact: Vec::new(), votes: Vec::new() }
    }
}

/// How many points before they are compared with the queries their products are asked for.
const AHEAD: usize = 4;

/// Queries that are compared before looking which of them passed.
const LANES: usize = 16;

impl KnnModel {
    pub fn new(groups: &[ClassRows], how: &Knn) -> Self {
        let n = groups.iter().map(|g| g.points.len()).sum();
        Self {
            k: how.k.min(n),
            weights: how.weights,
            classes: groups.iter().map(|g| g.class).collect(),
            points: groups.iter().flat_map(|g| g.points.iter().copied()).collect(),
            places: groups.iter().enumerate().flat_map(|(place, g)| g.points.iter().map(move |_| place as u32)).collect(),
        }
    }

    /// Renames the points, when the model moves to another set of points.
    pub fn renumber(&mut self, new: impl Fn(usize) -> usize) {
        self.points.iter_mut().for_each(|p| *p = new(*p));
    }

    pub fn points(&self) -> &[usize] {
        &self.points
    }

    /// Candidates kept per query.
    fn kept(&self) -> usize {
        (self.k + SPARE).min(self.points.len())
    }

    /// Leaves the nearest candidates of every query in `scratch.candidates`, as far as rounded products tell.
    fn screen<F: Real>(&self, points: &Points<F>, block: &Block<F>, scratch: &mut Scratch<F>) {
        let kept = self.kept();
        let nowhere = (F::of(f64::INFINITY), u32::MAX);
        scratch.candidates.clear();
        scratch.candidates.resize(kept * WIDTH, nowhere);
        let mut limit = [nowhere.0; WIDTH];
        // Points lie class by class. A few of each first bring the limits down early, so that few candidates come and go.
        let stride = self.points.len().isqrt().max(1);
        vectored(
            #[inline(always)]
            || {
                for place in (0..stride).flat_map(|first| (first..self.points.len()).step_by(stride)) {
                    if let Some(&point) = self.points.get(place + AHEAD * stride) {
                        block.expect(point);
                    }
                    let point = self.points[place];
                    let (norm, dots) = (points.norm(point), block.products(point));
                    for start in (0..WIDTH).step_by(LANES) {
                        let some = start..start + LANES;
                        if !any_below(norm, &dots[some.clone()], &limit[some.clone()]) {
                            continue;
                        }
                        let mut passed = all_below(norm, &dots[some.clone()], &limit[some]);
                        while passed != 0 {
                            let query = start + passed.trailing_zeros() as usize;
                            passed &= passed - 1;
                            let list = &mut scratch.candidates[query * kept..(query + 1) * kept];
                            insert(list, (norm - (dots[query] + dots[query]), place as u32));
                            limit[query] = list[kept - 1].0;
                        }
                    }
                }
            },
        );
    }

    /// Leaves a query's neighbours in `scratch.exact`: (squared distance, place), nearest first, the earlier point among equals.
    fn nearest<F: Real>(&self, points: &Points<F>, block: &Block<F>, query: usize, scratch: &mut Scratch<F>) {
        let (kept, q) = (self.kept(), block.query(query));
        let list = &scratch.candidates[query * kept..(query + 1) * kept];
        // Most of the next query's candidates will be measured: their rows lie anywhere.
        let next = scratch.candidates[(query + 1) * kept..].iter().take(self.k);
        next.for_each(|(_, place)| self.points.get(*place as usize).into_iter().for_each(|point| prefetch(points.row(*point))));
        // Twice the bound on the rounding of |p|² - 2 p·q: one for the k-th candidate, one for whoever was left out.
        let slack = 2.0 * F::UNIT * (points.dim() as f64 + 8.0) * (points.largest_norm() + block.norms()[query].wide());
        let reach = list[self.k - 1].0.wide() + slack;
        let measure = |place: u32| (squared_distance(points.row(self.points[place as usize]), q), place);
        scratch.exact.clear();
        if kept == self.points.len() || list[kept - 1].0.wide() > reach {
            scratch.exact.extend(list.iter().filter(|c| c.0.wide() <= reach).map(|c| measure(c.1)));
        } else {
            // Too many are too near to tell by products.
            scratch.exact.extend((0..self.points.len() as u32).map(measure));
        }
        scratch.exact.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        scratch.exact.truncate(self.k);
    }

    /// Leaves the votes of a query's neighbours in `scratch.votes`, one per class.
    fn vote<F>(&self, scratch: &mut Scratch<F>) {
        scratch.votes.clear();
        scratch.votes.resize(self.classes.len(), 0.0);
        let zero_takes_all = self.weights == Vote::Distance && scratch.exact.first().is_some_and(|n| n.0 == 0.0);
        for &(square, place) in &scratch.exact {
            let weight = match self.weights {
                Vote::Uniform => 1.0,
                Vote::Distance if zero_takes_all => f64::from(u8::from(square == 0.0)),
                Vote::Distance => 1.0 / square.sqrt(),
            };
            scratch.votes[self.places[place as usize] as usize] += weight;
        }
    }

    /// Returns the classes that vote, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Writes the class of each query: most votes, the lowest class among equals. If asked, also queries × classes, shares of the votes.
    pub fn predict_block<F: Real>(
        &self,
        points: &Points<F>,
        block: &Block<F>,
        scratch: &mut Scratch<F>,
        out: &mut [usize],
        mut scores: Option<&mut [f64]>,
    ) {
        self.screen(points, block, scratch);
        for (query, out) in out.iter_mut().enumerate().take(block.used()) {
            self.nearest(points, block, query, scratch);
            self.vote(scratch);
            let mut winner = 0;
            for class in 1..self.classes.len() {
                if scratch.votes[class] > scratch.votes[winner] {
                    winner = class;
                }
            }
            *out = self.classes[winner];
            if let Some(scores) = &mut scores {
                let total: f64 = scratch.votes.iter().sum();
                let row = &mut scores[query * self.classes.len()..][..self.classes.len()];
                row.iter_mut().zip(&scratch.votes).for_each(|(score, vote)| *score = vote / total);
            }
        }
    }
}

/// Puts a candidate into its place of an ascending list and drops the last.
#[inline(always)]
fn insert<F: Real>(list: &mut [(F, u32)], candidate: (F, u32)) {
    let mut at = list.len() - 1;
    while at > 0 && candidate.0 < list[at - 1].0 {
        list[at] = list[at - 1];
        at -= 1;
    }
    list[at] = candidate;
}

#[inline(always)]
fn any_below<F: Real>(norm: F, dots: &[F], limits: &[F]) -> bool {
    let mut any = false;
    for lane in 0..LANES {
        any |= norm - (dots[lane] + dots[lane]) < limits[lane];
    }
    any
}

/// Which of them are below, a bit for each.
#[inline(always)]
fn all_below<F: Real>(norm: F, dots: &[F], limits: &[F]) -> u32 {
    let mut below = 0;
    for lane in 0..LANES {
        below |= u32::from(norm - (dots[lane] + dots[lane]) < limits[lane]) << lane;
    }
    below
}

/// A k-nearest-neighbour classifier with its rows.
#[derive(Clone, Debug)]
pub struct FittedKnn<F> {
    model: KnnModel,
    points: Points<F>,
}

impl<F: Real> FittedKnn<F> {
    /// Returns the classes it knows, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.model.classes
    }

    /// Returns queries × classes, each class's share of the votes.
    pub fn probabilities<D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> Array2<f64> {
        let classes = self.model.classes.len();
        let rows = self.each(queries, |scratch, out: &mut Vec<f64>| {
            let total: f64 = scratch.votes.iter().sum();
            out.extend(scratch.votes.iter().map(|v| v / total));
        });
        Array2::from_shape_fn((queries.nrows(), classes), |(i, c)| rows[i * classes + c])
    }

    /// Returns the distances to the k nearest rows and which rows these are (numbered by class, then as given), nearest first.
    pub fn neighbours<D: Data<Elem = F>>(&self, queries: &ArrayBase<D, Ix2>) -> (Array2<f64>, Array2<usize>) {
        let k = self.model.k;
        let all = self.each(queries, |scratch, out: &mut Vec<(f64, usize)>| {
            out.extend(scratch.exact.iter().map(|&(square, place)| (square.sqrt(), self.model.points[place as usize])));
        });
        let shape = (queries.nrows(), k);
        (Array2::from_shape_fn(shape, |(i, j)| all[i * k + j].0), Array2::from_shape_fn(shape, |(i, j)| all[i * k + j].1))
    }

    fn each<D: Data<Elem = F>, T: Send>(&self, queries: &ArrayBase<D, Ix2>, take: impl Fn(&Scratch<F>, &mut Vec<T>) + Sync) -> Vec<T> {
        each_block(&self.points, queries.view(), |block| {
            let (mut scratch, mut out) = (Scratch::new(), Vec::new());
            self.model.screen(&self.points, block, &mut scratch);
            for query in 0..block.used() {
                self.model.nearest(&self.points, block, query, &mut scratch);
                self.model.vote(&mut scratch);
                take(&scratch, &mut out);
            }
            out
        })
    }
}

impl<F: Real, D: Data<Elem = F>, T: AsSingleTargets<Elem = usize>> Fit<ArrayBase<D, Ix2>, T, Failure> for Checked<Knn> {
    type Object = FittedKnn<F>;

    /// Keeps the rows.
    ///
    /// # Errors
    /// When there are none.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<FittedKnn<F>, Failure> {
        let groups = by_class(dataset.targets.as_single_targets().iter().copied());
        if groups.is_empty() {
            return Err(Failure::new("k nearest neighbours need at least 1 row, got 0"));
        }
        Ok(FittedKnn { model: KnnModel::new(&groups, self), points: Points::all(dataset.records.view()) })
    }
}

impl<F: Real, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for FittedKnn<F> {
    fn predict_inplace<'a>(&'a self, queries: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        assert_eq!(queries.nrows(), y.len(), "one class per query");
        predict_blocks(&self.points, queries, y, |block, out| {
            self.model.predict_block(&self.points, block, &mut Scratch::new(), out, None);
        });
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
    fn a_row_equal_to_the_query_takes_the_whole_vote() {
        let x = array![[0.0f32, 1.0], [0.1, 1.0], [0.1, 1.1], [9.0, 9.0]];
        let fitted = Knn { k: 3, ..Knn::default() }.fit(&DatasetBase::new(x.clone(), array![0usize, 1, 1, 2])).unwrap();
        assert_eq!(fitted.predict(&x), array![0, 1, 1, 2]);
        assert_eq!(fitted.probabilities(&x).row(0), array![1.0, 0.0, 0.0]);
    }

    #[test]
    fn screening_loses_no_neighbour_among_many_near_ties() {
        // Far from the origin a product in f32 rounds by more than these points are apart.
        let x = Array2::from_shape_fn((700, 9), |(i, j)| 1000.0 + ((i * 7 + j) as f32 * 0.9).sin());
        let queries = Array2::from_shape_fn((300, 9), |(i, j)| 1000.0 + ((i * 5 + j) as f32 * 0.7).cos());
        let fitted = Knn { k: 5, ..Knn::default() }.fit(&DatasetBase::new(x.clone(), Array1::from_elem(700, 0usize))).unwrap();
        let (_, found) = fitted.neighbours(&queries);
        for i in 0..300 {
            let mut order: Vec<(f64, usize)> =
                (0..700).map(|p| (squared_distance(x.row(p).as_slice().unwrap(), queries.row(i).as_slice().unwrap()), p)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            assert_eq!(found.row(i).to_vec(), order[..5].iter().map(|o| o.1).collect::<Vec<_>>(), "query {i}");
        }
    }
}
