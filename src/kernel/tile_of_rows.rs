//! As `tile`, for 14 whole rows of `a` that are read where they lie: gathering them cost one part in thirty of a step.
//!
//! In assembly: 14 rows need 14 addresses, for which a compiler moves sums out of their registers. Here two pointers and three multiples of
//! the stride reach them all. A sum takes its terms in the same order as there, so its bits are the same.

use std::arch::asm;
use std::arch::x86_64::*;

use super::tile::{LANES, ROWS, Target, finish};

/// What the depth must be a multiple of: one line of each row, of which each step asks for one that is needed later.
pub const STEPS: usize = 16;

/// target (14 × columns) = or += a (14 × depth, rows `a_stride` numbers apart) · b (a gathered panel).
///
/// # Safety
/// As [`super::tile::any_tile`], with 16 < columns ≤ 32; the depth is a multiple of 16, more than 0; `b` holds 32 · depth numbers from a
/// boundary of 64 bytes on.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub unsafe fn tile_of_rows(depth: usize, a: *const f32, a_stride: usize, b: *const f32, target: Target, columns: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    // Two sums of one row: those of `x`, at an address, times the 32 numbers of `b`.
    macro_rules! row {
        ($at:literal, $x:literal, $one:literal, $two:literal, $step:literal) => {
            concat!(
                "vbroadcastss ",
                $x,
                ", dword ptr [",
                $at,
                " + 4*",
                $step,
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
    // One step of the depth, which asks for `b` of twelve steps later, and for what is `next` two lines on.
    macro_rules! step {
        ($step:literal, $next:literal) => {
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
                " + 128]\n",
                row!("{r0}", "zmm30", "0", "1", $step),
                row!("{r0} + {s}", "zmm31", "2", "3", $step),
                row!("{r0} + 2*{s}", "zmm30", "4", "5", $step),
                row!("{r0} + {s3}", "zmm31", "6", "7", $step),
                row!("{r0} + 4*{s}", "zmm30", "8", "9", $step),
                row!("{r0} + {s5}", "zmm31", "10", "11", $step),
                row!("{r0} + 2*{s3}", "zmm30", "12", "13", $step),
                row!("{r7}", "zmm31", "14", "15", $step),
                row!("{r0} + 8*{s}", "zmm30", "16", "17", $step),
                row!("{r7} + 2*{s}", "zmm31", "18", "19", $step),
                row!("{r0} + 2*{s5}", "zmm30", "20", "21", $step),
                row!("{r7} + 4*{s}", "zmm31", "22", "23", $step),
                row!("{r0} + 4*{s3}", "zmm30", "24", "25", $step),
                row!("{r7} + 2*{s3}", "zmm31", "26", "27", $step),
            )
        };
    }
    let s = a_stride * size_of::<f32>();
    // SAFETY: the caller's promise: each step reads one number of each row and 32 of `b`; prefetching may reach anywhere.
    unsafe {
        asm!(
            "2:",
            step!("0", "{r0}"),
            step!("1", "{r0} + {s}"),
            step!("2", "{r0} + 2*{s}"),
            step!("3", "{r0} + {s3}"),
            step!("4", "{r0} + 4*{s}"),
            step!("5", "{r0} + {s5}"),
            step!("6", "{r0} + 2*{s3}"),
            step!("7", "{r7}"),
            step!("8", "{r0} + 8*{s}"),
            step!("9", "{r7} + 2*{s}"),
            step!("10", "{r0} + 2*{s5}"),
            step!("11", "{r7} + 4*{s}"),
            step!("12", "{r0} + 4*{s3}"),
            step!("13", "{r7} + 2*{s3}"),
            step!("14", "{t}"),
            step!("15", "{t} + 64"),
            "add {r0}, 64",
            "add {r7}, 64",
            "add {b}, 2048",
            "add {t}, {ts}",
            "sub {left}, 1",
            "jnz 2b",
            r0 = inout(reg) a => _,
            r7 = inout(reg) a.wrapping_add(7 * a_stride) => _,
            b = inout(reg) b => _,
            // Two lines before the target's rows: each round asks for one of them.
            t = inout(reg) target.at.wrapping_sub(2 * LANES) => _,
            left = inout(reg) depth / STEPS => _,
            s = in(reg) s,
            s3 = in(reg) 3 * s,
            s5 = in(reg) 5 * s,
            ts = in(reg) target.stride * size_of::<f32>(),
            inout("zmm0") sums[0][0], inout("zmm1") sums[0][1],
            inout("zmm2") sums[1][0], inout("zmm3") sums[1][1],
            inout("zmm4") sums[2][0], inout("zmm5") sums[2][1],
            inout("zmm6") sums[3][0], inout("zmm7") sums[3][1],
            inout("zmm8") sums[4][0], inout("zmm9") sums[4][1],
            inout("zmm10") sums[5][0], inout("zmm11") sums[5][1],
            inout("zmm12") sums[6][0], inout("zmm13") sums[6][1],
            inout("zmm14") sums[7][0], inout("zmm15") sums[7][1],
            inout("zmm16") sums[8][0], inout("zmm17") sums[8][1],
            inout("zmm18") sums[9][0], inout("zmm19") sums[9][1],
            inout("zmm20") sums[10][0], inout("zmm21") sums[10][1],
            inout("zmm22") sums[11][0], inout("zmm23") sums[11][1],
            inout("zmm24") sums[12][0], inout("zmm25") sums[12][1],
            inout("zmm26") sums[13][0], inout("zmm27") sums[13][1],
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack, readonly),
        );
        finish(&sums, target, columns);
    }
}
