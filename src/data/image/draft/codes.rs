//! Huffman codes of a JPEG (ITU-T T.81, annexes C and F.2.2), looked up many bits at a time.

use super::bits::Bits;

/// Bits of the codes that are looked up at once; longer ones are rare.
const SHORT: u32 = 10;

/// What a code says: coefficients of 0, and the size of the one behind them, whose bits follow. In one number, since it is read millions of
/// times for a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Coefficient(u32);

impl Coefficient {
    /// The most bits that a code and its value have: two are read between two refills.
    const MOST_BITS: u32 = 28;
    /// No value follows, or there is no such code.
    const BARE: u32 = 1 << 31;

    fn new(length: u32, symbol: u8) -> Self {
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        Self((length + size) | length << 8 | size << 16 | zeros << 24 | if size == 0 { Self::BARE } else { 0 })
    }

    /// Returns the bits of the code and of the value together; 0 where there is no such code.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether it is not a value.
    #[inline(always)]
    pub(super) fn is_bare(self) -> bool {
        self.0 & Self::BARE != 0
    }

    /// Returns how many coefficients of 0 come before it.
    #[inline(always)]
    pub(super) fn zeros(self) -> usize {
        (self.0 >> 24 & 15) as usize
    }

    /// Returns the value whose bits are not taken yet (table F.1 and F.2.2.1): those that begin with 0 are below zero.
    #[inline(always)]
    pub(super) fn value(self, bits: &Bits) -> i32 {
        let (code, size) = (self.0 >> 8 & 0xff, self.0 >> 16 & 0xff);
        let value = bits.next(code, size);
        let half = (1 << size) >> 1;
        if value < half { value - (1 << size) + 1 } else { value }
    }
}

/// The codes of some symbols.
pub(super) struct Codes {
    /// By the next `SHORT` bits; 0 where they begin a longer code.
    short: Box<[Coefficient; 1 << SHORT]>,
    /// For each length: the first code that is greater than all of this length, as if it had 16 bits.
    limits: [u32; 17],
    /// For each length: what is added to a code for the place of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// Makes the codes of a sound table: how many codes there are of 1 to 16 bits, and their symbols. Nothing where values have more bits
    /// than those of a baseline file.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let short = Box::new([Coefficient::default(); 1 << SHORT]);
        let mut made = Self { short, limits: [0; 17], offsets: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0u32, 0);
        for (length, n) in (1..).zip(counts) {
            made.offsets[length as usize] = place as i32 - code as i32;
            for symbol in &symbols[place..place + usize::from(*n)] {
                if length <= SHORT {
                    let spare = SHORT - length;
                    made.short[(code << spare) as usize..][..1 << spare].fill(Coefficient::new(length, *symbol));
                }
                code += 1;
            }
            place += usize::from(*n);
            made.limits[length as usize] = code << (16 - length);
            code *= 2;
        }
        let is_baseline = symbols.iter().all(|symbol| 16 + u32::from(symbol & 15) <= Coefficient::MOST_BITS);
        is_baseline.then_some(made)
    }

    /// Returns what the next code says, and takes nothing.
    #[inline(always)]
    pub(super) fn next(&self, bits: &Bits) -> Coefficient {
        let next = bits.next_16();
        let found = self.short[next >> (16 - SHORT)];
        if found.0 != 0 { found } else { self.next_long(next as u32) }
    }

    #[cold]
    fn next_long(&self, next: u32) -> Coefficient {
        let of_length = |length: u32| {
            let code = (next >> (16 - length)) as i32;
            let symbol = self.symbols.get((code + self.offsets[length as usize]) as usize)?;
            Some(Coefficient::new(length, *symbol))
        };
        let length = (SHORT + 1..=16).find(|length| next < self.limits[*length as usize]);
        length.and_then(of_length).unwrap_or(Coefficient(Coefficient::BARE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::Coded;
    use super::*;

    #[test]
    fn codes_of_every_length_are_their_symbols() {
        // One code of each length: 0, 10, 110 and so on; sixteen ones are none.
        let symbols: Vec<u8> = (0x30..0x40).map(|symbol| symbol % 0x3c).collect();
        let codes = Codes::new(&[1; 16], &symbols).unwrap();
        let next = |bits: u32| {
            let stuffed = bits.to_be_bytes().into_iter().flat_map(|byte| [byte, 0][..if byte == 0xff { 2 } else { 1 }].to_vec());
            let coded = Coded::gather(&stuffed.chain([0xff, 0xd9]).collect::<Vec<u8>>(), 0).unwrap();
            let mut bits = coded.part(0).unwrap();
            bits.refill();
            let found = codes.next(&bits);
            (found, found.value(&bits))
        };
        for (length, symbol) in (1..=16u32).zip(&symbols) {
            let (code, size) = (((1u32 << length) - 2) << (32 - length), u32::from(symbol & 15));
            // All ones are the largest value, all zeros the least.
            let ones = ((1 << size) - 1) << (32 - length - size);
            let found = Coefficient::new(length, *symbol);
            assert_eq!((found.bits(), found.zeros() as u8, found.is_bare()), (length + size, symbol >> 4, size == 0));
            assert_eq!(next(code | ones), (found, (1 << size) - 1));
            assert_eq!(next(code), (found, 1 - (1 << size)));
        }
        assert_eq!(next(0xffff_0000).0.bits(), 0);
        assert!(Codes::new(&[1; 16], &[13; 16]).is_none());
    }
}
