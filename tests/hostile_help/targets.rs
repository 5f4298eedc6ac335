//! The readers of files from outside, each with a few good files and a limit of memory. Shared with `fuzz`.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flow::data::{
    FeatureTable, Folder, Folds, Guard, HyperKvasir, IdList, ImageTable, Isic2019, Isic2020, Labels, Layout, Lists, Npz, PathTable,
    PoolWeights, Prints, Scan, Split, SplitLists, decode, decode_draft, frames, hash_file, header, read_ids, read_rows, read_whole_numbers,
};
use flow::diagnostic::{Failure, Source};
use flow::model::{Allowed, ModelFile, Vit, Xcit, import};
use flow::pipeline;
use flow::stage::Silent;
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Reads, and returns what it said: its error, or something of what was read.
pub type Reader = Box<dyn Fn(&[u8]) -> String + Send + Sync>;

/// A reader under test.
pub struct Target {
    pub name: &'static str,
    /// Good files.
    pub seeds: Vec<Vec<u8>>,
    /// The most that may be asked of the allocator at once, in bytes.
    pub at_once: usize,
    /// Inputs where no time is given.
    pub inputs: usize,
    pub read: Reader,
}

/// What readers of text and tables may ask for at once.
const TEXT: usize = 64 << 20;
/// What a reader of arrays and checkpoints may: a small multiple of the largest input.
const ARRAYS: usize = 64 << 20;
/// What a decoder may for one picture.
const PICTURES: usize = 2 << 30;

/// Returns the target of this name; its good files lie below the root of the repository.
///
/// # Panics
/// When there is none.
pub fn target(name: &str, root: &Path) -> Target {
    match name {
        "pipelines" => pipelines(root),
        "manifests" => manifests(),
        "lists" => lists(root),
        "folds" => folds(root),
        "tables" => tables(root),
        "npz_files" => npz_files(),
        "npz_arrays" => npz_arrays(),
        "feature_tables" => feature_tables(),
        "picture_files" => picture_files(root),
        "dicom_files" => dicom_files(root),
        "checkpoint_files" => checkpoint_files(root),
        "checkpoint_pickles" => checkpoint_pickles(root),
        other => panic!("no target `{other}`"),
    }
}

/// The files of a folder with one of these endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = |path: &&PathBuf| path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e));
    paths.iter().filter(wanted).map(|path| std::fs::read(path).unwrap()).collect()
}

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn said<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.message().to_string(), |_| "read".to_string())
}

fn pipelines(root: &Path) -> Target {
    let seeds = [files(&root.join("pipelines"), &["ron"]), files(&root.join("tests/broken"), &["ron"])].concat();
    let read = |bytes: &[u8]| {
        let source = Source { name: "x.ron".into(), text: String::from_utf8_lossy(bytes).into_owned() };
        pipeline::read(source).map_or_else(|mistakes| mistakes.to_string(), |_| "read".to_string())
    };
    Target { name: "pipelines", seeds, at_once: TEXT, inputs: 1500, read: Box::new(read) }
}

fn manifests() -> Target {
    const DIGEST: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    let images = "id,path,file,place,width,height,group";
    let seeds = [
        format!("{images}\na,a.jpg,{DIGEST},whole,3,4,g\nb,b.jpg,{DIGEST},crop:-3:9:80,80,80,\n"),
        format!("{images}\na#1,a.dcm,{DIGEST},frame:1,3,4,\nb,,{DIGEST},row:4,80,80,x\n"),
        "classes,well,ill\nid,class\na,well\nb,ill\n".to_string(),
        "id\na\nb\n".to_string(),
        "id,part\na,train\nb,test\n".to_string(),
        "id,weight\na,2\nb,1\n".to_string(),
        format!("file,place,pixels,look\n{DIGEST},whole,{DIGEST},{}\n", "0123456789abcdef".repeat(4)),
    ];
    let read = |bytes: &[u8]| {
        [
            said(ImageTable::read(bytes)),
            said(Labels::read(bytes)),
            said(IdList::read(bytes)),
            said(SplitLists::read(bytes)),
            said(PoolWeights::read(bytes)),
            said(Prints::read(bytes)),
        ]
        .join("|")
    };
    let seeds = seeds.map(String::into_bytes).to_vec();
    Target { name: "manifests", seeds, at_once: TEXT, inputs: 3000, read: Box::new(read) }
}

/// Scans a folder as a layout.
fn scan(layout: &Layout, places: &[&Path], scratch: &Path) -> Result<flow::data::Ingested, Failure> {
    let how = Scan { digest_of: &hash_file, packed: &scratch.join("pixels.npy"), monitor: &Silent };
    layout.scan(places, &how)
}

/// A folder with four pictures below `set`, which lists and tables may name.
fn small_set(root: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for picture in ["ISIC_1.jpg", "ISIC_2.jpg", "cecum/u1.jpg", "polyps/u2.jpg"] {
        let file = folder.path().join("set").join(picture);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::copy(root.join("tests/golden/pictures/grey.jpg"), file).unwrap();
    }
    folder
}

