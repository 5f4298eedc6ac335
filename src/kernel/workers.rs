//! Staying on the threads that share the work.

use super::clock;

/// Runs `work` on one of the worker threads.
///
/// A parallel loop that starts on any other thread wakes a worker and sends its own thread to sleep until the end. A training step has
/// hundreds of such loops, and in small networks each is shorter than that: whoever calls a chain of kernels comes here first.
pub fn on_workers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// Runs two chains of kernels that do not wait for each other, side by side, and returns what both return.
///
/// Where kernels are short, two threads that go through a chain each lose less than two that share every kernel; who is done first helps the
/// other. While clocks are on, which know one chain at a time, one after the other.
pub fn side_by_side<A: Send, B: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B + Send) -> (A, B) {
    if clock::are_on() { (one(), other()) } else { rayon::join(one, other) }
}
