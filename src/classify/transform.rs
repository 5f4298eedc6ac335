//! A chain of transform steps: fitted once on some rows, applied to any.
//!
//! The file form is safetensors: the metadata entry `steps` names the steps, tensors are `{place}.mean`, `{place}.components` and so on, f64.

use std::collections::HashMap;

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, ShapeError};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::features::Features;
use super::params::TransformStep;
use super::pca::{FEW, Pca};
use super::yeo_johnson::YeoJohnson;
use crate::diagnostic::{Context, Failure, count};

/// One fitted step.
#[derive(Clone, Debug, PartialEq)]
pub enum FittedStep {
    Pca(Pca),
    YeoJohnson(YeoJohnson),
    /// Holds how many numbers a row has.
    UnitLength(usize),
}

/// A fitted chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedTransform {
    /// Numbers per row that go in.
    dim: usize,
    steps: Vec<FittedStep>,
}

impl FittedTransform {
    /// Fits the steps one after another, each on what the ones before make of the rows named by `ids`, and applies them to all rows.
    ///
    /// # Errors
    /// When an id has no features, when there are too few rows, a decomposition fails, or a result is not finite.
    pub fn fit(features: &Features, ids: &[String], steps: &[TransformStep]) -> Result<(Self, Features), Failure> {
        let place = features.rows_by_id();
        let chosen = ids
            .iter()
            .map(|id| {
                place.get(id.as_str()).copied().ok_or_else(|| Failure::new(format!("`{id}` has no features to fit the transform on")))
            })
            .collect::<Result<Vec<usize>, Failure>>()?;
        if chosen.is_empty() {
            return Err(Failure::new("a transform needs at least 1 row to fit on, got 0"));
        }
        let mut x = Array2::zeros((chosen.len(), features.dim()));
        let from = |(mut to, row): (ArrayViewMut1<'_, f64>, &usize)| {
            to.iter_mut().zip(features.values.row(*row)).for_each(|(to, v)| *to = f64::from(*v));
        };
        x.rows_mut().into_iter().zip(&chosen).for_each(from);
        let (fitted, x) = Self::on(x, steps)?;
        // What is fitted on is done already.
        let mut is_left = vec![true; features.ids.len()];
        chosen.iter().for_each(|row| is_left[*row] = false);
        let left: Vec<usize> = (0..is_left.len()).filter(|row| is_left[*row]).collect();
        let others = fitted.apply_to(features.values.select(Axis(0), &left).view())?;
        let mut values = Array2::zeros((features.ids.len(), x.ncols()));
        chosen.iter().zip(x.rows()).for_each(|(row, from)| values.row_mut(*row).zip_mut_with(&from, |to, v| *to = *v as f32));
        left.iter().zip(others.rows()).for_each(|(row, from)| values.row_mut(*row).assign(&from));
        Ok((fitted, Features::new(features.ids.clone(), values).map_err(|f| f.while_doing("after the transform"))?))
    }

    /// Fits the steps on all of these rows, and returns what they make of them.
    ///
    /// # Errors
    /// When there are too few rows, or a decomposition fails.
    pub fn on(mut x: Array2<f64>, steps: &[TransformStep]) -> Result<(Self, Array2<f64>), Failure> {
        let axes = |x: &Array2<f64>| Pca::fit(x.view()).map_err(|f| f.while_doing("cannot fit the transform"));
        let dim = x.ncols();
        let mut fitted = Vec::with_capacity(steps.len());
        for step in steps {
            let step = match step {
                TransformStep::Pca => FittedStep::Pca(axes(&x)?),
                TransformStep::PcaTo(most) => FittedStep::Pca(axes(&x)?.to(*most)),
                TransformStep::YeoJohnson => FittedStep::YeoJohnson(YeoJohnson::fit(x.view())),
                TransformStep::UnitLength => FittedStep::UnitLength(x.ncols()),
            };
            x = step.apply(x).doing(|| "cannot fit the transform")?;
            fitted.push(step);
        }
        Ok((Self { dim, steps: fitted }, x))
    }

    /// Returns a transform of rows of `dim` numbers that leaves them as they are.
    pub fn none(dim: usize) -> Self {
        Self { dim, steps: Vec::new() }
    }

    /// Returns the chain of this and of what was fitted on what this makes of the same rows.
    pub(super) fn then(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        self
    }

    /// Returns the fitted steps in order.
    pub fn steps(&self) -> &[FittedStep] {
        &self.steps
    }

    /// Transforms all rows; each by itself, so one more row changes no other.
    ///
    /// # Errors
    /// When the rows have another number of dimensions than those it was fitted on, or a result is not finite.
    pub fn apply(&self, features: &Features) -> Result<Features, Failure> {
        Features::new(features.ids.clone(), self.apply_to(features.values.view())?).map_err(|f| f.while_doing("after the transform"))
    }

