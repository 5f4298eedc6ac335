//! The laws of splitting.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::data::{IdList, ImageId, ImageRow, ImageTable, Labels, Place, Print, Prints};
use crate::diagnostic::Failure;
use crate::digest::Digest;

const NOWHERE: [&str; 0] = [];

/// Images `CLASS-NNN`, of the given counts; every four neighbours of the whole list share a group where there are groups.
fn set(counts: &[usize], grouped: bool) -> (ImageTable, Labels) {
    let mut names = BTreeMap::new();
    for (class, n) in counts.iter().enumerate() {
        (0..*n).for_each(|i| drop(names.insert(ImageId(format!("{class}-{i:03}")), format!("class {class}"))));
    }
    let row = |(i, id): (usize, &ImageId)| ImageRow {
        id: id.clone(),
        path: format!("old/place/{id}.jpg"),
        file: Digest::of(id.as_str().as_bytes()),
        place: Place::Whole,
        width: 8,
        height: 8,
        group: grouped.then(|| format!("group {}", i / 4)),
    };
    let images = ImageTable::new(names.keys().enumerate().map(row).collect()).unwrap();
    (images, Labels::from_names(names).unwrap())
}

fn texts(list: &IdList) -> BTreeSet<&str> {
    list.iter().map(ImageId::as_str).collect()
}

#[test]
fn a_stratified_split_covers_all_images_with_scikit_learns_counts() {
    let (images, labels) = set(&[40, 11, 9], false);
    let division = Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap();
    let counts: Vec<(usize, usize)> = division.counts.iter().map(|c| (c.train, c.test)).collect();
    assert_eq!(counts, [(28, 12), (8, 3), (6, 3)]);
    assert_eq!(division.lists.train().len() + division.lists.test().len(), images.len());
}

#[test]
fn another_seed_is_another_split_and_the_same_seed_the_same() {
    let (images, labels) = set(&[40, 11, 9], false);
    let split = |seed| Split::Stratified(Stratified::default()).divide(&images, &labels, seed, &NOWHERE, &Guard::default()).unwrap().lists;
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
}

#[test]
fn one_more_image_moves_hardly_any_other() {
    let (images, labels) = set(&[40, 11], false);
    let (more_images, more_labels) = set(&[41, 11], false);
    let split =
        |images, labels| Split::Stratified(Stratified::default()).divide(images, labels, 1, &NOWHERE, &Guard::default()).unwrap().lists;
    let (before, after) = (split(&images, &labels), split(&more_images, &more_labels));
    assert!(texts(before.test()).symmetric_difference(&texts(after.test())).count() <= 3);
}

#[test]
fn validation_takes_its_share_and_thinning_touches_train_alone() {
    let (images, labels) = set(&[40, 20], false);
    let how = Stratified { test: 0.25, validation: 0.25, max_per_class: Some(12), ..Stratified::default() };
    let division = Split::Stratified(how).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap();
    let counts: Vec<_> = division.counts.iter().map(|c| (c.train, c.test, c.validation)).collect();
    assert_eq!(counts, [(12, 10, 10), (10, 5, 5)]);
    assert_eq!(division.notes, ["8 images left out of train, which keeps at most 12 of each class"]);
}

#[test]
fn a_class_with_one_image_is_refused_by_name() {
    let (images, labels) = set(&[9, 1], false);
    let failure = Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap_err();
    assert_eq!(failure.message(), "splitting: 1 class with a single image cannot be divided: `class 1`");
}

#[test]
fn copies_of_a_picture_in_two_parts_are_refused_unless_allowed() {
    let (images, labels) = set(&[20, 20], false);
    let copies = images.rows().iter().cloned().map(|row| ImageRow { file: Digest::of(b"same"), ..row }).collect();
    let copies = ImageTable::new(copies).unwrap();
    let split = |allow_copies| {
        Split::Stratified(Stratified { allow_copies, ..Stratified::default() }).divide(&copies, &labels, 1, &NOWHERE, &Guard::default())
    };
    assert!(split(false).unwrap_err().message().starts_with("splitting: 12 images with the same bytes as an image of another part: "));
    assert_eq!(split(true).unwrap().notes.len(), 1);
}

#[test]
fn no_group_lies_in_two_parts_and_classes_keep_their_proportions() {
    let (images, labels) = set(&[200, 101, 60], true);
    for seed in 0..5 {
        let how = GroupedStratified { test: 0.3, validation: 0.2, ..GroupedStratified::default() };
        let division = Split::GroupedStratified(how).divide(&images, &labels, seed, &NOWHERE, &Guard::default()).unwrap();
        let mut part_of: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, ids) in division.lists.parts() {
            for id in ids {
                let group = images.rows()[images.position(id).unwrap()].group.as_deref().unwrap();
                assert_eq!(*part_of.entry(group).or_insert(name), name, "{group} with seed {seed}");
            }
        }
        for class in &division.counts {
            let share = class.test as f64 / (class.train + class.test + class.validation) as f64;
            assert!((share - 0.3).abs() < 0.04, "{class:?}");
        }
        assert!(division.notes[0].starts_with("91 groups: test reached a share of 0."), "{:?}", division.notes);
    }
}

