//! The laws of the report.

use super::*;

/// A study with something in every section.
pub fn sample() -> Study {
    let sizes = [1, 5, 10, 25, 50, 100, 250];
    let curve = |method: &str, means: [f64; 7]| -> Vec<Cell> {
        let cell = |(n, mean): (&usize, f64)| Cell {
            method: method.into(),
            per_class: *n,
            repeats: 20,
            labels: 3 * n,
            mean,
            std: 0.06 / (*n as f64).sqrt(),
            ..Cell::default()
        };
        sizes.iter().zip(means).map(cell).collect()
    };
    let sweep = |name: &str, role, cells: Vec<Vec<Cell>>| SweepResults { name: name.into(), role, cells: cells.concat() };
    let class = |class: &str, train, test| ClassCount { class: class.into(), train, test, validation: 0 };
    let dino: Vec<DinoPoint> = (0..50)
        .map(|i| DinoPoint {
            epoch: f64::from(i),
            loss: 8.3 - f64::from(i) * 0.08,
            teacher_entropy: 6.0 - f64::from(i) * 0.05,
            feature_std: 0.01 + f64::from(i) * 0.001,
            learning_rate: 1e-3,
            ..DinoPoint::default()
        })
        .collect();
    Study {
        title: "Cells & <smears>".into(),
        subtitle: "a sample".into(),
        datasets: vec![Dataset {
            name: "cells".into(),
            classes: vec![class("NGS", 700, 300), class("EBO", 90, 40), class("ABE", 6, 2)],
            unlabelled: 12,
            split: "stratified, 30 % test".into(),
            notes: vec!["no patient is known".into()],
        }],
        sweeps: vec![
            sweep(
                "DINO",
                Role::Studied,
                vec![curve("SVM", [0.3, 0.5, 0.6, 0.68, 0.7, 0.74, 0.76]), curve("KNN", [0.3, 0.42, 0.5, 0.55, 0.6, 0.63, 0.65])],
            ),
            sweep("pixels", Role::Floor, vec![curve("SVM", [0.2, 0.24, 0.28, 0.3, 0.33, 0.36, 0.38])]),
            sweep("supervised", Role::Baseline, vec![curve("DL", [0.17, 0.25, 0.31, 0.41, 0.5, 0.56, 0.61])]),
        ],
        levels: vec![Level { name: "supervised, all labels".into(), value: 0.62, std: None }],
        curves: vec![TrainingCurve::dino("dino", &dino, 4096)],
        reference: Some(Reference::Paper(PaperSet::BoneMarrow)),
        confusions: vec![Confusion {
            sweep: "DINO".into(),
            method: "SVM".into(),
            per_class: 100,
            repeats: 2,
            classes: ["ABE", "EBO", "NGS"].map(String::from).into(),
            counts: vec![vec![3, 1, 0], vec![0, 70, 10], vec![6, 54, 540]],
            recall_std: vec![Some(0.1), None, Some(0.0)],
        }],
        sheets: vec![Sheet { caption: "views".into(), png: vec![1, 2, 3] }],
        provenance: vec![Provenance {
            node: "dino".into(),
            kind: "Dino".into(),
            version: 1,
            key: "ab".repeat(32),
            ..Provenance::default()
        }],
        notes: vec!["a note".into()],
        warnings: vec![],
        headline_per_class: None,
        target: None,
    }
}

fn html(study: &Study) -> String {
    let files = render(study).unwrap();
    String::from_utf8(files.into_iter().find(|f| f.path == "report.html").unwrap().bytes).unwrap()
}

fn text(study: &Study, path: &str) -> String {
    String::from_utf8(render(study).unwrap().into_iter().find(|f| f.path == path).unwrap().bytes).unwrap()
}

#[test]
fn the_first_sentences_say_what_was_reached_and_against_what() {
    assert_eq!(
        findings::headline(&sample()),
        [
            "With 100 labels per class (300 in all), SVM on DINO features reaches a balanced accuracy of .74(.01), mean and deviation over 20 repeats.",
            "With the same labels: supervised .56(.01), pixels .36(.01).",
            "What supervised reaches with 250 labels per class (.61), SVM on DINO features reaches with 25.",
        ]
    );
}

