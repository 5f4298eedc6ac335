//! The command line: help, man page and completions come from these definitions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::exit::{Exit, Stop};
use super::values::{device, level, size};
use crate::kernel::{Level, choose};
use crate::pipeline::Setting;
use crate::stage::Device;

/// Declarative, cached pipelines for label-efficient medical image classification.
///
/// A pipeline is a RON file that describes a graph of nodes. Every node's result is kept under a hash of what decides it,
/// so only what changed runs again.
#[derive(Parser)]
#[command(name = "flow", version, max_term_width = 120)]
struct Arguments {
    /// Compute with these instructions: avx512, or amx for large products (`flow bench` says which is faster here)
    #[arg(long, global = true, value_name = "NAME", env = "FLOW_INSTRUCTIONS", value_parser = level)]
    instructions: Option<Level>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring nodes up to date: run what changed, reuse the rest
    Run(RunArguments),
    /// Say what would run and why; run nothing
    Plan(PlanArguments),
    /// Show a node's key, component by component, against its last run
    Why(WhyArguments),
    /// Read and type-check a pipeline; touch no data
    Check(PipelineArguments),
    /// Print the graph
    Graph(GraphArguments),
    /// Look at a folder of pictures, say what it holds, and write a pipeline that runs on it
    Init(super::init::InitArguments),
    /// Write the pipeline's lock file: every node's key and results as they are now
    Lock(LockArguments),
    /// Hold the lock file against pipeline, files and results
    Verify(VerifyArguments),
    /// Compare the variants of a pipeline's matrix: figures, and differences to the first variant
    Table(TableArguments),
    /// Copy a node's outputs to a folder as plain files (a model as safetensors with timm's names), or print how they came about
    Export(ExportArguments),
    /// Look after the cache: what it holds, what may go, whether it is sound
    #[command(subcommand)]
    Cache(CacheCommand),
    /// List the runs that ran something, the latest last
    Runs(RunsArguments),
    /// Say what differs between two runs: nodes, parameters, inputs, figures
    Diff(DiffArguments),
    /// Measure this machine: one line of JSON
    #[command(subcommand)]
    Bench(super::bench::BenchCommand),
}

/// Which pipeline, and what to change in it.
#[derive(Args)]
pub(super) struct PipelineArguments {
    /// The pipeline file (RON)
    pub pipeline: PathBuf,
    /// Change a parameter for this call: NODE.PARAMETER=VALUE in RON, or seed=N; a list of values makes variants
    #[arg(long, value_name = "NODE.PATH=RON")]
    pub set: Vec<Setting>,
}

/// Where results are kept.
#[derive(Args)]
pub(super) struct CacheArguments {
    /// The folder that keeps results
    #[arg(long, value_name = "DIR", env = "FLOW_CACHE", default_value = "cache")]
    pub cache: PathBuf,
    /// What `$FLOW_DATA` in a pipeline's paths stands for
    #[arg(long, value_name = "DIR", env = "FLOW_DATA", hide = true)]
    pub data: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The nodes to bring up to date [default: all]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// How many nodes may run side by side [default: the number of cores]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
    /// Run this node even if its result is known
    #[arg(long, value_name = "NODE")]
    pub force: Vec<String>,
    /// After a failure, still start the nodes that do not need the failed one; `false` starts nothing more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub keep_going: bool,
    /// Say what would run and why; run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Run nothing where the pipeline or its files are not what its lock file says
    #[arg(long)]
    pub locked: bool,
    /// Where to compute: auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: Device,
    /// The numbers of the GPUs that nodes may hold, one node each [default: the device's own, or all of the machine]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub gpus: Option<Vec<usize>>,
    /// Write one JSON object per event to a file, or to standard output with `-`
    #[arg(long, value_name = "FILE|-")]
    pub events: Option<String>,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The nodes to bring up to date [default: all]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Plan as if this node's result were not known
    #[arg(long, value_name = "NODE")]
    pub force: Vec<String>,
}

#[derive(Args)]
pub(super) struct WhyArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The node to explain
    pub node: String,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Args)]
pub(super) struct GraphArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[arg(long, value_enum, default_value = "dot")]
    pub format: super::graph::Format,
}

#[derive(Args)]
pub(super) struct LockArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Pipeline and files still give the locked keys (the default); needs no results
    #[arg(long, conflicts_with_all = ["have", "contents", "rebuild"])]
    pub keys: bool,
    /// Besides, the locked results are in the cache
    #[arg(long, conflicts_with_all = ["contents", "rebuild"])]
    pub have: bool,
    /// Besides, every byte of them is what its digest says
    #[arg(long, conflicts_with = "rebuild")]
    pub contents: bool,
    /// Run the nodes again in a store of their own and compare: bytes, or every figure within its locked tolerance
    #[arg(long)]
    pub rebuild: bool,
    /// Run only so many of them again, chosen at random
    #[arg(long, value_name = "K", requires = "rebuild")]
    pub sample: Option<usize>,
}

