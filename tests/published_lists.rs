//! The lists that were published with arXiv:2304.05163: what is wrong with them is found and counted, and the repair gives the paper's counts.
//!
//! The lists tested here are made up with the defects of the published ones. `FLOW_SPARSAM_SPLITS` names a folder with the published ones
//! (`splits` of the paper's code: `endo` and `isic`), which must then give the very same figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use flow::data::{Division, Guard, ImageId, ImageRow, ImageTable, Labels, Lists, Place, Pool, PoolRules, Protocol, Split, join_pools};
use flow::diagnostic::Failure;
use flow::digest::Digest;

/// A class of HyperKvasir: images, of these in the train list, in the test list, and of these not in the train list.
type Class = (&'static str, usize, usize, usize, usize);

const ENDO: [Class; 23] = [
    ("bbps-2-3", 1148, 804, 287, 19),
    ("polyps", 1028, 720, 257, 0),
    ("cecum", 1009, 706, 253, 0),
    ("dyed-lifted-polyps", 1002, 701, 251, 0),
    ("pylorus", 999, 699, 250, 0),
    ("dyed-resection-margins", 989, 692, 247, 0),
    ("z-line", 932, 652, 233, 0),
    ("retroflex-stomach", 764, 535, 191, 0),
    ("bbps-0-1", 646, 452, 162, 10),
    ("ulcerative-colitis-grade-2", 443, 310, 111, 0),
    ("esophagitis-a", 403, 282, 101, 0),
    ("retroflex-rectum", 391, 274, 98, 0),
    ("esophagitis-b-d", 260, 182, 65, 0),
    ("ulcerative-colitis-grade-1", 201, 141, 50, 0),
    ("ulcerative-colitis-grade-3", 133, 93, 33, 0),
    ("impacted-stool", 131, 92, 33, 0),
    ("barretts-short-segment", 53, 37, 14, 6),
    ("barretts", 41, 29, 10, 3),
    ("ulcerative-colitis-grade-0-1", 35, 24, 8, 0),
    ("ulcerative-colitis-grade-2-3", 28, 20, 7, 0),
    ("ulcerative-colitis-grade-1-2", 11, 8, 2, 0),
    ("ileum", 9, 6, 2, 0),
    ("hemorrhoids", 6, 4, 1, 0),
];

/// ISIC 2019: class, images in the train list, in the test list.
const ISIC: [(&str, usize, usize); 8] = [
    ("NV", 9012, 3863),
    ("MEL", 3165, 1357),
    ("BCC", 2326, 997),
    ("BKL", 1837, 787),
    ("AK", 607, 260),
    ("SCC", 440, 188),
    ("VASC", 177, 76),
    ("DF", 167, 72),
];

/// A folder with `endo` and `isic`: the published one where it is at hand, else made up in `made`.
fn lists(made: &Path) -> PathBuf {
    if let Some(folder) = std::env::var_os("FLOW_SPARSAM_SPLITS") {
        return folder.into();
    }
    let write = |name: &str, rows: Vec<(String, &str)>| {
        let lines = rows.iter().enumerate().map(|(i, (path, label))| match *label {
            "" => format!("{i},{path}\n"),
            label => format!("{i},{path},{label}\n"),
        });
        let head = if rows.iter().any(|(_, label)| !label.is_empty()) { ",image,label\n" } else { ",image\n" };
        fs::create_dir_all(made.join(name).parent().unwrap()).unwrap();
        fs::write(made.join(name), head.to_string() + &lines.collect::<String>()).unwrap();
    };
    let frame = |class: &'static str, i: usize| (format!("hyper_kvasir/labeled-images/organ/category/{class}/{class}-{i:04}.jpg"), class);
    let all = |range: &dyn Fn(&Class) -> Vec<usize>| {
        ENDO.iter().flat_map(|class| range(class).into_iter().map(|i| frame(class.0, i)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    write("endo/labeled_train.csv", all(&|(_, _, train, ..)| (0..*train).collect()));
    // Most of it are training images; the rest follows on the training list.
    write("endo/test.csv", all(&|(_, _, train, test, new)| (*new..*test).map(|i| i - new).chain(*train..train + new).collect()));

    let (mut train, mut test, mut n) = (Vec::new(), Vec::new(), 0);
    for (class, n_train, n_test) in ISIC {
        for i in 0..n_train + n_test {
            n += 1;
            let (list, folder, of_part) = if i < n_train { (&mut train, "Training", 1449) } else { (&mut test, "Test", 625) };
            let smaller = if list.len() < of_part { "_downsampled" } else { "" };
            list.push((format!("ISIC_2019_{folder}_Input/ISIC_{n:07}{smaller}.jpg"), class));
        }
    }
    write("isic/labeled_train.csv", train);
    write("isic/test.csv", test);
    let pool = |part: &str, n: usize, first: usize| {
        (first..first + n)
            .map(|i| (format!("ISIC_2020_{}_DICOM_corrected/{}/ISIC_{i:07}.dcm", part, part.to_lowercase()), ""))
            .collect::<Vec<_>>()
    };
    write("isic/unlabeled_train.csv", [pool("Train", 33_125, 1_000_000), pool("Test", 10_982, 2_000_000)].concat());
    made.to_path_buf()
}

/// The paths and labels of a list.
fn rows(list: &Path) -> Vec<(String, String)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(list).unwrap();
    reader.records().map(|row| row.unwrap()).map(|row| (row[1].to_string(), row.get(2).unwrap_or("").to_string())).collect()
}

fn stem(path: &str) -> String {
    path.rsplit('/').next().unwrap().rsplit_once('.').unwrap().0.to_string()
}

fn table<'a>(ids: impl IntoIterator<Item = &'a str>) -> ImageTable {
    let row = |id: &str| ImageRow {
        id: id.into(),
        path: format!("{id}.jpg"),
        file: Digest::of(id.as_bytes()),
        place: Place::Whole,
        width: 8,
        height: 8,
        group: None,
    };
    ImageTable::new(ids.into_iter().map(row).collect()).unwrap()
}

/// All images of a data set by what its lists name, with what they leave out made up: class and number of images.
fn data_set(lists: &[Vec<(String, String)>], sizes: &[(&str, usize)]) -> (ImageTable, Labels) {
    let mut names: BTreeMap<ImageId, String> = BTreeMap::new();
    for (path, label) in lists.iter().flatten() {
        names.insert(stem(path).as_str().into(), label.clone());
    }
    for (class, size) in sizes {
        let known = names.values().filter(|name| name == class).count();
        (known..*size).for_each(|i| drop(names.insert(format!("left-out-{class}-{i}").as_str().into(), class.to_string())));
    }
    let images = table(names.keys().map(ImageId::as_str));
    (images, Labels::from_names(names).unwrap())
}

fn divide(images: &ImageTable, labels: &Labels, train: &Path, test: Option<&Path>, how: Lists) -> Result<Division, Failure> {
    let places: Vec<&Path> = [Some(train), test].into_iter().flatten().collect();
    let how = Lists { train: "train".into(), test: test.map(|_| "test".into()), ..how };
    Split::Lists(how).divide(images, labels, 0, &places, &Guard::default())
}

#[test]
fn the_endoscopy_lists_are_refused_and_the_repair_gives_the_papers_test_images() {
    let made = tempfile::tempdir().unwrap();
    let folder = lists(made.path()).join("endo");
    let (train, test) = (folder.join("labeled_train.csv"), folder.join("test.csv"));
    let (images, labels) = data_set(&[rows(&train), rows(&test)], &ENDO.map(|(class, all, ..)| (class, all)));
    assert_eq!(images.len(), 10_662);

    let failure = divide(&images, &labels, &train, Some(&test), Lists::default()).unwrap_err();
    let said = failure.message();
    assert!(said.starts_with("splitting: 2,628 of the 2,666 test images are in the train list too, `"), "{said}");
    assert!(said.contains("; 3,161 labelled images in no list, `"), "{said}");
    assert!(failure.way_out().unwrap().contains("leave `test` out to test on all labelled images that train does not name"));

    let repaired = divide(&images, &labels, &train, None, Lists::default()).unwrap();
    assert_eq!((repaired.lists.train().len(), repaired.lists.test().len()), (7_463, 3_199));
    for (class, all, train, ..) in ENDO {
        let found = repaired.counts.iter().find(|c| c.class == class).unwrap();
        assert_eq!((found.train, found.test), (train, all - train), "{class}");
    }
    let at_least_250 = repaired.counts.iter().filter(|class| class.train >= 250).count();
    assert_eq!(at_least_250, 12);
}

#[test]
fn what_is_left_of_the_endoscopy_test_list_without_training_images_lacks_most_classes() {
    let made = tempfile::tempdir().unwrap();
    let folder = lists(made.path()).join("endo");
    let (train, test) = (folder.join("labeled_train.csv"), folder.join("test.csv"));
    let (images, labels) = data_set(&[rows(&train), rows(&test)], &ENDO.map(|(class, all, ..)| (class, all)));
    let how = Lists { overlap_to_train: true, allow_uncovered: true, ..Lists::default() };
    let failure = divide(&images, &labels, &train, Some(&test), how).unwrap_err();
    assert!(failure.message().starts_with("splitting: 19 classes with fewer than 2 test images: "), "{failure}");
}

#[test]
fn the_skin_lesion_lists_are_joined_by_id_wherever_they_say_that_images_lie() {
    let made = tempfile::tempdir().unwrap();
    let folder = lists(made.path()).join("isic");
    let (train, test) = (folder.join("labeled_train.csv"), folder.join("test.csv"));
    let (images, labels) = data_set(&[rows(&train), rows(&test)], &[]);
    let division = divide(&images, &labels, &train, Some(&test), Lists::default()).unwrap();
    assert_eq!((division.lists.train().len(), division.lists.test().len()), (17_731, 7_600));
    for (class, train, test) in ISIC {
        let found = division.counts.iter().find(|c| c.class == class).unwrap();
        assert_eq!((found.train, found.test), (train, test), "{class}");
    }
    let smaller = images.rows().iter().filter(|row| row.id.as_str().ends_with("_downsampled")).count();
    assert_eq!(smaller, 2_074);
    // A table that lacks the addition is joined all the same.
    let plain: BTreeSet<String> = images.rows().iter().map(|row| row.id.as_str().replace("_downsampled", "")).collect();
    let names =
        rows(&train).into_iter().chain(rows(&test)).map(|(path, label)| (stem(&path).replace("_downsampled", "").as_str().into(), label));
    let labels = Labels::from_names(names.collect()).unwrap();
    let division = divide(&table(plain.iter().map(String::as_str)), &labels, &train, Some(&test), Lists::default()).unwrap();
    assert_eq!((division.lists.train().len(), division.lists.test().len()), (17_731, 7_600));
}

#[test]
fn of_the_list_without_labels_the_challenges_test_images_are_refused() {
    let made = tempfile::tempdir().unwrap();
    let list = lists(made.path()).join("isic/unlabeled_train.csv");
    // ISIC 2020 has one training image more than the list.
    let train = rows(&list).into_iter().map(|(path, _)| path).filter(|path| path.contains("Train"));
    let ids: Vec<String> = train.map(|path| stem(&path)).chain(["ISIC_not_listed".to_string()]).collect();
    assert_eq!(ids.len(), 33_126);
    let images = table(ids.iter().map(String::as_str));
    let join = |rules: PoolRules| {
        join_pools(vec![Pool { images: images.clone(), list: Some(&list), weight: 1.0 }], &[table(["ISIC_elsewhere"])], &rules)
    };
    let failure = join(PoolRules::default()).unwrap_err();
    let said = failure.message();
    assert!(
        said.starts_with("pool 1: 10,982 of 44,107 listed images not found among the images, `ISIC_2020_Test_DICOM_corrected/test/"),
        "{said}"
    );
    let joined = join(PoolRules { allow_missing: true, protocol: Protocol::Strict, ..PoolRules::default() }).unwrap();
    assert_eq!(joined.images.len(), 33_125);
}