#[test]
fn a_reader_is_warned_of_tiny_classes_collapse_and_a_floor_that_is_not_beaten() {
    let mut study = sample();
    study.sweeps[1].cells[5].mean = 0.739;
    let flat: Vec<DinoPoint> = (0..3)
        .map(|i| DinoPoint { epoch: i.into(), loss: 8.31, teacher_entropy: 8.317, feature_std: 0.01, ..DinoPoint::default() })
        .collect();
    study.curves = vec![TrainingCurve::dino("dino", &flat, 4096)];
    assert_eq!(
        findings::warnings(&study),
        [
            "training of dino: collapsed to the uniform output, nothing was learnt: final loss 8.310, teacher entropy 8.32 of at most 8.32, feature deviation 0.0100",
            "cells: ABE has 2 test images: each moves the balanced accuracy by 0.167",
            "at 100 labels per class SVM on DINO features (.74) does not clearly beat SVM on pixels (.74)",
        ]
    );
}

#[test]
fn the_table_is_the_papers() {
    let expected = "\
features,method,n=1,n=5,n=10,n=25,n=50,n=100,n=250
DINO,SVM,.30(.06),.50(.03),.60(.02),.68(.01),.70(.01),.74(.01),.76(.00)
DINO,KNN,.30(.06),.42(.03),.50(.02),.55(.01),.60(.01),.63(.01),.65(.00)
supervised,DL,.17(.06),.25(.03),.31(.02),.41(.01),.50(.01),.56(.01),.61(.00)
pixels,SVM,.20(.06),.24(.03),.28(.02),.30(.01),.33(.01),.36(.01),.38(.00)
paper (Table 1),SVM,.27(.04),.48(.02),.56(.02),.65(.01),.70(.01),.72(.01),.73(.02)
";
    let found = text(&sample(), "tables/balanced-accuracy.csv");
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn a_terminal_gets_the_first_method_beside_baseline_and_floors_at_powers_of_ten() {
    let expected = "\
balanced accuracy        n=1       n=10      n=100
DINO SVM            .30(.06)   .60(.02)   .74(.01)
supervised DL       .17(.06)   .31(.02)   .56(.01)
pixels SVM          .20(.06)   .28(.02)   .36(.01)
";
    assert_eq!(text(&sample(), "headline.txt"), expected);
}

#[test]
fn the_page_needs_nothing_else_and_no_name_breaks_it() {
    let page = html(&sample());
    for forbidden in ["<script", "src=\"http", "href=\"http", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("<title>Cells &amp; &lt;smears&gt;</title>"));
    assert!(page.contains("src=\"data:image/png;base64,AQID\""));
    for section in ["results", "classes", "training", "data", "provenance"] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
}

#[test]
fn the_same_study_gives_the_same_bytes_and_figures_stand_alone() {
    let files = render(&sample()).unwrap();
    assert_eq!(files, render(&sample()).unwrap());
    let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "figures/confusion-1.svg",
            "figures/label-efficiency-knn.svg",
            "figures/label-efficiency-svm.svg",
            "figures/label-efficiency.svg",
            "figures/training-1-deviation-of-features-over-images.svg",
            "figures/training-1-effective-rank-of-features.svg",
            "figures/training-1-learning-rate.svg",
            "figures/training-1-length-of-the-centre.svg",
            "figures/training-1-loss-nats.svg",
            "figures/training-1-momentum-of-the-teacher.svg",
            "figures/training-1-teacher-nats.svg",
            "headline.txt",
            "report.html",
            "results.json",
            "sheets/1-views.png",
            "tables/balanced-accuracy.csv",
            "tables/confusion-1.csv",
            "tables/counts.csv",
            "tables/results.csv",
            "tables/training.csv",
        ]
    );
    for figure in files.iter().filter(|f| f.path.ends_with(".svg")) {
        let svg = std::str::from_utf8(&figure.bytes).unwrap();
        assert!(svg.contains("xmlns=") && svg.contains("<style>") && !svg.contains("NaN"), "{}", figure.path);
    }
}

#[test]
fn the_matrix_is_shown_by_falling_frequency_and_counted_once_per_repeat() {
    let rows: Vec<String> = text(&sample(), "tables/confusion-1.csv").lines().take(4).map(str::to_string).collect();
    assert_eq!(rows, ["true,predicted,count,share_of_row", "NGS,NGS,540,0.9", "NGS,EBO,54,0.09", "NGS,ABE,6,0.01"]);
    let page = html(&sample());
    assert!(page.contains("<td class=\"text\">NGS</td><td>300</td><td>.90(.00)</td>"));
}

