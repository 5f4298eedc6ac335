//! The `flow` program: see `flow::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flow::cli::main()
}
