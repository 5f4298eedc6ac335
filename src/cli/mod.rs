//! The doors: one file per command. The only room that prints or reads the environment.

mod arguments;
mod bench;
mod bench_augment;
mod bench_decode;
mod bench_sweep;
mod cache;
mod check;
mod console;
mod diff;
mod events;
mod exit;
mod export;
mod graph;
mod init;
mod lock;
mod open;
mod pins;
mod plan;
mod rebuild;
mod run;
mod runs;
mod table;
mod values;
mod verify;
mod why;

pub use arguments::main;
pub use exit::Exit;
