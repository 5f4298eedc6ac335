//! The coded data of a scan: the bytes between its markers, and their bits (ITU-T T.81, B.1.1 and F.2.2.5).

/// The data of a scan without what only tells them from markers, all parts between two restarts one behind the other.
pub(super) struct Coded {
    bytes: Vec<u8>,
    /// Where each part begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Coded {
    /// Gathers the data from byte `at` on up to the end of the picture. Nothing where another marker stands there, or restarts are out of
    /// turn.
    pub(super) fn gather(bytes: &[u8], at: usize) -> Option<Self> {
        let mut rest = bytes.get(at..)?;
        let (mut bytes, mut bounds) = (Vec::with_capacity(rest.len()), vec![0]);
        loop {
            let plain = rest.iter().position(|byte| *byte == 0xff)?;
            bytes.extend_from_slice(&rest[..plain]);
            rest = &rest[plain + 1..];
            let (marker, after) = rest.split_first()?;
            match marker {
                // Any number of bytes of 0xff may stand before a marker.
                0xff => continue,
                0 => bytes.push(0xff),
                0xd0..=0xd7 if usize::from(marker - 0xd0) == (bounds.len() - 1) % 8 => bounds.push(bytes.len()),
                0xd9 => {
                    bounds.push(bytes.len());
                    return Some(Self { bytes, bounds });
                }
                _ => return None,
            }
            rest = after;
        }
    }

    /// Returns a part's bits.
    pub(super) fn part(&self, i: usize) -> Option<Bits<'_>> {
        let (at, end) = (*self.bounds.get(i)?, *self.bounds.get(i + 1)?);
        Some(Bits { bytes: &self.bytes, at, end, held: 0, n: 0 })
    }
}

/// Reads the bits of a part, the most significant one of each byte first. Of what comes behind the last one only [`Bits::left`] speaks.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The first byte that is not counted in `n`, and the first behind the part.
    at: usize,
    end: usize,
    /// The next bits, from the most significant one down.
    held: u64,
    /// How many of them are there for certain.
    n: u32,
}

impl Bits<'_> {
    /// Sees to it that 56 bits can be taken.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let eight = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        let word = eight.map_or_else(|| last_bytes(self.bytes, self.at), |eight| u64::from_be_bytes(*eight));
        // Bits that do not fill a byte are not counted, and come again. So there is nothing to decide, which costs more than to read.
        self.held |= word >> self.n;
        self.at += (63 - self.n as usize) / 8;
        self.n |= 56;
    }

    /// Returns the next 16 bits without taking them.
    #[inline(always)]
    pub(super) fn next_16(&self) -> usize {
        (self.held >> 48) as usize
    }

    /// Returns, without taking them, the `n` bits behind the next `skipped`; at most 16 of them.
    #[inline(always)]
    pub(super) fn next(&self, skipped: u32, n: u32) -> i32 {
        (self.held << skipped >> 1 >> (63 - n)) as i32
    }

    /// Takes `n` bits.
    #[inline(always)]
    pub(super) fn take(&mut self, n: u32) {
        self.held <<= n;
        self.n -= n;
    }

    /// Returns how many bits are left; below zero where more were taken than there were.
    pub(super) fn left(&self) -> i64 {
        8 * (self.end as i64 - self.at as i64) + i64::from(self.n)
    }
}

/// Eight bytes from `at` on, zeros where there are none.
#[cold]
fn last_bytes(bytes: &[u8], at: usize) -> u64 {
    (at..at + 8).fold(0, |word, at| word << 8 | u64::from(bytes.get(at).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 2] = [0xff, 0xd9];

    #[test]
    fn bits_come_as_they_stand_however_many_are_taken_at_a_time() {
        let plain: Vec<u8> = (0..64u8).map(|i| if i % 5 == 0 { 0xff } else { i.wrapping_mul(37) }).collect();
        let stuffed: Vec<u8> = plain.iter().flat_map(|byte| [*byte, 0][..if *byte == 0xff { 2 } else { 1 }].to_vec()).collect();
        let coded = Coded::gather(&[&[7, 7], &stuffed[..], &END].concat(), 2).unwrap();
        let bit = |at: usize| i32::from(plain[at / 8] >> (7 - at % 8) & 1);
        for step in 0..=16 {
            let (mut bits, mut at) = (coded.part(0).unwrap(), 0);
            for n in [step, 3].into_iter().cycle() {
                if at + 8 + n as usize > plain.len() * 8 {
                    break;
                }
                bits.refill();
                assert_eq!(bits.next(5, n), (0..n as usize).fold(0, |all, i| 2 * all + bit(at + 5 + i)), "{n} bits at {at}");
                bits.take(n);
                at += n as usize;
                assert_eq!(bits.left(), (plain.len() * 8 - at) as i64);
            }
        }
        assert!(coded.part(1).is_none());
    }

    #[test]
    fn bits_that_are_not_there_are_counted_too() {
        let coded = Coded::gather(&[0xa5, 0xff, 0xd9], 0).unwrap();
        let mut bits = coded.part(0).unwrap();
        bits.refill();
        assert_eq!((bits.next_16(), bits.left()), (0xa500, 8));
        for taken in 1..100 {
            bits.refill();
            bits.take(9);
            assert_eq!(bits.left(), 8 - 9 * taken);
        }
    }

    #[test]
    fn parts_end_at_restarts_in_their_turn() {
        let coded = Coded::gather(&[1, 2, 0xff, 0xff, 0xd0, 3, 0xff, 0xd1, 0xff, 0xd9], 0).unwrap();
        let lengths: Vec<i64> = (0..3).map(|i| coded.part(i).unwrap().left()).collect();
        assert_eq!(lengths, [16, 8, 0]);
        for (why, bytes) in [
            ("it begins with the second", &[1, 0xff, 0xd1, 2, 0xff, 0xd9][..]),
            ("another scan follows", &[1, 0xff, 0xda, 2, 0xff, 0xd9]),
            ("it has no end", &[1, 2, 0xff]),
            ("it has no data", &[]),
        ] {
            assert!(Coded::gather(bytes, 0).is_none(), "{why}");
        }
    }
}
