//! One style for every pipeline. Works on the tokens, so nothing is lost: what the formatted text
//! says is what the text said, comments and groups of lines included.
//!
//! A definition that cannot be read stays as it was written.

mod doc;
mod item;

use weir_spec::{Diagnostic, Span};

use crate::ast::{File, Item, StatementKind};
use crate::codes;
use crate::lex::{Kind, Token, lex};
use crate::parse::parse;

/// Columns that a line may take, where it can be broken.
pub const WIDTH: usize = 100;

/// How often a text with mistakes is gone over until it stays as it is; a sound one needs one time.
const PASSES_MAX: usize = 4;

/// The text in the one style. A text that finds no rest, which takes mistakes of syntax, stays as it is.
pub fn format(source: &str) -> String {
    let mut text = source.to_string();
    for _ in 0..PASSES_MAX {
        let next = once(&text);
        if next == text {
            return text;
        }
        if said(&next) != said(&text) {
            break;
        }
        text = next;
    }
    source.to_string()
}

/// What a text says: its words and comments, but for commas, which may be added at the end of lists.
fn said(source: &str) -> (Vec<&str>, Vec<&str>) {
    let tokens = lex(source);
    let (words, comments): (Vec<&Token>, Vec<&Token>) =
        tokens.iter().filter(|t| t.kind != Kind::Space).partition(|t| t.is_significant());
    let words = words.into_iter().map(|t| t.text(source).trim_end()).filter(|word| *word != ",");
    (words.collect(), comments.into_iter().map(|t| t.text(source).trim_end()).collect())
}

fn once(source: &str) -> String {
    let (file, diagnostics) = parse(source, &|_| true);
    if diagnostics.iter().any(|d| d.code == codes::TOO_DEEP || d.code == codes::EMPTY) {
        return source.to_string();
    }
    let tokens = significant(source);
    let mut out = Output::default();
    let mut from = 0;
    for item in &file.items {
        let span = item.span();
        out.gap(source, Span::new(from, span.start));
        match is_broken(&file, item, &diagnostics) {
            true => out.text(source[span.start..span.end].trim_end()),
            false => out.text(item::item(source, tokens_in(&tokens, span), item).trim_end()),
        }
        from = span.end;
    }
    out.gap(source, Span::new(from, source.len()));
    out.finish()
}

fn is_broken(file: &File, item: &Item, diagnostics: &[Diagnostic]) -> bool {
    let span = item.span();
    let next = file.items.iter().map(|i| i.span().start).filter(|start| *start > span.start).min();
    let end = next.unwrap_or(usize::MAX);
    let here = |at: Span| (span.start..end).contains(&at.start);
    // An open bracket is told where it should end, which may be far behind.
    let opens = |d: &Diagnostic| d.code == codes::UNCLOSED && d.labels.iter().any(|l| here(l.span));
    diagnostics.iter().any(|d| here(d.span()) || opens(d))
}

/// A token with what stands before it.
#[derive(Clone, Debug)]
pub(crate) struct Tok {
    pub kind: Kind,
    pub span: Span,
    /// Comments between the token before and this one.
    pub comments: Vec<Comment>,
    /// Line breaks between the token or comment before and this one.
    pub newlines: usize,
    /// Whether there is nothing between the token before and this one.
    pub touches: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Comment {
    pub text: String,
    /// Whether nothing stands before it on its line.
    pub own_line: bool,
    /// An empty line stands before it.
    pub blank_before: bool,
}

fn significant(source: &str) -> Vec<Tok> {
    let mut toks = Vec::new();
    let mut comments = Vec::new();
    let (mut newlines, mut touches) = (0, true);
    for token in lex(source) {
        match token.kind {
            Kind::Space => {
                newlines += token.text(source).matches('\n').count();
                touches = false;
            }
            Kind::Comment | Kind::ForeignComment => {
                // One comment ends a line, so a further one has its own.
                let own = toks.is_empty() || !comments.is_empty();
                comments.push(comment(source, &token, newlines, own));
                (newlines, touches) = (0, false);
            }
            kind => {
                // What stands before a comma is said behind it, where the line may end.
                let is_comma = kind == Kind::Operator && token.text(source) == ",";
                let comments = if is_comma { Vec::new() } else { std::mem::take(&mut comments) };
                toks.push(Tok { kind, span: token.span, comments, newlines, touches });
                (newlines, touches) = (0, true);
            }
        }
    }
    toks
}

fn comment(source: &str, token: &Token, newlines: usize, own: bool) -> Comment {
    Comment {
        text: token.text(source).trim_end().to_string(),
        own_line: newlines > 0 || own,
        blank_before: newlines > 1,
    }
}

/// The tokens of one item. Comments before the first belong to the gap.
fn tokens_in(tokens: &[Tok], span: Span) -> Vec<Tok> {
    let inside = |t: &&Tok| span.start <= t.span.start && t.span.end <= span.end;
    let mut inside: Vec<Tok> = tokens.iter().filter(inside).cloned().collect();
    if let Some(first) = inside.first_mut() {
        first.comments.clear();
        first.newlines = 0;
    }
    inside
}

/// Items, comments and empty lines, one below the other.
#[derive(Default)]
struct Output {
    text: String,
}

impl Output {
    /// What stands between two items: comments, and whatever could not be read.
    fn gap(&mut self, source: &str, span: Span) {
        let gap = &source[span.start..span.end];
        let tokens = lex(gap);
        let mut newlines = usize::from(self.text.is_empty());
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at];
            match token.kind {
                Kind::Space => newlines += token.text(gap).matches('\n').count(),
                Kind::Comment if newlines == 0 => {
                    self.text += "  ";
                    self.text += token.text(gap).trim_end();
                }
                Kind::Comment => {
                    self.break_line(newlines);
                    self.text += token.text(gap).trim_end();
                    newlines = 0;
                }
                // Not understood: as it stands, up to the last such token.
                _ => {
                    let last = tokens.iter().rposition(Token::is_significant).unwrap_or(at);
                    self.break_line(newlines);
                    self.text += &gap[token.span.start..tokens[last].span.end];
                    newlines = 0;
                    at = last;
                }
            }
            at += 1;
        }
        self.pending(newlines);
    }

    fn pending(&mut self, newlines: usize) {
        if !self.text.is_empty() {
            self.text += if newlines > 1 { "\n\n" } else { "\n" };
        }
    }

    fn break_line(&mut self, newlines: usize) {
        if !self.text.ends_with('\n') {
            self.pending(newlines);
        }
    }

    fn text(&mut self, text: &str) {
        self.text += text;
    }

    fn finish(self) -> String {
        let text = self.text.trim_end();
        if text.is_empty() { String::new() } else { format!("{text}\n") }
    }
}

/// Spans of the statements of a test.
pub(crate) fn statements(item: &Item) -> Vec<(Span, bool)> {
    match item {
        Item::Test(test) => {
            let is_feed = |kind: &StatementKind| matches!(kind, StatementKind::Feed { .. });
            test.statements.iter().map(|s| (s.span, is_feed(&s.kind))).collect()
        }
        _ => Vec::new(),
    }
}
