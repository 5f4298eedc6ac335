//! What lies in a folder that nobody has described yet: classes, counts, sizes, groups in file names, and what is no picture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::files::{files_below, is_picture};
use crate::data::image::dimensions;
use crate::data::names::text_of_path;
use crate::data::pixels::read_file;
use crate::diagnostic::Failure;

/// Headers of so many pictures are read, evenly spaced: enough to know the sizes, and quick on a slow disk.
const LOOKED_AT: usize = 2000;

/// What was found below a folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Pictures by class: the first folder below the root. Empty where no picture lies in a folder.
    pub classes: BTreeMap<String, usize>,
    /// Pictures that lie in no folder of a class.
    pub loose: Vec<PathBuf>,
    /// Files whose names are no pictures'.
    pub others: Vec<PathBuf>,
    /// Files named like pictures whose headers cannot be read, with the cause.
    pub odd: Vec<(PathBuf, String)>,
    /// The shorter side in pixels of each picture that was looked at, sorted.
    pub sides: Vec<usize>,
    /// Where names begin with what looks like a patient or slide: how many different ones, and one of them.
    pub groups: Option<(usize, String)>,
}

impl Survey {
    /// Looks at a folder.
    ///
    /// # Errors
    /// When the folder cannot be listed or holds no file named like a picture.
    pub fn of(root: &Path) -> Result<Self, Failure> {
        let (pictures, others): (Vec<_>, Vec<_>) = files_below(root)?.into_iter().partition(|path| is_picture(root, path));
        if pictures.is_empty() {
            let help = "put the pictures of each class into a folder named after it";
            return Err(
                Failure::new(format!("no pictures below `{}`: expected jpg, png, bmp, tif, webp or dcm", root.display())).help(help)
            );
        }
        let mut survey = Self { others, groups: groups(&pictures), ..Self::default() };
        let step = pictures.len().div_ceil(LOOKED_AT);
        let some: Vec<&PathBuf> = pictures.iter().step_by(step).collect();
        let size = |path: &&PathBuf| read_file(&root.join(path)).and_then(|bytes| dimensions(&bytes));
        let sizes: Vec<Result<(usize, usize), Failure>> = some.par_iter().map(size).collect();
        let mut odd = BTreeSet::new();
        for (path, size) in some.into_iter().zip(sizes) {
            match size {
                Ok((width, height)) => survey.sides.push(width.min(height)),
                Err(failure) => {
                    odd.insert(path);
                    survey.odd.push((path.clone(), failure.message().to_string()));
                }
            }
        }
        survey.sides.sort_unstable();
        for path in pictures.iter().filter(|path| !odd.contains(path)) {
            let mut parts = path.components();
            match (parts.next(), parts.next()) {
                (Some(class), Some(_)) => *survey.classes.entry(text_of_path(Path::new(class.as_os_str()))).or_default() += 1,
                _ => survey.loose.push(path.clone()),
            }
        }
        Ok(survey)
    }

    /// Returns the shorter side that half of the pictures reach; nothing where none could be read.
    pub fn usual_side(&self) -> Option<usize> {
        self.sides.get(self.sides.len() / 2).copied()
    }
}

/// Beginnings of names, up to `_` or `-`, that several pictures share and that are many: patients or slides rather than a naming habit.
fn groups(pictures: &[PathBuf]) -> Option<(usize, String)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for path in pictures {
        let name = path.file_stem()?.to_str()?;
        // One picture without such a beginning, and the beginnings mean something else.
        let (start, _) = name.split_once(['_', '-'])?;
        *counts.entry(start).or_default() += 1;
    }
    let shared = counts.values().filter(|n| **n > 1).count();
    let largest = counts.iter().max_by_key(|(_, n)| **n)?;
    let many = counts.len() >= 5 && counts.len() * 2 <= pictures.len() && *largest.1 * 3 <= pictures.len();
    (many && shared * 2 >= counts.len()).then(|| (counts.len(), (*largest.0).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::layout::tests::{folder, png};

    #[test]
    fn classes_sizes_and_rubbish_are_told_apart() {
        let (small, large) = (png(20, 30, [9; 3]), png(64, 40, [7; 3]));
        let folder = folder(&[
            ("cat/1.png", &small),
            ("cat/deep/2.png", &large),
            ("dog/1.png", &small),
            ("3.png", &small),
            ("dog/cut.png", &small[..20]),
            ("dog/empty.jpg", b""),
            ("read me.txt", b"hello"),
        ]);
        let survey = Survey::of(folder.path()).unwrap();
        assert_eq!(survey.classes, BTreeMap::from([("cat".to_string(), 2), ("dog".to_string(), 1)]));
        assert_eq!(survey.loose, [PathBuf::from("3.png")]);
        assert_eq!(survey.others, [PathBuf::from("read me.txt")]);
        assert_eq!(survey.odd.iter().map(|(path, _)| path.to_str().unwrap()).collect::<Vec<_>>(), ["dog/cut.png", "dog/empty.jpg"]);
        assert_eq!((survey.sides.clone(), survey.usual_side()), (vec![20, 20, 20, 40], Some(20)));
    }

    #[test]
    fn patients_in_names_are_seen_and_a_plain_count_is_not_one() {
        let of = |name: &dyn Fn(usize) -> String| groups(&(0..40).map(|i| PathBuf::from(name(i))).collect::<Vec<_>>());
        assert_eq!(of(&|i| format!("a/p{:02}_{i}.png", i / 4)).map(|(n, _)| n), Some(10));
        assert_eq!(of(&|i| format!("a/image_{i}.png")), None);
        assert_eq!(of(&|i| format!("a/{i}_x.png")), None);
        assert_eq!(of(&|i| format!("a/{i}.png")), None);
    }

    #[test]
    fn a_folder_without_pictures_is_refused_with_the_way_out() {
        let folder = folder(&[("notes.txt", b"x")]);
        assert!(Survey::of(folder.path()).unwrap_err().to_string().contains("a folder named after it"));
    }
}
