//! A folder as a Merkle tree: its digest is that of its listing, which names every file's digest and every inner folder's.
//!
//! Looking again costs one stat per file and folder: names are read anew only where the folder's own stat changed, for adding,
//! removing or renaming an entry changes it; bytes are read anew only where the file's stat changed. Where nothing changed, the tree
//! that was known is returned itself, and nothing is hashed.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use serde::Serializer;

use super::stat::{Stat, hash, now};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// A folder as it was seen.
#[derive(Debug, PartialEq)]
pub(super) struct Folder {
    pub stat: Stat,
    /// Whether the names may be believed while the stat is the same.
    pub settled: bool,
    /// Names of all files, one after the other, sorted.
    pub names: String,
    pub files: Vec<Leaf>,
    /// Sorted by name.
    pub folders: Vec<(String, Arc<Folder>)>,
    /// Digest of the listing.
    pub digest: Digest,
}

/// A file as it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leaf {
    /// Where its name ends in the folder's names.
    pub end: u32,
    /// Whether the digest may be believed while the stat is the same.
    pub settled: bool,
    pub stat: Stat,
    pub digest: Digest,
}

/// Deeper paths come of links that lead in a circle.
const DEEPEST: usize = 128;

/// How many files one thread looks at before it asks for more.
const CHUNK: usize = 128;

impl Folder {
    pub fn new(stat: Stat, settled: bool, names: String, files: Vec<Leaf>, folders: Vec<(String, Arc<Self>)>) -> Self {
        let mut folder = Self { stat, settled, names, files, folders, digest: Digest::of(b"") };
        folder.digest = Digest::of(folder.listing().as_bytes());
        folder
    }

    /// Returns name and leaf of every file directly inside.
    pub fn leaves(&self) -> impl Iterator<Item = (&str, &Leaf)> {
        let starts = std::iter::once(0).chain(self.files.iter().map(|leaf| leaf.end as usize));
        starts.zip(&self.files).map(|(start, leaf)| (&self.names[start..leaf.end as usize], leaf))
    }

    /// Returns the text that names the folder: JSON with sorted keys, file or `folder/` to digest.
    pub fn listing(&self) -> String {
        let files = self.leaves().map(|(name, leaf)| (Cow::Borrowed(name), leaf.digest));
        let folders = self.folders.iter().map(|(name, folder)| (Cow::Owned(format!("{name}/")), folder.digest));
        let mut listing: Vec<(Cow<str>, Digest)> = files.chain(folders).collect();
        listing.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        // A map as a `BTreeMap` of the same would be, without making one of a hundred thousand names.
        let mut text = Vec::new();
        let written = serde_json::Serializer::new(&mut text).collect_map(listing);
        written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Collects the path below the root, `/` between its parts, and the digest of every file below.
    pub fn collect(&self, prefix: &str, into: &mut Vec<(String, Digest)>) {
        into.extend(self.leaves().map(|(name, leaf)| (format!("{prefix}{name}"), leaf.digest)));
        self.folders.iter().for_each(|(name, folder)| folder.collect(&format!("{prefix}{name}/"), into));
    }

    /// Looks at an open folder, believing of `known` what its stats prove. Folders at `skip` are left out.
    pub fn look(fd: &OwnedFd, path: &Path, known: Option<&Arc<Self>>, skip: &Path) -> Result<Arc<Self>, Failure> {
        let what = || format!("failed to read `{}`", path.display());
        if path.components().count() > DEEPEST {
            let message = format!("`{}` is nested more than {DEEPEST} folders deep", path.display());
            return Err(Failure::new(message).help("does a link in it lead back to a folder around it? remove that link"));
        }
        let (looked_at, stat) = (now(), Stat::of_open(fd).doing(what)?);
        let believed = known.filter(|folder| folder.settled && folder.stat == stat);
        if let Some(folder) = believed
            && let Some(same) = folder.look_at_known(fd, path, skip)?
        {
            return Ok(same);
        }
        let (names, inner) = entries(fd, path, skip)?;
        let before: std::collections::HashMap<&str, &Leaf> = known.into_iter().flat_map(|folder| folder.leaves()).collect();
        let mut files = leaves(fd.as_fd(), path, &names, |name| before.get(name).copied())?;
        let mut end = 0;
        for (name, leaf) in names.iter().zip(&mut files) {
            end += name.len() as u32;
            leaf.end = end;
        }
        let folders = look_inside(fd, path, &inner, known, skip)?;
        let same = known.is_some_and(|k| k.stat == stat && k.files == files && k.folders.len() == folders.len() && k.settled)
            && known.is_some_and(|k| k.folders.iter().zip(&folders).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1)));
        match known {
            Some(known) if same => Ok(known.clone()),
            _ => Ok(Arc::new(Self::new(stat, stat.is_settled(looked_at), names.concat(), files, folders))),
        }
    }

    /// Looks at the files and folders whose names are known; nothing where one of them is no longer what it was, a file or a folder.
    fn look_at_known(self: &Arc<Self>, fd: &OwnedFd, path: &Path, skip: &Path) -> Result<Option<Arc<Self>>, Failure> {
        let names: Vec<&str> = self.leaves().map(|(name, _)| name).collect();
        let unchanged = names.par_iter().zip(&self.files).with_min_len(CHUNK).all(|(name, leaf)| {
            leaf.settled && Stat::at(fd, name).is_ok_and(|(stat, kind)| stat == leaf.stat && kind == FileType::RegularFile)
        });
        let inner: Vec<String> = self.folders.iter().map(|(name, _)| name.clone()).collect();
        let folders = match look_inside(fd, path, &inner, Some(self), skip) {
            Ok(folders) => folders,
            Err(_) => return Ok(None),
        };
        if unchanged && folders.iter().zip(&self.folders).all(|(a, b)| Arc::ptr_eq(&a.1, &b.1)) {
            return Ok(Some(self.clone()));
        }
        if unchanged {
            return Ok(Some(Arc::new(Self::new(self.stat, self.settled, self.names.clone(), self.files.clone(), folders))));
        }
        Ok(None)
    }

    /// Returns the first file below that is not as it was: changed, gone or new. Reads no bytes.
    pub fn first_moved(&self, fd: &OwnedFd, path: &Path, prefix: &str, skip: &Path) -> Option<String> {
        let gone = || Some(format!("{prefix}."));
        if !self.settled || Stat::of_open(fd).ok() != Some(self.stat) {
            let Ok((names, folders)) = entries(fd, path, skip) else { return gone() };
            let known: Vec<&str> = self.leaves().map(|(name, _)| name).collect();
            let inner: Vec<&str> = self.folders.iter().map(|(name, _)| name.as_str()).collect();
            if let Some(name) = first_other(&known, &names).or_else(|| first_other(&inner, &folders)) {
                return Some(format!("{prefix}{name}"));
            }
        }
        let leaves: Vec<(&str, &Leaf)> = self.leaves().collect();
        let has_moved = |(name, leaf): &&(&str, &Leaf)| Stat::at(fd, name).map(|(stat, _)| stat).ok() != Some(leaf.stat);
        if let Some((name, _)) = leaves.par_iter().with_min_len(CHUNK).find_first(has_moved) {
            return Some(format!("{prefix}{name}"));
        }
        self.folders.iter().find_map(|(name, folder)| match open(fd, name) {
            Ok(fd) => folder.first_moved(&fd, &path.join(name), &format!("{prefix}{name}/"), skip),
            Err(_) => Some(format!("{prefix}{name}")),
        })
    }
}

