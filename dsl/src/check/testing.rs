//! Test blocks: each is a checking of its own, with what it feeds and sets in place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_spec::component::Need;
use weir_spec::plan::{Node, OnFull, Output, Port, Stage as Planned};
use weir_spec::schema::Repr;
use weir_spec::testing::{self, Row, Step, StepKind, TestCase};
use weir_spec::{ComponentSpec, Diagnostic, Field, Plan, Span, Stream, Type, Value};

use super::stages::Here;
use super::{Built, Checker, Outputs};
use crate::ast::{Expr, ExprKind, File, Head, Item, Name, Pipe, Statement, StatementKind, StreamName, Test};
use crate::nearest::{list, meant, nearest};
use crate::{Setting, codes};

/// What a test changes in the file.
#[derive(Default)]
pub(super) struct Under<'a> {
    /// Definitions that are fed.
    feeds: BTreeSet<&'a str>,
    sets: BTreeMap<&'a str, &'a Expr>,
    /// What the pipe of a feed stands for.
    wanted: Option<Stream>,
}

impl<'a> Under<'a> {
    /// The value that a test gives a param.
    pub(super) fn set(&self, param: &str) -> Option<&'a Expr> {
        self.sets.get(param).copied()
    }
}

/// Checks every test block. `sound` tells that the file has no error of its own, so that any is the
/// test's; `is_nameless` that it already has a name that nothing has.
pub(super) fn check(
    source: &str,
    file: &File,
    setting: &Setting,
    sound: bool,
    is_nameless: bool,
) -> (Vec<Diagnostic>, Vec<TestCase>) {
    let mut diagnostics = Vec::new();
    let mut cases = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for item in &file.items[..file.own] {
        let Item::Test(test) = item else { continue };
        if let Some(first) = names.insert(&test.name, test.name_span) {
            let d =
                Diagnostic::new(codes::DUPLICATE, test.name_span, format!("another test is called {:?}", test.name));
            diagnostics.push(d.label(first, "the first one"));
        }
        let (found, case) = Checker::new(source, file, setting).test(test);
        let inside = |d: &Diagnostic| test.span.contains(d.span());
        let follows = |d: &Diagnostic| is_nameless && d.code == codes::UNKNOWN_STREAM;
        let kept = found.into_iter().filter(|d| (inside(d) && !follows(d)) || (sound && d.is_error()));
        diagnostics.extend(kept.map(|d| if inside(&d) { d } else { d.label(test.name_span, "in this test") }));
        cases.extend(case);
    }
    (diagnostics, cases)
}

impl<'a> Checker<'a> {
    fn test(mut self, test: &'a Test) -> (Vec<Diagnostic>, Option<TestCase>) {
        for statement in &test.statements {
            match &statement.kind {
                StatementKind::Feed { target, .. } => drop(self.under.feeds.insert(&target.name.text)),
                StatementKind::Set { name, value } => drop(self.under.sets.insert(&name.text, value)),
                _ => {}
            }
        }
        if test.statements.is_empty() {
            let d = Diagnostic::new(codes::BAD_TEST, test.name_span, "this test expects nothing");
            self.report(d.help("write `expect x count == 3`, or delete the test"));
        }
        self.definitions();
        let mut steps = Vec::new();
        let mut complete = true;
        for (at, statement) in test.statements.iter().enumerate() {
            if matches!(statement.kind, StatementKind::Set { .. }) {
                self.set(test, at);
                continue;
            }
            match self.step(statement) {
                Some(kind) => steps.push(Step { span: statement.span, kind }),
                None => complete = false,
            }
        }
        let plan = self.plan();
        let diagnostics = self.told();
        let complete = complete && !diagnostics.iter().any(Diagnostic::is_error);
        let case = plan.filter(|_| complete).map(|plan| {
            let keep =
                |name: &Option<String>| name.as_ref().is_some_and(|n| plan.nodes.iter().any(|node| node.name == *n));
            for step in &mut steps {
                if let StepKind::Expect(expect) = &mut step.kind
                    && !keep(&expect.node)
                {
                    (expect.node, expect.capture) = (None, None);
                }
            }
            TestCase { name: test.name.clone(), span: test.name_span, plan, steps }
        });
        (diagnostics, case)
    }

