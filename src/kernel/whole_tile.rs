//! As `tile`, for 14 whole rows of `a`, gathered or read where they lie: gathering them cost one part in thirty of a step.
//!
//! In assembly, since it is the instructions that count: where two threads share a core, each gets half of what the core can take in. A
//! number of `a` that two vectors of `b` are multiplied by is loaded by one instruction (three for two products) or within both products
//! (two for two, but two loads). All rows in the first way are too many instructions, all in the second too many loads: about half and half
//! was a tenth faster than the first alone, by single tiles in the inner cache on a core of an Intel Xeon that others used too, and the same on
//! an idle one. Only an address without an index is loaded within a product at no cost. A sum takes its terms in the same order as in `tile`,
//! so its bits are the same.

use std::arch::asm;
use std::mem::offset_of;

use super::tile::{LANES, Target, mask};

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

/// Code for the sums of each row, by the names of their registers.
macro_rules! of_rows {
    ($code:ident) => {
        concat!(
            $code!("0", "1"),
            $code!("2", "3"),
            $code!("4", "5"),
            $code!("6", "7"),
            $code!("8", "9"),
            $code!("10", "11"),
            $code!("12", "13"),
            $code!("14", "15"),
            $code!("16", "17"),
            $code!("18", "19"),
            $code!("20", "21"),
            $code!("22", "23"),
            $code!("24", "25"),
            $code!("26", "27"),
        )
    };
}

macro_rules! start_at_zero {
    ($one:literal, $two:literal) => {
        concat!("vpxord zmm", $one, ", zmm", $one, ", zmm", $one, "\n", "vpxord zmm", $two, ", zmm", $two, ", zmm", $two, "\n")
    };
}

macro_rules! add_target {
    ($one:literal, $two:literal) => {
        concat!(
            "vaddps zmm",
            $one,
            ", zmm",
            $one,
            ", zmmword ptr [{t}]\n",
            "vaddps zmm",
            $two,
            "{{{last}}}, zmm",
            $two,
            ", zmmword ptr [{t} + 64]\n",
            "add {t}, {ts}\n",
        )
    };
}

macro_rules! add_bias {
    ($one:literal, $two:literal) => {
        concat!("vaddps zmm", $one, ", zmm", $one, ", zmm28\n", "vaddps zmm", $two, ", zmm", $two, ", zmm29\n")
    };
}

macro_rules! store {
    ($one:literal, $two:literal) => {
        concat!(
            "vmovups zmmword ptr [{t}], zmm",
            $one,
            "\n",
            "vmovups zmmword ptr [{t} + 64]{{{last}}}, zmm",
            $two,
            "\n",
            "add {t}, {ts}\n",
        )
    };
}

/// Runs a round of code, `left` times, that adds to a tile's sums, in registers 0 to 27, two for a row; registers 28 to 31 are free. The sums
/// start at zero and never leave their registers until they go where [`Target`] says: through memory they cost one part in a hundred.
macro_rules! tile {
    ($target:ident, $columns:ident, [$($round:expr,)*] $($operands:tt)*) => {
        asm!(
            of_rows!(start_at_zero),
            "2:",
            $($round,)*
            "sub {left}, 1",
            "jnz 2b",
            "mov {t}, qword ptr [{target} + {at}]",
            "cmp byte ptr [{target} + {add}], 0",
            "je 3f",
            of_rows!(add_target),
            "mov {t}, qword ptr [{target} + {at}]",
            "3:",
            "mov {left}, qword ptr [{target} + {bias}]",
            "test {left}, {left}",
            "je 4f",
            "vmovups zmm28, zmmword ptr [{left}]",
            "vmovups zmm29{{{last}}}{{z}}, zmmword ptr [{left} + 64]",
            of_rows!(add_bias),
            "4:",
            of_rows!(store),
            $($operands)*
            // Of the target's rows a round asks for some, since asking for all at once would keep both sides waiting.
            t = inout(reg) $target.at => _,
            ts = in(reg) $target.stride * size_of::<f32>(),
            target = in(reg) &raw const $target,
            at = const offset_of!(Target, at),
            add = const offset_of!(Target, add),
            bias = const offset_of!(Target, bias),
            last = in(kreg) mask($columns - LANES),
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack),
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
        tile!(
            target,
            columns,
            [
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
            ]
            p0 = inout(reg) a => _,
            p2 = inout(reg) a.wrapping_add(2 * a_stride) => _,
            p4 = inout(reg) a.wrapping_add(4 * a_stride) => _,
            p6 = inout(reg) a.wrapping_add(6 * a_stride) => _,
            p8 = inout(reg) a.wrapping_add(8 * a_stride) => _,
            p10 = inout(reg) a.wrapping_add(10 * a_stride) => _,
            p12 = inout(reg) a.wrapping_add(12 * a_stride) => _,
            b = inout(reg) b => _,
            left = inout(reg) depth / STEPS => _,
            s = in(reg) a_stride * size_of::<f32>(),
        );
    }
}

/// target (14 × columns) = or += a · b, both gathered: of `a` 16 numbers for each step, the first 14 of them the rows'.
///
/// # Safety
/// As [`tile_of_rows`]; `a` holds 16 · depth numbers.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn gathered_tile(depth: usize, a: *const f32, b: *const f32, target: Target, columns: usize) {
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
        tile!(
            target,
            columns,
            [
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
            ]
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            left = inout(reg) depth / 8 => _,
        );
    }
}
