//! What was run, and what differs between two runs.

mod house;

use house::{House, TWO_NODES};

fn house() -> House {
    let house = House::new(TWO_NODES);
    house.npz(30);
    house
}

#[test]
fn runs_that_ran_something_are_listed_and_those_that_only_reused_are_not() {
    let house = house();
    let none = house.flow("runs");
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert_eq!(none.err, "no run is on record: runs that only reuse results leave none\n");
    house.run("images");
    house.run("images");
    house.run("");
    let said = house.flow("runs study");
    let rows: Vec<Vec<&str>> = said.out.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(rows.len(), 2, "{}", said.out);
    for (row, counts) in rows.iter().zip(["1 ran", "1 ran, 1 reused"]) {
        assert_eq!((row[2], row[4]), ("study", counts));
        assert!(row[1].ends_with('Z') && row[3].starts_with("done in "), "{row:?}");
    }
    assert_eq!(house.flow("runs other").out, "");
}

#[test]
fn a_difference_names_the_parameter_the_figures_and_what_stayed_the_same() {
    let house = house();
    house.run("");
    house.edit("test: 0.4", "test: 0.5");
    house.run("");
    let said = house.flow("diff");
    let lines: Vec<&str> = said.out.lines().skip(2).collect();
    let expected = [
        "split           parameter `how.Stratified.test` changed from 0.4 to 0.5",
        "                test: 12.0000 -> 15.0000 (+3.0000)",
        "                train: 18.0000 -> 15.0000 (-3.0000)",
        "                other content in `counts`, `lists`, `test`, `train`",
        "the same: `images`",
    ];
    assert_eq!((said.code, lines), (Some(0), expected.to_vec()));
    assert_eq!(house.flow("diff last last").out.lines().last(), Some("the same: `images`, `split`"));
}

#[test]
fn a_run_that_is_not_on_record_is_a_mistake_with_the_way_out() {
    let house = house();
    house.run("");
    let said = house.flow("diff");
    assert_eq!(said.code, Some(2));
    assert_eq!(said.err, "error: `last-1` reaches back beyond the 1 run on record\nhelp: `flow runs` lists them\n");
    let said = house.flow("diff zzz last");
    assert_eq!(said.err, "error: no run is called `zzz`\nhelp: `flow runs` lists them; `last` and `last-1` name the latest\n");
}
