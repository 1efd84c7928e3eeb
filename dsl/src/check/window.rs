//! `window(…) by … { … }`.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_spec::aggregate::AggregateCall;
use weir_spec::expr::Expr as Typed;
use weir_spec::function;
use weir_spec::option::OptionType;
use weir_spec::plan::{GroupKey, WINDOW_END, WINDOW_START, Window, Windowing, aggregate_column};
use weir_spec::schema::{Schema, Windowed};
use weir_spec::types::{Type, article};
use weir_spec::{Diagnostic, Field, Span, Stream, Value};

use super::{Checker, Scope};
use crate::ast::{Arg, ExprKind, NamedExpr};
use crate::nearest::{list, meant, nearest};
use crate::{ast, codes};

/// What a window's block has named so far.
#[derive(Default)]
pub(super) struct Collected {
    /// Keys and earlier fields.
    names: Vec<(String, Type)>,
    aggregates: Vec<AggregateCall>,
}

impl Collected {
    pub(super) fn name(&self, name: &str) -> Option<Typed> {
        let found = self.names.iter().find(|(n, _)| n == name)?;
        Some(Typed::column(name, found.1.clone()))
    }

    /// The column that stands for an aggregate; the same one twice is kept once.
    pub(super) fn aggregate(&mut self, call: AggregateCall) -> Typed {
        let ty = call.ty.clone();
        let at = self.aggregates.iter().position(|c| *c == call).unwrap_or_else(|| {
            self.aggregates.push(call);
            self.aggregates.len() - 1
        });
        Typed::column(aggregate_column(at), ty)
    }
}

