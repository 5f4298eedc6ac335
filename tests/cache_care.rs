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

/// What `gc` says is kept, without the column of sizes.
fn kept(house: &House, arguments: &str) -> Vec<String> {
    let said = house.flow(&format!("cache gc {arguments}"));
    said.err.lines().filter_map(|line| Some(line.trim_start().split_once("  kept by ")?.1.to_string())).collect()
}

#[test]
fn what_a_lock_file_names_stays_as_long_as_the_file_is_there() {
    let house = house();
    house.flow("lock study.ron").exits(0);
    house.edit("test: 0.4", "test: 0.5");
    house.run("");
    let path = house.path("study.lock.ron").canonicalize().unwrap();
    let lock = format!("lock `{}`", path.display());
    assert_eq!(kept(&house, "--keep-runs 1"), ["the last run: 2 results".to_string(), format!("{lock}: 2 results")]);
    assert!(said(&house, "cache gc --keep-runs 1 --delete").2.starts_with("0 results removed"));
    // A lock that was only verified here, and one that is named by hand, are kept as well.
    fs::rename(&path, house.path("other.lock.ron")).unwrap();
    house.write("other.ron", fs::read_to_string(house.path("study.ron")).unwrap().replace("test: 0.5", "test: 0.4"));
    house.flow("verify other.ron").exits(0);
    let said_now = house.flow("cache gc --keep-runs 0").err;
    assert!(said_now.starts_with(&format!("{lock} is gone: it keeps nothing\n")), "{said_now}");
    assert!(said_now.contains("other.lock.ron`: 2 results"), "{said_now}");
    fs::rename(house.path("other.lock.ron"), house.path("third.lock.ron")).unwrap();
    let lines = kept(&house, "--keep-runs 0 --root third.lock.ron");
    assert!(lines.len() == 1 && lines[0].ends_with("third.lock.ron`: 2 results"), "{lines:?}");
    // What it keeps is unknown: nothing goes.
    house.write("third.lock.ron", "Lock(");
    let said_now = house.flow("cache gc --keep-runs 0 --delete");
    assert_eq!(said_now.code, Some(4));
    assert!(said_now.err.contains("third.lock.ron`, so what it keeps is unknown: "), "{}", said_now.err);
    fs::remove_file(house.path("third.lock.ron")).unwrap();
    assert!(said(&house, "cache gc --keep-runs 0 --delete").2.starts_with("3 results removed"));
    assert!(house.flow("cache gc").err.ends_with("\n0 results would go: would free 0 B, 0.0 s to make again\n"));
}

#[test]
fn a_pin_keeps_the_results_of_a_run_until_it_is_taken_away() {
    let house = house();
    let run = house.flow("runs").out.split(' ').next().unwrap().to_string();
    let said_now = house.flow("cache pin paper");
    assert!(said_now.err.starts_with(&format!("pinned paper: 2 results of study, run {run}, ")), "{}", said_now.err);
    assert_eq!(house.flow("cache pin paper").err, "error: a pin is called `paper` already\nhelp: choose another name, or unpin it first\n");
    house.edit("test: 0.4", "test: 0.5");
    house.run("");
    assert_eq!(kept(&house, "--keep-runs 0"), ["pin `paper`: 2 results"]);
    assert!(said(&house, "cache gc --keep-runs 0 --delete").2.starts_with("1 result removed"));
    assert!(house.flow("cache pins").out.starts_with("paper: 2 results of study, run "));
    // A node alone, with what it was made from.
    assert!(house.flow("cache pin data last-1 --node images").err.starts_with("pinned data: 1 result of study, "));
    assert!(house.flow("cache pin all last-1 --node split").err.starts_with("pinned all: 2 results of study, "));
    let said_now = house.flow("cache pin more --node dino");
    assert!(
        said_now.code == Some(2) && said_now.err.ends_with("has no result of `dino`\nhelp: it has `images`, `split`\n"),
        "{}",
        said_now.err
    );
    house.flow("cache unpin paper data all").exits(0);
    assert_eq!(house.flow("cache unpin paper").code, Some(2));
    assert!(said(&house, "cache gc --keep-runs 0 --delete").2.starts_with("2 results removed"));
    house.write("cache/pins/broken.json", "{");
    let said_now = house.flow("cache gc --keep-runs 0 --delete");
    assert!(said_now.code == Some(4) && said_now.err.contains("so what it keeps is unknown"), "{}", said_now.err);
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

#[test]
fn what_looks_after_a_cache_makes_none() {
    let house = House::new(TWO_NODES);
    for arguments in ["check", "pin paper last-1", "unpin paper", "gc --delete"] {
        let said = house.flow(&format!("cache {arguments}"));
        assert!(said.code == Some(2) && said.err.contains("there is no cache at `"), "{arguments}: {}", said.err);
    }
    assert!(!house.path("cache").exists());
}
