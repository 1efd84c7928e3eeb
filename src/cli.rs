//! The command line: one file a verb.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 all is well, 1 the run failed or
//! left something undelivered, 2 the command line or the pipeline is wrong and nothing was started.

pub mod bench;
pub mod check;
pub mod doc;
pub mod doctor;
pub mod explain;
pub mod fix;
pub mod fmt;
pub mod graph;
pub mod health;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod run;
pub mod shell;
pub mod test;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub const OK: u8 = 0;
pub const FAILED: u8 = 1;
pub const WRONG: u8 = 2;

const ABOUT: &str = "Measures what hosts emit, joins it, windows it, and delivers it without losing count.";

const EXAMPLES: &str = "\
Try these:
  weir run pipelines/quickstart.weir
  weir run -e 'pcap(\"capture.pcap\") | biflow | top(10, by: sent_bytes) | stdout'
  weir check my.weir        all mistakes at once, each with a way out
  weir plan my.weir         tasks, queues, memory, files: before anything starts

A pipeline is text, read from left to right: a source, stages after `|`, a sink.
Exit codes: 0 all is well, 1 the run failed or lost something, 2 nothing was started.";

#[derive(Parser)]
#[command(name = "weir", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a pipeline to the end of its inputs, or until stopped
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Say everything that is wrong with pipelines, without running them
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// The reference: components, streams, types, functions
    #[command(after_help = doc::EXAMPLES)]
    Doc(doc::DocArgs),
    /// Say what this host can do, what it cannot, and what would change that
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Measure what weir costs on this host
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
    /// Say what a diagnostic means, with a pipeline that has it and one that does not
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Write pipelines in the one style
    #[command(after_help = fmt::EXAMPLES)]
    Fmt(fmt::FmtArgs),
    /// Run the test blocks of pipelines, in virtual time
    #[command(after_help = test::EXAMPLES)]
    Test(test::TestArgs),
    /// Draw the graph of a pipeline
    #[command(after_help = graph::EXAMPLES)]
    Graph(graph::GraphArgs),
    /// Write a commented pipeline to begin with
    Init(shell::InitArgs),
    /// Print what a shell needs to complete commands
    Completions(shell::CompletionsArgs),
    /// Print the man page
    Man,
    /// Print what a pipeline becomes: tasks, queues, types, memory, files
    Plan(plan::PlanArgs),
}

/// Where a pipeline comes from.
#[derive(Args)]
pub struct PipelineArgs {
    /// The pipeline's file; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "expression")]
    pub file: Option<PathBuf>,
    /// The pipeline itself, as text
    #[arg(short = 'e', long = "expression", value_name = "PIPELINE", conflicts_with = "file")]
    pub expression: Option<String>,
    /// The value of a param; may be given more than once
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_value)]
    pub params: Vec<(String, String)>,
    #[command(flatten)]
    pub format: FormatArgs,
}

impl PipelineArgs {
    pub fn params(&self) -> BTreeMap<String, String> {
        self.params.iter().cloned().collect()
    }
}

#[derive(Args)]
pub struct FormatArgs {
    /// How mistakes are written
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
    /// Treat warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With the lines they are about
    Human,
    /// One line each
    Short,
    /// One JSON object a line
    Json,
    /// Annotations of GitHub Actions
    Github,
}

/// Writes a result on standard output; the exit code says whether it arrived.
pub fn say(text: &str) -> u8 {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => OK,
        // A reader that has gone away has what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => OK,
        Err(error) => {
            anstream::eprintln!("error: cannot write to standard output: {error}");
            FAILED
        }
    }
}

fn name_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.verb {
        None => {
            anstream::println!("weir {}\n{ABOUT}\n\n{EXAMPLES}", env!("CARGO_PKG_VERSION"));
            OK
        }
        Some(Verb::Run(args)) => run::run(&args),
        Some(Verb::Check(args)) => check::run(&args),
        Some(Verb::Doc(args)) => doc::run(&args),
        Some(Verb::Bench(args)) => bench::run(&args),
        Some(Verb::Doctor(args)) => doctor::run(&args),
        Some(Verb::Explain(args)) => explain::run(&args),
        Some(Verb::Fmt(args)) => fmt::run(&args),
        Some(Verb::Graph(args)) => graph::run(&args),
        Some(Verb::Init(args)) => shell::init(&args),
        Some(Verb::Completions(args)) => shell::completions(&args),
        Some(Verb::Man) => shell::man(),
        Some(Verb::Test(args)) => test::run(&args),
        Some(Verb::Plan(args)) => plan::run(&args),
    };
    ExitCode::from(code)
}
