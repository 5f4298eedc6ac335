//! Packs: many small pieces in one file that never changes once it is there.
//!
//! ```text
//! "flow pieces v1\0\n"                 16 bytes
//! the bytes of every piece             one after another
//! a record of each, in that order      name (32), length (8), the first half of the bytes' BLAKE3 (16)
//! number of records (8), BLAKE3 of the records (32), "flow pieces v1\0\n"
//! ```
//!
//! The records stand at the end, so that a pack is written in one go and a cut-off one is none. They are read when a pack is opened;
//! the bytes of a piece are read when it is asked for, and held against their digest.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Durability;
use super::folder::sync_folder;
use crate::digest::Digest;

const MAGIC: &[u8; 16] = b"flow pieces v1\0\n";
const RECORD: usize = 32 + 8 + 16;
const FOOTER: usize = 8 + 32 + 16;
/// The ending of a pack's name.
pub(super) const ENDING: &str = "pack";

/// Where a piece lies in its pack, and half the digest of its bytes.
struct Spot {
    at: u64,
    length: u64,
    checksum: [u8; 16],
}

/// An opened pack.
pub(super) struct Pack {
    file: File,
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    spots: HashMap<Digest, Spot>,
}

fn checksum(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Digest::of(bytes).as_bytes()[..16]);
    half
}

/// Cuts `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

impl Pack {
    /// Opens a pack; none if its bytes are not those that were written.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let Some(footer_at) = bytes.checked_sub(FOOTER as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at)?;
        let Some((records_at, digest)) = read_footer(&footer, footer_at) else { return Ok(None) };
        let mut records = vec![0; (footer_at - records_at) as usize];
        file.read_exact_at(&mut records, records_at)?;
        if Digest::of(&records) != digest {
            return Ok(None);
        }
        Ok(read_records(&records, records_at).map(|spots| Self { file, path: path.to_path_buf(), bytes, spots }))
    }

    /// Returns a piece, if it is here and undamaged.
    pub fn get(&self, name: &Digest) -> Option<Vec<u8>> {
        let spot = self.spots.get(name)?;
        let mut bytes = vec![0; usize::try_from(spot.length).ok()?];
        self.file.read_exact_at(&mut bytes, spot.at).ok()?;
        (checksum(&bytes) == spot.checksum).then_some(bytes)
    }

    /// Returns the names of its pieces in the order in which they lie.
    pub fn names(&self) -> Vec<Digest> {
        let mut names: Vec<Digest> = self.spots.keys().copied().collect();
        // An empty one lies where the next begins.
        names.sort_by_key(|name| (self.spots[name].at, self.spots[name].length, *name));
        names
    }
}

/// Returns where the records begin and their digest.
fn read_footer(footer: &[u8; FOOTER], footer_at: u64) -> Option<(u64, Digest)> {
    let mut rest = &footer[..];
    let count = u64::from_le_bytes(take(&mut rest)?);
    let digest = Digest::from(take::<32>(&mut rest)?);
    let records_at = footer_at.checked_sub(count.checked_mul(RECORD as u64)?)?;
    (rest == MAGIC && records_at >= MAGIC.len() as u64).then_some((records_at, digest))
}

fn read_records(mut records: &[u8], records_at: u64) -> Option<HashMap<Digest, Spot>> {
    let mut spots = HashMap::with_capacity(records.len() / RECORD);
    let mut at = MAGIC.len() as u64;
    while !records.is_empty() {
        let name = Digest::from(take::<32>(&mut records)?);
        let length = u64::from_le_bytes(take(&mut records)?);
        spots.insert(name, Spot { at, length, checksum: take(&mut records)? });
        at = at.checked_add(length)?;
    }
    (at == records_at).then_some(spots)
}

/// A pack that is being written.
pub(super) struct Writer {
    out: BufWriter<File>,
    /// Where it is written, in the store's own file system; swept with its owner's process.
    scratch: tempfile::TempDir,
    records: Vec<u8>,
}

impl Writer {
    /// Begins a pack in a scratch folder of its own.
    pub fn new(scratch: tempfile::TempDir) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(scratch.path().join(ENDING))?);
        out.write_all(MAGIC)?;
        Ok(Self { out, scratch, records: Vec::new() })
    }

    /// Adds a piece; a name may come once.
    pub fn add(&mut self, name: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.records.extend(name.as_bytes());
        self.records.extend((bytes.len() as u64).to_le_bytes());
        self.records.extend(checksum(bytes));
        Ok(())
    }

    /// Moves the pack to its place below `folder` and opens it. Its name follows from what it holds.
    pub fn finish(mut self, folder: &Path, durability: Durability) -> io::Result<Pack> {
        let digest = Digest::of(&self.records);
        self.out.write_all(&self.records)?;
        self.out.write_all(&((self.records.len() / RECORD) as u64).to_le_bytes())?;
        self.out.write_all(digest.as_bytes())?;
        self.out.write_all(MAGIC)?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        if durability == Durability::Now {
            file.sync_all()?;
        }
        let path = folder.join(format!("{}.{ENDING}", &digest.hex()[..32]));
        fs::create_dir_all(folder)?;
        fs::rename(self.scratch.path().join(ENDING), &path)?;
        if durability == Durability::Now {
            sync_folder(folder);
        }
        Pack::open(&path)?.ok_or_else(|| io::Error::other("a pack that was just written cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: u64) -> Digest {
        Digest::of(&i.to_le_bytes())
    }

    fn piece(i: u64) -> Vec<u8> {
        vec![i as u8; 3 * i as usize]
    }

    fn pack(folder: &Path, pieces: std::ops::Range<u64>) -> Pack {
        let mut writer = Writer::new(tempfile::tempdir_in(folder).unwrap()).unwrap();
        pieces.for_each(|i| writer.add(&name(i), &piece(i)).unwrap());
        writer.finish(folder, Durability::Now).unwrap()
    }

    #[test]
    fn pieces_come_back_as_they_were_an_empty_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let pack = pack(folder.path(), 0..5);
        assert!((0..5).all(|i| pack.get(&name(i)) == Some(piece(i))));
        assert_eq!(pack.get(&name(5)), None);
        assert_eq!(pack.names(), (0..5).map(name).collect::<Vec<_>>());
    }

    #[test]
    fn a_pack_that_is_cut_off_or_longer_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let whole = fs::read(pack(folder.path(), 0..5).path).unwrap();
        let other = folder.path().join("other");
        for length in 0..whole.len() {
            fs::write(&other, &whole[..length]).unwrap();
            assert!(Pack::open(&other).unwrap().is_none(), "{length} bytes of {}", whole.len());
        }
        fs::write(&other, [&whole[..], b"more"].concat()).unwrap();
        assert!(Pack::open(&other).unwrap().is_none());
    }

    #[test]
    fn whatever_byte_is_damaged_no_piece_comes_back_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let whole = fs::read(pack(folder.path(), 0..5).path).unwrap();
        let other = folder.path().join("other");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&other, bytes).unwrap();
            let Some(pack) = Pack::open(&other).unwrap() else { continue };
            let wrong = (0..5).filter(|i| pack.get(&name(*i)) != Some(piece(*i)));
            let wrong: Vec<_> = wrong.map(|i| pack.get(&name(i))).collect();
            assert!(wrong.len() <= 1 && wrong.iter().all(Option::is_none), "byte {at}");
        }
    }
}
