//! The exponent of Yeo and Johnson's transform that is most likely.
//!
//! Few values are searched as scipy's `yeojohnson_normmax` does: the same bounds and the same bounded Brent search, so that features whose
//! likelihood is flat or monotone end at the same exponent. Of many values every eighth is asked first, and so on down, and the answer
//! followed to where the slope of all is zero: three or four passes instead of fifteen. The likelihood has one maximum (Marchand, Muzellec,
//! Beguier, Ogier du Terrail and Andreux 2022, "SecureFedYJ"), so both end at it; where it is too flat to tell, all are searched.

use super::dense::{lane_sum, vectored};
use super::exponential::exp_m1;
use super::moments::{Moments, PairMoments};
use super::yeo_johnson::power_of_log;

/// Values from which on the slope is followed.
const MANY: usize = 8192;
/// One value in so many is asked first.
const SHARE: usize = 8;
/// How far an exponent may be from the maximum: scipy's tolerance.
const TOLERANCE: f64 = 1.48e-8;
/// A curvature below this share of the mean squared log is flat: there rounding, not the values, says where the slope is zero.
const FLAT: f64 = 1e-4;
/// Steps after which a slope that has not been followed to its zero is given up.
const STEPS: usize = 8;

/// The exponent of the largest likelihood within the bounds, of values given by their logs: log(1 + |x|) with the sign of x.
pub(super) fn most_likely(logs: &[f64], bounds: (f64, f64)) -> f64 {
    let by_slope = if logs.len() < MANY { None } else { by_slope(logs, bounds) };
    by_slope.map_or_else(|| by_search(logs, bounds), |peak| peak.lambda)
}

fn by_search(logs: &[f64], (low, high): (f64, f64)) -> f64 {
    let n = logs.len() as f64;
    let signed_logs: f64 = logs.iter().sum();
    let cost = |lambda: f64| {
        let variance = Moments::of(
            logs,
            #[inline(always)]
            |log| power_of_log(log, lambda),
        )
        .variance();
        if variance < f64::MIN_POSITIVE { f64::INFINITY } else { n / 2.0 * variance.ln() - (lambda - 1.0) * signed_logs }
    };
    bounded_minimum(cost, low, high, TOLERANCE)
}

/// Where the cost of a value, less likelihood by the number of values, is smallest, and its second derivative there.
#[derive(Clone, Copy)]
struct Peak {
    lambda: f64,
    curvature: f64,
}

/// The exponent of many values; none where the likelihood is flat or has no maximum between the bounds.
fn by_slope(logs: &[f64], bounds: (f64, f64)) -> Option<Peak> {
    let few: Vec<f64> = logs.iter().step_by(SHARE).copied().collect();
    let start = if few.len() >= MANY {
        by_slope(&few, bounds)?
    } else {
        let lambda = by_search(&few, bounds);
        let (mean, apart) = (few.iter().sum::<f64>() / few.len() as f64, 1e-3 * lambda.abs().max(1.0));
        let [below, above] = [-apart, apart].map(|apart| slope(&few, mean, lambda + apart));
        Peak { lambda, curvature: (above - below) / (2.0 * apart) }
    };
    let n = logs.len() as f64;
    let [mean, square] = vectored(
        #[inline(always)]
        || [lane_sum(logs, |log| log) / n, lane_sum(logs, |log| log * log) / n],
    );
    let Peak { mut lambda, mut curvature } = start;
    let (mut here, mut last) = (slope(logs, mean, lambda), f64::INFINITY);
    for _ in 0..STEPS {
        let step = -here / curvature;
        let next = lambda + step;
        // Whatever is not a number ends here too.
        if !(curvature > FLAT * square && bounds.0 < next && next < bounds.1) {
            return None;
        }
        // The secant's error is about the product of its last two steps, in units of what an exponent is multiplied with.
        if step.abs() < TOLERANCE / 10.0 || square.sqrt() * (step * last).abs() < TOLERANCE / 10.0 {
            return Some(Peak { lambda: next, curvature });
        }
        let there = slope(logs, mean, next);
        curvature = (there - here) / step;
        (lambda, here, last) = (next, there, step);
    }
    None
}

