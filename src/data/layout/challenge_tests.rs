//! Endoscopy and skin lesions as their publishers ship them, in miniature.

use tempfile::TempDir;

use super::tests::{classes, folder, png, scan};
use super::*;

fn hyper_kvasir(labelled: bool) -> Layout {
    Layout::HyperKvasir(HyperKvasir { root: "x".into(), labelled, ..HyperKvasir::default() })
}

fn isic_2019(on_bad: OnBad) -> Layout {
    Layout::Isic2019(Isic2019 { root: "x".into(), on_bad, ..Isic2019::default() })
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

fn groups(found: &Ingested) -> Vec<(&str, &str)> {
    found.images.rows().iter().map(|row| (row.id.as_str(), row.group.as_deref().unwrap_or("none"))).collect()
}

/// Frames `u1` to `u3` and the publisher's table.
fn frames(table: &str) -> TempDir {
    let picture = |n| png(5, 5, [n; 3]);
    folder(&[
        ("lower-gi-tract/anatomical-landmarks/cecum/u1.jpg", &picture(1)),
        ("lower-gi-tract/pathological-findings/polyps/u2.jpg", &picture(2)),
        ("upper-gi-tract/pathological-findings/esophagitis-a/u3.jpg", &picture(3)),
        ("image-labels.csv", table.as_bytes()),
    ])
}

#[test]
fn frames_have_the_class_of_their_folder_which_the_publishers_table_calls_otherwise() {
    let set = frames(
        "Video file,Organ,Finding,Classification\nu1,Lower GI,normal-cecum,x\nu2,Lower GI,polyp,x\nu3,Upper GI,oesophagitis-a,x\ngone,Upper GI,z-line,x\nu1,Lower GI,brand-new,x\n",
    );
    let found = scan(&hyper_kvasir(true), set.path()).unwrap();
    assert_eq!(classes(&found), pairs(&[("u1", "cecum"), ("u2", "polyps"), ("u3", "esophagitis-a")]));
    assert_eq!(found.labels.as_ref().unwrap().classes().len(), 23);
    assert_eq!(
        found.notes,
        [
            "the names tell no patient: frames of one examination may lie in both train and test",
            "`image-labels.csv` names 1 image that no folder holds",
            "1 line of `image-labels.csv` with a class that is not known: not compared",
        ]
    );
    let differences: Vec<(&str, usize, usize)> = found.differences.iter().map(|d| (d.what.as_str(), d.expected, d.found)).collect();
    assert!(differences.contains(&("polyps", 1_028, 1)) && differences.contains(&("all images", 10_662, 3)), "{differences:?}");
    assert_eq!(hyper_kvasir::CLASSES.iter().map(|(_, n)| n).sum::<usize>(), 10_662);
}

#[test]
fn a_label_that_is_not_its_folder_is_refused() {
    let set = frames("file-name,class-name\nu1.jpg,cecum\nu2.jpg,normal-z-line\n");
    let failure = scan(&hyper_kvasir(true), set.path()).unwrap_err();
    let said = failure.message();
    assert!(
        said.ends_with("`image-labels.csv`: 1 label not as in the folders: line 3: `u2` is `normal-z-line` there and lies in `polyps`"),
        "{said}"
    );
}

#[test]
fn frames_without_labels_are_images_alone() {
    let set = folder(&[("images/a.jpg", &png(5, 5, [1; 3])), ("images/b.jpg", &png(5, 5, [2; 3]))]);
    let found = scan(&hyper_kvasir(false), set.path()).unwrap();
    assert_eq!((found.images.len(), found.labels.is_none()), (2, true));
    assert_eq!((found.differences[0].expected, found.differences[0].found), (99_417, 2));
    let failure = scan(&hyper_kvasir(true), set.path()).unwrap_err();
    let said = failure.message().split_once("`: ").unwrap().1;
    assert!(said.starts_with("2 files not as published:\n  `images/a.jpg`: the folder `images` is none of the 23 classes\n"), "{said}");
}

const TRUTH: &str = "ISIC_2019_Training_GroundTruth.csv";
const HEAD: &str = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n";

/// Four pictures of two lesions and one of none; `more` are lines of the table of diagnoses.
fn lesions(more: &str) -> TempDir {
    let truth = format!(
        "{HEAD}ISIC_1,1.0,0,0,0,0,0,0,0,0\nISIC_2_downsampled,0,1.0,0,0,0,0,0,0,0\nISIC_3,0,1.0,0,0,0,0,0,0,0\nISIC_4,0,0,0,0,0,0,0,1.0,0\n{more}"
    );
    let metadata =
        "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_1,50,torso,L7,male\nISIC_2,,,L8,\nISIC_3_downsampled,,,L8,\nISIC_4,,,,\n";
    let picture = |n| png(5, 5, [n; 3]);
    folder(&[
        ("ISIC_2019_Training_Input/ISIC_1.jpg", &picture(1)),
        ("ISIC_2019_Training_Input/ISIC_2_downsampled.jpg", &picture(2)),
        ("ISIC_2019_Training_Input/ISIC_3.jpg", &picture(3)),
        ("ISIC_2019_Training_Input/ISIC_4.jpg", &picture(4)),
        ("ISIC_2019_Training_Input/ISIC_99.jpg", &picture(5)),
        ("ISIC_2019_Training_Input/LICENSE.txt", b"CC-BY-NC"),
        (TRUTH, truth.as_bytes()),
        ("ISIC_2019_Training_Metadata.csv", metadata.as_bytes()),
    ])
}

#[test]
fn lesions_are_joined_by_id_with_and_without_what_was_added_to_it() {
    let set = lesions("");
    let found = scan(&isic_2019(OnBad::Fail), set.path()).unwrap();
    assert_eq!(classes(&found), pairs(&[("ISIC_1", "MEL"), ("ISIC_2_downsampled", "NV"), ("ISIC_3", "NV"), ("ISIC_4", "SCC")]));
    assert_eq!(groups(&found), [("ISIC_1", "L7"), ("ISIC_2_downsampled", "L8"), ("ISIC_3", "L8"), ("ISIC_4", "alone:ISIC_4")]);
    let said = [
        "1 picture left out that `ISIC_2019_Training_GroundTruth.csv` does not name",
        "1 image without a lesion, each taken as a group of its own",
    ];
    assert_eq!(found.notes, said);
    assert_eq!(found.differences.last().map(|d| (d.expected, d.found)), Some((25_331, 4)));
    assert_eq!(found.labels.unwrap().classes()[..3], ["MEL", "NV", "BCC"]);

    std::fs::remove_file(set.path().join("ISIC_2019_Training_Metadata.csv")).unwrap();
    let found = scan(&isic_2019(OnBad::Fail), set.path()).unwrap();
    assert!(found.images.rows().iter().all(|row| row.group.is_none()) && found.notes[0].contains("is not there"), "{:?}", found.notes);
}

#[test]
fn a_table_of_diagnoses_that_is_not_one_hot_is_refused_line_by_line() {
    let set = lesions("ISIC_5,1,1,0,0,0,0,0,0,0\nISIC_6,0,0,0,0,0,0,0,0,0\nISIC_7,0.5,0.5,0,0,0,0,0,0,0\nISIC_1,1,0,0,0,0,0,0,0,0\n");
    let failure = scan(&isic_2019(OnBad::Fail), set.path()).unwrap_err();
    let said = failure.message().split_once("`: ").unwrap().1;
    let expected = "4 lines of `ISIC_2019_Training_GroundTruth.csv` cannot be used:\n  line 6: `ISIC_5` has 2 classes, expected one\n  line 7: `ISIC_6` has 0 classes, expected one\n  line 8: `ISIC_7` has other numbers than 0 and 1\n  line 9: `ISIC_1` stands there already";
    assert_eq!(said, expected);
    std::fs::write(set.path().join(TRUTH), "image,MEL\nISIC_1,1\n").unwrap();
    assert!(scan(&isic_2019(OnBad::Fail), set.path()).unwrap_err().message().ends_with("no column `NV`: found `image`, `MEL`"));
}

#[test]
fn pictures_that_the_table_names_and_nobody_has_are_listed_or_left_out() {
    let set = lesions("ISIC_5,0,0,0,0,0,0,0,0,1\nISIC_6,0,1,0,0,0,0,0,0,0\n");
    let failure = scan(&isic_2019(OnBad::Fail), set.path()).unwrap_err();
    assert!(
        failure.message().contains("2 pictures cannot be used:") && failure.message().contains("ISIC_6.jpg`: `ISIC_2019_Training"),
        "{failure}"
    );
    let found = scan(&isic_2019(OnBad::Skip), set.path()).unwrap();
    assert_eq!(found.images.len(), 4);
}

/// Five training pictures of three patients, a test picture, and a list of duplicates.
fn patients() -> TempDir {
    let truth = "image_name,patient_id,lesion_id,sex,target\nA,IP1,x,male,0\nB,IP1,x,male,1\nC,IP2,x,male,0\nD,IP3,x,male,0\nE,,x,male,0\n";
    let picture = |n| png(5, 5, [n; 3]);
    folder(&[
        ("train/A.jpg", &picture(1)),
        ("train/B.jpg", &picture(2)),
        ("train/C.jpg", &picture(3)),
        ("train/D.jpg", &picture(4)),
        ("train/E.jpg", &picture(5)),
        ("test/T.jpg", &picture(6)),
        ("ISIC_2020_Training_GroundTruth_v2.csv", truth.as_bytes()),
        ("ISIC_2020_Training_Duplicates.csv", b"image_name_1,image_name_2\nB,C\nC,gone\n"),
    ])
}

#[test]
fn patients_with_a_picture_in_common_are_one_group_or_the_picture_goes() {
    let set = patients();
    let with = |how: Isic2020| scan(&Layout::Isic2020(Isic2020 { root: "x".into(), ..how }), set.path()).unwrap();
    let found = with(Isic2020::default());
    assert_eq!(groups(&found), [("A", "IP1"), ("B", "IP1"), ("C", "IP1"), ("D", "IP3"), ("E", "alone:E")]);
    assert_eq!(classes(&found)[1], ("B".to_string(), "malignant".to_string()));
    let left = "1 picture left out that `ISIC_2020_Training_GroundTruth_v2.csv` does not name, such as the challenge's test pictures";
    assert_eq!(found.notes, [left]);
    let published: Vec<usize> = found.differences.iter().map(|d| d.expected).collect();
    assert_eq!(published, [32_542, 584, 33_126]);

    let dropped = with(Isic2020 { duplicates: Duplicates::Drop, ..Isic2020::default() });
    assert_eq!(groups(&dropped).iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["A", "B", "D", "E"]);
    assert_eq!(dropped.notes.last().unwrap(), "1 picture left out that `ISIC_2020_Training_Duplicates.csv` calls a duplicate");
    let all = with(Isic2020 { test: true, ..Isic2020::default() });
    assert_eq!((all.images.len(), all.labels.unwrap().len()), (6, 5));
}

const ONE_PATIENT: &[u8] = b"image_name,patient_id,target\nA,P,0\n";

#[cfg(not(feature = "dicom"))]
#[test]
fn a_folder_of_dicom_files_alone_says_what_to_get() {
    let set = folder(&[("train/A.dcm", b"DICM"), ("ISIC_2020_Training_GroundTruth.csv", ONE_PATIENT)]);
    let failure = scan(&Layout::Isic2020(Isic2020 { root: "x".into(), ..Isic2020::default() }), set.path()).unwrap_err();
    assert!(failure.message().ends_with("expected `train/ISIC_NNNNNNN.jpg` or `.dcm`"), "{failure}");
    assert!(failure.way_out().unwrap().starts_with("found 1 DICOM file, which this `flow` was built without"), "{failure}");
}

#[cfg(feature = "dicom")]
#[test]
fn lesions_are_read_from_dicom_as_from_jpeg() {
    let picture = include_bytes!("../../../tests/golden/pictures/jpeg-ybr.dcm");
    let set = folder(&[("train/A.dcm", picture), ("ISIC_2020_Training_GroundTruth.csv", ONE_PATIENT)]);
    let layout = |check| Layout::Isic2020(Isic2020 { root: "x".into(), check, ..Isic2020::default() });
    let found = scan(&layout(Check::Pixels), set.path()).unwrap();
    assert_eq!(classes(&found), pairs(&[("A", "benign")]));
    assert_eq!((found.images.rows()[0].width, found.images.rows()[0].height), (20, 14));
    std::fs::write(set.path().join("train/A.dcm"), &picture[..picture.len() - 20]).unwrap();
    assert!(scan(&layout(Check::Headers), set.path()).is_ok());
    let failure = scan(&layout(Check::Pixels), set.path()).unwrap_err();
    assert!(failure.message().contains("A.dcm`: the DICOM file ends at byte"), "{failure}");
}