#[test]
fn an_image_without_a_label_whose_group_tests_is_left_out_of_a_grouped_split() {
    let (images, labels) = set(&[40, 20], true);
    // The first image of every group has no label.
    let first = |id: &ImageId| images.position(id).is_some_and(|row| row % 4 == 0);
    let known = labels.iter().filter(|(id, _)| !first(id)).map(|(id, class)| (id.clone(), class)).collect();
    let labels = Labels::new(labels.classes().to_vec(), known).unwrap();
    let how = Split::GroupedStratified(GroupedStratified::default());
    let division = how.divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap();
    let groups_of_test = division.lists.test().len() / 3;
    assert_eq!(division.lists.train().len(), 60 - 4 * groups_of_test);
    let said = format!("{groups_of_test} images without a label left out, whose group is not in train");
    assert!(division.notes.contains(&said), "{:?}", division.notes);
}

#[test]
fn groups_are_needed_for_a_grouped_split() {
    let (images, labels) = set(&[20, 20], false);
    let failure =
        Split::GroupedStratified(GroupedStratified::default()).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap_err();
    assert_eq!(failure.message(), "splitting: no image has a group");
}

#[test]
fn a_split_by_image_that_divides_groups_is_refused_unless_the_protocol_is_the_papers() {
    let (images, labels) = set(&[40, 20], true);
    let split = |protocol| {
        let guard = Guard { protocol, ..Guard::default() };
        Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &guard)
    };
    let failure = split(Protocol::Strict).unwrap_err();
    assert_eq!(
        failure.message(),
        "splitting: 11 groups in two parts, with 18 images whose group is in another part already: `group 0` with `0-000` and `0-003` first"
    );
    assert!(failure.way_out().unwrap().contains("`protocol: Paper`"));
    let paper = split(Protocol::Paper).unwrap();
    let said = "protocol `Paper`: divided by image though groups are known; 11 groups in two parts, 18 images whose group is in another part already, `0-000` and `0-003` of `group 0` first";
    assert_eq!(paper.notes, [said]);
}

#[test]
fn pictures_that_are_alike_are_refused_in_two_parts_and_a_grouped_split_keeps_them_together() {
    let (images, labels) = set(&[30, 30], false);
    // Three neighbours have the same pixels, and four threes look alike.
    let print = |(i, _): (usize, &ImageRow)| Print { pixels: Digest::of(&[(i / 3) as u8]), look: [(i as u64 / 12) << 20, 0, 0, 0] };
    let prints = Prints::new(images.rows().iter().zip(images.rows().iter().enumerate().map(print)));
    for (near, words) in [(None, "with the same pixels as"), (Some(0), "that within 0 of 256 bits look like")] {
        let guard = || Guard { alike: Some(prints.alike(images.rows(), near).unwrap()), ..Guard::default() };
        let failure = Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &guard()).unwrap_err();
        assert!(failure.message().contains(words), "{failure}");
        let grouped = Split::GroupedStratified(GroupedStratified::default()).divide(&images, &labels, 1, &NOWHERE, &guard()).unwrap();
        let alike = guard().alike.unwrap();
        let numbers = |list: &IdList| -> BTreeSet<usize> {
            list.iter().map(|id| alike.of(&images.rows()[images.position(id).unwrap()]).unwrap()).collect()
        };
        assert!(numbers(grouped.lists.train()).is_disjoint(&numbers(grouped.lists.test())));
        assert!(!grouped.lists.test().is_empty());
    }
}

#[test]
fn a_class_with_one_test_image_is_refused_unless_allowed() {
    let (images, labels) = set(&[40, 4, 3], false);
    let split = |min_test| {
        let guard = Guard { min_test, ..Guard::default() };
        Split::Stratified(Stratified { test: 0.2, ..Stratified::default() }).divide(&images, &labels, 1, &NOWHERE, &guard)
    };
    let failure = split(2).unwrap_err();
    assert_eq!(failure.message(), "splitting: 2 classes with fewer than 2 test images: `class 1` (1), `class 2` (1)");
    assert_eq!(failure.way_out(), Some("leave them out, add images, or accept them with `min_test: 1`"));
    assert_eq!(split(1).unwrap().counts[1].test, 1);
}