/// Times that a window is made of, with where they were written.
#[derive(Default)]
struct Times(BTreeMap<&'static str, (i64, Span)>);

impl Times {
    fn get(&self, name: &str) -> Option<i64> {
        self.0.get(name).map(|(n, _)| *n)
    }
}

const OPTIONS: &[&str] = &["width", "every", "session", "max", "lateness"];
/// Columns that tell one conversation from every other.
const UNIQUE: &[&str] = &["flow_id", "community_id"];
/// Windows that one row may be in.
const OVERLAP_MAX: i64 = 1000;

impl Checker<'_> {
    /// The window and what comes out of it; `None` if its times are wrong.
    pub(super) fn window_stage(
        &mut self,
        args: &[Arg],
        by: &[NamedExpr],
        fields: &[NamedExpr],
        span: Span,
        input: &Stream,
    ) -> (Option<Window>, Stream) {
        let times = self.window_times(args);
        let windowing = times.as_ref().and_then(|times| self.windowing(times, span));
        let keys = self.keys(by, input);
        let mut collected = Collected::default();
        collected.names.extend(keys.iter().map(|k| (k.name.clone(), k.expr.ty.element().clone())));
        let mut outputs = Vec::new();
        for field in fields {
            let Some(name) = &field.name else { continue };
            let mut scope = Scope::rows(input);
            scope.window = Some(&mut collected);
            let typed = self.expr(&field.expr, &mut scope, None);
            let taken =
                keys.iter().any(|k| k.name == name.text) || [WINDOW_START, WINDOW_END].contains(&name.text.as_str());
            if taken {
                let title = format!("`{}` is already a column of this window", name.text);
                let d = Diagnostic::new(codes::DUPLICATE, name.span, title);
                self.report(
                    d.help("keys, `window.start` and `window.end` come by themselves: give the field another name"),
                );
                continue;
            }
            if outputs.iter().any(|(n, _): &(String, Typed)| *n == name.text) {
                let title = format!("the window has two fields `{}`", name.text);
                self.report(Diagnostic::new(codes::DUPLICATE, name.span, title));
                continue;
            }
            collected.names.retain(|(n, _)| *n != name.text);
            collected.names.push((name.text.clone(), typed.ty.clone()));
            outputs.push((name.text.clone(), typed));
        }
        let stream = output(&keys, &outputs, windowing, input);
        let lateness = times.as_ref().and_then(|t| t.get("lateness")).unwrap_or(0);
        let window = windowing.map(|windowing| Window {
            windowing,
            lateness,
            keys,
            aggregates: collected.aggregates,
            fields: outputs,
        });
        (window, stream)
    }

    fn window_times(&mut self, args: &[Arg]) -> Option<Times> {
        let mut times = Times::default();
        let mut good = true;
        for arg in args {
            let name = arg.name.as_ref().map_or("width", |n| n.text.as_str());
            let Some(option) = OPTIONS.iter().find(|o| **o == name) else {
                good &= matches!(name, "name" | "on_full" | "allow");
                if !matches!(name, "name" | "on_full" | "allow") {
                    let place = arg.name.as_ref().map_or(arg.value.span, |n| n.span);
                    let d = Diagnostic::new(codes::UNKNOWN_OPTION, place, format!("`window` has no option `{name}`"));
                    let d = meant(d, nearest(name, OPTIONS.iter().copied()), || {
                        format!("its options are {}", list(OPTIONS.iter().copied()))
                    });
                    self.report(d);
                }
                continue;
            };
            match self.option_constant(option, OptionType::Duration, false, &arg.value) {
                Some(Value::Duration(nanos)) => {
                    if times.0.insert(option, (nanos, arg.value.span)).is_some() {
                        let title = format!("`{option}` is given twice");
                        self.report(Diagnostic::new(codes::OPTION_TWICE, arg.value.span, title));
                    }
                }
                _ => good = false,
            }
        }
        good.then_some(times)
    }

    fn windowing(&mut self, times: &Times, span: Span) -> Option<Windowing> {
        let text = weir_spec::units::duration;
        let wrong = |checker: &mut Self, option: &str, title: String, help: String| {
            let place = times.0.get(option).map_or(span, |(_, span)| *span);
            checker.report(Diagnostic::new(codes::BAD_WINDOW, place, title).help(help));
        };
        let lateness = times.get("lateness").unwrap_or(0);
        let windowing = match (times.get("width"), times.get("every"), times.get("session"), times.get("max")) {
            (None, _, None, _) => {
                let place = Span::new(span.start, span.start + "window".len());
                let d = Diagnostic::new(codes::BAD_WINDOW, place, "a window needs a width");
                self.report(d.help("write `window(5m)`, or `window(session: 30s, max: 10m)`"));
                return None;
            }
            (Some(width), _, Some(gap), _) => {
                let title =
                    format!("a window has a width ({}) or a session gap ({}), not both", text(width), text(gap));
                wrong(self, "session", title, "leave one of them out".into());
                return None;
            }
            (None, Some(every), Some(gap), _) => {
                let title = format!("a session ({}) has no `every` ({})", text(gap), text(every));
                wrong(self, "every", title, "leave `every` out".into());
                return None;
            }
            (None, None, Some(gap), max) => {
                let max = max.unwrap_or(gap.saturating_mul(20));
                if max < gap {
                    let title = format!("`max` ({}) is below the session gap ({})", text(max), text(gap));
                    wrong(self, "max", title, format!("at least {}", text(gap)));
                    return None;
                }
                let title = "session windows are not built yet";
                let place = times.0.get("session").map_or(span, |(_, span)| *span);
                let d = Diagnostic::new(codes::NOT_YET, place, title);
                self.report(d.help("tumbling and hopping windows are: `window(5m)`, `window(5m, every: 1m)`"));
                Windowing::Session { gap, max }
            }
            (Some(width), _, None, Some(max)) => {
                let title = format!("`max` ({}) belongs to sessions, this window is {} wide", text(max), text(width));
                wrong(self, "max", title, "leave it out".into());
                return None;
            }
            (Some(width), None, None, None) => Windowing::Tumbling { width },
            (Some(width), Some(every), None, None) => {
                if every > width || width % every != 0 || width / every > OVERLAP_MAX {
                    if width % every == 0 && every <= width {
                        let least = text(least_step(width));
                        let title =
                            format!("every row would be in {} windows, and {OVERLAP_MAX} are allowed", width / every);
                        wrong(self, "every", title, format!("begin one at most every {least}"));
                        return None;
                    }
                    let why = if every > width { "is above" } else { "does not divide" };
                    let title = format!("`every` ({}) {why} the width ({})", text(every), text(width));
                    wrong(
                        self,
                        "every",
                        title,
                        "windows start every so often, and the width is a whole number of that".into(),
                    );
                    return None;
                }
                Windowing::Hopping { width, every }
            }
        };
        if let Some(width) = times.get("width").filter(|width| lateness > *width) {
            let place = times.0.get("lateness").map_or(span, |(_, span)| *span);
            let title = format!("the lateness ({}) is longer than the window ({})", text(lateness), text(width));
            let help = "every window is held that much longer: is that meant?";
            self.report(Diagnostic::new(codes::LATENESS, place, title).help(help));
        }
        Some(windowing)
    }

    fn keys(&mut self, by: &[NamedExpr], input: &Stream) -> Vec<GroupKey> {
        let mut keys: Vec<GroupKey> = Vec::new();
        for key in by {
            let Some(group) = self.key(key, input) else { continue };
            if keys.iter().any(|k| k.name == group.name) {
                let title = format!("`{}` is a key twice", group.name);
                self.report(Diagnostic::new(codes::DUPLICATE, key.expr.span, title));
                continue;
            }
            keys.push(group);
        }
        keys
    }

    fn key(&mut self, key: &NamedExpr, input: &Stream) -> Option<GroupKey> {
        let (inner, each) = match &key.expr.kind {
            ExprKind::Call { name, args } if name.text == "each" && args.len() == 1 => (&args[0].value, true),
            _ => (&key.expr, false),
        };
        let mut scope = Scope::rows(input);
        let typed = self.expr(inner, &mut scope, None);
        let name = match (&key.name, &inner.kind) {
            (Some(name), _) => name.text.clone(),
            (None, ExprKind::Name(name)) => name.clone(),
            (None, _) => {
                if !typed.ty.is_unknown() {
                    let d = Diagnostic::new(codes::KEY_WITHOUT_NAME, key.expr.span, "a computed key needs a name");
                    self.report(d.help(format!("write `by key = {}`", self.text(key.expr.span))));
                }
                return None;
            }
        };
        if matches!(typed.ty, Type::Tags | Type::Sketch) {
            let title = format!("`{name}` is {}, which cannot be a key", article(&typed.ty));
            self.report(Diagnostic::new(codes::TYPE_MISMATCH, key.expr.span, title));
            return None;
        }
        self.unbounded_key(&name, &typed, key.expr.span);
        Some(GroupKey { name, expr: key_value(typed, each), each })
    }

    /// Warns of keys that nearly every row has to itself.
    fn unbounded_key(&mut self, name: &str, typed: &Typed, span: Span) {
        let weir_spec::expr::Node::Column(column) = &typed.node else { return };
        let help = match &typed.ty {
            Type::Time if column != WINDOW_START && column != WINDOW_END => {
                format!("round it: `by {} = floor({column}, 1m)`", name.replace('.', "_"))
            }
            Type::Number { unit, float } if *float || *unit != weir_spec::Unit::One => {
                format!("a measure is summed up, not a key: `sum({column})`, `p95({column})`")
            }
            _ if UNIQUE.contains(&column.as_str()) => "group by what conversations share, as `dst.ip, dst.port`".into(),
            _ => return,
        };
        let title = format!("`{column}` has a value of its own for nearly every row");
        self.report(Diagnostic::new(codes::UNBOUNDED_KEY, span, title).help(help));
    }

    /// A column in a window's block that is neither a key nor summed up.
    pub(super) fn not_aggregated(&mut self, name: &str, span: Span, input: &Stream) -> Typed {
        if input.poisoned || self.params.contains_key(name) || self.definitions.contains_key(name) {
            return match input.poisoned {
                true => Typed::unknown(),
                false => {
                    self.expr(&ast::Expr { kind: ExprKind::Name(name.into()), span }, &mut Scope::constant(), None)
                }
            };
        }
        let field = input.schema.field(name);
        match field {
            Some(field) => {
                let aggregate = if field.ty.is_number() { "sum" } else { "last" };
                let right = format!("{aggregate}({name})");
                let title = format!("`{name}` is neither a key nor aggregated");
                let d = Diagnostic::new(codes::NOT_AGGREGATED, span, title);
                self.report_name(name, d.help(format!("write `{right}`, or add `{name}` to `by`")).replace(right));
            }
            None if weir_spec::aggregate::find(name).is_some_and(|a| a.arguments == 0) => {
                let right = format!("{name}()");
                let title = format!("`{name}` is a function");
                self.report_name(
                    name,
                    Diagnostic::new(codes::UNKNOWN_COLUMN, span, title).help(format!("write `{right}`")).replace(right),
                );
            }
            None => self.unknown_column(name, span, input, input.row.name()),
        }
        Typed::unknown()
    }
}

