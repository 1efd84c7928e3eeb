//! Where each bracket ends, found before parsing.
//!
//! So a missing bracket costs one error at its place and cannot swallow what follows: an unclosed
//! one ends at the next definition, at a `|` inside `(` or `[`, or at the next name in column 1.

use weir_spec::{Diagnostic, Span};

use crate::codes;
use crate::lex::{Kind, Token};

/// For each token that opens a bracket, where its content ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// The closing token.
    Closed(usize),
    /// The first token that is no longer inside.
    Cut(usize),
}

pub struct Brackets {
    /// By token; `None` for what opens nothing.
    pub ends: Vec<Option<End>>,
    /// Closing tokens that close nothing.
    pub stray: Vec<bool>,
    pub diagnostics: Vec<Diagnostic>,
}

struct Scan<'a> {
    source: &'a str,
    tokens: &'a [Token],
    open: Vec<usize>,
    result: Brackets,
    too_deep: bool,
    eager: bool,
}

/// Matches the brackets of significant tokens.
pub fn scan(source: &str, tokens: &[Token]) -> Brackets {
    let first = scan_once(source, tokens, false);
    match first.diagnostics.iter().any(|d| d.code == codes::UNCLOSED) {
        true => scan_once(source, tokens, true),
        false => first,
    }
}

/// With `eager`, an open bracket ends at every name in column 1: something is not closed, and what
/// is indented is what belongs together.
fn scan_once(source: &str, tokens: &[Token], eager: bool) -> Brackets {
    let result = Brackets { ends: vec![None; tokens.len()], stray: vec![false; tokens.len()], diagnostics: Vec::new() };
    let mut scan = Scan { source, tokens, open: Vec::new(), result, too_deep: false, eager };
    for at in 0..tokens.len() {
        scan.token(at);
    }
    while let Some(open) = scan.open.pop() {
        scan.unclosed(open, tokens.len());
    }
    scan.result
}

/// Whether a token can follow a keyword.
type Follows = fn(Token, &str) -> bool;

/// Words that begin a definition, each with what has to follow it.
const BEGINS: &[(&str, Follows)] = &[
    ("let", |t, _| t.kind == Kind::Name),
    ("param", |t, _| t.kind == Kind::Name),
    ("pipe", |t, _| t.kind == Kind::Name),
    ("settings", |_, text| text == "("),
    ("test", |t, _| matches!(t.kind, Kind::String | Kind::OpenString)),
    ("use", |t, _| matches!(t.kind, Kind::String | Kind::OpenString)),
];

