//! Holds areas under ROC curves and Platt's probabilities against scikit-learn's numbers: `tests/golden/sklearn/make_scores.py` made them.

use std::path::PathBuf;

use flow::classify::{
    Classifier, Features, FittedSvm, Knn, LogisticRegression, Protocol, RocAuc, Sigmoid, Study, Svm, TransformStep, couple, sweep,
};
use flow::stage::Silent;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, Array2};
use serde_json::Value;

fn golden() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sklearn/scores.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn close(own: Option<f64>, theirs: &Value, what: &str) {
    match (own, theirs.as_f64()) {
        (Some(own), Some(theirs)) => assert!((own - theirs).abs() < 1e-12, "{what}: {own}, scikit-learn {theirs}"),
        (own, theirs) => assert_eq!(own, theirs, "{what}"),
    }
}

// roc_auc_score(y == c, scores[:, c]); roc_auc_score(y, scores, multi_class="ovr", labels=classes), NaN where a class has no rows
#[test]
fn areas_under_roc_curves_are_scikit_learns_with_ties_and_without_what_is_not_there() {
    let golden = golden();
    let cases = golden["roc_auc"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let rows: Vec<Vec<f64>> = case["scores"].as_array().unwrap().iter().map(numbers).collect();
        let [truth, learnt] = ["truth", "learnt"].map(|key| serde_json::from_value::<Vec<usize>>(case[key].clone()).unwrap());
        let classes = rows[0].len();
        let column = |class: usize| learnt.contains(&class).then(|| rows.iter().map(|row| row[class]).collect());
        let areas = RocAuc::of(classes, &truth, column);
        (0..classes).for_each(|class| close(areas.of_class(class), &case["by_class"][class], &format!("{name}, class {class}")));
        close(areas.macro_average(), &case["macro"], name);
    }
}

// sigmoid_train of libsvm, and _sigmoid_calibration of scikit-learn, which seeks the same minimum by L-BFGS
#[test]
fn the_sigmoid_is_libsvms() {
    let golden = golden();
    let cases = golden["sigmoid"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let (name, decisions) = (&case["name"], numbers(&case["decisions"]));
        let n_first = case["n_first"].as_u64().unwrap() as usize;
        let is_first: Vec<bool> = (0..decisions.len()).map(|row| row < n_first).collect();
        let Sigmoid { a, b } = Sigmoid::fit(&decisions, &is_first);
        let [theirs_a, theirs_b] = ["a", "b"].map(|key| case[key].as_f64().unwrap());
        assert!((a - theirs_a).abs() < 1e-9 && (b - theirs_b).abs() < 1e-9, "{name}: {a} {b}, libsvm {theirs_a} {theirs_b}");
        let minimum = numbers(&case["calibration"]);
        assert!((a - minimum[0]).abs() < 1e-5 && (b - minimum[1]).abs() < 1e-5, "{name}: {a} {b}, minimum {minimum:?}");
    }
}

// SVC(class_weight="balanced", probability=True): predict_proba from probA_, probB_ and decision_function
#[test]
fn pairs_are_coupled_as_libsvm_does() {
    let golden = golden();
    let cases = golden["coupling"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let sigmoids: Vec<Sigmoid> = numbers(&case["a"]).into_iter().zip(numbers(&case["b"])).map(|(a, b)| Sigmoid { a, b }).collect();
        for (decisions, expected) in case["decisions"].as_array().unwrap().iter().zip(case["proba"].as_array().unwrap()) {
            let pairs: Vec<f64> = sigmoids.iter().zip(numbers(decisions)).map(|(sigmoid, d)| sigmoid.probability(d)).collect();
            let expected = numbers(expected);
            let found = couple(expected.len(), &pairs);
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-12, "{}: {found:?}, libsvm {expected:?}", case["name"]);
        }
    }
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

