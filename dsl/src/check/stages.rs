//! Pipes: each stage's stream, options, and node of the plan.

use std::sync::Arc;

use weir_spec::component::{Columns, Inputs, Need};
use weir_spec::expr::{Expr as Typed, Node as TypedNode};
use weir_spec::function::Function;
use weir_spec::kind::Column;
use weir_spec::option::with_defaults;
use weir_spec::plan::{Port, Stage as Planned};
use weir_spec::schema::{RowKind, Schema};
use weir_spec::types::{Type, Unit, with_article};
use weir_spec::{ComponentSpec, Diagnostic, Field, Span, Stream, Value, Values};

use super::options::{Common, option_place};
use super::unlike::{said_of, values_of};
use super::{Built, Checker, NewNode, Outputs, Scope};
use crate::ast::{Call, ExprKind, Head, Name, NamedExpr, Pipe, Stage, StreamName};
use crate::codes;
use crate::nearest::list;

/// Of the columns that are read, one that the rows' kind declares and that is of another type by now, with that type.
fn replaced<'a>(stream: &'a Stream, read: &Columns) -> Option<(&'static Column, &'a Type)> {
    let RowKind::Kind(kind) = stream.row else { return None };
    kind.columns.iter().filter(|column| read.contains(column.name)).find_map(|column| {
        let found = &stream.schema.field(column.name)?.ty;
        (*found != column.ty && !found.is_unknown()).then_some((column, found))
    })
}

/// What is said of a component that takes rows for what their kind says they are. Others write them as they find them.
fn reads_replaced(spec: &ComponentSpec, values: &Values, stream: &Stream, at: Span) -> Option<Diagnostic> {
    // Who passes rows on looks only at what it needs.
    let read = if spec.makes || spec.is_sink() { Columns::All } else { (spec.reads)(values, &Columns::none()) };
    let (column, found) = replaced(stream, &read)?;
    let title = format!(
        "`{}` reads {}, whose `{}` is {}, and here it is {}",
        spec.name,
        with_article(stream.row.name()),
        column.name,
        values_of(&column.ty),
        values_of(found)
    );
    let remedy = match (&column.ty, found) {
        (Type::Number { float: false, unit }, Type::Number { unit: other, .. }) if unit == other => {
            "make it whole with `round`"
        }
        (Type::Number { .. }, Type::Number { unit: Unit::One, .. }) => "give it its unit, as `10s` has one",
        (Type::Enum(_), _) => "compute one of these words, or give it another name",
        _ => "give what it computes another name",
    };
    let help = format!("`set` has replaced `{}`: {remedy}", column.name);
    Some(Diagnostic::new(codes::WRONG_KIND, at, title).help(help))
}

/// What `with_tag` and `without_tag` make of the keys that are known of a column.
fn retag(stream: &mut Stream, column: &str, value: &Typed) {
    let Typed { node: TypedNode::Call(spec, args), .. } = value else { return };
    let key = args.get(1).and_then(|a| a.as_literal()).and_then(Value::as_str);
    let (Some(key), Some(keys)) = (key, stream.keys.get_mut(column)) else { return };
    match spec.function {
        Function::WithTag => drop(keys.known.insert(key.to_string())),
        Function::WithoutTag => drop(keys.known.remove(key)),
        _ => {}
    }
}

/// Where a pipe has got to.
pub(super) struct Here {
    /// The output that the next stage reads; none if something before is wrong.
    pub port: Option<Port>,
    pub stream: Stream,
    pub outputs: Option<Outputs>,
    /// A `where` before is never true.
    pub dead: bool,
    pub is_sink: bool,
    pub span: Span,
}

