//! Leaves out what follows from a mistake of syntax: one mistake is one message.
//!
//! Where the parser could not read on, what was checked of the same stage on the same line rests on a
//! guess; an unclosed bracket makes a guess of all that it holds. Everything else is still reported.

use std::ops::RangeInclusive;

use weir_spec::{Diagnostic, Severity};

use crate::codes;
use crate::lex::{Kind, Token, lex};

/// The diagnostics, in file order, without those that follow from another.
pub fn leave_out(source: &str, mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if !diagnostics.iter().any(stops_the_parser) {
        return diagnostics;
    }
    let is_bar = |t: &Token| t.kind == Kind::Operator && t.text(source) == "|";
    let bars: Vec<usize> = lex(source).iter().filter(|t| is_bar(t)).map(|t| t.span.start).collect();
    // In the order of where each begins: an open bracket is a cause from its opening on.
    let mut hard: Vec<(usize, &Diagnostic)> =
        diagnostics.iter().filter(|d| stops_the_parser(d)).map(|d| (*reach(d).start(), d)).collect();
    hard.sort_by_key(|(from, _)| *from);
    let mut guessed: Vec<Guess> = Vec::new();
    for (from, hard) in hard {
        if !guessed.iter().any(|guess| guess.range.contains(&from)) {
            guessed.push(Guess { from, cause: hard.span().start, range: guess(source, &bars, hard) });
        }
    }
    diagnostics.retain(|d| {
        let at = d.span().start;
        let follows = |guess: &Guess| {
            // A spelling from another language before it was read as meant.
            let before = at <= guess.from && is_syntax(d) && !stops_the_parser(d);
            guess.range.contains(&at) && !before
        };
        let is_cause = stops_the_parser(d) && guessed.iter().any(|guess| guess.cause == at);
        d.severity() != Severity::Error || is_cause || !guessed.iter().any(follows)
    });
    diagnostics
}

/// What one mistake makes a guess of.
struct Guess {
    from: usize,
    /// Where its message stands.
    cause: usize,
    range: RangeInclusive<usize>,
}

/// From the first to the last place that a message is about, for those that are about a stretch.
fn reach(hard: &Diagnostic) -> RangeInclusive<usize> {
    let at = hard.span().start;
    if ![codes::UNCLOSED, codes::SYNTAX].contains(&hard.code) {
        return at..=at;
    }
    let places = hard.labels.iter().map(|label| label.span.start);
    places.clone().min().unwrap_or(at)..=places.max().unwrap_or(at)
}

fn is_syntax(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.0.starts_with("E01")
}

fn stops_the_parser(diagnostic: &Diagnostic) -> bool {
    [codes::SYNTAX, codes::UNCLOSED, codes::STRAY_CLOSER, codes::OPEN_STRING].contains(&diagnostic.code)
}

/// The bytes whose meaning is a guess: the stage on that line, and what an open bracket holds.
fn guess(source: &str, bars: &[usize], hard: &Diagnostic) -> RangeInclusive<usize> {
    let (from, to) = (*reach(hard).start(), *reach(hard).end());
    let line_start = source[..from].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[to..].find('\n').map_or(source.len(), |at| to + at);
    let before = bars.partition_point(|bar| *bar < from);
    let after = bars.partition_point(|bar| *bar < to);
    let start = before.checked_sub(1).map_or(0, |at| bars[at]).max(line_start);
    let end = bars.get(after).copied().unwrap_or(source.len()).min(line_end);
    start..=end
}
