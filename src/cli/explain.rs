//! `weir explain`: what a diagnostic means, with a pipeline that has it and one that does not.

use clap::Args;
use weir_dsl::{codes, explain, nearest};

use super::{WRONG, say};

pub const EXAMPLES: &str = "\
Examples:
  weir explain E0303
  weir explain            every code in one line";

#[derive(Args)]
pub struct ExplainArgs {
    /// A code, as a message shows it
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

pub fn run(args: &ExplainArgs) -> u8 {
    let Some(code) = &args.code else {
        return say(&codes::ALL.iter().map(|(code, meaning)| format!("{}  {meaning}\n", code.0)).collect::<String>());
    };
    match text(code) {
        Some(text) => say(&text),
        None => {
            let known = codes::ALL.iter().map(|(c, _)| c.0);
            let help = match nearest::nearest(&code.to_uppercase(), known) {
                Some(near) => format!("did you mean {near}?"),
                None => "`weir explain` lists them".into(),
            };
            anstream::eprintln!("error: there is no diagnostic {code:?}; {help}");
            WRONG
        }
    }
}

/// The explanation of a code, as the terminal shows it.
pub fn text(code: &str) -> Option<String> {
    let (code, meaning, explanation) = explain::find(code)?;
    let mut text = format!("{}: {meaning}\n\n{}\n", code.0, wrap(explanation.text));
    for (title, pipeline) in [("This has it", explanation.wrong), ("This does not", explanation.right)] {
        if !pipeline.is_empty() {
            let shown: String = pipeline.lines().map(|line| format!("    {}\n", shorten(line))).collect();
            text += &format!("\n{title}:\n\n{shown}");
        }
    }
    Some(text)
}

/// Longest line of an example that is shown whole.
const LINE_CHARS_MAX: usize = 160;

fn shorten(line: &str) -> String {
    let line = line.replace('\0', "␀");
    match line.chars().count() > LINE_CHARS_MAX {
        true => line.chars().take(LINE_CHARS_MAX).chain(['…']).collect(),
        false => line,
    }
}

/// Lines of at most 80 columns.
pub fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() >= 80 {
            lines.push(word.to_string());
            continue;
        }
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last] += word;
    }
    lines.join("\n")
}
