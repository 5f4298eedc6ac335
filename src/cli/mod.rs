//! The doors: one file per command. The only room that prints or reads the environment.

mod arguments;
mod check;
mod console;
mod events;
mod exit;
mod graph;
mod open;
mod plan;
mod run;
mod why;

pub use arguments::main;
