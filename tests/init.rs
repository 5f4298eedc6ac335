//! `flow init` on a folder of pictures and rubbish: what it says, and that what it writes runs from pictures to a report.

use std::path::Path;
use std::process::{Command, Output};

fn flow(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flow")).current_dir(folder).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Pictures whose brightness tells their class, two classes too small to study, and files that are no pictures.
fn mixed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("cells");
    for (class, n, level) in [("dark \"a\"", 12, 40), ("light", 12, 200), ("rare", 2, 120)] {
        std::fs::create_dir_all(pictures.join(class)).unwrap();
        for i in 0..n {
            let picture = image::RgbImage::from_fn(24, 24, |x, y| image::Rgb([level + ((x * 7 + y * 3 + i) % 30) as u8; 3]));
            picture.save(pictures.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    std::fs::write(pictures.join("light/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    std::fs::write(pictures.join("light/empty.jpg"), b"").unwrap();
    std::fs::write(pictures.join("notes.txt"), b"taken in May").unwrap();
    folder
}

#[test]
fn a_folder_of_mixed_rubbish_becomes_a_pipeline_that_runs() {
    let folder = mixed();
    let (code, out, err) = said(&flow(folder.path(), &["init", "cells"]));
    assert_eq!((code, err.as_str()), (0, "wrote cells.ron; next: flow run cells.ron\n"));
    let expected = r#"26 pictures in 3 classes
       12  dark "a"
       12  light
        2  rare: too few, left out of the study
shorter sides: 24 to 24 pixels, usually 24
left out: 2 files cannot be read: `light/cut.png`, `light/empty.jpg`
left out: 1 file not named like pictures: `notes.txt`
"#;
    assert!(out.starts_with(expected), "{out}");
    let small = ["--set", "dino.epochs=1", "--set", "dino.outputs=32", "--set", "sweep.repeats=2", "--cache", "cache"];
    let (code, out, err) = said(&flow(folder.path(), &[&["run", "cells.ron"], &small[..]].concat()));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("report.html"), "{out}");
}

#[test]
fn what_exists_is_left_alone_and_what_gives_no_study_is_refused() {
    let folder = mixed();
    std::fs::write(folder.path().join("mine.ron"), "precious").unwrap();
    let (code, _, err) = said(&flow(folder.path(), &["init", "cells", "-o", "mine.ron"]));
    assert!(code == 2 && err.contains("failed to write `mine.ron`"), "{err}");
    assert_eq!(std::fs::read_to_string(folder.path().join("mine.ron")).unwrap(), "precious");
    let (code, _, err) = said(&flow(folder.path(), &["init", "cells/light"]));
    assert!(code == 2 && err.contains("a folder named after it"), "{code} {err}");
}
