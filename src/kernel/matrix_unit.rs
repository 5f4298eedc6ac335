//! The matrix unit of a core (Intel AMX): blocks of 32 x 32 sums stay in its tile registers while the depth goes by.
//!
//! The unit multiplies bf16, sixteen times as many a cycle as AVX-512 does f32. A product of f32 takes six of its products (`split`), so it
//! may take up to 2.7 times as many f32 a cycle. Of the eight registers four hold sums; the parts of both sides go through the others in an
//! order in which each product finds one of its two sides there: 14 tiles are read for 24 products.

use std::arch::asm;

/// Rows of a tile, columns of its sums, and pairs of its depth.
pub const SIDE: usize = 16;
/// Rows and columns of a block: two tiles each.
pub const BLOCK: usize = 2 * SIDE;
/// Depth that a tile covers: sixteen pairs of bf16.
pub const CHUNK: usize = 2 * SIDE;
/// Pairs from one part of a side to the next: a tile.
pub const PART: usize = SIDE * SIDE;
/// Pairs from one tile of rows or columns to the next: three parts.
pub const TILE: usize = 3 * PART;
/// Pairs from one chunk of a block's depth to the next: two tiles.
pub const STEP: usize = 2 * TILE;

/// Whether the cores have the unit and the system lets this process use it; asks the system, so to be asked once.
pub fn is_granted() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE;
        // SAFETY: the call reads and writes no memory of ours.
        has && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// What a block asks for while it is made; may lie anywhere.
#[derive(Clone, Copy)]
pub struct Soon {
    /// The next block of the target, of whose rows each chunk asks for three.
    pub target: *const f32,
    /// Tiles of a side, of which each chunk asks for 512 bytes.
    pub side: *const u32,
}

/// The unit of the core that this thread runs on, shaped for whole tiles until it is dropped.
pub struct Unit(());

impl Unit {
    /// Shapes the unit: eight tiles of 16 rows of 64 bytes.
    ///
    /// # Safety
    /// The unit is granted, and no other `Unit` is alive on this thread.
    pub unsafe fn shaped() -> Self {
        #[repr(C, align(64))]
        struct Shape {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes_of_a_row: [u16; 16],
            rows: [u8; 16],
        }
        let mut shape = Shape { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_a_row: [0; 16], rows: [0; 16] };
        shape.bytes_of_a_row[..8].fill(64);
        shape.rows[..8].fill(16);
        // SAFETY: reads the 64 bytes of the shape; the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        Self(())
    }

    /// out = start + a · b for a block of 32 x 32.
    ///
    /// # Safety
    /// `a` and `b` hold `chunks` > 0 steps of [`STEP`] pairs. `start` and `out` are valid for the block, each with its numbers from one row
    /// to the next; a start with 0 of them is one row for all.
    pub unsafe fn block(
        &self,
        chunks: usize,
        (a, b): (*const u32, *const u32),
        (start, start_stride): (*const f32, usize),
        (out, stride): (*mut f32, usize),
        soon: Soon,
    ) {
        // One part of both tiles of a side: `a`'s come to the registers 4 and 5, `b`'s to 6 and 7.
        macro_rules! a {
            ($part:literal) => {
                concat!("tileloadd tmm4, [{a} + {line} + 1024*", $part, "]\ntileloadd tmm5, [{a} + {line} + 3072 + 1024*", $part, "]\n")
            };
        }
        macro_rules! b {
            ($part:literal) => {
                concat!("tileloadd tmm6, [{b} + {line} + 1024*", $part, "]\ntileloadd tmm7, [{b} + {line} + 3072 + 1024*", $part, "]\n")
            };
        }
        macro_rules! products {
            () => {
                "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7\n"
            };
        }
        macro_rules! ahead {
            ($at:literal) => {
                concat!("prefetcht1 [{side} + ", $at, "]\nprefetcht1 [{side} + 64 + ", $at, "]\n")
            };
        }
        // SAFETY: the caller's promise: tiles inside both sides, the start and the target.
        unsafe {
            asm!(
                "tileloadd tmm0, [{from} + {from_stride}]",
                "tileloadd tmm1, [{from} + {from_stride} + 64]",
                "tileloadd tmm2, [{from2} + {from_stride}]",
                "tileloadd tmm3, [{from2} + {from_stride} + 64]",
                "2:",
                // High · low, high · middle, middle · middle, middle · high, low · high, high · high.
                concat!(a!("0"), b!("2"), products!()),
                concat!(b!("1"), products!()),
                concat!(a!("1"), products!()),
                concat!(b!("0"), products!()),
                concat!(a!("2"), products!()),
                concat!(a!("0"), products!()),
                concat!("prefetchw [{c}]\n", "prefetchw [{c} + 64]\n"),
                concat!("prefetchw [{c} + {to_stride}]\n", "prefetchw [{c} + {to_stride} + 64]\n"),
                concat!("prefetchw [{c} + 2*{to_stride}]\n", "prefetchw [{c} + 2*{to_stride} + 64]\n"),
                concat!(ahead!("0"), ahead!("128"), ahead!("256"), ahead!("384")),
                "add {side}, 512",
                "lea {c}, [{c} + 2*{to_stride}]",
                "add {c}, {to_stride}",
                "add {a}, 6144",
                "add {b}, 6144",
                "sub {left}, 1",
                "jnz 2b",
                "tilestored [{to} + {to_stride}], tmm0",
                "tilestored [{to} + {to_stride} + 64], tmm1",
                "tilestored [{to2} + {to_stride}], tmm2",
                "tilestored [{to2} + {to_stride} + 64], tmm3",
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                left = inout(reg) chunks => _,
                c = inout(reg) soon.target => _,
                side = inout(reg) soon.side => _,
                line = in(reg) 64usize,
                from = in(reg) start,
                from2 = in(reg) start.wrapping_add(SIDE * start_stride),
                from_stride = in(reg) 4 * start_stride,
                to = in(reg) out,
                to2 = in(reg) out.wrapping_add(SIDE * stride),
                to_stride = in(reg) 4 * stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: back to how it was before `shaped`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
