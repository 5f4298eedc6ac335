//! Test rows and draws, drawn again: where the balanced accuracy of a cell would lie with other test images and other labelled ones.
//!
//! A two-way bootstrap: rows and draws are drawn again each by themselves, for every draw is judged on every row (Owen 2007, "The
//! pigeonhole bootstrap", Annals of Applied Statistics 1(2):386). Rows are drawn within their class, so that no class is lost; where rows
//! come in groups (patient, picture), whole groups are drawn instead, and a class that is lost leaves the mean, as in scikit-learn's
//! `balanced_accuracy_score`. n values drawn from n vary too little, by (n - 1)/n; for draws, which may be three, and for rows in their class,
//! which may be two, the weights are stretched to make up for it (Hesterberg 2015, The American Statistician 69(4):371).
//!
//! What a cell keeps is one value for each resample, 4 kB in all. The resamples belong to roster and seed, not to the cell: the k-th value of
//! all cells is of the same test images, and of the same draws where both have as many, so that differences of two cells are paired, whenever
//! they were made; draws of different numbers are taken as independent, which errs towards wider intervals of differences. On the
//! way a model keeps one bit per test row (51,413 rows x 2,700 models: 18 MB). All sums are of whole numbers, so no bit depends on threads.

use rayon::prelude::*;

use super::dense::vectored;
use super::metrics::mean;
use super::study::Roster;
use super::table::Run;
use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::random::Stream;
use crate::stage::Monitor;

/// How often a study draws again unless told otherwise: ends of a 95 % interval are then known to a tenth of a standard error.
pub const RESAMPLES: usize = 1000;

/// The rows of one class among the words of bits.
struct Span {
    class: usize,
    rows: usize,
    words: std::ops::Range<usize>,
}

/// How test rows and draws are drawn again.
pub struct Resampling<'a> {
    roster: &'a Roster,
    n: usize,
    /// The classes that have test rows; each begins with a word of its own.
    spans: Vec<Span>,
    /// Where the bit of each test row lies.
    bit: Vec<usize>,
}

/// Which test rows one model predicted right.
#[derive(Clone)]
pub(crate) struct Right(Vec<u64>);

/// One drawing of the test rows: how often each row counts, in binary, a plane of bits for each digit.
struct Drawn {
    planes: Vec<Vec<u64>>,
}