// The mean of SVC(class_weight="balanced", probability=True, random_state=seed).predict_proba over 20 seeds
#[test]
fn probabilities_lie_about_as_near_to_scikit_learns_as_those_of_its_seeds_to_each_other() {
    let golden = golden();
    for case in golden["whole"].as_array().unwrap() {
        let y: Vec<usize> = serde_json::from_value(case["y"].clone()).unwrap();
        let data = DatasetBase::new(matrix(&case["x"]), Array1::from(y));
        let fitted: FittedSvm<f64> = Svm { probability: true, ..Svm::default() }.fit(&data).unwrap();
        let (queries, theirs) = (matrix(&case["queries"]), matrix(&case["proba"]));
        let own = fitted.probabilities(&queries).unwrap();
        assert!(own.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-9));
        let apart = (&own - &theirs).mapv(f64::abs).mean().unwrap();
        assert!(apart < 1.5 * case["apart"].as_f64().unwrap(), "{}: {apart}, seeds {}", case["name"], case["apart"]);
        let without: FittedSvm<f64> = Svm::default().fit(&data).unwrap();
        assert!(without.probabilities(&queries).is_none() && without.decision_values(&queries) == fitted.decision_values(&queries));
    }
}

/// The rows and queries of a case as a study that labels every row.
fn study(case: &Value, transform: &[TransformStep]) -> Study {
    let (x, queries) = (matrix(&case["x"]), matrix(&case["queries"]));
    let y: Vec<usize> = serde_json::from_value(case["y"].clone()).unwrap();
    let id = |part: &str, row: usize| format!("{part} {row:03}");
    let train: Vec<String> = (0..x.nrows()).map(|row| id("train", row)).collect();
    let test: Vec<String> = (0..queries.nrows()).map(|row| id("test", row)).collect();
    let known = train.iter().cloned().zip(y.iter().map(|class| class.to_string()));
    let labels = known.chain(test.iter().map(|id| (id.clone(), "0".to_string()))).collect();
    let values = ndarray::concatenate![ndarray::Axis(0), x, queries].mapv(|v| v as f32);
    let features = Features::new([&train[..], &test].concat(), values).unwrap();
    let how = Protocol { repeats: 1, keep_predictions: 1, transform: transform.to_vec(), ..Protocol::default() };
    Study::new(&features, &labels, &train, &test, &how, 1).unwrap()
}

// SVC(class_weight="balanced", tol=1e-10).decision_function(queries)
#[test]
fn a_sweep_at_tight_tolerance_gives_decision_values_within_a_millionth_and_at_the_usual_one_within_a_thousandth() {
    let golden = golden();
    for case in golden["whole"].as_array().unwrap() {
        let (study, expected) = (study(case, &[]), matrix(&case["tight"]));
        let wanted = [1e-9, 1e-3].map(|tolerance| (Classifier::Svm(Svm { tolerance, ..Svm::default() }), 1000));
        let cells = sweep(&study, &wanted, &Silent).unwrap();
        for (cell, bound) in cells.iter().zip([1e-6, 1e-3]) {
            let scores = cell.runs[0].scores.as_ref().unwrap();
            let apart = expected.indexed_iter().map(|((row, class), theirs)| (scores.of(row, class).unwrap() - theirs).abs());
            let apart = apart.fold(0.0, f64::max);
            assert!(apart < bound, "{} {}: {apart}", case["name"], cell.classifier);
        }
    }
}

// make_pipeline(PowerTransformer(), PCA(svd_solver="full"), classifier).fit(x, y): decision_function, predict_proba
#[test]
fn a_transform_of_the_labelled_rows_alone_is_scikit_learns_pipeline() {
    let golden = golden();
    let case = &golden["pipeline"];
    let study = study(case, &[TransformStep::YeoJohnson, TransformStep::Pca]);
    let wanted = [
        ("svm", Classifier::Svm(Svm { tolerance: 1e-9, ..Svm::default() })),
        ("lr", Classifier::LogisticRegression(LogisticRegression { tolerance: 1e-8, ..LogisticRegression::default() })),
        ("knn", Classifier::Knn(Knn { k: 5, ..Knn::default() })),
    ];
    for (name, classifier) in wanted {
        let cells = sweep(&study, &[(classifier, 1000)], &Silent).unwrap();
        let scores = cells[0].runs[0].scores.as_ref().unwrap();
        let apart = matrix(&case[name])
            .indexed_iter()
            .map(|((row, class), theirs)| (scores.of(row, class).unwrap() - theirs).abs())
            .fold(0.0, f64::max);
        assert!(apart < 2e-5, "{name}: {apart}");
    }
}
