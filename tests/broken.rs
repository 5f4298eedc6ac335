//! Broken pipelines and what is said about each: whole messages, as a user reads them.
//!
//! `broken/NAME.ron` is the pipeline, `broken/NAME.txt` what goes to stderr. The command is `flow check NAME.ron` unless the
//! first line is a comment with another one. To see what the program says now, run the command in that folder.

mod house;

use std::fs;
use std::path::{Path, PathBuf};

use house::House;

const AT_LEAST: usize = 50;

fn pipelines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "ron"));
    found.sort();
    found
}

/// Returns the arguments that a pipeline is to be read with.
fn arguments(name: &str, text: &str) -> String {
    let own = text.lines().next().and_then(|line| line.strip_prefix("// flow "));
    own.map_or(format!("check {name}"), str::to_string)
}

#[test]
fn every_mistake_is_shown_at_its_place_with_the_way_out_and_exit_code_2() {
    let mut wrong = String::new();
    for path in pipelines() {
        let (name, text) = (path.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let house = House::new("");
        house.write(name, &text);
        let said = house.flow(&arguments(name, &text));
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        if said.code != Some(2) || said.err != expected || !said.out.is_empty() {
            let found = format!("exit code {:?}, stdout `{}`, stderr:\n{}", said.code, said.out, said.err);
            wrong += &format!("\n##### {name}\nexpected exit code 2, stderr:\n{expected}\nfound {found}");
        }
        assert!(!house.path("cache").exists(), "{name} touched the cache");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn there_are_many_of_them_and_no_message_is_left_over() {
    let pipelines = pipelines();
    assert!(pipelines.len() >= AT_LEAST, "{}", pipelines.len());
    let messages = fs::read_dir(pipelines[0].parent().unwrap()).unwrap().filter(|item| {
        let path = item.as_ref().unwrap().path();
        path.extension().is_some_and(|ending| ending == "txt")
    });
    assert_eq!(messages.count(), pipelines.len());
}
