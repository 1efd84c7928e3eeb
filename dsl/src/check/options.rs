//! The options of a component: each value as its declared type, or what is wrong with it.

use std::sync::Arc;

use weir_spec::option::{OptionSpec, OptionType, PartSpec, with_defaults};
use weir_spec::plan::OnFull;
use weir_spec::schema::{Delivery, Schema};
use weir_spec::types::Type;
use weir_spec::value::Part;
use weir_spec::{ComponentSpec, Diagnostic, Field, Span, Stream, Value, Values, kinds};

use super::{Built, Checker, Scope};
use crate::ast::{Arg, Call, Expr, ExprKind, TypeName};
use crate::codes;
use crate::nearest::{list, meant, nearest};
use crate::parse::RESERVED;

/// Options that every node takes, and sinks beside.
const COMMON: &[&str] = &["name", "on_full", "allow", "delivery"];

/// Who takes options: a stage, or a part of one.
struct Taker {
    name: &'static str,
    options: &'static [OptionSpec],
    example: &'static str,
    /// Whether its paths are of files that it reads.
    reads: bool,
    is_stage: bool,
}

/// What the common options say.
#[derive(Default)]
pub(super) struct Common {
    pub name: Option<String>,
    pub on_full: OnFull,
    pub delivery: Option<(Delivery, Span)>,
}

