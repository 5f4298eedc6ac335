//! The `flow` program: see `flow::cli`.

use std::io::Write;

/// Graphs of thousands of nodes are mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ! {
    let exit = flow::cli::main();
    // Who reads the output may be gone; the exit code says what became of the work.
    let _ = std::io::stdout().flush();
    // SAFETY: `_exit` may be called at any time. What it leaves out is the allocator's tidying of memory that the kernel takes back at once.
    unsafe { libc::_exit(exit as i32) }
}
