//! JPEGs decoded at a half, a quarter or an eighth of their size: the mean over that many pixels each way, taken of the coefficients.
//!
//! What only the pixels' details need is passed over. Baseline files of one scan only, as cameras write them: everything else, and all that
//! is damaged, is left to the decoder of whole pictures, so that there is one judge of what a file is worth.

mod bits;
mod codes;
mod means;
mod scan;
mod tables;

use bits::Coded;
use tables::Tables;

/// What pixels lie above the values that are coded.
const LEVEL: f32 = 128.0;

/// What the components of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Grey,
    Rgb,
    /// Luma and two differences of colour (JFIF, ITU-R BT.601 at full range).
    YCbCr,
}

/// Returns how many pixels each way may become one: 8, 4 or 2, where twice the wanted size is left for a filter to make a picture of.
pub(super) fn reduction(has: [usize; 2], wanted: [usize; 2]) -> Option<usize> {
    let leaves_enough = |by: &usize| has.iter().zip(wanted).all(|(has, wanted)| *has >= 2 * by * wanted.max(1));
    [8, 4, 2].into_iter().find(leaves_enough)
}

/// Decodes a picture of `size` pixels at one `by`th of it, rounded up; `by` is 2, 4 or 8. The last row and column may be means of pixels
/// beyond the edge too, which the file has. Returns row by row one value for each pixel of a grey picture, else three.
///
/// Nothing where the file is of another kind, or damaged.
pub(super) fn decode(bytes: &[u8], size: [usize; 2], by: usize, kind: Kind) -> Option<Vec<u8>> {
    let tables = Tables::read(bytes)?;
    let coded = Coded::gather(bytes, tables.data)?;
    let mut scan = tables.scan(&coded, size, by, kind)?;
    let [width, height] = size.map(|side| side.div_ceil(by));
    let channels = if kind == Kind::Grey { 1 } else { 3 };
    let mut out = vec![0; width * height * channels];
    let [across, down] = tables.most();
    let (stride, lines) = (scan.mcus * across * (8 / by), down * 8 / by);
    for rows in out.chunks_mut(lines * width * channels) {
        scan.row()?;
        for (line, row) in rows.chunks_exact_mut(width * channels).enumerate() {
            let [a, b, c] = [0, 1, 2].map(|i| &scan.components[i.min(channels - 1)].means[line * stride..][..width]);
            match kind {
                Kind::Grey => row.iter_mut().zip(a).for_each(|(to, grey)| *to = rounded(*grey)),
                Kind::Rgb => each(row, a, b, c, |r, g, b| [r, g, b]),
                Kind::YCbCr => each(row, a, b, c, |y, b, r| [y + 1.402 * r, y - 0.344_136_3 * b - 0.714_136_3 * r, y + 1.772 * b]),
            }
        }
    }
    scan.ends().then_some(out)
}

/// Writes the pixels of a row, made of three components.
fn each(row: &mut [u8], a: &[f32], b: &[f32], c: &[f32], colour: impl Fn(f32, f32, f32) -> [f32; 3]) {
    for (((to, a), b), c) in row.chunks_exact_mut(3).zip(a).zip(b).zip(c) {
        let [r, g, b] = colour(*a, *b, *c);
        to.copy_from_slice(&[rounded(r), rounded(g), rounded(b)]);
    }
}

/// The nearest level. Behind 2^23 numbers stand one apart, which rounds many at a time.
fn rounded(value: f32) -> u8 {
    (value.clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8
}
