//! `Ingest`: a data set's layout -> images and labels, two separate artefacts. One without labels gives images alone.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::io;
use super::kinds::{IMAGES, LABELS, PIXELS, SCAN};
use crate::data::{CountDifference, Layout, Scan, hash_file};
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;
use crate::stage::{Complaint, Io, Output, Source, Stage};

/// A data set as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ingest(pub Layout);

/// What a scan found odd, for reports.
#[derive(Serialize, Deserialize)]
pub struct Scanned {
    pub notes: Vec<String>,
    /// Where what was found differs from what the publisher says.
    pub differences: Vec<CountDifference>,
}

impl Ingest {
    /// Whether the layout unpacks its pictures into an array of its own.
    fn packs(&self) -> bool {
        matches!(self.0, Layout::Npz(_) | Layout::Chula(_))
    }

    /// Where the pictures of a table without a root lie: below its own folder.
    fn folder_of_table(&self) -> Option<DataPath> {
        match &self.0 {
            Layout::Table(table) if table.root.is_empty() && !table.file.is_empty() => {
                Some(DataPath::from(match table.file.as_str().rsplit_once('/') {
                    Some(("", _)) => "/",
                    Some((folder, _)) => folder,
                    None => ".",
                }))
            }
            _ => None,
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Layout::Folder(_) => "a folder with one folder of images for each class",
            Layout::Table(_) => "a CSV table with a row for each image, and the folder of the images",
            Layout::Npz(_) => "an `.npz` file with `train_images` and `train_labels` (`val_*`, `test_*`) as MedMNIST publishes them",
            Layout::Chula(_) => {
                "Chula RBC-12: get https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset; `root` holds its folders `Dataset` and `Label`"
            }
            Layout::BoneMarrow(_) => {
                "the bone marrow set of Matek et al. 2021: get `Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer` (6.8 GB) \
                 from The Cancer Imaging Archive, https://doi.org/10.7937/TCIA.AXH3-T579; \
                 `root` is its folder `BM_cytomorphology_data`, which holds `ART`, `BAS` and so on"
            }
            Layout::HyperKvasir(ref set) if set.labelled => {
                "HyperKvasir (Borgli et al. 2020): get `hyper-kvasir-labeled-images.zip` from https://datasets.simula.no/hyper-kvasir; \
                 `root` is its folder `labeled-images`"
            }
            Layout::HyperKvasir(_) => {
                "the frames of HyperKvasir without labels: get `hyper-kvasir-unlabeled-images.zip` from \
                 https://datasets.simula.no/hyper-kvasir; `root` is its folder `unlabeled-images`"
            }
            Layout::Isic2019(_) => {
                "ISIC 2019: get training input, ground truth and metadata from https://challenge.isic-archive.com/data/#2019; \
                 `root` holds `ISIC_2019_Training_Input`, `ISIC_2019_Training_GroundTruth.csv` and `ISIC_2019_Training_Metadata.csv`"
            }
            Layout::Isic2020(_) => {
                "ISIC 2020: get training JPEGs or DICOM files, ground truth and the list of duplicates from https://challenge.isic-archive.com/data/#2020; \
                 `root` holds `train`, `ISIC_2020_Training_GroundTruth.csv` and `ISIC_2020_Training_Duplicates.csv`"
            }
        }
    }
}

impl Stage for Ingest {
    fn kind(&self) -> &'static str {
        "Ingest"
    }

    fn version(&self) -> u32 {
        // Version 2 passed over DICOM files without an ending in folders; nothing else has changed since.
        if matches!(self.0, Layout::Folder(_)) { 3 } else { 2 }
    }

    fn params(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        io::complaints("", self.0.check())
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(role, path): (&'static str, _)| Source { role: role.to_string(), path, about: self.about().to_string() };
        let roots = self.0.roots().into_iter().map(|(role, path)| (role, path.clone()));
        roots.chain(self.folder_of_table().map(|folder| ("root", folder))).map(source).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        let mut outputs = vec![Output::file("images", IMAGES)];
        outputs.extend(self.0.labelled().then(|| Output::file("labels", LABELS)));
        outputs.push(Output::file("scan", SCAN));
        outputs.extend(self.packs().then(|| Output::file("pixels", PIXELS)));
        outputs
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let sets = self.sources().iter().map(|source| io.source(&source.role)).collect::<Result<Vec<_>, _>>()?;
        let digest_of = |path: &Path| sets.iter().find_map(|set| set.digest_of(path)).map_or_else(|| hash_file(path), Ok);
        let places: Vec<&Path> = sets.iter().take(self.0.roots().len()).map(|set| set.root.as_path()).collect();
        let packed = io.output("pixels");
        let found = self.0.scan(&places, &Scan { digest_of: &digest_of, packed: &packed, monitor: io.monitor() })?;

        for note in &found.notes {
            io.monitor().note(note);
        }
        for difference in &found.differences {
            io.monitor().note(&format!("{}: {} published, {} found", difference.what, difference.expected, difference.found));
        }
        let many = count(found.images.len(), "image");
        io.metric("images", found.images.len() as f64);
        io::write(io, "images", |out| found.images.write(out))?;
        match &found.labels {
            Some(labels) => {
                io.monitor().note(&format!("{many} of {}", count(labels.classes().len(), "class")));
                io.metric("classes", labels.classes().len() as f64);
                io::write(io, "labels", |out| labels.write(out))?;
            }
            None => io.monitor().note(&format!("{many} without labels")),
        }
        io::write_json(io, "scan", &Scanned { notes: found.notes, differences: found.differences })
    }
}
