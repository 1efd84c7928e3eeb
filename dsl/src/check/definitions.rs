//! Params, settings and definitions: who is called what, and in which order they are checked.

use std::collections::{BTreeMap, BTreeSet};

use weir_spec::option::OptionType;
use weir_spec::plan::{Node, Settings};
use weir_spec::{Diagnostic, Span, Type, Value};

use super::{Allowed, Built, Checker, Definition, Known, Scope, duplicate};
use crate::ast::{Arg, Expr, ExprKind, Head, Item, LetValue, Name, Param, Piece, Pipe, TypeName};
use crate::nearest::{list, meant, nearest};
use crate::{codes, literal};

/// Names that `settings` takes, with what each is and whether it may be `none`.
const SETTINGS: &[(&str, OptionType, bool)] = &[
    ("memory", OptionType::Size, false),
    ("workers", OptionType::Int { min: 1, max: 64 }, false),
    ("drain", OptionType::Duration, false),
    ("admin", OptionType::Str, true),
    ("allow", OptionType::List(&OptionType::Str), false),
    ("language", OptionType::Int { min: 1, max: 1 }, false),
];

/// The words for types of params.
const TYPES: &[(&str, Type)] = &[
    ("string", Type::Str),
    ("int", Type::INT),
    ("float", Type::FLOAT),
    ("bool", Type::Bool),
    ("duration", Type::DURATION),
    ("size", Type::SIZE),
    ("rate", Type::BYTE_RATE),
    ("percent", Type::FLOAT),
    ("ip", Type::Ip),
    ("cidr", Type::Cidr),
    ("time", Type::Time),
    ("secret", Type::Secret),
];

