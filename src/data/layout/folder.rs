//! One folder for each class: `root/CLASS/.../picture.jpg`. The class is the first folder below the root.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::files::{files_below, is_picture};
use super::scan::{Check, Found, Frames, Ingested, OnBad, Scan, handle_bad, labels_of, look_at_frames, note_frames};
use crate::data::names::{ImageId, text_of_path};
use crate::data::table::ImageTable;
use crate::diagnostic::{Failure, count};
use crate::params::DataPath;

crate::params! {
    /// A folder of classes. An image's id is its path below the root.
    pub struct Folder {
        /// The folder that holds the folders of classes.
        pub root: DataPath = DataPath::default(),
        /// Whether the folders are classes; without labels any tree of pictures will do.
        pub labelled: bool = true,
        /// The classes in the order wanted; by default sorted by name.
        pub classes: Option<Vec<String>> = None,
        /// What happens to pictures that cannot be used.
        pub on_bad: OnBad = OnBad::Fail,
        pub check: Check = Check::Headers,
        /// Which pictures of a file with several are taken.
        pub frames: Frames = Frames::First,
    }
}

impl Folder {
    pub(super) fn scan(&self, root: &Path, how: &Scan) -> Result<Ingested, Failure> {
        let (pictures, others): (Vec<_>, Vec<_>) = files_below(root)?.into_iter().partition(|path| is_picture(root, path));
        if pictures.is_empty() {
            return Err(Failure::new(
                "no pictures: expected files ending in jpg, jpeg, png, bmp, tif, tiff, webp or dcm, or DICOM by any name",
            ));
        }
        let found = |path: PathBuf| Found { id: ImageId(text_of_path(&path)), relative: path, group: None };
        let pictures: Vec<Found> = pictures.into_iter().map(found).collect();
        let (mut names, mut loose) = (Vec::with_capacity(pictures.len()), Vec::new());
        for found in &pictures {
            let mut folders = found.relative.components();
            match (folders.next(), folders.next()) {
                (Some(Component::Normal(class)), Some(_)) => names.push((found.id.clone(), text_of_path(Path::new(class)))),
                _ => loose.push(found.relative.display()),
            }
        }
        if self.labelled && !loose.is_empty() {
            let what = count(loose.len(), "picture");
            return Err(Failure::new(format!("{what} in no folder of a class, `{}` first", loose[0]))
                .help("put them into folders named after their classes, or set `labelled: false`"));
        }
        let mut notes = Vec::new();
        if !others.is_empty() {
            let what = count(others.len(), "file");
            notes.push(format!("{what} passed over that are not named like pictures, `{}` first", others[0].display()));
        }
        let names: BTreeMap<ImageId, String> = names.into_iter().collect();
        let (rows, bad, n_several) = look_at_frames(root, pictures, self.check, self.frames, how)?;
        note_frames(n_several, self.frames, &mut notes);
        handle_bad(bad, self.on_bad, &mut notes)?;
        let images = ImageTable::new(rows)?;
        let labels = self.labelled.then(|| labels_of(&images, self.classes.clone(), &names)).transpose()?;
        Ok(Ingested { images, labels, packed: None, notes, differences: Vec::new() })
    }
}
