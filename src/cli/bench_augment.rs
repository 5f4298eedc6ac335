//! `flow bench augment`: augmented views of the pictures below a folder, with the fields that a script for torchvision prints.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::bench::{on_threads, peak_mib, program, some};
use super::exit::Stop;
use crate::data::{
    Augment, Folder, ImageTable, KnownFiles, Layout, MultiCrop, Pack, Resampling, Scan, hash_file, path_of_text, time_views,
};
use crate::diagnostic::Failure;
use crate::kernel::level;
use crate::params::DataPath;
use crate::stage::Silent;

#[derive(Args)]
pub(super) struct AugmentArguments {
    /// Pictures are looked for here and below: .jpg, .jpeg, .png
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Pictures that are taken, from the first by path
    #[arg(long, value_name = "N", default_value = "40", value_parser = some)]
    pub images: usize,
    /// Side of a global view in pixels
    #[arg(long, value_name = "PIXELS", default_value = "256", value_parser = some)]
    pub global: usize,
    /// Side of a local view in pixels
    #[arg(long, value_name = "PIXELS", default_value = "96", value_parser = some)]
    pub local: usize,
    /// Local views of each image
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub n_local: usize,
    /// Decode and resize the pictures before the clock starts, as a `Pack` does, instead of within it
    #[arg(long)]
    pub packed: bool,
    /// Resample once for all of a view's geometry instead of once for each step
    #[arg(long)]
    pub fused: bool,
    /// Times that all pictures are gone through: the fastest counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = some)]
    pub rounds: usize,
    #[arg(long, value_name = "N", default_value = "1", value_parser = some)]
    pub threads: usize,
}

/// Times the views of the paper's recipe, from files to network inputs.
pub(super) fn augment(arguments: &AugmentArguments) -> Result<Value, Stop> {
    let AugmentArguments { folder, images, global, local, n_local, packed, fused, rounds, threads } = arguments;
    let resampling = if *fused { Resampling::Fused } else { Resampling::Exact };
    let how = Augment { global: Some(*global), local: Some(*local), n_local: Some(*n_local), resampling, ..Augment::default() };
    if let Some((field, wrong)) = how.check().first() {
        return Err(Stop::wrong(format!("`--{}` {wrong}", field.replace('_', "-"))));
    }
    let (mut images, mut files) = pictures_below(folder, *images)?;
    let recipe = how.recipe();
    let scratch = tempfile::tempdir().map_err(|e| Failure::new(format!("failed to make a folder for the pack: {e}")))?;
    let (best, views) = on_threads(*threads, || {
        if *packed {
            let array = scratch.path().join("pixels.npy");
            let pack = Pack::make(&[images.clone()], &files, recipe.base, recipe.resize, &array, &Silent)?;
            images = pack.under(&images, recipe.base, recipe.resize)?;
            files.0.insert(pack.pixels, array);
        }
        let views = MultiCrop::new(&images, &files, recipe, 1, 0, &Silent)?;
        Ok((time_views(&views, *rounds)?, views.n_views()))
    })?;
    let n = images.len();
    Ok(json!({
        "job": "augment",
        "peer": program(),
        "images": n,
        "views": n * views,
        "views_per_cpu_second": (n * views) as f64 / best.cpu,
        "images_per_cpu_second": n as f64 / best.cpu,
        "wall": best.wall,
        "input": if *packed { "packed" } else { "files" },
        "resampling": resampling,
        "threads": threads,
        "peak_mib": peak_mib(),
        "instructions": format!("{:?}", level()),
    }))
}

/// The first `most` pictures below a folder, by path.
pub(super) fn pictures_below(folder: &Path, most: usize) -> Result<(ImageTable, KnownFiles), Failure> {
    let root = DataPath(folder.to_string_lossy().into_owned());
    let layout = Layout::Folder(Folder { root, labelled: false, ..Folder::default() });
    let found = layout.scan(&[folder], &Scan { digest_of: &hash_file, packed: Path::new(""), monitor: &Silent })?;
    let rows: Vec<_> = found.images.rows().iter().take(most).cloned().collect();
    let files = rows.iter().map(|row| (row.file, folder.join(path_of_text(&row.path)))).collect();
    Ok((ImageTable::new(rows)?, KnownFiles(files)))
}