/// The derivative of a value's cost by the exponent: cov(p, dp) / var(p) - mean log, with p the powers and dp their derivatives.
fn slope(logs: &[f64], mean: f64, lambda: f64) -> f64 {
    let of_pairs = PairMoments::of(
        logs,
        #[inline(always)]
        |logs, powers, derivatives| powers_and_derivatives(logs, lambda, powers, derivatives),
    );
    of_pairs.slope() - mean
}

/// Writes the power transforms of values given by their logs, and their derivatives by lambda.
///
/// With t = |log| and u = t times the exponent these are t h and t² g, with h = (exp(u) - 1) / u and g = (exp(u) - h) / u. In three loops,
/// each plain enough for the vector unit.
#[inline(always)]
fn powers_and_derivatives(logs: &[f64], lambda: f64, powers: &mut [f64], derivatives: &mut [f64]) {
    let (powers, derivatives) = (&mut powers[..logs.len()], &mut derivatives[..logs.len()]);
    let exponent = |log: f64| log.abs() * if log < 0.0 { 2.0 - lambda } else { lambda };
    powers.iter_mut().zip(logs).for_each(|(power, log)| *power = exp_m1(exponent(*log)));
    for ((derivative, power), log) in derivatives.iter_mut().zip(&*powers).zip(logs) {
        let u = exponent(*log);
        // Near zero by its series, which is zero steps from it at zero itself.
        let near = 0.5 + u * (1.0 / 3.0 + u * (1.0 / 8.0 + u * (1.0 / 30.0 + u * (1.0 / 144.0 + u * (1.0 / 840.0 + u / 5760.0)))));
        let far = ((*power + 1.0) * u - *power) / (u * u);
        *derivative = log * log * if u.abs() < 0.05 { near } else { far };
    }
    for (power, log) in powers.iter_mut().zip(logs) {
        let u = exponent(*log);
        let h = if u == 0.0 { 1.0 } else { *power / u };
        *power = log * h;
    }
}

/// scipy's bounds: values 20 times as large as any seen can still be transformed, in half the exponent range.
pub(super) fn bounds(x: &[f64]) -> (f64, f64) {
    let largest = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let log = (20.0 * largest).ln_1p();
    let low = (f64::MIN_POSITIVE.ln() - f64::EPSILON.ln()) / 2.0 / log;
    let high = (f64::MAX.ln() + f64::EPSILON.ln()) / 2.0 / log;
    if x.iter().all(|v| *v < 0.0) {
        (2.0 - high, 2.0 - low)
    } else if x.iter().any(|v| *v < 0.0) {
        ((2.0 - high).max(low), (2.0 - low).min(high))
    } else {
        (low, high)
    }
}