/// The shortest step of a window that is not in too many at once: whole seconds where it can be.
fn least_step(width: i64) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    let steps = (1..=OVERLAP_MAX).rev().filter(|n| width % n == 0).map(|n| width / n);
    let whole = steps.clone().find(|step| step % SECOND == 0);
    whole.or_else(|| steps.min()).unwrap_or(width)
}

/// A tag that is not there reads `unknown`; several values become one, unless each is counted.
fn key_value(typed: Typed, each: bool) -> Typed {
    let is_tag = matches!(typed.node, weir_spec::expr::Node::Tag { .. });
    let Type::List(_) = typed.ty else { return typed };
    if each {
        return typed;
    }
    let text = typed.cast(Type::Str);
    if !is_tag {
        return text;
    }
    let Some(coalesce) = function::find("coalesce") else { return text };
    let unknown = Typed::literal(Value::Str("unknown".into()));
    Typed { ty: Type::Str, node: weir_spec::expr::Node::Call(coalesce, vec![text, unknown]) }
}

fn output(keys: &[GroupKey], fields: &[(String, Typed)], windowing: Option<Windowing>, input: &Stream) -> Stream {
    // One whose times are wrong has been reported, and is a window still.
    let windowing = windowing.unwrap_or(Windowing::Tumbling { width: 0 });
    let by = keys.iter().map(|key| key.name.clone()).collect();
    let mut schema = Schema::default();
    schema.put(Field::new(WINDOW_START, Type::Time));
    schema.put(Field::new(WINDOW_END, Type::Time));
    keys.iter().for_each(|k| schema.put(Field::new(k.name.clone(), k.expr.ty.element().clone())));
    fields.iter().for_each(|(name, e)| schema.put(Field::new(name.clone(), e.ty.clone())));
    Stream {
        delivery: input.delivery,
        bounded: input.bounded,
        windowed: Some(Arc::new(Windowed { windowing, by, spoiled: None })),
        poisoned: input.poisoned && keys.is_empty() && fields.is_empty(),
        ..Stream::record(Schema { fields: Arc::new(schema).fields.clone() })
    }
}
