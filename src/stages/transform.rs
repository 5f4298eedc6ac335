//! `Transform`: features -> PCA and power transform, fitted on the train rows, applied to all.

use serde_json::Value;

use super::feature_set::{FeatureSet, MAIN};
use super::io;
use super::kinds::{FEATURES, IMAGES, TRANSFORM};
use crate::classify::{FittedTransform, TransformStep};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::stage::{Cores, Device, Input, Io, Needs, Output, Stage};

crate::params! {
    /// What is done to features before classifiers see them.
    pub struct Transform {
        pub features: Ref = Ref::default(),
        /// The images whose features decide the transform: `"split.train"`.
        pub fit_on: Ref = Ref::default(),
        /// Applied in this order.
        pub steps: Vec<TransformStep> = vec![TransformStep::Pca, TransformStep::YeoJohnson],
    }
}

impl Stage for Transform {
    fn kind(&self) -> &'static str {
        "Transform"
    }

    fn version(&self) -> u32 {
        4
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::required("features", &self.features, FEATURES), Input::required("fit_on", &self.fit_on, IMAGES)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("features", FEATURES), Output::file("fitted", TRANSFORM)]
    }

    fn needs(&self, _: &Device) -> Needs {
        Needs { cores: Cores::All, gpus: 0 }
    }

    fn tolerance(&self, _: &str) -> Option<f64> {
        Some(0.02)
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let set = FeatureSet::from_bytes(&io::bytes(io, "features")?)?;
        let ids: Vec<String> = io::images(io, "fit_on")?.rows().iter().map(|row| row.id.to_string()).collect();
        let mut tables = Vec::new();
        // The floors are transformed by fits of their own: they stand in for the network, not for its transform.
        for (name, table) in set.tables {
            let fitted = FittedTransform::fit(&table, &ids, &self.steps)?;
            if name == MAIN {
                io::write_bytes(io, "fitted", &fitted.to_bytes()?)?;
            }
            tables.push((name, fitted.apply(&table)?));
        }
        FeatureSet { of: set.of, tables }.write(io)
    }
}