impl Checker<'_> {
    /// Notes who defines which name.
    pub(super) fn collect(&mut self) {
        let file = self.file;
        let mut settings: Option<Span> = None;
        for (at, item) in file.items.iter().enumerate() {
            match item {
                Item::Piece(Piece { name, .. }) => {
                    if let Some(first) = self.defined(name) {
                        self.report(duplicate(name, first));
                        continue;
                    }
                    if self.stage_spec(&name.text).is_some() {
                        let title = format!("`{}` is a component already", name.text);
                        let d = Diagnostic::new(codes::DUPLICATE, name.span, title);
                        self.report(d.help("give the piece another name"));
                    }
                    self.pieces.insert(name.text.clone(), at);
                }
                Item::Let { name, .. } => {
                    if let Some(first) = self.defined(name) {
                        self.report(duplicate(name, first));
                        continue;
                    }
                    let definition = Definition { item: at, span: name.span, used: false };
                    self.definitions.insert(name.text.clone(), definition);
                    self.names.insert(name.text.clone());
                }
                Item::Param { param, .. } => {
                    if let Some(first) = self.defined(&param.name) {
                        self.report(duplicate(&param.name, first));
                        continue;
                    }
                    self.param(param);
                }
                Item::Settings { span, .. } => {
                    if let Some(first) = settings {
                        let name = Name { text: "settings".into(), span: *span };
                        self.report(duplicate(&name, first));
                    }
                    settings.get_or_insert(*span);
                }
                Item::Pipe(_) | Item::Use { .. } | Item::Test(_) => {}
            }
        }
        let unknown: Vec<&String> =
            self.setting.params.keys().filter(|name| !self.params.contains_key(*name)).collect();
        for name in unknown {
            let near = nearest(name, self.params.keys().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `--param {near}=…`?"),
                None => format!("the params are {}", list(self.params.keys().map(String::as_str))),
            };
            let title = format!("`--param {name}`: the pipeline has no such param");
            self.diagnostics.push(Diagnostic::new(codes::UNKNOWN_PARAM, Span::default(), title).help(help));
        }
    }

    fn defined(&self, name: &Name) -> Option<Span> {
        let param = self.params.get(&name.text).map(|p| p.span);
        let piece = self.piece(&name.text).map(|piece| piece.name.span);
        param.or(self.definitions.get(&name.text).map(|d| d.span)).or(piece)
    }

    fn param(&mut self, param: &Param) {
        let (name, default) = (&param.name, self.under.set(&param.name.text).or(param.default.as_ref()));
        let declared = param.ty.as_ref().and_then(|ty| self.type_of(ty));
        let value = default.and_then(|expr| self.constant(expr, declared.as_ref()));
        if let (Some(Value::None), Some(expr)) = (&value, default) {
            let title = format!("the param `{}` cannot be `none`", name.text);
            self.report(
                Diagnostic::new(codes::OPTION_TYPE, expr.span, title)
                    .help("leave the default out to have it given when run"),
            );
        }
        let ty = declared.or(value.as_ref().map(Value::ty)).unwrap_or(Type::Unknown);
        let value = match self.setting.params.get(&name.text) {
            None => value,
            Some(text) => {
                let given = parse_as(text, &ty);
                if given.is_none() {
                    let title = format!("`--param {}={text}`: this is no `{ty}`", name.text);
                    self.report(Diagnostic::new(codes::OPTION_TYPE, name.span, title).here("declared here"));
                }
                given
            }
        };
        if let (Some(Value::Str(text)), Some(expr)) = (&value, default)
            && matches!(expr.kind, ExprKind::Literal(_))
            && !text.is_empty()
            && is_secret_name(&name.text)
        {
            let d =
                Diagnostic::new(codes::PLAIN_SECRET, expr.span, format!("`{}` has its secret in the text", name.text));
            let variable = name.text.to_uppercase();
            self.report(d.help(format!("write `env(\"{variable}\", \"\")`, or `secret(\"file:…\")` where it is used")));
        }
        self.params.insert(name.text.clone(), Known { span: name.span, ty, value, used: false });
    }

    /// The type that a name stands for.
    pub(super) fn type_of(&mut self, ty: &TypeName) -> Option<Type> {
        let inner = ty.text.strip_prefix("list<").and_then(|t| t.strip_suffix('>'));
        let word = inner.unwrap_or(&ty.text);
        match TYPES.iter().find(|(name, _)| *name == word) {
            Some((_, Type::Bool | Type::Cidr | Type::Secret)) if inner.is_some() => {
                let d = Diagnostic::new(codes::NOT_YET, ty.span, format!("`list<{word}>` is not built yet"));
                self.report(d.help("lists of strings, numbers, times and addresses are"));
                None
            }
            Some((_, found)) if inner.is_some() => Some(Type::list(found)),
            Some((_, found)) => Some(found.clone()),
            None => {
                let names = TYPES.iter().map(|(name, _)| *name);
                let d = Diagnostic::new(codes::TYPE_MISMATCH, ty.span, format!("there is no type `{word}`"));
                let d = meant(d, nearest(word, names.clone()), || {
                    format!("the types are {} and `list<…>` of them", list(names))
                });
                self.report(d);
                None
            }
        }
    }

    pub(super) fn settings_items(&mut self) {
        let file = self.file;
        let first = file.items.iter().find_map(|item| match item {
            Item::Settings { args, .. } => Some(args),
            _ => None,
        });
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for arg in first.into_iter().flatten() {
            let Some(name) = &arg.name else {
                let title = "settings are written `name: value`";
                self.report(Diagnostic::new(codes::UNKNOWN_SETTING, arg.value.span, title));
                continue;
            };
            if let Some(before) = seen.insert(&name.text, name.span) {
                self.report(duplicate(name, before));
                continue;
            }
            self.one_setting(name, arg);
        }
    }

    fn one_setting(&mut self, name: &Name, arg: &Arg) {
        let known = SETTINGS.iter().find(|(n, ..)| *n == name.text);
        let Some((setting, ty, none)) = known else {
            let names = SETTINGS.iter().map(|(n, ..)| *n);
            let d = Diagnostic::new(codes::UNKNOWN_SETTING, name.span, format!("there is no setting `{}`", name.text));
            let d = meant(d, nearest(&name.text, names.clone()), || format!("the settings are {}", list(names)));
            return self.report(d);
        };
        let Some(value) = self.option_constant(setting, *ty, *none, &arg.value) else { return };
        let Settings { memory_bytes, workers, drain_nanos, admin } = &mut self.settings;
        match (*setting, &value) {
            ("admin", Value::Str(text)) => match weir_spec::address::socket(text) {
                Ok(address) => {
                    *admin = Some(address);
                    self.open_listener(&format!("tcp://{address}"), arg.value.span);
                }
                Err(why) => self.report(Diagnostic::new(codes::OPTION_VALUE, arg.value.span, why)),
            },
            ("memory", Value::Size(n)) => *memory_bytes = *n as u64,
            ("workers", Value::Int(n)) => *workers = *n as usize,
            ("drain", Value::Duration(n)) => *drain_nanos = *n,
            ("allow", value) => self.allow(value, arg.value.span, None),
            _ => {}
        }
    }

    /// What others than this host may reach is said.
    pub(super) fn open_listener(&mut self, listener: &str, span: Span) {
        if weir_spec::address::is_open(listener) {
            let d = Diagnostic::new(codes::OPEN_LISTENER, span, format!("`{listener}` is open to the network"));
            self.report(d.help(
                "anyone who reaches this host can send to it; listen on 127.0.0.1, or say `allow: [\"W0206\"]` here",
            ));
        }
    }

    /// The warnings that an option names are allowed in the definition or pipe that it stands in.
    pub(super) fn allow_here(&mut self, value: &Value, span: Span) {
        let item = self.file.items.iter().map(Item::span).find(|item| item.contains(span));
        self.allow(value, span, item);
    }

    fn allow(&mut self, value: &Value, span: Span, scope: Option<Span>) {
        for code in value.items().iter().filter_map(Value::as_str) {
            let known = codes::ALL.iter().any(|(c, _)| c.0 == code);
            if known && code.starts_with('W') {
                let code = code.to_string();
                if !self.allowed.iter().any(|a| a.code == code && a.span == span) {
                    self.allowed.push(Allowed { code, span, scope, is_used: false });
                }
                continue;
            }
            let warnings = codes::ALL.iter().map(|(c, _)| c.0).filter(|c| c.starts_with('W'));
            let title = match known {
                true => format!("`{code}` is an error and cannot be allowed"),
                false => format!("there is no warning `{code}`"),
            };
            let d = Diagnostic::new(codes::OPTION_VALUE, span, title);
            self.report(d.help(format!("the warnings are {}", list(warnings))));
        }
    }

    /// The items in an order in which every definition stands before its uses. A circle is
    /// reported once, and its members are unknown.
    pub(super) fn order(&mut self) -> Vec<usize> {
        let file = self.file;
        let n = file.items.len();
        let uses: Vec<Vec<usize>> = file.items.iter().map(|item| self.used_by(item)).collect();
        let mut waiting: Vec<usize> = uses.iter().map(Vec::len).collect();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); n];
        for (at, uses) in uses.iter().enumerate() {
            uses.iter().for_each(|used| readers[*used].push(at));
        }
        let mut ready: BTreeSet<usize> = (0..n).filter(|at| waiting[*at] == 0).collect();
        let mut order = Vec::new();
        while let Some(at) = ready.pop_first() {
            order.push(at);
            for reader in &readers[at] {
                waiting[*reader] -= 1;
                if waiting[*reader] == 0 {
                    ready.insert(*reader);
                }
            }
        }
        let ordered: BTreeSet<usize> = order.iter().copied().collect();
        let left: Vec<usize> = (0..n).filter(|at| !ordered.contains(at)).collect();
        self.circles(&left, &uses);
        order.extend(left.into_iter().filter(|at| !matches!(file.items[*at], Item::Let { .. })));
        order
    }

    /// Reports what goes in circles among the items that could not be ordered.
    fn circles(&mut self, left: &[usize], uses: &[Vec<usize>]) {
        let file = self.file;
        let mut done = BTreeSet::new();
        for start in left {
            let mut path = Vec::new();
            let mut at = *start;
            while !done.contains(&at) && !path.contains(&at) {
                path.push(at);
                match uses[at].iter().find(|used| left.contains(used)) {
                    Some(next) => at = *next,
                    None => break,
                }
            }
            let circle = path.iter().position(|p| *p == at).map(|from| &path[from..]);
            if let (Some(circle), false) = (circle, done.contains(&at)) {
                let names: Vec<&Name> = circle.iter().filter_map(|at| let_name(&file.items[*at])).collect();
                if let Some(first) = names.first() {
                    let title = match names.len() {
                        1 => format!("`{}` is defined by itself", first.text),
                        _ => format!("{} are defined by each other", list(names.iter().map(|n| n.text.as_str()))),
                    };
                    let mut d = Diagnostic::new(codes::CYCLE, first.span, title);
                    for name in &names[1..] {
                        d = d.label(name.span, "in the same circle");
                    }
                    self.report(d);
                }
            }
            done.extend(path);
        }
        for name in left.iter().filter_map(|at| let_name(&file.items[*at])) {
            self.built.insert(name.text.clone(), Built::Poisoned);
        }
    }

    /// Definitions that an item needs before it can be checked.
    fn used_by(&self, item: &Item) -> Vec<usize> {
        let (mut names, mut heads) = (BTreeSet::new(), BTreeSet::new());
        match item {
            Item::Let { value: LetValue::Pipe(pipe), .. } | Item::Pipe(pipe) => {
                self.pipe_uses(pipe, &mut names, &mut heads, &mut BTreeSet::new());
            }
            Item::Let { value: LetValue::Constant(expr), .. } => super::names::in_expr(expr, &mut names),
            _ => {}
        }
        // A name in an expression may be a column; only a constant has to be known before.
        let is_needed = |d: &&Definition, name: &String| {
            let constant = matches!(&self.file.items[d.item], Item::Let { value: LetValue::Constant(_), .. });
            constant || heads.contains(name)
        };
        let found = names.iter().filter_map(|name| self.definitions.get(name).filter(|d| is_needed(d, name)));
        found.map(|d| d.item).collect()
    }

    /// Names in a pipe's expressions, and streams it begins with; those of pieces that it calls too.
    fn pipe_uses(
        &self,
        pipe: &Pipe,
        names: &mut BTreeSet<String>,
        heads: &mut BTreeSet<String>,
        called: &mut BTreeSet<String>,
    ) {
        let begins = streams(pipe);
        names.extend(begins.iter().cloned());
        heads.extend(begins);
        super::names::in_pipe(pipe, names);
        for name in super::names::calls(pipe) {
            if let Some(piece) = self.piece(name).filter(|_| called.insert(name.to_string())) {
                self.pipe_uses(&piece.body, names, heads, called);
            }
        }
    }

    /// Checks one item.
    pub(super) fn item(&mut self, at: usize) {
        let file = self.file;
        self.pipe = at;
        match &file.items[at] {
            Item::Let { name, value, .. } => {
                if self.definitions.get(&name.text).is_none_or(|d| d.item != at) {
                    return;
                }
                let built = match value {
                    LetValue::Constant(expr) => match self.constant(expr, None) {
                        Some(value) => Built::Constant(value.clone(), value.ty()),
                        None => Built::Poisoned,
                    },
                    LetValue::Pipe(pipe) => {
                        let before = self.nodes.len();
                        let built = self.pipe(pipe, Some(name));
                        self.only_definitions(at, before);
                        self.fed(name, built, before)
                    }
                };
                self.built.insert(name.text.clone(), built);
            }
            Item::Pipe(pipe) => drop(self.pipe(pipe, None)),
            _ => {}
        }
    }

    /// A sink in a file that is used is a definition: it does not run.
    fn only_definitions(&mut self, item: usize, from: usize) {
        if item < self.file.own {
            return;
        }
        for at in from..self.nodes.len() {
            self.dead[at] |= self.nodes[at].spec.is_sink();
        }
    }

    /// Warns of what nothing uses.
    pub(super) fn unused(&mut self) {
        let sinks: BTreeSet<&String> = self
            .built
            .iter()
            .filter(|(_, b)| matches!(b, Built::Stream(o) if o.is_sink) || matches!(b, Built::Poisoned))
            .map(|(name, _)| name)
            .collect();
        let mut found = Vec::new();
        let own = &self.file.items[..self.file.own];
        let library = !own.iter().any(|i| matches!(i, Item::Pipe(_))) && sinks.is_empty();
        for (name, definition) in &self.definitions {
            if !definition.used && !sinks.contains(name) && !library && definition.item < self.file.own {
                let d = Diagnostic::new(codes::UNUSED_STREAM, definition.span, format!("`{name}` is never used"));
                found.push(d.help("delete it, or end a pipe with it"));
            }
        }
        for (name, param) in &self.params {
            if !param.used && !library && self.is_own(param.span) {
                let d = Diagnostic::new(codes::UNUSED_PARAM, param.span, format!("the param `{name}` is never used"));
                found.push(d.help("delete it"));
            }
        }
        self.diagnostics.extend(found);
        self.unused_piece_params();
        self.unread_late();
    }

    /// Who writes a lateness thinks of late rows: that nobody reads them is worth a word.
    fn unread_late(&mut self) {
        for (node, span) in std::mem::take(&mut self.lateness) {
            let late = self.nodes[node].outputs.iter().position(|o| o.name == "late");
            let reads = |n: &Node| n.inputs.iter().any(|p| p.node == node && Some(p.output) == late);
            if self.dead[node] || self.nodes.iter().any(reads) {
                continue;
            }
            let d = Diagnostic::new(codes::UNREAD_OUTPUT, span, "nobody reads the rows that are later than this");
            self.report(d.help(
                "end `let w = …` at the window and read `w.late`, or say `allow: [\"W0301\"]` in the window's brackets",
            ));
        }
    }
}

