//! A scratch folder with a pipeline and a little data in it, and the `flow` program run there as a user would.
//!
//! An argument or event that changes its form is changed here and nowhere else.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use flow::random::Stream;
use serde_json::Value;
use zip::write::SimpleFileOptions;

/// Two nodes that take no time: enough for whatever does not depend on what nodes do.
pub const TWO_NODES: &str = r#"Pipeline(
    name: "study",
    nodes: {
        "images": Ingest(Npz(file: "data/stripes.npz")),
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.4)),
    },
)"#;

/// The pipeline's file in every house.
pub const FILE: &str = "study.ron";

/// A folder of its own for each test; removed at the end.
pub struct House {
    outer: tempfile::TempDir,
    root: PathBuf,
}

impl House {
    /// Builds a house with this pipeline.
    pub fn new(pipeline: &str) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let house = Self { root: outer.path().join("here"), outer };
        house.write(FILE, pipeline);
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file, with the folders it lies in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces what stands exactly once in a file.
    pub fn edit_in(&self, file: &str, was: &str, is: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert_eq!(text.matches(was).count(), 1, "`{was}` in {file}");
        self.write(file, text.replace(was, is));
    }

    /// Replaces what stands exactly once in the pipeline.
    pub fn edit(&self, was: &str, is: &str) {
        self.edit_in(FILE, was, is);
    }

    /// Moves everything to another folder.
    pub fn move_away(&mut self) {
        let there = self.outer.path().join("there");
        fs::rename(&self.root, &there).unwrap();
        self.root = there;
    }

    /// Writes `data/stripes.npz` as MedMNIST would: `n` pictures of three classes in turn.
    pub fn npz(&self, n: usize) {
        self.write("data/stripes.npz", "");
        let mut file = zip::ZipWriter::new(File::create(self.path("data/stripes.npz")).unwrap());
        let mut array = |name: &str, shape: &str, content: Vec<u8>| {
            let head = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
            file.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            file.write_all(b"\x93NUMPY\x01\x00\x76\x00").unwrap();
            file.write_all(format!("{head:117}\n").as_bytes()).unwrap();
            file.write_all(&content).unwrap();
        };
        array("train_images", &format!("({n}, {SIDE}, {SIDE})"), (0..n).flat_map(|i| picture(i).into_raw()).collect());
        array("train_labels", &format!("({n}, 1)"), (0..n).map(|i| (i % 3) as u8).collect());
        file.finish().unwrap();
    }

    /// Writes `data/CLASS/NUMBER.png`: `n` pictures of three classes in turn. Returns their paths below `data`.
    pub fn pictures(&self, n: usize) -> Vec<String> {
        let save = |i: usize| {
            let name = format!("{}/{i:02}.png", CLASSES[i % 3]);
            self.write(&format!("data/{name}"), "");
            picture(i).save(self.path(&format!("data/{name}"))).unwrap();
            name
        };
        (0..n).map(save).collect()
    }

    /// Returns the program, to be run here with these arguments, spaces between them, in a clean environment.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
        command.args(arguments.split_whitespace()).current_dir(&self.root).env("NO_COLOR", "1");
        for name in ["FLOW_CACHE", "FLOW_DATA", "FLOW_LOG"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn flow(&self, arguments: &str) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr), events: Vec::new() }
    }

    /// Runs `flow run` with `--events` and these further arguments.
    pub fn run(&self, further: &str) -> Said {
        let said = self.flow(&format!("run {FILE} --events events.jsonl {further}"));
        Said { events: self.events("events.jsonl"), ..said }
    }

    /// Returns the whole lines of an events file as they are now.
    pub fn events(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(file)).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the files below a folder, sorted, as paths below it.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let (base, mut open, mut found) = (self.path(folder), vec![self.path(folder)], Vec::new());
        while let Some(folder) = open.pop() {
            for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() { open.push(path) } else { found.push(path.strip_prefix(&base).unwrap().to_path_buf()) }
            }
        }
        found.sort();
        found
    }
}

const SIDE: u32 = 12;
const CLASSES: [&str; 3] = ["flat", "tilted", "steep"];

/// Draws stripes whose slope is the class, with noise that belongs to the picture.
fn picture(i: usize) -> image::GrayImage {
    let mut noise = Stream::new(1, "noise").at(i as u64).draws();
    image::GrayImage::from_fn(SIDE, SIDE, |x, y| {
        let wave = (0.9 * (f64::from(x) * (i % 3) as f64 + f64::from(y)) + i as f64).sin();
        image::Luma([(128.0 + 80.0 * wave + 40.0 * noise.uniform()) as u8])
    })
}

/// What a run of the program said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub events: Vec<Value>,
}

impl Said {
    /// Refuses any other exit code, and shows what was said.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}{}", self.out, self.err);
        self
    }

    /// Returns the event of each node's end; where there are two, the last counts.
    pub fn nodes(&self) -> BTreeMap<&str, &Value> {
        self.events.iter().filter(|e| e["event"] == "node").map(|e| (e["node"].as_str().unwrap(), e)).collect()
    }

    /// Returns the nodes that ended so, sorted.
    pub fn with(&self, status: &str) -> Vec<&str> {
        self.nodes().into_iter().filter(|(_, event)| event["status"] == status).map(|(node, _)| node).collect()
    }

    /// Returns the nodes that ran, sorted. Nothing may have failed.
    #[track_caller]
    pub fn ran(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "\n{}{}", self.out, self.err);
        self.with("ran")
    }

    /// Returns the digests of a node's outputs by name.
    pub fn outputs(&self, node: &str) -> &Value {
        &self.nodes()[node]["outputs"]
    }
}
