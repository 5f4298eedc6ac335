//! Who is better, and where: two methods on the same test images and draws, drawn again together.

use serde::Serialize;

use super::findings::{cells_of, headline_method, methods, of_role};
use super::study::{Role, Study, SweepResults};
use crate::classify::{Interval, Verdict};

/// The headline method against another, at each number of labels that both have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// "DINO SVM"
    pub first: String,
    pub second: String,
    pub at: Vec<Compared>,
}

/// Two methods at one number of labels per class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    pub per_class: usize,
    /// Balanced accuracy of the first less that of the second.
    pub difference: f64,
    pub interval: Interval,
    pub verdict: Verdict,
}

/// Compares the headline method with the other methods on its features, and with all other features: by the same method where they have it.
///
/// Only cells of the same resamples are compared; where there are none, there is no comparison.
pub fn comparisons(study: &Study) -> Vec<Comparison> {
    let Some((main, method)) = of_role(study, Role::Studied).next().zip(headline_method(study)) else { return Vec::new() };
    let mut others: Vec<(&SweepResults, &str)> = methods(main).into_iter().filter(|m| *m != method).map(|m| (main, m)).collect();
    for role in [Role::Studied, Role::Baseline, Role::Floor] {
        for sweep in of_role(study, role).filter(|sweep| !std::ptr::eq(*sweep, main)) {
            let all = methods(sweep);
            let same: Vec<&str> = all.iter().copied().filter(|m| *m == method).collect();
            others.extend(if same.is_empty() { all } else { same }.into_iter().map(|m| (sweep, m)));
        }
    }
    others.into_iter().filter_map(|other| compare((main, method), other)).collect()
}

fn compare(first: (&SweepResults, &str), second: (&SweepResults, &str)) -> Option<Comparison> {
    let theirs = cells_of(second.0, second.1);
    let at: Vec<Compared> = cells_of(first.0, first.1)
        .into_iter()
        .filter_map(|a| {
            let b = theirs.iter().find(|b| b.per_class == a.per_class && b.resamples == a.resamples)?;
            let interval = Interval::of_difference(&a.resampled, &b.resampled)?;
            Some(Compared { per_class: a.per_class, difference: a.mean - b.mean, interval, verdict: interval.verdict() })
        })
        .collect();
    let name = |(sweep, method): (&SweepResults, &str)| format!("{} {method}", sweep.name);
    (!at.is_empty()).then(|| Comparison { first: name(first), second: name(second), at })
}

impl Comparison {
    /// Returns `DINO SVM is better than pixels SVM at n = 1, 5; not told apart at 10`.
    pub fn sentence(&self) -> String {
        let sizes = |verdict: Verdict| {
            let n: Vec<String> = self.at.iter().filter(|c| c.verdict == verdict).map(|c| c.per_class.to_string()).collect();
            (!n.is_empty()).then(|| n.join(", "))
        };
        let versus =
            [(Verdict::Better, "is better than"), (Verdict::Worse, "is worse than"), (Verdict::NotToldApart, "is not told apart from")];
        let shorter = [(Verdict::Better, "better"), (Verdict::Worse, "worse"), (Verdict::NotToldApart, "not told apart")];
        let mut parts = Vec::new();
        for ((verdict, long), (_, short)) in versus.into_iter().zip(shorter) {
            let Some(n) = sizes(verdict) else { continue };
            parts.push(match parts.is_empty() {
                true => format!("{} {long} {} at n = {n}", self.first, self.second),
                false => format!("{short} at {n}"),
            });
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::study::Cell;
    use super::*;

    fn sweep(name: &str, role: Role, resamples: &str, means: [f64; 3]) -> SweepResults {
        let cell = |(n, mean): (usize, f64)| Cell {
            method: "SVM".into(),
            per_class: n,
            mean,
            // Images that are hard for one are hard for the other.
            resampled: (0..100).map(|k| (mean + (f64::from(k) - 49.5) / 500.0) as f32).collect(),
            resamples: resamples.into(),
            ..Cell::default()
        };
        SweepResults { name: name.into(), role, cells: [1, 5, 10].into_iter().zip(means).map(cell).collect() }
    }

    #[test]
    fn a_comparison_is_said_in_words_and_made_on_the_same_resamples_only() {
        let sweeps = vec![
            sweep("DINO", Role::Studied, "a", [0.3, 0.5, 0.6]),
            sweep("pixels", Role::Floor, "a", [0.2, 0.51, 0.6]),
            sweep("elsewhere", Role::Floor, "b", [0.2, 0.3, 0.4]),
        ];
        let found = comparisons(&Study { sweeps, ..Study::default() });
        let said: Vec<String> = found.iter().map(Comparison::sentence).collect();
        assert_eq!(said, ["DINO SVM is better than pixels SVM at n = 1; worse at 5; not told apart at 10"]);
        assert!((found[0].at[0].difference - 0.1).abs() < 1e-12 && (found[0].at[0].interval.low - 0.1).abs() < 1e-6);
    }
}