    fn set(&mut self, test: &'a Test, at: usize) {
        let statement = &test.statements[at];
        let StatementKind::Set { name, value } = &statement.kind else { return };
        let later = test.statements[..at].iter().find(|s| !matches!(s.kind, StatementKind::Set { .. }));
        if let Some(before) = later {
            let d = Diagnostic::new(codes::BAD_TEST, statement.span, "`set` comes before everything else in a test");
            self.report(d.label(before.span, "the graph is built when this runs"));
        }
        if !self.under.sets.get(name.text.as_str()).is_some_and(|v| std::ptr::eq(*v, value)) {
            let title = format!("`{}` is set twice", name.text);
            self.report(Diagnostic::new(codes::DUPLICATE, name.span, title));
        }
        if !self.params.contains_key(&name.text) {
            let d = Diagnostic::new(codes::UNKNOWN_PARAM, name.span, format!("there is no param `{}`", name.text));
            let d = match nearest(&name.text, self.params.keys().map(String::as_str)) {
                Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
                None if self.params.is_empty() => d.help("the pipeline has no params"),
                None => d.help(format!("the params are {}", list(self.params.keys().map(String::as_str)))),
            };
            self.report(d);
        }
    }

    fn step(&mut self, statement: &'a Statement) -> Option<StepKind> {
        match &statement.kind {
            StatementKind::Set { .. } => None,
            StatementKind::Feed { target, pipe } => self.feed(target, pipe),
            StatementKind::Advance { by } => Some(StepKind::Advance { nanos: self.duration(by)? }),
            StatementKind::Fail { sink, time } => {
                let nanos = self.duration(time)?;
                let target = StreamName { name: sink.clone(), output: None };
                match self.target(&target)? {
                    Target { node: Some(node), is_sink: true, .. } => {
                        Some(StepKind::Fail { sink: self.nodes[node].name.clone(), nanos })
                    }
                    Target { node: None, .. } => None,
                    _ => {
                        let title = format!("`{}` is no sink, and only a sink can fail", sink.text);
                        self.report(Diagnostic::new(codes::BAD_TEST, sink.span, title));
                        None
                    }
                }
            }
            StatementKind::Expect { target, expected } => self.expect(target, expected).map(StepKind::Expect),
        }
    }

    fn duration(&mut self, expr: &'a Expr) -> Option<i64> {
        match self.constant(expr, Some(&Type::DURATION))? {
            Value::Duration(nanos) if nanos > 0 => Some(nanos),
            _ => {
                self.report(Diagnostic::new(codes::OPTION_VALUE, expr.span, "this time has to be above zero"));
                None
            }
        }
    }

    /// Puts a feed in the place of a definition that the test feeds.
    pub(super) fn fed(&mut self, name: &Name, built: Built, from: usize) -> Built {
        if !self.under.feeds.contains(name.text.as_str()) {
            return built;
        }
        let Built::Stream(outputs) = built else { return built };
        if outputs.is_sink {
            return Built::Stream(outputs);
        }
        for node in self.nodes.drain(from..) {
            self.names.remove(&node.name);
        }
        self.dead.truncate(from);
        self.lateness.retain(|(node, _)| *node < from);
        self.names.insert(name.text.clone());
        let made = outputs.outputs.iter().map(|(name, stream)| Output { name: name.clone(), stream: stream.clone() });
        self.push(
            &name.text,
            &testing::FEED,
            Planned::Options(Default::default()),
            Vec::new(),
            made.collect(),
            name.span,
        );
        Built::Stream(Outputs { node: self.nodes.len() - 1, ..outputs })
    }

    pub(super) fn push(
        &mut self,
        name: &str,
        spec: &'static ComponentSpec,
        stage: Planned,
        inputs: Vec<Port>,
        outputs: Vec<Output>,
        span: Span,
    ) {
        let name = name.to_string();
        self.nodes.push(Node { name, spec, stage, inputs, outputs, on_full: OnFull::Block, span });
        self.dead.push(false);
    }

    fn feed(&mut self, target: &'a StreamName, pipe: &'a Pipe) -> Option<StepKind> {
        let is_let = self.definitions.contains_key(&target.name.text);
        let found = self.target(target)?;
        if !is_let || found.is_sink {
            let title = format!("`{}` cannot be fed", target.name.text);
            let d = Diagnostic::new(codes::BAD_TEST, target.name.span, title);
            self.report(d.help("a stream with a name can be: `let x = …`, then `feed x with …`"));
            return None;
        }
        let stream = found.stream;
        let plan = self.feed_plan(pipe, target, &stream)?;
        let output = target.output.as_ref().map_or(String::new(), |o| o.text.clone());
        Some(StepKind::Feed { feed: target.name.text.clone(), output, plan })
    }

