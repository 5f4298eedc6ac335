//! As `tile`, for 14 whole rows of `a`, gathered or read where they lie: gathering them cost one part in thirty of a step.
//!
//! In assembly, since it is the instructions that count: where two threads share a core, each gets half of what the core can take in. A
//! number of `a` that two vectors of `b` are multiplied by is loaded by one instruction (three for two products) or within both products
//! (two for two, but two loads). All rows in the first way are too many instructions, all in the second too many loads: about half and half
//! was a tenth faster than the first alone, by single tiles in the inner cache on a core of an Intel Xeon that others used too, and the same on
//! an idle one. Only an address without an index is loaded within a product at no cost. A sum takes its terms in the same order as in `tile`,
//! so its bits are the same.

use std::arch::asm;
use std::arch::x86_64::*;

use super::tile::{ROWS, Target, finish};

/// What the depth must be a multiple of: one line of each row, of which each step asks for one that is needed later.
pub const STEPS: usize = 16;

/// Two sums of one row: those of the number at an address times the 32 of `b`, loaded within the products.
macro_rules! within {
    ($at:literal, $at_step:expr, $one:literal, $two:literal) => {
        concat!(
            "vfmadd231ps zmm",
            $one,
            ", zmm28, dword ptr [",
            $at,
            " + ",
            $at_step,
            "]{{1to16}}\n",
            "vfmadd231ps zmm",
            $two,
            ", zmm29, dword ptr [",
            $at,
            " + ",
            $at_step,
            "]{{1to16}}\n",
        )
    };
}

/// The same, loaded before them.
macro_rules! before {
    ($at:literal, $at_step:expr, $x:literal, $one:literal, $two:literal) => {
        concat!(
            "vbroadcastss ",
            $x,
            ", dword ptr [",
            $at,
            " + ",
            $at_step,
            "]\n",
            "vfmadd231ps zmm",
            $one,
            ", zmm28, ",
            $x,
            "\n",
            "vfmadd231ps zmm",
            $two,
            ", zmm29, ",
            $x,
            "\n",
        )
    };
}

/// The 32 numbers of a step of `b`; asks for those of twelve steps later, and for what is `next`.
macro_rules! numbers_of_b {
    ($step:literal, $next:expr) => {
        concat!(
            "vmovaps zmm28, zmmword ptr [{b} + 128*",
            $step,
            "]\n",
            "vmovaps zmm29, zmmword ptr [{b} + 128*",
            $step,
            " + 64]\n",
            "prefetcht0 byte ptr [{b} + 128*",
            $step,
            " + 1536]\n",
            "prefetcht0 byte ptr [{b} + 128*",
            $step,
            " + 1600]\n",
            "prefetcht0 byte ptr [",
            $next,
            "]\n",
        )
    };
}

/// Runs code that adds to a tile's sums, in registers 0 to 27, two for a row; registers 28 to 31 are free.
macro_rules! add_to {
    ($sums:ident, [$($code:expr,)*] $($operands:tt)*) => {
        asm!(
            $($code,)*
            $($operands)*
            inout("zmm0") $sums[0][0], inout("zmm1") $sums[0][1],
            inout("zmm2") $sums[1][0], inout("zmm3") $sums[1][1],
            inout("zmm4") $sums[2][0], inout("zmm5") $sums[2][1],
            inout("zmm6") $sums[3][0], inout("zmm7") $sums[3][1],
            inout("zmm8") $sums[4][0], inout("zmm9") $sums[4][1],
            inout("zmm10") $sums[5][0], inout("zmm11") $sums[5][1],
            inout("zmm12") $sums[6][0], inout("zmm13") $sums[6][1],
            inout("zmm14") $sums[7][0], inout("zmm15") $sums[7][1],
            inout("zmm16") $sums[8][0], inout("zmm17") $sums[8][1],
            inout("zmm18") $sums[9][0], inout("zmm19") $sums[9][1],
            inout("zmm20") $sums[10][0], inout("zmm21") $sums[10][1],
            inout("zmm22") $sums[11][0], inout("zmm23") $sums[11][1],
            inout("zmm24") $sums[12][0], inout("zmm25") $sums[12][1],
            inout("zmm26") $sums[13][0], inout("zmm27") $sums[13][1],
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack, readonly),
        )
    };
}