#[test]
fn all_reasons_to_refuse_a_split_are_told_at_once() {
    let (images, labels) = set(&[20, 3], true);
    let copies = images.rows().iter().cloned().map(|row| ImageRow { file: Digest::of(b"same"), ..row }).collect();
    let copies = ImageTable::new(copies).unwrap();
    let failure = Split::Stratified(Stratified::default()).divide(&copies, &labels, 1, &NOWHERE, &Guard::default()).unwrap_err();
    let lines: Vec<&str> = failure.message().lines().collect();
    assert_eq!(lines[0], "splitting: 3 reasons to refuse this split:");
    assert!(
        lines[1].contains("same bytes") && lines[2].contains("in two parts") && lines[3].contains("fewer than 2 test images"),
        "{failure}"
    );
}

#[test]
fn an_image_without_a_label_that_is_a_copy_of_a_test_image_is_no_training_image() {
    let (images, labels) = set(&[20, 20], false);
    let known = labels.iter().filter(|(id, _)| id.as_str() != "0-000").map(|(id, class)| (id.clone(), class)).collect();
    let labels = Labels::new(labels.classes().to_vec(), known).unwrap();
    let test = Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap();
    let tested = test.lists.test().iter().next().unwrap().clone();
    let bytes = images.rows()[images.position(&tested).unwrap()].file;
    let with_copy =
        images.rows().iter().cloned().map(|row| ImageRow { file: if row.id.as_str() == "0-000" { bytes } else { row.file }, ..row });
    let images = ImageTable::new(with_copy.collect()).unwrap();
    let failure = Split::Stratified(Stratified::default()).divide(&images, &labels, 1, &NOWHERE, &Guard::default()).unwrap_err();
    assert!(failure.message().contains("1 image with the same bytes as an image of another part: `0-000`"), "{failure}");
}

/// Divides ten images by the two lists.
fn by_lists(train: &str, test: Option<&str>, how: Lists) -> Result<Division, Failure> {
    let (images, labels) = set(&[5, 5], false);
    let folder = tempfile::tempdir().unwrap();
    let mut places = vec![folder.path().join("train.csv")];
    std::fs::write(&places[0], train).unwrap();
    if let Some(test) = test {
        places.push(folder.path().join("test.csv"));
        std::fs::write(&places[1], test).unwrap();
    }
    let how = Lists { train: "x".into(), test: test.map(Into::into), ..how };
    Split::Lists(how).divide(&images, &labels, 1, &places, &Guard::default())
}

const TRAIN: &str = ",image,label\n0,elsewhere/a/0-000.jpg,class 0\n1,elsewhere/b/1-001.jpg,class 1\n";

#[test]
fn published_lists_are_joined_by_what_images_are_called() {
    let division = by_lists(TRAIN, None, Lists::default()).unwrap();
    assert_eq!(texts(division.lists.train()), ["0-000", "1-001"].into());
    assert_eq!(division.lists.test().len(), 8);
    assert_eq!(division.notes, ["test is the 8 labelled images that no list names"]);
}

#[test]
fn lists_that_overlap_are_refused_with_counts_or_repaired() {
    let test = "id\n0-000\n0-001\n0-002\n0-003\n0-004\n1-000\n1-001\n1-002\n1-003\n1-004\n";
    let failure = by_lists(TRAIN, Some(test), Lists::default()).unwrap_err();
    assert_eq!(failure.message(), "splitting: 2 of the 10 test images are in the train list too, `0-000` first");
    let kept = by_lists(TRAIN, Some(test), Lists { overlap_to_train: true, ..Lists::default() }).unwrap();
    assert_eq!((kept.lists.train().len(), kept.lists.test().len()), (2, 8));
}

#[test]
fn lists_that_name_unknown_images_leave_some_out_or_contradict_labels_are_refused() {
    let said = |train: &str, test: Option<&str>| {
        let message = by_lists(train, test, Lists::default()).unwrap_err().message().to_string();
        message.rsplit("csv`: ").next().unwrap().to_string()
    };
    assert_eq!(said("image\n0-000\nnone.jpg\n", None), "1 of 2 listed images not found among the images, `none.jpg` (unknown) first");
    assert_eq!(said(TRAIN, Some("id\n0-001\n")), "splitting: 7 labelled images in no list, `0-002` first");
    let both = "splitting: 1 of the 2 test images are in the train list too, `0-000` first; 7 labelled images in no list, `0-002` first";
    assert_eq!(said(TRAIN, Some("id\n0-000\n0-001\n")), both);
    assert_eq!(said("image,label\n0-000,class 1\n", None), "1 label not as in the data set: `0-000` is `class 1` there and `class 0` here");
}

