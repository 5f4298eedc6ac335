//! Results as plain files, and how they came about as a statement that others can check.

mod house;

use flow::digest::Digest;
use house::{House, TWO_NODES};
use serde_json::Value;

fn house() -> House {
    let house = House::new(TWO_NODES);
    house.npz(30);
    house.run("");
    house
}

fn statement(house: &House, node: &str) -> Value {
    serde_json::from_str(&house.flow(&format!("export study.ron {node} --provenance")).exits(0).out).unwrap()
}

#[test]
fn a_statement_names_the_outputs_what_they_were_made_from_and_the_run() {
    let house = house();
    let (images, split) = (statement(&house, "images"), statement(&house, "split"));
    let run = house.flow("runs").out;
    let said = house.run("--force split");
    for subject in split["subject"].as_array().unwrap() {
        assert_eq!(subject["digest"]["blake3"], said.outputs("split")[subject["name"].as_str().unwrap()], "{subject}");
    }
    assert_eq!(split["subject"].as_array().unwrap().len(), 5);
    let read = |statement: &Value| statement["predicate"]["buildDefinition"]["resolvedDependencies"].clone();
    assert_eq!(read(&images)[0]["uri"], "flow:input/file");
    assert!(read(&images)[0]["digest"]["blake3"].is_string());
    assert_eq!(read(&images)[0]["annotations"], serde_json::json!({"outside": "file"}));
    for dependency in read(&split).as_array().unwrap() {
        assert_eq!(dependency["annotations"]["producer"], said.nodes()["images"]["key"], "{dependency}");
    }
    let invocation = split["predicate"]["runDetails"]["metadata"]["invocationId"].as_str().unwrap();
    assert!(run.starts_with(&format!("{invocation}  ")), "{invocation}, {run}");
}

#[test]
fn a_written_statement_is_what_the_lock_holds_of_it() {
    let house = house();
    house.flow("lock study.ron").exits(0);
    house.flow("export study.ron split --provenance -o split.json").exits(0);
    let digest = Digest::of(&std::fs::read(house.path("split.json")).unwrap()).hex();
    let lock = std::fs::read_to_string(house.path("study.lock.ron")).unwrap();
    assert!(lock.split("\"split\": LockedNode").nth(1).unwrap().contains(&format!("provenance: \"{digest}\"")));
}

#[test]
fn outputs_are_copied_as_plain_files_and_nothing_that_is_there_is_touched() {
    let house = house();
    let said = house.flow("export study.ron split -o taken").exits(0);
    assert_eq!(said.err, "wrote 5 outputs to taken: `counts`, `lists`, `test`, `train`, `validation`\n");
    let names: Vec<String> = house.files("taken").iter().map(|path| path.display().to_string()).collect();
    assert!(names.contains(&"counts".to_string()) && names.contains(&"train".to_string()), "{names:?}");
    std::fs::write(house.path("taken/counts"), "mine").unwrap();
    let said = house.flow("export study.ron split -o taken");
    let expected = "error: `taken/counts` exists already\nhelp: name another folder with `-o DIR`, or remove it\n";
    assert_eq!((said.code, said.err.as_str()), (Some(2), expected));
    assert_eq!(std::fs::read_to_string(house.path("taken/counts")).unwrap(), "mine");
}

#[test]
fn without_a_result_or_a_place_the_way_out_is_told() {
    let house = house();
    let said = house.flow("export study.ron split");
    assert_eq!((said.code, said.err.lines().next()), (Some(2), Some("error: no place to export to")));
    house.edit("test: 0.4", "test: 0.5");
    let said = house.flow("export study.ron split --provenance");
    let expected = "error: `split` has no result as the pipeline is now\nhelp: `flow run study.ron split` makes it\n";
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (Some(4), expected, ""));
}
