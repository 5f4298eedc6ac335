//! What every layout shares: how to scan, what comes out, and looking at files in parallel.
//!
//! Unaware of any particular data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::files::with_head;
use crate::data::image::{Header, Rgb, decode, decode_frame, frames, header};
use crate::data::names::{ImageId, text_of_path};
use crate::data::pixels::read_file;
use crate::data::table::{ImageRow, ImageTable, Labels, Place};
use crate::diagnostic::{Context, Failure, count};
use crate::digest::Digest;
use crate::stage::Monitor;

/// Tells the digest of a file's content.
pub type DigestOf<'a> = dyn Fn(&Path) -> Result<Digest, Failure> + Sync + 'a;

/// Reads and hashes the file: the plainest [`DigestOf`].
pub fn hash_file(path: &Path) -> Result<Digest, Failure> {
    Digest::of_file(path).doing(|| format!("failed to read `{}`", path.display()))
}

/// What a scan is given besides the data set.
pub struct Scan<'a> {
    pub digest_of: &'a DigestOf<'a>,
    /// Where a layout that unpacks or cuts pictures may write its array.
    pub packed: &'a Path,
    pub monitor: &'a dyn Monitor,
}

/// What to do with a picture that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBad {
    /// Fail, listing all of them.
    #[default]
    Fail,
    /// Leave them out, and list them in the notes.
    Skip,
}

/// How closely pictures are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// Their headers are read.
    #[default]
    Headers,
    /// Every picture is decoded once, so that a cut-off file is found now and not in the middle of a training.
    Pixels,
}

/// What to do with a file that holds several pictures, as DICOM files of ultrasound or endoscopy do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frames {
    /// The first stands for the file.
    #[default]
    First,
    /// Each is an image: `NAME#1`, `NAME#2` and so on. What has no group has its file as one, since frames of one file belong together.
    All,
}

/// An array of pictures that a scan has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub path: PathBuf,
    pub digest: Digest,
}

/// A count that is not what was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountDifference {
    /// What was counted: a class, or all images.
    pub what: String,
    pub expected: usize,
    pub found: usize,
}

/// What a scan yields.
#[derive(Clone, Debug)]
pub struct Ingested {
    pub images: ImageTable,
    /// Absent where the layout has none.
    pub labels: Option<Labels>,
    /// The array that rows with [`Place::Row`] lie in; absent when all images are files of the data set.
    pub packed: Option<Packed>,
    /// Lines for the user: what was skipped or looked odd.
    pub notes: Vec<String>,
    /// Counts that differ from the published ones.
    pub differences: Vec<CountDifference>,
}

/// A picture file that a layout has found.
pub struct Found {
    pub id: ImageId,
    /// Below the root.
    pub relative: PathBuf,
    pub group: Option<String>,
}

/// Pictures that could not be used, with causes.
pub type Bad = BTreeMap<String, String>;

/// Looks at every picture file: digest, width, height. The bad ones come apart.
pub fn look_at(root: &Path, found: Vec<Found>, check: Check, how: &Scan) -> Result<(Vec<ImageRow>, Bad), Failure> {
    look_at_frames(root, found, check, Frames::First, how).map(|(rows, bad, _)| (rows, bad))
}

/// Looks at every picture file as [`look_at`] does, and into those that hold several; also returns how many of these there are.
pub fn look_at_frames(
    root: &Path,
    found: Vec<Found>,
    check: Check,
    policy: Frames,
    how: &Scan,
) -> Result<(Vec<ImageRow>, Bad, usize), Failure> {
    let (total, done) = (found.len() as u64, AtomicU64::new(0));
    let looked: Vec<Result<(Found, Seen), (String, String)>> = found
        .into_par_iter()
        .map(|file| {
            if how.monitor.interrupted() {
                return Err((String::new(), String::new()));
            }
            let path = root.join(&file.relative);
            let seen = look(&path, check, policy, how.digest_of);
            let n = done.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_multiple_of(256) || n == total {
                how.monitor.progress(n, total, "image", &[]);
            }
            seen.map(|seen| (file, seen)).map_err(|failure| (path.display().to_string(), failure.message().to_string()))
        })
        .collect();
    if how.monitor.interrupted() {
        return Err(Failure::interrupted());
    }
    let (mut rows, mut bad, mut n_several) = (Vec::with_capacity(looked.len()), Bad::new(), 0);
    for result in looked {
        match result {
            Ok((file, seen)) => {
                n_several += usize::from(seen.frames > 1);
                rows_of(file, &seen, policy, &mut rows);
            }
            Err((path, cause)) => drop(bad.insert(path, cause)),
        }
    }
    Ok((rows, bad, n_several))
}

/// Says that of files with several pictures only one each was taken.
pub fn note_frames(n_several: usize, policy: Frames, notes: &mut Vec<String>) {
    if n_several > 0 && policy == Frames::First {
        notes.push(format!("{} with several frames: the first of each is taken, all with `frames: All`", count(n_several, "file")));
    }
}

/// What was seen in a file.
struct Seen {
    digest: Digest,
    width: u32,
    height: u32,
    frames: usize,
}