impl<'a> Checker<'a> {
    pub(super) fn pipe(&mut self, pipe: &'a Pipe, name: Option<&Name>) -> Built {
        let only = pipe.stages.is_empty();
        let mut here = self.head(&pipe.head, name, only);
        let count = pipe.stages.len();
        if self.is_unaddressed(&here, count > 0 || name.is_none()) {
            return Built::Poisoned;
        }
        for (at, stage) in pipe.stages.iter().enumerate() {
            if self.is_behind_a_sink(&here, stage.span()) {
                return Built::Poisoned;
            }
            here = self.stage(stage, here, name, at + 1 == count);
            if self.is_unaddressed(&here, at + 1 < count || (name.is_none() && !pipe.broken)) {
                return Built::Poisoned;
            }
        }
        if pipe.broken {
            here.stream.poisoned = true;
            here.port = None;
        }
        if name.is_none() && !here.is_sink && !pipe.broken && !here.stream.poisoned {
            self.nothing_reads(pipe, &here);
        }
        match here.outputs {
            Some(outputs) if !pipe.broken => Built::Stream(outputs),
            _ => Built::Poisoned,
        }
    }

    pub(super) fn is_behind_a_sink(&mut self, here: &Here, span: Span) -> bool {
        if here.is_sink {
            let d = Diagnostic::new(codes::WRONG_PLACE, span, "nothing can follow a sink");
            self.report(d.label(here.span, "the pipe ends here"));
        }
        here.is_sink
    }

    /// Reports a stage that is read as one stream and has only outputs with names.
    pub(super) fn is_unaddressed(&mut self, here: &Here, is_read: bool) -> bool {
        let Some(outputs) = here.outputs.as_ref().filter(|o| !o.is_sink && is_read && here.port.is_none()) else {
            return false;
        };
        if outputs.outputs.iter().any(|(name, _)| name.is_empty()) {
            return false;
        }
        let names: Vec<String> = outputs.outputs.iter().map(|(name, _)| format!("x.{name}")).collect();
        let names = list(names.iter().map(String::as_str));
        let d = Diagnostic::new(codes::UNKNOWN_OUTPUT, here.span, "this has several outputs, each read by its name");
        self.report(d.help(format!("give the pipe a name, `let x = …`, and read {names}")));
        true
    }

    fn nothing_reads(&mut self, pipe: &Pipe, here: &Here) {
        let text = self.text(here.span);
        let title = if pipe.stages.is_empty() { "nothing reads this source" } else { "nothing reads this" };
        let d = Diagnostic::new(codes::NOTHING_READS, here.span, title);
        self.report(d.help("end the pipe in a sink: `| stdout`").replace(format!("{text} | stdout")));
    }

    pub(super) fn broken(&self, span: Span, stream: Option<Stream>) -> Here {
        Here {
            port: None,
            stream: stream.unwrap_or_else(Stream::poisoned),
            outputs: None,
            dead: false,
            is_sink: false,
            span,
        }
    }

    pub(super) fn head(&mut self, head: &'a Head, name: Option<&Name>, only: bool) -> Here {
        match head {
            Head::Broken(span) => self.broken(*span, None),
            Head::Stream(stream) => self.stream_head(stream),
            Head::Merge { inputs, span } => self.merge(inputs, *span, name, only),
            Head::Call(call) => self.source(call, name, only),
            Head::Rows { rows, span } => self.rows(rows, *span, name),
            // Only the body of a piece begins so, and it is given what comes in.
            Head::Input(span) => self.broken(*span, None),
        }
    }

    /// The output that a name at the head of a pipe means.
    fn stream_head(&mut self, stream: &StreamName) -> Here {
        let span = stream.span();
        let name = &stream.name.text;
        if let Some(definition) = self.definitions.get_mut(name) {
            definition.used = true;
        }
        let outputs = match self.built.get(name) {
            Some(Built::Stream(outputs)) => outputs.clone(),
            Some(Built::Constant(..)) => {
                let title = format!("`{name}` is a value, and a stream belongs here");
                self.report(Diagnostic::new(codes::UNKNOWN_STREAM, span, title));
                return self.broken(span, None);
            }
            Some(Built::Poisoned) => return self.broken(span, None),
            None => {
                self.unknown_stream(stream);
                return self.broken(span, None);
            }
        };
        let wanted = stream.output.as_ref().map_or("", |o| o.text.as_str());
        match outputs.outputs.iter().position(|(n, _)| n == wanted) {
            Some(output) => Here {
                port: Some(Port { node: outputs.node, output }),
                stream: outputs.outputs[output].1.clone(),
                dead: self.dead[outputs.node],
                outputs: Some(outputs),
                is_sink: false,
                span,
            },
            None => {
                self.unknown_output(stream, &outputs);
                self.broken(span, None)
            }
        }
    }

