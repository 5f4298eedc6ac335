//! The layouts that are known, as written in a pipeline.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::files_below;
use super::{BoneMarrow, Chula, Folder, HyperKvasir, Ingested, Isic2019, Isic2020, Npz, PathTable, Scan};
use crate::data::names::text_of_path;
use crate::diagnostic::Failure;
use crate::params::DataPath;

/// How a data set lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Layout {
    /// One folder for each class.
    Folder(Folder),
    /// A CSV table with a row for each image.
    Table(PathTable),
    /// Arrays in one `.npz` file, as MedMNIST publishes them.
    Npz(Npz),
    /// Labelled cell centres in pictures of blood smears (Chula RBC-12).
    Chula(Chula),
    /// Bone marrow cells (Matek 2021).
    BoneMarrow(BoneMarrow),
    /// Frames of gastroscopies and colonoscopies (HyperKvasir).
    HyperKvasir(HyperKvasir),
    /// Skin lesions by lesion (ISIC 2019).
    Isic2019(Isic2019),
    /// Skin lesions by patient (ISIC 2020).
    Isic2020(Isic2020),
}

impl Layout {
    /// Returns each path that the layout reads, as the user wrote it, with the name of its field: `root` or `file`.
    pub fn roots(&self) -> Vec<(&'static str, &DataPath)> {
        match self {
            Self::Folder(l) => vec![("root", &l.root)],
            Self::Table(l) if l.root.is_empty() => vec![("file", &l.file)],
            Self::Table(l) => vec![("file", &l.file), ("root", &l.root)],
            Self::Npz(l) => vec![("file", &l.file)],
            Self::Chula(l) => vec![("root", &l.root)],
            Self::BoneMarrow(l) => vec![("root", &l.root)],
            Self::HyperKvasir(l) => vec![("root", &l.root)],
            Self::Isic2019(l) => vec![("root", &l.root)],
            Self::Isic2020(l) => vec![("root", &l.root)],
        }
    }

    /// Returns whether a scan yields labels.
    pub fn labelled(&self) -> bool {
        match self {
            Self::Folder(l) => l.labelled,
            Self::Table(l) => l.label.is_some(),
            Self::HyperKvasir(l) => l.labelled,
            Self::Npz(_) | Self::Chula(_) | Self::BoneMarrow(_) | Self::Isic2019(_) | Self::Isic2020(_) => true,
        }
    }

    /// Returns every value that cannot be used: the field, and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong: Vec<(&'static str, String)> = self
            .roots()
            .into_iter()
            .filter(|(_, path)| path.is_empty())
            .map(|(field, _)| (field, "must name where the data set lies".to_string()))
            .collect();
        match self {
            Self::Table(l) => wrong.extend(l.check()),
            Self::Chula(l) => wrong.extend(l.check()),
            Self::Folder(_) | Self::Npz(_) | Self::BoneMarrow(_) | Self::HyperKvasir(_) | Self::Isic2019(_) | Self::Isic2020(_) => {}
        }
        wrong
    }

    /// Returns every file that a scan's outcome depends on, with its path below the place it was found in, sorted.
    ///
    /// `places` are the resolved paths of [`roots`](Self::roots). The names are part of what a scan sees, so they are given too.
    pub fn files(&self, places: &[impl AsRef<Path>]) -> Result<Vec<(String, PathBuf)>, Failure> {
        let mut files = Vec::new();
        for ((field, _), place) in self.roots().iter().zip(places) {
            let place = place.as_ref();
            let below = match (self, *field) {
                (Self::Table(table), "root") => table.pictures(places[0].as_ref())?,
                (_, "root") => files_below(place)?,
                _ => vec![PathBuf::new()],
            };
            files.extend(below.into_iter().map(|path| (format!("{field}/{}", text_of_path(&path)), join(place, &path))));
            if let Self::Table(table) = self
                && table.root.is_empty()
            {
                let folder = place.parent().unwrap_or(place);
                files.extend(table.pictures(place)?.into_iter().map(|path| (format!("root/{}", text_of_path(&path)), folder.join(&path))));
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Scans the data set. `places` are the resolved paths of [`roots`](Self::roots), in that order.
    ///
    /// # Errors
    /// Files that are missing or not as the layout says, bad pictures (unless they are to be skipped), ids used twice.
    pub fn scan(&self, places: &[impl AsRef<Path>], how: &Scan) -> Result<Ingested, Failure> {
        let roots = self.roots();
        if places.len() != roots.len() {
            return Err(Failure::new(format!("{} resolved paths given: expected {}", places.len(), roots.len())));
        }
        if let Some((field, wrong)) = self.check().into_iter().next() {
            return Err(Failure::new(format!("`{field}` {wrong}")));
        }
        let first = places[0].as_ref();
        let ingested = match self {
            Self::Folder(l) => l.scan(first, how),
            // Without a root of its own, a table's paths are below the table's folder.
            Self::Table(l) => l.scan(first, places.get(1).map_or_else(|| first.parent().unwrap_or(first), |p| p.as_ref()), how),
            Self::Npz(l) => l.scan(first, how),
            Self::Chula(l) => l.scan(first, how),
            Self::BoneMarrow(l) => l.scan(first, how),
            Self::HyperKvasir(l) => l.scan(first, how),
            Self::Isic2019(l) => l.scan(first, how),
            Self::Isic2020(l) => l.scan(first, how),
        };
        ingested.map_err(|failure| failure.while_doing(format!("scanning `{}`", first.display())))
    }
}

/// `place` itself for an empty `path`, without the slash that `Path::join` would add.
fn join(place: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { place.to_path_buf() } else { place.join(path) }
}
