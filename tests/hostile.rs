//! Files from outside, damaged: whatever they say, nothing panics, hangs, or takes memory beyond a limit. `hostile_help` says how.

mod hostile_help;

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flow::data::{FeatureTable, HyperKvasir, Isic2019, Isic2020, Npz};
use flow::data::{
    Folder, Folds, Guard, IdList, ImageTable, Labels, Layout, Lists, PathTable, PoolWeights, Prints, Scan, Split, SplitLists, decode,
    frames, hash_file, header, read_ids, read_rows, read_whole_numbers,
};
use flow::diagnostic::{Failure, Source};
use flow::model::{Allowed, ModelFile, Vit, Xcit, import};
use flow::pipeline;
use flow::stage::Silent;
use hostile_help::{Target, Watched, feed};
use zip::write::SimpleFileOptions;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// What readers of text and tables may ask for at once.
const TEXT: usize = 64 << 20;
/// What a reader of arrays and checkpoints may: a small multiple of the largest input.
const ARRAYS: usize = 64 << 20;
/// What a decoder may for one picture.
const PICTURES: usize = 2 << 30;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(here(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = |path: &&PathBuf| path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e));
    paths.iter().filter(wanted).map(|path| std::fs::read(path).unwrap()).collect()
}

fn said<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.message().to_string(), |_| "read".to_string())
}

#[test]
fn pipelines() {
    let seeds = [files("pipelines", &["ron"]), files("tests/broken", &["ron"])].concat();
    let read = |bytes: &[u8]| {
        let source = Source { name: "x.ron".into(), text: String::from_utf8_lossy(bytes).into_owned() };
        pipeline::read(source).map_or_else(|mistakes| mistakes.to_string(), |_| "read".to_string())
    };
    feed(&Target { name: "pipelines", seeds, at_once: TEXT, inputs: 1500, read: &read });
}

const DIGEST: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

#[test]
fn manifests() {
    let seeds = [
        format!("id,path,file,place,width,height,group\na,a.jpg,{DIGEST},whole,3,4,g\nb,b.jpg,{DIGEST},crop:-3:9:80,80,80,\n"),
        format!("id,path,file,place,width,height,group\na#1,a.dcm,{DIGEST},frame:1,3,4,\nb,,{DIGEST},row:4,80,80,x\n"),
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
    feed(&Target { name: "manifests", seeds: seeds.map(String::into_bytes).to_vec(), at_once: TEXT, inputs: 3000, read: &read });
}

/// Scans a folder as a layout.
fn scan(layout: &Layout, places: &[&Path], scratch: &Path) -> String {
    let how = Scan { digest_of: &hash_file, packed: &scratch.join("pixels.npy"), monitor: &Silent };
    said(layout.scan(places, &how))
}

#[test]
fn published_lists() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for picture in ["ISIC_1.jpg", "ISIC_2.jpg", "cecum/u1.jpg", "polyps/u2.jpg"] {
        let file = at("set").join(picture);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::copy(here("tests/golden/pictures/grey.jpg"), file).unwrap();
    }
    let layout = Layout::Folder(Folder { root: "x".into(), labelled: false, ..Folder::default() });
    let how = Scan { digest_of: &hash_file, packed: &at("pixels.npy"), monitor: &Silent };
    let images = layout.scan(&[at("set")], &how).unwrap().images;
    let labels = images.ids().iter().map(|id| (id.clone(), "well".to_string())).collect();
    let labels = Labels::from_names(labels).unwrap();
    let split = Split::Lists(Lists { train: "x".into(), ..Lists::default() });
    let folds = Split::Folds(Folds { file: "x".into(), ..Folds::default() });
    let table = Layout::Table(PathTable { file: "x".into(), label: Some("label".into()), group: Some("g".into()), ..PathTable::default() });
    let folders = [
        (Layout::Isic2019(Isic2019 { root: "x".into(), ..Isic2019::default() }), "ISIC_2019_Training_GroundTruth.csv"),
        (Layout::Isic2020(Isic2020 { root: "x".into(), ..Isic2020::default() }), "ISIC_2020_Training_GroundTruth.csv"),
        (Layout::HyperKvasir(HyperKvasir { root: "x".into(), ..HyperKvasir::default() }), "image-labels.csv"),
    ];
    let seeds = [
        ",image,label\n0,ISIC_1.jpg,well\n1,cecum/u1.jpg,well\n",
        "ISIC_1\nISIC_2\n",
        "path,label,g\nISIC_1.jpg,well,a\npolyps/u2.jpg,,\n",
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_1,1.0,0,0,0,0,0,0,0,0\nISIC_2,0,1,0,0,0,0,0,0,0\n",
        "image_name,patient_id,lesion_id,sex,target\nISIC_1,IP1,x,male,0\nISIC_2,,x,male,1\n",
        "Video file,Organ,Finding,Classification\nu1,Lower GI,normal-cecum,x\nu2,Lower GI,polyp,x\n",
        "file-name;class-name;split-index\nu1.jpg;normal-cecum;0\nu2.jpg;polyp;1\n",
    ];
    let read = |bytes: &[u8]| {
        std::fs::write(at("list.csv"), bytes).unwrap();
        std::fs::write(at("set/list.csv"), bytes).unwrap();
        let mut answers = vec![
            said(split.divide(&images, &labels, 1, &[at("list.csv")], &Guard::default())),
            said(folds.divide(&images, &labels, 1, &[at("list.csv")], &Guard::default())),
            scan(&table, &[&at("set/list.csv")], folder.path()),
            said(table.files(&[at("set/list.csv")])),
            said(read_ids(&at("list.csv"))),
        ];
        std::fs::remove_file(at("set/list.csv")).unwrap();
        for (layout, name) in &folders {
            std::fs::write(at("set").join(name), bytes).unwrap();
            answers.push(scan(layout, &[&at("set")], folder.path()));
            std::fs::remove_file(at("set").join(name)).unwrap();
        }
        answers.join("|")
    };
    let seeds = seeds.map(|text| text.as_bytes().to_vec()).to_vec();
    feed(&Target { name: "published_lists", seeds, at_once: TEXT, inputs: 400, read: &read });
}

