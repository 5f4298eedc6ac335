//! Pictures of every kind and oddness, held against Pillow and pydicom.
//!
//! `golden/pictures` and `golden/drafts` hold small ones with what those programs make of them, so that this needs nothing else. `FLOW_PYTHON` names a Python
//! with Pillow, pydicom and numpy, and `FLOW_PICTURES` folders with a `:` between them (Pillow's `Tests/images`, pydicom's `test_files`):
//! then every file below them is decoded by both. A picture is within 6 levels of theirs, or refused with a cause; nothing panics.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flow::data::{Rgb, decode, decode_draft, dimensions};
#[cfg(feature = "dicom")]
use flow::data::{decode_frame, frames, header};
use flow::diagnostic::Failure;
use serde_json::Value;

/// How far a value may be from the reference's: of 255.
const LEVELS: u8 = 6;

/// Pictures that are not as the reference has them, and why that stays.
const KNOWN: [(&str, &str); 7] = [
    ("app13.jpg", "four pixels wide: libjpeg repeats the colours of such a picture, where zune-jpeg goes from one to the next"),
    ("exif_imagemagick_orientation.png", "turned by a text of ImageMagick's, which is not read"),
    ("mmap_error.bmp", "says that its pixels begin within its colours"),
    ("pal4rletrns.bmp", "leaves pixels out, which then have no colour"),
    ("pal8rletrns.bmp", "leaves pixels out, which then have no colour"),
    ("xmp_tags_orientation.png", "turned by XMP, which is not read"),
    ("xmp_tags_orientation_exiftool.png", "turned by XMP, which is not read"),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures").join(name)
}

/// Says something even of a test that passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// What the reference makes of each file: its kind, and width, height and RGB, or why it makes nothing.
fn reference(python: &str, files: &[PathBuf]) -> BTreeMap<PathBuf, (String, Result<Rgb, String>)> {
    let out = tempfile::tempdir().unwrap();
    let mut child = Command::new(python)
        .arg(golden("reference.py"))
        .arg(out.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}"));
    let names: String = files.iter().map(|path| format!("{}\n", path.display())).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(names.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{python} ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| answer(line, out.path())).collect()
}

/// A line of the reference's, whose pictures lie in `folder`.
fn answer(line: &str, folder: &Path) -> (PathBuf, (String, Result<Rgb, String>)) {
    let said: Value = serde_json::from_str(line).unwrap();
    let path = PathBuf::from(said["file"].as_str().unwrap());
    let rgb = match said["rgb"].as_str() {
        None => Err(said["error"].as_str().unwrap_or_default().to_string()),
        Some(name) => {
            let size = |i: usize| said["size"][i].as_u64().unwrap() as usize;
            Ok(Rgb::new(size(0), size(1), std::fs::read(folder.join(name)).unwrap()).unwrap())
        }
    };
    (path, (said["kind"].as_str().unwrap_or("").to_string(), rgb))
}

/// The greatest difference of any value, and the share of values that differ by more than is allowed; none where sizes differ.
fn difference(ours: &Rgb, theirs: &Rgb) -> Option<(u8, f64)> {
    let same_size = (ours.width(), ours.height()) == (theirs.width(), theirs.height());
    let differences = || ours.pixels().iter().zip(theirs.pixels()).map(|(a, b)| a.abs_diff(*b));
    let beyond = differences().filter(|d| *d > LEVELS).count();
    same_size.then(|| (differences().max().unwrap_or(0), beyond as f64 / ours.pixels().len() as f64))
}

fn decoded(path: &Path) -> Result<Rgb, Failure> {
    let bytes = std::fs::read(path).unwrap();
    let picture = decode(&bytes)?;
    assert_eq!(dimensions(&bytes).unwrap(), (picture.width(), picture.height()), "{}", path.display());
    Ok(picture)
}

/// The small pictures with what the reference makes of them.
fn fixtures() -> Vec<(PathBuf, Rgb)> {
    let text = std::fs::read_to_string(golden("expected.jsonl")).unwrap();
    let of_line = |line: &str| {
        let (path, (_, rgb)) = answer(line, &golden(""));
        (golden("").join(path), rgb.unwrap())
    };
    text.lines().map(of_line).filter(|(path, _)| cfg!(feature = "dicom") || path.extension().is_none_or(|e| e != "dcm")).collect()
}

