//! Definitions.

use weir_spec::{Diagnostic, Span};

use super::{Parser, RESERVED};
use crate::ast::{Arg, Expr, ExprKind, File, Head, Item, LetValue, Name, Param, Piece, Pipe, TypeName};
use crate::codes;
use crate::lex::Kind;
use crate::nearest::nearest;

impl Parser<'_> {
    pub(super) fn file(&mut self) -> File {
        let mut file = File::default();
        while self.at < self.end {
            let before = self.at;
            self.silent = false;
            file.items.extend(self.item());
            if self.at == before {
                self.bump();
            }
        }
        if file.items.is_empty() && self.diagnostics.is_empty() {
            let d = Diagnostic::new(codes::EMPTY, Span::new(0, 0), "this file defines nothing");
            self.diagnostics.push(d.help("a pipeline reads like this: pcap(\"capture.pcap\") | biflow | stdout"));
        }
        file
    }

    /// Whether a definition begins at the parser's place, for recovery.
    pub(super) fn begins_item(&self) -> bool {
        if self.kind_at(self.at) != Some(Kind::Name) {
            return false;
        }
        let next = self.kind_at(self.at + 1);
        match self.text() {
            "let" | "param" | "pipe" => next == Some(Kind::Name),
            "test" | "use" if self.is_column_one(self.at) => next.is_some(),
            "test" | "use" => matches!(next, Some(Kind::String | Kind::OpenString)),
            "settings" => self.text_at(self.at + 1) == "(",
            _ => self.is_column_one(self.at) && !matches!(self.text(), "by" | "and" | "or" | "not" | "in"),
        }
    }

    fn item(&mut self) -> Option<Item> {
        let span = self.span();
        if let Some(meant) = self.misspelt_keyword() {
            let title = format!("`{}` begins no definition", self.text());
            let d = Diagnostic::new(codes::SYNTAX, span, title);
            self.report(d.help(format!("did you mean `{meant}`?")).replace(meant));
            return match meant {
                "let" => self.let_item(),
                "test" => self.test_item(),
                "use" => self.use_item(),
                "pipe" => self.piece_item(),
                _ => self.param_item(),
            };
        }
        match self.text() {
            "let" => self.let_item(),
            "param" => self.param_item(),
            "settings" => self.settings_item(),
            "test" => self.test_item(),
            "use" => self.use_item(),
            "pipe" => self.piece_item(),
            "" => None,
            _ => {
                if self.is_missing_let() {
                    let d = Diagnostic::new(
                        codes::FOREIGN_SPELLING,
                        Span::new(span.start, span.start),
                        "`let` is missing before a definition",
                    );
                    self.report(d.replace("let "));
                    return self.definition(span);
                }
                let pipe = self.pipe();
                Some(Item::Pipe(pipe))
            }
        }
    }

    /// `lett a = …`, `parm n: …`: the keyword that is nearly written here.
    fn misspelt_keyword(&self) -> Option<&'static str> {
        if RESERVED.contains(&self.text()) {
            return None;
        }
        // `tset "…" { … }`, `ues "…"`.
        if self.kind_at(self.at) == Some(Kind::Name) && self.kind_at(self.at + 1) == Some(Kind::String) {
            let word = if self.text_at(self.at + 2) == "{" { "test" } else { "use" };
            return nearest(self.text(), [word]).map(|_| word);
        }
        let two_names = self.kind_at(self.at) == Some(Kind::Name) && self.kind_at(self.at + 1) == Some(Kind::Name);
        if !two_names {
            return None;
        }
        let word = match self.text_at(self.at + 2) {
            "=" => "let",
            ":" => "param",
            "(" => "pipe",
            _ => return None,
        };
        nearest(self.text(), [word]).map(|_| word)
    }

    /// `name = …` at the head of an item.
    fn is_missing_let(&self) -> bool {
        self.kind_at(self.at) == Some(Kind::Name) && self.text_at(self.at + 1) == "="
    }

    fn let_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        self.definition(start)
    }

    fn from(&self, start: Span) -> Span {
        Span::new(start.start, self.previous_end().max(start.end))
    }

    fn definition(&mut self, start: Span) -> Option<Item> {
        let Some(name) = self.name("a name") else {
            self.skip_item();
            return None;
        };
        if !self.eat("=") {
            let begins = matches!(self.kind_at(self.at), Some(Kind::Name)) && !self.begins_item();
            if !begins {
                self.expected("`=`");
                self.skip_item();
                let span = name.span;
                let pipe = Pipe { head: Head::Broken(span), stages: Vec::new(), broken: true, span };
                return Some(Item::Let { name, value: LetValue::Pipe(pipe), span: self.from(start) });
            }
            let span = Span::new(name.span.end, name.span.end);
            self.report(Diagnostic::new(codes::FOREIGN_SPELLING, span, "a `=` is missing here").replace(" ="));
        }
        let value = match self.is_constant() {
            true => {
                let expr = self.expr();
                self.end_of_item();
                LetValue::Constant(expr)
            }
            false => LetValue::Pipe(self.pipe()),
        };
        Some(Item::Let { name, value, span: self.from(start) })
    }

    /// A `let` binds a constant when what follows begins like one; otherwise a pipe.
    fn is_constant(&self) -> bool {
        match self.kind_at(self.at) {
            Some(Kind::Operator) => matches!(self.text(), "[" | "-" | "("),
            Some(Kind::Name) => match self.text() {
                "not" | "true" | "false" | "none" => true,
                "env" | "secret" | "if" | "format" => self.text_at(self.at + 1) == "(",
                "param" => self.text_at(self.at + 1) == ".",
                _ => false,
            },
            Some(_) => true,
            None => false,
        }
    }

    fn param_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        let Some(param) = self.param() else {
            self.skip_item();
            return None;
        };
        self.end_of_item();
        Some(Item::Param { param, span: self.from(start) })
    }

    /// `name: type = default`.
    fn param(&mut self) -> Option<Param> {
        let name = self.name("a name")?;
        let ty = match self.eat(":") {
            true if self.begins_item() || self.is("=") => {
                self.expected("a type, as in `param n: int`");
                None
            }
            true => self.type_name(),
            false if self.kind_at(self.at) == Some(Kind::Name) && !self.begins_item() => {
                let span = Span::new(name.span.end, name.span.end);
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, "a `:` is missing before the type");
                self.report(d.replace(":"));
                self.type_name()
            }
            false => None,
        };
        let default = self.eat("=").then(|| self.expr());
        Some(Param { name, ty, default })
    }

    fn type_name(&mut self) -> Option<TypeName> {
        let start = self.span();
        let name = self.name("a type")?;
        let mut text = name.text;
        if text == "list" && self.eat("<") {
            let of = self.name("a type")?;
            text = format!("list<{}>", of.text);
            if !self.eat(">") {
                self.expected("`>`");
            }
        }
        Some(TypeName { text, span: Span::new(start.start, self.previous_end()) })
    }

    fn settings_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        if !self.is("(") {
            self.expected("`(`");
            self.skip_item();
            return None;
        }
        let args = self.args();
        Some(Item::Settings { args, span: Span::new(start.start, self.previous_end()) })
    }

    /// `use "teams.weir"`.
    fn use_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        if !matches!(self.kind_at(self.at), Some(Kind::String | Kind::OpenString)) {
            self.expected("a file in quotes, as in `use \"teams.weir\"`");
            self.skip_item();
            return None;
        }
        let path = self.expr();
        self.end_of_item();
        match path.kind {
            ExprKind::Literal(weir_spec::Value::Str(path)) => Some(Item::Use { path, span: self.from(start) }),
            _ => None,
        }
    }

    /// `pipe busy(n: int) = where dst.port == n | …`.
    fn piece_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        let like = "a name and its params, as in `pipe busy(n: int) = …`";
        let named = self.kind_at(self.at) == Some(Kind::Name) && self.text_at(self.at + 1) == "(";
        if !named {
            self.expected(like);
            self.skip_item();
            return None;
        }
        let name = self.name(like)?;
        let params = self.inside(|p| p.list(|p| p.param()));
        if !self.eat("=") {
            self.expected("`=`");
            self.skip_item();
            return None;
        }
        let body = self.body();
        Some(Item::Piece(Piece { name, params, body, span: self.from(start) }))
    }

    pub(super) fn skip_item(&mut self) {
        if self.at < self.end && !self.begins_item() {
            self.bump_bracket();
        }
        self.skip_to(&[]);
    }

    pub(super) fn bump_bracket(&mut self) {
        match self.ends.get(self.at).copied().flatten() {
            Some(crate::brackets::End::Closed(close)) => self.at = close + 1,
            _ => self.bump(),
        }
    }

    /// What may stand behind a definition that is no pipe.
    fn end_of_item(&mut self) {
        if self.silent {
            return self.skip_to(&[]);
        }
        if self.at < self.end && self.is(";") {
            self.foreign(";", "nothing separates definitions: a new line is enough", "");
            return;
        }
        let fine = self.at >= self.end || self.begins_item() || self.kind_at(self.at) == Some(Kind::Name);
        if !fine {
            self.expected("a definition");
            self.skip_item();
        }
    }

    /// Reports another language's spelling and steps over it.
    pub(super) fn foreign(&mut self, spelling: &str, help: &str, replacement: &str) {
        let span = self.span();
        let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, format!("`{spelling}` is not written here"));
        self.report(d.help(help).replace(replacement));
        self.bump();
    }

    /// The arguments of a call; the parser stands at `(`.
    pub(super) fn args(&mut self) -> Vec<Arg> {
        self.inside(|p| p.list(|p| p.arg()))
    }

    /// `"rows": 5` and `rows 5`, which are meant as `rows: 5`.
    fn misspelt_arg(&mut self) -> Option<Arg> {
        let span = self.span();
        match (self.kind_at(self.at)?, self.kind_at(self.at + 1)?) {
            (Kind::String, Kind::Operator) if self.text_at(self.at + 1) == ":" => {
                let text = self.text().trim_matches('"').to_string();
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, "an option's name has no quotes");
                self.report(d.help(format!("write `{text}`")).replace(text.clone()));
                self.at += 2;
                Some(Arg { name: Some(Name { text, span }), value: self.expr() })
            }
            (Kind::Name, Kind::Number | Kind::String | Kind::Ipv4) if !RESERVED.contains(&self.text()) => {
                let text = self.text().to_string();
                let here = Span::new(span.end, span.end);
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, here, format!("a `:` is missing after `{text}`"));
                self.report(d.replace(":"));
                self.bump();
                Some(Arg { name: Some(Name { text, span }), value: self.expr() })
            }
            _ => None,
        }
    }

    fn arg(&mut self) -> Option<Arg> {
        let named = self.kind_at(self.at) == Some(Kind::Name) && matches!(self.text_at(self.at + 1), ":" | "=");
        if !named {
            if let Some(arg) = self.misspelt_arg() {
                return Some(arg);
            }
            let value = self.expr();
            return Some(Arg { name: None, value });
        }
        let name = Name { text: self.text().to_string(), span: self.span() };
        self.bump();
        if self.is("=") {
            self.foreign("=", "options are written `name: value`", ":");
        } else {
            self.bump();
        }
        if self.at >= self.end || self.is(",") {
            self.expected("a value");
            let value = Expr { kind: ExprKind::Broken, span: name.span };
            return Some(Arg { name: Some(name), value });
        }
        Some(Arg { name: Some(name), value: self.expr() })
    }
}
