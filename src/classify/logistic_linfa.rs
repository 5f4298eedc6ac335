//! Logistic regression by linfa-logistic, for comparison. It knows no class weights.

use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, Array2, Axis};

use super::dense::Real;
use super::groups::ClassRows;
use super::logistic::FittedLogistic;
use super::params::{LogisticRegression, refuse};
use super::products::Points;
use crate::diagnostic::{Context, Failure};

/// Fits with linfa's solver; the objective is the same as ours.
///
/// # Errors
/// With balanced class weights, which linfa would ignore, and when linfa's search fails.
pub(crate) fn fit<F: Real>(points: &Points<F>, groups: &[ClassRows], how: &LogisticRegression) -> Result<FittedLogistic, Failure> {
    refuse("logistic regression", &how.check())?;
    let classes: Vec<usize> = groups.iter().map(|g| g.class).collect();
    let chosen: Vec<usize> = groups.iter().flat_map(|g| g.points.iter().copied()).collect();
    let x = Array2::from_shape_fn((chosen.len(), points.dim()), |(i, d)| points.row(chosen[i])[d].wide());
    let y: Array1<usize> = groups.iter().flat_map(|g| g.points.iter().map(|_| g.class)).collect();
    let data = DatasetBase::new(x, y);
    let (alpha, iterations) = (1.0 / how.c, how.max_iter as u64);
    if classes.len() == 2 {
        let fitted = linfa_logistic::LogisticRegression::default()
            .alpha(alpha)
            .max_iterations(iterations)
            .gradient_tolerance(how.tolerance)
            .fit(&data)
            .doing(|| "linfa-logistic")?;
        // linfa chooses itself which class is positive.
        let sign = if fitted.labels().pos.class == classes[1] { 1.0 } else { -1.0 };
        let coefficients = fitted.params().mapv(|w| sign * w).insert_axis(Axis(0));
        return Ok(FittedLogistic::from_parts(classes, coefficients, Array1::from_elem(1, sign * fitted.intercept())));
    }
    let fitted = linfa_logistic::MultiLogisticRegression::default()
        .alpha(alpha)
        .max_iterations(iterations)
        .gradient_tolerance(how.tolerance)
        .fit(&data)
        .doing(|| "linfa-logistic")?;
    // linfa's parameters are dimensions × classes, in its own order of classes.
    let place: Vec<usize> = classes.iter().filter_map(|c| fitted.classes().iter().position(|known| known == c)).collect();
    let coefficients = fitted.params().select(Axis(1), &place).reversed_axes();
    Ok(FittedLogistic::from_parts(classes, coefficients, fitted.intercept().select(Axis(0), &place)))
}
