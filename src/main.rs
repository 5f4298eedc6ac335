//! The `flow` program: see `flow::cli`.

use std::process::ExitCode;

/// Graphs of thousands of nodes are mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flow::cli::main()
}
