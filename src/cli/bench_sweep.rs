//! `flow bench sweep`: the few-label sweep on tables of features, with the fields that a script for scikit-learn prints.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::bench::{on_threads, peak_mib, program, some};
use super::exit::Stop;
use crate::classify::{Classifier, Knn, LabelledRows, LogisticRegression, Stop as Stopping, Svm, SweepBench, SweepTimes};
use crate::data::{read_rows, read_whole_numbers};
use crate::diagnostic::Failure;
use crate::kernel::Spent;

/// A classifier with the parameters of the peer.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Named {
    Svm,
    /// Stops where the peer does.
    Lr,
    /// Stops where a `Sweep` does by default, far later.
    LrTight,
    Knn,
}

/// Times that come before those of classifiers: of the transform and of joining.
const BEFORE_CLASSIFIERS: usize = 3;

#[derive(Args)]
pub(super) struct SweepArguments {
    /// Holds train_x.npy, train_y.npy, test_x.npy and test_y.npy: rows of floats, and a whole number for each row
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Labelled rows per class
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "10,100", value_parser = some)]
    pub n: Vec<usize>,
    /// Draws of the labelled rows
    #[arg(long, value_name = "N", default_value = "1", value_parser = some)]
    pub repeats: usize,
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', default_value = "svm,lr,knn")]
    pub classifiers: Vec<Named>,
    /// Test rows that are predicted, from the first [default: all]
    #[arg(long, value_name = "N", value_parser = some)]
    pub test_rows: Option<usize>,
    #[arg(long, value_name = "N", default_value = "2", value_parser = some)]
    pub threads: usize,
}

/// Times the sweep. Rows are drawn by flow, so accuracies agree with another program's only as far as other draws do.
pub(super) fn sweep(arguments: &SweepArguments) -> Result<Value, Stop> {
    let SweepArguments { folder, n, repeats, classifiers, test_rows, threads } = arguments;
    let train = labelled(folder, "train")?;
    let mut test = labelled(folder, "test")?;
    if let Some(most) = *test_rows
        && most < test.classes.len()
    {
        test.rows = test.rows.slice(ndarray::s![..most, ..]).to_owned();
        test.classes.truncate(most);
    }
    let bench =
        SweepBench { classifiers: classifiers.iter().map(|named| named.classifier()).collect(), per_class: n.clone(), repeats: *repeats };
    let SweepTimes { spent, steps_fit, together, cells } = on_threads(*threads, || bench.run(train, test))?;
    let cpu = |spent: &[(String, Spent)]| spent.iter().map(|(_, took)| took.cpu).sum::<f64>();
    let cells: Vec<Value> = cells
        .iter()
        .flat_map(|(name, cell)| {
            cell.runs.iter().map(move |run| {
                json!({
                    "classifier": name,
                    "n": cell.per_class,
                    "repeat": run.repeat,
                    "balanced_accuracy": run.confusion.balanced_accuracy(),
                    "rows_used": run.rows_used,
                    "converged": run.converged,
                })
            })
        })
        .collect();
    Ok(json!({
        "job": "sweep",
        "peer": program(),
        "wall_cpu_seconds": spent.iter().map(|(name, took)| (name.clone(), pair(took))).collect::<Map<String, Value>>(),
        "total_cpu": cpu(&spent),
        "cells": cells,
        "pca_fit": pair(&steps_fit[0]),
        "yeo_johnson_fit": pair(&steps_fit[1]),
        "together_fit": pair(&together[0]),
        "together_predict": pair(&together[1]),
        "total_cpu_together": cpu(&spent[..BEFORE_CLASSIFIERS]) + together[0].cpu + together[1].cpu,
        "threads": threads,
        "peak_mib": peak_mib(),
    }))
}

fn pair(took: &Spent) -> Value {
    json!([took.wall, took.cpu])
}

fn labelled(folder: &Path, part: &str) -> Result<LabelledRows, Failure> {
    Ok(LabelledRows {
        rows: read_rows(&folder.join(format!("{part}_x.npy")))?,
        classes: read_whole_numbers(&folder.join(format!("{part}_y.npy")))?,
    })
}

impl Named {
    /// The name that its fields begin with, and the classifier with the peer's defaults.
    fn classifier(self) -> (String, Classifier) {
        let (name, classifier) = match self {
            Self::Svm => ("svm", Classifier::Svm(Svm::default())),
            Self::Lr => {
                ("lr", Classifier::LogisticRegression(LogisticRegression { stop: Stopping::Mean, ..LogisticRegression::default() }))
            }
            Self::LrTight => ("lr_tight", Classifier::LogisticRegression(LogisticRegression::default())),
            Self::Knn => ("knn", Classifier::Knn(Knn::default())),
        };
        (name.to_string(), classifier)
    }
}