    fn merge(&mut self, inputs: &[StreamName], span: Span, name: Option<&Name>, only: bool) -> Here {
        if inputs.is_empty() {
            let d = Diagnostic::new(codes::MISSING_OPTION, span, "`merge` has nothing to merge");
            self.report(d.help("name the streams: `merge(a, b)`"));
            return self.broken(span, None);
        }
        let heads: Vec<Here> = inputs.iter().map(|i| self.stream_head(i)).collect();
        let Some(first) = heads.iter().find(|h| h.port.is_some()) else { return self.broken(span, None) };
        let mut stream = first.stream.clone();
        let known = || heads.iter().filter(|h| h.port.is_some());
        match known().all(|h| h.stream.windowed.is_some()) {
            true if known().count() > 1 => stream.spoil_window("rows of several windows come together here".into()),
            true => {}
            // What is of no window ends none.
            false => stream.windowed = None,
        }
        for (input, head) in inputs.iter().zip(&heads).filter(|(_, h)| h.port.is_some()) {
            if head.stream.schema != stream.schema {
                let (here, there) = said_of(&head.stream, &stream);
                let title = "streams with different columns cannot be merged";
                let d = Diagnostic::new(codes::UNLIKE_STREAMS, input.span(), title)
                    .here(here)
                    .label(first.span, there)
                    .help("bring both to the same columns with `select`");
                self.report(d);
                return self.broken(span, None);
            }
            stream.delivery = stream.delivery.min(head.stream.delivery);
            stream.bounded &= head.stream.bounded;
            for (column, keys) in &head.stream.keys {
                let mine = stream.keys.entry(column.clone()).or_default();
                mine.known.extend(keys.known.iter().cloned());
                mine.open |= keys.open;
            }
        }
        let ports: Vec<Port> = heads.iter().filter_map(|h| h.port).collect();
        let complete = ports.len() == inputs.len();
        let outputs = vec![(String::new(), stream.clone())];
        let made = self.add(
            "merge",
            Planned::Merge,
            if complete { ports } else { Vec::new() },
            outputs,
            Common::default(),
            span,
            name,
            only,
            false,
        );
        made.unwrap_or_else(|| self.broken(span, Some(stream)))
    }

