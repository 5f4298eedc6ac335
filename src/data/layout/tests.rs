//! Small data sets of every layout, made here and scanned.

use std::io::{Cursor, Write};
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::data::{ImageId, KnownFiles, Pictures, Place};
use crate::stage::Silent;

/// A PNG of one colour.
pub(super) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(width, height, image::Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A folder with the given files.
pub(super) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

pub(super) fn scan(layout: &Layout, place: &Path) -> Result<Ingested, crate::diagnostic::Failure> {
    let scratch = tempfile::tempdir().unwrap().keep();
    let how = Scan { digest_of: &hash_file, packed: &scratch.join("pixels.npy"), monitor: &Silent };
    let places: Vec<&Path> = layout.roots().iter().map(|_| place).collect();
    layout.scan(&places, &how)
}

pub(super) fn classes(ingested: &Ingested) -> Vec<(String, String)> {
    let labels = ingested.labels.as_ref().unwrap();
    labels.iter().map(|(id, class)| (id.to_string(), labels.classes()[class].clone())).collect()
}

fn folder_layout() -> Layout {
    Layout::Folder(Folder { root: "x".into(), ..Folder::default() })
}

#[test]
fn folders_are_classes_and_names_may_be_odd() {
    let set = folder(&[
        ("a b/Käse \"1\",.png", &png(3, 2, [1, 2, 3])),
        ("a b/deep/100%.png", &png(3, 2, [1, 2, 4])),
        ("c/x.jpg", &png(4, 4, [9, 9, 9])),
        ("c/notes.txt", b"read me"),
        (".hidden/x.png", b"no picture"),
    ]);
    let found = scan(&folder_layout(), set.path()).unwrap();
    let ids: Vec<&str> = found.images.rows().iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["a b/Käse \"1\",.png", "a b/deep/100%25.png", "c/x.jpg"]);
    assert_eq!((found.images.rows()[0].width, found.images.rows()[0].height), (3, 2));
    assert_eq!(found.labels.unwrap().classes(), ["a b", "c"]);
    assert_eq!(found.notes, ["1 file passed over that are not named like pictures, `c/notes.txt` first"]);

    let files = KnownFiles(found.images.outside_files().into_iter().map(|(digest, path)| (digest, set.path().join(path))).collect());
    let pictures = Pictures::new(&files);
    let colours: Vec<[u8; 3]> = found.images.rows().iter().map(|row| pictures.load(row).unwrap().at(0, 0)).collect();
    assert_eq!(colours, [[1, 2, 3], [1, 2, 4], [9, 9, 9]]);
}

#[test]
fn a_name_that_is_no_text_is_found_again() {
    use std::os::unix::ffi::OsStrExt;
    let set = folder(&[("a/x.png", &png(2, 2, [1, 1, 1]))]);
    let odd = set.path().join("a").join(std::ffi::OsStr::from_bytes(b"\xff\xfe.png"));
    std::fs::write(&odd, png(2, 2, [5, 5, 5])).unwrap();
    let found = scan(&folder_layout(), set.path()).unwrap();
    assert_eq!(found.images.rows()[0].id.as_str(), "a/%ff%fe.png");
    let digest = found.images.rows()[0].file;
    assert_eq!(set.path().join(&found.images.outside_files()[&digest]), odd);
}

#[test]
fn all_bad_pictures_are_listed_at_once_or_skipped() {
    let whole = png(40, 40, [7, 8, 9]);
    let set = folder(&[("a/cut.png", &whole[..whole.len() / 2]), ("a/empty.png", b""), ("a/good.png", &whole), ("b/text.jpg", b"hello")]);
    let strict = Folder { root: "x".into(), check: Check::Pixels, ..Folder::default() };
    let failure = scan(&Layout::Folder(strict.clone()), set.path()).unwrap_err();
    let said = failure.message().replace(&set.path().display().to_string(), "ROOT");
    assert!(said.starts_with("scanning `ROOT`: 3 pictures cannot be used:\n  `ROOT/a/cut.png`: failed to decode"), "{said}");
    assert!(said.contains("`ROOT/a/empty.png`: the file is empty\n  `ROOT/b/text.jpg`: the content is no picture"), "{said}");

    let skipping = Layout::Folder(Folder { on_bad: OnBad::Skip, ..strict });
    let found = scan(&skipping, set.path()).unwrap();
    assert_eq!(found.images.len(), 1);
    assert!(found.notes[0].starts_with("3 pictures skipped:"), "{:?}", found.notes);
}