impl Checker<'_> {
    /// The options that every node takes.
    pub(super) fn common(&mut self, args: &[Arg], is_sink: bool) -> Common {
        let mut common = Common::default();
        for arg in args {
            let Some(name) = arg.name.as_ref().filter(|n| COMMON.contains(&n.text.as_str())) else { continue };
            match name.text.as_str() {
                "name" => {
                    let text = self.option_constant("name", OptionType::Str, false, &arg.value);
                    if let Some(Value::Str(text)) = text {
                        if !is_legal_name(&text) {
                            let title = format!("`{text}` cannot be a name");
                            let d = Diagnostic::new(codes::BAD_NAME, arg.value.span, title);
                            self.report(d.help(
                                "names have a-z, 0-9 and `_`, begin with no digit, and are no word of the language",
                            ));
                        } else if self.params.contains_key(&text) {
                            let title = format!("`{text}` is a param");
                            self.report(Diagnostic::new(codes::DUPLICATE, arg.value.span, title));
                        } else if !self.names.insert(text.clone()) {
                            let title = format!("another stage is called `{text}`");
                            self.report(Diagnostic::new(codes::DUPLICATE, arg.value.span, title));
                        }
                        common.name = Some(text);
                    }
                }
                "on_full" => {
                    let word =
                        self.option_constant("on_full", OptionType::Word(&["block", "drop_newest"]), false, &arg.value);
                    if word.as_ref().and_then(Value::as_str) == Some("drop_newest") {
                        common.on_full = OnFull::DropNewest;
                    }
                }
                "allow" => {
                    if let Some(codes) =
                        self.option_constant("allow", OptionType::List(&OptionType::Str), false, &arg.value)
                    {
                        self.allow_here(&codes, arg.value.span);
                    }
                }
                _ if is_sink => {
                    let word = self.option_constant("delivery", OptionType::Word(Delivery::WORDS), false, &arg.value);
                    let delivery = word.as_ref().and_then(Value::as_str).and_then(Delivery::parse);
                    common.delivery = delivery.map(|d| (d, arg.value.span));
                }
                _ => {
                    let title = "`delivery` is asserted where rows leave: on a sink";
                    self.report(Diagnostic::new(codes::UNKNOWN_OPTION, name.span, title));
                }
            }
        }
        common
    }

    /// The options of a component, defaults filled in, and whether all are right; `None` if what was
    /// meant is not known at all.
    pub(super) fn options(
        &mut self,
        spec: &'static ComponentSpec,
        call: &Call,
        input: Option<&Stream>,
    ) -> Option<(Values, bool)> {
        let example = spec.examples.first().copied().unwrap_or_default();
        let taker = Taker { name: spec.name, options: spec.options, example, reads: !spec.is_sink(), is_stage: true };
        self.given(&taker, &call.args, call.name.span, input)
    }

    fn given(&mut self, of: &Taker, args: &[Arg], place: Span, input: Option<&Stream>) -> Option<(Values, bool)> {
        let mut values = Values::default();
        let mut places: Vec<(&'static str, Span)> = Vec::new();
        let mut positional = of.options.iter().filter(|o| o.positional);
        let mut good = true;
        let broken = args.iter().any(|a| matches!(a.value.kind, ExprKind::Broken));
        if broken {
            // What was meant is not known, so neither is what is missing.
            return None;
        }
        for arg in args {
            if of.is_stage && arg.name.as_ref().is_some_and(|n| COMMON.contains(&n.text.as_str())) {
                continue;
            }
            let option = match &arg.name {
                None => positional.next(),
                Some(name) => of.options.iter().find(|option| option.name == name.text),
            };
            let Some(option) = option else {
                self.unknown_option(of, arg);
                good = false;
                continue;
            };
            if let Some((_, before)) = places.iter().find(|(n, _)| *n == option.name) {
                let title = format!("`{}` is given twice", option.name);
                self.report(
                    Diagnostic::new(codes::OPTION_TWICE, arg.value.span, title)
                        .here("the second time")
                        .label(*before, "the first time"),
                );
                good = false;
                continue;
            }
            places.push((option.name, arg.value.span));
            match self.option_value(option, &arg.value, input) {
                Some(value) if is_path(option.ty) && of.reads => {
                    values.set(option.name, self.in_its_file(value, &arg.value));
                }
                Some(value) => values.set(option.name, value),
                None => good = false,
            }
        }
        for option in of.options.iter().filter(|o| o.required && !places.iter().any(|(n, _)| n == &o.name)) {
            if let (OptionType::Schema, Some(wanted)) = (option.ty, self.wanted_schema()) {
                values.set(option.name, Value::Stream(wanted));
                continue;
            }
            good = false;
            let title = format!("`{}` needs `{}`", of.name, option.name);
            let example = if of.example.is_empty() { String::new() } else { format!(", as in `{}`", of.example) };
            let d = Diagnostic::new(codes::MISSING_OPTION, place, title);
            self.report(d.help(format!("{}{example}", option.doc.trim().trim_end_matches('.'))));
        }
        Some((with_defaults(of.options, values), good))
    }

    /// A part of a component, called with options of its own.
    fn part(&mut self, name: &str, parts: &'static [PartSpec], expr: &Expr) -> Option<Value> {
        let (called, args) = match &expr.kind {
            ExprKind::Call { name, args } => (name, args.as_slice()),
            _ => {
                let title = format!("`{name}` takes {}", list(parts.iter().map(|part| part.example)));
                self.report(Diagnostic::new(codes::OPTION_TYPE, expr.span, title));
                return None;
            }
        };
        let Some(part) = parts.iter().find(|part| part.name == called.text) else {
            let names = || parts.iter().map(|part| part.name);
            let title = format!("`{name}` has no `{}`", called.text);
            let d = Diagnostic::new(codes::OPTION_VALUE, called.span, title);
            let d = meant(d, nearest(&called.text, names()), || format!("there are {}", list(names())));
            self.report(d);
            return None;
        };
        let taker =
            Taker { name: part.name, options: part.options, example: part.example, reads: true, is_stage: false };
        let (values, good) = self.given(&taker, args, called.span, None)?;
        good.then(|| Value::Part(Arc::new(Part { name: part.name, values })))
    }

    /// A path that is written in a used file is relative to that file.
    fn in_its_file(&self, value: Value, expr: &Expr) -> Value {
        let is_written = match &expr.kind {
            ExprKind::Literal(_) => true,
            ExprKind::List(items) => items.iter().all(|item| matches!(item.kind, ExprKind::Literal(_))),
            _ => false,
        };
        let Some(directory) = self.file.directory(expr.span.start).filter(|_| is_written) else { return value };
        let inside = |path: &Value| match path {
            Value::Str(path) if path != "-" => Value::Str(directory.join(path).display().to_string()),
            other => other.clone(),
        };
        match &value {
            Value::List(paths) => Value::List(paths.iter().map(inside).collect()),
            one => inside(one),
        }
    }

    fn unknown_option(&mut self, of: &Taker, arg: &Arg) {
        let common = if of.is_stage { COMMON } else { &[] };
        let names: Vec<&str> = of.options.iter().map(|o| o.name).chain(common.iter().copied()).collect();
        let own = || match of.options {
            [] => "it has no options".to_string(),
            options => format!("its options are {}", list(options.iter().map(|o| o.name))),
        };
        let Some(name) = &arg.name else {
            let title = format!("`{}` takes no further value without a name", of.name);
            let d = Diagnostic::new(codes::UNKNOWN_OPTION, arg.value.span, title);
            return self.report(d.help(own()));
        };
        let d =
            Diagnostic::new(codes::UNKNOWN_OPTION, name.span, format!("`{}` has no option `{}`", of.name, name.text));
        let d = meant(d, nearest(&name.text, names.iter().copied()), own);
        self.report(d);
    }

    fn option_value(&mut self, option: &OptionSpec, expr: &Expr, input: Option<&Stream>) -> Option<Value> {
        match option.ty {
            OptionType::Expr => {
                let poisoned = Stream::poisoned();
                let stream = input.unwrap_or(&poisoned);
                let typed = self.expr(expr, &mut Scope::rows(stream), None);
                (!typed.ty.is_unknown() || stream.poisoned).then(|| Value::Expr(Arc::new(typed)))
            }
            OptionType::Schema => self.schema(expr).map(|s| Value::Stream(Arc::new(s))),
            ty => self.option_constant(option.name, ty, option.none, expr),
        }
    }

    /// The name of a column, bare or in quotes.
    fn column(&mut self, option: &str, expr: &Expr) -> Option<Value> {
        match &expr.kind {
            ExprKind::Name(name) => Some(Value::Str(name.clone())),
            ExprKind::Literal(Value::Str(name)) => Some(Value::Str(name.clone())),
            _ => {
                let title = format!("`{option}` is the name of a column");
                self.report(Diagnostic::new(codes::OPTION_TYPE, expr.span, title));
                None
            }
        }
    }

    /// `flow`, or `{ at: time, user: string }`.
    fn schema(&mut self, expr: &Expr) -> Option<Stream> {
        match &expr.kind {
            ExprKind::Name(name) => match kinds::find(name) {
                Some(kind) => Some(Stream::of_kind(kind)),
                None => {
                    let names = kinds::ALL.iter().map(|k| k.name);
                    let d =
                        Diagnostic::new(codes::WRONG_KIND, expr.span, format!("there is no kind of stream `{name}`"));
                    let d = meant(d, nearest(name, names.clone()), || {
                        format!("the kinds are {}; columns of your own are `{{ name: string, … }}`", list(names))
                    });
                    self.report(d);
                    None
                }
            },
            ExprKind::Map(entries) => {
                let mut schema = Schema::default();
                let mut good = true;
                for (name, ty) in entries {
                    if schema.index(&name.text).is_some() {
                        let title = format!("the column `{}` is declared twice", name.text);
                        self.report(Diagnostic::new(codes::DUPLICATE, name.span, title));
                        good = false;
                        continue;
                    }
                    let text = self.text(ty.span).to_string();
                    match self.type_of(&TypeName { text, span: ty.span }) {
                        Some(ty) => schema.put(Field::new(name.text.clone(), ty)),
                        None => good = false,
                    }
                }
                good.then(|| Stream::record(schema))
            }
            _ => {
                let d = Diagnostic::new(
                    codes::OPTION_TYPE,
                    expr.span,
                    "a kind of stream or columns with their types belong here",
                );
                self.report(d.help("write `flow`, or `{ at: time, user: string }`"));
                None
            }
        }
    }

    /// A constant option as its type; reports what is wrong with it.
    pub(super) fn option_constant(&mut self, name: &str, ty: OptionType, none: bool, expr: &Expr) -> Option<Value> {
        if let (OptionType::Word(words), Some(word)) = (ty, self.option_word(ty, expr)) {
            return self.word(name, words, word, expr.span);
        }
        if let OptionType::Part(parts) = ty {
            return self.part(name, parts, expr);
        }
        if ty == OptionType::Column {
            return self.column(name, expr);
        }
        if let OptionType::List(of) = ty {
            return self.list(name, *of, none, expr);
        }
        let (value, found) = self.known_before_start(name, ty, expr)?;
        self.fit(name, ty, none, value, &found, expr)
    }

    /// A list, written or computed, or one that stands for a list of it.
    fn list(&mut self, name: &str, of: OptionType, none: bool, expr: &Expr) -> Option<Value> {
        if let ExprKind::List(items) = &expr.kind {
            let values: Vec<_> = items.iter().map(|item| self.option_constant(name, of, false, item)).collect();
            return values.into_iter().collect::<Option<Vec<_>>>().map(Value::List);
        }
        // These are names of their own, and nothing that is computed.
        if matches!(of, OptionType::Part(_) | OptionType::Column) || self.option_word(of, expr).is_some() {
            return self.option_constant(name, of, none, expr).map(|one| Value::List(vec![one]));
        }
        let (value, found) = self.known_before_start(name, of, expr)?;
        match (value, &found) {
            (Value::List(items), Type::List(found)) => {
                let values = items.into_iter().map(|item| self.fit(name, of, false, item, found, expr));
                values.collect::<Option<Vec<_>>>().map(Value::List)
            }
            (one, _) => match self.fit(name, of, none, one, &found, expr)? {
                Value::None => Some(Value::None),
                one => Some(Value::List(vec![one])),
            },
        }
    }

    /// The name in the place of one of an option's words: one of them, or of nothing else that is known.
    fn option_word<'e>(&self, ty: OptionType, expr: &'e Expr) -> Option<&'e str> {
        let (OptionType::Word(words), ExprKind::Name(word)) = (ty, &expr.kind) else { return None };
        let is_stream = matches!(self.built.get(word), Some(Built::Stream(_)));
        let is_value = self.params.contains_key(word) || (self.definitions.contains_key(word) && !is_stream);
        (words.contains(&word.as_str()) || !is_value).then_some(word)
    }

    /// What an expression is before anything runs, and its type; reports what is not known then.
    fn known_before_start(&mut self, name: &str, ty: OptionType, expr: &Expr) -> Option<(Value, Type)> {
        let typed = self.expr(expr, &mut Scope::constant(), hint(ty).as_ref());
        match super::constant::fold(&typed) {
            // What is wrong and reported is of no known type either.
            Some(Value::None) | None if typed.ty.is_unknown() && !self.says_none(expr) => None,
            Some(value) => Some((value, typed.ty)),
            None => {
                let title = format!("`{name}` has to be known before start");
                self.report(Diagnostic::new(codes::NOT_CONSTANT, expr.span, title));
                None
            }
        }
    }

    /// Whether an expression of no known type is `none`, or named or chosen so.
    fn says_none(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Literal(value) => *value == Value::None,
            ExprKind::Name(name) => matches!(self.built.get(name), Some(Built::Constant(Value::None, _))),
            ExprKind::Call { name, args } => {
                name.text == "if" && args.iter().skip(1).all(|arg| self.says_none(&arg.value))
            }
            _ => false,
        }
    }

    fn word(&mut self, name: &str, words: &'static [&'static str], word: &str, span: Span) -> Option<Value> {
        if words.contains(&word) {
            return Some(Value::Word(word.into()));
        }
        let d = Diagnostic::new(codes::OPTION_VALUE, span, format!("`{name}` cannot be `{word}`"));
        let d =
            meant(d, nearest(word, words.iter().copied()), || format!("it is one of {}", list(words.iter().copied())));
        self.report(d);
        None
    }

    /// A value in the place of an option: of its type, and in its range.
    fn fit(
        &mut self,
        name: &str,
        ty: OptionType,
        none: bool,
        value: Value,
        found: &Type,
        expr: &Expr,
    ) -> Option<Value> {
        let span = expr.span;
        let wrong_type = |checker: &mut Self| {
            let wanted = describe(ty);
            let mut d = Diagnostic::new(
                codes::OPTION_TYPE,
                span,
                format!("`{name}` takes {wanted}, this is {}", weir_spec::types::article(found)),
            );
            if let Value::Int(n) = &value
                && let Some(unit) = missing_unit(name, ty, *n)
            {
                d = d.help(format!("give it a unit: `{n}{unit}`")).replace(format!("{n}{unit}"));
            }
            checker.report(d);
            None
        };
        match (ty, &value) {
            // A param without a value is given one when run.
            (_, Value::None) if none || self.params.values().any(|param| param.value.is_none()) => Some(value),
            (_, Value::None) => {
                let title = format!("`{name}` cannot be `none`");
                self.report(Diagnostic::new(codes::OPTION_TYPE, span, title));
                None
            }
            (OptionType::Bool, Value::Bool(_))
            | (OptionType::Ip, Value::Ip(_))
            | (OptionType::Cidr, Value::Cidr(_))
            | (OptionType::Time, Value::Time(_))
            | (OptionType::Secret, Value::Secret(_))
            | (OptionType::Str | OptionType::Path, Value::Str(_))
            | (OptionType::Rate, Value::Rate(_) | Value::ByteRate(_))
            | (OptionType::Float, Value::Float(_) | Value::Percent(_)) => Some(value),
            (OptionType::Float, Value::Int(n)) => Some(Value::Float(*n as f64)),
            (OptionType::Word(words), Value::Str(word)) => self.word(name, words, &word.clone(), span),
            (OptionType::Percent, v) if found.is_float() => {
                let ok = v.as_f64().is_some_and(|x| (0.0..=1.0).contains(&x));
                if ok { Some(value) } else { self.range(name, "between 0% and 100%", span) }
            }
            (OptionType::Int { min, max }, Value::Int(n)) => {
                if (min..=max).contains(n) {
                    Some(value)
                } else {
                    self.range(name, &format!("between {min} and {max}"), span)
                }
            }
            (OptionType::Duration, Value::Duration(n)) | (OptionType::Size, Value::Size(n)) => {
                if *n > 0 || (name == "lateness" && *n == 0) {
                    Some(value)
                } else {
                    self.range(name, "above zero", span)
                }
            }
            _ => wrong_type(self),
        }
    }

    fn range(&mut self, name: &str, range: &str, span: Span) -> Option<Value> {
        self.report(Diagnostic::new(codes::OPTION_VALUE, span, format!("`{name}` is {range}")));
        None
    }
}

