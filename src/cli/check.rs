//! `weir check`: everything that is wrong, at once.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{FAILED, Format, FormatArgs, OK, WRONG, fix, pipeline};

pub const EXAMPLES: &str = "\
Examples:
  weir check pipelines/*.weir
  weir check --format json my.weir     one object a line, for tools
  weir check --fix my.weir             writes what the messages say to write instead";

#[derive(Args)]
pub struct CheckArgs {
    /// Pipelines to check; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The value of a param; may be given more than once
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::name_value)]
    params: Vec<(String, String)>,
    /// Write into the files what the messages say to write instead, and report what is left
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn run(args: &CheckArgs) -> u8 {
    let params: BTreeMap<String, String> = args.params.iter().cloned().collect();
    let mut out = std::io::stdout();
    let terminal = out.is_terminal();
    let mut code = OK;
    let mut said = 0;
    for file in &args.files {
        let mut text = match pipeline::read_file(file) {
            Ok(text) => text,
            Err(line) => {
                anstream::eprintln!("error: {line}");
                code = WRONG;
                continue;
            }
        };
        if args.fix && !mend(file, &mut text, &params) {
            code = code.max(FAILED);
        }
        let checked = pipeline::check(&text, &params);
        said += checked.diagnostics.len();
        if pipeline::report(&checked, &args.format, &mut out) {
            code = WRONG;
        }
    }
    if code == OK && said == 0 && args.format.format == Format::Human && terminal {
        let _ = writeln!(out, "{} checked, nothing to say", args.files.len());
    }
    code
}

/// Mends a file; `false` if it could not be written.
fn mend(file: &Path, text: &mut pipeline::Text, params: &BTreeMap<String, String>) -> bool {
    let fixed = fix::fix(text, params);
    if file == Path::new("-") {
        anstream::eprintln!("error: `--fix` writes into files, and standard input is none");
        return false;
    }
    if fixed == 0 {
        return true;
    }
    match std::fs::write(file, &text.bytes) {
        Ok(()) => {
            anstream::eprintln!("fixed {fixed} in {}", text.name);
            true
        }
        Err(error) => {
            anstream::eprintln!("error: cannot write `{}`: {error}", text.name);
            false
        }
    }
}