#[cfg(feature = "dicom")]
#[test]
fn frames_of_a_file_are_images_of_one_group_where_they_are_asked_for() {
    let several = include_bytes!("../../../tests/golden/pictures/frames.dcm");
    let set = folder(&[("a/loop.dcm", several), ("b/1.png", &png(3, 3, [1, 2, 3]))]);
    let with = |frames, check| {
        let layout = Layout::Folder(Folder { root: "x".into(), frames, check, ..Folder::default() });
        scan(&layout, set.path())
    };
    let first = with(Frames::First, Check::Headers).unwrap();
    assert_eq!(classes(&first), [("a/loop.dcm".into(), "a".into()), ("b/1.png".into(), "b".into())]);
    assert_eq!(first.notes, ["1 file with several frames: the first of each is taken, all with `frames: All`"]);

    let all = with(Frames::All, Check::Pixels).unwrap();
    let ids: Vec<&str> = all.images.rows().iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["a/loop.dcm#1", "a/loop.dcm#2", "a/loop.dcm#3", "b/1.png"]);
    assert_eq!(classes(&all)[2], ("a/loop.dcm#3".into(), "a".into()));
    let groups: Vec<Option<&str>> = all.images.rows().iter().map(|row| row.group.as_deref()).collect();
    assert_eq!(groups, [Some("a/loop.dcm"), Some("a/loop.dcm"), Some("a/loop.dcm"), Some("b/1.png")]);
    let files = KnownFiles(all.images.outside_files().into_iter().map(|(digest, path)| (digest, set.path().join(path))).collect());
    let pictures = Pictures::new(&files);
    let [one, two] = [0, 1].map(|row| pictures.load(&all.images.rows()[row]).unwrap());
    assert_eq!(one.at(3, 4), two.at(8, 4));

    // A file that says it has frames which it has not is bad whatever is looked at.
    let at = several.windows(2).position(|two| two == b"3 ").unwrap();
    let lying = [&several[..at], b"77", &several[at + 2..]].concat();
    std::fs::write(set.path().join("a/loop.dcm"), lying).unwrap();
    let failure = with(Frames::All, Check::Headers).unwrap_err();
    assert!(failure.message().ends_with("a/loop.dcm`: the DICOM file says it has 77 frames, and holds 3"), "{failure}");
}

#[test]
fn a_changed_label_changes_nothing_in_the_images() {
    let pictures = [("p/1.png", png(2, 2, [1, 1, 1])), ("p/2.png", png(2, 2, [2, 2, 2])), ("p/3.png", png(2, 2, [3, 3, 3]))];
    let set = folder(&pictures.each_ref().map(|(path, bytes)| (*path, &bytes[..])));
    let layout =
        Layout::Table(PathTable { file: "x".into(), label: Some("label".into()), group: Some("patient".into()), ..PathTable::default() });
    let with = |text: &str| {
        let file = set.path().join("t.csv");
        std::fs::write(&file, text).unwrap();
        scan(&layout, &file).unwrap()
    };
    let before = with("path,label,patient\np/1.png,a,P1\np/2.png,b,P1\np/3.png,,\n");
    let after = with("path,label,patient\np/1.png,b,P1\np/2.png,a,P1\np/3.png,,\n");
    assert_eq!(before.images, after.images);
    assert_eq!(classes(&before), [("p/1.png".into(), "a".into()), ("p/2.png".into(), "b".into())]);
    assert_ne!(before.labels, after.labels);
    let groups: Vec<Option<&str>> = before.images.rows().iter().map(|r| r.group.as_deref()).collect();
    assert_eq!(groups, [Some("P1"), Some("P1"), Some("alone:p/3.png")]);
    assert_eq!(before.notes, ["1 image without a label", "1 image without a group, each taken as a group of its own"]);
    let names: Vec<String> = layout.files(&[set.path().join("t.csv")]).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["file/", "root/p/1.png", "root/p/2.png", "root/p/3.png"]);
}

#[test]
fn a_table_cannot_reach_outside_its_root_and_a_slip_is_understood() {
    let set = folder(&[("t.csv", b"path,label\n../secret.png,a\n")]);
    let layout = |column: &str| Layout::Table(PathTable { file: "x".into(), label: Some(column.into()), ..PathTable::default() });
    let said = |column: &str| scan(&layout(column), &set.path().join("t.csv")).unwrap_err();
    assert!(said("label").message().ends_with("line 2: `../secret.png` does not lie below the root"));
    assert_eq!(said("lable").way_out(), Some("did you mean `label`?"));
}

/// An `.npy` array as numpy writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (text.len() + 11) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn npz(arrays: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    file
}