    /// Transforms rows that have no names, as [`FittedTransform::apply`] does.
    ///
    /// # Errors
    /// When the rows have another number of dimensions than those it was fitted on.
    pub fn apply_to(&self, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>, Failure> {
        let width = self.steps.iter().fold(self.dim, |width, step| step.width().unwrap_or(width));
        let mut values = Array2::zeros((rows.nrows(), width));
        self.apply_into(rows, values.view_mut())?;
        Ok(values)
    }

    /// Transforms rows as [`FittedTransform::apply_to`], into a place that is there.
    pub(super) fn apply_into(&self, rows: ArrayView2<'_, f32>, mut to: ArrayViewMut2<'_, f32>) -> Result<(), Failure> {
        if rows.ncols() != self.dim {
            return Err(Failure::new(format!("features have {}, expected {} as in the fit", count(rows.ncols(), "dimension"), self.dim)));
        }
        // A few rows at a time go through all steps, so that their copies in f64 stay small.
        let (from, to) = (rows.axis_chunks_iter(Axis(0), FEW), to.axis_chunks_iter_mut(Axis(0), FEW));
        from.into_par_iter().zip(to.into_par_iter()).for_each(|(from, mut to)| {
            let wide = from.iter().map(|v| f64::from(*v)).collect();
            let done = self.steps.iter().fold(wide, |x: Vec<f64>, step| step.apply_rows(x));
            to.iter_mut().zip(done).for_each(|(to, v)| *to = v as f32);
        });
        Ok(())
    }

    /// Returns the file form: the same transform always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut names = Vec::new();
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut add = |at: usize, name: &str, shape: Vec<usize>, values: &mut dyn Iterator<Item = &f64>| {
            tensors.push((format!("{at}.{name}"), shape, values.flat_map(|v| v.to_le_bytes()).collect()));
        };
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                FittedStep::Pca(p) => {
                    names.push(TransformStep::Pca);
                    add(at, "mean", p.mean.shape().to_vec(), &mut p.mean.iter());
                    add(at, "components", p.components.shape().to_vec(), &mut p.components.iter());
                    add(at, "variance", p.variance.shape().to_vec(), &mut p.variance.iter());
                }
                FittedStep::YeoJohnson(y) => {
                    names.push(TransformStep::YeoJohnson);
                    add(at, "lambdas", y.lambdas.shape().to_vec(), &mut y.lambdas.iter());
                    add(at, "mean", y.mean.shape().to_vec(), &mut y.mean.iter());
                    add(at, "scale", y.scale.shape().to_vec(), &mut y.scale.iter());
                }
                FittedStep::UnitLength(_) => names.push(TransformStep::UnitLength),
            }
        }
        let steps = serde_json::json!({ "dim": self.dim, "steps": names }).to_string();
        let views = tensors
            .iter()
            .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F64, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .doing(|| "cannot write the transform")?;
        safetensors::serialize(views, Some(HashMap::from([("transform".to_string(), steps)]))).doing(|| "cannot write the transform")
    }

    /// Reads the file form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        #[derive(serde::Deserialize)]
        struct Header {
            dim: usize,
            steps: Vec<TransformStep>,
        }
        let (_, metadata) = SafeTensors::read_metadata(bytes).doing(|| "cannot read the transform")?;
        let tensors = SafeTensors::deserialize(bytes).doing(|| "cannot read the transform")?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get("transform"));
        let header = header.ok_or_else(|| Failure::new("the file holds no transform: the metadata entry `transform` is missing"))?;
        let Header { dim, steps } = serde_json::from_str(header).doing(|| "cannot read the steps of the transform")?;
        let vector = |at: usize, name: &str| read(&tensors, &format!("{at}.{name}")).map(Array1::from_iter);
        let mut width = dim;
        let mut fitted = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let (step, lengths) = match step {
                TransformStep::Pca | TransformStep::PcaTo(_) => {
                    let (mean, variance) = (vector(at, "mean")?, vector(at, "variance")?);
                    let shape = (variance.len(), width);
                    let components = Array2::from_shape_vec(shape, read(&tensors, &format!("{at}.components"))?);
                    let components = components.doing(|| format!("`{at}.components` does not fit"))?;
                    let lengths = vec![mean.len()];
                    (FittedStep::Pca(Pca { mean, components, variance }), lengths)
                }
                TransformStep::YeoJohnson => {
                    let step = YeoJohnson { lambdas: vector(at, "lambdas")?, mean: vector(at, "mean")?, scale: vector(at, "scale")? };
                    let lengths = vec![step.lambdas.len(), step.mean.len(), step.scale.len()];
                    (FittedStep::YeoJohnson(step), lengths)
                }
                TransformStep::UnitLength => (FittedStep::UnitLength(width), Vec::new()),
            };
            if lengths.iter().any(|&length| length != width) {
                return Err(Failure::new(format!("step {at} of the transform has lengths {lengths:?}, expected {width}")));
            }
            if let FittedStep::Pca(pca) = &step {
                width = pca.variance.len();
            }
            fitted.push(step);
        }
        Ok(Self { dim, steps: fitted })
    }
}

