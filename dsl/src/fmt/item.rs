//! One definition as a document.

use weir_spec::Span;

use super::doc::{Doc, print, text};
use super::{Comment, Tok, statements};
use crate::ast::Item;
use crate::lex::Kind;

const INDENT: usize = 2;

/// Words behind which a bracket does not belong to a call.
const KEYWORDS: &[&str] = &["and", "or", "not", "in", "by", "with", "where", "set", "select", "drop", "route"];

/// A definition in the one style.
pub fn item(source: &str, tokens: Vec<Tok>, item: &Item) -> String {
    let layout = Layout { source, closes: closes(source, &tokens), tokens };
    let all = Range { from: 0, to: layout.tokens.len() };
    let docs = match item {
        Item::Test(_) => layout.test(all, &statements(item)),
        _ => layout.definition(all),
    };
    print(&docs)
}

/// Tokens `from..to`.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: usize,
    to: usize,
}

struct Layout<'a> {
    source: &'a str,
    tokens: Vec<Tok>,
    /// For each opening bracket its closing one.
    closes: Vec<usize>,
}

fn closes(source: &str, tokens: &[Tok]) -> Vec<usize> {
    let mut closes: Vec<usize> = (0..tokens.len()).collect();
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, t)| t.kind == Kind::Operator) {
        match &source[token.span.start..token.span.end] {
            "(" | "[" | "{" => open.push(at),
            ")" | "]" | "}" => {
                if let Some(begin) = open.pop() {
                    closes[begin] = at;
                }
            }
            _ => {}
        }
    }
    closes
}

/// A comment behind what stands on its line.
fn behind(comment: &Comment) -> Doc {
    text(format!("  {}", comment.text))
}

/// A line or an element begins with this token: comments end the one before or stand above it.
fn begin_line(first: &Tok, is_first: bool, line: Doc) -> Vec<Doc> {
    let (own, trailing): (Vec<&Comment>, Vec<&Comment>) = first.comments.iter().partition(|c| c.own_line);
    let parted = !is_first && own.first().is_some_and(|comment| comment.blank_before);
    let mut docs: Vec<Doc> = trailing.into_iter().map(behind).collect();
    docs.push(if parted { Doc::Blank } else { line });
    docs.extend(own.iter().flat_map(|comment| [text(comment.text.clone()), Doc::Hard]));
    docs
}

/// Comments before the bracket that closes a block.
fn end_block(close: &Tok) -> Vec<Doc> {
    let mut docs = Vec::new();
    for comment in &close.comments {
        let line = if comment.blank_before { Doc::Blank } else { Doc::Hard };
        match comment.own_line {
            true => docs.extend([line, text(comment.text.clone())]),
            false => docs.push(behind(comment)),
        }
    }
    docs
}

