//! From the bits of a scan to the means of its blocks, a row of MCUs at a time (ITU-T T.81, A.2 and F.2.2).

use super::bits::{Bits, Coded};
use super::codes::Codes;

/// A component of the picture, and what its blocks become.
pub(super) struct Component<'a> {
    /// Blocks of an MCU, side by side and below each other.
    pub blocks: [usize; 2],
    pub first: &'a Codes,
    pub others: &'a Codes,
    /// What is added to every value.
    pub level: f32,
    /// Means of a block: `n[0]` side by side in each of `n[1]` lines.
    pub n: [usize; 2],
    /// What a coefficient adds to them: [`basis`](super::means::basis).
    pub basis: Vec<f32>,
    /// The first coefficient of the block before.
    pub before: i32,
    /// The means of a row of MCUs, line by line.
    pub means: Vec<f32>,
}

/// A scan, read row by row.
pub(super) struct Scan<'a> {
    pub components: Vec<Component<'a>>,
    /// MCUs of a row.
    pub mcus: usize,
    /// MCUs between two restarts, and those that are left to the next.
    pub interval: usize,
    left: usize,
    coded: &'a Coded,
    /// Parts begun, and what is left of the last.
    parts: usize,
    bits: Bits<'a>,
}

impl<'a> Scan<'a> {
    /// Stands before the first row; `interval` is 0 where there are no restarts.
    pub(super) fn new(components: Vec<Component<'a>>, mcus: usize, interval: usize, coded: &'a Coded) -> Option<Self> {
        let interval = if interval > 0 { interval } else { usize::MAX };
        Some(Self { components, mcus, interval, left: interval, coded, parts: 1, bits: coded.part(0)? })
    }

    /// Reads a row of MCUs into the components' means. Nothing where the data are damaged.
    pub(super) fn row(&mut self) -> Option<()> {
        // In registers, where nothing else points to them.
        let mut bits = self.bits;
        for mcu in 0..self.mcus {
            if self.left == 0 {
                self.bits = bits;
                self.part_ends().then_some(())?;
                bits = self.coded.part(self.parts)?;
                self.parts += 1;
                self.left = self.interval;
                self.components.iter_mut().for_each(|component| component.before = 0);
            }
            self.left -= 1;
            for component in &mut self.components {
                component.mcu(&mut bits, mcu, self.mcus)?;
            }
            if bits.left() < 0 {
                return None;
            }
        }
        self.bits = bits;
        Some(())
    }

    /// Whether nothing but the padding of the last byte is left of this part.
    fn part_ends(&self) -> bool {
        (0..8).contains(&self.bits.left())
    }

    /// Whether the data end here.
    pub(super) fn ends(&self) -> bool {
        self.part_ends() && self.coded.part(self.parts).is_none()
    }
}

impl Component<'_> {
    #[inline(always)]
    fn mcu(&mut self, bits: &mut Bits, mcu: usize, mcus: usize) -> Option<()> {
        let ([across, down], [n_x, n_y]) = (self.blocks, self.n);
        let stride = mcus * across * n_x;
        for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
            let at = y * n_y * stride + (mcu * across + x) * n_x;
            match n_x {
                1 if n_y == 1 => self.mean(bits, at)?,
                1 => self.lines::<1>(bits, at, stride)?,
                2 => self.lines::<2>(bits, at, stride)?,
                4 => self.lines::<4>(bits, at, stride)?,
                _ => self.lines::<8>(bits, at, stride)?,
            }
        }
        Some(())
    }

    /// Reads a block and writes its mean, which the first coefficient is, to place `at`.
    #[inline(always)]
    fn mean(&mut self, bits: &mut Bits, at: usize) -> Option<()> {
        self.means[at] = self.level + self.first(bits)? * self.basis[0];
        others(bits, self.others, |_, _| {})
    }

    #[inline(always)]
    fn lines<const ACROSS: usize>(&mut self, bits: &mut Bits, at: usize, stride: usize) -> Option<()> {
        match self.n[1] {
            1 => self.block::<ACROSS, 1>(bits, at, stride),
            2 => self.block::<ACROSS, 2>(bits, at, stride),
            4 => self.block::<ACROSS, 4>(bits, at, stride),
            _ => self.block::<ACROSS, 8>(bits, at, stride),
        }
    }

    /// Reads a block and writes its means, lines of `ACROSS`, from place `at` on.
    #[inline(always)]
    fn block<const ACROSS: usize, const DOWN: usize>(&mut self, bits: &mut Bits, at: usize, stride: usize) -> Option<()> {
        let first = self.first(bits)?;
        let basis = self.basis.as_chunks::<ACROSS>().0.as_chunks::<DOWN>().0;
        let mut means = basis[0].map(|line| line.map(|adds| self.level + first * adds));
        others(bits, self.others, |i, value| {
            let value = value as f32;
            for (means, adds) in means.iter_mut().zip(&basis[i]) {
                for (mean, adds) in means.iter_mut().zip(adds) {
                    *mean += value * adds;
                }
            }
        })?;
        for (to, line) in self.means[at..].chunks_mut(stride).zip(&means) {
            to[..ACROSS].copy_from_slice(line);
        }
        Some(())
    }

    /// Reads the first coefficient, which stands as its difference from that of the block before.
    #[inline(always)]
    fn first(&mut self, bits: &mut Bits) -> Option<f32> {
        bits.refill();
        let difference = self.first.next(bits);
        if difference.bits() == 0 {
            return None;
        }
        self.before = self.before.wrapping_add(difference.value(bits));
        bits.take(difference.bits());
        Some(self.before as f32)
    }
}

/// Reads a block's other coefficients, of which those that are not 0 are given to `each` with their place in the order of coding.
#[inline(always)]
fn others(bits: &mut Bits, codes: &Codes, mut each: impl FnMut(usize, i32)) -> Option<()> {
    let mut i = 1;
    loop {
        bits.refill();
        for _ in 0..2 {
            let next = codes.next(bits);
            i += next.zeros();
            if next.is_bare() {
                // The end of the block, sixteen zeros, or none of both.
                match (next.bits(), next.zeros()) {
                    (1.., 0) => {
                        bits.take(next.bits());
                        return Some(());
                    }
                    (1.., 15) => {}
                    _ => return None,
                }
            } else if i > 63 {
                return None;
            } else {
                each(i, next.value(bits));
            }
            bits.take(next.bits());
            i += 1;
            if i > 63 {
                return (i == 64).then_some(());
            }
        }
    }
}
