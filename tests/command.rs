//! Any program as a node.

mod house;

use house::House;

const STUDY: &str = r#"Pipeline(
    name: "study",
    nodes: {
        "count": Command(
            run: ["sh", "{script}", "{data}", "{total}"],
            files: {"script": "count.sh", "data": "data"},
            outputs: {"total": File},
        ),
        "names": Command(run: ["sh", "-c", "ls {folder} > {out}"], inputs: {"folder": "double.folder"}, outputs: {"out": File}),
        "double": Command(
            run: ["sh", "-c", "expr $(cat {total}) '*' 2 > {folder}/twice; echo done; echo also >&2"],
            inputs: {"total": "count.total"},
            outputs: {"folder": Folder},
            env: ["FACTOR"],
        ),
    },
)"#;

fn house() -> House {
    let house = House::new(STUDY);
    house.write("count.sh", "cat $1/* | wc -l > $2\n");
    house.write("data/a", "1\n2\n");
    house.write("data/b", "3\n");
    house
}

fn output(house: &House, digest: &str) -> String {
    std::fs::read_to_string(house.path(&format!("cache/objects/{}/{}", &digest[..2], &digest[2..]))).unwrap()
}

#[test]
fn a_program_reads_and_makes_what_it_was_said_to() {
    let house = house();
    let said = house.run("");
    assert_eq!(said.ran(), ["count", "double", "names"], "{}", said.err);
    let digest = |node: &str, port: &str| said.nodes()[node]["outputs"][port].as_str().unwrap().to_string();
    assert_eq!(output(&house, &digest("count", "total")).trim(), "3");
    assert_eq!(output(&house, &digest("double", "log")), "done\nalso\n");
    // A folder is read as a folder.
    assert_eq!(output(&house, &digest("names", "out")), "twice\n");
    assert_eq!(house.run("").ran(), [""; 0]);
}