#[test]
fn colours_depths_and_turns_of_every_kind_are_the_reference_s() {
    let wrong: Vec<String> = fixtures()
        .iter()
        .filter_map(|(path, theirs)| match decoded(path).map(|ours| difference(&ours, theirs)) {
            Ok(Some((most, _))) if most <= LEVELS => None,
            other => Some(format!("{}: {other:?}", path.display())),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_jpeg_that_is_whole_and_upright_keeps_the_bytes_that_its_decoder_gives() {
    for name in ["baseline.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        assert_eq!(decode(&bytes).unwrap().pixels(), image::load_from_memory(&bytes).unwrap().into_rgb8().as_raw(), "{name}");
    }
}

#[test]
fn the_name_of_a_picture_says_nothing_about_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    for (path, theirs) in fixtures() {
        let renamed = folder.path().join("picture.gif");
        std::fs::copy(&path, &renamed).unwrap();
        assert_eq!(decoded(&renamed).unwrap(), decoded(&path).unwrap(), "{}", path.display());
        assert_eq!(dimensions(&std::fs::read(&renamed).unwrap()).unwrap(), (theirs.width(), theirs.height()));
    }
}

/// Whether a picture may be whole though bytes are missing at its end: padding, or what stands behind the pixels.
fn may_lose(path: &Path) -> usize {
    match path.extension().and_then(|ending| ending.to_str()) {
        // The last chunk, and the checksum of the one before.
        Some("png") => 16,
        // The directory lies before the pixels or behind them, and strips may be padded.
        Some("tif" | "bmp" | "dcm") => 4,
        _ => 0,
    }
}

#[test]
fn a_file_that_is_cut_off_or_damaged_anywhere_is_an_error_or_a_picture_and_never_a_panic() {
    for (path, theirs) in fixtures() {
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let cut = decode(&whole[..at]);
            assert!(cut.is_err() || at + may_lose(&path) >= whole.len(), "{} is read without its end from byte {at} on", path.display());
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                if let Ok(picture) = decode(&damaged) {
                    assert!(picture.pixels().len() <= 4 * 65_536 * theirs.height().max(theirs.width()), "{}", path.display());
                }
            }
        }
    }
}

/// A JPEG of 150 x 108 pixels.
fn drawn(name: &str) -> Vec<u8> {
    std::fs::read(golden("../drafts").join(name).with_extension("jpg")).unwrap()
}

/// Its kinds that are decoded at a fraction of their size.
const DRAFTED: [&str; 9] = ["420", "422", "444", "rgb", "coarse", "fine", "restarts", "turned", "grey"];

#[test]
fn a_draft_is_pillow_s_at_the_fraction_that_leaves_twice_the_wanted_size() {
    for name in DRAFTED {
        for (by, least, most) in [(2, 14, 27), (4, 7, 13), (8, 1, 6)] {
            let theirs = std::fs::read(golden("../drafts").join(format!("{name}.{by}.rgb"))).unwrap();
            let (width, height) = (150usize.div_ceil(by), 108usize.div_ceil(by));
            let (width, height) = if name == "turned" { (height, width) } else { (width, height) };
            let theirs = Rgb::new(width, height, theirs).unwrap();
            for side in [least, most] {
                let ours = decode_draft(&drawn(name), [side, side]).unwrap();
                let (most, beyond) = difference(&ours, &theirs).unwrap_or_else(|| panic!("{name} at 1/{by} for {side}: another size"));
                assert!(most <= LEVELS, "{name} at 1/{by}: {most} levels off, {beyond} of values beyond {LEVELS}");
            }
        }
    }
}

#[test]
fn a_draft_is_the_whole_picture_where_that_is_not_large_or_of_another_kind() {
    for (name, side) in [("420", 28), ("420", 200), ("progressive", 1), ("cmyk", 1)] {
        assert_eq!(decode_draft(&drawn(name), [side, side]).unwrap(), decode(&drawn(name)).unwrap(), "{name} for {side}");
    }
    // Whatever is no JPEG has no draft.
    let png = std::fs::read(golden("alpha.png")).unwrap();
    assert_eq!(decode_draft(&png, [1, 1]).unwrap(), decode(&png).unwrap());
}

