//! How long-running work tells how far it is, and hears that it should stop.

/// The one who watches a piece of work. Silent by default.
pub trait Monitor: Send + Sync {
    /// Reports that `done` of `total` units are done, with the figures worth showing (`loss`, `images per second`).
    fn progress(&self, done: u64, total: u64, unit: &'static str, values: &[(&'static str, f64)]) {
        let _ = (done, total, unit, values);
    }

    /// Tells the user one line: something skipped, repaired or about to go wrong.
    fn note(&self, line: &str) {
        let _ = line;
    }

    /// Returns true once the work should save what it needs and end with [`Failure::interrupted`](crate::diagnostic::Failure::interrupted).
    fn interrupted(&self) -> bool {
        false
    }
}

/// Watches without a word.
pub struct Silent;

impl Monitor for Silent {}
