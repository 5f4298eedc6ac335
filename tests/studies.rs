//! The shipped pipelines: sound without any data, clear about what is missing, and whole on miniatures of the published data sets.

mod studies_help;

use flow::model::Xcit;
use studies_help::{Place, bone_marrow, chula, hyper_kvasir, isic_2019, isic_2020, list, timm_checkpoint};

/// The small network that stands in for each study's own, as a setting writes it.
const SMALL: &str = "Xcit(dim: 16, depth: 1, heads: 2, patch: 8)";

/// Settings that make DINO, its views and the supervised trainings as small as they can be.
fn small(nodes: &[&str], augment: &str) -> Vec<String> {
    let mut settings = Vec::new();
    for dino in nodes.iter().filter(|node| node.starts_with("dino")) {
        let views = format!("augment=({augment}, local: 8, n_local: 2)");
        for setting in [&views, "epochs=1", "batch=8", "outputs=32", "hidden=16", "bottleneck=8"] {
            settings.push(format!("{dino}.{setting}"));
        }
    }
    settings.extend(nodes.iter().map(|node| format!("{node}.backbone={SMALL}")));
    settings
}

/// Settings that make a whole study of the paper as small as it can be; `more` are nodes `dino`, `features` and `sweep` beside the usual.
fn small_study(more: &[&str]) -> Vec<String> {
    let more_of = |kind: &str| more.iter().copied().filter(|node| node.starts_with(kind)).collect::<Vec<_>>();
    let mut settings = small(&[&["imagenet", "dino", "baseline", "baseline_all"][..], &more_of("dino")].concat(), "base: 32, global: 32");
    for (node, training) in [("linear", "crops: 2, "), ("baseline", ""), ("baseline_all", "")] {
        settings.push(format!("{node}.augment=(base: 32, global: 32)"));
        settings.push(format!("{node}.training=({training}batch: 8, stop: (evaluate_every: 2, max_steps: 4))"));
    }
    for node in [&["sweep", "sweep_250", "linear", "baseline"][..], &more_of("sweep")].concat() {
        settings.push(format!("{node}.per_class=[1, 5]"));
        settings.push(format!("{node}.repeats=2"));
    }
    settings.extend([&["features"][..], &more_of("features")].concat().iter().map(|node| format!("{node}.size=32")));
    settings.push("sweep_250.min_class_size=7".into());
    settings
}

/// Writes the weights that the paper's studies start from, small.
fn start(place: &Place) {
    let backbone = Xcit { dim: Some(16), depth: Some(1), heads: Some(2), patch: Some(8), ..Xcit::default() };
    timm_checkpoint(&place.path("data/weights/xcit_small_12_p8_224_dist.safetensors"), &backbone);
}

