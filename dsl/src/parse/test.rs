//! Test blocks.

use weir_spec::Span;

use super::Parser;
use crate::ast::{Expected, Expr, Item, Name, Operator, Quantifier, Statement, StatementKind, Test};
use crate::lex::Kind;

/// Words that begin a statement; a pipe ends before them.
pub const STATEMENTS: &[&str] = &["set", "feed", "advance", "expect", "fail"];

impl Parser<'_> {
    /// `test "…" { … }`.
    pub(super) fn test_item(&mut self) -> Option<Item> {
        let start = self.span();
        self.bump();
        let name_span = self.span();
        let name = match self.kind_at(self.at) {
            Some(Kind::String) => self.string_token(),
            Some(Kind::OpenString) => {
                self.expr();
                None
            }
            _ => {
                self.expected("a name in quotes, as in `test \"nothing is late\" { … }`");
                None
            }
        };
        if !self.is("{") {
            self.expected("`{` and the statements of the test");
            self.skip_item();
            return None;
        }
        let outer = std::mem::replace(&mut self.in_test, true);
        let statements = self.inside(|p| p.statements());
        self.in_test = outer;
        self.silent = false;
        let span = Span::new(start.start, self.previous_end());
        Some(Item::Test(Test { name: name?, name_span, statements, span }))
    }

    fn statements(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        while self.at < self.end {
            let (start, before) = (self.span(), self.at);
            let kind = self.statement();
            if let (Some(kind), false) = (kind, self.silent) {
                let span = Span::new(start.start, self.previous_end().max(start.end));
                statements.push(Statement { kind, span });
            }
            if self.silent || self.at == before {
                self.skip_statement();
            }
        }
        statements
    }

    /// Whether a statement begins here.
    pub(super) fn begins_statement(&self) -> bool {
        self.kind_at(self.at) == Some(Kind::Name) && STATEMENTS.contains(&self.text())
    }

    /// To the next statement of this block.
    fn skip_statement(&mut self) {
        self.bump_bracket();
        while self.at < self.end && !self.begins_statement() {
            self.bump_bracket();
        }
        self.silent = false;
    }

    fn statement(&mut self) -> Option<StatementKind> {
        let word = self.text();
        if !self.begins_statement() {
            let d = crate::nearest::nearest(word, STATEMENTS.iter().copied());
            match d {
                Some(near) => self.expected(&format!("`{near}`")),
                None => self.expected("a statement: `feed`, `advance`, `expect`, `set` or `fail`"),
            }
            return None;
        }
        self.bump();
        match word {
            "set" => {
                let name = self.name("a param")?;
                self.need("=")?;
                Some(StatementKind::Set { name, value: self.value_of("a value")? })
            }
            "feed" => {
                let target = self.stream_name()?;
                self.need("with")?;
                Some(StatementKind::Feed { target, pipe: self.pipe() })
            }
            "advance" => Some(StatementKind::Advance { by: self.value_of("a time, as `6m`")? }),
            "fail" => {
                let sink = self.name("a sink")?;
                self.need("for")?;
                Some(StatementKind::Fail { sink, time: self.value_of("a time, as `30s`")? })
            }
            _ => {
                let target = self.stream_name()?;
                Some(StatementKind::Expect { target, expected: self.expectation()? })
            }
        }
    }

    fn need(&mut self, text: &str) -> Option<()> {
        if self.eat(text) {
            return Some(());
        }
        self.expected(&format!("`{text}`"));
        None
    }

    fn expectation(&mut self) -> Option<Expected> {
        let word = self.text();
        let quantifier = match word {
            "any" => Some(Quantifier::Any),
            "all" => Some(Quantifier::All),
            "none" => Some(Quantifier::None),
            _ => None,
        };
        if let Some(quantifier) = quantifier {
            self.bump();
            if !self.is("{") {
                self.expected("`{` and conditions");
                return None;
            }
            let conditions = self.inside(|p| p.list(|p| Some(p.expr())));
            return Some(Expected::Rows { quantifier, conditions });
        }
        if word == "rows" {
            self.bump();
            let before = self.in_order();
            if !self.is("[") {
                self.expected("`[` and rows");
                return None;
            }
            let rows = self.rows();
            return Some(Expected::Exactly { rows, in_order: self.in_order() || before });
        }
        if word == "dropped" {
            self.bump();
            let reason = self.name("a reason, as in `dropped where == 3`")?;
            let (op, value) = self.comparison()?;
            return Some(Expected::Dropped { reason, op, value });
        }
        if self.kind_at(self.at) != Some(Kind::Name) || self.begins_statement() {
            self.expected("`count`, `any`, `all`, `none`, `rows` or `dropped`");
            return None;
        }
        let name = Name { text: word.to_string(), span: self.span() };
        self.bump();
        let (op, value) = self.comparison()?;
        Some(Expected::Counter { name, op, value })
    }

    fn in_order(&mut self) -> bool {
        if self.is("in") && self.text_at(self.at + 1) == "order" {
            self.at += 2;
            return true;
        }
        false
    }

    /// `== 3`.
    fn comparison(&mut self) -> Option<(Operator, Expr)> {
        if self.is("=") {
            self.foreign("=", "write `==`", "==");
            return Some((Operator::Equal, self.expr()));
        }
        let Some(op) = self.operator().map(|(op, _)| op).filter(|op| op.is_comparison()) else {
            self.expected("`==` or another comparison");
            return None;
        };
        self.bump();
        Some((op, self.value_of("a number")?))
    }

    /// An expression, unless the next statement comes instead.
    fn value_of(&mut self, what: &str) -> Option<Expr> {
        if self.at >= self.end || self.begins_statement() {
            self.expected(what);
            return None;
        }
        Some(self.expr())
    }

    /// `[ { … }, … ]`.
    pub(super) fn rows(&mut self) -> Vec<Expr> {
        self.inside(|p| p.list(|p| Some(p.expr())))
    }
}
