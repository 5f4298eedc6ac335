//! Axes: which values they show and where these lie.

use crate::report::words::tick;

/// An axis with its name, its range and its ticks.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    logarithmic: bool,
    low: f64,
    high: f64,
    /// Place and text.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A logarithmic axis with a tick at each of `values`, which must be positive.
    pub fn logarithmic(label: &str, values: &[f64]) -> Self {
        let positive = || values.iter().copied().filter(|v| *v > 0.0 && v.is_finite());
        let (low, high) = range(positive()).unwrap_or((1.0, 10.0));
        // A single value stands in the middle.
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let mut ticks: Vec<f64> = positive().collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let ticks = ticks.into_iter().map(|v| (v, tick(v, 1.0))).collect();
        Self { label: label.to_string(), logarithmic: true, low, high, ticks }
    }

    /// A linear axis that holds all `values`, with about `wanted` ticks at round numbers; `floor` and `ceiling` are never passed.
    pub fn linear(label: &str, values: impl Iterator<Item = f64>, wanted: usize, floor: f64, ceiling: f64) -> Self {
        let (low, high) = range(values.filter(|v| v.is_finite())).unwrap_or((0.0, 1.0));
        let (low, high) = (low.max(floor), high.min(ceiling));
        let (low, high) = if high - low > 1e-12 * high.abs().max(1e-300) { (low, high) } else { (low - 0.5, high + 0.5) };
        let step = round_step((high - low) / wanted.max(1) as f64);
        let first = ((low / step) + 1e-9).floor();
        let last = ((high / step) - 1e-9).ceil();
        let ticks: Vec<(f64, String)> =
            (0..=(last - first) as usize).map(|i| (first + i as f64) * step).map(|v| (v, tick(v, step))).collect();
        let (low, high) = (first * step, last * step);
        Self { label: label.to_string(), logarithmic: false, low: low.max(floor), high: high.min(ceiling), ticks }
    }

    /// A linear axis of exactly the given range.
    pub fn exact(label: &str, low: f64, high: f64, wanted: usize) -> Self {
        let mut axis = Self::linear(label, [low, high].into_iter(), wanted, f64::NEG_INFINITY, f64::INFINITY);
        let high = if high > low { high } else { low + 1.0 };
        axis.ticks.retain(|(v, _)| (low..=high).contains(v));
        Self { low, high, ..axis }
    }

    /// Returns where `value` lies: 0 at the axis's beginning, 1 at its end.
    pub fn place(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.logarithmic { v.max(f64::MIN_POSITIVE).ln() } else { v };
        ((scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))).clamp(-0.5, 1.5)
    }

    /// Returns the ticks whose texts have room when they are `apart` of the axis's length from each other.
    pub fn ticks(&self, apart: f64) -> Vec<(f64, &str)> {
        let mut kept: Vec<(f64, &str)> = Vec::new();
        for (value, text) in self.ticks.iter().map(|(v, t)| (*v, t.as_str())) {
            let place = self.place(value);
            if (-1e-9..=1.0 + 1e-9).contains(&place) && kept.last().is_none_or(|(last, _)| place - self.place(*last) >= apart) {
                kept.push((value, text));
            }
        }
        kept
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |seen, v| Some(seen.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v)))))
}

/// The smallest of 1, 2, 5, 10 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= step * 0.999).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, apart: f64) -> Vec<&str> {
        axis.ticks(apart).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_around_the_values() {
        let axis = Axis::linear("", [0.21, 0.74].into_iter(), 5, 0.0, 1.0);
        assert_eq!(texts(&axis, 0.0), ["0.2", "0.4", "0.6", "0.8"]);
        let one = Axis::linear("", [3.0].into_iter(), 4, f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(texts(&one, 0.0), ["2.5", "3.0", "3.5"]);
    }

    #[test]
    fn logarithmic_ticks_stand_at_the_values_where_there_is_room() {
        let axis = Axis::logarithmic("", &[1.0, 10.0, 100.0, 11.0]);
        assert_eq!(axis.place(10.0), 0.5);
        assert_eq!(texts(&axis, 0.05), ["1", "10", "100"]);
    }
}