/// target (14 × columns) = or += a (14 × depth, rows `a_stride` numbers apart) · b (a gathered panel).
///
/// # Safety
/// As [`super::tile::any_tile`], with 16 < columns ≤ 32; the depth is a multiple of 16, more than 0; `b` holds 32 · depth numbers from a
/// boundary of 64 bytes on.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn tile_of_rows(depth: usize, a: *const f32, a_stride: usize, b: *const f32, target: Target, columns: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    // Every second row has a pointer of its own, and the next one lies one stride behind it.
    macro_rules! step {
        ($step:literal, $next:literal) => {
            concat!(
                numbers_of_b!($step, $next),
                within!("{p0}", concat!("4*", $step), "0", "1"),
                before!("{p0} + {s}", concat!("4*", $step), "zmm30", "2", "3"),
                within!("{p2}", concat!("4*", $step), "4", "5"),
                before!("{p2} + {s}", concat!("4*", $step), "zmm31", "6", "7"),
                within!("{p4}", concat!("4*", $step), "8", "9"),
                before!("{p4} + {s}", concat!("4*", $step), "zmm30", "10", "11"),
                within!("{p6}", concat!("4*", $step), "12", "13"),
                before!("{p6} + {s}", concat!("4*", $step), "zmm31", "14", "15"),
                within!("{p8}", concat!("4*", $step), "16", "17"),
                before!("{p8} + {s}", concat!("4*", $step), "zmm30", "18", "19"),
                within!("{p10}", concat!("4*", $step), "20", "21"),
                before!("{p10} + {s}", concat!("4*", $step), "zmm31", "22", "23"),
                within!("{p12}", concat!("4*", $step), "24", "25"),
                before!("{p12} + {s}", concat!("4*", $step), "zmm30", "26", "27"),
            )
        };
    }
    // SAFETY: the caller's promise: each step reads one number of each row and 32 of `b`; prefetching may reach anywhere.
    unsafe {
        add_to!(
            sums,
            [
                "2:",
                step!("0", "{p0} + 128"),
                step!("1", "{p0} + {s} + 128"),
                step!("2", "{p2} + 128"),
                step!("3", "{p2} + {s} + 128"),
                step!("4", "{p4} + 128"),
                step!("5", "{p4} + {s} + 128"),
                step!("6", "{p6} + 128"),
                step!("7", "{p6} + {s} + 128"),
                step!("8", "{p8} + 128"),
                step!("9", "{p8} + {s} + 128"),
                step!("10", "{p10} + 128"),
                step!("11", "{p10} + {s} + 128"),
                step!("12", "{p12} + 128"),
                step!("13", "{p12} + {s} + 128"),
                step!("14", "{t}"),
                step!("15", "{t} + 64"),
                "add {p0}, 64",
                "add {p2}, 64",
                "add {p4}, 64",
                "add {p6}, 64",
                "add {p8}, 64",
                "add {p10}, 64",
                "add {p12}, 64",
                "add {b}, 2048",
                "add {t}, {ts}",
                "sub {left}, 1",
                "jnz 2b",
            ]
            p0 = inout(reg) a => _,
            p2 = inout(reg) a.wrapping_add(2 * a_stride) => _,
            p4 = inout(reg) a.wrapping_add(4 * a_stride) => _,
            p6 = inout(reg) a.wrapping_add(6 * a_stride) => _,
            p8 = inout(reg) a.wrapping_add(8 * a_stride) => _,
            p10 = inout(reg) a.wrapping_add(10 * a_stride) => _,
            p12 = inout(reg) a.wrapping_add(12 * a_stride) => _,
            b = inout(reg) b => _,
            // Of the target's rows each round asks for one.
            t = inout(reg) target.at => _,
            left = inout(reg) depth / STEPS => _,
            s = in(reg) a_stride * size_of::<f32>(),
            ts = in(reg) target.stride * size_of::<f32>(),
        );
        finish(&sums, target, columns);
    }
}

/// target (14 × columns) = or += a · b, both gathered: of `a` 16 numbers for each step, the first 14 of them the rows'.
///
/// # Safety
/// As [`tile_of_rows`]; `a` holds 16 · depth numbers.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn gathered_tile(depth: usize, a: *const f32, b: *const f32, target: Target, columns: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    macro_rules! step {
        ($step:literal) => {
            concat!(
                numbers_of_b!($step, concat!("{a} + 640 + 64*", $step)),
                before!("{a}", concat!("64*", $step), "zmm30", "0", "1"),
                within!("{a}", concat!("4 + 64*", $step), "2", "3"),
                within!("{a}", concat!("8 + 64*", $step), "4", "5"),
                before!("{a}", concat!("12 + 64*", $step), "zmm31", "6", "7"),
                within!("{a}", concat!("16 + 64*", $step), "8", "9"),
                within!("{a}", concat!("20 + 64*", $step), "10", "11"),
                before!("{a}", concat!("24 + 64*", $step), "zmm30", "12", "13"),
                within!("{a}", concat!("28 + 64*", $step), "14", "15"),
                within!("{a}", concat!("32 + 64*", $step), "16", "17"),
                before!("{a}", concat!("36 + 64*", $step), "zmm31", "18", "19"),
                within!("{a}", concat!("40 + 64*", $step), "20", "21"),
                within!("{a}", concat!("44 + 64*", $step), "22", "23"),
                before!("{a}", concat!("48 + 64*", $step), "zmm30", "24", "25"),
                within!("{a}", concat!("52 + 64*", $step), "26", "27"),
            )
        };
    }
    // SAFETY: as above.
    unsafe {
        add_to!(
            sums,
            [
                "2:",
                "prefetcht0 byte ptr [{t}]",
                "prefetcht0 byte ptr [{t} + 64]",
                step!("0"),
                step!("1"),
                step!("2"),
                step!("3"),
                "prefetcht0 byte ptr [{t} + {ts}]",
                "prefetcht0 byte ptr [{t} + {ts} + 64]",
                step!("4"),
                step!("5"),
                step!("6"),
                step!("7"),
                "add {a}, 512",
                "add {b}, 1024",
                "lea {t}, [{t} + 2*{ts}]",
                "sub {left}, 1",
                "jnz 2b",
            ]
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            t = inout(reg) target.at => _,
            left = inout(reg) depth / 8 => _,
            ts = in(reg) target.stride * size_of::<f32>(),
        );
        finish(&sums, target, columns);
    }
}
