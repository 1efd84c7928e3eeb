//! What a shell wants: completions, a man page, a first pipeline.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, FAILED, OK, WRONG, say};

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shells,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shells {
    Bash,
    Zsh,
    Fish,
}

pub fn completions(args: &CompletionsArgs) -> u8 {
    let shell = match args.shell {
        Shells::Bash => Shell::Bash,
        Shells::Zsh => Shell::Zsh,
        Shells::Fish => Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut out);
    say(&String::from_utf8_lossy(&out))
}

/// The man page of the program, with one section for each verb.
pub fn man() -> u8 {
    let mut command = Cli::command();
    command.build();
    let mut out = Vec::new();
    let mut render = || -> std::io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(&mut out)?;
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let title = format!("weir-{}", verb.get_name());
            clap_mangen::Man::new(verb.clone()).title(title).render(&mut out)?;
        }
        Ok(())
    };
    match render() {
        Ok(()) => say(&String::from_utf8_lossy(&out)),
        Err(_) => FAILED,
    }
}

#[derive(Args)]
pub struct InitArgs {
    /// What the pipeline begins with
    #[arg(value_enum)]
    from: Template,
    /// Where to write it
    #[arg(value_name = "FILE", default_value = "my.weir")]
    path: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Template {
    /// A capture of packets
    Pcap,
    /// JSON objects, one a line
    Ndjson,
    /// Metrics of services that speak DogStatsD or StatsD
    Dogstatsd,
}

pub fn init(args: &InitArgs) -> u8 {
    let text = match args.from {
        Template::Pcap => PCAP,
        Template::Ndjson => NDJSON,
        Template::Dogstatsd => DOGSTATSD,
    };
    match write_new(&args.path, text) {
        Ok(()) => {
            anstream::eprintln!("wrote {0}: try `weir check {0}`, then `weir test {0}`", args.path.display());
            OK
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            anstream::eprintln!("error: `{}` is there already; name another file", args.path.display());
            WRONG
        }
        Err(error) => {
            anstream::eprintln!("error: cannot write `{}`: {error}", args.path.display());
            FAILED
        }
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// Commented pipelines that check, in the one style.
pub const PCAP: &str = include_str!("init/pcap.weir");
pub const NDJSON: &str = include_str!("init/ndjson.weir");
pub const DOGSTATSD: &str = include_str!("init/dogstatsd.weir");