/// An `.npy` array as numpy writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    [b"\x93NUMPY\x01\x00\x76\x00", format!("{head:117}\n").as_bytes(), data].concat()
}

/// An archive with these files, whose checksums are right.
fn zipped(files: &[(String, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        out.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

#[test]
fn npz_files() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, file) = (Layout::Npz(Npz { file: "x".into(), classes: None }), folder.path().join("x.npz"));
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        scan(&layout, &[&file], folder.path())
    };
    let (images, labels) = (npy("|u1", "(2, 2, 3)", &[9; 12]), npy("<i8", "(2, 1)", &[0; 16]));
    let archive = |images: &[u8], method| {
        let files = [("train_images.npy".to_string(), images.to_vec()), ("train_labels.npy".to_string(), labels.clone())];
        zipped(&files, method)
    };
    let seeds = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated].map(|method| archive(&images, method));
    feed(&Target { name: "npz_files", seeds: seeds.to_vec(), at_once: ARRAYS, inputs: 1000, read: &read });
    // The array alone, in an archive that is whole.
    let inner = |bytes: &[u8]| read(&archive(bytes, zip::CompressionMethod::Stored));
    let seeds = vec![images, npy("|u1", "(1, 2, 2, 3)", &[5; 12])];
    feed(&Target { name: "npz_arrays", seeds, at_once: ARRAYS, inputs: 1000, read: &inner });
}

#[test]
fn feature_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    let numbers: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let head = br#"{"features":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    let seeds = vec![
        npy("<f4", "(2, 3)", &numbers),
        npy("<f8", "(1, 3)", &numbers),
        npy("<i4", "(6,)", &numbers),
        [&(head.len() as u64).to_le_bytes()[..], head, &numbers].concat(),
        b"id,label,group,0,1\na,well,p1,1.5,2\nb,,p2,-3,4e2\n".to_vec(),
    ];
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let table = said(FeatureTable::read(&file, None));
        [table, said(FeatureTable::read(&file, Some("features"))), said(read_rows(&file)), said(read_whole_numbers(&file))].join("|")
    };
    feed(&Target { name: "feature_tables", seeds, at_once: ARRAYS, inputs: 2000, read: &read });
}

/// Everything that is asked of a picture file.
fn picture(bytes: &[u8]) -> String {
    let size = header(bytes).map(|header| format!("{} frames", header.frames));
    let first = decode(bytes).map(|picture| format!("{}", picture.width() == picture.height()));
    let answers = [size, frames(bytes).map(|n| n.to_string()), first];
    answers.map(|answer| answer.unwrap_or_else(|failure| failure.message().to_string())).join("|")
}

#[test]
fn picture_files() {
    let seeds = files("tests/golden/pictures", &["jpg", "png", "bmp", "tif", "webp"]);
    feed(&Target { name: "picture_files", seeds, at_once: PICTURES, inputs: 3000, read: &picture });
}

#[test]
fn dicom_files() {
    let seeds = files("tests/golden/pictures", &["dcm"]);
    feed(&Target { name: "dicom_files", seeds, at_once: PICTURES, inputs: 3000, read: &picture });
}

#[test]
fn checkpoints() {
    let small = Vit { dim: Some(8), depth: Some(2), heads: Some(2), patch: Some(4), side: Some(8), ..Vit::default() };
    let vit = small.sizes().unwrap();
    let xcit = Xcit { dim: Some(8), depth: Some(1), heads: Some(2), patch: Some(8), ..Xcit::default() }.sizes().unwrap();
    let read = |bytes: &[u8]| {
        let of = |sizes| said(import(bytes.to_vec(), sizes, &Allowed::default()));
        [of(&vit), of(&xcit), said(ModelFile::open(bytes))].join("|")
    };
    let seeds = files("tests/golden/checkpoints", &["pth", "bin", "onnx", "safetensors"]);
    feed(&Target { name: "checkpoint_files", seeds, at_once: ARRAYS, inputs: 1500, read: &read });
    // The pickle alone, in an archive that is whole.
    let whole = std::fs::read(here("tests/golden/checkpoints/vit_dino.pth")).unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(whole)).unwrap();
    let mut parts = Vec::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let (name, mut bytes) = (file.name().unwrap().into_owned(), Vec::new());
        file.read_to_end(&mut bytes).unwrap();
        parts.push((name, bytes));
    }
    let pickle = parts.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
    let inner = |bytes: &[u8]| {
        let mut parts = parts.clone();
        parts[pickle].1 = bytes.to_vec();
        read(&zipped(&parts, zip::CompressionMethod::Stored))
    };
    feed(&Target { name: "checkpoint_pickles", seeds: vec![parts[pickle].1.clone()], at_once: ARRAYS, inputs: 1500, read: &inner });
}
