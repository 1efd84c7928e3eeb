//! Recursive descent over the tokens. Never fails: what cannot be read is reported once and left
//! out, and nothing that follows from it is reported.
//!
//! After a mistake the parser is silent up to the next comma of that list, `|` of that pipe, or
//! definition. Each bracket's content is a fixed range that recovery never leaves.

mod expr;
mod item;
mod pipe;
mod test;

use std::collections::HashSet;

use weir_spec::{Diagnostic, Span};

use crate::ast::{File, Name};
use crate::brackets::{self, Brackets, End};
use crate::codes;
use crate::lex::{self, Kind, Token};

/// Words that nothing may be called.
pub const RESERVED: &[&str] =
    &["let", "param", "settings", "test", "use", "pipe", "and", "or", "not", "in", "if", "true", "false", "none"];

/// Reads a text. The diagnostics are the mistakes of syntax, in no order.
///
/// `is_stage` tells which names can stand after a `|`: any other takes with it what follows, so that
/// one misspelt word is one mistake.
pub fn parse(source: &str, is_stage: &dyn Fn(&str) -> bool) -> (File, Vec<Diagnostic>) {
    parse_part(source, Span::new(0, source.len()), is_stage)
}

/// Reads the part of a text that is one file; spans are of the whole text.
pub fn parse_part(source: &str, part: Span, is_stage: &dyn Fn(&str) -> bool) -> (File, Vec<Diagnostic>) {
    let mut all = lex::lex(&source[part.start..part.end]);
    for token in &mut all {
        token.span = Span::new(token.span.start + part.start, token.span.end + part.start);
    }
    let mut diagnostics = foreign_comments(source, &all);
    let tokens: Vec<Token> = all.into_iter().filter(Token::is_significant).collect();
    let Brackets { ends, stray, diagnostics: brackets } = brackets::scan(source, &tokens);
    let too_deep = brackets.iter().any(|d| d.code == codes::TOO_DEEP);
    diagnostics.extend(brackets);
    if too_deep {
        return (File::default(), diagnostics);
    }
    let end = tokens.len();
    let is_let = |pair: &&[Token]| pair[0].text(source) == "let";
    let lets = tokens.windows(2).filter(is_let).map(|pair| pair[1].text(source)).collect();
    let is_piece = |three: &&[Token]| three[0].text(source) == "pipe" && three[2].text(source) == "(";
    let pieces: HashSet<&str> = tokens.windows(3).filter(is_piece).map(|three| three[1].text(source)).collect();
    let is_stage = &|name: &str| is_stage(name) || pieces.contains(name);
    let mut parser = Parser {
        source,
        tokens,
        ends,
        stray,
        at: 0,
        end,
        diagnostics,
        silent: false,
        junk_names: Vec::new(),
        is_stage,
        lets,
        line_lost: false,
        in_test: false,
    };
    let file = parser.file();
    (file, parser.diagnostics)
}

fn foreign_comments(source: &str, tokens: &[Token]) -> Vec<Diagnostic> {
    let foreign = tokens.iter().filter(|t| t.kind == Kind::ForeignComment);
    let diagnostic = |t: &Token| {
        let begin: String = t.text(source).chars().take(2).collect();
        let span = Span::new(t.span.start, t.span.start + begin.len());
        let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, format!("`{begin}` is no comment here"));
        let d = d.help("comments begin with `#` and go to the end of the line");
        if begin == "//" { d.replace("#") } else { d }
    };
    foreign.take(codes::SHOWN_MAX).map(diagnostic).collect()
}