/// Streams that a pipe begins with.
fn streams(pipe: &Pipe) -> BTreeSet<String> {
    match &pipe.head {
        Head::Stream(stream) => [stream.name.text.clone()].into(),
        Head::Merge { inputs, .. } => inputs.iter().map(|i| i.name.text.clone()).collect(),
        _ => BTreeSet::new(),
    }
}

/// Words that tell a secret by its name.
const SECRET_WORDS: &[&str] = &["password", "passwd", "secret", "token", "api_key", "apikey", "credential"];

fn is_secret_name(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn let_name(item: &Item) -> Option<&Name> {
    match item {
        Item::Let { name, .. } => Some(name),
        _ => None,
    }
}

/// A text without the quotes that it may have.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The text of `--param name=value` as a value of the param's type.
fn parse_as(text: &str, ty: &Type) -> Option<Value> {
    let nowhere = Span::default();
    match ty {
        Type::Str | Type::Unknown => Some(Value::Str(text.into())),
        Type::Secret => Some(Value::Secret(weir_spec::value::Secret(text.into()))),
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Ip | Type::Cidr => literal::parse_address(text).filter(|v| v.ty() == *ty),
        Type::Time => weir_spec::units::parse_time(text).map(Value::Time),
        Type::List(of) => {
            let inside = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            let items = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| parse_as(unquoted(item), of)).collect::<Option<_>>().map(Value::List)
        }
        _ => {
            let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
            let value = literal::number(digits, nowhere).ok()?;
            let fits = value.ty() == *ty || (ty.is_float() && value.ty() == Type::INT);
            let value = if negative { Value::number(-value.as_f64()?, &value.ty()) } else { value };
            fits.then_some(value)
        }
    }
}

