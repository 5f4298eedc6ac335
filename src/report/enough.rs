//! How many labels are enough: what reaches a goal, and what twice the labels would bring.

use serde::Serialize;

use super::findings::{best_at, cells_of, headline_method, methods, of_role};
use super::study::{Cell, Role, Study, SweepResults};
use super::words::{share, signed};
use crate::classify::{Interval, PowerLaw};
use crate::diagnostic::count;

/// Numbers of labels from which on learning curves are fitted: a single image per class is a matter of luck.
const FITTED_FROM: usize = 5;
/// How far a curve may pass a point by that has no wider interval.
const NEAR: f64 = 0.01;
/// The share of resamples that must have a curve before an interval is said of them.
const MOST: f64 = 0.9;

/// A method's learning curve and where it leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    pub sweep: String,
    pub method: String,
    pub law: PowerLaw,
    /// The largest number of labels per class that was tried, and the balanced accuracy there.
    pub most: usize,
    pub there: f64,
    /// The curve at twice as many.
    pub twice: f64,
    /// Its 95 % interval, where the curve could be fitted to the resamples too.
    pub interval: Option<Interval>,
    /// The number of labels at which the curve passes by the result, and by how much, where it does.
    pub misses: Option<(usize, f64)>,
}

/// Returns the sentences on how many labels are enough: for the wanted balanced accuracy, for what the baseline reaches, and what more
/// labels would bring. None without intervals.
pub fn sentences(study: &Study) -> Vec<String> {
    let Some((sweep, method)) = of_role(study, Role::Studied).next().zip(headline_method(study)) else { return Vec::new() };
    let cells = cells_of(sweep, method);
    if cells.iter().all(|cell| cell.interval.is_none()) {
        return Vec::new();
    }
    let who = format!("{method} on {} features", sweep.name);
    let mut said: Vec<String> = study.target.into_iter().map(|target| reached(target, &who, &cells)).collect();
    said.extend(of_role(study, Role::Baseline).next().and_then(|baseline| baseline_reached(baseline, &who, &cells)));
    said.extend(outlook(sweep, method).map_or_else(|| no_curve(&who, &cells), |outlook| Some(outlook.sentence(&who))));
    said
}

/// The smallest number of labels whose whole interval reaches the target.
fn reached(target: f64, who: &str, cells: &[&Cell]) -> String {
    let goal = format!("A balanced accuracy of {}", share(target));
    let between = |(low, high): (f64, f64)| format!("{} to {}", share(low), share(high));
    let enough = cells.iter().find_map(|cell| cell.interval.filter(|interval| interval.0 >= target).map(|i| (cell, i)));
    if let Some((cell, interval)) = enough {
        return format!(
            "{goal} is reached by {who} with {} per class ({} in all): 95 % interval {}.",
            count(cell.per_class, "label"),
            crate::diagnostic::thousands(cell.labels),
            between(interval)
        );
    }
    let last = cells.iter().rev().find_map(|cell| cell.interval.map(|interval| (cell, interval)));
    last.map_or_else(String::new, |(cell, interval)| {
        format!("{goal} is not reached for certain by {who} up to n = {}: 95 % interval {} there.", cell.per_class, between(interval))
    })
}

/// The smallest number of labels that reaches what the baseline does with its most, by the interval of the difference.
fn baseline_reached(baseline: &SweepResults, who: &str, cells: &[&Cell]) -> Option<String> {
    let most = baseline.cells.iter().map(|cell| cell.per_class).max()?;
    let top = best_at(baseline, most)?;
    let difference = |cell: &Cell| {
        let paired = cell.resamples == top.resamples;
        paired.then(|| Interval::of_difference(&cell.resampled, &top.resampled)).flatten()
    };
    let goal = format!("What {} reaches with {} per class ({})", baseline.name, count(most, "label"), share(top.mean));
    let found = cells.iter().find_map(|cell| difference(cell).filter(|apart| apart.low >= 0.0).map(|apart| (cell, apart)));
    if let Some((cell, apart)) = found {
        let (low, high) = (signed(apart.low), signed(apart.high));
        return Some(format!("{goal}, {who} reaches with {} ({}; difference {low} to {high}, 95 %).", cell.per_class, share(cell.mean)));
    }
    let (cell, apart) = cells.iter().rev().find_map(|cell| difference(cell).map(|apart| (cell, apart)))?;
    let (low, high) = (signed(apart.low), signed(apart.high));
    Some(format!("{goal}, {who} does not reach for certain up to n = {} (difference {low} to {high}, 95 %).", cell.per_class))
}

fn fitted(cells: &[&Cell]) -> Vec<(f64, f64)> {
    cells.iter().filter(|cell| cell.per_class >= FITTED_FROM).map(|cell| (cell.per_class as f64, cell.mean)).collect()
}

fn no_curve(who: &str, cells: &[&Cell]) -> Option<String> {
    // With fewer points there was nothing to fit.
    (fitted(cells).len() > 3)
        .then(|| format!("The results of {who} from n = {FITTED_FROM} on are no inverse power law, so nothing is said of more labels."))
}

/// Returns the learning curves of the studied features.
pub fn outlooks(study: &Study) -> Vec<Outlook> {
    let all = of_role(study, Role::Studied).flat_map(|sweep| methods(sweep).into_iter().map(move |method| (sweep, method)));
    all.filter_map(|(sweep, method)| outlook(sweep, method)).collect()
}

