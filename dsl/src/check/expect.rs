//! Expectations of a test: what is looked at, and what has to be so.

use weir_spec::expr::Expr as Typed;
use weir_spec::plan::{Port, Stage as Planned};
use weir_spec::testing::{self, Expect, Expected as Wanted, Row};
use weir_spec::{ComponentSpec, Diagnostic, Span, Stream, Type};

use super::expr::comparison;
use super::{Checker, Scope};
use crate::ast::{Expected, Expr, Name, Quantifier, StreamName};
use crate::codes;
use crate::nearest::{list, meant, nearest};

/// What is counted of every node; `count` are the rows that came out of it.
const COUNTERS: &[&str] = &["count", "in", "out", "made", "absorbed", "held", "retries"];

/// Reasons that any node may drop rows for.
const COMMON_REASONS: &[&str] = &["closed", "undelivered", "full"];

impl<'a> Checker<'a> {
    pub(super) fn expect(&mut self, target: &'a StreamName, expected: &'a Expected) -> Option<Expect> {
        let found = self.target(target)?;
        let what = match expected {
            Expected::Counter { name, op, value } => {
                let name = self.counter(name)?;
                Wanted::Counter { name, op: comparison(*op), value: self.number(value)? }
            }
            Expected::Dropped { reason, op, value } => {
                let spec = found.node.map(|n| self.nodes[n].spec);
                self.reason(reason, spec)?;
                Wanted::Dropped { reason: reason.text.clone(), op: comparison(*op), value: self.number(value)? }
            }
            Expected::Rows { quantifier, conditions } => {
                let conditions = self.conditions(conditions, &found.stream)?;
                match quantifier {
                    Quantifier::Any => Wanted::Any(conditions),
                    Quantifier::All => Wanted::All(conditions),
                    Quantifier::None => Wanted::None(conditions),
                }
            }
            Expected::Exactly { rows, in_order } => {
                let rows: Vec<Option<Row>> = rows.iter().map(|row| self.row(row, &found.stream)).collect();
                Wanted::Rows { rows: rows.into_iter().collect::<Option<_>>()?, in_order: *in_order }
            }
        };
        let capture = found.port.map(|port| self.capture(port, target.span()));
        Some(Expect {
            target: self.text(target.span()).to_string(),
            node: found.node.map(|n| self.nodes[n].name.clone()),
            capture,
            is_sink: found.is_sink,
            schema: found.stream.schema,
            what,
        })
    }

    /// The capture of an output: one however often it is looked at.
    fn capture(&mut self, port: Port, span: Span) -> String {
        let known = self.nodes.iter().find(|n| n.spec == &testing::CAPTURE && n.inputs == [port]);
        if let Some(node) = known {
            return node.name.clone();
        }
        let name = format!("capture {}.{}", port.node, port.output);
        let dead = self.dead[port.node];
        self.push(&name, &testing::CAPTURE, Planned::Options(Default::default()), vec![port], vec![], span);
        if let Some(last) = self.dead.last_mut() {
            *last = dead;
        }
        name
    }

    fn number(&mut self, expr: &'a Expr) -> Option<i64> {
        self.constant(expr, Some(&Type::INT))?.as_i64()
    }

    fn counter(&mut self, name: &Name) -> Option<String> {
        if COUNTERS.contains(&name.text.as_str()) {
            return Some(name.text.clone());
        }
        let d = Diagnostic::new(codes::BAD_TEST, name.span, format!("`{}` is nothing that is counted", name.text));
        self.report(meant(d, nearest(&name.text, COUNTERS.iter().copied()), || {
            format!("there are {}", list(COUNTERS.iter().copied()))
        }));
        None
    }

    fn reason(&mut self, reason: &Name, spec: Option<&'static ComponentSpec>) -> Option<()> {
        let mut known: Vec<&str> = COMMON_REASONS.to_vec();
        known.extend(spec.iter().flat_map(|s| s.drops.iter().map(|d| d.name)));
        known.extend(spec.filter(|s| s.name == "where").map(|_| "where"));
        let unread = |name: &str| spec.is_some_and(|s| s.outputs.iter().any(|o| format!("unread_{}", o.name) == name));
        if known.contains(&reason.text.as_str()) || unread(&reason.text) {
            return Some(());
        }
        let title = format!("nothing is dropped here for the reason `{}`", reason.text);
        let d = Diagnostic::new(codes::BAD_TEST, reason.span, title);
        self.report(meant(d, nearest(&reason.text, known.iter().copied()), || {
            format!("the reasons are {}", list(known))
        }));
        None
    }

    fn conditions(&mut self, conditions: &'a [Expr], stream: &Stream) -> Option<Vec<(Typed, Span)>> {
        self.pipe += self.file.items.len();
        let typed = conditions.iter().map(|c| (self.condition(c, &mut Scope::rows(stream)), c.span));
        let typed: Vec<(Typed, Span)> = typed.collect();
        typed.iter().all(|(t, _)| !t.ty.is_unknown()).then_some(typed)
    }
}