pub(crate) struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    ends: Vec<Option<End>>,
    stray: Vec<bool>,
    at: usize,
    /// The parser does not look beyond: the end of the bracket it is in.
    end: usize,
    diagnostics: Vec<Diagnostic>,
    /// A mistake was reported and nothing has been read since that ends the silence.
    silent: bool,
    /// Names with foreign characters that were reported.
    junk_names: Vec<(String, usize)>,
    is_stage: &'a dyn Fn(&str) -> bool,
    /// Names that the file defines with `let`.
    lets: HashSet<&'a str>,
    /// A string that does not end has taken the rest of its line with it.
    line_lost: bool,
    /// In a test block: its statements end a pipe.
    in_test: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied().filter(|_| self.at < self.end)
    }

    fn text(&self) -> &'a str {
        self.text_at(self.at)
    }

    fn text_at(&self, at: usize) -> &'a str {
        match self.tokens.get(at) {
            Some(token) if at < self.end => token.text(self.source),
            _ => "",
        }
    }

    fn kind_at(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).filter(|_| at < self.end).map(|t| t.kind)
    }

    /// Where the parser stands; after the last token, just behind it.
    fn span(&self) -> Span {
        match self.peek() {
            Some(token) => token.span,
            None => {
                let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
                last.map_or(Span::default(), |t| Span::new(t.span.end, t.span.end))
            }
        }
    }

    fn previous_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |t| t.span.end)
    }

    fn is(&self, text: &str) -> bool {
        self.text() == text && self.kind_at(self.at).is_some_and(|k| matches!(k, Kind::Operator | Kind::Name))
    }

    fn bump(&mut self) {
        self.at += 1;
    }

    fn eat(&mut self, text: &str) -> bool {
        let here = self.is(text);
        if here {
            self.bump();
        }
        here
    }

    fn is_column_one(&self, at: usize) -> bool {
        let start = self.tokens[at].span.start;
        start == 0 || self.source[..start].ends_with(['\n', '\u{feff}'])
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if !self.silent && self.diagnostics.len() < 10 * codes::SHOWN_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Reports that something else belongs here, and is silent until recovery.
    fn expected(&mut self, what: &str) {
        let skip = self.stray.get(self.at).copied().unwrap_or(false);
        if !skip {
            let found = match self.peek() {
                Some(_) => format!("found `{}`", shorten(self.text())),
                None if self.end < self.tokens.len() => "the bracket ends here".to_string(),
                None => "the file ends here".to_string(),
            };
            let (span, before) = (self.span(), self.previous_end());
            let title = format!("expected {what}, {found}");
            // What is missing at the end of a line is missing there, not on the next one; but a list or a
            // new statement goes on with what comes.
            let goes_on =
                |at: usize| matches!(self.tokens[at].text(self.source), "," | "{" | "(" | "[" | "}" | "]" | ")");
            let at_end = self.at > 0 && !goes_on(self.at - 1) && self.source[before..span.start].contains('\n');
            let d = match at_end {
                true => {
                    Diagnostic::new(codes::SYNTAX, Span::new(before, before), title).label(span, "this comes instead")
                }
                false => Diagnostic::new(codes::SYNTAX, span, title),
            };
            self.report(d);
        }
        self.silent = true;
    }

    /// Goes to the next of these operators at this level, or to where a definition begins.
    fn skip_to(&mut self, stops: &[&str]) {
        while let Some(token) = self.peek() {
            if token.kind == Kind::Operator && stops.contains(&self.text()) {
                break;
            }
            if self.begins_item() {
                break;
            }
            match self.ends[self.at] {
                Some(End::Closed(close)) => self.at = close + 1,
                Some(End::Cut(end)) => self.at = end.max(self.at + 1),
                None => self.bump(),
            }
        }
        self.silent = false;
    }

    /// Reads the content of the bracket that opens here, then stands behind it.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let is_cut = matches!(self.ends[self.at], Some(End::Cut(_)));
        let (content_end, after) = match self.ends[self.at] {
            Some(End::Closed(close)) => (close, close + 1),
            Some(End::Cut(end)) => (end, end),
            None => (self.at + 1, self.at + 1),
        };
        let outer = (self.end, self.silent);
        self.at += 1;
        self.end = content_end.min(outer.0);
        self.silent = false;
        let value = read(self);
        if self.at < self.end && !self.silent {
            self.expected("`,`");
        }
        // Where a bracket never closes, what should follow it has gone into it.
        (self.end, self.silent) = (outer.0, outer.1 || is_cut);
        self.at = after.max(self.at).min(self.tokens.len());
        value
    }

    /// `a, b, c` up to the end of the bracket; a trailing comma is allowed.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Vec<T> {
        let mut items = Vec::new();
        while self.at < self.end {
            let before = self.at;
            items.extend(read(self));
            if self.silent {
                self.skip_to(&[","]);
            }
            if self.eat(",") {
                continue;
            }
            if self.at >= self.end {
                break;
            }
            if self.stray[self.at] {
                self.bump();
                continue;
            }
            if self.at == before {
                self.expected("an element");
                self.bump();
                self.skip_to(&[","]);
                self.eat(",");
                continue;
            }
            if self.is(";") {
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, self.span(), "elements are separated by `,`");
                self.report(d.replace(","));
                self.bump();
                continue;
            }
            // Two elements without a comma: said once, and both are read.
            self.missing_comma();
        }
        items
    }

    /// A name in the place where something is defined or called.
    fn name(&mut self, what: &str) -> Option<Name> {
        let token = self.peek().filter(|t| t.kind == Kind::Name);
        let Some(token) = token else {
            self.expected(what);
            return None;
        };
        let text = self.text();
        if RESERVED.contains(&text) {
            let title = format!("`{text}` is a word of the language and cannot be a name");
            self.report(
                Diagnostic::new(codes::SYNTAX, token.span, title)
                    .help(format!("call it `{text}_` or something better")),
            );
        } else {
            self.check_name(text, token.span);
        }
        self.bump();
        Some(Name { text: text.to_string(), span: token.span })
    }

    /// Names are ASCII, in lower case. One error a distinct name, further uses as labels.
    fn check_name(&mut self, text: &str, span: Span) {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let Some(wrong) = text.chars().find(|c| !legal(*c)) else { return };
        if let Some((_, at)) = self.junk_names.iter().find(|(name, _)| name == text) {
            let at = *at;
            if let Some(d) = self.diagnostics.get_mut(at) {
                d.labels.push(weir_spec::Label { span, text: "again here".into() });
            }
            return;
        }
        if self.silent {
            return;
        }
        let shown = match wrong.is_ascii() {
            true => format!("`{wrong}`"),
            false => format!("`{wrong}` (U+{:04X})", wrong as u32),
        };
        let better = ascii(text);
        let title = format!("the name `{text}` has {shown}; names have a-z, 0-9 and `_`");
        self.junk_names.push((text.to_string(), self.diagnostics.len()));
        self.report(Diagnostic::new(codes::BAD_NAME, span, title).help(format!("write `{better}`")).replace(better));
    }
}