fn rows_of(file: Found, seen: &Seen, policy: Frames, rows: &mut Vec<ImageRow>) {
    let group = match policy {
        Frames::First => file.group,
        Frames::All => file.group.or_else(|| Some(file.id.to_string())),
    };
    let row = ImageRow {
        path: text_of_path(&file.relative),
        file: seen.digest,
        place: Place::Whole,
        width: seen.width,
        height: seen.height,
        group,
        id: file.id,
    };
    match policy {
        Frames::All if seen.frames > 1 => rows.extend((1..=seen.frames as u32).map(|frame| ImageRow {
            id: ImageId(format!("{}#{frame}", row.id)),
            place: Place::Frame(frame),
            ..row.clone()
        })),
        _ => rows.push(row),
    }
}

fn look(path: &Path, check: Check, policy: Frames, digest_of: &DigestOf) -> Result<Seen, Failure> {
    let digest = digest_of(path)?;
    let seen = header_of(path)?;
    let n_wanted = if policy == Frames::All { seen.frames } else { 1 };
    if check == Check::Pixels || n_wanted > 1 {
        let bytes = bytes_of(path)?;
        if n_wanted > 1 {
            frames(&bytes)?;
        }
        if check == Check::Pixels {
            (0..n_wanted).try_for_each(|frame| decode_frame(&bytes, frame).map(drop))?;
        }
    }
    Ok(Seen { digest, width: seen.width as u32, height: seen.height as u32, frames: seen.frames })
}

/// Reads a picture's header, for which the first bytes of its file are mostly enough.
fn header_of(path: &Path) -> Result<Header, Failure> {
    // Beyond a few hundred bytes of tables there may be a preview, and some are large.
    for most in [4 << 10, 64 << 10] {
        match with_head(path, most, |head| (header(head), head.len() < most)).doing(|| "failed to read")? {
            (Err(_), false) => {}
            (said, _) => return said,
        }
    }
    header(&bytes_of(path)?)
}

/// Reads a whole file, whose path the caller will name.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    read_file(path).map_err(|f| Failure::new(f.message().rsplit(": ").next().unwrap_or_default()))
}

/// Reads and decodes a picture file of the data set.
pub fn read_picture(path: &Path) -> Result<Rgb, Failure> {
    decode(&read_file(path)?)
}

/// Handles bad pictures as the policy says: an error that lists them, or notes.
pub fn handle_bad(bad: Bad, on_bad: OnBad, notes: &mut Vec<String>) -> Result<(), Failure> {
    const SHOWN: usize = 20;
    if bad.is_empty() {
        return Ok(());
    }
    let many = count(bad.len(), "picture");
    let mut lines: Vec<String> = bad.iter().take(SHOWN).map(|(path, cause)| format!("  `{path}`: {cause}")).collect();
    if bad.len() > SHOWN {
        lines.push(format!("  and {} more", bad.len() - SHOWN));
    }
    match on_bad {
        OnBad::Fail => Err(Failure::new(format!("{many} cannot be used:\n{}", lines.join("\n")))
            .help("repair or remove them, or leave them out with `on_bad: Skip`")),
        OnBad::Skip => {
            notes.push(format!("{many} skipped:\n{}", lines.join("\n")));
            Ok(())
        }
    }
}

/// Fails when files do not lie as the publisher has them, showing the first twenty with their causes.
pub fn refuse_files(wrong: &[(&PathBuf, String)]) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = wrong.iter().take(20).map(|(path, cause)| format!("  `{}`: {cause}", path.display())).collect();
    Err(Failure::new(format!("{} not as published:\n{}", count(wrong.len(), "file"), shown.join("\n"))))
}

/// Returns where counts by class, and all images, differ from the published ones; a total that is off by up to `slack` is none.
pub fn count_differences(published: &[(&str, usize)], counts: &[usize], slack: usize) -> Vec<CountDifference> {
    let differs = |what: &str, expected, found| CountDifference { what: what.to_string(), expected, found };
    let by_class = published.iter().zip(counts).filter(|((_, expected), found)| expected != *found);
    let mut out: Vec<CountDifference> = by_class.map(|((class, expected), found)| differs(class, *expected, *found)).collect();
    let (expected, found) = (published.iter().map(|(_, n)| n).sum(), counts.iter().sum());
    if usize::abs_diff(expected, found) > slack {
        out.push(differs("all images", expected, found));
    }
    out
}

/// Keeps only the labels of images that are in the table; a frame has the label of its file. Without a list of classes they are sorted by name.
pub fn labels_of(images: &ImageTable, classes: Option<Vec<String>>, names: &BTreeMap<ImageId, String>) -> Result<Labels, Failure> {
    let named = images.rows().iter().filter_map(|row| {
        let file = match row.place {
            Place::Frame(_) => row.id.as_str().rsplit_once('#').map(|(file, _)| ImageId::from(file)),
            _ => None,
        };
        Some((&row.id, names.get(file.as_ref().unwrap_or(&row.id))?.as_str()))
    });
    let named: Vec<(&ImageId, &str)> = named.collect();
    let sorted = || named.iter().map(|(_, name)| *name).collect::<BTreeSet<&str>>().into_iter().map(str::to_string).collect();
    let classes: Vec<String> = classes.unwrap_or_else(sorted);
    let numbers: BTreeMap<&str, usize> = classes.iter().enumerate().rev().map(|(number, class)| (class.as_str(), number)).collect();
    let number = |(id, name): (&ImageId, &str)| match numbers.get(name) {
        Some(number) => Ok((id.clone(), *number)),
        None => Err(Failure::new(format!("image `{id}` has the class `{name}`, which is not among the listed classes"))),
    };
    let of = named.into_iter().map(number).collect::<Result<_, _>>()?;
    Labels::new(classes, of)
}
