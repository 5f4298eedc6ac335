//! The lock: what it holds, and how it hears of every way in which the world may differ from it.

mod house;

use house::{House, TWO_NODES};

fn locked() -> House {
    let house = House::new(TWO_NODES);
    house.npz(30);
    house.run("");
    let said = house.flow("lock study.ron");
    assert_eq!((said.code, said.err.as_str()), (Some(0), "wrote study.lock.ron: 2 nodes\n"));
    house
}

fn verify(house: &House, further: &str) -> (i32, String, String) {
    let said = house.flow(&format!("verify study.ron {further}"));
    (said.code.unwrap(), said.out, said.err)
}

#[test]
fn a_lock_that_holds_says_so_at_every_level() {
    let house = locked();
    for (level, what) in [("", "keys"), ("--keys", "keys"), ("--have", "keys and results"), ("--contents", "keys, results and every byte")]
    {
        assert_eq!(verify(&house, level), (0, String::new(), format!("the lock holds for 2 nodes: {what}\n")));
    }
    assert_eq!(house.run("--locked").code, Some(0));
}

#[test]
fn the_same_results_make_the_same_lock_but_for_how_they_were_made() {
    let house = locked();
    let text = std::fs::read_to_string(house.path("study.lock.ron")).unwrap();
    house.flow("lock study.ron");
    assert_eq!(std::fs::read_to_string(house.path("study.lock.ron")).unwrap(), text);
    assert!(text.starts_with("// Written by `flow lock`") && text.contains(r#""split": LockedNode("#), "{text}");
}

#[test]
fn the_same_results_of_another_run_leave_the_lock_as_good_as_it_was() {
    let house = locked();
    assert!(house.run("--cache other").ran().len() == 2);
    let (code, out, err) = verify(&house, "--contents --cache other");
    assert_eq!((code, out.as_str()), (0, ""));
    let run = house.flow("runs --cache other").out.split(' ').next().unwrap().to_string();
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with(&format!("note   images: the locked result, made again by run {run} on ")), "{err}");
    assert_eq!((lines.len(), lines[2]), (3, "the lock holds for 2 nodes: keys, results and every byte"));
}

#[test]
fn a_changed_parameter_breaks_the_lock_before_anything_runs() {
    let house = locked();
    house.edit("test: 0.4", "test: 0.5");
    let drift = "split: parameter `how.Stratified.test` changed from 0.4 to 0.5\n";
    assert_eq!(verify(&house, ""), (3, drift.to_string(), "the lock does not hold: 1 difference of 2 nodes\n".to_string()));
    std::fs::remove_file(house.path("events.jsonl")).unwrap();
    let said = house.run("--locked");
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains(&format!("error: `study.ron` is not what was locked\n  {drift}help: ")), "{}", said.err);
    assert!(said.events.is_empty());
}

#[test]
fn changed_data_and_added_or_removed_nodes_break_the_lock() {
    let house = locked();
    house.npz(33);
    let (code, out, _) = verify(&house, "");
    assert!(code == 3 && out.starts_with("images: input `file` changed from "), "{out}");
    house.npz(30);
    assert_eq!(verify(&house, "").0, 0);
    house.edit(r#""split": Split"#, r#""parts": Split"#);
    assert_eq!(verify(&house, "").1, "parts: is not in the lock\nsplit: is in the lock, but not in the pipeline\n");
}

#[test]
fn without_data_or_results_the_answer_is_that_it_cannot_tell() {
    let house = locked();
    std::fs::remove_file(house.path("data/stripes.npz")).unwrap();
    let (code, out, err) = verify(&house, "");
    assert!(code == 4 && out.starts_with("images: cannot tell: `data/stripes.npz` does not exist"), "{out}");
    assert_eq!(err, "the lock may hold, but something needed is missing\n");
    house.npz(30);
    assert_eq!(verify(&house, "--have --cache other").0, 4);
    assert_eq!(house.flow("lock study.ron --cache other").code, Some(4));
    std::fs::remove_file(house.path("study.lock.ron")).unwrap();
    assert_eq!(verify(&house, "").0, 4);
}

#[test]
fn damage_that_kept_its_stat_is_found_by_reading_every_byte_and_a_forged_lock_by_its_own_key() {
    let house = locked();
    house.edit_in("study.lock.ron", "\\\"test\\\":0.4", "\\\"test\\\":0.3");
    let (code, out, _) = verify(&house, "");
    assert_eq!((code, out.as_str()), (3, "split: the lock's components do not give the key that it names: it was edited by hand\n"));

    let house = locked();
    let object = std::fs::read_dir(house.path("cache/objects")).unwrap().next().unwrap().unwrap().path();
    let object = std::fs::read_dir(object).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&object, "X").unwrap();
    let (code, out, _) = verify(&house, "--contents");
    assert!(code == 3 && out.contains("is damaged in the cache"), "{out}");
    // What is damaged is not there: its stat tells.
    assert_eq!(verify(&house, "--have").0, 4);
}

#[test]
fn nodes_run_again_give_the_same_bytes_and_leave_the_cache_as_it_was() {
    let house = locked();
    let before = house.flow("runs").out;
    assert_eq!(verify(&house, "--rebuild").1, "images: the same bytes\nsplit: the same bytes\n");
    let (code, out, err) = verify(&house, "--rebuild --sample 1");
    assert!(code == 0 && out.lines().count() == 1 && out.ends_with(": the same bytes\n"), "{out}");
    assert!(err.ends_with("the lock holds: 1 node run again with the same outcome\n"), "{err}");
    assert_eq!(house.flow("runs").out, before);
}

#[test]
fn a_lock_of_results_that_do_not_follow_from_the_pipeline_is_found_out_by_running_again() {
    let house = locked();
    // Someone writes other numbers into the store and locks them: keys and digests agree with one another, and with nothing else.
    let text = std::fs::read_to_string(house.path("study.lock.ron")).unwrap();
    let outputs = text.split("\"split\": LockedNode").nth(1).unwrap().split("outputs: {").nth(1).unwrap();
    let counts = outputs.split("\"counts\": \"").nth(1).unwrap()[..64].to_string();
    let object = house.path(&format!("cache/objects/{}/{}", &counts[..2], &counts[2..]));
    let forged = std::fs::read_to_string(object).unwrap().replace("\"test\": 4", "\"test\": 5");
    let digest = flow::digest::Digest::of(forged.as_bytes()).hex();
    house.write(&format!("cache/objects/{}/{}", &digest[..2], &digest[2..]), &forged);
    let key = text.split("\"split\": LockedNode").nth(1).unwrap().split("key: \"").nth(1).unwrap()[..64].to_string();
    for file in ["study.lock.ron".to_string(), format!("cache/entries/{}/{}.json", &key[..2], &key[2..])] {
        house.edit_in(&file, &counts, &digest);
    }
    assert_ne!(digest, counts);
    assert_eq!(verify(&house, "--contents").0, 0);
    let (code, out, err) = verify(&house, "--rebuild");
    assert_eq!(code, 3, "{err}");
    assert!(out.starts_with("images: the same bytes\nsplit: differs in `counts`, first at `counts`: byte "), "{out}");
    for word in ["locked", "rebuilt"] {
        assert!(house.path(&format!("cache/out/study/split.{word}/counts")).exists(), "{err}");
    }
}
