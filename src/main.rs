//! `weir`: measures what hosts emit, joins it, windows it, and delivers it without losing count.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::main()
}