/// Brent's bounded minimisation, step by step as scipy's `fminbound` (Forsythe, Malcolm and Moler 1977, `FMIN`).
fn bounded_minimum(mut f: impl FnMut(f64) -> f64, low: f64, high: f64, tolerance: f64) -> f64 {
    let root_epsilon = 2.2e-16f64.sqrt();
    let golden = 0.5 * (3.0 - 5f64.sqrt());
    let (mut a, mut b) = (low, high);
    let mut second = a + golden * (b - a);
    let (mut third, mut best) = (second, second);
    let (mut step, mut previous) = (0.0f64, 0.0f64);
    let mut f_best = f(best);
    let (mut f_second, mut f_third) = (f_best, f_best);
    let mut middle = 0.5 * (a + b);
    let mut tol1 = root_epsilon * best.abs() + tolerance / 3.0;
    let mut tol2 = 2.0 * tol1;
    for _ in 1..500 {
        if (best - middle).abs() <= tol2 - 0.5 * (b - a) {
            break;
        }
        let mut by_golden = true;
        if previous.abs() > tol1 {
            let r = (best - second) * (f_best - f_third);
            let mut q = (best - third) * (f_best - f_second);
            let mut p = (best - third) * q - (best - second) * r;
            q = 2.0 * (q - r);
            if q > 0.0 {
                p = -p;
            }
            q = q.abs();
            let before = previous;
            previous = step;
            if p.abs() < (0.5 * q * before).abs() && p > q * (a - best) && p < q * (b - best) {
                by_golden = false;
                step = p / q;
                let x = best + step;
                if x - a < tol2 || b - x < tol2 {
                    step = tol1 * if middle - best >= 0.0 { 1.0 } else { -1.0 };
                }
            }
        }
        if by_golden {
            previous = if best >= middle { a - best } else { b - best };
            step = golden * previous;
        }
        let x = best + if step >= 0.0 { 1.0 } else { -1.0 } * step.abs().max(tol1);
        let f_x = f(x);
        if f_x <= f_best {
            if x >= best {
                a = best
            } else {
                b = best
            }
            (third, f_third) = (second, f_second);
            (second, f_second) = (best, f_best);
            (best, f_best) = (x, f_x);
        } else {
            if x < best {
                a = x
            } else {
                b = x
            }
            if f_x <= f_second || second == best {
                (third, f_third) = (second, f_second);
                (second, f_second) = (x, f_x);
            } else if f_x <= f_third || third == best || third == second {
                (third, f_third) = (x, f_x);
            }
        }
        middle = 0.5 * (a + b);
        tol1 = root_epsilon * best.abs() + tolerance / 3.0;
        tol2 = 2.0 * tol1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn logs(n: usize, value: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut draws = Stream::new(3, "likelihood").draws();
        let of = |x: f64| x.abs().ln_1p().copysign(x);
        (0..n).map(|_| of(value(draws.normal()))).collect()
    }

    const WIDE: (f64, f64) = (-60.0, 60.0);

    #[test]
    fn the_slope_is_the_derivative_of_the_cost() {
        let logs = logs(3000, |z| 0.4 + z);
        let (n, mean) = (3000.0, logs.iter().sum::<f64>() / 3000.0);
        let cost = |lambda: f64| {
            let powers: Vec<f64> = logs.iter().map(|log| power_of_log(*log, lambda)).collect();
            let middle = powers.iter().sum::<f64>() / n;
            (powers.iter().map(|p| (p - middle).powi(2)).sum::<f64>() / n).ln() / 2.0 - (lambda - 1.0) * mean
        };
        for lambda in [-1.3, -1e-4, 0.0, 1e-3, 0.7, 2.0, 4.1] {
            let expected = (cost(lambda + 1e-5) - cost(lambda - 1e-5)) / 2e-5;
            let found = slope(&logs, mean, lambda);
            assert!((found - expected).abs() < 1e-8, "{lambda}: {found} {expected}");
        }
    }

    #[test]
    fn the_zero_of_the_slope_is_where_the_search_ends() {
        let values: [fn(f64) -> f64; 8] = [
            |z| z,
            |z| z.exp(),
            |z| -z.exp(),
            |z| 3.0 + z,
            |z| z.sinh() * 2.0,
            |z| 1e-3 * (z + 0.3 * z * z),
            |z| if z < 0.2 { z - 2.0 } else { z * 0.1 },
            |z| (z * 2.0).round(),
        ];
        for (at, value) in values.into_iter().enumerate() {
            for n in [MANY, 70_001] {
                let logs = logs(n, value);
                let bounds = if at == 5 { (-9e3, 9e3) } else { WIDE };
                let found = by_slope(&logs, bounds).expect("a slope with a zero").lambda;
                let searched = by_search(&logs, bounds);
                assert!((found - searched).abs() < 1e-7 * searched.abs().max(1.0), "{at} of {n}: {found} {searched}");
                assert_eq!(most_likely(&logs, bounds), found);
            }
        }
    }

    #[test]
    fn what_has_no_zero_or_is_flat_is_searched() {
        // Far from zero for its spread, best beyond the bounds, all but the sampled rows equal, no number at all.
        let mut few_differ = vec![0.5; MANY];
        few_differ[3] = 0.75;
        let cases = [(logs(MANY, |z| 1e5 + z), WIDE), (logs(MANY, |z| z.exp()), (1.0, 3.0)), (few_differ, WIDE), (vec![0.0; MANY], WIDE)];
        for (at, (logs, bounds)) in cases.into_iter().enumerate() {
            assert!(by_slope(&logs, bounds).is_none(), "{at}");
            assert_eq!(most_likely(&logs, bounds), by_search(&logs, bounds), "{at}");
        }
    }
}