/// The first name that one list has and the other has not; both are sorted.
fn first_other<'a>(known: &[&'a str], now: &'a [String]) -> Option<&'a str> {
    let differs = known.iter().zip(now).find(|(a, b)| *a != b).map(|(a, b)| (*a).min(b));
    differs.or_else(|| known.get(now.len()).copied()).or_else(|| now.get(known.len()).map(String::as_str))
}

fn look_inside(
    fd: &OwnedFd,
    path: &Path,
    names: &[String],
    known: Option<&Arc<Folder>>,
    skip: &Path,
) -> Result<Vec<(String, Arc<Folder>)>, Failure> {
    let look = |name: &String| {
        let path = path.join(name);
        let inner = open(fd, name).doing(|| format!("failed to read `{}`", path.display()))?;
        let before = known.and_then(|k| k.folders.binary_search_by(|(n, _)| n.cmp(name)).ok().map(|i| &k.folders[i].1));
        Ok((name.clone(), Folder::look(&inner, &path, before, skip)?))
    };
    names.par_iter().map(look).collect()
}

/// Looks at files by name; hashes those whose stat is not what `before` knows.
fn leaves<'a>(
    fd: BorrowedFd<'_>,
    path: &Path,
    names: &[String],
    before: impl Fn(&str) -> Option<&'a Leaf> + Sync,
) -> Result<Vec<Leaf>, Failure> {
    let look = |name: &String| -> Result<Leaf, Failure> {
        let what = || format!("failed to read `{}`", path.join(name).display());
        if let Some(leaf) = before(name).filter(|leaf| leaf.settled)
            && Stat::at(fd, name).doing(what)? == (leaf.stat, FileType::RegularFile)
        {
            return Ok(*leaf);
        }
        // What turns out to be a pipe is not waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let hashed = openat(fd, name.as_str(), flags, Mode::empty()).map_err(Into::into).and_then(|file| hash(File::from(file)));
        let no_file = || Stat::at(fd, name).is_ok_and(|(_, kind)| kind != FileType::RegularFile);
        if hashed.is_err() && no_file() {
            return Err(Failure::new(format!("`{}` is neither a file nor a folder", path.join(name).display()))
                .help("remove it, or move it elsewhere"));
        }
        let (stat, digest, settled) = hashed.doing(what)?;
        Ok(Leaf { end: 0, settled, stat, digest })
    };
    names.par_iter().with_min_len(16).map(look).collect()
}

/// Opens a folder.
pub(super) fn open(base: impl AsFd, name: impl rustix::path::Arg) -> std::io::Result<OwnedFd> {
    Ok(openat(base, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Returns the names of the files and of the folders inside, each sorted.
fn entries(fd: &OwnedFd, path: &Path, skip: &Path) -> Result<(Vec<String>, Vec<String>), Failure> {
    let what = || format!("failed to list `{}`", path.display());
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(fd).doing(what)? {
        let entry = entry.doing(what)?;
        let Ok(name) = entry.file_name().to_str() else {
            let name = path.join(entry.file_name().to_string_lossy().as_ref());
            return Err(Failure::new(format!("file name `{}` is not UTF-8", name.display())).help("rename the file"));
        };
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Symlink | FileType::Unknown => Stat::at(fd, name).map_or(FileType::Unknown, |(_, kind)| kind),
            kind => kind,
        };
        match kind {
            FileType::Directory if is(skip, path, name) => {}
            FileType::Directory => folders.push(name.to_string()),
            _ => files.push(name.to_string()),
        }
    }
    files.sort_unstable();
    folders.sort_unstable();
    Ok((files, folders))
}

/// Whether a folder inside `path` is `place`.
fn is(place: &Path, path: &Path, name: &str) -> bool {
    place.file_name().is_some_and(|last| last == name) && path.join(name).canonicalize().is_ok_and(|here| here == place)
}
