//! What an image is called, and paths as text.
//!
//! Unaware of what lies at a path.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The name of an image within its data set: unique there, and the same wherever the data lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub String);

impl ImageId {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns 64 bits that stand for the name when draws are keyed by image.
    pub fn hash(&self) -> u64 {
        let digest = crate::digest::Digest::of(self.0.as_bytes());
        let first: [u8; 8] = std::array::from_fn(|i| digest.as_bytes()[i]);
        u64::from_le_bytes(first)
    }
}

impl From<&str> for ImageId {
    fn from(name: &str) -> Self {
        Self(name.to_string())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns a name without what a publisher added when it made the picture smaller: `ISIC_0000001` for `ISIC_0000001_downsampled`.
///
/// The addition is part of the id (ISIC 2019 ships 2,074 such names); other tables and years lack it.
pub fn undecorated(name: &str) -> &str {
    name.strip_suffix("_downsampled").unwrap_or(name)
}

/// Returns a relative path as text from which [`path_of_text`] finds the same path again.
///
/// Names need not be UTF-8: bytes that are not, control characters, and every `%` are written as `%` and two hex digits.
pub fn text_of_path(path: &Path) -> String {
    let is_plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'%';
    if let Some(plain) = path.to_str().filter(|text| text.as_bytes().iter().all(is_plain)) {
        return plain.to_string();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '%' {
                let mut buffer = [0; 4];
                character.encode_utf8(&mut buffer).bytes().for_each(|b| text += &format!("%{b:02x}"));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|b| text += &format!("%{b:02x}"));
    }
    text
}

/// Returns the path that [`text_of_path`] has written.
pub fn path_of_text(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let code = text.get(i + 1..i + 3).filter(|_| bytes[i] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_survive_their_text() {
        for bytes in [&b"a/b c.jpg"[..], b"100%.png", b"%41.png", b"caf\xc3\xa9/\xff\xfe.jpg", b"new\nline.png", b"a,\"b\".png"] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let text = text_of_path(&path);
            assert!(!text.contains('\n'));
            assert_eq!(path_of_text(&text), path, "{text}");
        }
        assert_eq!(text_of_path(Path::new("Körper/zelle 1.jpg")), "Körper/zelle 1.jpg");
    }
}
