//! Fingerprints of decoded pictures, by which copies are found whose files differ: saved again, made smaller, stripped of metadata.
//!
//! Two of each picture: a digest of its pixels, and a difference hash (N. Krawetz, "Kind of Like That", 2013; `imagehash.dhash` with
//! `hash_size=16`) of 256 bits: whether each of 16 x 16 cells is brighter than its left neighbour. 64 bits are too few where all pictures
//! are of one kind, as cells on a pale ground are. Turned or mirrored pictures are not found.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};

use petgraph::unionfind::UnionFind;
use rayon::prelude::*;

use super::image::{Filter, Rgb, resize};
use super::table::{ImageRow, Place, text};
use crate::diagnostic::{Context, Failure};
use crate::digest::Digest;

/// Cells of the difference hash in a row and in a column.
const CELLS: usize = 16;

/// The bits of a difference hash.
pub type Look = [u64; 4];

/// The fingerprints of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// Of the size and the pixels.
    pub pixels: Digest,
    pub look: Look,
}

impl Print {
    /// Returns the fingerprints of a picture.
    pub fn of(picture: &Rgb) -> Result<Self, Failure> {
        let size = [picture.width() as u64, picture.height() as u64].map(u64::to_le_bytes).concat();
        let pixels = Digest::of(&[&size[..], picture.pixels()].concat());
        let small = resize(picture, CELLS + 1, CELLS, Filter::Bilinear)?;
        // ITU-R 601 in 16-bit fixed point, as Pillow makes grey of colour.
        let grey = |x, y| {
            let [r, g, b] = small.at(x, y).map(u32::from);
            (r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16
        };
        let mut look = Look::default();
        for (bit, (y, x)) in (0..CELLS).flat_map(|y| (0..CELLS).map(move |x| (y, x))).enumerate() {
            look[bit / 64] |= u64::from(grey(x + 1, y) > grey(x, y)) << (bit % 64);
        }
        Ok(Self { pixels, look })
    }

    /// Returns the 64 bytes by which a print is kept.
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.pixels.as_bytes()[..], &self.look.map(u64::to_le_bytes).concat()].concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written; nothing where it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pixels, look) = bytes.split_at_checked(32)?;
        let look: [u8; 32] = look.try_into().ok()?;
        let words = look.as_chunks::<8>().0;
        Some(Self { pixels: Digest::from_bytes(pixels.try_into().ok()?), look: std::array::from_fn(|i| u64::from_le_bytes(words[i])) })
    }
}

/// Returns how many of the 256 bits differ.
pub fn distance(a: &Look, b: &Look) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Where a picture's bytes lie: what a print belongs to, whatever the picture is called.
type At = (Digest, Place);

/// The fingerprints of pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prints(HashMap<At, Print>);

/// Which pictures are alike: those of one number.
#[derive(Clone, Debug)]
pub struct Alike {
    /// A number that pictures of the same pixels share, and one that all share that are alike.
    of: HashMap<At, (usize, usize)>,
    /// Bits that may differ between two looks; none where pixels must be the same.
    near: Option<u32>,
}

impl Alike {
    /// Returns the number that an image shares with all that are alike.
    pub fn of(&self, row: &ImageRow) -> Option<usize> {
        self.of.get(&(row.file, row.place)).map(|(_, alike)| *alike)
    }

    /// Returns the number that an image shares with all of the same pixels.
    pub fn same_pixels(&self, row: &ImageRow) -> Option<usize> {
        self.of.get(&(row.file, row.place)).map(|(same, _)| *same)
    }

    /// Returns "with the same pixels as", "that within 8 of 256 bits look like".
    pub fn words(&self) -> String {
        match self.near {
            None => "with the same pixels as".to_string(),
            Some(near) => format!("that within {near} of 256 bits look like"),
        }
    }
}