    /// Adds a node and stands behind it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn add(
        &mut self,
        component: &'static str,
        stage: Planned,
        inputs: Vec<Port>,
        outputs: Vec<(String, Stream)>,
        common: Common,
        span: Span,
        name: Option<&Name>,
        last: bool,
        dead: bool,
    ) -> Option<Here> {
        let (node_name, named) = match (common.name, name, last) {
            (Some(given), _, _) => (given, true),
            (None, Some(name), true) => (name.text.clone(), true),
            (None, Some(name), false) => (format!("{}/{component}", name.text), false),
            (None, None, _) => (component.to_string(), false),
        };
        let node = self.node(NewNode {
            name: node_name,
            named,
            component,
            spec: None,
            stage,
            inputs,
            outputs: outputs.clone(),
            on_full: common.on_full,
            span,
            dead,
        })?;
        let is_sink = self.nodes[node].spec.is_sink();
        let default = outputs.iter().position(|(n, _)| n.is_empty());
        let stream = default.map_or_else(Stream::poisoned, |at| outputs[at].1.clone());
        Some(Here {
            port: default.map(|output| Port { node, output }),
            stream,
            dead: self.dead[node],
            outputs: Some(Outputs { node, outputs, is_sink }),
            is_sink,
            span,
        })
    }

    pub(super) fn source(&mut self, call: &'a Call, name: Option<&Name>, only: bool) -> Here {
        if let Some(piece) = self.piece(&call.name.text) {
            return self.call_piece(piece, call, None, name, only);
        }
        let Some(spec) = self.component(&call.name.text) else {
            self.touch_args(&call.args);
            self.unknown_component(&call.name, true);
            return self.broken(call.span, None);
        };
        if !spec.is_source() {
            let what = if spec.is_sink() { "a sink" } else { "a transform" };
            let title = format!("`{}` is {what} and reads something: what?", spec.name);
            self.report(
                Diagnostic::new(codes::WRONG_PLACE, call.name.span, title)
                    .help("begin the pipe with a source or a stream"),
            );
            return self.broken(call.span, None);
        }
        self.component_stage(spec, call, None, name, only)
    }

    pub(super) fn stage(&mut self, stage: &'a Stage, here: Here, name: Option<&Name>, last: bool) -> Here {
        let span = stage.span();
        let stream = here.stream.clone();
        let dead = here.dead;
        let (component, planned, outputs): (&'static str, Option<Planned>, Vec<(String, Stream)>) = match stage {
            Stage::Broken(span) => return self.broken(*span, None),
            Stage::Call(call) => return self.call_stage(call, here, name, last),
            Stage::Where { condition, .. } => {
                let before = self.looked_up;
                let typed = self.condition(condition, &mut Scope::rows(&stream));
                let folded = super::constant::fold(&typed);
                let is_known = before == self.looked_up && !stream.poisoned;
                if let (Some(Value::Bool(always)), true) = (&folded, is_known) {
                    let d = Diagnostic::new(codes::CONSTANT_WHERE, condition.span, format!("this is always {always}"));
                    self.report(match always {
                        true => d.help("delete the stage: every row passes"),
                        false => d.help("no row passes; a pipe is switched off by a param: `where param.on`"),
                    });
                }
                for same in condition.compared_with_itself() {
                    let title = "a value is compared with itself";
                    self.report(
                        Diagnostic::new(codes::CONSTANT_WHERE, same, title)
                            .help("it is the same for every row that has the value; which of the two is another one?"),
                    );
                }
                let never = folded == Some(Value::Bool(false));
                let made = here.port.and_then(|port| {
                    let outputs = vec![(String::new(), stream.clone())];
                    self.add(
                        "where",
                        Planned::Where(typed),
                        vec![port],
                        outputs,
                        Common::default(),
                        span,
                        name,
                        last,
                        dead || never,
                    )
                });
                return made.unwrap_or_else(|| self.broken(span, Some(stream)));
            }
            Stage::Set { fields, .. } => {
                let mut after = stream.clone();
                let mut set = Vec::new();
                for field in fields {
                    let Some(name) = &field.name else { continue };
                    let declared = after.row.declared(&name.text).map(|column| &column.ty);
                    // A word of an enumeration is told from a mistake; other columns may become a text.
                    let mut scope = Scope::rows(&after);
                    let typed = match declared {
                        Some(words @ Type::Enum(_)) => self.one_of(&field.expr, &mut scope, words),
                        Some(ty) => {
                            let typed = self.expr(&field.expr, &mut scope, None);
                            self.retype_if_readable(typed, field.expr.span, ty)
                        }
                        None => self.expr(&field.expr, &mut scope, None),
                    };
                    let is_none = typed.as_literal() == Some(&Value::None);
                    let typed = match declared.filter(|ty| is_none || ty.takes(&typed.ty)) {
                        Some(ty) => typed.cast(ty.clone()),
                        None => typed,
                    };
                    let mut schema = (*after.schema).clone();
                    schema.put(after.row.field(&name.text, &typed.ty));
                    after = after.with_schema(schema);
                    after.overwrite(&name.text);
                    retag(&mut after, &name.text, &typed);
                    set.push((name.text.clone(), typed));
                }
                ("set", Some(Planned::Set(set)), vec![(String::new(), after)])
            }
            Stage::Select { fields, .. } => {
                let selected = self.selected(fields, &stream);
                let schema =
                    Schema { fields: selected.iter().map(|(n, e)| Field::new(n.clone(), e.ty.clone())).collect() };
                let mut after = Stream { row: RowKind::Record, ..stream.with_schema(schema) };
                let is_kept =
                    |name: &str, e: &Typed| matches!(&e.node, weir_spec::expr::Node::Column(of) if of == name);
                for (name, _) in selected.iter().filter(|(name, e)| !is_kept(name, e)) {
                    after.overwrite(name);
                }
                ("select", Some(Planned::Select(selected)), vec![(String::new(), after)])
            }
            Stage::Drop { names, .. } => {
                let mut schema = (*stream.schema).clone();
                for column in names {
                    match schema.index(&column.text) {
                        Some(at) => drop(schema.fields.remove(at)),
                        None if stream.poisoned => {}
                        None => self.unknown_column(&column.text, column.span, &stream, stream.row.name()),
                    }
                }
                let names = names.iter().map(|n| n.text.clone()).collect();
                ("drop", Some(Planned::Drop(names)), vec![(String::new(), stream.with_schema(schema))])
            }
            Stage::Route { fields, .. } => {
                let mut conditions = Vec::new();
                let mut outputs = Vec::new();
                for field in fields {
                    let Some(name) = &field.name else { continue };
                    conditions.push(self.condition(&field.expr, &mut Scope::rows(&stream)));
                    if name.text == "rest" || outputs.iter().any(|(n, _): &(String, Stream)| *n == name.text) {
                        let title = format!("`route` already has an output `{}`", name.text);
                        self.report(Diagnostic::new(codes::DUPLICATE, name.span, title));
                    }
                    outputs.push((name.text.clone(), stream.clone()));
                }
                outputs.push(("rest".into(), stream.clone()));
                ("route", Some(Planned::Route(conditions)), outputs)
            }
            Stage::Window { args, by, fields, .. } => {
                let (window, after) = self.window_stage(args, by, fields, span, &stream);
                let lateness = args.iter().find(|a| a.name.as_ref().is_some_and(|n| n.text == "lateness"));
                let common = self.common(args, false);
                let outputs = vec![(String::new(), after.clone()), ("late".into(), stream.clone())];
                let made = here.port.zip(window).and_then(|(port, window)| {
                    self.add(
                        "window",
                        Planned::Window(Arc::new(window)),
                        vec![port],
                        outputs,
                        common,
                        span,
                        name,
                        last,
                        dead,
                    )
                });
                if let (Some(made), Some(lateness)) = (made.as_ref().and_then(|m| m.outputs.as_ref()), lateness) {
                    self.lateness.push((made.node, lateness.value.span));
                }
                return made.unwrap_or_else(|| self.broken(span, Some(after)));
            }
        };
        let after = outputs.first().map(|(_, s)| s.clone());
        let made = here.port.zip(planned).and_then(|(port, planned)| {
            self.add(component, planned, vec![port], outputs, Common::default(), span, name, last, dead)
        });
        made.unwrap_or_else(|| self.broken(span, after))
    }

    fn selected(&mut self, fields: &[NamedExpr], stream: &Stream) -> Vec<(String, Typed)> {
        let mut selected: Vec<(String, Typed)> = Vec::new();
        for field in fields {
            let typed = self.expr(&field.expr, &mut Scope::rows(stream), None);
            let name = match (&field.name, &field.expr.kind) {
                (Some(name), _) => name.text.clone(),
                (None, ExprKind::Name(name)) => name.clone(),
                (None, _) => {
                    let d = Diagnostic::new(codes::KEY_WITHOUT_NAME, field.expr.span, "a computed column needs a name");
                    self.report(d.help(format!("write `name = {}`", self.text(field.expr.span))));
                    continue;
                }
            };
            if selected.iter().any(|(n, _)| *n == name) {
                let title = format!("`{name}` is selected twice");
                self.report(Diagnostic::new(codes::DUPLICATE, field.expr.span, title));
                continue;
            }
            selected.push((name, typed));
        }
        selected
    }

    pub(super) fn call_stage(&mut self, call: &'a Call, here: Here, name: Option<&Name>, last: bool) -> Here {
        if let Some(piece) = self.piece(&call.name.text) {
            return self.call_piece(piece, call, Some(here), name, last);
        }
        let Some(spec) = self.component(&call.name.text) else {
            self.touch_args(&call.args);
            self.unknown_component(&call.name, false);
            return self.broken(call.span, None);
        };
        if spec.is_source() {
            let title = format!("`{}` is a source: it begins a pipe and reads nothing", spec.name);
            self.report(
                Diagnostic::new(codes::WRONG_PLACE, call.name.span, title)
                    .help("give it its own pipe, and bring both together with `merge(a, b)`"),
            );
            return self.broken(call.span, None);
        }
        self.component_stage(spec, call, Some(here), name, last)
    }

    pub(super) fn component_stage(
        &mut self,
        spec: &'static ComponentSpec,
        call: &Call,
        here: Option<Here>,
        name: Option<&Name>,
        last: bool,
    ) -> Here {
        let input = here.as_ref().map(|h| h.stream.clone());
        let (values, good) = match self.options(spec, call, input.as_ref()) {
            Some((values, good)) => (Some(values), good),
            None => (None, false),
        };
        let common = self.common(&call.args, spec.is_sink());
        if let (Inputs::One(kinds), Some(stream)) = (spec.inputs, &input) {
            let fits = kinds.is_empty() || stream.poisoned || kinds.contains(&stream.row.name());
            if !fits {
                let title = format!(
                    "`{}` reads {}, and this is a `{}`",
                    spec.name,
                    list(kinds.iter().copied()),
                    stream.row.name()
                );
                let d = Diagnostic::new(codes::WRONG_KIND, call.name.span, title);
                let before = here.as_ref().map_or(call.span, |h| h.span);
                self.report(d.label(before, format!("this gives `{stream}`")));
                return self.broken(call.span, None);
            }
            let values = values.as_ref().filter(|_| !kinds.is_empty() && !stream.poisoned);
            if let Some(d) = values.and_then(|values| reads_replaced(spec, values, stream, call.name.span)) {
                self.report(d);
                return self.broken(call.span, None);
            }
        }
        let inputs: Vec<Stream> = input.iter().cloned().collect();
        let streams = values.as_ref().and_then(|values| match (spec.typing)(values, &inputs) {
            Ok(streams) => Some(streams),
            Err(_) if !good => None,
            Err(error) => {
                let place = option_place(call, error.option);
                // Without an option it is the stream that is at fault.
                let code = if error.option.is_empty() { codes::WRONG_KIND } else { codes::OPTION_VALUE };
                let d = Diagnostic::new(code, place, error.message);
                self.report(match error.help {
                    Some(help) => d.help(help),
                    None => d,
                });
                None
            }
        });
        self.promised(spec, &common, call, input.as_ref());
        let Some((values, streams)) = values.zip(streams) else {
            let guess = (spec.typing)(&with_defaults(spec.options, Values::default()), &inputs).ok();
            let mut here =
                self.broken(call.span, guess.and_then(|s| s.into_iter().next()).filter(|_| !spec.is_source()));
            here.is_sink = spec.is_sink();
            return here;
        };
        let outputs: Vec<(String, Stream)> = match spec.is_sink() {
            true => vec![("rejected".into(), inputs.first().cloned().unwrap_or_else(Stream::poisoned))],
            false => spec.outputs.iter().map(|o| o.name.to_string()).zip(streams).collect(),
        };
        let ports: Option<Vec<Port>> = match &here {
            None => Some(Vec::new()),
            Some(h) => h.port.map(|p| vec![p]),
        };
        let dead = here.as_ref().is_some_and(|h| h.dead);
        for need in (spec.needs)(&values) {
            if let Need::Listen(listener) = need {
                self.open_listener(&listener, option_place(call, "listen"));
            }
        }
        let stream = outputs.first().map(|(_, s)| s.clone());
        let made = ports.and_then(|ports| {
            self.add(spec.name, Planned::Options(values), ports, outputs, common, call.span, name, last, dead)
        });
        made.unwrap_or_else(|| {
            let mut here = self.broken(call.span, stream);
            here.is_sink = spec.is_sink();
            here
        })
    }

    /// `delivery:` on a sink asserts what the path keeps.
    fn promised(&mut self, spec: &ComponentSpec, common: &Common, call: &Call, input: Option<&Stream>) {
        let Some((asserted, span)) = common.delivery else { return };
        let Some(stream) = input.filter(|s| !s.poisoned) else { return };
        let kept = stream.delivery.min(spec.delivers);
        if asserted > kept {
            let weak =
                if spec.delivers < asserted { format!("`{}` itself", spec.name) } else { "what comes in".to_string() };
            let title = format!("this path is {kept}, not {asserted}");
            let d =
                Diagnostic::new(codes::DELIVERY, span, title).label(call.name.span, format!("{weak} keeps no more"));
            self.report(d.help(format!("write `delivery: {}`, or leave it out", kept.word())));
        }
    }
}
