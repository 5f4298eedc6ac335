//! What this machine's cores can do at most: fused multiply-adds on registers, without a byte of memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::level::{Level, level};

/// Accumulators that do not wait for each other: more than the units' latency times their number.
const CHAINS: usize = 16;
/// Rounds between two looks at the clock.
const ROUNDS: usize = 100_000;

/// Operations in one call of [`rounds`]: a multiply-add counts as two.
fn operations() -> f64 {
    let lanes = match level() {
        Level::Avx512 | Level::Amx => 16,
        Level::Avx2 => 8,
        Level::Portable => 4,
    };
    (2 * CHAINS * lanes * ROUNDS) as f64
}

fn rounds() -> f32 {
    let (a, b) = (black_box(0.999_9f32), black_box(1e-4f32));
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;

        #[target_feature(enable = "avx512f")]
        fn avx512(a: f32, b: f32) -> f32 {
            let (a, b) = (_mm512_set1_ps(a), _mm512_set1_ps(b));
            // In two halves, as below: with all sixteen at once the compiler keeps them on the stack.
            let mut total = 0.0;
            for _ in 0..2 {
                let mut sums = [b; CHAINS / 2];
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        *sum = _mm512_fmadd_ps(*sum, a, b);
                    }
                }
                total += sums.into_iter().map(|s| _mm512_reduce_add_ps(s)).sum::<f32>();
            }
            total
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2(a: f32, b: f32) -> f32 {
            let (a, b) = (_mm256_set1_ps(a), _mm256_set1_ps(b));
            // Sixteen registers are all there are: two for a and b would spill two chains, so they go in two halves.
            let mut total = 0.0;
            for _ in 0..2 {
                let mut sums = [b; CHAINS / 2];
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        *sum = _mm256_fmadd_ps(*sum, a, b);
                    }
                }
                total += sums.into_iter().map(|s| _mm256_cvtss_f32(s)).sum::<f32>();
            }
            total
        }
        match level() {
            // SAFETY: `level` returns only what this machine has.
            Level::Avx512 | Level::Amx => return unsafe { avx512(a, b) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(a, b) },
            Level::Portable => {}
        }
    }
    let mut sums = [[b; 4]; CHAINS];
    for _ in 0..ROUNDS {
        sums.iter_mut().flatten().for_each(|s| *s = *s * a + b);
    }
    sums.as_flattened().iter().sum()
}

/// Returns the f32 operations per second that `threads` threads reach together: the best of many short looks over `time`.
///
/// The best, since whatever disturbs makes it slower and nothing makes it faster.
pub fn peak_flops(threads: usize, time: Duration) -> f64 {
    let one = || {
        let start = Instant::now();
        let mut best = 0.0f64;
        while start.elapsed() < time {
            let look = Instant::now();
            black_box(rounds());
            best = best.max(operations() / look.elapsed().as_secs_f64());
        }
        best
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(one)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_does_what_it_is_counted_for() {
        // The fixed point of s = s·a + b is b/(1 - a) = 1; portable sums go over 4 lanes, the AVX2 one looks at one lane of each chain.
        let sum = rounds();
        let expected = match level() {
            Level::Avx512 | Level::Amx => 256.0,
            Level::Avx2 => 16.0,
            Level::Portable => 64.0,
        };
        assert!((sum / expected - 1.0).abs() < 1e-2, "{sum}");
        assert!(peak_flops(1, Duration::from_millis(20)) > 1e9);
    }
}
