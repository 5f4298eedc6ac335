//! What was learned about files outside, as one file: a check sum, then single files, then trees.
//!
//! All numbers are little endian. A damaged or older file counts as empty: everything is looked at anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::stat::Stat;
use super::tree::{Folder, Leaf};
use crate::digest::Digest;

/// What is known of files and folders, by path.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    pub files: HashMap<PathBuf, (Stat, Digest)>,
    pub folders: HashMap<PathBuf, Arc<Folder>>,
}

const MAGIC: &[u8; 8] = b"flowst02";

/// Returns the file's bytes. Paths that are not UTF-8 are left out.
pub(super) fn encode(known: &Known) -> Vec<u8> {
    let mut out = vec![0; 32];
    out.extend(MAGIC);
    out.extend((known.files.len() as u32).to_le_bytes());
    let mut count = 0u32;
    for (path, (stat, digest)) in &known.files {
        let Some(path) = path.to_str() else { continue };
        text(&mut out, path);
        out.extend(stat.to_bytes());
        out.extend(digest.as_bytes());
        count += 1;
    }
    out[40..44].copy_from_slice(&count.to_le_bytes());
    for (path, folder) in &known.folders {
        let Some(path) = path.to_str() else { continue };
        text(&mut out, path);
        tree(&mut out, folder);
    }
    let check = Digest::of(&out[32..]);
    out[..32].copy_from_slice(check.as_bytes());
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn tree(out: &mut Vec<u8>, folder: &Folder) {
    out.extend(folder.stat.to_bytes());
    out.push(u8::from(folder.settled));
    out.extend(folder.digest.as_bytes());
    text(out, &folder.names);
    out.extend((folder.files.len() as u32).to_le_bytes());
    for leaf in &folder.files {
        out.extend(leaf.end.to_le_bytes());
        out.push(u8::from(leaf.settled));
        out.extend(leaf.stat.to_bytes());
        out.extend(leaf.digest.as_bytes());
    }
    out.extend((folder.folders.len() as u32).to_le_bytes());
    for (name, inner) in &folder.folders {
        text(out, name);
        tree(out, inner);
    }
}

/// Reads the file's bytes; nothing where they are not whole.
pub(super) fn decode(bytes: &[u8]) -> Option<Known> {
    let (check, body) = bytes.split_at_checked(32)?;
    if Digest::of(body).as_bytes() != check {
        return None;
    }
    let mut rest = Rest(body.strip_prefix(MAGIC)?);
    let mut known = Known::default();
    let count = rest.number()? as usize;
    // No allocation is larger than the file: what is said of one has more bytes than this.
    known.files.reserve(count.min(rest.0.len() / 64));
    for _ in 0..count {
        let path = PathBuf::from(rest.text()?);
        known.files.insert(path, (rest.stat()?, rest.digest()?));
    }
    while !rest.0.is_empty() {
        let path = PathBuf::from(rest.text()?);
        known.folders.insert(path, rest.tree()?);
    }
    Some(known)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take()?))
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.take::<1>()?[0] == 1)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        let (text, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        std::str::from_utf8(text).ok()
    }

    fn stat(&mut self) -> Option<Stat> {
        Some(Stat::from_bytes(self.take()?))
    }

    fn digest(&mut self) -> Option<Digest> {
        Some(Digest::from(*self.take::<32>()?))
    }

    fn tree(&mut self) -> Option<Arc<Folder>> {
        let (stat, settled, digest, names) = (self.stat()?, self.flag()?, self.digest()?, self.text()?.to_string());
        let count = self.number()? as usize;
        // No allocation is larger than the file: a leaf has 77 bytes.
        let mut files = Vec::with_capacity(count.min(self.0.len() / 77));
        for _ in 0..count {
            let leaf = Leaf { end: self.number()?, settled: self.flag()?, stat: self.stat()?, digest: self.digest()? };
            names.get(..leaf.end as usize)?;
            files.push(leaf);
        }
        let mut folders = Vec::new();
        for _ in 0..self.number()? {
            folders.push((self.text()?.to_string(), self.tree()?));
        }
        Some(Arc::new(Folder { stat, settled, names, files, folders, digest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_survives_and_a_damaged_file_counts_as_empty() {
        let stat = Stat { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };
        let leaf = |end, settled| Leaf { end, settled, stat, digest: Digest::of(&[end as u8]) };
        let inner = Arc::new(Folder::new(stat, false, "x".into(), vec![leaf(1, true)], Vec::new()));
        let folder = Folder::new(stat, true, "a.pngü".into(), vec![leaf(5, true), leaf(7, false)], vec![("c".into(), inner)]);
        let known = Known {
            files: HashMap::from([(PathBuf::from("/a b/ü"), (stat, Digest::of(b"x")))]),
            folders: HashMap::from([(PathBuf::from("/data"), Arc::new(folder))]),
        };
        let mut bytes = encode(&known);
        assert_eq!(decode(&bytes), Some(known));
        bytes[50] ^= 1;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b"short"), None);
    }
}
