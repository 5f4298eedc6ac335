//! A matrix of variants: what they share runs once, one that fails loses nothing, and their figures come as one table.

mod house;

use house::House;

const STUDY: &str = r#"Pipeline(
    name: "study",
    matrix: {"split.how.test": [0.4, 0.5], "left.run": [["true"], ["sh", "-c", "echo {x} > /dev/null"]]},
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.4)),
        "left": Command(run: ["true"], inputs: {"x": "split.train"}),
        "right": Command(run: ["true"], inputs: {"x": "images.labels"}),
    },
)"#;

fn house() -> House {
    let house = House::new(STUDY);
    house.npz(30);
    house
}

#[test]
fn what_variants_share_is_one_node_and_the_rest_are_named_by_what_they_depend_on() {
    let house = house();
    let said = house.run("");
    assert_eq!(
        said.ran(),
        [
            "images",
            r#"left[test=0.4,run=["sh", "-c", "echo {x} > /dev/null"]]"#,
            r#"left[test=0.4,run=["true"]]"#,
            r#"left[test=0.5,run=["sh", "-c", "echo {x} > /dev/null"]]"#,
            r#"left[test=0.5,run=["true"]]"#,
            "right",
            "split[test=0.4]",
            "split[test=0.5]",
        ]
    );
    assert_eq!(house.run("").ran(), [""; 0]);
    // Without the matrix it is the first variant, whose results are there.
    house.edit(r#"    matrix: {"split.how.test": [0.4, 0.5], "left.run": [["true"], ["sh", "-c", "echo {x} > /dev/null"]]},"#, "");
    assert_eq!(house.run("").with("reused"), ["images", "left", "right", "split"]);
}

#[test]
fn a_variant_that_fails_stops_no_other() {
    let house = house();
    house.edit(r#"["sh", "-c", "echo {x} > /dev/null"]"#, r#"["false"]"#);
    let said = house.run("");
    assert_eq!(said.code, Some(1));
    assert_eq!(said.with("failed"), [r#"left[test=0.4,run=["false"]]"#, r#"left[test=0.5,run=["false"]]"#]);
    assert_eq!(said.with("ran").len(), 6);
}

#[test]
fn a_list_on_the_command_line_makes_variants_where_the_parameter_takes_no_list() {
    let house = house();
    house.edit(r#"    matrix: {"split.how.test": [0.4, 0.5], "left.run": [["true"], ["sh", "-c", "echo {x} > /dev/null"]]},"#, "");
    let said = house.run("split --set split.how.test=[0.2,0.3,0.4]");
    assert_eq!(said.ran(), ["images", "split[test=0.2]", "split[test=0.3]", "split[test=0.4]"]);
    assert_eq!(house.run(r#"left --set left.run=["true"]"#).ran(), ["left"], "a parameter that takes a list gets it");
}

#[test]
fn the_table_sets_figures_of_variants_side_by_side_with_differences_to_the_first() {
    let house = house();
    house.edit(r#", "left.run": [["true"], ["sh", "-c", "echo {x} > /dev/null"]]"#, "");
    house.run("");
    let expected = "                  test=0.4  test=0.5
split test        12.0000   15.0000 (+3.0000)
split train       18.0000   15.0000 (-3.0000)
split validation  0.0000    0.0000 (+0.0000)
";
    assert_eq!(house.flow("table study.ron --metric split --metric none").out, expected);
    let csv = house.flow("table study.ron --format csv").out;
    assert!(csv.contains("test=0.5,split,test,15,3\n"), "{csv}");
    let json = house.flow("table study.ron --format json").out;
    assert!(json.contains("\"difference_to_first\": -3.0"), "{json}");
    let markdown = house.flow("table study.ron --format markdown --metric train").out;
    assert_eq!(markdown, "| figure | test=0.4 | test=0.5 |\n| :-- | --: | --: |\n| split train | 18.0000 | 15.0000 (-3.0000) |\n");
}

#[test]
fn a_run_of_variants_leaves_a_page_that_compares_them() {
    let house = house();
    let said = house.run("");
    let page = house.path("cache/out/study/variants.html").canonicalize().unwrap();
    assert_eq!(said.out, format!("variants: {}\n", page.display()));
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.trim_end(), house.flow("table study.ron --format html").out.trim_end());
    assert!(page.contains("<h2>split</h2>") && page.contains("<td>18.0000</td>"), "{page}");
    // A pipeline without variants has none to compare.
    house.edit(r#"    matrix: {"split.how.test": [0.4, 0.5], "left.run": [["true"], ["sh", "-c", "echo {x} > /dev/null"]]},"#, "");
    assert_eq!(house.run("").out, "");
}

#[test]
fn a_matrix_that_leads_nowhere_says_so_at_its_place() {
    let house = house();
    house.edit("split.how.test", "splt.how.test");
    let said = house.flow("check study.ron");
    assert_eq!(said.code, Some(2));
    let expected = "\
error: no node is called `splt`
 --> study.ron:3:15
  |
3 |     matrix: {\"splt.how.test\": [0.4, 0.5], \"left.run\": [[\"true\"], [\"sh\", \"-c\", \"echo {x} > /dev/null\"]]},
  |               ^^^^^^^^^^^^^
help: did you mean `split`?
";
    assert!(said.err.starts_with(expected), "{}", said.err);
    house.edit("splt.how.test\": [0.4, 0.5]", "split.how.test\": 0.4");
    assert!(house.flow("check study.ron").err.contains("expected a list of at least one value"));
    assert!(house.flow("table study.ron --set seed=1").code == Some(2));
}