#[test]
fn arrays_are_unpacked_stored_or_deflated_and_labels_stay_apart() {
    let arrays = |labels: &[u8]| {
        vec![
            ("train_images", npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4])),
            ("train_labels", npy("<i8", "(2, 1)", &[labels[0], 0, 0, 0, 0, 0, 0, 0, labels[1], 0, 0, 0, 0, 0, 0, 0])),
            ("test_images", npy("|u1", "(1, 1, 2)", &[5, 6])),
            ("test_labels", npy("|u1", "(1,)", &[1])),
        ]
    };
    let layout = Layout::Npz(Npz { file: "x".into(), classes: Some(vec!["shirt".into(), "shoe".into()]) });
    let stored = scan(&layout, npz(&arrays(&[0, 1]), zip::CompressionMethod::Stored).path()).unwrap();
    let deflated = scan(&layout, npz(&arrays(&[1, 1]), zip::CompressionMethod::Deflated).path()).unwrap();
    assert_eq!(stored.images, deflated.images);
    assert_ne!(stored.labels, deflated.labels);
    assert_eq!(
        classes(&stored),
        [("test_00000", "shoe"), ("train_00000", "shirt"), ("train_00001", "shoe")].map(|(a, b)| (a.to_string(), b.to_string()))
    );
    let packed = stored.packed.unwrap();
    let files = KnownFiles([(packed.digest, packed.path)].into());
    let row = &stored.images.rows()[stored.images.position(&ImageId::from("train_00001")).unwrap()];
    assert_eq!(row.place, Place::Row(1));
    assert_eq!(Pictures::new(&files).load(row).unwrap().pixels(), [3, 3, 3, 4, 4, 4]);
}

#[test]
fn arrays_that_do_not_fit_are_refused_with_their_names() {
    let said = |arrays: &[(&str, Vec<u8>)]| {
        let layout = Layout::Npz(Npz { file: "x".into(), classes: None });
        let failure = scan(&layout, npz(arrays, zip::CompressionMethod::Stored).path()).unwrap_err();
        failure.message().split_once("`: ").unwrap().1.to_string()
    };
    let images = ("train_images", npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4]));
    assert_eq!(said(&[images.clone(), ("train_labels", npy("|u1", "(1,)", &[0]))]), "`train` has 2 images but 1 label");
    for descr in ["", "<f8", "é8", "<u16"] {
        let labels = ("train_labels", npy(descr, "(2,)", &[0; 16]));
        assert_eq!(said(&[images.clone(), labels]), format!("`train_labels` holds `{descr}`: expected whole numbers"));
    }
    assert!(said(&[("train_images", npy("|u1", "(9, 1, 2)", &[1, 2, 3]))]).starts_with("`train_images` ends before image 1 of 9"));
    assert!(
        said(&[("train_images", npy("<f4", "(1, 1, 1)", &[0; 4]))]).contains("an array of `<f4` with shape [1, 1, 1] holds no pictures")
    );
    assert!(said(&[("x", vec![])]).contains("no pictures: expected `train_images` or `test_images`, found `x.npy`"));
    let other = ("test_images", npy("|u1", "(1, 1, 3)", &[1, 2, 3]));
    assert!(said(&[images, other]).contains("`test_images` holds pictures of another size"));
}

