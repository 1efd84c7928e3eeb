//! `weir run`: a pipeline, to the end of its inputs or until stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_core::graph::{Handle, Setup};
use weir_core::{Clock, Fault, Graph, Report};
use weir_sinks::terminal;
use weir_spec::Plan;
use weir_spec::component::Need;
use weir_spec::plan::Node;

use super::pipeline::STDIN;
use super::{FAILED, OK, PipelineArgs, WRONG, health, pipeline, progress};
use crate::admin;
use crate::components::ENTRIES;

pub const EXAMPLES: &str = "\
Examples:
  weir run pipelines/quickstart.weir
  weir run -e 'pcap(\"capture.pcap\") | biflow | stdout(ndjson)'
  weir run my.weir --param brokers=kafka:9092 --ledger ledger.json

The first Ctrl-C stops the sources and drains what is under way, the second one ends at once.";

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write where every row went, as JSON, when the run ends
    #[arg(long, value_name = "PATH")]
    ledger: Option<PathBuf>,
}

pub fn run(args: &RunArgs) -> u8 {
    let Some((text, checked)) = pipeline::load(&args.pipeline) else { return WRONG };
    if !checked.missing_params.is_empty() {
        for name in &checked.missing_params {
            anstream::eprintln!("error: the param `{name}` has no value: give it with --param {name}=…");
        }
        return WRONG;
    }
    if text.name == STDIN && checked.plan.as_ref().is_some_and(reads_stdin) {
        anstream::eprintln!("error: the pipeline itself comes from standard input, so no source can read it");
        return WRONG;
    }
    let Some(plan) = checked.plan.filter(|plan| checked.runs && !plan.nodes.is_empty()) else {
        let why = match checked.runs {
            true => "every pipe that ends in a sink has a `where` that is never true",
            false => "no pipe ends in a sink",
        };
        anstream::eprintln!("error: `{}` has nothing to run: {why}", text.name);
        return WRONG;
    };
    let setup = Setup { table: &ENTRIES, places: &text.places, clock: Clock::Real, stand_ins: None };
    execute(&plan, &setup, args.ledger.as_deref())
}

/// Whether a source reads standard input.
fn reads_stdin(plan: &Plan) -> bool {
    plan.nodes.iter().flat_map(Node::needs).any(|need| need == Need::StandardInput)
}

fn execute(plan: &Plan, setup: &Setup, ledger: Option<&Path>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let code = runtime.block_on(async {
        // Before anything is bound, which is taken away at the end.
        let ends = match Ends::new() {
            Ok(ends) => ends,
            Err(error) => {
                anstream::eprintln!("error: cannot watch for signals: {error}");
                return FAILED;
            }
        };
        let graph = match Graph::build(plan, setup) {
            Ok(graph) => graph,
            Err(faults) => {
                tell(&faults);
                return FAILED;
            }
        };
        let admin = plan.settings.admin.map(|address| admin::serve(address, plan, &graph.handle())).transpose();
        let _admin = match admin {
            Ok(admin) => admin,
            Err(fault) => {
                tell(&[fault]);
                return FAILED;
            }
        };
        finish(supervise(graph, ends).await, ledger)
    });
    // A read of standard input that never returns must not hold the end up.
    runtime.shutdown_background();
    code
}

/// Runs the graph with a progress line, says how its sinks fare, and passes signals on.
async fn supervise(graph: Graph, ends: Ends) -> Report {
    let handle = graph.handle();
    let signals = tokio::spawn(signals(ends, handle.clone()));
    let drawn = tokio::spawn(progress::draw(handle.clone()));
    let mut news = health::News::default();
    let report = tokio::select! {
        report = graph.run() => report,
        never = news.watch(&handle) => match never {},
    };
    news.tell(&report.ledger);
    drawn.abort();
    let _ = drawn.await;
    signals.abort();
    terminal::clear();
    report
}

/// Signals that follow the first one so soon are the same wish: `timeout` sends two, a shell to a whole group.
const SAME_WISH: Duration = Duration::from_millis(500);

async fn signals(mut ends: Ends, handle: Handle) {
    ends.asked().await;
    handle.stop.stop();
    let until = tokio::time::Instant::now() + SAME_WISH;
    while tokio::time::timeout_at(until, ends.asked()).await.is_ok() {}
    ends.asked().await;
    terminal::tell("stopped at once; what was under way is lost");
    std::process::exit(i32::from(FAILED));
}

/// The signals that ask for an end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// A terminal that is closed; absent where whoever started us wants it ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Ends {
    fn new() -> std::io::Result<Ends> {
        let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Ends { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn asked(&mut self) {
        let Ends { interrupt, terminate, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
    }
}

/// Whether the first bit, of SIGHUP, is among the ignored ones of `/proc/self/status`.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn tell(faults: &[Fault]) {
    for fault in faults {
        anstream::eprintln!("error: {fault}");
        if let Some(help) = &fault.help {
            anstream::eprintln!("  help: {help}");
        }
    }
}

fn finish(report: Report, path: Option<&Path>) -> u8 {
    tell(&report.faults);
    for component in &report.ledger.components {
        if let Some(n) = component.dropped.get("unread_rejected") {
            let name = &component.name;
            anstream::eprintln!("warning: {n} rows of `{name}` were rejected, and nobody reads `.rejected`");
        }
    }
    let mut code = if report.faults.is_empty() { OK } else { FAILED };
    let undelivered = report.ledger.undelivered();
    if !undelivered.is_empty() {
        let rows: u64 = undelivered.iter().map(|(rows, _)| rows).sum();
        let each: Vec<String> = undelivered.iter().map(|(rows, place)| format!("{rows} {place}")).collect();
        anstream::eprintln!("error: {rows} rows were not delivered: {}", each.join(", "));
        code = FAILED;
    }
    if !report.ledger.balanced {
        anstream::eprintln!("error: the ledger does not balance: please report this with --ledger's file");
        code = FAILED;
    }
    if let Some(path) = path {
        let text = serde_json::to_string_pretty(&report.ledger).unwrap_or_default();
        if let Err(error) = std::fs::write(path, text + "\n") {
            anstream::eprintln!("error: cannot write the ledger to `{}`: {error}", path.display());
            code = FAILED;
        }
    }
    code
}
