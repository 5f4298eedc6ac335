//! What stands before a scan: sizes, tables, and which component uses which (ITU-T T.81, annex B).

use super::bits::Coded;
use super::codes::Codes;
use super::means::basis;
use super::scan::{Component, Scan};
use super::{Kind, LEVEL};
use crate::data::image::jpeg_segments::{Segment, are_sound, segments};

/// All that a baseline file says before its first scan.
#[derive(Default)]
pub(super) struct Tables<'a> {
    size: [usize; 2],
    frame: Vec<Sampled>,
    quantisation: [Option<[f32; 64]>; 4],
    first: [Option<Codes>; 4],
    others: [Option<Codes>; 4],
    /// MCUs between two restarts.
    interval: usize,
    /// The scan's header, and where its data begin.
    scan: &'a [u8],
    pub(super) data: usize,
}

/// A component as the frame describes it.
struct Sampled {
    name: u8,
    /// Blocks of an MCU, side by side and below each other.
    blocks: [usize; 2],
    table: usize,
}

impl<'a> Tables<'a> {
    /// Reads them. Nothing where a segment is not sound or belongs to another kind of file.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut tables = Self::default();
        for Segment { marker, end, body, .. } in segments(bytes) {
            match marker {
                0xc0 | 0xc1 if tables.frame.is_empty() => tables.frame(body)?,
                0xc4 => tables.codes(body)?,
                0xdb => tables.quantisation(body)?,
                0xdd => tables.interval = usize::from(u16::from_be_bytes(body.try_into().ok()?)),
                0xda => {
                    (tables.scan, tables.data) = (body, end);
                    return Some(tables);
                }
                // Progressive, lossless, hierarchical or arithmetic, or a second frame.
                0xc0..=0xcf | 0xde | 0xdf => return None,
                _ => {}
            }
        }
        None
    }

    fn frame(&mut self, body: &[u8]) -> Option<()> {
        let (&[precision, height_1, height_0, width_1, width_0, n], components) = body.split_first_chunk()?;
        self.size = [[width_1, width_0], [height_1, height_0]].map(|side| usize::from(u16::from_be_bytes(side)));
        for &[name, sampling, table] in components.as_chunks().0 {
            let blocks = [sampling >> 4, sampling & 15].map(usize::from);
            self.frame.push(Sampled { name, blocks, table: usize::from(table) });
        }
        // The blocks of one component alone stand side by side, whatever it says (A.2.2).
        if let [alone] = &mut self.frame[..] {
            alone.blocks = [1, 1];
        }
        let is_sound = precision == 8 && components.len() == 3 * usize::from(n) && matches!(n, 1 | 3);
        (is_sound && self.frame.iter().flat_map(|component| component.blocks).all(|n| matches!(n, 1 | 2 | 4))).then_some(())
    }

    fn codes(&mut self, mut body: &[u8]) -> Option<()> {
        if !are_sound(body) {
            return None;
        }
        while let Some((&[place, ref counts @ ..], rest)) = body.split_first_chunk::<17>() {
            let (symbols, rest) = rest.split_at_checked(counts.iter().map(|n| usize::from(*n)).sum())?;
            let of_class = if place >> 4 == 0 { &mut self.first } else { &mut self.others };
            *of_class.get_mut(usize::from(place & 15))? = Some(Codes::new(counts, symbols)?);
            body = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((place, rest)) = body.split_first() {
            let bytes = 1 + usize::from(place >> 4);
            let (values, rest) = rest.split_at_checked(64 * bytes).filter(|_| bytes <= 2)?;
            let value = |bytes: &[u8]| bytes.iter().fold(0.0, |value, byte| 256.0 * value + f32::from(*byte));
            let table = std::array::from_fn(|i| value(&values[i * bytes..][..bytes]));
            *self.quantisation.get_mut(usize::from(place & 15))? = Some(table);
            body = rest;
        }
        Some(())
    }

    /// Returns the most blocks that a component has in an MCU, side by side and below each other.
    pub(super) fn most(&self) -> [usize; 2] {
        [0, 1].map(|way| self.frame.iter().map(|component| component.blocks[way]).max().unwrap_or(1))
    }

    /// Returns the scan with these data, of a picture of `size` pixels of which `by` each way become one. Nothing where it is not all
    /// of such a picture, or has another kind of components.
    pub(super) fn scan<'s>(&'s self, coded: &'s Coded, size: [usize; 2], by: usize, kind: Kind) -> Option<Scan<'s>> {
        let n = if kind == Kind::Grey { 1 } else { 3 };
        let (count, rest) = self.scan.split_first()?;
        let (used, rest) = rest.as_chunks::<2>().0.split_at_checked(n)?;
        let is_all = usize::from(*count) == n && self.frame.len() == n && self.size == size && self.scan.len() == 2 * n + 4;
        // All coefficients, all of their bits.
        if !(is_all && rest == [[0, 63]] && self.scan.last() == Some(&0)) {
            return None;
        }
        let most = self.most();
        let mcus = size[0].div_ceil(8 * most[0]);
        let mut components = Vec::with_capacity(n);
        for (i, (sampled, [name, tables])) in self.frame.iter().zip(used).enumerate() {
            let n = [0, 1].map(|way| most[way] / sampled.blocks[way] * 8 / by);
            if *name != sampled.name || n.iter().any(|n| *n > 8) {
                return None;
            }
            components.push(Component {
                blocks: sampled.blocks,
                first: self.first.get(usize::from(tables >> 4))?.as_ref()?,
                others: self.others.get(usize::from(tables & 15))?.as_ref()?,
                level: if kind == Kind::YCbCr && i > 0 { 0.0 } else { LEVEL },
                n,
                basis: basis(n, self.quantisation.get(sampled.table)?.as_ref()?),
                before: 0,
                means: vec![0.0; mcus * sampled.blocks[0] * n[0] * sampled.blocks[1] * n[1]],
            });
        }
        Scan::new(components, mcus, self.interval, coded)
    }
}