fn is_path(ty: OptionType) -> bool {
    matches!(ty, OptionType::Path | OptionType::List(OptionType::Path))
}

pub(super) fn option_place(call: &Call, option: &str) -> Span {
    let named = call.args.iter().find(|a| a.name.as_ref().is_some_and(|n| n.text == option));
    named.map_or(call.name.span, |a| a.value.span)
}

fn hint(ty: OptionType) -> Option<Type> {
    Some(match ty {
        OptionType::Ip => Type::Ip,
        OptionType::Cidr => Type::Cidr,
        OptionType::Time => Type::Time,
        _ => return None,
    })
}

/// What an option takes, in words.
fn describe(ty: OptionType) -> String {
    match ty {
        OptionType::Bool => "`true` or `false`".into(),
        OptionType::Int { .. } => "a whole number".into(),
        OptionType::Float => "a number".into(),
        OptionType::Duration => "a `duration`, as `30s`".into(),
        OptionType::Size => "a `size`, as `256MiB`".into(),
        OptionType::Rate => "a `rate`, as `10MB/s`".into(),
        OptionType::Percent => "a percentage, as `50%`".into(),
        OptionType::Str => "a text in quotes".into(),
        OptionType::Path => "a path in quotes".into(),
        OptionType::Word(words) => format!("one of {}", list(words.iter().copied())),
        OptionType::Ip => "an address".into(),
        OptionType::Cidr => "a network, as `10.0.0.0/8`".into(),
        OptionType::Time => "a time, as \"2026-01-31T12:00:00Z\"".into(),
        OptionType::Secret => "`secret(\"file:…\")`".into(),
        OptionType::List(of) => format!("a list: {}", describe(*of)),
        OptionType::Schema => "a kind of stream".into(),
        OptionType::Column => "a column".into(),
        OptionType::Expr => "an expression".into(),
        OptionType::Part(parts) => list(parts.iter().map(|part| part.example)),
    }
}

/// The unit that a plain number is most likely meant in.
fn missing_unit(name: &str, ty: OptionType, number: i64) -> Option<&'static str> {
    match ty {
        OptionType::Duration => Some("s"),
        // Whoever writes 65536 has worked it out; memory is thought of in MiB, also where it is much.
        OptionType::Size if name != "memory" && number > 4096 => Some("B"),
        OptionType::Size => Some("MiB"),
        OptionType::Percent => Some("%"),
        _ => None,
    }
}

fn is_legal_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    first && name.bytes().all(legal) && !RESERVED.contains(&name)
}