    /// The pipe of a feed as a plan of its own that ends in a capture.
    fn feed_plan(&mut self, pipe: &'a Pipe, target: &StreamName, wanted: &Stream) -> Option<Plan> {
        if let Head::Stream(stream) = &pipe.head {
            let d = Diagnostic::new(codes::BAD_TEST, stream.span(), "what is fed begins with a source or with `rows`");
            self.report(d.help("write `rows [ { … } ]`, or `ndjson(\"fixtures/rows.ndjson\")`"));
            return None;
        }
        let nodes = std::mem::take(&mut self.nodes);
        let dead = std::mem::take(&mut self.dead);
        let names = std::mem::take(&mut self.names);
        self.under.wanted = Some(wanted.clone());
        let name = Name { text: "fed".into(), span: pipe.span };
        let built = self.pipe(pipe, Some(&name));
        self.under.wanted = None;
        let plan = match built {
            Built::Stream(outputs) => self.fed_type(pipe, &outputs, target, wanted).and_then(|port| {
                self.push(
                    "capture",
                    &testing::CAPTURE,
                    Planned::Options(Default::default()),
                    vec![port],
                    vec![],
                    pipe.span,
                );
                self.plan().filter(|plan| !self.reads_standard_input(plan, pipe))
            }),
            _ => None,
        };
        (self.nodes, self.dead, self.names) = (nodes, dead, names);
        plan
    }

    fn reads_standard_input(&mut self, plan: &Plan, pipe: &Pipe) -> bool {
        let reads = plan.nodes.iter().flat_map(Node::needs).any(|need| need == Need::StandardInput);
        if reads {
            let d = Diagnostic::new(codes::BAD_TEST, pipe.span, "a test reads no standard input");
            self.report(d.help("put the rows into a file, or write them as `rows [ … ]`"));
        }
        reads
    }

    /// The output of a fed pipe, if it gives what it stands for.
    fn fed_type(&mut self, pipe: &Pipe, outputs: &Outputs, target: &StreamName, wanted: &Stream) -> Option<Port> {
        let named = |wanted: &str| outputs.outputs.iter().position(|(name, _)| name == wanted);
        // Of several outputs the one of the same name is meant.
        let at = target.output.as_ref().and_then(|output| named(&output.text)).or_else(|| named(""));
        let Some(at) = at.filter(|_| !outputs.is_sink) else {
            self.report(Diagnostic::new(codes::BAD_TEST, pipe.span, "this gives no stream that could be fed"));
            return None;
        };
        let stream = &outputs.outputs[at].1;
        if !stream.bounded {
            self.report(Diagnostic::new(codes::BAD_TEST, pipe.span, "what is fed has to end by itself"));
            return None;
        }
        let alike = wanted.poisoned || stream.poisoned || stream.schema == wanted.schema;
        if !alike {
            let columns = |s: &Stream| list(s.schema.names());
            let d = Diagnostic::new(codes::UNLIKE_STREAMS, pipe.span, "this has other columns than what it stands for");
            let d = d.here(format!("this is a `{}` with {}", stream.row.name(), columns(stream)));
            self.report(d.help(format!("what is fed is a `{}` with {}", wanted.row.name(), columns(wanted))));
            return None;
        }
        Some(Port { node: outputs.node, output: at })
    }

    /// The schema that a source in a feed has if it names none.
    pub(super) fn wanted_schema(&self) -> Option<Arc<Stream>> {
        self.under.wanted.clone().map(Arc::new)
    }

    /// `rows [ … ]` at the head of a feed.
    pub(super) fn rows(&mut self, rows: &'a [Expr], span: Span, name: Option<&Name>) -> Here {
        // Rows as written come to an end, whatever they stand for.
        let wanted = self.under.wanted.clone().unwrap_or_else(Stream::poisoned);
        let stream = Stream { bounded: true, ..wanted };
        let typed: Vec<Option<Row>> = rows.iter().map(|row| self.row(row, &stream)).collect();
        let Some(typed) = typed.into_iter().collect::<Option<Vec<Row>>>() else {
            return self.broken(span, Some(stream));
        };
        let stage = Planned::Rows(Arc::new(typed));
        let node_name = name.map_or("rows", |n| n.text.as_str()).to_string();
        let output = Output { name: String::new(), stream: stream.clone() };
        self.push(&node_name, &testing::ROWS, stage, Vec::new(), vec![output], span);
        let node = self.nodes.len() - 1;
        let outputs = Outputs { node, outputs: vec![(String::new(), stream.clone())], is_sink: false };
        let port = Some(Port { node, output: 0 });
        Here { port, stream, outputs: Some(outputs), dead: false, is_sink: false, span }
    }