impl Scan<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| t.text(self.source))
    }

    fn is_column_one(&self, at: usize) -> bool {
        let start = self.tokens[at].span.start;
        start == 0 || self.source[..start].ends_with(['\n', '\u{feff}'])
    }

    /// Whether a definition begins here, so that no bracket from before can still be open.
    fn begins_definition(&self, at: usize) -> bool {
        if self.tokens[at].kind != Kind::Name || !self.is_column_one(at) {
            return false;
        }
        if self.eager {
            return true;
        }
        let word = self.text(at);
        let keyword = BEGINS.iter().find(|(w, _)| *w == word);
        let next = self.tokens.get(at + 1).copied();
        if let (Some((_, follows)), Some(next)) = (keyword, next) {
            return follows(next, self.text(at + 1));
        }
        // A pipe that begins with a stream: `x |` or `x.late |`.
        let after = if self.text(at + 1) == "." { at + 3 } else { at + 1 };
        self.text(after) == "|"
    }

    fn token(&mut self, at: usize) {
        if !self.open.is_empty() && self.begins_definition(at) {
            while let Some(open) = self.open.pop() {
                self.unclosed(open, at);
            }
        }
        self.outdented(at);
        if self.tokens[at].kind != Kind::Operator {
            return;
        }
        match self.text(at) {
            "(" | "[" | "{" => self.open(at),
            ")" | "]" | "}" => self.close(at),
            "|" => {
                while let Some(open) = self.open.last().copied() {
                    if self.text(open) == "{" {
                        break;
                    }
                    self.open.pop();
                    self.unclosed(open, at);
                }
            }
            _ => {}
        }
    }

    /// Something is not closed, and what a bracket holds is indented further than its line: whatever
    /// begins a line further left is behind it.
    fn outdented(&mut self, at: usize) {
        if !self.eager || !self.begins_line(at) || matches!(self.text(at), ")" | "]" | "}" | "|") {
            return;
        }
        while let Some(open) = self.open.last().copied().filter(|open| self.column(at) <= self.indent(*open)) {
            self.open.pop();
            self.unclosed(open, at);
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.source[..self.tokens[at].span.start].rfind('\n').map_or(0, |n| n + 1)
    }

    fn column(&self, at: usize) -> usize {
        self.tokens[at].span.start - self.line_start(at)
    }

    fn begins_line(&self, at: usize) -> bool {
        self.source[self.line_start(at)..self.tokens[at].span.start].trim().is_empty()
    }

    /// How far the line of a token is indented.
    fn indent(&self, at: usize) -> usize {
        let line = &self.source[self.line_start(at)..];
        line.len() - line.trim_start_matches([' ', '\t']).len()
    }

    fn open(&mut self, at: usize) {
        if self.open.len() >= codes::DEPTH_MAX && !self.too_deep {
            self.too_deep = true;
            let title = format!("brackets are nested more than {} deep", codes::DEPTH_MAX);
            let help = "give the inner part a name: `let x = …`";
            self.result.diagnostics.push(Diagnostic::new(codes::TOO_DEEP, self.tokens[at].span, title).help(help));
        }
        self.open.push(at);
    }

    fn close(&mut self, at: usize) {
        let closes = match self.text(at) {
            ")" => "(",
            "]" => "[",
            _ => "{",
        };
        // Only a bracket that is near is looked for: garbage of closers stays linear.
        let near = self.open.len().saturating_sub(codes::DEPTH_MAX);
        let Some(found) = self.open[near..].iter().rposition(|o| self.text(*o) == closes) else {
            return self.stray(at);
        };
        let found = near + self.outer(at, near, found, closes);
        let inner = self.open.len() - found - 1;
        // On this line nothing like it was opened, and something else is open: it is one too many.
        let line = self.line_start(at);
        let opened_here = self.open[found..].iter().any(|open| self.tokens[*open].span.start >= line);
        if inner > 0 && !self.begins_line(at) && !opened_here {
            return self.stray(at);
        }
        // One wrong closer between right ones: it is the mistake, not the brackets around it.
        if inner > 0 && self.later_closer(at, self.open[self.open.len() - 1]) {
            return self.stray(at);
        }
        for _ in 0..inner {
            if let Some(open) = self.open.pop() {
                self.unclosed(open, at);
            }
        }
        if let Some(open) = self.open.pop() {
            self.result.ends[open] = Some(End::Closed(at));
        }
    }

    /// Which open bracket a closing one belongs to. Something is not closed, so where it begins a line
    /// it belongs to the line that is indented like it, not to one further right.
    fn outer(&self, at: usize, near: usize, found: usize, closes: &str) -> usize {
        let top = self.open[near + found];
        if !self.eager || !self.begins_line(at) || self.indent(top) <= self.column(at) {
            return found;
        }
        let fits = |open: &usize| self.text(*open) == closes && self.indent(*open) == self.column(at);
        self.open[near..].iter().rposition(fits).unwrap_or(found)
    }

    /// Whether the innermost open bracket is closed right behind this token.
    fn later_closer(&self, at: usize, open: usize) -> bool {
        if self
            .tokens
            .get(at + 1)
            .is_none_or(|next| self.source[self.tokens[at].span.end..next.span.start].contains('\n'))
        {
            return false;
        }
        let wants = match self.text(open) {
            "(" => ")",
            "[" => "]",
            _ => "}",
        };
        self.text(at + 1) == wants
    }

    fn stray(&mut self, at: usize) {
        self.result.stray[at] = true;
        let text = self.text(at).to_string();
        if self.result.diagnostics.len() < codes::SHOWN_MAX {
            let title = format!("`{text}` closes nothing");
            let span = self.tokens[at].span;
            self.result
                .diagnostics
                .push(Diagnostic::new(codes::STRAY_CLOSER, span, title).help("delete it").replace(""));
        }
    }

    fn unclosed(&mut self, open: usize, end: usize) {
        self.result.ends[open] = Some(End::Cut(end));
        // A string that does not end has taken the closing bracket with it.
        let near = &self.tokens[open..end.min(open + codes::OPERATORS_MAX)];
        let explained = near.iter().any(|t| t.kind == Kind::OpenString);
        if self.result.diagnostics.len() >= codes::SHOWN_MAX || self.too_deep || explained {
            return;
        }
        let text = self.text(open).to_string();
        let closer = match text.as_str() {
            "(" => ")",
            "[" => "]",
            _ => "}",
        };
        let diagnostic =
            Diagnostic::new(codes::UNCLOSED, self.missing(open, end), format!("a `{text}` is never closed"))
                .here(format!("`{closer}` is missing here"))
                .label(self.tokens[open].span, "opened here");
        self.result.diagnostics.push(diagnostic);
    }

    /// Where the closing bracket should stand: behind the last thing inside, or on the line below where
    /// the opening one ended its line.
    fn missing(&self, open: usize, end: usize) -> Span {
        let last = self.tokens[end.saturating_sub(1).max(open)].span.end;
        let ends_line = |at: usize| {
            let from = self.tokens[at].span.end;
            self.tokens.get(at + 1).is_none_or(|next| self.source[from..next.span.start].contains('\n'))
        };
        let below = self.source[last..].find('\n').map(|n| last + n + 1);
        match below.filter(|below| ends_line(open) && open + 1 < end && *below < self.source.len()) {
            Some(below) => Span::new(below, below),
            None => Span::new(last, last),
        }
    }
}