impl Prints {
    /// Takes the prints of images.
    pub fn new<'a>(of: impl IntoIterator<Item = (&'a ImageRow, Print)>) -> Self {
        Self(of.into_iter().map(|(row, print)| ((row.file, row.place), print)).collect())
    }

    /// Finds which images are alike: of the same pixels, or in one chain of looks that differ in at most `near` bits from one to the next.
    ///
    /// # Errors
    /// When an image has no print.
    pub fn alike<'a>(&self, rows: impl IntoIterator<Item = &'a ImageRow>, near: Option<u32>) -> Result<Alike, Failure> {
        let mut prints: BTreeMap<(Digest, String), (At, Print)> = BTreeMap::new();
        for row in rows {
            let at = (row.file, row.place);
            let print = self.0.get(&at).ok_or_else(|| {
                Failure::new(format!("image `{}` has no fingerprint", row.id)).help("name the node of its images in `Fingerprints`")
            })?;
            prints.insert((row.file, row.place.to_string()), (at, *print));
        }
        let prints: Vec<(At, Print)> = prints.into_values().collect();
        let mut joined = UnionFind::<usize>::new(prints.len());
        let mut first: HashMap<Digest, usize> = HashMap::new();
        let mut looks: HashMap<Look, usize> = HashMap::new();
        let mut same = Vec::with_capacity(prints.len());
        for (i, (_, print)) in prints.iter().enumerate() {
            same.push(*first.entry(print.pixels).or_insert(i));
            joined.union(same[i], i);
            if near.is_some() {
                joined.union(*looks.entry(print.look).or_insert(i), i);
            }
        }
        if let Some(near) = near {
            let mut different: Vec<(Look, usize)> = looks.into_iter().collect();
            different.sort_unstable_by_key(|(_, i)| *i);
            // A few at a time: where thousands look alike, most pairs are then known to belong together and need no memory.
            for some in (0..different.len()).step_by(64) {
                let pairs: Vec<(usize, usize)> = (some..different.len().min(some + 64))
                    .into_par_iter()
                    .flat_map_iter(|i| {
                        let ((look, one), rest, joined) = (different[i], &different[i + 1..], &joined);
                        let near = rest.iter().filter(move |(other, _)| distance(&look, other) <= near);
                        near.map(move |(_, other)| (one, *other)).filter(move |(a, b)| !joined.equiv(*a, *b))
                    })
                    .collect();
                for (a, b) in pairs {
                    joined.union(a, b);
                }
            }
        }
        let numbers = same.into_iter().zip(joined.into_labeling());
        Ok(Alike { of: prints.into_iter().zip(numbers).map(|((at, _), numbers)| (at, numbers)).collect(), near })
    }

    /// Writes the prints as CSV with the columns `file,place,pixels,look`, sorted.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut lines: Vec<[String; 4]> = self
            .0
            .iter()
            .map(|((file, place), print)| {
                let look: String = print.look.iter().map(|word| format!("{word:016x}")).collect();
                [file.hex(), place.to_string(), print.pixels.hex(), look]
            })
            .collect();
        lines.sort_unstable();
        let mut out = text::writer(out);
        text::line(&mut out, &HEADER)?;
        lines.iter().try_for_each(|line| text::line(&mut out, &line.each_ref().map(String::as_str)))?;
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written; anything else is an error with its line.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut prints = HashMap::new();
        for (at, line) in text::lines(from, "fingerprints", &HEADER)? {
            let (place, print) = print_of_line(&line).doing(|| format!("line {at} of the fingerprints"))?;
            prints.insert(place, print);
        }
        Ok(Self(prints))
    }
}

const HEADER: [&str; 4] = ["file", "place", "pixels", "look"];

