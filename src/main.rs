//! The `flow` program.
fn main() {}
