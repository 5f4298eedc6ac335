//! Staying on the threads that share the work.

/// Runs `work` on one of the worker threads.
///
/// A parallel loop that starts on any other thread wakes a worker and sends its own thread to sleep until the end. A training step has
/// hundreds of such loops, and in small networks each is shorter than that: whoever calls a chain of kernels comes here first.
pub fn on_workers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
