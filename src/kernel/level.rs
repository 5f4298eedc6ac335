//! Which vector instructions this machine has, and kernels compiled for each.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::matrix_unit;

/// The widest instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW and DQ.
    Avx512,
    /// And a matrix unit for bf16: AMX.
    Amx,
}

#[cfg(test)]
thread_local! {
    static LIMIT: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Does some work on this thread as on a machine that has no more than this.
#[cfg(test)]
pub fn limited_to<R>(level: Level, work: impl FnOnce() -> R) -> R {
    LIMIT.set(Some(level));
    let made = work();
    LIMIT.set(None);
    made
}

static LEVEL: OnceLock<Level> = OnceLock::new();

/// Returns what to use: what [`choose`] said, else what this machine has up to AVX-512, so that all machines with that make the same bits.
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(limit) = LIMIT.get() {
        return limit;
    }
    *LEVEL.get_or_init(found_without_unit)
}

/// Uses these instructions from now on. To be said before anything is computed.
///
/// # Errors
/// When the machine does not have them: what it has.
pub fn choose(wanted: Level) -> Result<(), Level> {
    let found = found();
    if found < wanted {
        return Err(found);
    }
    LEVEL.get_or_init(|| wanted);
    Ok(())
}

/// Returns the widest that this machine has; asks the system for the matrix unit.
pub(super) fn found() -> Level {
    let found = found_without_unit();
    #[cfg(target_arch = "x86_64")]
    if found == Level::Avx512 && matrix_unit::is_granted() {
        return Level::Amx;
    }
    found
}

fn found_without_unit() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        if wide && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Returns a · b + c, rounded once where `FUSED`, else twice.
#[inline(always)]
pub(crate) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction `f32::mul_add` is a call that takes a hundred times as long.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Compiles a plain loop once for each level, and chooses at run time. The compiler does the vectorising; `FUSED` says within whether the
/// level has fused multiply-adds, for [`mul_add`].
macro_rules! vectorised {
    ($(#[$meta:meta])* $visible:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visible fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<const FUSED: bool>($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($arg: $type),*) $(-> $result)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $result)? { body::<true>($($arg),*) }
                match $crate::kernel::level::level() {
                    // SAFETY: `level` returns only what this machine has.
                    $crate::kernel::level::Level::Avx512 | $crate::kernel::level::Level::Amx => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernel::level::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernel::level::Level::Portable => {}
                }
            }
            body::<false>($($arg),*)
        }
    };
}
pub(crate) use vectorised;
