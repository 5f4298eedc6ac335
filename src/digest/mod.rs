//! Content digests: what a file or a value is called by what it holds.
//!
//! BLAKE3 throughout (<https://github.com/BLAKE3-team/BLAKE3-specs>), 256 bits, written as 64 lowercase hex digits.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The BLAKE3 digest of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: expected 64 hex digits")]
pub struct NotADigest(String);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the digest of a file's content.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Self::of_open_file(&file, size)
    }

    /// Returns the digest of all that can be read from an open file of about `size` bytes, in pieces that suit that size.
    pub fn of_open_file(mut file: &File, size: u64) -> io::Result<Self> {
        // Beyond this size reading ahead on all cores wins over plain reads.
        const LARGE: u64 = 4 << 20;
        // One piece holds most pictures, and is used for all files that a thread reads.
        const PIECE: usize = 64 << 10;
        thread_local!(static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) });
        let mut hasher = blake3::Hasher::new();
        if size >= LARGE {
            of_large(file, &mut hasher)?;
            return Ok(Self(*hasher.finalize().as_bytes()));
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(PIECE, 0);
            loop {
                let n = file.read(buffer)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
                // A short read of a plain file means its end; a second read to hear that would cost as much as hashing.
                if n < PIECE && n as u64 == size {
                    break;
                }
            }
            Ok(Self(*hasher.finalize().as_bytes()))
        })
    }

    /// Returns the digest of a value as JSON with sorted keys.
    ///
    /// Two values have one digest exactly when they have one canonical JSON text.
    pub fn of_json(value: &serde_json::Value) -> Self {
        // `serde_json` keeps maps in a BTreeMap, so its text is canonical already.
        Self::of(value.to_string().as_bytes())
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes raw bytes that were returned before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 64 hex digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Returns the first eight hex digits, enough to tell digests apart by eye.
    pub fn short(&self) -> String {
        self.hex()[..8].to_string()
    }
}

/// Hashes a large file: one thread reads the next block while all hash the last.
fn of_large(mut file: &File, hasher: &mut blake3::Hasher) -> io::Result<()> {
    // Small enough that a block is still in the cache when it is hashed.
    const BLOCK: usize = 1 << 20;
    let (mut full, mut next) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut length = read_block(&mut file, &mut full)?;
    while length > 0 {
        let (read, ()) = rayon::join(
            || read_block(&mut file, &mut next),
            || {
                hasher.update_rayon(&full[..length]);
            },
        );
        length = read?;
        std::mem::swap(&mut full, &mut next);
    }
    Ok(())
}

/// Fills a block as far as the file goes.
fn read_block(file: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        blake3::Hash::from_hex(text).map(|h| Self(*h.as_bytes())).map_err(|_| NotADigest(text.to_string()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"cell");
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        assert!("xyz".parse::<Digest>().is_err());
    }

    #[test]
    fn small_and_large_files_hash_like_their_bytes() {
        for size in [0, 10, 64 << 10, 100_000, 5 << 20, 20 << 20] {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            assert_eq!(Digest::of_file(file.path()).unwrap(), Digest::of(&bytes));
        }
    }
}
