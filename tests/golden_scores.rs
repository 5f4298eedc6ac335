//! Holds areas under ROC curves and Platt's probabilities against scikit-learn's numbers: `tests/golden/sklearn/make_scores.py` made them.

use std::path::PathBuf;

use flow::classify::RocAuc;
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
