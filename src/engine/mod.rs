//! Plan and run.
