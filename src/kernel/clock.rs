//! Where the time of a step goes, kernel by kernel: for `flow bench`, silent else.
//!
//! A kernel that is asked for by a chain of kernels holds a [`Timer`] while it runs. What a timer measures is wall time on the thread that
//! runs the chain; no kernel with a timer calls another, so the groups add up. Off, a timer costs one load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Kernels that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Products of large matrices: projections, MLPs, the stem's gathered patches, the head.
    Products,
    /// Attention between its projections.
    Attention,
    /// 3x3 convolutions of each channel by itself.
    Depthwise,
    /// Layer norm, batch norm and their affine parts.
    Norms,
    /// GELU and its derivative.
    Gelu,
    /// Biases, scales, sums of columns.
    Pointwise,
    /// Gathering the stem's patches, and scattering their gradients.
    Patches,
    /// Softmax, loss and its gradient.
    Loss,
    /// Clipping, AdamW, the teacher's average.
    Optimiser,
}

/// Every group and its name, in order.
pub const GROUPS: [(Group, &str); 9] = [
    (Group::Products, "products"),
    (Group::Attention, "attention"),
    (Group::Depthwise, "depthwise"),
    (Group::Norms, "norms"),
    (Group::Gelu, "gelu"),
    (Group::Pointwise, "pointwise"),
    (Group::Patches, "patches"),
    (Group::Loss, "loss"),
    (Group::Optimiser, "optimiser"),
];

static ON: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; GROUPS.len()] = [const { AtomicU64::new(0) }; GROUPS.len()];

/// Adds the time until it is dropped to a group.
pub struct Timer(Option<(Group, Instant)>);

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((group, start)) = self.0 {
            NANOSECONDS[group as usize].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

/// Times a kernel of this group, if somebody wants to know.
pub fn timed(group: Group) -> Timer {
    Timer(are_on().then(|| (group, Instant::now())))
}

/// Whether somebody wants to know.
pub fn are_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Runs `work` with the clocks on; returns with its result the seconds of each group, in the order of [`GROUPS`].
///
/// For one chain of kernels at a time: the clocks are the process's.
pub fn measured<R>(work: impl FnOnce() -> R) -> (R, [f64; GROUPS.len()]) {
    NANOSECONDS.iter().for_each(|n| n.store(0, Ordering::Relaxed));
    ON.store(true, Ordering::Relaxed);
    let result = work();
    ON.store(false, Ordering::Relaxed);
    (result, std::array::from_fn(|i| NANOSECONDS[i].load(Ordering::Relaxed) as f64 / 1e9))
}
