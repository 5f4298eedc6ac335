//! The elements of a DICOM file (PS3.5 chapter 7, PS3.10 chapter 7), as slices of its bytes.
//!
//! Only the group that describes pixels is kept. Unaware of what any element means.

use std::collections::BTreeMap;

use crate::diagnostic::{Failure, count};

/// A tag as `(group << 16) | element`.
pub type Tag = u32;

const TRANSFER_SYNTAX: Tag = 0x0002_0010;
const PIXEL_DATA: Tag = 0x7fe0_0010;
const ITEM: Tag = 0xfffe_e000;
const END_OF_ITEM: Tag = 0xfffe_e00d;
const END_OF_SEQUENCE: Tag = 0xfffe_e0dd;
/// The length of what ends with a delimiter.
const UNDEFINED: u32 = u32::MAX;
/// Sequences within sequences that are followed; real files have a handful.
const MAX_DEPTH: usize = 64;

/// How the bytes of a file are written: its transfer syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Samples as they are.
    Native,
    /// 8-bit JPEG, baseline or extended.
    Jpeg,
    /// RLE Lossless (PS3.5 annex G).
    Rle,
}

/// The value of `PixelData`.
#[derive(Clone, Copy, Debug)]
pub enum PixelData<'a> {
    /// Samples, of which a cut-off file holds fewer bytes than it says; `swapped` where they lie in big-endian words.
    Native { bytes: &'a [u8], says: usize, swapped: bool },
    /// Everything from the first item on.
    Encapsulated(&'a [u8]),
}

/// What was read of a file.
#[derive(Debug)]
pub struct Elements<'a> {
    pub coding: Coding,
    pub big_endian: bool,
    /// Group 0028.
    values: BTreeMap<Tag, &'a [u8]>,
    pub pixels: PixelData<'a>,
}

impl<'a> Elements<'a> {
    /// Reads up to the pixels; the file may be cut off behind their head.
    ///
    /// # Errors
    /// When the file is not DICOM, ends too soon, has no pixels, or is compressed in a way that is not read here.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Failure> {
        let mut meta = Cursor { bytes, at: 132, explicit: true, big_endian: false };
        let mut syntax = None;
        while meta.peek_group() == Some(2) {
            let head = meta.head()?;
            let value = meta.take(head.length)?;
            syntax = if head.tag == TRANSFER_SYNTAX { Some(text(value)) } else { syntax };
        }
        let syntax = syntax.ok_or_else(|| Failure::new("the DICOM file names no transfer syntax"))?;
        let (coding, explicit, big_endian) = known_syntax(&syntax)?;
        // Some programs write types where their syntax has none, or none where it has: the first element shows it.
        let explicit = bytes.get(meta.at + 4..meta.at + 6).map_or(explicit, |kind| kind.iter().all(u8::is_ascii_uppercase));
        let mut cursor = Cursor { at: meta.at, explicit, big_endian, bytes };
        let mut values = BTreeMap::new();
        while cursor.at < bytes.len() {
            let head = cursor.head()?;
            match (head.tag, head.length) {
                (PIXEL_DATA, UNDEFINED) => {
                    let pixels = PixelData::Encapsulated(&bytes[cursor.at..]);
                    return Ok(Self { coding, big_endian, values, pixels });
                }
                (PIXEL_DATA, length) => {
                    let end = bytes.len().min(cursor.at.saturating_add(length as usize));
                    let swapped = big_endian && head.words;
                    let pixels = PixelData::Native { bytes: &bytes[cursor.at..end], says: length as usize, swapped };
                    return Ok(Self { coding, big_endian, values, pixels });
                }
                (_, UNDEFINED) => cursor.skip_sequence(head.unknown)?,
                (tag, length) => {
                    let value = cursor.take(length)?;
                    if tag >> 16 == 0x0028 {
                        values.insert(tag, value);
                    }
                }
            }
        }
        Err(Failure::new("the DICOM file holds no pixels"))
    }

    /// Returns the bytes of an element.
    pub fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.values.get(&tag).copied().filter(|value| !value.is_empty())
    }

    /// Returns an element as text.
    pub fn text(&self, tag: Tag) -> Option<String> {
        self.bytes(tag).map(text)
    }

    /// Returns the first of an element's 16-bit numbers.
    pub fn number(&self, tag: Tag) -> Option<u16> {
        self.numbers(tag).next()
    }

    /// Returns an element's 16-bit numbers.
    pub fn numbers(&self, tag: Tag) -> impl Iterator<Item = u16> + use<'a> {
        let words = self.bytes(tag).unwrap_or_default().as_chunks::<2>().0;
        let big_endian = self.big_endian;
        words.iter().map(move |word| if big_endian { u16::from_be_bytes(*word) } else { u16::from_le_bytes(*word) })
    }

    /// Returns the first of an element's decimal strings; what is no finite number is an error.
    pub fn decimal(&self, tag: Tag, name: &str) -> Result<Option<f64>, Failure> {
        let Some(text) = self.text(tag) else { return Ok(None) };
        let first = text.split('\\').next().unwrap_or_default().trim();
        match first.parse::<f64>() {
            _ if first.is_empty() => Ok(None),
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(Failure::new(format!("`{name}` is `{first}`: expected a number"))),
        }
    }
}