impl<'a> Resampling<'a> {
    /// Prepares `n` resamples of the roster's test rows.
    pub fn new(roster: &'a Roster, n: usize) -> Self {
        let mut rows_of = vec![Vec::new(); roster.classes.len()];
        roster.test.iter().enumerate().for_each(|(row, (_, class))| rows_of[*class].push(row));
        let (mut spans, mut bit, mut at) = (Vec::new(), vec![0; roster.test.len()], 0);
        for (class, rows) in rows_of.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            rows.iter().enumerate().for_each(|(i, &row)| bit[row] = at * 64 + i);
            let end = at + rows.len().div_ceil(64);
            spans.push(Span { class, rows: rows.len(), words: at..end });
            at = end;
        }
        Self { roster, n, spans, bit }
    }

    /// Returns what two results must share for their values to be paired: test rows, classes, groups, seed and number of resamples.
    pub fn digest(&self) -> Digest {
        let Roster { classes, test, groups, seed, .. } = self.roster;
        Digest::of_json(&serde_json::json!({"classes": classes, "test": test, "groups": groups, "seed": seed, "resamples": self.n}))
    }

    /// Starts with every row predicted wrong.
    pub(crate) fn none_right(&self) -> Right {
        Right(vec![0; self.spans.last().map_or(0, |span| span.words.end)])
    }

    /// Notes that `row` was predicted right.
    pub(crate) fn note(&self, right: &mut Right, row: usize) {
        right.0[self.bit[row] / 64] |= 1 << (self.bit[row] % 64);
    }

    /// Returns the balanced accuracy of each cell under each resample, averaged over the cell's draws; the models of a cell in the order
    /// of their draws. No values at all when no resamples are wanted.
    ///
    /// # Errors
    /// When the monitor interrupts.
    pub(crate) fn values(&self, cells: &[Vec<Right>], monitor: &dyn Monitor) -> Result<Vec<Vec<f32>>, Failure> {
        let by_resample = (0..self.n)
            .into_par_iter()
            .map(|k| {
                if monitor.interrupted() {
                    return Err(Failure::interrupted());
                }
                let drawn = self.draw(k);
                let totals: Vec<u32> = self.spans.iter().map(|span| drawn.total(&span.words, None)).collect();
                let value = |cell: &Vec<Right>| {
                    let weights = self.weights_of_draws(k, cell.len());
                    let judge = |right: &Right| vectored(|| self.balanced_accuracy(&drawn, &totals, right));
                    mean(cell.iter().zip(weights).map(|(right, weight)| weight * judge(right))).clamp(0.0, 1.0) as f32
                };
                Ok(cells.iter().map(value).collect())
            })
            .collect::<Result<Vec<Vec<f32>>, Failure>>()?;
        Ok((0..cells.len()).map(|cell| by_resample.iter().map(|values| values[cell]).collect()).collect())
    }

    /// Returns the values of one cell from predictions that were kept; none when those of a run are missing.
    ///
    /// # Errors
    /// As [`Resampling::values`].
    pub fn of_runs(&self, runs: &[Run], monitor: &dyn Monitor) -> Result<Vec<f32>, Failure> {
        let right = |run: &Run| {
            let mut right = self.none_right();
            let pairs = self.roster.test.iter().zip(run.predictions.as_ref()?).enumerate();
            pairs.filter(|(_, ((_, truth), predicted))| truth == *predicted).for_each(|(row, _)| self.note(&mut right, row));
            Some(right)
        };
        let Some(cell) = runs.iter().map(right).collect::<Option<Vec<Right>>>() else { return Ok(Vec::new()) };
        Ok(self.values(&[cell], monitor)?.pop().unwrap_or_default())
    }

    /// Draws the test rows for the `k`-th time.
    fn draw(&self, k: usize) -> Drawn {
        let stream = Stream::new(self.roster.seed, "test rows drawn again").at(k as u64);
        let mut counts = vec![0u32; self.spans.last().map_or(0, |span| span.words.end * 64)];
        if self.roster.groups.is_empty() {
            for span in &self.spans {
                let mut draws = stream.clone().of(&self.roster.classes[span.class]).draws();
                (0..span.rows).for_each(|_| counts[span.words.start * 64 + draws.below(span.rows)] += 1);
            }
        } else {
            let mut of_group = vec![0u32; self.roster.groups.iter().max().map_or(0, |last| last + 1)];
            let mut draws = stream.draws();
            let n = of_group.len();
            (0..n).for_each(|_| of_group[draws.below(n)] += 1);
            self.roster.groups.iter().zip(&self.bit).for_each(|(group, &bit)| counts[bit] = of_group[*group]);
        }
        let digits = u32::BITS - counts.iter().max().copied().unwrap_or(0).leading_zeros();
        let word = |digit: u32, counts: &[u32]| counts.iter().enumerate().fold(0, |word, (i, n)| word | (u64::from(n >> digit & 1) << i));
        Drawn { planes: (0..digits).map(|digit| counts.chunks(64).map(|counts| word(digit, counts)).collect()).collect() }
    }

    /// How much each of `n` draws counts in the `k`-th resample: one on average.
    fn weights_of_draws(&self, k: usize, n: usize) -> Vec<f64> {
        let mut counts = vec![0u32; n];
        let mut draws = Stream::new(self.roster.seed, "draws drawn again").at(n as u64).at(k as u64).draws();
        (0..n).for_each(|_| counts[draws.below(n)] += 1);
        counts.into_iter().map(|count| 1.0 + (f64::from(count) - 1.0) * stretch(n)).collect()
    }

    /// The balanced accuracy of one model on the rows as drawn.
    #[inline(always)]
    fn balanced_accuracy(&self, drawn: &Drawn, totals: &[u32], right: &Right) -> f64 {
        let recall = |(span, total): (&Span, &u32)| {
            let found = f64::from(drawn.total(&span.words, Some(right)));
            if !self.roster.groups.is_empty() {
                return (*total > 0).then(|| found / f64::from(*total));
            }
            let before = f64::from(right.0[span.words.clone()].iter().map(|word| word.count_ones()).sum::<u32>());
            Some((before + (found - before) * stretch(span.rows)) / span.rows as f64)
        };
        mean(self.spans.iter().zip(totals).filter_map(recall))
    }
}

impl Drawn {
    /// How often rows within these words were drawn, counting all rows or those predicted right.
    #[inline(always)]
    fn total(&self, words: &std::ops::Range<usize>, among: Option<&Right>) -> u32 {
        let ones = |plane: &[u64]| -> u32 {
            match among {
                Some(right) => plane.iter().zip(&right.0[words.clone()]).map(|(a, b)| (a & b).count_ones()).sum(),
                None => plane.iter().map(|word| word.count_ones()).sum(),
            }
        };
        self.planes.iter().enumerate().map(|(digit, plane)| ones(&plane[words.clone()]) << digit).sum()
    }
}