fn run(place: &Place, settings: &[String]) -> (studies_help::Said, studies_help::Nodes) {
    place.run(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn every_shipped_pipeline_is_sound_without_any_data() {
    for (name, said) in [
        ("bm.ron", "`bone marrow` is sound: 13 nodes\n"),
        ("chula.ron", "`chula` is sound: 8 nodes\n"),
        ("chula_pretrained.ron", "`chula_pretrained` is sound: 14 nodes\n"),
        ("endo.ron", "`endoscopy` is sound: 16 nodes\n"),
        ("isic.ron", "`skin lesions` is sound: 22 nodes\n"),
        ("demo.ron", "`demo` is sound: 8 nodes\n"),
    ] {
        let check = Place::of(name).flow("check", &[]);
        assert_eq!((check.code, check.err.as_str(), check.out.as_str()), (0, said, ""));
    }
}

#[test]
fn the_pipelines_in_the_readme_are_sound() {
    let readme = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let shown: Vec<&str> = readme.split("```ron\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(shown.len() >= 3, "{} pieces of RON in the README", shown.len());
    let place = Place::of("demo.ron");
    for piece in shown {
        // A piece that is one node stands for a pipeline of it.
        let whole = if piece.starts_with("Pipeline(") { piece.to_string() } else { format!("Pipeline(name: \"one\", nodes: {{{piece}}})") };
        std::fs::write(place.path("pipelines/demo.ron"), &whole).unwrap();
        let check = place.flow("check", &[]);
        assert_eq!(check.code, 0, "{}", check.err);
    }
}

#[test]
fn the_bone_marrow_study_says_all_that_is_missing_and_where_to_get_it() {
    let place = Place::of("bm.ron");
    let run = place.flow("run", &[]);
    let expected = r##"error: `data/BM_cytomorphology_data` does not exist
  --> pipelines/bm.ron:17:44
   |
17 |         "images": Ingest(BoneMarrow(root: "$FLOW_DATA/BM_cytomorphology_data")),
   |                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: expected there: the bone marrow set of Matek et al. 2021: get `Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer` (6.8 GB) from The Cancer Imaging Archive, https://doi.org/10.7937/TCIA.AXH3-T579; `root` is its folder `BM_cytomorphology_data`, which holds `ART`, `BAS` and so on
      put it there, name its place with --set 'images.root="PATH"', or set FLOW_DATA to another folder than `data`

error: `data/weights/xcit_small_12_p8_224_dist.safetensors` does not exist
  --> pipelines/bm.ron:22:26
   |
22 |             checkpoint: "$FLOW_DATA/weights/xcit_small_12_p8_224_dist.safetensors",
   |                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: expected there: the weights of this backbone as safetensors; Python with timm makes the file: python -c "import timm, safetensors.torch as st; st.save_file(timm.create_model('xcit_small_12_p8_224.fb_dist_in1k', pretrained=True).state_dict(), 'xcit_small_12_p8_224_dist.safetensors')"
      put it there, name its place with --set 'imagenet.checkpoint="PATH"', or set FLOW_DATA to another folder than `data`

error: 2 files or folders that `pipelines/bm.ron` reads are missing
"##;
    assert_eq!(run.err, expected);
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    assert!(!place.path("cache").exists(), "a run that cannot start leaves nothing behind");
}

#[test]
fn the_bone_marrow_study_runs_from_pictures_to_reports() {
    let place = Place::of("bm.ron");
    // In the folder that the pipeline names when nothing else is said.
    bone_marrow(&place.path("data/BM_cytomorphology_data"), &[("NGS", 14), ("EBO", 14), ("LYT", 14), ("ART", 12), ("BAS", 8), ("KSC", 8)]);
    start(&place);
    let settings = small_study(&[]);
    let (said, nodes) = run(&place, &settings);
    assert_eq!(said.code, 0, "{}", said.err);
    let all = [
        "baseline",
        "baseline_all",
        "dino",
        "features",
        "imagenet",
        "images",
        "linear",
        "report",
        "report_250",
        "split",
        "sweep",
        "sweep_250",
        "transform",
    ];
    assert_eq!(nodes.with("ran"), all);
    // Every tensor of the checkpoint is accounted for: head and step counters are left out knowingly.
    assert!(said.err.contains(" tensors matched, "), "{}", said.err);

    // Our rows and the paper's stand in one table, at the same numbers of labels.
    let table = place.laid_out("bone-marrow/report/tables/balanced-accuracy.csv");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "features,method,n=1,n=5");
    for start in ["DINO,SVM,", "DINO,LR,", "DINO,KNN,", "DINO,LL,", "supervised,DL,", "untrained network,SVM,", "pixels,SVM,"] {
        assert_eq!(rows.iter().filter(|row| row.starts_with(start)).count(), 1, "`{start}` in\n{table}");
    }
    assert!(rows.contains(&"paper (Table 1),SVM,.27(.04),.48(.02)"), "{table}");
    let table = place.laid_out("bone-marrow/report_250/tables/balanced-accuracy.csv");
    assert!(table.lines().any(|row| row == "paper (Table 1),SVM,.26(.03),.46(.02)"), "{table}");

    // Who is confused with whom, beside published recalls; "250+" leaves the small classes out.
    let page = place.laid_out("bone-marrow/report/report.html");
    for words in ["paper, SVM, n=100", "Matek 2021, all labels", "paper, DL, n=100", "supervised, 49 labels"] {
        assert!(page.contains(words), "`{words}` is not on the page");
    }
    let classes = |report: &str| {
        let confusion = place.laid_out(&format!("bone-marrow/{report}/tables/confusion-1.csv"));
        let mut classes: Vec<String> = confusion.lines().skip(1).map(|row| row.split(',').next().unwrap().to_string()).collect();
        classes.sort();
        classes.dedup();
        classes
    };
    assert_eq!(classes("report"), ["ART", "BAS", "EBO", "KSC", "LYT", "NGS"]);
    assert_eq!(classes("report_250"), ["ART", "EBO", "LYT", "NGS"]);

    // What differs from the publication is said while it runs and on the page.
    for difference in ["NGS: 29424 published, 14 found", "ABE: 8 published, 0 found", "all images: 171374 published, 70 found"] {
        assert!(said.err.contains(difference) && page.contains(difference), "`{difference}` in\n{}", said.err);
    }
    assert!(page.contains("the names tell no patient"));

    let (again, nodes) = run(&place, &settings);
    assert_eq!((again.code, nodes.with("reused")), (0, all.to_vec()));
}

#[test]
fn the_red_blood_cell_study_runs_and_keeps_every_picture_in_one_part() {
    let place = Place::of("chula.ron");
    chula(&place.path("data/chula_rbc12"), 10);
    let mut settings = small(&["dino", "baseline"], "base: 24, global: 16");
    settings.extend(
        [
            "images.crop=24",
            "sweep.per_class=[1, 5]",
            "sweep.repeats=2",
            "baseline.augment=(preset: Cells, base: 24, global: 16)",
            "baseline.training=(batch: 8, stop: (evaluate_every: 2, max_steps: 2))",
            "baseline.per_class=[5]",
            "baseline.repeats=1",
        ]
        .map(String::from),
    );
    let (said, nodes) = run(&place, &settings);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(nodes.with("ran"), ["baseline", "dino", "features", "images", "report", "split", "sweep", "transform"]);

    let pictures = |part: &str| -> std::collections::BTreeSet<String> {
        place.images(&nodes, "split", part).rows().iter().map(|row| row.group.clone().unwrap()).collect()
    };
    let (train, test) = (pictures("train"), pictures("test"));
    assert!(train.is_disjoint(&test), "{train:?} and {test:?}");
    assert_eq!((train.len(), test.len()), (7, 3));

    // Eight cells a picture; the uncategorised one is left out, and a picture without labels is said.
    let counts = place.laid_out("chula/report/tables/counts.csv");
    let row = |class: &str| counts.lines().find(|row| row.contains(class)).unwrap_or("").split(',').map(String::from).collect::<Vec<_>>();
    for class in ["normal", "spherocyte", "target cell", "elliptocyte"] {
        assert_eq!(row(class)[2..4], ["14", "6"], "{counts}");
    }
    assert!(!counts.contains("uncategorised"), "{counts}");
    let page = place.laid_out("chula/report/report.html");
    for words in ["by group, no group in two parts", "1 picture without labels not used", "normal: 6330 published, 20 found"] {
        assert!(page.contains(words), "`{words}` is not on the page");
    }
}

#[test]
fn the_endoscopy_study_refuses_leaks_and_runs_from_frames_to_reports() {
    let place = Place::of("endo.ron");
    let classes = [("bbps-2-3", 14), ("polyps", 14), ("cecum", 12), ("z-line", 12), ("ileum", 7)];
    hyper_kvasir(&place.path("data/hyper_kvasir"), &classes, 12);
    start(&place);
    let frame = |class: &str, i: usize| (format!("hyper_kvasir/labeled-images/{class}/{class}-{i:03}.jpg"), class.to_string());
    let frames = |of: &dyn Fn(usize) -> std::ops::Range<usize>| -> Vec<(String, String)> {
        classes.iter().flat_map(|(class, n)| of(*n).map(|i| frame(class, i)).collect::<Vec<_>>()).collect()
    };
    let folder = place.path("data/sparsam_splits/endo");
    list(&folder.join("labeled_train.csv"), &frames(&|n| 0..n * 7 / 10));
    list(&folder.join("test.csv"), &frames(&|n| 0..n / 4));

    // The published test list is of the same kind as this one: all of it in the training list.
    let lists = r#"Lists(train: "$FLOW_DATA/sparsam_splits/endo/labeled_train.csv", test: "$FLOW_DATA/sparsam_splits/endo/test.csv")"#;
    let refused = place.flow("run", &["split", "--set", &format!("split.how={lists}")]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("13 of the 13 test images are in the train list too"), "{}", refused.err);

    // A frame without a label that tests under another name.
    let unlabelled = place.path("data/hyper_kvasir/unlabeled-images/images/u00.jpg");
    std::fs::copy(place.path("data/hyper_kvasir/labeled-images/lower-gi-tract/findings/cecum/cecum-011.jpg"), unlabelled).unwrap();
    let refused = place.flow("run", &["pool"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("pool 2 holds 1 test image (1 by their bytes): `u00` goes with `cecum-011` first"), "{}", refused.err);
    assert!(refused.err.contains("leave them out of the pool with `leave_out_test: true`"), "{}", refused.err);

    let mut settings = small_study(&[]);
    settings.push("pool.leave_out_test=true".into());
    settings.push(r#"pool.of=[(images: "split.train"), (images: "unlabelled", weight: 0.5)]"#.into());
    let (said, nodes) = run(&place, &settings);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!((nodes.with("ran").len() + nodes.with("reused").len(), nodes.with("failed").len()), (16, 0));
    let names = |node: &str, port: &str| -> std::collections::BTreeSet<String> {
        place.images(&nodes, node, port).rows().iter().map(|row| row.id.to_string()).collect()
    };
    // 38 labelled ones and 12 without labels, of which one tests and two are one.
    let (pool, test) = (names("pool", "images"), names("split", "test"));
    assert_eq!((pool.len(), test.len()), (38 + 10, 21));
    assert!(pool.is_disjoint(&test) && !pool.contains("u00"), "{pool:?}");

    let page = place.laid_out("endoscopy/report/report.html");
    for words in [
        "test is the 21 labelled images that no list names",
        "1 test image (1 by their bytes)",
        "pool 2: 10 images, each 0.5 times in an epoch",
        "polyps: 1028 published, 14 found",
        "the names tell no patient",
    ] {
        assert!(page.contains(words), "`{words}` is not on the page");
    }
    let table = place.laid_out("endoscopy/report/tables/balanced-accuracy.csv");
    assert!(table.lines().any(|row| row == "paper (Table 1),SVM,.36(.03),.52(.02)"), "{table}");
    let table = place.laid_out("endoscopy/report_250/tables/balanced-accuracy.csv");
    assert!(table.lines().any(|row| row == "paper (Table 1),SVM,.55(.05),.78(.02)"), "{table}");
}

#[test]
fn the_skin_lesion_study_shows_the_figures_by_image_and_by_lesion_side_by_side() {
    let place = Place::of("isic.ron");
    let pictures = isic_2019(&place.path("data/isic_2019"), &[("MEL", 12), ("NV", 16), ("BCC", 12), ("DF", 10)]);
    isic_2020(&place.path("data/isic_2020"), 12);
    start(&place);
    // By image, so that lesions lie in both; the test pictures under a folder in which they do not lie, as published.
    let (test, train): (Vec<_>, Vec<_>) = pictures.into_iter().enumerate().partition(|(i, _)| i % 3 == 2);
    let under = |folder: &str, rows: Vec<(usize, (String, String))>| -> Vec<(String, String)> {
        rows.into_iter().map(|(_, (name, label))| (format!("{folder}/{name}.jpg"), label)).collect()
    };
    let folder = place.path("data/sparsam_splits/isic");
    list(&folder.join("labeled_train.csv"), &under("ISIC_2019_Training_Input", train));
    list(&folder.join("test.csv"), &under("ISIC_2019_Test_Input", test));

    let strict = place.flow("run", &["split", "--set", "split.protocol=Strict"]);
    assert_eq!(strict.code, 1, "{}", strict.err);
    assert!(strict.err.contains("groups in two parts") && strict.err.contains("`protocol: Paper`"), "{}", strict.err);

    let settings = small_study(&["dino_lesion", "features_lesion", "sweep_lesion"]);
    let (said, nodes) = run(&place, &settings);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!((nodes.with("ran").len() + nodes.with("reused").len(), nodes.with("failed").len()), (22, 0));
    assert_eq!(place.images(&nodes, "pool", "images").len(), 34 + 12);

    let lesions = |part: &str| -> std::collections::BTreeSet<String> {
        place.images(&nodes, "split_lesion", part).rows().iter().map(|row| row.group.clone().unwrap()).collect()
    };
    assert!(lesions("train").is_disjoint(&lesions("test")));
    let page = place.laid_out("skin-lesions/report/report.html");
    for words in [
        "as lists say (protocol: Paper)",
        "protocol `Paper`: divided by image though groups are known",
        "protocol `Paper`: pool 1 holds",
        "4 images without a lesion",
    ] {
        assert!(page.contains(words), "`{words}` is not on the page");
    }
    let table = place.laid_out("skin-lesions/report_lesion/tables/balanced-accuracy.csv");
    for start in ["\"DINO, by lesion\",SVM,", "\"DINO, by image (paper)\",SVM,", "paper (Table 1),SVM,.22(.03),.36(.02)"] {
        assert_eq!(table.lines().filter(|row| row.starts_with(start)).count(), 1, "`{start}` in\n{table}");
    }
    let page = place.laid_out("skin-lesions/report_lesion/report.html");
    assert!(page.contains("by group, no group in two parts") && page.contains("groups: test reached a share of"), "the lesion split");
}
