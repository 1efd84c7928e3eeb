//! Expressions, by precedence climbing.

use weir_spec::function;
use weir_spec::{Diagnostic, Span, Value};

use super::Parser;
use crate::ast::{Arg, Expr, ExprKind, Name, Operator};
use crate::lex::Kind;
use crate::{codes, literal};

/// Operators from the loosest to the tightest.
fn precedence(op: Operator) -> u8 {
    match op {
        Operator::Or => 1,
        Operator::And => 2,
        Operator::Add | Operator::Subtract => 5,
        Operator::Multiply | Operator::Divide => 6,
        _ => 4,
    }
}

/// Between `and` and the comparisons stands `not`.
const NOT: u8 = 3;

/// Operators of other languages that have no counterpart here, and what is written instead. The longest
/// first.
const FOREIGN_OPERATORS: &[(&[&str], &str)] = &[
    (&["=", "~"], "`matches(text, pattern)` tells whether a pattern is found"),
    (&["!", "~"], "`not matches(text, pattern)` tells whether a pattern is not found"),
    (&["<", ">"], "two values differ by `!=`"),
    (&["*", "*"], "there are no powers; `a * a` is a square"),
    (&[".", "."], "a range is two comparisons: `a >= 1 and a <= 3`"),
    (&["is", "not"], "two values differ by `!=`; what has no value is found by `a == none`"),
    (&["is"], "two values are compared by `==`; what has no value is found by `a == none`"),
    (&["not", "like"], "`not matches(text, pattern)` tells whether a pattern is not found"),
    (&["like"], "`matches(text, pattern)` tells whether a pattern is found"),
    (&["~"], "`matches(text, pattern)` tells whether a pattern is found"),
    (&["%"], "the remainder is `mod(a, b)`"),
    (&["^"], "there are no powers and no operations on bits"),
    (&["&"], "conditions are joined by `and`"),
    (&["?"], "a choice is written `if(condition, then, otherwise)`"),
];

