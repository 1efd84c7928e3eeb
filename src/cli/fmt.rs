//! `weir fmt`: pipelines in the one style.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use similar::{ChangeTag, TextDiff};
use weir_dsl::{fmt, text};
use weir_sinks::terminal;

use super::{FAILED, OK, WRONG, pipeline, say};

pub const EXAMPLES: &str = "\
Examples:
  weir fmt my.weir           writes the file anew, if that changes it
  weir fmt --check pipelines/   prints what would change, and ends with 1 if anything would
  weir fmt < my.weir         from standard input to standard output";

#[derive(Args)]
pub struct FmtArgs {
    /// Pipelines, or directories of pipelines; `-`, or nothing, is standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Change nothing; print what would change
    #[arg(long)]
    check: bool,
}

pub fn run(args: &FmtArgs) -> u8 {
    let mut files = Vec::new();
    let mut code = OK;
    if args.paths.is_empty() {
        return one_file(Path::new("-"), args.check);
    }
    for path in &args.paths {
        if let Err(line) = pipeline::collect(path, &mut files) {
            anstream::eprintln!("error: {line}");
            code = WRONG;
        }
    }
    for file in &files {
        code = code.max(one_file(file, args.check));
    }
    code
}

/// Formats a file in its place, or standard input to standard output.
fn one_file(path: &Path, check: bool) -> u8 {
    let text = match pipeline::read_file(path) {
        Ok(text) => text,
        Err(line) => {
            anstream::eprintln!("error: {line}");
            return WRONG;
        }
    };
    let source = match text::decode(&text.bytes) {
        Ok(source) => source,
        Err(diagnostic) => {
            anstream::eprintln!("error: {}: {}", text.name, diagnostic.title);
            return WRONG;
        }
    };
    let formatted = fmt::format(source);
    if check {
        return differs(&text.name, source, &formatted);
    }
    if text.name == pipeline::STDIN {
        return say(&formatted);
    }
    if formatted == source {
        return OK;
    }
    match std::fs::write(path, &formatted) {
        Ok(()) => OK,
        Err(error) => {
            anstream::eprintln!("error: cannot write `{}`: {error}", text.name);
            FAILED
        }
    }
}

/// Prints what would change, as a diff.
fn differs(name: &str, before: &str, after: &str) -> u8 {
    if before == after {
        return OK;
    }
    let color = terminal::is_colored(&std::io::stdout());
    let diff = TextDiff::from_lines(before, after);
    let mut out = format!("--- {name}\n+++ {name}, formatted\n");
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out += &format!("{}\n", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, paint) = match change.tag() {
                ChangeTag::Delete => ("-", "\x1b[31m"),
                ChangeTag::Insert => ("+", "\x1b[32m"),
                ChangeTag::Equal => (" ", ""),
            };
            let (paint, plain) = if color && !paint.is_empty() { (paint, "\x1b[0m") } else { ("", "") };
            out += &format!("{paint}{sign}{}{plain}\n", change.value().trim_end_matches('\n'));
        }
    }
    // A reader that has gone away needs no diff.
    let _ = std::io::stdout().write_all(out.as_bytes());
    FAILED
}