#[test]
fn data_script_and_counted_variables_run_what_reads_them_and_nothing_else_does() {
    let house = house();
    house.run("");
    // As many lines: the count stays the same, and stops the change.
    house.write("data/b", "4\n");
    let planned = |what: &str| assert_eq!(house.flow("plan study.ron count").exits(0).out.lines().next(), Some(what));
    planned("run    count: `data` changed by +0 ~1 -0 file: ~b");
    assert_eq!(house.run("").ran(), ["count"]);
    house.write("data/inner/c", "5\n");
    planned("run    count: `data` changed by +1 ~0 -0 file: +inner/c");
    std::fs::remove_dir_all(house.path("data/inner")).unwrap();
    house.write("data/c", "5\n");
    assert_eq!(house.run("").ran(), ["count", "double", "names"]);
    house.write("count.sh", "cat $1/* | wc -l > $2 # the same\n");
    assert_eq!(house.run("").ran(), ["count"]);
    let with = |factor: &str| {
        let mut command = house.command("plan study.ron");
        command.env("FACTOR", factor).env("OTHER", "x");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(
        with("3"),
        "run    double: environment variable `FACTOR` changed from nothing to \"3\"\n\
         run    names: follows `double`, and is reused if its output stays the same\n1 node to run, 1 that follows, 1 reused\n"
    );
}

#[test]
fn a_failing_program_shows_how_it_ended_and_the_last_it_said() {
    let house = house();
    house.write("count.sh", "echo one; echo two >&2; exit 3\n");
    let said = house.run("");
    assert_eq!(said.code, Some(1));
    let expected = "error: `count` failed: `sh` ended with exit status: 3; the last it printed:\n  one\n  two\n";
    assert!(said.err.contains(expected), "{}", said.err);
    house.write("count.sh", "seq 100; exit 1\n");
    let said = house.run("").err;
    let place = said.split('`').find(|word| word.ends_with("/log")).unwrap();
    assert!(said.contains("\n  99\n  100\nhelp: all 100 lines lie in `"), "{said}");
    assert_eq!(std::fs::read_to_string(place).unwrap().lines().count(), 100);
    house.write("count.sh", "true\n");
    let said = house.run("");
    assert!(said.err.contains("`sh` ended well, but did not make its output `total`"), "{}", said.err);
    house.edit(r#"run: ["sh", "{script}""#, r#"run: ["no-such-program", "{script}""#);
    assert!(house.run("").err.contains("failed to start `no-such-program`"));
}

#[test]
fn a_program_is_given_no_variable_but_the_few_that_all_get_and_those_that_count() {
    let house = house();
    house.write("count.sh", "env | cut -d= -f1 | sort > $2\n");
    let mut command = house.command("run study.ron count --events events.jsonl");
    command.env("FACTOR", "2").env("SECRET", "x");
    assert!(command.output().unwrap().status.success());
    let event = house.events("events.jsonl").into_iter().find(|e| e["node"] == "count").unwrap();
    let names = output(&house, event["outputs"]["total"].as_str().unwrap());
    assert!(names.contains("PATH") && !names.contains("SECRET") && !names.contains("FACTOR"), "{names}");
}

#[test]
fn a_version_that_a_program_says_it_has_counts_and_passed_variables_do_not() {
    let house = House::new(
        r#"Pipeline(name: "study", nodes: {
            "a": Command(run: ["sh", "-c", "echo $THREADS $HIDDEN > {out}"], outputs: {"out": File}, version: ["sh", "VERSION.sh"], pass: ["THREADS"]),
        })"#,
    );
    house.write("VERSION.sh", "echo tool 1.0\n");
    let run = |threads: &str| {
        let mut command = house.command("run study.ron");
        command.env("THREADS", threads).env("HIDDEN", "x");
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(run("2").starts_with("run    a: first time"));
    assert!(run("4").starts_with("reuse  a"));
    let made: String =
        house.files("cache/objects").iter().map(|o| std::fs::read_to_string(house.path("cache/objects").join(o)).unwrap()).collect();
    assert_eq!(made, "2\n");
    house.write("VERSION.sh", "echo tool 1.1 >&2\n");
    let said = run("4");
    assert!(said.starts_with("run    a: the program's version changed from \"tool 1.0\" to \"tool 1.1\""), "{said}");
    assert!(house.flow("why study.ron a").exits(0).out.contains("says   tool 1.1"));
    house.write("VERSION.sh", "exit 1\n");
    let said = house.flow("run study.ron").exits(1).err;
    assert!(said.contains("failed to ask `sh VERSION.sh` for its version: it ended with exit status: 1"), "{said}");
}

#[test]
fn what_is_to_be_shown_lies_as_plain_files_and_is_mended_when_it_was_tampered_with() {
    let house = House::new(
        r#"Pipeline(name: "study", nodes: {
            "a": Command(run: ["sh", "-c", "echo 1 > {model.bin}; echo 2 > {more}/x"], outputs: {"model.bin": File, "more": Folder}, show: true),
            "b": Command(run: ["cat", "{in}"], inputs: {"in": "a.model.bin"}),
        })"#,
    );
    assert_eq!(house.run("").ran(), ["a", "b"]);
    let shown = "cache/out/study/a";
    let names: Vec<String> = house.files(shown).iter().map(|p| p.display().to_string()).collect();
    assert_eq!(names, ["log", "model.bin", "more/x"]);
    house.write(&format!("{shown}/model.bin"), "tampered");
    std::fs::remove_file(house.path(&format!("{shown}/more/x"))).unwrap();
    assert_eq!(house.run("").ran(), [""; 0]);
    let read = |name: &str| std::fs::read_to_string(house.path(&format!("{shown}/{name}"))).unwrap();
    assert_eq!((read("model.bin").as_str(), read("more/x").as_str()), ("1\n", "2\n"));
}

#[test]
fn gpus_are_handed_out_by_number_and_never_more_than_there_are() {
    let house = House::new(
        r#"Pipeline(name: "study", nodes: {
            "a": Command(run: ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], gpus: 1),
            "b": Command(run: ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES", "b"], gpus: 1),
            "c": Command(run: ["true"], gpus: 3),
        })"#,
    );
    // Numbers that no other run on this machine holds.
    let number = 1_000_000 + std::process::id();
    let said = house.run(&format!("--gpus {number} --jobs 3")).exits(1);
    assert_eq!(said.with("ran"), ["a", "b"]);
    assert!(
        said.err.contains("`c` failed: it needs 3 GPUs, and this run has 1\nhelp: name those it may use with `--gpus 0,1`"),
        "{}",
        said.err
    );
    let log = said.outputs("a")["log"].as_str().unwrap();
    assert_eq!(output(&house, log), format!("{number}\n"));
    assert_eq!(said.outputs("b")["log"], log);
}