/// Its images, all of one class.
fn images_and_labels(folder: &TempDir) -> (ImageTable, Labels) {
    let layout = Layout::Folder(Folder { root: "x".into(), labelled: false, ..Folder::default() });
    let images = scan(&layout, &[&folder.path().join("set")], folder.path()).unwrap().images;
    let labels = images.ids().iter().map(|id| (id.clone(), "well".to_string())).collect();
    (images, Labels::from_names(labels).unwrap())
}

fn lists(root: &Path) -> Target {
    let folder = small_set(root);
    let (images, labels) = images_and_labels(&folder);
    let split = Split::Lists(Lists { train: "x".into(), ..Lists::default() });
    let seeds = texts(&[",image,label\n0,ISIC_1.jpg,well\n1,cecum/u1.jpg,well\n", "ISIC_1\nISIC_2\n", "image\npolyps/u2.jpg\n"]);
    let read = move |bytes: &[u8]| {
        let list = folder.path().join("list.csv");
        std::fs::write(&list, bytes).unwrap();
        let divided = split.divide(&images, &labels, 1, std::slice::from_ref(&list), &Guard::default());
        [said(divided), said(read_ids(&list))].join("|")
    };
    Target { name: "lists", seeds, at_once: TEXT, inputs: 2000, read: Box::new(read) }
}

fn folds(root: &Path) -> Target {
    let folder = small_set(root);
    let (images, labels) = images_and_labels(&folder);
    let splits = [None, Some(1)].map(|validation| {
        Split::Folds(Folds { file: "x".into(), validation, allow_uncovered: true, allow_copies: true, ..Folds::default() })
    });
    let seeds = texts(&[
        "file-name;class-name;split-index\nu1.jpg;normal-cecum;0\nu2.jpg;polyp;1\n",
        "file-name;class-name;split-index\nISIC_1.jpg;well;0\nISIC_2.jpg;well;1\ncecum/u1.jpg;well;0\npolyps/u2.jpg;well;1\n",
    ]);
    let read = move |bytes: &[u8]| {
        let table = folder.path().join("folds.csv");
        std::fs::write(&table, bytes).unwrap();
        let divide = |split: &Split| said(split.divide(&images, &labels, 1, std::slice::from_ref(&table), &Guard::default()));
        splits.each_ref().map(divide).join("|")
    };
    Target { name: "folds", seeds, at_once: TEXT, inputs: 2000, read: Box::new(read) }
}

fn tables(root: &Path) -> Target {
    let folder = small_set(root);
    let by_path = PathTable { file: "x".into(), label: Some("label".into()), group: Some("g".into()), ..PathTable::default() };
    let by_path = Layout::Table(by_path);
    let layouts = [
        (Layout::Isic2019(Isic2019 { root: "x".into(), ..Isic2019::default() }), "ISIC_2019_Training_GroundTruth.csv"),
        (Layout::Isic2020(Isic2020 { root: "x".into(), ..Isic2020::default() }), "ISIC_2020_Training_GroundTruth.csv"),
        (Layout::HyperKvasir(HyperKvasir { root: "x".into(), ..HyperKvasir::default() }), "image-labels.csv"),
    ];
    let seeds = texts(&[
        "path,label,g\nISIC_1.jpg,well,a\npolyps/u2.jpg,,\n",
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_1,1.0,0,0,0,0,0,0,0,0\nISIC_2,0,1,0,0,0,0,0,0,0\n",
        "image_name,patient_id,lesion_id,sex,target\nISIC_1,IP1,x,male,0\nISIC_2,,x,male,1\n",
        "Video file,Organ,Finding,Classification\nu1,Lower GI,normal-cecum,x\nu2,Lower GI,polyp,x\n",
    ]);
    let read = move |bytes: &[u8]| {
        let set = folder.path().join("set");
        let list = set.join("list.csv");
        std::fs::write(&list, bytes).unwrap();
        let mut answers = vec![said(scan(&by_path, &[&list], folder.path())), said(by_path.files(std::slice::from_ref(&list)))];
        std::fs::remove_file(&list).unwrap();
        for (layout, name) in &layouts {
            std::fs::write(set.join(name), bytes).unwrap();
            answers.push(said(scan(layout, &[&set], folder.path())));
            std::fs::remove_file(set.join(name)).unwrap();
        }
        answers.join("|")
    };
    Target { name: "tables", seeds, at_once: TEXT, inputs: 400, read: Box::new(read) }
}

/// An `.npy` array as numpy writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    [b"\x93NUMPY\x01\x00\x76\x00", format!("{head:117}\n").as_bytes(), data].concat()
}

