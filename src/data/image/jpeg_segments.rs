//! The segments of a JPEG before its first scan, found as the decoder finds them (ITU-T T.81, annex B).
//!
//! Unaware of what most of them mean.

/// Start of a scan.
const SOS: u8 = 0xda;
/// Huffman tables.
const DHT: u8 = 0xc4;
/// Adobe's word about colours.
const APP14: u8 = 0xee;

/// A segment that is whole.
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    /// Where its marker stands, behind all padding.
    start: usize,
    /// Where the next one may begin.
    pub(super) end: usize,
    /// What follows its length.
    pub(super) body: &'a [u8],
}

/// Goes through the segments, up to the first scan's or one that is not whole; rubbish between them is passed over.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut at = Some(2);
    std::iter::from_fn(move || {
        let from = at.take()?;
        // Bytes of 0xff may pad the space before a marker.
        let is_marker = |two: &[u8]| two[0] == 0xff && !matches!(two[1], 0 | 0xff);
        let start = from + bytes.get(from..)?.windows(2).position(is_marker)?;
        let length = usize::from(u16::from_be_bytes(*bytes.get(start + 2..)?.first_chunk()?));
        let (marker, end) = (bytes[start + 1], start + 2 + length);
        let body = bytes.get(start + 4..end)?;
        at = (marker != SOS).then_some(end);
        Some(Segment { marker, start, end, body })
    })
}

/// Returns where the first scan begins, behind all that may hold pictures of its own.
pub(super) fn first_scan(bytes: &[u8]) -> Option<usize> {
    segments(bytes).find(|segment| segment.marker == SOS).map(|scan| scan.start)
}

/// Whether Adobe's marker says what the colours are.
pub(super) fn has_adobe_marker(bytes: &[u8]) -> bool {
    segments(bytes).any(|segment| segment.marker == APP14 && segment.body.starts_with(b"Adobe"))
}

/// Returns a file up to its first scan without Huffman tables, of which a decoder builds what only decoding needs; that takes longer than
/// all else that it does with a header. Nothing where a segment is cut off or a table is not sound: the decoder itself is to say so.
pub(super) fn without_tables(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut kept = bytes.get(..2)?.to_vec();
    let mut at = kept.len();
    for segment in segments(bytes) {
        match segment.marker {
            // With what stands before it, so that no two bytes meet that would be a marker.
            DHT if are_sound(segment.body) => {}
            DHT => return None,
            _ => kept.extend_from_slice(&bytes[at..segment.end]),
        }
        at = segment.end;
        if segment.marker == SOS {
            return Some(kept);
        }
    }
    None
}

/// Whether a decoder takes these Huffman tables (B.2.4.2 and, for the codes, C.2).
pub(super) fn are_sound(mut tables: &[u8]) -> bool {
    while let Some((&[place, ref counts @ ..], rest)) = tables.split_first_chunk::<17>() {
        let n_symbols = counts.iter().map(|n| usize::from(*n)).sum();
        // Codes of one length follow each other, and go on twice as far apart at the next; all ones is none.
        let mut next = 0;
        let has_codes = counts.iter().zip(1..).all(|(n, bits)| {
            next = 2 * next + u32::from(*n);
            next < 1 << bits
        });
        let Some((symbols, rest)) = rest.split_at_checked(n_symbols) else { return false };
        // Tables of the first coefficients name a number of bits.
        let (class, number) = (place >> 4, place & 15);
        let is_known = number < 4 && (class == 1 || class == 0 && symbols.iter().all(|symbol| *symbol < 16));
        if !(has_codes && is_known && n_symbols <= 256) {
            return false;
        }
        tables = rest;
    }
    tables.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = include_bytes!("../../../tests/golden/pictures/turned-6.jpg");

    #[test]
    fn what_is_left_out_is_the_tables_alone() {
        let lean = without_tables(FILE).unwrap();
        let (all, left): (Vec<_>, Vec<_>) = (segments(FILE).collect(), segments(&lean).collect());
        assert!(all.iter().any(|segment| segment.marker == DHT));
        let kept = all.iter().filter(|segment| segment.marker != DHT).map(|segment| (segment.marker, segment.body));
        assert!(kept.eq(left.iter().map(|segment| (segment.marker, segment.body))));
        assert_eq!(left.last().unwrap().end, lean.len());
        assert!(without_tables(&FILE[..first_scan(FILE).unwrap()]).is_none());
    }

    #[test]
    fn tables_that_no_decoder_takes_stay() {
        let table = |place: u8, counts: [u8; 16], symbols: &[u8]| [&[place][..], &counts, symbols].concat();
        let one = |n: u8, bits: usize| std::array::from_fn(|i| if i + 1 == bits { n } else { 0 });
        assert!(are_sound(&[]) && are_sound(&table(0x13, one(3, 2), &[9, 200, 3])) && are_sound(&table(0, [0; 16], &[])));
        for (why, bytes) in [
            ("four codes of two bits", table(0x10, one(4, 2), &[1, 2, 3, 4])),
            ("a symbol is missing", table(0x10, one(3, 2), &[1, 2])),
            ("rubbish follows", table(0x10, one(3, 2), &[1, 2, 3, 4])),
            ("class 2", table(0x20, one(1, 2), &[1])),
            ("table 4", table(0x14, one(1, 2), &[1])),
            ("16 bits of a first coefficient", table(0, one(1, 2), &[16])),
        ] {
            assert!(!are_sound(&bytes), "{why}");
        }
    }
}