#[test]
fn nothing_to_report_is_still_a_page() {
    let page = html(&Study { title: "Empty".into(), ..Study::default() });
    assert!(page.contains("<h1>Empty</h1>") && !page.contains("<section"));
}

#[test]
fn results_that_are_no_numbers_break_no_figure() {
    let mut study = sample();
    study.sweeps[0].cells.iter_mut().for_each(|cell| cell.mean = f64::NAN);
    study.curves[0].panels[0].lines[0].points.iter_mut().for_each(|p| p.1 = f64::INFINITY);
    study.confusions[0].counts = vec![vec![0; 3]; 3];
    for file in render(&study).unwrap().iter().filter(|f| f.path.ends_with(".svg")) {
        let svg = std::str::from_utf8(&file.bytes).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", file.path);
    }
}

/// The sample with intervals: 40 resamples in which images and draws move all cells alike.
fn judged() -> Study {
    let mut study = sample();
    for cell in study.sweeps.iter_mut().flat_map(|sweep| &mut sweep.cells) {
        cell.interval = Some((cell.mean - 0.02, cell.mean + 0.02));
        cell.resampled = (0..40).map(|k| (cell.mean + (f64::from(k) - 19.5) * 0.001) as f32).collect();
        cell.resamples = "same".into();
    }
    Study { target: Some(0.7), ..study }
}

#[test]
fn intervals_answer_how_many_labels_are_enough_and_who_is_better() {
    assert_eq!(
        findings::headline(&judged())[..4],
        [
            "With 100 labels per class (300 in all), SVM on DINO features reaches a balanced accuracy of .74(.01), mean and deviation over 20 repeats; with other test images and other draws the mean would lie between .72 and .76 (95 %).",
            "With the same labels: supervised .56(.01), pixels .36(.01).",
            "A balanced accuracy of .70 is reached by SVM on DINO features with 100 labels per class (300 in all): 95 % interval .72 to .76.",
            "What supervised reaches with 250 labels per class (.61), SVM on DINO features reaches with 25 (.68; difference +.07 to +.07, 95 %).",
        ]
    );
    let page = html(&judged());
    for shown in [
        "<li>DINO SVM is better than DINO KNN at n = 5, 10, 25, 50, 100, 250; not told apart at 1.</li>",
        ".74(.01)<span class=\"interval\">.72-.76</span>",
        "+.38<span class=\"interval\">+.38 to +.38</span>",
        "Bands: 95 % intervals of the mean over the repeats",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    let table = text(&judged(), "tables/comparisons.csv");
    assert!(
        table.starts_with("first,second,per_class,difference,low,high,first_is\nDINO SVM,DINO KNN,1,0,0,0,not told apart\n"),
        "{table}"
    );
    let curves = text(&judged(), "tables/learning-curves.csv");
    assert!(curves.lines().nth(1).is_some_and(|line| line.starts_with("DINO,SVM,0.") && line.contains(",500,0.7")), "{curves}");
}

#[test]
fn a_terminal_gets_the_intervals_below_the_means() {
    let expected = "\
balanced accuracy        n=1       n=10      n=100
DINO SVM            .30(.06)   .60(.02)   .74(.01)
  95 % interval      .28-.32    .58-.62    .72-.76
supervised DL       .17(.06)   .31(.02)   .56(.01)
  95 % interval      .15-.19    .29-.33    .54-.58
pixels SVM          .20(.06)   .28(.02)   .36(.01)
  95 % interval      .18-.22    .26-.30    .34-.38
";
    assert_eq!(text(&judged(), "headline.txt"), expected);
}

#[test]
fn areas_under_curves_have_a_table_and_columns_where_there_are_any() {
    let mut study = sample();
    assert!(!html(&study).contains("ROC") && !text(&study, "tables/results.csv").contains("roc_auc"));
    study.sweeps[0].cells[5].roc_auc = Some((0.934, 0.012));
    let page = html(&study);
    assert!(page.contains("Area under the ROC curve by labels per class") && page.contains("<td>.93(.01)</td>"));
    let csv = text(&study, "tables/results.csv");
    assert!(csv.lines().next().unwrap().ends_with(",interval_high,roc_auc,roc_auc_std"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.ends_with(",0.934,0.012")).count(), 1, "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.matches(',').count() == 11), "{csv}");
}