impl Parser<'_> {
    /// An expression. Always gives one; what is wrong in it is `Broken` and reported.
    pub(super) fn expr(&mut self) -> Expr {
        let mut operators = 0;
        self.climb(0, &mut operators)
    }

    fn climb(&mut self, above: u8, operators: &mut usize) -> Expr {
        let mut left = self.prefix(above, operators);
        while !self.silent {
            if self.foreign_operator() {
                left.kind = ExprKind::Broken;
                break;
            }
            let Some((op, width)) = self.operator() else { break };
            if precedence(op) <= above {
                break;
            }
            *operators += 1;
            let op_span = self.span();
            if *operators > codes::OPERATORS_MAX {
                let title = format!("an expression has more than {} operators", codes::OPERATORS_MAX);
                self.report(Diagnostic::new(codes::TOO_DEEP, op_span, title));
                self.silent = true;
                left.kind = ExprKind::Broken;
                break;
            }
            self.spell(op);
            self.at += width;
            let right = self.climb(precedence(op), operators);
            let span = left.span.to(right.span);
            let (left_, right_) = (Box::new(left), Box::new(right));
            left = Expr { kind: ExprKind::Binary { op, op_span, left: left_, right: right_ }, span };
        }
        left
    }

    /// The operator here, and how many tokens it has.
    pub(super) fn operator(&self) -> Option<(Operator, usize)> {
        let op = match (self.kind_at(self.at)?, self.text()) {
            (Kind::Name, "or") => Operator::Or,
            (Kind::Name, "and") => Operator::And,
            (Kind::Name, "in") => Operator::In,
            (Kind::Name, "not") if self.text_at(self.at + 1) == "in" => return Some((Operator::NotIn, 2)),
            (Kind::Operator, text) => match text {
                "||" => Operator::Or,
                "&&" => Operator::And,
                "==" => Operator::Equal,
                "!=" => Operator::NotEqual,
                "<" => Operator::Less,
                "<=" => Operator::LessOrEqual,
                ">" => Operator::Greater,
                ">=" => Operator::GreaterOrEqual,
                "+" => Operator::Add,
                "-" => Operator::Subtract,
                "*" => Operator::Multiply,
                "/" => Operator::Divide,
                // In an expression a single `=` can only be meant as a comparison.
                "=" => Operator::Equal,
                _ => return None,
            },
            _ => return None,
        };
        Some((op, 1))
    }

    /// Reports an operator that has no counterpart here, and reads over the rest of the expression.
    fn foreign_operator(&mut self) -> bool {
        let is_here = |(words, _): &&(&[&str], &str)| {
            words.iter().enumerate().all(|(n, word)| self.text_at(self.at + n) == *word)
        };
        let Some((words, instead)) = FOREIGN_OPERATORS.iter().find(is_here) else { return false };
        if self.is_column_one(self.at) {
            return false;
        }
        let (start, last) = (self.span(), self.at + words.len() - 1);
        self.at = last + 1;
        let span = Span::new(start.start, self.previous_end());
        let title = format!("there is no operator `{}`", words.join(if words.contains(&"not") { " " } else { "" }));
        self.report(Diagnostic::new(codes::SYNTAX, span, title).help(*instead));
        self.silent = true;
        true
    }

    /// Reports operators of other languages, which are understood as meant.
    fn spell(&mut self, op: Operator) {
        let right = match (self.text(), op) {
            ("||", _) => "or",
            ("&&", _) => "and",
            ("=", _) => "==",
            _ => return,
        };
        let text = self.text().to_string();
        let span = self.span();
        let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, format!("`{text}` is written `{right}` here"));
        self.report(d.help(format!("write `{right}`")).replace(right));
    }

    /// `not` and `-`, as many as there are: in a loop, so that a long row of them costs no stack.
    fn prefix(&mut self, above: u8, operators: &mut usize) -> Expr {
        let mut signs: Vec<(bool, Span)> = Vec::new();
        loop {
            let span = self.span();
            if self.is("-") {
                signs.push((false, span));
            } else if self.is("not") {
                signs.push((true, span));
            } else if self.is("!") {
                self.foreign("!", "write `not`", "not ");
                signs.push((true, span));
                continue;
            } else {
                break;
            }
            *operators += 1;
            if *operators > codes::OPERATORS_MAX {
                let title = format!("an expression has more than {} operators", codes::OPERATORS_MAX);
                self.report(Diagnostic::new(codes::TOO_DEEP, span, title));
                self.silent = true;
                return Expr { kind: ExprKind::Broken, span };
            }
            self.bump();
        }
        // `not a == b` negates the comparison; `-a + b` only the operand.
        let mut expr = match signs.last() {
            Some((true, _)) if above < NOT => self.climb(NOT, operators),
            _ => self.postfix(),
        };
        for (is_not, span) in signs.into_iter().rev() {
            let whole = span.to(expr.span);
            let inner = Box::new(expr);
            let kind = if is_not { ExprKind::Not(inner) } else { ExprKind::Negate(inner) };
            expr = Expr { kind, span: whole };
        }
        expr
    }

    fn postfix(&mut self) -> Expr {
        let mut expr = self.primary();
        while !self.silent && self.is("[") && matches!(expr.kind, ExprKind::Name(_)) {
            let start = expr.span;
            let key = self.inside(|p| match p.kind_at(p.at) {
                Some(Kind::String) => p.string_token(),
                _ => {
                    p.expected("a tag key in quotes");
                    None
                }
            });
            let span = Span::new(start.start, self.previous_end());
            let kind = match key {
                Some(key) => ExprKind::Index { base: Box::new(expr), key },
                None => ExprKind::Broken,
            };
            expr = Expr { kind, span };
        }
        expr
    }

    pub(super) fn string_token(&mut self) -> Option<String> {
        let span = self.span();
        let text = literal::string(self.text(), span);
        self.bump();
        match text {
            Ok(text) => Some(text),
            Err(diagnostic) => {
                self.report(diagnostic);
                None
            }
        }
    }

    fn primary(&mut self) -> Expr {
        let span = self.span();
        let kind = match self.kind_at(self.at) {
            Some(Kind::Name) => return self.named(),
            Some(Kind::String) => self.string_token().map(|text| ExprKind::Literal(Value::Str(text))),
            Some(Kind::RawString) => {
                let text = literal::raw_string(self.text());
                self.bump();
                Some(ExprKind::Literal(Value::Str(text)))
            }
            Some(Kind::OpenString) => {
                self.report(
                    Diagnostic::new(codes::OPEN_STRING, span, "this string does not end on its line")
                        .help("close it with `\"`; a string of several lines is written r\"…\""),
                );
                self.bump();
                self.line_lost = true;
                Some(ExprKind::Broken)
            }
            Some(Kind::ForeignString) => {
                let inner = self.text().trim_matches(['“', '”', '„', '\'', '"']);
                let right = format!("{inner:?}");
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, "strings stand in straight double quotes");
                let inner = inner.to_string();
                self.report(d.help(format!("write {right}")).replace(right));
                self.bump();
                Some(ExprKind::Literal(Value::Str(inner)))
            }
            Some(Kind::Ipv4) => self.value(literal::address(self.text(), span)),
            Some(Kind::Number) => self.number(span),
            Some(Kind::Ipv6) => {
                let text = self.text();
                let right = format!("\"{text}\"");
                let value = literal::parse_address(text);
                let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, "an IPv6 address stands in quotes");
                self.report(d.help(format!("write {right}")).replace(right));
                self.bump();
                Some(value.map_or(ExprKind::Broken, ExprKind::Literal))
            }
            Some(Kind::Operator) if self.is_part_of_one(span) => self.part_of_one(span),
            Some(Kind::Operator) => return self.bracketed(),
            _ => None,
        };
        if kind.is_none() && self.span() == span {
            self.expected("an expression");
        }
        Expr { kind: kind.unwrap_or(ExprKind::Broken), span }
    }

    fn value(&mut self, value: Result<Value, Diagnostic>) -> Option<ExprKind> {
        self.bump();
        Some(match value {
            Ok(value) => ExprKind::Literal(value),
            Err(diagnostic) => {
                self.report(diagnostic);
                ExprKind::Broken
            }
        })
    }

    /// A number; `10 seconds` with a space before the unit is one mistake.
    fn number(&mut self, span: Span) -> Option<ExprKind> {
        let next = self.text_at(self.at + 1);
        let plain = self.text().bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let unit = matches!(
            next,
            "ns" | "us" | "ms" | "s" | "m" | "h" | "d" | "B" | "kB" | "MB" | "GB" | "KiB" | "MiB" | "GiB" | "TiB"
        )
        .then_some(next)
        .or_else(|| weir_spec::units::better_unit(next));
        let same_line =
            self.tokens.get(self.at + 1).is_some_and(|t| !self.source[span.end..t.span.start].contains('\n'));
        // `set a = 1 b = 2` lacks a comma and has no unit.
        let defines = self.text_at(self.at + 2) == "=";
        if let (true, Some(unit), true, Some(Kind::Name), false) =
            (plain, unit, same_line, self.kind_at(self.at + 1), defines)
        {
            let rate = self.text_at(self.at + 2) == "/" && self.text_at(self.at + 3) == "s";
            let right = format!("{}{unit}{}", self.text(), if rate { "/s" } else { "" });
            let last = if rate { self.at + 3 } else { self.at + 1 };
            let whole = span.to(self.tokens[last].span);
            let d = Diagnostic::new(codes::BAD_NUMBER, whole, format!("a unit touches its number: `{right}`"));
            self.report(d.help(format!("write `{right}`")).replace(right.clone()));
            self.at = last + 1;
            return Some(literal::number(&right, whole).map_or(ExprKind::Broken, ExprKind::Literal));
        }
        let value = literal::number(self.text(), span);
        self.value(value)
    }

    /// Whether `.5` stands here.
    fn is_part_of_one(&self, point: Span) -> bool {
        let number = self.tokens.get(self.at + 1).filter(|token| token.kind == Kind::Number);
        self.is(".") && number.is_some_and(|number| number.span.start == point.end)
    }

    fn part_of_one(&mut self, point: Span) -> Option<ExprKind> {
        self.bump();
        let whole = point.to(self.span());
        let right = format!("0.{}", self.text());
        let d = Diagnostic::new(codes::BAD_NUMBER, whole, "a number begins with a digit");
        self.report(d.help(format!("write `{right}`")).replace(right.clone()));
        self.bump();
        Some(literal::number(&right, whole).map_or(ExprKind::Broken, ExprKind::Literal))
    }

    fn bracketed(&mut self) -> Expr {
        let start = self.span();
        let whole = |p: &Self| Span::new(start.start, p.previous_end());
        match self.text() {
            "(" => {
                let inner = self.inside(|p| {
                    let inner = p.expr();
                    if p.is(",") && !p.silent {
                        let d = Diagnostic::new(codes::SYNTAX, start, "a list stands in square brackets");
                        p.report(d.help("write `[ …, … ]`"));
                        p.silent = true;
                    }
                    inner
                });
                Expr { kind: inner.kind, span: whole(self) }
            }
            "[" => {
                let items = self.inside(|p| p.list(|p| Some(p.expr())));
                Expr { kind: ExprKind::List(items), span: whole(self) }
            }
            "{" => {
                let entries = self.inside(|p| p.list(|p| p.entry()));
                Expr { kind: ExprKind::Map(entries), span: whole(self) }
            }
            _ => {
                self.expected("an expression");
                Expr { kind: ExprKind::Broken, span: start }
            }
        }
    }

    /// `"k": v` or `src.ip: v`.
    fn entry(&mut self) -> Option<(Name, Expr)> {
        let span = self.span();
        let mut name = match self.kind_at(self.at) {
            Some(Kind::String) => Name { text: self.string_token()?, span },
            Some(Kind::Name) => {
                self.bump();
                Name { text: self.text_at(self.at - 1).to_string(), span }
            }
            _ => {
                self.expected("a key");
                return None;
            }
        };
        while self.eat(".") {
            let part = self.name("the rest of the key")?;
            name = Name { text: format!("{}.{}", name.text, part.text), span: name.span.to(part.span) };
        }
        if self.is("=") {
            self.foreign("=", "maps are written `{ key: value }`", ":");
        } else if !self.eat(":") {
            self.expected("`:`");
            return None;
        }
        // A type of several values, as schemas have them.
        if self.is("list") && self.text_at(self.at + 1) == "<" && self.text_at(self.at + 3) == ">" {
            let start = self.span();
            let text = format!("list<{}>", self.text_at(self.at + 2));
            self.at += 4;
            let span = Span::new(start.start, self.previous_end());
            return Some((name, Expr { kind: ExprKind::Name(text), span }));
        }
        Some((name, self.expr()))
    }

    /// A column, a param, a constant, a call, or one of the words that are values.
    fn named(&mut self) -> Expr {
        let span = self.span();
        let text = self.text();
        let literal = match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "none" => Some(Value::None),
            _ => None,
        };
        if let Some(value) = literal {
            self.bump();
            return Expr { kind: ExprKind::Literal(value), span };
        }
        if self.text_at(self.at + 1) == "(" {
            self.bump();
            let args = self.args();
            let name = Name { text: text.to_string(), span };
            return Expr { kind: ExprKind::Call { name, args }, span: Span::new(span.start, self.previous_end()) };
        }
        if matches!(text, "and" | "or" | "in" | "let" | "settings" | "test" | "use" | "pipe" | "if") {
            self.expected("an expression");
            return Expr { kind: ExprKind::Broken, span };
        }
        if is_code(text) {
            let right = format!("\"{text}\"");
            let d = Diagnostic::new(codes::FOREIGN_SPELLING, span, format!("the code `{text}` stands in quotes"));
            self.report(d.help(format!("write `{right}`")).replace(right));
            self.bump();
            return Expr { kind: ExprKind::Literal(Value::Str(text.to_string())), span };
        }
        self.check_name(text, span);
        self.bump();
        let mut name = text.to_string();
        let mut whole = span;
        while self.is(".") && self.kind_at(self.at + 1) == Some(Kind::Name) {
            self.bump();
            name = format!("{name}.{}", self.text());
            whole = whole.to(self.span());
            self.bump();
        }
        let function = name.rsplit_once('.').filter(|(_, function)| function::find(function).is_some());
        if let Some((of, function)) = function.filter(|_| self.is("(") && self.span().start == whole.end) {
            return self.method(of, function, whole);
        }
        Expr { kind: ExprKind::Name(name), span: whole }
    }

    /// `name.starts_with("a")`, which is meant as `starts_with(name, "a")`.
    fn method(&mut self, of: &str, function: &str, whole: Span) -> Expr {
        let of_span = Span::new(whole.start, whole.start + of.len());
        let name = Name { text: function.to_string(), span: Span::new(of_span.end + 1, whole.end) };
        let behind = if self.text_at(self.at + 1) == ")" { "" } else { ", " };
        let right = format!("{function}({of}{behind}");
        let d = Diagnostic::new(
            codes::FOREIGN_SPELLING,
            whole.to(self.span()),
            format!("`{function}` stands before what it is of"),
        );
        self.report(
            d.help(format!("write `{function}({of}{})`", if behind.is_empty() { "" } else { ", …" })).replace(right),
        );
        let mut args = self.args();
        args.insert(0, Arg { name: None, value: Expr { kind: ExprKind::Name(of.to_string()), span: of_span } });
        Expr { kind: ExprKind::Call { name, args }, span: Span::new(whole.start, self.previous_end()) }
    }
}

/// `W0301`: what messages are known by.
fn is_code(name: &str) -> bool {
    let digits = name.strip_prefix(['W', 'E']);
    digits.is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}