/// By how much deviations of n values drawn from n are stretched to vary as those of new values do.
fn stretch(n: usize) -> f64 {
    if n > 1 { (n as f64 / (n as f64 - 1.0)).sqrt() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Interval, Protocol};
    use crate::stage::Silent;

    /// Classes of `sizes` test rows.
    fn roster(sizes: &[usize], seed: u64) -> Roster {
        let name = |class: usize, i: usize| format!("{class}-{i:03}");
        let all = |tag: &str, n: &dyn Fn(usize) -> usize| -> Vec<String> {
            (0..sizes.len()).flat_map(|class| (0..n(class)).map(move |i| name(class, i))).map(|id| format!("{tag}{id}")).collect()
        };
        let (train, test) = (all("a", &|_| 1), all("b", &|class| sizes[class]));
        let labels = train.iter().chain(&test).map(|id| (id.clone(), id[1..2].to_string())).collect();
        Roster::new(&labels, &train, &test, &Protocol::default(), seed).unwrap()
    }

    /// The runs of draws whose predictions are right where `right(draw, row)`.
    fn cell(resampling: &Resampling<'_>, draws: usize, right: impl Fn(usize, usize) -> bool) -> Vec<Right> {
        let of_draw = |draw| {
            let mut marks = resampling.none_right();
            (0..resampling.bit.len()).filter(|&row| right(draw, row)).for_each(|row| resampling.note(&mut marks, row));
            marks
        };
        (0..draws).map(of_draw).collect()
    }

    fn interval(values: &[f32]) -> Interval {
        Interval::of(values.iter().map(|v| f64::from(*v))).unwrap()
    }

    // 200,000 resamples in numpy 2.4.6 (`tests/golden/resample/make.py`): the same bootstrap written down as matrices.
    #[test]
    fn intervals_are_those_of_the_bootstrap_written_down_in_numpy() {
        let expected = [(1, 0.7860, 0.9527), (3, 0.1843, 0.9458), (8, 0.4203, 0.8015)];
        let roster = roster(&[40, 12, 3], 5);
        let resampling = Resampling::new(&roster, 20_000);
        for (draws, low, high) in expected {
            let cell = cell(&resampling, draws, |r, i| (7 * r + 3 * i * i + r * i) % 11 < 6);
            let found = interval(&resampling.values(&[cell], &Silent).unwrap()[0]);
            assert!(
                (found.low - low).abs() < 0.01 && (found.high - high).abs() < 0.01,
                "{draws} draws: {found:?}, expected {low} to {high}"
            );
        }
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let n_studies = 400;
        let covered = (0..n_studies).filter(|&study| {
            let roster = roster(&[60, 25, 10], study);
            let resampling = Resampling::new(&roster, 400);
            let mut draws = Stream::new(study, "truth").draws();
            // Each draw of labels and each image moves the chance of being right, which is .6 on average.
            let of_draw: Vec<f64> = (0..5).map(|_| draws.between(-0.1, 0.1)).collect();
            let of_row: Vec<f64> = (0..95).map(|_| draws.between(-0.3, 0.3)).collect();
            let right: Vec<Vec<bool>> = of_draw.iter().map(|d| of_row.iter().map(|r| draws.chance(0.6 + d + r)).collect()).collect();
            let found = interval(&resampling.values(&[cell(&resampling, 5, |r, i| right[r][i])], &Silent).unwrap()[0]);
            found.low <= 0.6 && 0.6 <= found.high
        });
        let share = covered.count() as f64 / n_studies as f64;
        assert!((0.92..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn images_of_one_group_are_drawn_together_and_widen_the_interval() {
        let alone = roster(&[60, 60], 1);
        // Six images of each patient, who are right or wrong together.
        let patient = alone.test.iter().enumerate().map(|(row, (id, _))| (id.clone(), format!("patient {}", row / 6))).collect();
        let grouped = alone.clone().grouped(&patient);
        let width = |roster: &Roster| {
            let resampling = Resampling::new(roster, 500);
            let found = interval(&resampling.values(&[cell(&resampling, 2, |_, row| row / 6 % 2 == 0)], &Silent).unwrap()[0]);
            found.high - found.low
        };
        assert!(width(&grouped) > 2.0 * width(&alone), "{} {}", width(&grouped), width(&alone));
        assert_eq!(alone.clone().grouped(&[("b0-000".to_string(), "only one".to_string())].into()), alone);
        assert_ne!(Resampling::new(&grouped, 500).digest(), Resampling::new(&alone, 500).digest());
    }

    /// The bone-marrow study's size: 51,417 test rows, in nine classes, 9 cells of 100 draws. Run with `--ignored` to see the time.
    #[test]
    #[ignore = "measures"]
    fn the_resamples_of_a_whole_study_take_seconds() {
        let roster = roster(&[5713; 9], 1);
        let resampling = Resampling::new(&roster, RESAMPLES);
        let cells: Vec<Vec<Right>> = (0..9).map(|n| cell(&resampling, 100, |r, i| (r * i + n) % 7 < 4)).collect();
        let start = std::time::Instant::now();
        let values = resampling.values(&cells, &Silent).unwrap();
        let line = format!("{} x {} values: {:.2} s\n", values.len(), values[0].len(), start.elapsed().as_secs_f64());
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    }

    #[test]
    fn cells_share_their_resamples_whether_they_are_judged_together_or_apart() {
        let roster = roster(&[30, 70, 65], 2);
        let resampling = Resampling::new(&roster, 50);
        let [a, b] = [6, 7].map(|share| cell(&resampling, 4, move |r, i| (r + 5 * i) % 11 < share));
        let together = resampling.values(&[a.clone(), b.clone()], &Silent).unwrap();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let apart = one.install(|| [a, b].map(|cell| resampling.values(&[cell], &Silent).unwrap().remove(0)));
        assert_eq!(together, apart);
        // What is right in one is right in the other: drawn again together, the difference never changes its sign.
        assert!(together[0].iter().zip(&together[1]).all(|(a, b)| a < b));
    }
}
