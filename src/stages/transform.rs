//! `Transform`: features -> PCA and power transform, fitted on the train rows and applied to all; or left to be fitted on each labelled subset.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::feature_set::{FeatureSet, MAIN};
use super::io;
use super::kinds::{FEATURES, IMAGES, TRANSFORM};
use crate::classify::{FittedTransform, TransformStep};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::stage::{Complaint, Cores, Device, Input, Io, Needs, Output, Stage};

/// On which rows a transform is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Once, on the rows that `fit_on` names: the paper's words ("the training image set").
    Train,
    /// Anew on the labelled rows of each draw, by `Sweep`: the paper's published code. `fit_on` is not read.
    PerSubset,
}

crate::params! {
    /// What is done to features before classifiers see them.
    pub struct Transform {
        pub features: Ref = Ref::default(),
        /// The images whose features decide the transform: `"split.train"`.
        pub fit_on: Ref = Ref::default(),
        /// Applied in this order.
        pub steps: Vec<TransformStep> = vec![TransformStep::Pca, TransformStep::YeoJohnson],
        pub scope: Scope = Scope::Train,
        /// A transform that was fitted elsewhere, to be applied as it is: for further test sets. Nothing else is then read but the features.
        pub fitted: Ref = Ref::default(),
    }
}

impl Stage for Transform {
    fn kind(&self) -> &'static str {
        "Transform"
    }

    fn version(&self) -> u32 {
        6
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let twice =
            !self.fitted.is_empty() && (self.scope != Scope::Train || !self.fit_on.is_empty() || self.steps != Self::default().steps);
        let message = "must stand alone: steps, scope and rows are those of the transform that it names".to_string();
        let twice = twice.then(|| Complaint { field: "fitted".into(), message });
        let steps =
            TransformStep::check(&self.steps, "steps").into_iter().map(|(field, message)| Complaint { field: field.into(), message });
        twice.into_iter().chain(steps).collect()
    }

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::required("features", &self.features, FEATURES)];
        if !self.fitted.is_empty() {
            inputs.push(Input::required("fitted", &self.fitted, TRANSFORM));
        } else if self.scope == Scope::Train {
            inputs.push(Input::required("fit_on", &self.fit_on, IMAGES));
        }
        inputs
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
        let mut set = FeatureSet::from_bytes(&io::bytes(io, "features")?)?;
        if io.optional("fitted").is_some() {
            let fitted = FittedTransform::from_bytes(&io::bytes(io, "fitted")?)?;
            // The floors have fits of their own, which nobody keeps.
            set.tables.retain(|(name, _)| name == MAIN);
            for (_, table) in &mut set.tables {
                *table = fitted.apply(table)?;
            }
            io::write_bytes(io, "fitted", &fitted.to_bytes()?)?;
            return set.write(io);
        }
        if self.scope == Scope::PerSubset {
            // Nothing is fitted yet, and what goes out as fitted changes nothing.
            let dim = set.tables.first().map_or(0, |(_, table)| table.dim());
            io::write_bytes(io, "fitted", &FittedTransform::none(dim).to_bytes()?)?;
            set.pending.extend(&self.steps);
            return set.write(io);
        }
        if !set.pending.is_empty() {
            return Err(Failure::new(
                "these features are to be transformed on each labelled subset, and no fit on train rows can come before that",
            )
            .help("say `scope: PerSubset` here too, or leave it out in the transform before"));
        }
        let ids: Vec<String> = io::images(io, "fit_on")?.rows().iter().map(|row| row.id.to_string()).collect();
        let mut tables = Vec::new();
        // The floors are transformed by fits of their own: they stand in for the network, not for its transform.
        for (name, table) in set.tables {
            let (fitted, table) = FittedTransform::fit(&table, &ids, &self.steps)?;
            if name == MAIN {
                io::write_bytes(io, "fitted", &fitted.to_bytes()?)?;
            }
            tables.push((name, table));
        }
        FeatureSet { of: set.of, tables, pending: Vec::new() }.write(io)
    }
}
