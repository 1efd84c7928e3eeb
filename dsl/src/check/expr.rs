//! Expressions: what each name means, and whether types and units go together.

use weir_spec::arithmetic::arithmetic;
use weir_spec::expr::{Arithmetic, Comparison, Expr as Typed, Node};
use weir_spec::schema::TagKeys;
use weir_spec::types::{Type, Unit, article};
use weir_spec::{Diagnostic, Field, Span, Stream, Value};

use super::{Built, Checker, Scope};
use crate::ast::{Expr, ExprKind, Operator};
use crate::nearest::{list, meant, nearest};
use crate::{codes, literal};

/// The hint for a name that `in` looks into: there a list is in its place.
const IN_A_SET: Type = Type::List(&Type::Unknown);

impl Checker<'_> {
    /// Checks an expression. `hint` is the type that its place asks for, for strings that stand for
    /// addresses, times and words; whether it is that type in the end is the caller's to check.
    pub(super) fn expr(&mut self, expr: &Expr, scope: &mut Scope, hint: Option<&Type>) -> Typed {
        if scope.said.is_none() {
            let mut said = Default::default();
            super::names::params_said(expr, &mut said);
            scope.said = Some(said);
        }
        match &expr.kind {
            ExprKind::Broken => Typed::unknown(),
            ExprKind::Literal(Value::None) if matches!(hint, Some(Type::Bool)) => {
                self.report(Diagnostic::new(codes::TYPE_MISMATCH, expr.span, "`none` is neither true nor false"));
                Typed::unknown()
            }
            ExprKind::Literal(value) => self.literal(value, expr.span, hint),
            ExprKind::Name(name) => {
                let typed = self.name(name, expr, scope);
                if scope.stream.is_some()
                    && hint != Some(&IN_A_SET)
                    && matches!(typed.as_literal(), Some(Value::List(_)))
                {
                    return self.list_as_value(expr.span);
                }
                typed
            }
            ExprKind::Index { base, key } => self.index(base, key, expr.span, scope),
            ExprKind::List(_) if scope.stream.is_some() => self.list_as_value(expr.span),
            ExprKind::List(_) => {
                let value = self.constant(expr, hint);
                value.map_or_else(Typed::unknown, Typed::literal)
            }
            ExprKind::Map(_) => {
                let title = "a map is only a value of options";
                self.report(Diagnostic::new(codes::TYPE_MISMATCH, expr.span, title));
                Typed::unknown()
            }
            ExprKind::Not(a) => {
                let a = self.condition(a, scope);
                Typed { ty: Type::Bool, node: Node::Not(Box::new(a)) }
            }
            ExprKind::Negate(a) => {
                let inner = self.expr(a, scope, hint);
                if matches!(a.kind, ExprKind::Literal(Value::None)) {
                    self.report(Diagnostic::new(codes::TYPE_MISMATCH, a.span, "a number belongs here, this is `none`"));
                    return Typed::unknown();
                }
                if inner.ty.is_unknown() {
                    return Typed::unknown();
                }
                if !inner.ty.is_number() {
                    self.mismatch(a.span, &inner.ty, "a number");
                    return Typed::unknown();
                }
                match inner.as_literal().and_then(Value::as_f64) {
                    Some(x) => Typed::literal(Value::number(-x, &inner.ty)),
                    None => Typed { ty: inner.ty.clone(), node: Node::Negate(Box::new(inner)) },
                }
            }
            ExprKind::Binary { op, op_span, left, right } => self.binary(*op, *op_span, left, right, scope),
            ExprKind::Call { name, args } => self.call_expr(name, args, expr.span, scope, hint),
        }
    }

    fn list_as_value(&mut self, span: Span) -> Typed {
        let d = Diagnostic::new(codes::NOT_YET, span, "a list cannot be a column's value yet");
        self.report(d.help("lists are looked into with `in`: `dst.port in [80, 443]`"));
        Typed::unknown()
    }

    /// An expression that has to be true or false.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &mut Scope) -> Typed {
        let typed = self.expr(expr, scope, Some(&Type::Bool));
        if typed.ty != Type::Bool && !typed.ty.is_unknown() {
            self.mismatch(expr.span, &typed.ty, "a condition");
            return Typed::unknown();
        }
        typed
    }

    fn mismatch(&mut self, span: Span, found: &Type, wanted: &str) {
        let title = format!("{wanted} belongs here, this is {}", article(found));
        self.report(Diagnostic::new(codes::TYPE_MISMATCH, span, title));
    }

    fn literal(&mut self, value: &Value, span: Span, hint: Option<&Type>) -> Typed {
        let Value::Str(text) = value else { return Typed::literal(value.clone()) };
        match hint.map(Type::element) {
            Some(Type::Enum(e)) => {
                if (e.parse)(text).is_none() {
                    let near = nearest(text, e.labels.iter().copied());
                    let title = format!("`{}` is never {text:?}", e.name);
                    let d = Diagnostic::new(codes::UNKNOWN_WORD, span, title);
                    let d = match near {
                        Some(near) => d.help(format!("did you mean {near:?}?")).replace(format!("{near:?}")),
                        None => d.help(format!("it is one of {}", list(e.labels.iter().copied()))),
                    };
                    self.report(d);
                    return Typed::unknown();
                }
                Typed { ty: Type::Enum(e), node: Node::Literal(value.clone()) }
            }
            Some(ty @ (Type::Ip | Type::Cidr)) => match literal::parse_address(text) {
                Some(address) => Typed::literal(address),
                None => self.unreadable(text, span, ty),
            },
            Some(ty @ Type::Time) => match weir_spec::units::parse_time(text) {
                Some(time) => Typed::literal(Value::Time(time)),
                None => self.unreadable(text, span, ty),
            },
            _ => Typed::literal(value.clone()),
        }
    }

    fn unreadable(&mut self, text: &str, span: Span, ty: &Type) -> Typed {
        let example = match ty {
            Type::Time => "a time is written \"2026-01-31T12:00:00Z\"",
            Type::Cidr => "a network is written 10.0.0.0/8 or \"2001:db8::/32\"",
            _ => "an address is written 192.0.2.1 or \"2001:db8::1\"",
        };
        let title = format!("{text:?} cannot be read as {}", article(ty));
        self.report(Diagnostic::new(codes::TYPE_MISMATCH, span, title).help(example));
        Typed::unknown()
    }

    fn name(&mut self, name: &str, expr: &Expr, scope: &mut Scope) -> Typed {
        if let Some(param) = name.strip_prefix("param.") {
            return self.param_value(param, expr.span);
        }
        if let Some(collected) = &mut scope.window
            && let Some(found) = collected.name(name)
        {
            return found;
        }
        let Some(stream) = scope.stream else { return self.constant_name(name, expr.span) };
        if scope.window.is_some() {
            return self.not_aggregated(name, expr.span, stream);
        }
        if stream.poisoned {
            self.touch(name);
            return Typed::unknown();
        }
        if let Some(field) = stream.schema.field(name) {
            let ty = field.ty.clone();
            let settled = scope.said.as_ref().is_some_and(|said| said.contains(name));
            if self.params.contains_key(name) && !settled {
                self.clash(name, expr.span);
            }
            return Typed::column(name, ty);
        }
        if let Some(tag) = self.short_tag(name, expr.span, stream) {
            return tag;
        }
        if self.params.contains_key(name) || self.definitions.contains_key(name) {
            return self.constant_name(name, expr.span);
        }
        self.unknown_column(name, expr.span, stream, &scope.label);
        Typed::unknown()
    }

    /// Marks a name as used where its meaning is not known, so that no warning follows.
    pub(super) fn touch(&mut self, name: &str) {
        if let Some(param) = self.params.get_mut(name) {
            param.used = true;
        }
        if let Some(definition) = self.definitions.get_mut(name) {
            definition.used = true;
        }
    }

    fn clash(&mut self, name: &str, span: Span) {
        let defined = self.params[name].span;
        let title = format!("`{name}` is both a param and a column");
        let d = Diagnostic::new(codes::AMBIGUOUS_NAME, span, title).here("which one?").label(defined, "the param");
        self.report_name(name, d.help(format!("rename the param, or write `param.{name}` for it")));
        self.touch(name);
    }

    fn param_value(&mut self, name: &str, span: Span) -> Typed {
        let Some(param) = self.params.get_mut(name) else {
            let near = nearest(name, self.params.keys().map(String::as_str)).map(str::to_string);
            near.iter().for_each(|near| self.touch(near));
            let d = Diagnostic::new(codes::UNKNOWN_PARAM, span, format!("there is no param `{name}`"));
            let d = match near {
                Some(near) => d.help(format!("did you mean `param.{near}`?")).replace(format!("param.{near}")),
                None => d.help(format!("define it: `param {name}: string = …`")),
            };
            self.report_name(name, d);
            return Typed::unknown();
        };
        param.used = true;
        self.looked_up += 1;
        let param = &self.params[name];
        Typed { ty: param.ty.clone(), node: Node::Literal(param.value.clone().unwrap_or(Value::None)) }
    }

    /// A name where there are no columns: a param or a constant.
    fn constant_name(&mut self, name: &str, span: Span) -> Typed {
        if self.params.contains_key(name) {
            return self.param_value(name, span);
        }
        if let Some(definition) = self.definitions.get_mut(name) {
            definition.used = true;
            self.looked_up += 1;
            return match self.built.get(name) {
                Some(Built::Constant(value, ty)) => Typed { ty: ty.clone(), node: Node::Literal(value.clone()) },
                Some(Built::Stream(_)) => {
                    let title = format!("`{name}` is a stream, and a value belongs here");
                    self.report(Diagnostic::new(codes::TYPE_MISMATCH, span, title));
                    Typed::unknown()
                }
                _ => Typed::unknown(),
            };
        }
        let known = self.params.keys().chain(self.definitions.keys()).map(String::as_str);
        let near = nearest(name, known).map(str::to_string);
        near.iter().for_each(|near| self.touch(near));
        let d = Diagnostic::new(codes::NOT_CONSTANT, span, format!("`{name}` is no value that is known before start"));
        let d = meant(d, near.as_deref(), || "a text stands in quotes; columns cannot be used here".to_string());
        self.report_name(name, d);
        Typed::unknown()
    }

    pub(super) fn unknown_column(&mut self, name: &str, span: Span, stream: &Stream, label: &str) {
        let columns: Vec<&str> = stream.schema.names().collect();
        let d = Diagnostic::new(codes::UNKNOWN_COLUMN, span, format!("`{label}` has no column `{name}`"));
        let short = |(column, keys): (&String, &TagKeys)| -> Vec<String> {
            let prefix = column.strip_suffix(".tags").unwrap_or(column);
            keys.known.iter().map(|key| format!("{prefix}.{key}")).collect()
        };
        let tags: Vec<String> = stream.keys.iter().flat_map(short).collect();
        let near = nearest(name, tags.iter().map(String::as_str).chain(columns.iter().copied()));
        let d = match near {
            None if let Some(replaced) = untagged(name, stream) => {
                d.help(format!("`{}` is {} here, which has no tags", replaced.name, article(&replaced.ty)))
            }
            Some(near) => d.here(format!("did you mean `{near}`?")).help(format!("write `{near}`")).replace(near),
            None => d.help(format!("its columns are {}", list(columns.iter().copied()))),
        };
        self.report_name(name, d);
    }

    /// `src.team`, short for `src.tags["team"]`.
    fn short_tag(&mut self, name: &str, span: Span, stream: &Stream) -> Option<Typed> {
        let (prefix, key) = name.split_once('.')?;
        let column = tags_of(prefix);
        stream.keys.contains_key(&column).then_some(())?;
        let like_column = nearest(name, stream.schema.names().filter(|n| n.starts_with(prefix)));
        let keys = &stream.keys[&column];
        if !keys.known.contains(key) && !keys.open && like_column.is_some() {
            return None;
        }
        Some(self.tag(&column, key, span, stream))
    }

    /// The values of a tag key.
    fn tag(&mut self, column: &str, key: &str, span: Span, stream: &Stream) -> Typed {
        let keys = &stream.keys[column];
        if !keys.known.contains(key) {
            let near = nearest(key, keys.known.iter().map(String::as_str)).map(str::to_string);
            if !keys.open {
                let title = format!("nothing upstream provides the tag `{key}` of `{column}`");
                let d = Diagnostic::new(codes::UNKNOWN_TAG, span, title);
                let help = match (near, keys.known.is_empty()) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, true) => "no stage before this resolves tags".to_string(),
                    (None, false) => format!("the known tags are {}", list(keys.known.iter().map(String::as_str))),
                };
                self.report_name(key, d.help(help));
                return Typed::unknown();
            }
            if let Some(near) = near {
                let title = format!("the tag `{key}` is not declared, `{near}` is");
                self.report_name(key, Diagnostic::new(codes::UNKNOWN_OPEN_TAG, span, title));
            }
        }
        Typed { ty: Type::List(&Type::Str), node: Node::Tag { column: column.into(), key: key.into() } }
    }

    fn index(&mut self, base: &Expr, key: &str, span: Span, scope: &mut Scope) -> Typed {
        let ExprKind::Name(column) = &base.kind else { return Typed::unknown() };
        let Some(stream) = scope.stream else { return self.constant_name(column, base.span) };
        if stream.poisoned {
            return Typed::unknown();
        }
        match stream.schema.field(column) {
            Some(field) if field.ty == Type::Tags => self.tag(column, key, span, stream),
            Some(field) => {
                let title = format!("`{column}` is {}, which has no keys", article(&field.ty));
                self.report(Diagnostic::new(codes::TYPE_MISMATCH, base.span, title));
                Typed::unknown()
            }
            None => {
                self.unknown_column(column, base.span, stream, &scope.label);
                Typed::unknown()
            }
        }
    }

    fn binary(&mut self, op: Operator, op_span: Span, left: &Expr, right: &Expr, scope: &mut Scope) -> Typed {
        match op {
            Operator::And | Operator::Or => {
                let (a, b) = (Box::new(self.condition(left, scope)), Box::new(self.condition(right, scope)));
                let node = if op == Operator::And { Node::And(a, b) } else { Node::Or(a, b) };
                Typed { ty: Type::Bool, node }
            }
            Operator::In | Operator::NotIn => {
                let inside = self.membership(left, right, scope);
                match op {
                    Operator::NotIn => Typed { ty: Type::Bool, node: Node::Not(Box::new(inside)) },
                    _ => inside,
                }
            }
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide => {
                self.arithmetic(op, op_span, left, right, scope)
            }
            _ => self.comparison(op, left, right, scope),
        }
    }

    /// Both operands, a literal text read as what the other side is.
    fn operands(&mut self, left: &Expr, right: &Expr, scope: &mut Scope) -> (Typed, Typed) {
        if matches!(left.kind, ExprKind::Literal(Value::Str(_))) {
            let b = self.expr(right, scope, None);
            let a = self.expr(left, scope, Some(&b.ty));
            return (a, b);
        }
        let a = self.expr(left, scope, None);
        let b = self.expr(right, scope, Some(&a.ty));
        (self.retype(a.clone(), left.span, &b.ty), self.retype(b, right.span, &a.ty))
    }

    /// One of these words is wanted, also behind a name.
    pub(super) fn one_of(&mut self, expr: &Expr, scope: &mut Scope, words: &Type) -> Typed {
        let typed = self.expr(expr, scope, Some(words));
        self.retype(typed, expr.span, words)
    }

    /// A constant text that reads as an address or a time is one where one is wanted; another stays a text.
    pub(super) fn retype_if_readable(&mut self, typed: Typed, span: Span, other: &Type) -> Typed {
        let text = typed.as_literal().and_then(Value::as_str);
        let is_readable = text.is_some_and(|text| match other {
            Type::Ip | Type::Cidr => literal::parse_address(text).is_some(),
            Type::Time => weir_spec::units::parse_time(text).is_some(),
            _ => false,
        });
        if is_readable { self.retype(typed, span, other) } else { typed }
    }

    /// A constant text beside an address, a time or a word is read as one, also behind a name.
    fn retype(&mut self, typed: Typed, span: Span, other: &Type) -> Typed {
        match (typed.as_literal(), other.element()) {
            (Some(value @ Value::Str(_)), Type::Enum(_) | Type::Ip | Type::Cidr | Type::Time) => {
                let value = value.clone();
                self.literal(&value, span, Some(other))
            }
            _ => typed,
        }
    }

    fn comparison(&mut self, op: Operator, left: &Expr, right: &Expr, scope: &mut Scope) -> Typed {
        if let Some(none) = [left, right].into_iter().find(|e| matches!(e.kind, ExprKind::Literal(Value::None))) {
            let d = Diagnostic::new(codes::TYPE_MISMATCH, none.span, "nothing compares with `none`");
            self.report(d.help("a comparison with an absent value is absent; `coalesce(x, …)` fills one in"));
            return Typed { ty: Type::Bool, node: Node::Literal(Value::None) };
        }
        let (mut a, mut b) = self.operands(left, right, scope);
        let comparison = comparison(op);
        let (x, y) = (a.ty.element().clone(), b.ty.element().clone());
        if x.is_unknown() || y.is_unknown() {
            return Typed { ty: Type::Bool, node: Node::Literal(Value::None) };
        }
        let both_text = x.is_text() && y.is_text();
        let same_unit = x.unit().is_some() && x.unit() == y.unit();
        if (x == Type::Ip && y == Type::Cidr) || (x == Type::Cidr && y == Type::Ip) {
            let d = Diagnostic::new(codes::TYPE_MISMATCH, right.span, "an address is not equal to a network");
            self.report(d.help("write `in`: `src.ip in 10.0.0.0/8`"));
            return Typed { ty: Type::Bool, node: Node::Literal(Value::None) };
        }
        if x != y && !both_text && !same_unit {
            self.unlike(left, &a, right, &b);
            return Typed { ty: Type::Bool, node: Node::Literal(Value::None) };
        }
        let ordered = x.is_number() || matches!(x, Type::Time | Type::Str);
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if !is_equality && !ordered {
            let title = format!("{} has no order", article(&x));
            self.report(Diagnostic::new(codes::TYPE_MISMATCH, left.span, title).help("compare it with `==` or `!=`"));
        }
        if x != y && both_text {
            (a, b) = (as_text(a), as_text(b));
        } else if same_unit && x != y {
            let float = x.to_float();
            (a, b) = (a.cast(float.clone()), b.cast(float));
        }
        Typed { ty: Type::Bool, node: Node::Compare(comparison, Box::new(a), Box::new(b)) }
    }

    /// Two operands that do not go together: of units, the number that lacks one is to be changed.
    fn unlike(&mut self, left: &Expr, a: &Typed, right: &Expr, b: &Typed) {
        let numbers = a.ty.is_number() && b.ty.is_number();
        let plain = |t: &Typed| t.ty.unit() == Some(Unit::One);
        let (change, other, other_ty, this) = match plain(a) && a.as_literal().is_some() {
            true => (left, right, &b.ty, a),
            false => (right, left, &a.ty, b),
        };
        let code = if numbers { codes::UNIT_MISMATCH } else { codes::TYPE_MISMATCH };
        let title = format!("{} and {} do not compare", article(other_ty), article(&this.ty));
        let mut d = Diagnostic::new(code, change.span, title)
            .here(format!("this is {}", article(&this.ty)))
            .label(other.span, format!("this is {}", article(other_ty)));
        let text = self.text(change.span);
        if let Some(suffix) = missing_suffix(this, other_ty) {
            let suffix = if text == "0" && suffix == "ms" { "s" } else { suffix };
            let right = format!("{text}{suffix}");
            d = d.help(format!("give it a unit: `{right}`")).replace(right);
        } else if let (Type::Enum(e), Some(n)) = (other_ty.element(), this.as_literal().and_then(Value::as_i64)) {
            let word = u8::try_from(n).map(|n| (e.text)(n).into_owned()).unwrap_or_default();
            d = d.help(format!("`{}` is compared with words: {word:?}", e.name)).replace(format!("{word:?}"));
        }
        self.report(d);
    }

    fn arithmetic(&mut self, op: Operator, op_span: Span, left: &Expr, right: &Expr, scope: &mut Scope) -> Typed {
        let (a, b) = self.operands(left, right, scope);
        let op = match op {
            Operator::Add => Arithmetic::Add,
            Operator::Subtract => Arithmetic::Subtract,
            Operator::Multiply => Arithmetic::Multiply,
            _ => Arithmetic::Divide,
        };
        match arithmetic(op, a, b) {
            Ok(typed) if typed.ty.is_unknown() => Typed::unknown(),
            Ok(typed) => typed,
            Err((x, y)) => {
                let numbers = x.is_number() && y.is_number();
                let code = if numbers { codes::UNIT_MISMATCH } else { codes::TYPE_MISMATCH };
                let title = format!("`{}` does not take {} and {}", op.symbol(), article(&x), article(&y));
                let d = Diagnostic::new(code, op_span, title)
                    .label(left.span, format!("this is {}", article(&x)))
                    .label(right.span, format!("this is {}", article(&y)));
                let d = match (&x, op) {
                    (Type::Str, Arithmetic::Add) => d.help("texts are joined by `format(\"{}{}\", a, b)`"),
                    _ => d,
                };
                self.report(d);
                Typed::unknown()
            }
        }
    }

    /// `x in [a, b]`, `ip in 10.0.0.0/8`, `443 in ports`.
    fn membership(&mut self, left: &Expr, right: &Expr, scope: &mut Scope) -> Typed {
        let unknown = Typed { ty: Type::Bool, node: Node::Literal(Value::None) };
        if let ExprKind::List(items) = &right.kind {
            let a = self.expr(left, scope, None);
            let set = items.iter().filter_map(|item| self.member(item, &a, left)).collect();
            return Typed { ty: Type::Bool, node: Node::In(Box::new(a), set) };
        }
        let a = self.expr(left, scope, None);
        let is_name = matches!(right.kind, ExprKind::Name(_));
        let b = self.expr(right, scope, Some(if is_name { &IN_A_SET } else { &a.ty }));
        let a = self.retype(a, left.span, &b.ty);
        let b = self.retype(b, right.span, &a.ty);
        if let (Some(value), true) = (super::constant::fold(&b), !b.ty.is_unknown()) {
            let is_set = matches!(value, Value::List(_) | Value::Cidr(_));
            if is_set {
                let items = value.items().to_vec();
                let set = items.into_iter().filter_map(|v| self.member_value(v, right.span, &a, left)).collect();
                return Typed { ty: Type::Bool, node: Node::In(Box::new(a), set) };
            }
        }
        match &b.ty {
            Type::Unknown => unknown,
            Type::List(of) if a.ty.is_unknown() || **of == a.ty => {
                Typed { ty: Type::Bool, node: Node::Compare(Comparison::Equal, Box::new(b), Box::new(a)) }
            }
            other => {
                let title = format!("`in` looks into a list or a network, this is {}", article(other));
                self.report(Diagnostic::new(codes::TYPE_MISMATCH, right.span, title));
                unknown
            }
        }
    }

    /// One element of the list that `in` looks into.
    fn member(&mut self, item: &Expr, left: &Typed, left_expr: &Expr) -> Option<Value> {
        let hint = left.ty.element().clone();
        let typed = self.expr(item, &mut Scope::constant(), Some(&hint));
        self.fit_member(typed, item, left, left_expr)
    }

    /// The same for a value that a name stands for.
    fn member_value(&mut self, value: Value, span: Span, left: &Typed, left_expr: &Expr) -> Option<Value> {
        let typed = self.retype(Typed::literal(value.clone()), span, &left.ty);
        self.fit_member(typed, &Expr { kind: ExprKind::Literal(value), span }, left, left_expr)
    }

    fn fit_member(&mut self, typed: Typed, item: &Expr, left: &Typed, left_expr: &Expr) -> Option<Value> {
        let hint = left.ty.element().clone();
        let value = super::constant::fold(&typed).filter(|v| *v != Value::None)?;
        let agrees = hint.is_unknown()
            || typed.ty.is_unknown()
            || typed.ty == hint
            || (hint == Type::Ip && typed.ty == Type::Cidr)
            || (hint.is_text() && typed.ty.is_text())
            || (hint.unit().is_some() && hint.unit() == typed.ty.unit());
        if !agrees {
            self.unlike(left_expr, left, item, &typed);
            return None;
        }
        Some(if hint.is_float() { Value::number(value.as_f64()?, &hint) } else { value })
    }
}

