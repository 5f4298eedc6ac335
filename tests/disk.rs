//! A disk that is full, read-only or damaged: a clear word or a repair, and never a wrong result.

mod house;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use house::{House, TWO_NODES};
use serde_json::Value;

fn house() -> House {
    let house = House::new(TWO_NODES);
    house.npz(60);
    house
}

/// What both nodes make where nothing is in the way.
fn undisturbed() -> [Value; 2] {
    outputs(&house())
}

fn outputs(house: &House) -> [Value; 2] {
    let said = house.run("").exits(0);
    ["images", "split"].map(|node| said.outputs(node).clone())
}

/// Runs the program where no file may grow beyond `blocks` of 512 bytes. The system says so by an error, or ends the program at once.
fn run_on_a_full_disk(house: &House, blocks: usize, at_once: bool) -> Output {
    let mut shell = std::process::Command::new("sh");
    let trap = if at_once { "" } else { "trap '' XFSZ;" };
    shell.args(["-c", &format!("{trap} ulimit -f {blocks}; exec \"$0\" run study.ron"), env!("CARGO_BIN_EXE_flow")]);
    shell.current_dir(house.path("")).env("NO_COLOR", "1").env_remove("FLOW_CACHE").env_remove("FLOW_DATA");
    shell.output().unwrap()
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_done() {
    let expected = undisturbed();
    let mut failed = 0;
    for blocks in [0, 1, 2, 4, 8, 16, 64] {
        let house = house();
        let output = run_on_a_full_disk(&house, blocks, false);
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => {}
            Some(1) => {
                failed += 1;
                assert!(said.contains("error: ") && said.contains("File too large"), "{blocks} blocks:\n{said}");
            }
            other => panic!("{blocks} blocks: {other:?}\n{said}"),
        }
        assert_eq!(outputs(&house), expected, "after {blocks} blocks");
        house.flow("cache check --contents").exits(0);
    }
    assert!(failed >= 3, "{failed}");
}

#[test]
fn a_program_that_a_full_disk_ends_at_once_leaves_nothing_half_done() {
    let expected = undisturbed();
    for blocks in [0, 2, 8, 16] {
        let house = house();
        assert!(!run_on_a_full_disk(&house, blocks, true).status.success(), "{blocks}");
        assert_eq!(outputs(&house), expected, "after {blocks} blocks");
        house.flow("cache check --contents").exits(0);
    }
}

/// Every command that only looks.
const LOOKING: [&str; 12] = [
    "check study.ron",
    "plan study.ron",
    "run study.ron --dry-run",
    "why study.ron images",
    "graph study.ron",
    "table study.ron --set split.how.test=[0.4,0.5]",
    "runs",
    "verify study.ron --contents",
    "export study.ron split --provenance",
    "cache du",
    "cache gc",
    "cache pins",
];

#[test]
fn whoever_only_looks_makes_no_cache() {
    let house = house();
    for command in LOOKING {
        let said = house.flow(command);
        assert!(!house.path("cache").exists(), "`flow {command}` made a cache");
        assert_ne!(said.code, Some(1), "{command}: {}", said.err);
    }
    assert!(house.flow("plan study.ron").out.ends_with("1 node to run, 1 that follows, 0 reused\n"));
    house.write("cache", "a file");
    let expected =
        "error: failed to open the cache at `cache`: not a folder\nhelp: name another folder with `--cache DIR` or `FLOW_CACHE`\n";
    assert_eq!(house.flow("plan study.ron").err, expected);
    assert!(house.run("").err.starts_with("error: failed to open the cache at `cache`: "));
}

/// Takes the right to write from a folder and all below it, or gives it back.
fn set_writable(folder: &Path, writable: bool) {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        open.extend(fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).filter(|path| path.is_dir()));
        fs::set_permissions(&folder, fs::Permissions::from_mode(if writable { 0o755 } else { 0o555 })).unwrap();
    }
}

/// Runs the program as somebody whom permissions bind; none where nobody such can run it.
fn bound(house: &House, arguments: &str) -> Option<Output> {
    let mut command = house.command(arguments);
    let root = fs::write(house.path("cache/may-i"), "").is_ok();
    if root {
        fs::remove_file(house.path("cache/may-i")).unwrap();
        command.uid(65534).gid(65534);
    }
    command.output().map_err(|error| writeln!(std::io::stderr(), "skipped: {error}")).ok()
}

#[test]
fn a_cache_that_may_only_be_read_can_be_looked_at_and_a_run_says_why_it_cannot_go_on() {
    let house = house();
    house.run("").exits(0);
    house.flow("lock study.ron").exits(0);
    fs::remove_dir_all(house.path("cache/roots")).unwrap();
    // Whoever runs it must be able to come here.
    let mut above = house.path("");
    fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).unwrap();
    above.pop();
    fs::set_permissions(above.canonicalize().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    set_writable(&house.path("cache"), false);
    // So that there is something to be remembered of the data.
    house.npz(60);
    for command in LOOKING {
        let Some(output) = bound(&house, command) else { break };
        assert_eq!(output.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    house.edit("test: 0.4", "test: 0.5");
    if let Some(output) = bound(&house, "run study.ron") {
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("Permission denied") && said.contains("cache"), "{said}");
    }
    set_writable(&house.path("cache"), true);
    assert_eq!(house.run("").ran(), ["split"]);
}

/// Every file below a folder of the cache.
fn stored(house: &House, room: &str) -> Vec<PathBuf> {
    house.files(&format!("cache/{room}")).into_iter().map(|path| house.path(&format!("cache/{room}")).join(path)).collect()
}

/// Damages a file in each of several ways, one after the other; `check` looks what came of it.
fn damage(path: &Path, check: &mut dyn FnMut(&str)) {
    let bytes = fs::read(path).unwrap();
    let (half, mut flipped) = (bytes[..bytes.len() / 2].to_vec(), bytes.clone());
    if let Some(byte) = flipped.last_mut() {
        *byte ^= 1;
    }
    for (how, damaged) in [("emptied", Vec::new()), ("cut", half), ("flipped", flipped), ("overwritten", b"{\"x\": [1]}\n".to_vec())] {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o644));
        fs::write(path, &damaged).unwrap();
        check(&format!("{} {how}", path.display()));
    }
}

#[test]
fn whatever_is_damaged_in_the_cache_the_next_run_has_the_right_results() {
    let expected = undisturbed();
    for room in ["objects", "entries", "history", "locks"] {
        let house = house();
        house.run("").exits(0);
        for path in stored(&house, room).into_iter().chain((room == "history").then(|| house.path("cache/stat"))) {
            damage(&path, &mut |how| {
                for command in ["plan study.ron", "why study.ron split", "runs", "cache du", "cache gc"] {
                    let said = house.flow(command);
                    assert_eq!(said.code, Some(0), "{how}, `flow {command}`: {}{}", said.out, said.err);
                }
                assert_eq!(outputs(&house), expected, "{how}");
            });
        }
        house.flow("cache check --contents").exits(0);
    }
}

#[test]
fn an_entry_without_one_of_the_outputs_is_made_again() {
    let house = house();
    let expected = outputs(&house);
    for path in stored(&house, "entries") {
        let mut entry: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let outputs = entry["outputs"].as_object_mut().unwrap();
        let first = outputs.keys().next().unwrap().clone();
        outputs.remove(&first);
        fs::write(&path, entry.to_string()).unwrap();
    }
    assert_eq!(house.flow("plan study.ron").out.lines().last(), Some("1 node to run, 1 that follows, 0 reused"));
    assert_eq!(outputs(&house), expected);
}