#[derive(Args)]
pub(super) struct TableArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Only figures in whose name (`sweep features.SVM.10`) this text stands
    #[arg(long, value_name = "TEXT")]
    pub metric: Vec<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: super::table::Format,
}

#[derive(Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The node whose result is wanted
    pub node: String,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// How the outputs came about, as an in-toto statement with SLSA provenance (JSON), instead of the outputs
    #[arg(long)]
    pub provenance: bool,
    /// The folder for the outputs, or the file for the statement [default for the statement: standard output]
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(super) enum CacheCommand {
    /// Bytes by pipeline and node, and what it took to make them
    Du(CacheArguments),
    /// Remove results that nothing keeps: no lock file, no pin, no recent run; only says what would go, unless told to delete
    Gc(GcArguments),
    /// Keep the results of a run, whatever `gc` is told, until they are unpinned
    Pin(PinArguments),
    /// Take pins away
    Unpin(UnpinArguments),
    /// List the pins
    Pins(CacheArguments),
    /// Look at every object and entry, and forget what is damaged so that it is made again
    Check(CacheCheckArguments),
}

#[derive(Args)]
pub(super) struct GcArguments {
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Results of so many latest runs are kept, besides those of pins and of every lock file that this cache has seen
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub keep_runs: usize,
    /// A lock file whose results are kept from now on; `flow lock`, `verify` and `run --locked` add theirs by themselves
    #[arg(long, value_name = "FILE")]
    pub root: Vec<PathBuf>,
    /// Remove only as much as must go for the rest to fit, the cheapest to make again per byte first: 500M, 20G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Really remove it
    #[arg(long)]
    pub delete: bool,
}

#[derive(Args)]
pub(super) struct PinArguments {
    /// What to call the pin: `paper`, `v1`
    pub name: String,
    /// The run: the first letters of its id, or `last`, `last-1`, `last-2`
    #[arg(default_value = "last")]
    pub run: String,
    /// Only the results of this node and of all it was made from
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Args)]
pub(super) struct UnpinArguments {
    /// The pins to take away
    #[arg(required = true)]
    pub name: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Args)]
pub(super) struct CacheCheckArguments {
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Hash every byte again, instead of trusting files whose stat did not change
    #[arg(long)]
    pub contents: bool,
}

#[derive(Args)]
pub(super) struct RunsArguments {
    /// Only those of the pipeline of this name
    #[arg(value_name = "NAME")]
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Args)]
pub(super) struct DiffArguments {
    /// The earlier run: the first letters of its id, or `last`, `last-1`, `last-2`
    #[arg(default_value = "last-1")]
    pub a: String,
    /// The later run
    #[arg(default_value = "last")]
    pub b: String,
    #[command(flatten)]
    pub cache: CacheArguments,
}

/// Runs the program and returns how it ends.
pub fn main() -> Exit {
    let Arguments { instructions, command } = Arguments::parse();
    let chosen = instructions.map_or(Ok(()), choose).map_err(|found| {
        Stop::wrong(format!("this machine has not the instructions that `--instructions` names: the widest that it has are {found:?}\nhelp: leave the option out"))
    });
    let result = chosen.and_then(|()| obey(command));
    result.unwrap_or_else(|Stop { exit, words }| {
        super::console::complain(&words);
        exit
    })
}

fn obey(command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Run(arguments) => super::run::run(&arguments),
        Command::Plan(arguments) => super::plan::plan(&arguments),
        Command::Why(arguments) => super::why::why(&arguments),
        Command::Check(arguments) => super::check::check(&arguments),
        Command::Graph(arguments) => super::graph::graph(&arguments),
        Command::Init(arguments) => super::init::init(&arguments),
        Command::Lock(arguments) => super::lock::lock(&arguments.pipeline, &arguments.cache),
        Command::Verify(arguments) => super::verify::verify(&arguments),
        Command::Table(arguments) => super::table::table(&arguments),
        Command::Export(arguments) => super::export::export(&arguments),
        Command::Cache(command) => super::cache::cache(&command),
        Command::Runs(arguments) => super::runs::runs(&arguments),
        Command::Diff(arguments) => super::diff::diff(&arguments),
        Command::Bench(command) => super::bench::bench(&command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