/// What an operator compares for.
pub(super) fn comparison(op: Operator) -> Comparison {
    match op {
        Operator::NotEqual => Comparison::NotEqual,
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
        _ => Comparison::Equal,
    }
}

/// The column whose tags are written with this before their keys: `tags.team`, `src.team`.
fn tags_of(prefix: &str) -> String {
    if prefix == "tags" { prefix.to_string() } else { format!("{prefix}.tags") }
}

/// The column whose tag a name may have meant, if it has none any more.
fn untagged<'a>(name: &str, stream: &'a Stream) -> Option<&'a Field> {
    let (prefix, _) = name.split_once('.')?;
    stream.schema.field(&tags_of(prefix)).filter(|field| field.ty != Type::Tags && !field.ty.is_unknown())
}

/// The unit that a plain number lacks to be of that type.
pub(super) fn missing_suffix(number: &Typed, wanted: &Type) -> Option<&'static str> {
    let plain = number.ty.unit() == Some(Unit::One) && number.as_literal().is_some();
    match wanted.unit().filter(|_| plain)? {
        Unit::Nanos => Some("ms"),
        Unit::Bytes => Some("B"),
        Unit::BytesPerSecond => Some("B/s"),
        Unit::PerSecond => Some("/s"),
        _ => None,
    }
}

/// A text or several, as text.
fn as_text(expr: Typed) -> Typed {
    match expr.ty {
        Type::List(_) | Type::Str => expr,
        _ => expr.cast(Type::Str),
    }
}