#[test]
fn lists_apart_by_semicolons_with_other_class_names_and_made_smaller_pictures_are_understood() {
    let row = |id: &str| ImageRow {
        id: id.into(),
        path: String::new(),
        file: Digest::of(id.as_bytes()),
        place: Place::Whole,
        width: 8,
        height: 8,
        group: None,
    };
    let ids = ["ISIC_1_downsampled", "ISIC_2", "u3", "u4", "u5", "u6"];
    let images = ImageTable::new(ids.iter().map(|id| row(id)).collect()).unwrap();
    let labels = Labels::from_names(ids.iter().map(|id| (ImageId::from(*id), "polyps".to_string())).collect()).unwrap();
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "file-name;class-name;split-index\nISIC_1.jpg;polyp;0\nISIC_2_downsampled.jpg;polyps;0\nu3.jpg;;1\n")
        .unwrap();
    let how = Split::Lists(Lists { train: "x".into(), ..Lists::default() });
    let division = how.divide(&images, &labels, 1, &[list.path()], &Guard::default()).unwrap();
    assert_eq!(texts(division.lists.train()), ["ISIC_1_downsampled", "ISIC_2", "u3"].into());
    std::fs::write(list.path(), "file-name;class-name\nu3.jpg;normal-z-line\n").unwrap();
    assert!(how.divide(&images, &labels, 1, &[list.path()], &Guard::default()).is_err());
}

/// Twelve images of two classes of HyperKvasir, which its table calls otherwise.
fn kvasir() -> (ImageTable, Labels) {
    let (images, _) = set(&[12], false);
    let class = |i: usize| if i < 8 { "polyps" } else { "cecum" };
    let labels = images.ids().iter().enumerate().map(|(i, id)| (id.clone(), class(i).to_string())).collect();
    (images, Labels::from_names(labels).unwrap())
}

/// HyperKvasir's table for these images, image i in fold i modulo 3.
fn fold_table() -> String {
    let class = |i: usize| if i < 8 { "polyp" } else { "normal-cecum" };
    let lines = (0..12).map(|i| format!("0-{i:03}.jpg;{};{}\n", class(i), i % 3));
    format!("file-name;class-name;split-index\n{}", lines.collect::<String>())
}

fn fold_split(how: &Folds, table: &str) -> Result<Division, Failure> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), table).unwrap();
    let (images, labels) = kvasir();
    Split::Folds(how.clone()).divide(&images, &labels, 0, &[file.path()], &Guard { min_test: 1, ..Guard::default() })
}

#[test]
fn one_fold_of_a_published_table_tests_and_the_others_train() {
    let how = Folds { file: "x".into(), test: 2, ..Folds::default() };
    let lists = fold_split(&how, &fold_table()).unwrap().lists;
    assert_eq!(texts(lists.test()), BTreeSet::from(["0-002", "0-005", "0-008", "0-011"]));
    assert_eq!((lists.train().len(), lists.validation().len()), (8, 0));
    let how = Folds { validation: Some(0), ..how };
    let lists = fold_split(&how, &fold_table()).unwrap().lists;
    assert_eq!(texts(lists.validation()), BTreeSet::from(["0-000", "0-003", "0-006", "0-009"]));
    assert_eq!((lists.train().len(), lists.test().len()), (4, 4));
    assert_eq!(Split::Folds(how).words(), "as a table of folds says, fold 2 tests, fold 0 validates");
}

#[test]
fn a_table_of_folds_that_does_not_fit_is_refused_with_its_cause() {
    let how = Folds { file: "x".into(), test: 1, ..Folds::default() };
    let refused = |how: &Folds, table: &str| fold_split(how, table).unwrap_err().message().to_string();
    let table = fold_table();
    let none = Folds { test: 7, ..how.clone() };
    assert!(refused(&none, &table).ends_with("no image is in fold 7: found 0, 1, 2"));
    let same = Folds { validation: Some(1), ..how.clone() };
    assert!(refused(&same, &table).contains("another fold than the one that tests, got 1 for both"));
    let twice = format!("{table}0-000.jpg;polyp;1\n");
    assert!(refused(&how, &twice).ends_with("`0-000` is in fold 0 and in fold 1"));
    let odd = table.replace("0-004.jpg;polyp;1", "0-004.jpg;polyp;one");
    assert!(refused(&how, &odd).ends_with("the fold of `0-004` is `one`: expected a whole number"));
    let list = table.replace("split-index", "index");
    assert!(refused(&how, &list).ends_with("no fold for `0-000`: expected a column `split-index` or `fold` with a whole number"));
    let other = table.replace("0-000.jpg;polyp", "0-000.jpg;ileum");
    assert!(refused(&how, &other).ends_with("1 label not as in the data set: `0-000` is `ileum` there and `polyps` here"));
    let short = table.replace("0-011.jpg;normal-cecum;2\n", "");
    assert!(refused(&how, &short).ends_with("1 labelled image in no fold, `0-011` first"));
    let allowed = Folds { allow_uncovered: true, ..how };
    assert_eq!(fold_split(&allowed, &short).unwrap().lists.train().len(), 7);
}