/// Fits a - b n^-c to the results of a method, and to each of their resamples.
fn outlook(sweep: &SweepResults, method: &str) -> Option<Outlook> {
    let cells = cells_of(sweep, method);
    let points = fitted(&cells);
    let law = PowerLaw::fit(&points)?;
    let last = cells.last()?;
    let twice = 2.0 * last.per_class as f64;
    let used: Vec<&&Cell> = cells.iter().filter(|cell| cell.per_class >= FITTED_FROM).collect();
    let n = used.iter().map(|cell| cell.resampled.len()).min().unwrap_or(0);
    let again = |k: usize| {
        let points: Vec<(f64, f64)> = used.iter().map(|cell| (cell.per_class as f64, f64::from(cell.resampled[k]))).collect();
        PowerLaw::fit(&points).map(|law| law.at(twice))
    };
    let values: Vec<f64> = (0..n).filter_map(again).collect();
    let interval = Interval::of(values.iter().copied()).filter(|_| values.len() as f64 >= MOST * n as f64);
    let miss = |cell: &&&Cell| {
        let by = law.at(cell.per_class as f64) - cell.mean;
        let half = cell.interval.map_or(0.0, |(low, high)| (high - low) / 2.0);
        (by.abs() > half.max(NEAR)).then_some((cell.per_class, by))
    };
    let misses = used.iter().filter_map(miss).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    let (sweep, method) = (sweep.name.clone(), method.to_string());
    Some(Outlook { sweep, method, law, most: last.per_class, there: last.mean, twice: law.at(twice), interval, misses })
}

impl Outlook {
    /// Returns the curve as an equation.
    pub fn equation(&self) -> String {
        format!("{} - {} n^-{}", share(self.law.a), share(self.law.b), share(self.law.c))
    }

    fn sentence(&self, who: &str) -> String {
        if let Some((n, by)) = self.misses {
            return format!(
                "The curve {} does not fit the results of {who}: at n = {n} it is off by {}. So nothing is said of more labels.",
                self.equation(),
                signed(by)
            );
        }
        let interval = self.interval.map_or(String::new(), |i| format!(" ({} to {}, 95 %)", share(i.low), share(i.high)));
        format!(
            "Twice the labels, {} per class, would bring about {}{interval} instead of {}, by the curve {} through the results from n = {FITTED_FROM} on.",
            2 * self.most,
            share(self.twice),
            share(self.there),
            self.equation()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(name: &str, role: Role, points: &[(usize, f64)]) -> SweepResults {
        let cell = |(n, mean): &(usize, f64)| Cell {
            method: "SVM".into(),
            per_class: *n,
            labels: 3 * n,
            mean: *mean,
            interval: Some((mean - 0.02, mean + 0.02)),
            resampled: (0..100).map(|k| (mean + (f64::from(k) - 49.5) * 0.0004) as f32).collect(),
            resamples: "same".into(),
            ..Cell::default()
        };
        SweepResults { name: name.into(), role, cells: points.iter().map(cell).collect() }
    }

    const CURVE: [(usize, f64); 6] = [(1, 0.3), (5, 0.4575), (10, 0.574), (25, 0.6695), (50, 0.7139), (100, 0.7432)];

    fn study(target: f64, points: &[(usize, f64)]) -> Study {
        let sweeps = vec![sweep("DINO", Role::Studied, points), sweep("supervised", Role::Baseline, &[(10, 0.4), (100, 0.56)])];
        Study { sweeps, target: Some(target), ..Study::default() }
    }

    #[test]
    fn labels_are_enough_where_the_whole_interval_reaches_the_goal() {
        assert_eq!(
            sentences(&study(0.69, &CURVE)),
            [
                "A balanced accuracy of .69 is reached by SVM on DINO features with 50 labels per class (150 in all): 95 % interval .69 to .73.",
                "What supervised reaches with 100 labels per class (.56), SVM on DINO features reaches with 10 (.57; difference +.01 to +.01, 95 %).",
                "Twice the labels, 200 per class, would bring about .76 (.74 to .78, 95 %) instead of .74, by the curve .80 - .90 n^-.60 through the results from n = 5 on.",
            ]
        );
        assert_eq!(
            sentences(&study(0.9, &CURVE))[0],
            "A balanced accuracy of .90 is not reached for certain by SVM on DINO features up to n = 100: 95 % interval .72 to .76 there."
        );
    }

    #[test]
    fn a_curve_that_does_not_fit_is_not_followed() {
        let bent = [(5, 0.48), (10, 0.62), (25, 0.58), (50, 0.70), (100, 0.71)];
        let said = sentences(&study(0.9, &bent)).pop().unwrap();
        assert!(
            said.starts_with("The curve ") && said.ends_with("at n = 25 it is off by +.06. So nothing is said of more labels."),
            "{said}"
        );
        let falling = [(5, 0.7), (10, 0.69), (25, 0.66), (50, 0.6)];
        let said = sentences(&study(0.9, &falling)).pop().unwrap();
        assert_eq!(said, "The results of SVM on DINO features from n = 5 on are no inverse power law, so nothing is said of more labels.");
    }

    #[test]
    fn without_intervals_nothing_is_said() {
        let mut study = study(0.5, &CURVE);
        study.sweeps[0].cells.iter_mut().for_each(|cell| cell.interval = None);
        assert_eq!(sentences(&study), Vec::<String>::new());
    }
}
