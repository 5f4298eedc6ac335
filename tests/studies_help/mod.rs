//! Miniatures of published data sets, and the binary run over a shipped pipeline in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flow::data::ImageTable;
use flow::model::{Weights, Xcit};
use flow::random::Stream;
use image::{Rgb, RgbImage};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A folder with `pipelines/NAME` as shipped, and a cache beside it.
pub struct Place {
    folder: tempfile::TempDir,
    name: &'static str,
}

/// What a call of the binary said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn of(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipelines = folder.path().join("pipelines");
        fs::create_dir(&pipelines).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name), pipelines.join(name)).unwrap();
        Self { folder, name }
    }

    /// A path in the folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Runs `flow COMMAND pipelines/NAME MORE..` in the folder.
    pub fn flow(&self, command: &str, more: &[&str]) -> Said {
        let mut flow = Command::new(env!("CARGO_BIN_EXE_flow"));
        flow.current_dir(self.folder.path()).env_remove("FLOW_DATA").env_remove("FLOW_CACHE");
        let output = flow.arg(command).arg(format!("pipelines/{}", self.name)).args(more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs everything with these settings; returns what was said and what became of each node.
    pub fn run(&self, settings: &[&str]) -> (Said, Nodes) {
        let mut arguments = vec!["--device", "cpu", "--events", "events"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let said = self.flow("run", &arguments);
        let events = fs::read_to_string(self.path("events")).unwrap_or_default();
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let nodes = events.filter(|e| e["event"] == "node").map(|e| (e["node"].as_str().unwrap().to_string(), e));
        (said, Nodes(nodes.collect()))
    }

    /// Reads a file of a report that was laid out.
    pub fn laid_out(&self, below: &str) -> String {
        let path = self.path("cache/out").join(below);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Reads a table of images that a node made.
    pub fn images(&self, nodes: &Nodes, node: &str, port: &str) -> ImageTable {
        let digest = nodes.0[node]["outputs"][port].as_str().unwrap();
        ImageTable::read(fs::File::open(self.path("cache/objects").join(&digest[..2]).join(&digest[2..])).unwrap()).unwrap()
    }
}

/// The last event of every node.
pub struct Nodes(BTreeMap<String, serde_json::Value>);

impl Nodes {
    /// The names of the nodes that ended so, sorted.
    pub fn with(&self, status: &str) -> Vec<&str> {
        self.0.iter().filter(|(_, event)| event["status"] == status).map(|(name, _)| name.as_str()).collect()
    }
}

/// A disc on a pink ground: colour and size tell the kind of cell, place and shade differ from one to the next.
fn cell(picture: &mut RgbImage, kind: usize, number: u64, (x, y): (f32, f32)) {
    const COLOURS: [[f32; 3]; 6] =
        [[150.0, 40.0, 60.0], [60.0, 40.0, 150.0], [120.0, 120.0, 40.0], [40.0, 130.0, 120.0], [170.0, 90.0, 20.0], [90.0, 90.0, 90.0]];
    let mut draws = Stream::new(1, "miniature").at(kind as u64).at(number).draws();
    let radius = 5.0 + kind as f32 + draws.between(-1.0, 1.0) as f32;
    let shade = draws.between(0.85, 1.15) as f32;
    for (px, py, pixel) in picture.enumerate_pixels_mut() {
        if (px as f32 - x).hypot(py as f32 - y) < radius {
            *pixel = Rgb(COLOURS[kind].map(|c| (c * shade) as u8));
        }
    }
}

fn ground(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([235, 210, 220]))
}

fn save(picture: &RgbImage, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// Writes `CODE/RANGE/CODE_NNNNN.jpg`, without the range for classes of fewer than ten, as the publisher does below a thousand.
pub fn bone_marrow(root: &Path, classes: &[(&str, usize)]) {
    for (kind, (code, n)) in classes.iter().enumerate() {
        for i in 0..*n {
            let mut picture = ground(32, 32);
            cell(&mut picture, kind, i as u64, (13.0 + (i % 4) as f32 * 2.0, 12.0 + (i / 4) as f32 * 2.0));
            // Two ranges: the second half of a class stands beyond its first thousand.
            let (range, number) = if i < n / 2 { ("0001-1000", i + 1) } else { ("1001-2000", 1001 + i - n / 2) };
            let folder = if *n < 10 { root.join(code) } else { root.join(code).join(range) };
            save(&picture, &folder.join(format!("{code}_{:05}.jpg", if *n < 10 { i + 1 } else { number })));
        }
    }
}

/// Writes `Dataset/N.jpg` and `Label/N.txt`: eight cells of four classes on each picture, an uncategorised one on the first;
/// and one more picture without labels.
pub fn chula(root: &Path, pictures: usize) {
    const CLASSES: [usize; 4] = [0, 3, 4, 12];
    fs::create_dir_all(root.join("Label")).unwrap();
    for number in 1..=pictures {
        let (mut picture, mut lines) = (ground(160, 120), String::new());
        for i in 0..8 {
            let (x, y) = (22 + 38 * (i % 4), 32 + 54 * (i / 4) + number % 5);
            cell(&mut picture, i % 4, (number * 8 + i) as u64, (x as f32, y as f32));
            lines += &format!("{x} {y} {}\n", CLASSES[i % 4]);
        }
        lines += if number == 1 { "80 60 10\n" } else { "" };
        save(&picture, &root.join(format!("Dataset/{number}.jpg")));
        fs::write(root.join(format!("Label/{number}.txt")), lines).unwrap();
    }
    save(&ground(160, 120), &root.join(format!("Dataset/{}.jpg", pictures + 1)));
}

/// Writes `ORGAN/CATEGORY/CLASS/NAME.jpg` below `labeled-images`, and as many frames without labels below `unlabeled-images`, of which the
/// last two are one picture.
pub fn hyper_kvasir(root: &Path, classes: &[(&str, usize)], unlabelled: usize) {
    for (kind, (class, n)) in classes.iter().enumerate() {
        for i in 0..*n {
            let mut picture = ground(36, 32);
            cell(&mut picture, kind, i as u64, (13.0 + (i % 4) as f32 * 2.0, 12.0 + (i / 4) as f32 * 2.0));
            save(&picture, &root.join(format!("labeled-images/lower-gi-tract/findings/{class}/{class}-{i:03}.jpg")));
        }
    }
    let table =
        classes.iter().map(|(class, _)| format!("{class}-000,Lower GI,{},findings\n", if *class == "polyps" { "polyp" } else { class }));
    fs::write(
        root.join("labeled-images/image-labels.csv"),
        format!("Video file,Organ,Finding,Classification\n{}", table.collect::<String>()),
    )
    .unwrap();
    for i in 0..unlabelled {
        let (mut picture, number) = (ground(36, 32), i.min(unlabelled - 2));
        cell(&mut picture, number % 6, 900 + number as u64, (16.0, 14.0));
        save(&picture, &root.join(format!("unlabeled-images/images/u{i:02}.jpg")));
    }
}

/// Writes the tables and pictures of ISIC 2019: two pictures of each lesion, every fifth name made smaller; the last has no lesion.
pub fn isic_2019(root: &Path, classes: &[(&str, usize)]) -> Vec<(String, String)> {
    const COLUMNS: [&str; 9] = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"];
    let (mut truth, mut metadata) =
        (format!("image,{}\n", COLUMNS.join(",")), "image,age_approx,anatom_site_general,lesion_id,sex\n".to_string());
    let mut pictures = Vec::new();
    for (kind, (class, n)) in classes.iter().enumerate() {
        for i in 0..*n {
            let plain = format!("ISIC_{:07}", kind * 100 + i);
            let name = if i % 5 == 4 { format!("{plain}_downsampled") } else { plain.clone() };
            let mut picture = ground(40, 32);
            cell(&mut picture, kind, i as u64, (14.0 + (i % 4) as f32 * 2.0, 12.0 + (i / 4) as f32 * 2.0));
            save(&picture, &root.join(format!("ISIC_2019_Training_Input/{name}.jpg")));
            truth += &format!("{name},{}\n", COLUMNS.map(|column| if column == *class { "1.0" } else { "0.0" }).join(","));
            let lesion = if i + 1 == *n { String::new() } else { format!("L{kind}_{}", i / 2) };
            metadata += &format!("{plain},50,torso,{lesion},female\n");
            pictures.push((name, class.to_string()));
        }
    }
    fs::write(root.join("ISIC_2019_Training_GroundTruth.csv"), truth).unwrap();
    fs::write(root.join("ISIC_2019_Training_Metadata.csv"), metadata).unwrap();
    pictures
}

/// Writes the tables and pictures of ISIC 2020, two pictures of each patient; the first two patients share a picture, says the list.
pub fn isic_2020(root: &Path, pictures: usize) {
    let mut truth = "image_name,patient_id,sex,target\n".to_string();
    for i in 0..pictures {
        let mut picture = ground(40, 32);
        cell(&mut picture, i % 6, 500 + i as u64, (18.0, 15.0));
        save(&picture, &root.join(format!("train/ISIC_9{i:06}.jpg")));
        truth += &format!("ISIC_9{i:06},IP_{},male,{}\n", i / 2, usize::from(i % 6 == 5));
    }
    fs::write(root.join("ISIC_2020_Training_GroundTruth.csv"), truth).unwrap();
    fs::write(root.join("ISIC_2020_Training_Duplicates.csv"), "image_name_1,image_name_2\nISIC_9000001,ISIC_9000002\n").unwrap();
}

/// Writes a list as the paper's code does: number, path, label.
pub fn list(path: &Path, images: &[(String, String)]) {
    let lines = images.iter().enumerate().map(|(i, (image, label))| format!("{i},{image},{label}\n"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!(",image,label\n{}", lines.collect::<String>())).unwrap();
}

/// Writes random weights as timm would: its names, the step counters of its batch norms, and a head for three classes.
pub fn timm_checkpoint(path: &Path, backbone: &Xcit) {
    let weights = Weights::start(Arc::new(backbone.sizes().unwrap().layout()), 7);
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let mut tensors = Vec::new();
    for (entries, values) in [(weights.layout.params(), &weights.params), (weights.layout.buffers(), &weights.buffers)] {
        for entry in entries {
            tensors.push((entry.name.clone(), Dtype::F32, entry.shape.clone(), bytes(&values[entry.range()])));
            if let Some(norm) = entry.name.strip_suffix("running_mean") {
                tensors.push((format!("{norm}num_batches_tracked"), Dtype::I64, vec![], 3_i64.to_le_bytes().to_vec()));
            }
        }
    }
    let dim = backbone.sizes().unwrap().dim();
    tensors.push(("head.weight".to_string(), Dtype::F32, vec![3, dim], bytes(&vec![0.0; 3 * dim])));
    tensors.push(("head.bias".to_string(), Dtype::F32, vec![3], bytes(&[0.0; 3])));
    let views = tensors.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