/// Returns the items of encapsulated pixels: the table of offsets, then every fragment.
pub fn items(bytes: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let mut cursor = Cursor { bytes, at: 0, explicit: false, big_endian: false };
    let mut items = Vec::new();
    loop {
        let head = cursor.head()?;
        match head.tag {
            ITEM if head.length != UNDEFINED => items.push(cursor.take(head.length)?),
            END_OF_SEQUENCE => return Ok(items),
            _ => return Err(Failure::new(format!("{} of pixels are followed by something else", count(items.len(), "fragment")))),
        }
    }
}

/// What is known of transfer syntaxes (PS3.5 annex A): how pixels are coded, whether types are written, the order of bytes.
fn known_syntax(uid: &str) -> Result<(Coding, bool, bool), Failure> {
    let named = match uid.strip_prefix("1.2.840.10008.1.2").unwrap_or_default() {
        "" if uid == "1.2.840.10008.1.2" => return Ok((Coding::Native, false, false)),
        ".1" => return Ok((Coding::Native, true, false)),
        ".2" => return Ok((Coding::Native, true, true)),
        ".4.50" | ".4.51" => return Ok((Coding::Jpeg, true, false)),
        ".5" => return Ok((Coding::Rle, true, false)),
        ".1.99" => "deflated",
        ".4.57" | ".4.70" => "compressed as lossless JPEG",
        ".4.80" | ".4.81" => "compressed as JPEG-LS",
        ".4.90" | ".4.91" | ".4.92" | ".4.93" => "compressed as JPEG 2000",
        ".4.201" | ".4.202" | ".4.203" => "compressed as high-throughput JPEG 2000",
        other if other.starts_with(".4.10") => "a video",
        _ => return Err(Failure::new(format!("the DICOM file has the transfer syntax `{uid}`, which is not known"))),
    };
    Err(Failure::new(format!("the DICOM file is {named}, which is not read here"))
        .help("write it uncompressed first, for instance with `dcmdjpeg`, `gdcmconv --raw` or pydicom's `decompress`"))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_string()
}

/// The head of an element.
struct Head {
    tag: Tag,
    length: u32,
    /// Its type is `UN`: what it holds is written without types.
    unknown: bool,
    /// Its type is `OW`: 16-bit words, even where samples have 8 bits.
    words: bool,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    explicit: bool,
    big_endian: bool,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u32) -> Result<&'a [u8], Failure> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let value = rest.get(..length as usize).ok_or_else(|| {
            Failure::new(format!("the DICOM file ends at byte {}, {} before its time", self.bytes.len(), length as usize - rest.len()))
        })?;
        self.at += value.len();
        Ok(value)
    }

    fn short(&mut self) -> Result<u16, Failure> {
        let two: [u8; 2] = self.take(2)?.try_into().unwrap_or_default();
        Ok(if self.big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    }

    fn long(&mut self) -> Result<u32, Failure> {
        let four: [u8; 4] = self.take(4)?.try_into().unwrap_or_default();
        Ok(if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    fn peek_group(&self) -> Option<u16> {
        self.bytes.get(self.at..self.at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]))
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let tag = (u32::from(self.short()?) << 16) | u32::from(self.short()?);
        // Items and delimiters have no type in any syntax.
        if !self.explicit || tag >> 16 == 0xfffe {
            return Ok(Head { tag, length: self.long()?, unknown: false, words: true });
        }
        let kind = self.take(2)?;
        let long = [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"].iter().any(|k| *k == kind);
        let length = if long {
            self.take(2)?;
            self.long()?
        } else {
            u32::from(self.short()?)
        };
        Ok(Head { tag, length, unknown: kind == b"UN", words: kind == b"OW" })
    }

    /// Passes over a sequence of undefined length, whatever lies in it.
    fn skip_sequence(&mut self, unknown: bool) -> Result<(), Failure> {
        let explicit = self.explicit;
        // Whether types are written on each level that is open.
        let mut open = vec![explicit && !unknown];
        while let Some(level) = open.last() {
            self.explicit = *level;
            let level = *level;
            let head = self.head()?;
            match (head.tag, head.length) {
                (END_OF_ITEM | END_OF_SEQUENCE, _) => drop(open.pop()),
                (_, UNDEFINED) if open.len() >= MAX_DEPTH => {
                    return Err(Failure::new(format!("the DICOM file nests sequences more than {MAX_DEPTH} deep")));
                }
                (_, UNDEFINED) => open.push(level && !head.unknown),
                (_, length) => drop(self.take(length)?),
            }
        }
        self.explicit = explicit;
        Ok(())
    }
}
