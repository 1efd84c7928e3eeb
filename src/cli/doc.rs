//! `weir doc`: the reference, in the terminal or as files.

use std::path::{Path, PathBuf};

use clap::Args;
use weir_dsl::nearest::nearest;

use super::{FAILED, OK, WRONG, say};
use crate::reference::{find, index, markdown, pages, plain};

pub const EXAMPLES: &str = "\
Examples:
  weir doc                    what there is
  weir doc biflow             one component
  weir doc functions          also: types, literals, aggregates, tests, diagnostics, stream-flow
  weir doc --all              every page as Markdown, into docs/reference";

#[derive(Args)]
pub struct DocArgs {
    /// A component, or one of the other pages
    #[arg(value_name = "NAME", conflicts_with = "all")]
    name: Option<String>,
    /// Write every page as Markdown into this directory
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "docs/reference")]
    all: Option<PathBuf>,
}

pub fn run(args: &DocArgs) -> u8 {
    if let Some(dir) = &args.all {
        return write(dir);
    }
    let Some(name) = &args.name else {
        let line = |page: &crate::reference::Page| format!("  {:16} {}\n", page.name, page.summary);
        return say(&pages().iter().map(line).collect::<String>());
    };
    if let Some(page) = find(name).or_else(|| find(&format!("stream-{name}"))) {
        return say(&plain(&page));
    }
    if let Some(function) = weir_spec::function::find(name) {
        let examples: String = function.examples.iter().map(|(e, r)| format!("    {e}  # {r}\n")).collect();
        return say(&format!("{}\n\n{}.\n\n{examples}", function.signature, function.summary));
    }
    if let Some(aggregate) = weir_spec::aggregate::find(name) {
        return say(&format!("{}\n\n{}, of {}.\n", aggregate.signature, aggregate.summary, aggregate.takes));
    }
    if let Some(text) = super::explain::text(name) {
        return say(&text);
    }
    if let Some(text) = column(name) {
        return say(&text);
    }
    let names: Vec<String> = pages().into_iter().map(|page| page.name).collect();
    let known = names.iter().map(String::as_str).chain(weir_spec::function::ALL.iter().map(|f| f.name));
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`weir doc` lists what there is".into(),
    };
    anstream::eprintln!("error: there is no page `{name}`; {help}");
    WRONG
}

/// What a column is, in every kind of stream that has it.
fn column(name: &str) -> Option<String> {
    let in_kind = |kind: &&weir_spec::Kind| kind.columns.iter().any(|c| c.name == name);
    let line = |kind: &weir_spec::Kind| {
        let column = kind.columns.iter().find(|c| c.name == name)?;
        Some(format!("{name}, of a {}: {}\n\n{}\n\n", kind.name, column.ty, column.meaning))
    };
    let text: String = weir_spec::kinds::ALL.iter().copied().filter(in_kind).filter_map(line).collect();
    (!text.is_empty()).then_some(text)
}

fn write(dir: &Path) -> u8 {
    let all = pages().into_iter().map(|page| (format!("{}.md", page.name), markdown(&page)));
    let written = std::fs::create_dir_all(dir).and_then(|()| {
        all.chain([("README.md".to_string(), index())])
            .try_for_each(|(name, text)| std::fs::write(dir.join(name), text))
    });
    match written {
        Ok(()) => OK,
        Err(error) => {
            anstream::eprintln!("error: cannot write `{}`: {error}", dir.display());
            FAILED
        }
    }
}