impl Checker<'_> {
    /// The value of a constant expression, folded; reports why it has none.
    pub(super) fn constant(&mut self, expr: &Expr, ty: Option<&Type>) -> Option<Value> {
        if let ExprKind::List(items) = &expr.kind {
            let of = ty.map(|t| t.element().clone());
            let values: Vec<Option<Value>> = items.iter().map(|i| self.constant(i, of.as_ref())).collect();
            return values.into_iter().collect::<Option<Vec<_>>>().map(Value::List);
        }
        let checked = self.expr(expr, &mut Scope::constant(), ty);
        if checked.ty.is_unknown() && super::constant::fold(&checked).is_none_or(|v| v == Value::None) {
            return match checked.as_literal() {
                Some(Value::None) if matches!(expr.kind, ExprKind::Literal(_)) => Some(Value::None),
                _ => None,
            };
        }
        if let Some(ty) = ty
            && !self.agrees(&checked.ty, ty)
        {
            let found = weir_spec::types::article(&checked.ty);
            let wanted = weir_spec::types::article(ty);
            let title = format!("this is {found}, and {wanted} belongs here");
            let d = Diagnostic::new(codes::TYPE_MISMATCH, expr.span, title);
            let text = self.text(expr.span);
            self.report(match super::expr::missing_suffix(&checked, ty) {
                Some(suffix) => d.help(format!("give it a unit: `{text}{suffix}`")).replace(format!("{text}{suffix}")),
                None => d,
            });
            return None;
        }
        super::constant::fold(&checked)
    }

    fn agrees(&self, found: &Type, wanted: &Type) -> bool {
        found == wanted
            || wanted.is_unknown()
            || found.is_unknown()
            || found.to_string() == wanted.to_string()
            || (wanted.is_float() && found.unit() == wanted.unit())
    }
}
