//! The house rules that a compiler does not check: layers, file headers, words that may not stay.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in reading order, as in `src/lib.rs`: a room may import rooms above it, never below.
const GROUND: [&str; 5] = ["digest", "random", "params", "diagnostic", "stage"];
const SCIENCE: [&str; 6] = ["kernel", "data", "model", "classify", "train", "report"];
const FLOW: [&str; 3] = ["graph", "store", "engine"];
const MEETING: [&str; 3] = ["stages", "pipeline", "cli"];

fn rooms() -> Vec<&'static str> {
    [&GROUND[..], &SCIENCE, &FLOW, &MEETING].concat()
}

/// Returns every Rust file below `src` with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_path_buf(), text));
            }
        }
    }
    found.sort();
    found
}

/// The room a file stands in: `src/store/entry.rs` -> `store`.
fn room(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    (parts.len() > 2).then(|| parts[1].clone())
}

/// The code of a file without its comments and its unit tests, which may look anywhere.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    body.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn lib_rs_lists_the_rooms_in_reading_order() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.split(';').next()).collect();
    assert_eq!(listed, rooms());
}

#[test]
fn imports_point_up_the_list_and_the_wings_never_meet() {
    let rooms = rooms();
    let order = |name: &str| rooms.iter().position(|r| *r == name);
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(here) = room(&path).and_then(|r| order(&r)) else { continue };
        for (there, name) in rooms.iter().enumerate() {
            let named = code(&text).contains(&format!("crate::{name}::"));
            let (science, flow) = (SCIENCE.contains(name), FLOW.contains(name));
            let crosses = (science && FLOW.contains(&rooms[here])) || (flow && SCIENCE.contains(&rooms[here]));
            if named && (there > here || crosses) {
                wrong.push(format!("{} imports `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point down the list or across the wings:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "files that do not open with `//!`: {silent:?}");
}

#[test]
fn a_room_s_door_holds_no_logic() {
    let busy: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| path.ends_with("mod.rs") && path.components().count() == 3 && code(text).contains("fn "))
        .filter(|(path, _)| !["src/digest/mod.rs", "src/random/mod.rs"].iter().any(|one_file| path.ends_with(one_file)))
        .map(|(path, _)| path)
        .collect();
    assert!(busy.is_empty(), "a `mod.rs` with functions: {busy:?}");
}

#[test]
fn no_word_stays_that_should_not() {
    // Spelt in halves, so that this file does not find itself.
    let words = ["TO DO", "FIX ME", "XX X", "un implemented!", "to do!", "db g!"].map(|w| w.replace(' ', ""));
    let mut found = Vec::new();
    for (path, text) in sources() {
        for word in &words {
            if text.contains(word.as_str()) {
                found.push(format!("{}: `{word}`", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_doors_print_and_only_they_read_the_environment() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("src/cli") || path.starts_with("src/main.rs") {
            continue;
        }
        for word in ["println!", "print!(", "env::var", "env::args"] {
            if code(&text).contains(word) {
                found.push(format!("{}: `{word}`", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short_enough_to_read_at_one_sitting() {
    let long: Vec<_> = sources().into_iter().map(|(p, t)| (t.lines().count(), p)).filter(|(lines, _)| *lines > 450).collect();
    assert!(long.is_empty(), "files beyond 450 lines: is there one idea in each? {long:?}");
}