impl FittedStep {
    /// Numbers per row that come out; none where it is as many as go in.
    fn width(&self) -> Option<usize> {
        match self {
            Self::Pca(pca) => Some(pca.variance.len()),
            Self::YeoJohnson(_) | Self::UnitLength(_) => None,
        }
    }

    /// Transforms up to [`FEW`] rows that follow one another, on this thread.
    fn apply_rows(&self, mut x: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Pca(pca) => pca.apply_rows(x),
            Self::YeoJohnson(power) => {
                power.apply_rows(&mut x);
                x
            }
            Self::UnitLength(dim) => {
                x.chunks_exact_mut(*dim.max(&1)).for_each(to_unit_length);
                x
            }
        }
    }

    /// Transforms all rows, in their place if as many numbers come out as go in.
    fn apply(&self, x: Array2<f64>) -> Result<Array2<f64>, ShapeError> {
        let (n, dim) = x.dim();
        let width = self.width().unwrap_or(dim);
        let (mut x, _) = x.into_raw_vec_and_offset();
        let few = FEW * dim.max(1);
        if width == dim {
            x.par_chunks_mut(few).for_each(|rows| rows.copy_from_slice(&self.apply_rows(rows.to_vec())));
        } else {
            x = x.par_chunks(few).flat_map_iter(|rows| self.apply_rows(rows.to_vec())).collect();
        }
        Array2::from_shape_vec((n, width), x)
    }
}

/// Divides a row by its length; a row of zeros has no direction and stays.
fn to_unit_length(row: &mut [f64]) {
    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|v| *v /= length);
    }
}

fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>, Failure> {
    let view = tensors.tensor(name).doing(|| format!("the transform has no tensor `{name}`"))?;
    if view.dtype() != Dtype::F64 {
        return Err(Failure::new(format!("`{name}` holds {:?}, expected F64", view.dtype())));
    }
    Ok(view.data().chunks_exact(8).map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        let values = Array2::from_shape_fn((30, 4), |(i, j)| ((i * 3 + j * 5) as f32 * 0.4).sin() * (1 + j) as f32);
        Features::new((0..30).map(|i| format!("{i:02}")).collect(), values).unwrap()
    }

    #[test]
    fn a_fitted_chain_survives_its_file() {
        let features = features();
        let (fitted, _) = FittedTransform::fit(&features, &features.ids[..20], &[TransformStep::Pca, TransformStep::YeoJohnson]).unwrap();
        let bytes = fitted.to_bytes().unwrap();
        assert_eq!(FittedTransform::from_bytes(&bytes).unwrap(), fitted);
        assert_eq!(fitted.to_bytes().unwrap(), bytes);
        assert!(FittedTransform::from_bytes(&features.to_bytes().unwrap()).is_err());
    }

    #[test]
    fn a_row_is_transformed_by_itself_whether_it_was_fitted_on_or_not() {
        let features = features();
        let steps = [TransformStep::YeoJohnson, TransformStep::Pca];
        let (fitted, all) = FittedTransform::fit(&features, &features.ids[3..20], &steps).unwrap();
        assert_eq!(fitted.apply(&features).unwrap(), all);
        for row in [0, 7, 29] {
            let one = Features::new(vec!["one".into()], features.values.slice(ndarray::s![row..row + 1, ..]).to_owned()).unwrap();
            assert_eq!(fitted.apply(&one).unwrap().values.row(0), all.values.row(row));
        }
    }

    #[test]
    fn fewer_axes_are_the_first_of_all_axes() {
        let features = features();
        let fit = |steps: &[TransformStep]| FittedTransform::fit(&features, &features.ids[..20], steps).unwrap();
        let ((_, all), (two, few)) = (fit(&[TransformStep::Pca]), fit(&[TransformStep::PcaTo(2)]));
        assert_eq!(few.values, all.values.slice(ndarray::s![.., ..2]));
        assert_eq!(FittedTransform::from_bytes(&two.to_bytes().unwrap()).unwrap(), two);
        assert_eq!(fit(&[TransformStep::PcaTo(9)]).1, all, "four axes are all there are");
    }

    #[test]
    fn rows_of_unit_length_keep_their_direction_and_zeros_stay() {
        let values = ndarray::arr2(&[[3.0, 4.0], [0.0, 0.0], [-5.0, 0.0]]);
        let features = Features::new(["a", "b", "c"].map(String::from).to_vec(), values).unwrap();
        let (fitted, all) = FittedTransform::fit(&features, &features.ids[..1], &[TransformStep::UnitLength]).unwrap();
        // sklearn.preprocessing.normalize
        assert_eq!(all.values, ndarray::arr2(&[[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]));
        assert_eq!(FittedTransform::from_bytes(&fitted.to_bytes().unwrap()).unwrap(), fitted);
    }

    #[test]
    fn an_unknown_id_is_named() {
        let failure = FittedTransform::fit(&features(), &["31".to_string()], &[]).unwrap_err();
        assert_eq!(failure.message(), "`31` has no features to fit the transform on");
    }
}