impl Layout<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| &self.source[t.span.start..t.span.end])
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.text(at) == word && matches!(self.tokens[at].kind, Kind::Operator | Kind::Name)
    }

    /// Places of an operator outside of brackets.
    fn split(&self, range: Range, separator: &str) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = range.from;
        while at < range.to {
            if self.is(at, separator) {
                found.push(at);
            }
            at = self.closes[at].max(at) + 1;
        }
        found
    }

    /// `let x = …`, `pipe f(…) = …`, `param …`, `settings(…)`, `use "…"`, or a pipe.
    fn definition(&self, range: Range) -> Vec<Doc> {
        let defines = self.is(range.from, "let") || self.is(range.from, "pipe");
        let equals = self.split(range, "=").first().copied().filter(|_| defines);
        let Some(equals) = equals else { return self.pipe(range) };
        let mut docs = self.run(Range { from: range.from, to: equals + 1 });
        docs.extend(self.lead(equals + 1));
        docs.extend(self.pipe(Range { from: equals + 1, to: range.to }));
        docs
    }

    /// A space, or the comments that stand before a token.
    fn lead(&self, at: usize) -> Vec<Doc> {
        match self.tokens.get(at).is_none_or(|t| t.comments.is_empty()) {
            true => vec![text(" ")],
            false => self.glue(at, at),
        }
    }

    /// A pipe on one line, or with each stage on a line of its own.
    fn pipe(&self, range: Range) -> Vec<Doc> {
        let bars = self.split(range, "|");
        if bars.is_empty() {
            return vec![Doc::Group(self.run(range))];
        }
        let head = Range { from: range.from, to: bars[0] };
        let mut docs = self.run(head);
        let mut stages = Vec::new();
        let is_broken = bars.iter().any(|bar| self.tokens[*bar].newlines > 0 && *bar > range.from);
        for (n, bar) in bars.iter().enumerate() {
            let (trailing, own): (Vec<&Comment>, Vec<&Comment>) =
                self.tokens[*bar].comments.iter().partition(|c| !c.own_line);
            stages.extend(trailing.into_iter().map(behind));
            let first = *bar == range.from;
            for comment in &own {
                let line = if comment.blank_before && !first { Doc::Blank } else { Doc::Hard };
                stages.extend([line, text(comment.text.clone())]);
            }
            let forced = is_broken || !self.tokens[*bar].comments.is_empty();
            let parted = self.tokens[*bar].newlines > 1 && self.tokens[*bar].comments.is_empty();
            match (first, forced) {
                (true, _) => {}
                (false, true) if parted => stages.push(Doc::Blank),
                (false, true) => stages.push(Doc::Hard),
                (false, false) => stages.push(Doc::Line),
            }
            let next = bars.get(n + 1).copied().unwrap_or(range.to);
            let stage = Range { from: bar + 1, to: next };
            stages.push(text("|"));
            let mut docs = self.lead(stage.from);
            docs.extend(self.run(stage));
            stages.push(Doc::Nest(INDENT, docs));
        }
        docs.push(Doc::Nest(INDENT, stages));
        vec![Doc::Group(docs)]
    }

    /// What stands between two bars, or in a bracket: lists outside of brackets and conditions may be
    /// broken, and a block behind them is laid out by itself.
    fn run(&self, range: Range) -> Vec<Doc> {
        let block = (range.from..range.to).rev().find(|at| self.is(*at, "{") && self.closes[*at] + 1 == range.to);
        let Some(block) = block.filter(|at| self.depth(range, *at) == 0 && *at > range.from) else {
            return vec![Doc::Group(self.sequence(range))];
        };
        let before = Range { from: range.from, to: block };
        let mut docs = vec![Doc::Group(self.sequence(before))];
        docs.extend(self.glue(block, range.from));
        docs.push(self.bracket(block));
        docs
    }

    fn depth(&self, range: Range, place: usize) -> usize {
        let around = |at: &usize| self.closes[*at] > place && *at < place;
        (range.from..place).filter(around).count()
    }

    /// A list without brackets, or one expression.
    fn sequence(&self, range: Range) -> Vec<Doc> {
        let commas = self.split(range, ",");
        if commas.is_empty() {
            return self.expression(range, INDENT);
        }
        let mut docs = Vec::new();
        let mut from = range.from;
        for comma in commas.into_iter().chain([range.to]) {
            if from > range.from {
                match self.tokens.get(from).is_none_or(|t| t.comments.is_empty()) {
                    true => docs.push(Doc::LineIn(INDENT)),
                    false => docs.extend(self.glue(from, from)),
                }
            }
            docs.push(Doc::Group(self.expression(Range { from, to: comma }, 2 * INDENT)));
            if comma < range.to {
                docs.push(text(","));
            }
            from = comma + 1;
        }
        docs
    }

    fn expression(&self, range: Range, indent: usize) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut at = range.from;
        // Where `or` stands, what `and` binds stays together.
        let loosest = if self.split(range, "or").is_empty() { "and" } else { "or" };
        while at < range.to {
            let breaks = at > range.from && self.is(at, loosest);
            match breaks && self.tokens[at].comments.is_empty() {
                true => docs.push(Doc::LineIn(indent)),
                // Comments before the first are laid out by whoever asks.
                false if at > range.from => docs.extend(self.glue(at, range.from)),
                false => {}
            }
            if self.closes[at] > at {
                docs.push(self.bracket(at));
                at = self.closes[at] + 1;
                continue;
            }
            docs.push(text(self.text(at)));
            at += 1;
        }
        docs
    }

    /// What stands before a token: a space where one belongs, and comments.
    fn glue(&self, at: usize, from: usize) -> Vec<Doc> {
        let token = &self.tokens[at];
        if token.comments.is_empty() {
            let space = at > from && self.space_before(at, from);
            return space.then(|| text(" ")).into_iter().collect();
        }
        let mut docs = Vec::new();
        for comment in &token.comments {
            match comment.own_line {
                true => docs.extend([Doc::HardIn(INDENT), text(comment.text.clone())]),
                false => docs.push(behind(comment)),
            }
        }
        // Never to column 1, where a definition would begin.
        docs.push(Doc::HardIn(INDENT));
        docs
    }

    fn space_before(&self, at: usize, from: usize) -> bool {
        let (before, here) = (self.text(at - 1), self.text(at));
        let is_operator = |at: usize| self.tokens[at].kind == Kind::Operator;
        if is_operator(at) && matches!(here, "," | ")" | "]" | ":" | ".") {
            return false;
        }
        if is_operator(at - 1) && matches!(before, "(" | "[" | ".") {
            return false;
        }
        if is_operator(at - 1) && before == "-" && self.is_sign(at - 1, from) {
            return false;
        }
        if is_operator(at) && here == "(" {
            let is_word = KEYWORDS.contains(&before) && (at - 1 == from || !self.is_stage_word(before));
            return self.tokens[at - 1].kind != Kind::Name || is_word;
        }
        if is_operator(at) && here == "[" {
            return !(self.tokens[at].touches && self.tokens[at - 1].kind == Kind::Name);
        }
        // `list<string>`
        let is_type =
            |open: usize| self.is(open, "<") && open > 0 && self.text(open - 1) == "list" && self.tokens[open].touches;
        !(is_type(at) || is_type(at - 1) || (at >= 2 && is_type(at - 2) && here == ">"))
    }

    fn is_stage_word(&self, word: &str) -> bool {
        matches!(word, "where" | "set" | "select" | "drop" | "route")
    }

    /// Whether a `-` is a sign, not a subtraction.
    fn is_sign(&self, at: usize, from: usize) -> bool {
        if at == from {
            return true;
        }
        let before = &self.tokens[at - 1];
        match before.kind {
            Kind::Operator => !matches!(self.text(at - 1), ")" | "]" | "}"),
            Kind::Name => KEYWORDS.contains(&self.text(at - 1)) || self.text(at - 1) == "advance",
            _ => false,
        }
    }

    /// A bracket and what is in it: on one line, or one element a line.
    fn bracket(&self, open: usize) -> Doc {
        let close = self.closes[open];
        let (begin, end) = (self.text(open).to_string(), self.text(close).to_string());
        let elements = self.elements(Range { from: open + 1, to: close });
        if elements.is_empty() && self.tokens[close].comments.is_empty() {
            return text(begin + &end);
        }
        let is_call = begin != "(" || (open > 0 && self.is_called(open));
        let edge = if begin == "{" { Doc::Line } else { Doc::Soft };
        let mut inner = Vec::new();
        let pads = self.pads(&elements);
        let forced = self.is_forced(open, &elements);
        for (n, element) in elements.iter().enumerate() {
            let first = &self.tokens[element.from];
            let line = match (n, forced, first.newlines > 1 && first.comments.is_empty()) {
                (0, true, _) => Doc::Hard,
                (0, false, _) => edge.clone(),
                (_, _, true) if forced => Doc::Blank,
                (_, true, _) => Doc::Hard,
                (_, false, true) => Doc::LineBlank,
                _ => Doc::Line,
            };
            inner.extend(begin_line(first, n == 0, line));
            inner.extend(self.element(*element, pads[n]));
            match n + 1 < elements.len() {
                true => inner.push(text(",")),
                false if is_call => inner.push(Doc::IfBroken(",".into())),
                false => {}
            }
        }
        let last = &self.tokens[close];
        inner.extend(end_block(last));
        let closing = if forced || !last.comments.is_empty() { Doc::Hard } else { edge };
        Doc::Group(vec![text(begin), Doc::Nest(INDENT, inner), closing, text(end)])
    }

    /// Whether `(` belongs to a call.
    fn is_called(&self, open: usize) -> bool {
        self.tokens[open - 1].kind == Kind::Name && !KEYWORDS.contains(&self.text(open - 1))
    }

    /// A block stays open where its author has opened it; so do comments, and rows of a table.
    fn is_forced(&self, open: usize, elements: &[Range]) -> bool {
        let begin = self.text(open);
        let has_comments = elements.iter().any(|e| !self.tokens[e.from].comments.is_empty());
        let maps = elements.iter().filter(|e| self.is(e.from, "{")).count();
        let opened = self.tokens[open + 1].newlines > 0 || !self.tokens[open + 1].comments.is_empty();
        has_comments || (begin == "{" && opened) || (begin == "[" && maps > 1)
    }

    fn elements(&self, range: Range) -> Vec<Range> {
        let mut elements = Vec::new();
        let mut from = range.from;
        for comma in self.split(range, ",").into_iter().chain([range.to]) {
            if from < comma {
                elements.push(Range { from, to: comma });
            }
            from = comma + 1;
        }
        elements
    }

    /// Spaces that bring the `=` of neighbouring fields below each other.
    fn pads(&self, elements: &[Range]) -> Vec<Option<usize>> {
        let width = |element: &Range| -> Option<usize> {
            let equals = (element.from..element.to).find(|at| self.is(*at, "="))?;
            let plain = (element.from..equals).all(|at| self.tokens[at].kind == Kind::Name || self.is(at, "."));
            let bare = (element.from + 1..=equals).all(|at| self.tokens[at].comments.is_empty());
            (plain && bare).then(|| (element.from..equals).map(|at| self.text(at).chars().count()).sum())
        };
        let widths: Vec<Option<usize>> = elements.iter().map(width).collect();
        let mut pads = vec![None; elements.len()];
        let mut from = 0;
        for at in 0..=elements.len() {
            let parted = at == elements.len() || {
                let first = &self.tokens[elements[at].from];
                at > from && (first.newlines > 1 || first.comments.iter().any(|c| c.own_line))
            };
            if parted {
                let widest = widths[from..at].iter().flatten().max().copied().unwrap_or(0);
                for n in from..at {
                    pads[n] = widths[n].map(|width| widest - width);
                }
                from = at;
            }
        }
        pads
    }

    /// One element; a field's `=` stands `pad` further where the block is open.
    fn element(&self, range: Range, pad: Option<usize>) -> Vec<Doc> {
        let Some(pad) = pad else { return self.run(range) };
        let equals = (range.from..range.to).find(|at| self.is(*at, "=")).unwrap_or(range.from);
        let mut docs: Vec<Doc> = (range.from..equals).map(|at| text(self.text(at))).collect();
        docs.push(Doc::IfBroken(" ".repeat(pad)));
        docs.push(text(" ="));
        let value = Range { from: equals + 1, to: range.to };
        docs.extend(self.lead(value.from));
        docs.extend(self.run(value));
        docs
    }

    /// `test "…" { … }`: one statement a line.
    fn test(&self, range: Range, statements: &[(Span, bool)]) -> Vec<Doc> {
        let open = (range.from..range.to).find(|at| self.is(*at, "{")).unwrap_or(range.from);
        let mut docs = self.sequence(Range { from: range.from, to: open });
        docs.extend(self.lead(open));
        docs.push(text("{"));
        let mut inner = Vec::new();
        for (n, (span, is_feed)) in statements.iter().enumerate() {
            let from = self.tokens.iter().position(|t| t.span.start >= span.start).unwrap_or(range.to);
            let to = self.tokens.iter().position(|t| t.span.start >= span.end).unwrap_or(range.to);
            let first = &self.tokens[from];
            let blank = first.newlines > 1 && first.comments.is_empty() && n > 0;
            inner.extend(begin_line(first, n == 0, if blank { Doc::Blank } else { Doc::Hard }));
            inner.extend(self.statement(Range { from, to }, *is_feed));
        }
        let close = self.closes[open];
        inner.extend(end_block(&self.tokens[close]));
        docs.push(Doc::Nest(INDENT, inner));
        docs.extend([Doc::Hard, text("}")]);
        docs
    }

    fn statement(&self, range: Range, is_feed: bool) -> Vec<Doc> {
        let with = (range.from..range.to).find(|at| self.is(*at, "with")).filter(|_| is_feed);
        let Some(with) = with else { return self.run(range) };
        let mut docs = self.sequence(Range { from: range.from, to: with + 1 });
        docs.extend(self.lead(with + 1));
        docs.extend(self.pipe(Range { from: with + 1, to: range.to }));
        docs
    }
}