/// The nearest ASCII name: letters that look alike in other scripts, and lower case.
fn ascii(name: &str) -> String {
    const ALIKE: &[(char, char)] = &[
        ('а', 'a'),
        ('е', 'e'),
        ('о', 'o'),
        ('р', 'p'),
        ('с', 'c'),
        ('х', 'x'),
        ('у', 'y'),
        ('і', 'i'),
        ('ѕ', 's'),
        ('к', 'k'),
        ('м', 'm'),
        ('т', 't'),
        ('в', 'b'),
        ('н', 'h'),
        ('ο', 'o'),
        ('α', 'a'),
        ('ä', 'a'),
        ('ö', 'o'),
        ('ü', 'u'),
        ('ß', 's'),
        ('é', 'e'),
        ('è', 'e'),
        ('á', 'a'),
        ('ñ', 'n'),
    ];
    let one = |c: char| {
        let lower = c.to_lowercase().next().unwrap_or(c);
        let alike = ALIKE.iter().find(|(from, _)| *from == lower).map_or(lower, |(_, to)| *to);
        if alike.is_ascii_alphanumeric() { alike } else { '_' }
    };
    name.chars().map(one).collect()
}

/// Longest piece of the file that a message quotes.
const QUOTED_CHARS_MAX: usize = 30;

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    match line.chars().count() > QUOTED_CHARS_MAX {
        true => line.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect(),
        false => line.to_string(),
    }
}
