//! `weir test`: the test blocks of pipelines, in virtual time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use weir_dsl::text::Lines;
use weir_dsl::{Checked, codes, json as diagnostics};
use weir_sinks::terminal;
use weir_spec::Diagnostic;
use weir_spec::testing::TestCase;

use super::{FAILED, Format, FormatArgs, OK, WRONG, pipeline};
use crate::testing::{Failure, missing_fixtures, run as run_test};

pub const EXAMPLES: &str = "\
Examples:
  weir test pipelines/                     every test of every pipeline in a directory
  weir test my.weir --filter late          only tests with `late` in their name

A test stands in the pipeline's file:
  test \"two rows are one window\" {
    feed flows with rows [ { end: \"2026-01-01T00:00:10Z\", sent_bytes: 10KiB } ]
    advance 6m
    expect talkers count == 1
  }";

#[derive(Args)]
pub struct TestArgs {
    /// Pipelines, or directories of pipelines
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only tests that have this in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    left_out: usize,
    wrong: bool,
}

pub fn run(args: &TestArgs) -> u8 {
    let mut tally = Tally::default();
    let mut files = Vec::new();
    for path in &args.paths {
        if let Err(line) = pipeline::collect(path, &mut files) {
            anstream::eprintln!("error: {line}");
            tally.wrong = true;
        }
    }
    for file in &files {
        one_file(file, args, &mut tally);
    }
    if args.format.format == Format::Human && !tally.wrong {
        let left_out = if tally.left_out > 0 { format!(", {} left out", tally.left_out) } else { String::new() };
        say(&format!("{} passed, {} failed{left_out}", tally.passed, tally.failed));
    }
    if let (Some(filter), 0, false) = (&args.filter, tally.passed + tally.failed, tally.wrong) {
        anstream::eprintln!("error: no test has `{filter}` in its name");
        return WRONG;
    }
    match (tally.wrong, tally.failed) {
        (true, _) => WRONG,
        (false, 0) => OK,
        (false, _) => FAILED,
    }
}

fn one_file(path: &Path, args: &TestArgs, tally: &mut Tally) {
    let text = match pipeline::read_file(path) {
        Ok(text) => text,
        Err(line) => {
            anstream::eprintln!("error: {line}");
            tally.wrong = true;
            return;
        }
    };
    let mut checked = pipeline::check(&text, &BTreeMap::new());
    let chosen = |case: &TestCase| args.filter.as_ref().is_none_or(|f| case.name.contains(f.as_str()));
    for case in checked.tests.iter().filter(|case| chosen(case)) {
        for (span, path) in missing_fixtures(case, &text.places) {
            let d = Diagnostic::new(codes::BAD_TEST, span, format!("the fixture `{path}` is not there"));
            checked.diagnostics.push(d.help("paths are relative to the file of the pipeline"));
        }
    }
    if pipeline::report_aside(&checked, &args.format) {
        tally.wrong = true;
        return;
    }
    let human = args.format.format == Format::Human;
    if human && checked.tests.iter().any(chosen) {
        say(&text.name);
    }
    tally.left_out += checked.tests.iter().filter(|case| !chosen(case)).count();
    for case in checked.tests.iter().filter(|case| chosen(case)) {
        let outcome = run_test(case, &text.places);
        tally.passed += usize::from(outcome.failure.is_none());
        tally.failed += usize::from(outcome.failure.is_some());
        let millis = outcome.took.as_secs_f64() * 1e3;
        match args.format.format {
            Format::Json => say(&object(&checked, case, outcome.failure.as_ref(), millis)),
            Format::Human => human_line(&checked, case, outcome.failure.as_ref(), millis),
            format => outcome.failure.iter().for_each(|failure| say(&shown(&checked, failure, format))),
        }
    }
}

fn human_line(checked: &Checked, case: &TestCase, failure: Option<&Failure>, millis: f64) {
    let Some(failure) = failure else {
        return say(&format!("  ok    {}  {millis:.0} ms", case.name));
    };
    say(&format!("  FAIL  {}  {millis:.0} ms\n", case.name));
    say(&shown(checked, failure, Format::Human));
    if !failure.seen.is_empty() {
        say(&format!("\n{}", failure.seen.lines().map(|l| format!("  {l}\n")).collect::<String>()));
    }
}

fn shown(checked: &Checked, failure: &Failure, format: Format) -> String {
    let lines = Lines::new(checked.sources.text());
    let diagnostic = Diagnostic::new(codes::EXPECTATION, failure.span, failure.title.as_str());
    pipeline::shown(checked, &lines, &diagnostic, format, terminal::is_colored(&std::io::stdout()))
}

fn object(checked: &Checked, case: &TestCase, failure: Option<&Failure>, millis: f64) -> String {
    let sources = &checked.sources;
    let lines = Lines::new(sources.text());
    let place = |span| diagnostics::position(sources, &lines, span).0;
    let (line, column) = place(failure.map_or(case.span, |f| f.span));
    json!({
        "file": sources.file(case.span.start).name,
        "test": case.name,
        "outcome": if failure.is_some() { "failed" } else { "passed" },
        "line": line,
        "column": column,
        "millis": (millis * 1e3).round() / 1e3,
        "title": failure.map(|f| &f.title),
        "seen": failure.map(|f| &f.seen),
    })
    .to_string()
}

fn say(line: &str) {
    // A reader that has gone away needs no results.
    let _ = writeln!(anstream::stdout(), "{line}");
}