#[test]
fn cells_are_cut_out_grouped_by_picture_and_dropped_by_class() {
    // A PNG named .jpg, as in the published set.
    let mut picture = image::RgbImage::from_pixel(20, 10, image::Rgb([50, 60, 70]));
    picture.put_pixel(4, 5, image::Rgb([255, 0, 0]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    let set = folder(&[
        ("Dataset/2.jpg", &bytes),
        ("Dataset/10.jpg", &bytes),
        ("Dataset/11.jpg", &bytes),
        ("Label/2.txt", b"4 5 12\n0 0 10\n"),
        ("Label/10.txt", b"19 9 0\n"),
    ]);
    let layout = Layout::Chula(Chula { root: "x".into(), crop: 4, ..Chula::default() });
    let found = scan(&layout, set.path()).unwrap();
    assert_eq!(classes(&found), [("02-001".into(), "elliptocyte".into()), ("10-001".into(), "normal".into())]);
    assert_eq!(found.images.rows()[1].group.as_deref(), Some("10"));
    assert_eq!(found.notes, ["1 picture without labels not used"]);
    assert_eq!(found.differences.len(), 13);
    let packed = found.packed.unwrap();
    let files = KnownFiles([(packed.digest, packed.path)].into());
    let cell = Pictures::new(&files).load(&found.images.rows()[0]).unwrap();
    assert_eq!((cell.at(2, 2), cell.at(0, 0)), ([255, 0, 0], [50, 60, 70]));
}

#[test]
fn bone_marrow_ranges_and_flat_classes_are_read_and_counted() {
    let picture = png(5, 5, [3, 3, 3]);
    let files = ["ART/0001-1000/ART_00001.jpg", "ART/19001-19630/ART_19001.jpg", "BAS/BAS_00365.jpg"];
    let set = folder(&files.map(|path| (path, &picture[..])));
    let layout = Layout::BoneMarrow(BoneMarrow { root: "x".into(), ..BoneMarrow::default() });
    let found = scan(&layout, set.path()).unwrap();
    let expected = [("ART_00001", "ART"), ("ART_19001", "ART"), ("BAS_00365", "BAS")].map(|(a, b)| (a.to_string(), b.to_string()));
    assert_eq!(classes(&found), expected);
    assert_eq!(found.labels.as_ref().unwrap().classes().last().unwrap(), "ABE");
    let all = found.differences.last().unwrap();
    assert_eq!((all.what.as_str(), all.expected, all.found), ("all images", 171_374, 3));

    std::fs::rename(set.path().join("BAS/BAS_00365.jpg"), set.path().join("BAS/ART_00365.jpg")).unwrap();
    let failure = scan(&layout, set.path()).unwrap_err();
    assert!(failure.message().ends_with("1 file not as published:\n  `BAS/ART_00365.jpg`: the folder says `BAS`, the name does not"));
}

#[test]
fn a_file_that_changed_since_the_scan_is_not_used() {
    let set = folder(&[("a/1.png", &png(2, 2, [1, 1, 1]))]);
    let found = scan(&folder_layout(), set.path()).unwrap();
    std::fs::write(set.path().join("a/1.png"), png(2, 2, [2, 2, 2])).unwrap();
    let digest = found.images.rows()[0].file;
    let files = KnownFiles([(digest, set.path().join("a/1.png"))].into());
    let failure = Pictures::new(&files).load(&found.images.rows()[0]).unwrap_err();
    assert!(failure.message().contains("has changed: its content is"), "{failure}");
}

#[test]
fn a_user_writes_a_layout_in_one_line() {
    use ron::extensions::Extensions;
    let extensions = Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES;
    let ron = ron::Options::default().with_default_extension(extensions);
    let layout: Layout = ron.from_str(r#"Chula(root: "../cells", max_per_class: 700)"#).unwrap();
    assert_eq!(layout.roots(), [("root", &"../cells".into())]);
    let wrong: Layout = ron.from_str("Chula(crop: 0)").unwrap();
    let said: Vec<String> = wrong.check().into_iter().map(|(field, what)| format!("{field} {what}")).collect();
    assert_eq!(said, ["root must name where the data set lies", "crop must be 1 to 4096 pixels, got 0"]);
}

#[test]
fn the_demo_data_is_what_its_page_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo-data/fashion-mnist.npz");
    let found = scan(&Layout::Npz(Npz { file: "x".into(), classes: None }), &file).unwrap();
    assert_eq!(found.images.len(), 6_000);
    assert_eq!(found.labels.unwrap().counts(), [600; 10]);
    assert_eq!(found.images.rows()[0].id.as_str(), "test_00000");
}

#[cfg(feature = "dicom")]
#[test]
fn dicom_is_known_by_its_content_whatever_it_is_called() {
    let dicom = include_bytes!("../../../tests/golden/pictures/grey.dcm");
    let set =
        folder(&[("a/IM000001", dicom), ("a/1.2.840.10008", dicom), ("b/x.dcm", dicom), ("b/DICOMDIR", dicom), ("b/README", b"hello")]);
    let found = scan(&folder_layout(), set.path()).unwrap();
    assert_eq!(found.images.ids().iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["a/1.2.840.10008", "a/IM000001", "b/x.dcm"]);
    assert_eq!(found.notes, ["2 files passed over that are not named like pictures, `b/DICOMDIR` first"]);
    assert_eq!(Survey::of(set.path()).unwrap().classes, std::collections::BTreeMap::from([("a".to_string(), 2), ("b".to_string(), 1)]));
}

#[cfg(feature = "dicom")]
#[test]
fn frames_of_one_file_are_read_once_and_a_file_that_is_gone_is_not_missed() {
    let bytes = include_bytes!("../../../tests/golden/pictures/frames.dcm");
    let set = folder(&[("a/x.dcm", bytes)]);
    let layout = Layout::Folder(Folder { root: "x".into(), labelled: false, frames: Frames::All, ..Folder::default() });
    let rows = scan(&layout, set.path()).unwrap().images.rows().to_vec();
    let files = KnownFiles([(rows[0].file, set.path().join("a/x.dcm"))].into());
    let pictures = Pictures::new(&files);
    let first = pictures.load(&rows[0]).unwrap();
    std::fs::remove_file(set.path().join("a/x.dcm")).unwrap();
    assert_eq!(pictures.load(&rows[0]).unwrap(), first);
    assert_eq!(pictures.load(&rows[1]).unwrap(), crate::data::decode_frame(bytes, 1).unwrap());
    assert!(Pictures::new(&files).load(&rows[1]).is_err());
}