/// An archive with these files, whose checksums are right.
fn zipped(files: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        out.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

/// An archive with these images, and two labels.
fn labelled_npz(images: &[u8], method: CompressionMethod) -> Vec<u8> {
    let labels = npy("<i8", "(2, 1)", &[0; 16]);
    zipped(&[("train_images.npy".to_string(), images.to_vec()), ("train_labels.npy".to_string(), labels)], method)
}

fn two_images() -> Vec<u8> {
    npy("|u1", "(2, 2, 3)", &[9; 12])
}

fn read_npz() -> Reader {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::Npz(Npz { file: "x".into(), classes: None });
    Box::new(move |bytes| {
        let file = folder.path().join("x.npz");
        std::fs::write(&file, bytes).unwrap();
        said(scan(&layout, &[&file], folder.path()))
    })
}

fn npz_files() -> Target {
    let seeds = [CompressionMethod::Stored, CompressionMethod::Deflated].map(|method| labelled_npz(&two_images(), method));
    Target { name: "npz_files", seeds: seeds.to_vec(), at_once: ARRAYS, inputs: 1000, read: read_npz() }
}

/// The array alone, in an archive that is whole.
fn npz_arrays() -> Target {
    let whole = read_npz();
    let read = move |bytes: &[u8]| whole(&labelled_npz(bytes, CompressionMethod::Stored));
    let seeds = vec![two_images(), npy("|u1", "(1, 2, 2, 3)", &[5; 12])];
    Target { name: "npz_arrays", seeds, at_once: ARRAYS, inputs: 1000, read: Box::new(read) }
}

fn feature_tables() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let head = br#"{"features":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    let seeds = vec![
        npy("<f4", "(2, 3)", &numbers),
        npy("<f8", "(1, 3)", &numbers),
        npy("<i4", "(6,)", &numbers),
        [&(head.len() as u64).to_le_bytes()[..], head, &numbers].concat(),
        b"id,label,group,0,1\na,well,p1,1.5,2\nb,,p2,-3,4e2\n".to_vec(),
    ];
    let read = move |bytes: &[u8]| {
        let file = folder.path().join("x");
        std::fs::write(&file, bytes).unwrap();
        let table = said(FeatureTable::read(&file, None));
        [table, said(FeatureTable::read(&file, Some("features"))), said(read_rows(&file)), said(read_whole_numbers(&file))].join("|")
    };
    Target { name: "feature_tables", seeds, at_once: ARRAYS, inputs: 2000, read: Box::new(read) }
}

/// Everything that is asked of a picture file.
fn picture(bytes: &[u8]) -> String {
    let size = header(bytes).map(|header| format!("{} frames", header.frames));
    let first = decode(bytes).map(|picture| format!("{}", picture.width() == picture.height()));
    let answers = [size, frames(bytes).map(|n| n.to_string()), first];
    answers.map(|answer| answer.unwrap_or_else(|failure| failure.message().to_string())).join("|")
}

fn picture_files(root: &Path) -> Target {
    let pictures = files(&root.join("tests/golden/pictures"), &["jpg", "png", "bmp", "tif", "webp"]);
    let seeds = [pictures, files(&root.join("tests/golden/drafts"), &["jpg"])].concat();
    let read = |bytes: &[u8]| [picture(bytes), said(decode_draft(bytes, [1, 1]))].join("|");
    Target { name: "picture_files", seeds, at_once: PICTURES, inputs: 3000, read: Box::new(read) }
}

fn dicom_files(root: &Path) -> Target {
    let seeds = files(&root.join("tests/golden/pictures"), &["dcm"]);
    Target { name: "dicom_files", seeds, at_once: PICTURES, inputs: 3000, read: Box::new(picture) }
}

/// Reads a checkpoint as two networks, and as a model file of ours.
fn read_checkpoint() -> Reader {
    let small = Vit { dim: Some(8), depth: Some(2), heads: Some(2), patch: Some(4), side: Some(8), ..Vit::default() };
    let vit = small.sizes().unwrap();
    let xcit = Xcit { dim: Some(8), depth: Some(1), heads: Some(2), patch: Some(8), ..Xcit::default() }.sizes().unwrap();
    Box::new(move |bytes| {
        let of = |sizes| said(import(bytes.to_vec(), sizes, &Allowed::default()));
        [of(&vit), of(&xcit), said(ModelFile::open(bytes))].join("|")
    })
}

fn checkpoint_files(root: &Path) -> Target {
    let seeds = files(&root.join("tests/golden/checkpoints"), &["pth", "bin", "onnx", "safetensors"]);
    Target { name: "checkpoint_files", seeds, at_once: ARRAYS, inputs: 1500, read: read_checkpoint() }
}

/// The pickle alone, in an archive that is whole.
fn checkpoint_pickles(root: &Path) -> Target {
    let whole = std::fs::read(root.join("tests/golden/checkpoints/vit_dino.pth")).unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(whole)).unwrap();
    let mut parts = Vec::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let (name, mut bytes) = (file.name().unwrap().into_owned(), Vec::new());
        file.read_to_end(&mut bytes).unwrap();
        parts.push((name, bytes));
    }
    let pickle = parts.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
    let seeds = vec![parts[pickle].1.clone()];
    let file = read_checkpoint();
    let read = move |bytes: &[u8]| {
        let mut parts = parts.clone();
        parts[pickle].1 = bytes.to_vec();
        file(&zipped(&parts, CompressionMethod::Stored))
    };
    Target { name: "checkpoint_pickles", seeds, at_once: ARRAYS, inputs: 1500, read: Box::new(read) }
}