fn print_of_line(line: &csv::StringRecord) -> Result<(At, Print), String> {
    let digest = |text: &str| text.parse().map_err(|e: crate::digest::NotADigest| e.to_string());
    let bad = || format!("`{}` is no difference hash", &line[3]);
    let mut look = Look::default();
    for (i, word) in look.iter_mut().enumerate() {
        let digits = line[3].get(16 * i..16 * (i + 1)).filter(|_| line[3].len() == 64).ok_or_else(bad)?;
        *word = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
    }
    Ok(((digest(&line[0])?, line[1].parse()?), Print { pixels: digest(&line[2])?, look }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode;
    use crate::random::Stream;

    /// A disc on a ground, both shaded, as no two are.
    fn picture(number: u64) -> Rgb {
        let mut draws = Stream::new(number, "print").draws();
        let (x0, y0, r) = (draws.between(20.0, 44.0), draws.between(20.0, 44.0), draws.between(8.0, 18.0));
        let (tilt, tint) = (draws.between(-1.0, 1.0), draws.between(60.0, 140.0));
        let mut pixels = Vec::new();
        for (y, x) in (0..64).flat_map(|y| (0..64).map(move |x| (f64::from(y), f64::from(x)))) {
            let inside = (x - x0).hypot(y - y0) < r;
            let shade =
                if inside { tint + (y - y0) * tilt } else { 200.0 + 0.5 * tilt * (x - 32.0) + 8.0 * ((x + number as f64) * 0.2).sin() };
            pixels.extend([shade, shade * 0.9, shade * 0.95].map(|v| v.clamp(0.0, 255.0) as u8));
        }
        Rgb::new(64, 64, pixels).unwrap()
    }

    fn saved_again(picture: &Rgb) -> Rgb {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 75);
        encoder.encode(picture.pixels(), picture.width() as u32, picture.height() as u32, image::ExtendedColorType::Rgb8).unwrap();
        decode(&bytes).unwrap()
    }

    fn row(number: u64) -> ImageRow {
        let id = number.to_string();
        let file = Digest::of(id.as_bytes());
        ImageRow { id: id.as_str().into(), path: String::new(), file, place: Place::Whole, width: 64, height: 64, group: None }
    }

    #[test]
    fn a_picture_saved_again_or_made_smaller_looks_the_same_and_another_does_not() {
        for number in 0..8 {
            let one = picture(number);
            let print = Print::of(&one).unwrap();
            for copy in [saved_again(&one), resize(&one, 48, 48, Filter::Bicubic).unwrap()] {
                let copied = Print::of(&copy).unwrap();
                assert_ne!(copied.pixels, print.pixels);
                assert!(distance(&copied.look, &print.look) <= 24, "{}", distance(&copied.look, &print.look));
            }
            let other = Print::of(&picture(number + 100)).unwrap();
            assert!(distance(&other.look, &print.look) > 40, "{}", distance(&other.look, &print.look));
        }
    }

    #[test]
    fn alike_are_equal_pixels_or_chains_of_near_looks() {
        let print = |pixels: &str, look: u64| Print { pixels: Digest::of(pixels.as_bytes()), look: [look, 0, 0, 0] };
        let rows: Vec<ImageRow> = (0..5).map(row).collect();
        let found = [print("a", 0), print("a", 0), print("b", 0b1), print("c", 0b111), print("d", 0b1_1111_1111)];
        let prints = Prints::new(rows.iter().zip(found));
        let numbers = |near| {
            let alike = prints.alike(&rows, near).unwrap();
            let of: Vec<usize> = rows.iter().map(|row| alike.of(row).unwrap()).collect();
            of.iter().map(|number| of.iter().position(|other| other == number).unwrap()).collect::<Vec<usize>>()
        };
        assert_eq!(numbers(None), [0, 0, 2, 3, 4]);
        assert_eq!(numbers(Some(1)), [0, 0, 0, 3, 4]);
        assert_eq!(numbers(Some(2)), [0, 0, 0, 0, 4]);
        let failure = prints.alike([&row(9)], None).unwrap_err();
        assert_eq!(failure.message(), "image `9` has no fingerprint");
    }

    #[test]
    fn prints_survive_their_text_and_their_bytes() {
        let rows: Vec<ImageRow> = (0..3).map(row).collect();
        let prints = Prints::new(rows.iter().map(|row| (row, Print::of(&picture(7)).unwrap())));
        let mut text = Vec::new();
        prints.write(&mut text).unwrap();
        assert_eq!(Prints::read(&text[..]).unwrap(), prints);
        let damaged = String::from_utf8(text).unwrap().replacen(",whole,", ",half,", 1);
        assert!(Prints::read(damaged.as_bytes()).unwrap_err().message().starts_with("line 2 of the fingerprints: `half` is no place"));
        let print = Print::of(&picture(1)).unwrap();
        assert_eq!(Print::from_bytes(&print.to_bytes()), Some(print));
        assert_eq!(Print::from_bytes(&[0; 40]), None);
    }
}