    /// `{ src.ip: 192.0.2.1, sent_bytes: 10KiB }` as a row of a stream.
    pub(super) fn row(&mut self, row: &'a Expr, stream: &Stream) -> Option<Row> {
        let ExprKind::Map(entries) = &row.kind else {
            if !matches!(row.kind, ExprKind::Broken) {
                let d = Diagnostic::new(codes::BAD_TEST, row.span, "a row is written `{ column: value, … }`");
                self.report(d);
            }
            return None;
        };
        let mut values = Row::new();
        let mut good = true;
        for (name, value) in entries {
            if values.iter().any(|(n, _)| *n == name.text) {
                self.report(Diagnostic::new(codes::DUPLICATE, name.span, format!("`{}` is given twice", name.text)));
                good = false;
            }
            let Some(field) = stream.schema.field(&name.text) else {
                if !stream.poisoned {
                    self.unknown_column(&name.text, name.span, stream, stream.row.name());
                }
                good = false;
                continue;
            };
            match self.constant(value, Some(&cell_type(&field.ty))).filter(|v| self.fits(field, v, value.span)) {
                Some(value) => values.push((name.text.clone(), value)),
                None => good = false,
            }
        }
        good.then_some(values)
    }

    /// Whether a column holds a number; says what it holds where it does not.
    fn fits(&mut self, field: &Field, value: &Value, span: Span) -> bool {
        let max = match field.repr {
            Repr::U8 if !matches!(field.ty, Type::Enum(_)) => u8::MAX.into(),
            Repr::U16 => u16::MAX.into(),
            Repr::U32 => u32::MAX.into(),
            _ if field.ty == Type::SIZE => i64::MAX,
            _ => return true,
        };
        let is_held = match value {
            Value::Int(n) | Value::Size(n) => (0..=max).contains(n),
            _ => true,
        };
        if !is_held {
            let title = match max {
                i64::MAX => format!("`{}` is never below zero", field.name),
                max => format!("`{}` goes from 0 to {max}", field.name),
            };
            self.report(Diagnostic::new(codes::OPTION_VALUE, span, title));
        }
        is_held
    }

    /// What a name in a test means: a definition, one of its outputs, or a node.
    pub(super) fn target(&mut self, target: &StreamName) -> Option<Target> {
        let name = &target.name.text;
        let wanted = target.output.as_ref().map_or("", |o| o.text.as_str());
        let outputs = match self.built.get(name) {
            Some(Built::Stream(outputs)) => outputs.clone(),
            Some(Built::Poisoned) => return None,
            Some(Built::Constant(..)) => {
                let title = format!("`{name}` is a value, and a stream belongs here");
                self.report(Diagnostic::new(codes::UNKNOWN_STREAM, target.name.span, title));
                return None;
            }
            None => match self.nodes.iter().position(|n| n.name == *name) {
                Some(node) => {
                    let outputs = self.nodes[node].outputs.iter().map(|o| (o.name.clone(), o.stream.clone()));
                    Outputs { node, outputs: outputs.collect(), is_sink: self.nodes[node].spec.is_sink() }
                }
                None => {
                    self.unknown_target(&target.name);
                    return None;
                }
            },
        };
        if outputs.is_sink && wanted.is_empty() {
            let port = self.nodes[outputs.node].inputs.first().copied();
            let stream = port.map(|p| self.nodes[p.node].outputs[p.output].stream.clone());
            return Some(Target { node: Some(outputs.node), port, stream: stream?, is_sink: true });
        }
        match outputs.outputs.iter().position(|(n, _)| n == wanted) {
            Some(output) => Some(Target {
                node: Some(outputs.node),
                port: Some(Port { node: outputs.node, output }),
                stream: outputs.outputs[output].1.clone(),
                is_sink: false,
            }),
            None => {
                self.unknown_output(target, &outputs);
                None
            }
        }
    }

    fn unknown_target(&mut self, name: &Name) {
        let known: Vec<String> =
            self.definitions.keys().cloned().chain(self.nodes.iter().map(|n| n.name.clone())).collect();
        let d = Diagnostic::new(codes::UNKNOWN_STREAM, name.span, format!("there is nothing called `{}`", name.text));
        let d = meant(d, nearest(&name.text, known.iter().map(String::as_str)), || {
            format!("there are {}", list(self.definitions.keys().map(String::as_str)))
        });
        self.report_once(&name.text, d);
    }
}

/// What a test's name stands for.
pub(super) struct Target {
    pub node: Option<usize>,
    /// The output that is looked at; of a sink, what it reads.
    pub port: Option<Port>,
    pub stream: Stream,
    pub is_sink: bool,
}

/// A cell of a tag column is a list of `key:value`.
fn cell_type(ty: &Type) -> Type {
    if *ty == Type::Tags { Type::List(&Type::Str) } else { ty.clone() }
}
