//! Pipes and their stages.

use weir_spec::{Diagnostic, Span};

use super::{Parser, RESERVED};
use crate::ast::{Call, Head, Name, NamedExpr, Pipe, Stage, StreamName};
use crate::codes;
use crate::lex::Kind;

/// What a stage may begin with beside a component's name.
const STAGE_WORDS: &[&str] = &["where", "set", "select", "drop", "window", "route"];

impl Parser<'_> {
    pub(super) fn pipe(&mut self) -> Pipe {
        let start = self.span();
        let before = self.diagnostics.len();
        let head = self.head();
        let broken = self.is_hurt(before).then_some(Stage::Broken(start));
        self.stages(start, head, broken.into_iter().collect())
    }

    /// Whether something could not be read since then.
    fn is_hurt(&self, before: usize) -> bool {
        let hard = |d: &Diagnostic| [codes::SYNTAX, codes::OPEN_STRING, codes::TOO_DEEP].contains(&d.code);
        self.silent || self.diagnostics[before.min(self.diagnostics.len())..].iter().any(hard)
    }

    /// Whether a bracket in these bytes is never closed.
    fn has_open_bracket(&self, span: Span) -> bool {
        let here = |d: &Diagnostic| d.code == codes::UNCLOSED && d.labels.iter().any(|l| span.contains(l.span));
        self.diagnostics.iter().any(here)
    }

    /// The body of a piece: a pipe, or stages for what comes in.
    pub(super) fn body(&mut self) -> Pipe {
        let start = self.span();
        if self.is("|") {
            return self.stages(start, Head::Input(start), Vec::new());
        }
        let word = STAGE_WORDS.contains(&self.text()) && self.text_at(self.at + 1) != "|";
        if !word && !(self.is_stage)(self.text()) {
            return self.pipe();
        }
        let before = self.diagnostics.len();
        let first = self.stage();
        let broken = (first.is_none() || self.is_hurt(before)).then_some(Stage::Broken(start));
        let stages = first.into_iter().chain(broken).collect();
        self.stages(start, Head::Input(Span::new(start.start, start.start)), stages)
    }

    fn stages(&mut self, start: Span, head: Head, stages: Vec<Stage>) -> Pipe {
        let mut pipe = Pipe { broken: matches!(head, Head::Broken(_)), head, stages, span: start };
        loop {
            if self.silent {
                pipe.broken = true;
                self.skip_to(&["|"]);
            }
            if self.in_test && self.begins_statement() {
                break;
            }
            if self.is("->") || self.is("=>") || self.is("||") {
                let text = self.text();
                self.foreign(text, "stages are joined by `|`", "|");
            } else if self.is_stage_without_bar() {
                let span = Span::new(self.span().start, self.span().start);
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, "a `|` is missing before this stage");
                self.report(d.replace("| "));
            } else if !self.eat("|") {
                if self.stray.get(self.at).copied().unwrap_or(false) && self.at < self.end {
                    self.bump();
                    continue;
                }
                if self.is(";") {
                    self.foreign(";", "nothing separates definitions: a new line is enough", "");
                    continue;
                }
                if self.at < self.end && !self.begins_pipe() {
                    match pipe.stages.last() {
                        Some(Stage::Where { .. } | Stage::Set { .. } | Stage::Route { .. }) => self.missing_operator(),
                        _ => self.unbracketed(),
                    }
                    self.expected("`|` and a stage, or a new definition");
                    pipe.broken = true;
                    self.bump_over();
                    continue;
                }
                break;
            }
            let (at, before) = (self.span(), self.diagnostics.len());
            let stage = self.stage();
            let is_hurt = stage.is_none() || self.is_hurt(before);
            pipe.stages.extend(stage);
            if is_hurt {
                pipe.broken = true;
                pipe.stages.push(Stage::Broken(at));
            }
        }
        self.silent = false;
        pipe.broken |= std::mem::take(&mut self.line_lost);
        pipe.span = Span::new(start.start, self.previous_end().max(start.end));
        pipe.broken |= self.has_open_bracket(pipe.span);
        pipe
    }

    /// A stage that follows without its `|`. In column 1 it is a stream of that name.
    fn is_stage_without_bar(&self) -> bool {
        let name = self.kind_at(self.at) == Some(Kind::Name) && !self.is_column_one(self.at);
        name && (self.is_stage)(self.text()) && !matches!(self.text_at(self.at + 1), "=" | ".")
    }

    /// `limit 5`, `pcap "a"`, `generate[flow]`: values without their round brackets.
    fn unbracketed(&mut self) {
        let before = self.at.checked_sub(1).filter(|at| self.kind_at(*at) == Some(Kind::Name));
        let Some(name) = before.map(|at| self.text_at(at)) else { return };
        let value = matches!(self.kind_at(self.at), Some(Kind::String | Kind::Number | Kind::OpenString));
        if !value && !self.is("[") {
            return;
        }
        let title = format!("the values of `{name}` stand in round brackets");
        let d = Diagnostic::new(codes::SYNTAX, self.span(), title);
        self.report(d.help(format!("write `{name}(…)`")));
        self.silent = true;
    }

    /// `where n 5`, `where a == 1 b == 2`: another operand on the line of a complete expression.
    fn missing_operator(&mut self) {
        let Some(token) = self.peek() else { return };
        let same_line = !self.source[self.previous_end()..token.span.start].contains('\n');
        let help = match token.kind {
            _ if !same_line || RESERVED.contains(&self.text()) => return,
            Kind::Name => "conditions are joined by `and` or `or`, stages by `|`",
            Kind::Number | Kind::String | Kind::Ipv4 => {
                "values are compared by `==`, `!=`, `<`, `<=`, `>`, `>=` or `in`"
            }
            _ => return,
        };
        let title = format!("an operator is missing before `{}`", super::shorten(self.text()));
        self.report(Diagnostic::new(codes::SYNTAX, self.span(), title).help(help));
        self.silent = true;
    }

    /// Whether another element follows on this line though no comma stands before it. A stream that
    /// the file defines may begin the next pipe there.
    fn is_missing_comma(&self, named: bool) -> bool {
        let Some(token) = self.peek().filter(|t| t.kind == Kind::Name) else { return false };
        let same_line = !self.source[self.previous_end()..token.span.start].contains('\n');
        if self.silent || !same_line || RESERVED.contains(&self.text()) || self.is("by") || self.is_stage_without_bar()
        {
            return false;
        }
        let after = self.after_dotted();
        match self.text_at(after) {
            "=" => true,
            "|" if self.lets.contains(self.text()) => false,
            "," | "{" | "|" | "" => !named,
            _ => false,
        }
    }

    /// The token behind the dotted name that begins here.
    fn after_dotted(&self) -> usize {
        let mut after = self.at + 1;
        while self.text_at(after) == "." && self.kind_at(after + 1) == Some(Kind::Name) {
            after += 2;
        }
        after
    }

    pub(super) fn missing_comma(&mut self) {
        let span = Span::new(self.previous_end(), self.previous_end());
        self.report(Diagnostic::new(codes::FOREIGN_SPELLING, span, "a `,` is missing here").replace(","));
    }

    fn bump_over(&mut self) {
        match self.ends.get(self.at).copied().flatten() {
            Some(crate::brackets::End::Closed(close)) => self.at = close + 1,
            _ => self.bump(),
        }
        self.skip_to(&["|"]);
    }

    /// What may begin after a pipe: a definition, or another pipe.
    fn begins_pipe(&self) -> bool {
        if self.begins_item() {
            return true;
        }
        if self.kind_at(self.at) != Some(Kind::Name) {
            return false;
        }
        let next = self.text_at(self.at + 1);
        let after_output = self.text_at(self.at + 3);
        matches!(next, "(" | "|" | "=") || (next == "." && after_output == "|")
    }

    fn head(&mut self) -> Head {
        let start = self.span();
        if self.is("merge") && self.text_at(self.at + 1) == "(" {
            self.bump();
            let begins = self.at + 1;
            let inputs = self.inside(|p| p.list(|p| p.merged()));
            if inputs.is_empty() && self.text_at(begins) != ")" {
                return Head::Broken(start);
            }
            return Head::Merge { inputs, span: Span::new(start.start, self.previous_end()) };
        }
        let is_rows = self.kind_at(self.at) == Some(Kind::Name) && self.text_at(self.at + 1) == "[";
        if self.in_test && is_rows {
            if !self.is("rows") {
                let title = format!("rows are written `rows [ … ]`, not `{} [`", self.text());
                self.report(
                    Diagnostic::new(codes::FOREIGN_SPELLING, start, title).help("write `rows`").replace("rows"),
                );
            }
            self.bump();
            let rows = self.rows();
            return Head::Rows { rows, span: Span::new(start.start, self.previous_end()) };
        }
        if self.kind_at(self.at) == Some(Kind::Name) && self.text_at(self.at + 1) == "(" {
            return match self.call() {
                Some(call) => Head::Call(call),
                None => Head::Broken(start),
            };
        }
        match self.stream_name() {
            Some(name) => Head::Stream(name),
            None => Head::Broken(start),
        }
    }

    /// A stream in `merge( … )`; a source there needs a name first.
    fn merged(&mut self) -> Option<StreamName> {
        let is_call = self.kind_at(self.at) == Some(Kind::Name) && self.text_at(self.at + 1) == "(";
        if is_call {
            let d = Diagnostic::new(codes::SYNTAX, self.span(), "`merge` takes the names of streams");
            let text = self.text();
            self.report(d.help(format!("give it a name first: `let a = {text}(…)`, then `merge(a, …)`")));
            self.silent = true;
            return None;
        }
        self.stream_name()
    }

    pub(super) fn stream_name(&mut self) -> Option<StreamName> {
        let name = self.name("a stream or a source")?;
        let output = if self.eat(".") { Some(self.name("an output")?) } else { None };
        Some(StreamName { name, output })
    }

    /// A component's call; its parentheses may be left out.
    fn call(&mut self) -> Option<Call> {
        let name = self.name("a stage")?;
        let parens = self.is("(");
        let args = if parens { self.args() } else { Vec::new() };
        let span = Span::new(name.span.start, self.previous_end());
        Some(Call { name, args, parens, span })
    }

    /// A component as a stage. An unknown one takes with it everything up to the next stage.
    fn stage_call(&mut self) -> Option<Call> {
        let known = (self.is_stage)(self.text());
        let call = self.call()?;
        if !known && !self.silent {
            self.skip_to(&["|"]);
        }
        Some(call)
    }

    fn stage(&mut self) -> Option<Stage> {
        let start = self.span();
        let known = (self.is_stage)(self.text()) || STAGE_WORDS.contains(&self.text());
        if self.at < self.end && !known && self.is_column_one(self.at) {
            self.expected("a stage");
            return None;
        }
        let to_here = |p: &Self| Span::new(start.start, p.previous_end().max(start.end));
        let stage = match self.text() {
            "where" => {
                self.bump();
                let condition = self.expr();
                Stage::Where { condition, span: to_here(self) }
            }
            "set" => {
                self.bump();
                let fields = self.fields(true);
                Stage::Set { fields, span: to_here(self) }
            }
            "select" => {
                self.bump();
                let fields = self.fields(false);
                Stage::Select { fields, span: to_here(self) }
            }
            "drop" => {
                self.bump();
                let names = self.columns();
                Stage::Drop { names, span: to_here(self) }
            }
            "window" => self.window(start)?,
            "route" => {
                self.bump();
                let fields = self.block()?;
                Stage::Route { fields, span: to_here(self) }
            }
            _ => Stage::Call(self.stage_call()?),
        };
        Some(stage)
    }

    /// `name = expr, …`; names may be left out where `named` is not asked.
    fn fields(&mut self, named: bool) -> Vec<NamedExpr> {
        let mut fields = Vec::new();
        loop {
            fields.extend(self.field(named));
            let comma = self.span();
            if self.is_missing_comma(named) {
                self.missing_comma();
                continue;
            }
            if self.silent || !self.eat(",") {
                return fields;
            }
            if self.is("{") || self.is("|") {
                let d = Diagnostic::new(codes::SYNTAX, comma, "no `,` follows the last one");
                self.report(d.help("delete it").replace(""));
                return fields;
            }
        }
    }

    /// `a`, `a = expr`, `src.team = expr`.
    fn field(&mut self, named: bool) -> Option<NamedExpr> {
        let after = self.after_dotted();
        let is_named = self.kind_at(self.at) == Some(Kind::Name) && self.text_at(after) == "=";
        let foreign = self.kind_at(self.at) == Some(Kind::Name) && self.text_at(after) == ":";
        if !is_named && !foreign {
            if named {
                self.expected("`name = expression`");
                return None;
            }
            let expr = self.expr();
            return Some(NamedExpr { name: None, expr });
        }
        let name = self.dotted()?;
        if foreign {
            self.foreign(":", "columns are written `name = expression`", " =");
        } else {
            self.bump();
        }
        Some(NamedExpr { name: Some(name), expr: self.expr() })
    }

    fn dotted(&mut self) -> Option<Name> {
        let first = self.name("a column")?;
        let mut text = first.text;
        let mut span = first.span;
        while self.eat(".") {
            let part = self.name("the rest of the name")?;
            text = format!("{text}.{}", part.text);
            span = span.to(part.span);
        }
        Some(Name { text, span })
    }

    fn columns(&mut self) -> Vec<Name> {
        let mut names = Vec::new();
        loop {
            names.extend(self.dotted());
            if self.is_missing_comma(false) {
                self.missing_comma();
                continue;
            }
            if self.silent || !self.eat(",") {
                return names;
            }
        }
    }

    /// `{ name = expr, … }`.
    fn block(&mut self) -> Option<Vec<NamedExpr>> {
        if !self.is("{") {
            self.expected("`{`");
            return None;
        }
        Some(self.inside(|p| p.list(|p| p.field(true))))
    }

    fn window(&mut self, start: Span) -> Option<Stage> {
        self.bump();
        if !self.is("(") {
            self.expected("`(` and a width, as in `window(5m)`");
            return None;
        }
        let args = self.args();
        if self.is("group") && self.text_at(self.at + 1) == "by" {
            self.foreign("group", "keys follow `by`: `window(5m) by src.ip { … }`", "");
        }
        let by = if self.eat("by") { self.fields(false) } else { Vec::new() };
        if !self.silent
            && !self.is("{")
            && !self.is("|")
            && self.kind_at(self.at) == Some(Kind::Name)
            && !self.begins_pipe()
        {
            let span = Span::new(self.previous_end(), self.previous_end());
            self.report(
                Diagnostic::new(codes::FOREIGN_SPELLING, span, "`by` is missing before the keys").replace(" by"),
            );
            self.fields(false);
        }
        let fields = self.block()?;
        Some(Stage::Window { args, by, fields, span: Span::new(start.start, self.previous_end()) })
    }
}