#[test]
fn a_draft_of_a_damaged_file_is_no_panic_and_of_a_cut_one_the_error_that_the_whole_picture_is() {
    let said = |read: Result<Rgb, Failure>| read.map_err(|failure| failure.message().to_string());
    for name in ["coarse", "restarts"] {
        let whole = drawn(name);
        for at in 0..whole.len() {
            assert_eq!(said(decode_draft(&whole[..at], [6, 6])), said(decode(&whole[..at])), "{name} up to byte {at}");
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                // Whole where it is no longer of this kind: a header may say any size.
                if let (Err(draft), Ok(_)) = (decode_draft(&damaged, [6, 6]), decode(&damaged)) {
                    panic!("{name} with another byte {at} is refused as a draft alone: {}", draft.message());
                }
            }
        }
    }
}

#[cfg(feature = "dicom")]
#[test]
fn frames_are_told_apart_however_they_are_stored() {
    for name in ["frames.dcm", "frames-jpeg.dcm", "frames-rle.dcm"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        assert_eq!((frames(&bytes).unwrap(), header(&bytes).unwrap().frames), (3, 3), "{name}");
        let first = decode(&bytes).unwrap();
        for frame in 1..3 {
            // Each is the first, moved five pixels to the right for each frame before it.
            let moved = decode_frame(&bytes, frame).unwrap();
            let (x, y) = (12, 7);
            let (was, is) = (first.at(x - 5 * frame, y), moved.at(x, y));
            assert!(was.iter().zip(is).all(|(a, b)| a.abs_diff(b) <= LEVELS), "{name}: {was:?} {is:?}");
        }
        assert_eq!(decode_frame(&bytes, 3).unwrap_err().message(), "frame 4 of 3 is not there");
    }
}

#[test]
fn every_odd_picture_is_decoded_as_pillow_and_pydicom_do_or_refused_with_a_cause() {
    let (Ok(python), Ok(folders)) = (std::env::var("FLOW_PYTHON"), std::env::var("FLOW_PICTURES")) else {
        return say("pictures: left out, for FLOW_PYTHON and FLOW_PICTURES name no Python and no pictures");
    };
    let files: Vec<PathBuf> = folders.split(':').flat_map(|folder| files_below(Path::new(folder))).collect();
    let theirs = reference(&python, &files);
    let (mut counts, mut causes, mut wrong) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for (path, (kind, theirs)) in &theirs {
        let ours = std::panic::catch_unwind(|| decoded(path));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let outcome = match (ours, theirs) {
            (Err(_), _) => {
                wrong.push(format!("{name}: panics"));
                "panics"
            }
            (Ok(Err(failure)), Ok(_)) => {
                causes.entry(failure.message().to_string()).or_default().push(name);
                "refused, read by the reference"
            }
            (Ok(Err(_)), Err(_)) => "refused by both",
            (Ok(Ok(_)), Err(cause)) => {
                causes.entry(format!("read, while the reference says: {cause}")).or_default().push(name);
                "read, refused by the reference"
            }
            (Ok(Ok(ours)), Ok(theirs)) => match difference(&ours, theirs) {
                Some((most, _)) if most <= LEVELS => "the same within 6 levels",
                _ if KNOWN.iter().any(|(known, _)| *known == name) => "different, as is known",
                Some((most, share)) => {
                    wrong.push(format!("{name}: {most} levels off, {:.3} % beyond {LEVELS}", 100.0 * share));
                    "different"
                }
                None => {
                    let size = |picture: &Rgb| format!("{} x {}", picture.width(), picture.height());
                    wrong.push(format!("{name}: {} instead of {}", size(&ours), size(theirs)));
                    "different"
                }
            },
        };
        let kind = if kind.is_empty() { "none of ours" } else { kind };
        *counts.entry((kind.to_string(), outcome)).or_insert(0) += 1;
    }
    for ((kind, outcome), n) in &counts {
        say(&format!("{kind:12} {outcome:32} {n}"));
    }
    for (cause, names) in &causes {
        say(&format!("{cause}: {}", names.join(", ")));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}
