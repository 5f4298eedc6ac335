//! Looking after the cache: what it holds, what may go, and repair by forgetting.

mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use house::{House, TWO_NODES};

fn house() -> House {
    let house = House::new(TWO_NODES);
    house.npz(30);
    house.run("");
    house
}

/// Lines of standard output without the column of sizes, and the last line of standard error.
fn said(house: &House, arguments: &str) -> (i32, Vec<String>, String) {
    let said = house.flow(arguments);
    let lines = said.out.lines().map(|line| line.trim_start().split("  ").last().unwrap_or("").to_string()).collect();
    (said.code.unwrap(), lines, said.err.lines().last().unwrap_or("").to_string())
}

#[test]
fn what_lies_in_the_cache_is_told_by_pipeline_and_node() {
    let house = house();
    house.edit("test: 0.4", "test: 0.5");
    house.run("");
    let (code, lines, total) = said(&house, "cache du");
    assert_eq!(code, 0);
    assert!(lines[0].starts_with("study/images: 1 result, made in ") && lines[1].starts_with("study/split: 2 results, "), "{lines:?}");
    assert!(total.ends_with(" in 3 results"), "{total}");
}

#[test]
fn results_of_no_recent_run_go_and_only_when_told_to() {
    let house = house();
    house.edit("test: 0.4", "test: 0.5");
    house.run("");
    assert!(said(&house, "cache gc").2.starts_with("0 results would go"));
    let (_, lines, last) = said(&house, "cache gc --keep-runs 1");
    assert!(lines.len() == 1 && lines[0].starts_with("study/split of "), "{lines:?}");
    assert_eq!(last, "nothing was removed: say `--delete` to do it");
    assert!(said(&house, "cache gc --keep-runs 1 --delete").2.starts_with("1 result removed"));
    // What the last run made is still there; what went is made again.
    assert_eq!(house.run("").with("ran"), [""; 0]);
    house.edit("test: 0.5", "test: 0.4");
    assert_eq!(house.run("").with("ran"), ["split"]);
}

#[test]
fn a_cache_that_must_fit_a_size_gives_up_no_more_than_it_must() {
    let house = house();
    let all = said(&house, "cache gc --keep-runs 0 --max-size 1").1.len();
    assert_eq!((all, said(&house, "cache gc --keep-runs 0 --max-size 1G").1.len()), (2, 0));
}

#[test]
fn damage_is_found_and_forgotten_so_that_the_next_run_makes_it_again() {
    let house = house();
    let (code, lines, last) = said(&house, "cache check --contents");
    assert_eq!((code, lines.len()), (0, 0));
    assert!(last.ends_with("2 entries looked at, every byte read"), "{last}");

    let mut objects: Vec<_> =
        fs::read_dir(house.path("cache/objects")).unwrap().flat_map(|f| fs::read_dir(f.unwrap().path()).unwrap()).collect();
    let object = objects.pop().unwrap().unwrap().path();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "X").unwrap();
    let (code, lines, _) = said(&house, "cache check");
    assert_eq!(code, 3);
    assert!(lines[0].ends_with("removed") && lines[1].ends_with("forgotten"), "{lines:?}");
    assert_eq!(said(&house, "cache check").0, 0);
    assert!(!house.run("").with("ran").is_empty());
    assert_eq!(said(&house, "cache check --contents").0, 0);
}
