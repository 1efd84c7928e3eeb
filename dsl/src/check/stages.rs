//! Pipes: each stage's stream, options, and node of the plan.

use std::sync::Arc;

use weir_spec::component::Inputs;
use weir_spec::expr::Expr as Typed;
use weir_spec::option::{OptionSpec, OptionType, with_defaults};
use weir_spec::plan::{OnFull, Port, Stage as Planned};
use weir_spec::schema::{Delivery, RowKind, Schema};
use weir_spec::types::Type;
use weir_spec::{ComponentSpec, Diagnostic, Field, Span, Stream, Value, Values, kinds};

use super::{Built, Checker, NewNode, Outputs, Scope};
use crate::ast::{Arg, Call, Expr, ExprKind, Head, Name, NamedExpr, Pipe, Stage, StreamName, TypeName};
use crate::codes;
use crate::nearest::{list, nearest};

/// Where a pipe has got to.
struct Here {
    /// The output that the next stage reads; none if something before is wrong.
    port: Option<Port>,
    stream: Stream,
    outputs: Option<Outputs>,
    /// A `where` before is never true.
    dead: bool,
    is_sink: bool,
    span: Span,
}

/// Options that every node takes, and sinks beside.
const COMMON: &[&str] = &["name", "on_full", "allow", "delivery"];

/// What the common options say.
#[derive(Default)]
struct Common {
    name: Option<String>,
    on_full: OnFull,
    delivery: Option<(Delivery, Span)>,
}

impl Checker<'_> {
    pub(super) fn pipe(&mut self, pipe: &Pipe, name: Option<&Name>) -> Built {
        let only = pipe.stages.is_empty();
        let mut here = self.head(&pipe.head, name, only);
        let count = pipe.stages.len();
        for (at, stage) in pipe.stages.iter().enumerate() {
            if here.is_sink {
                let title = "nothing can follow a sink";
                self.report(
                    Diagnostic::new(codes::WRONG_PLACE, stage.span(), title).label(here.span, "the pipe ends here"),
                );
                return Built::Poisoned;
            }
            here = self.stage(stage, here, name, at + 1 == count);
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

    fn nothing_reads(&mut self, pipe: &Pipe, here: &Here) {
        let text = self.text(here.span);
        let title = if pipe.stages.is_empty() { "nothing reads this source" } else { "nothing reads this" };
        let d = Diagnostic::new(codes::NOTHING_READS, here.span, title);
        self.report(d.help("end the pipe in a sink: `| stdout`").replace(format!("{text} | stdout")));
    }

    fn broken(&self, span: Span, stream: Option<Stream>) -> Here {
        Here {
            port: None,
            stream: stream.unwrap_or_else(Stream::poisoned),
            outputs: None,
            dead: false,
            is_sink: false,
            span,
        }
    }

    fn head(&mut self, head: &Head, name: Option<&Name>, only: bool) -> Here {
        match head {
            Head::Broken(span) => self.broken(*span, None),
            Head::Stream(stream) => self.stream_head(stream),
            Head::Merge { inputs, span } => self.merge(inputs, *span, name, only),
            Head::Call(call) => self.source(call, name, only),
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

    fn unknown_stream(&mut self, stream: &StreamName) {
        let name = &stream.name.text;
        let span = stream.name.span;
        if let Some(spec) = self.component(name) {
            let title = format!("`{name}` is a component, and a stream or a source belongs here");
            let d = Diagnostic::new(codes::UNKNOWN_STREAM, span, title);
            let d = if spec.is_source() { d.help(format!("a source has parentheses: `{name}(…)`")) } else { d };
            return self.report(d);
        }
        let d = Diagnostic::new(codes::UNKNOWN_STREAM, span, format!("there is no stream `{name}`"));
        let near = nearest(name, self.definitions.keys().map(String::as_str)).map(str::to_string);
        near.iter().for_each(|near| self.touch(near));
        let d = match near {
            Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
            None => d.help(format!("define it: `let {name} = …`")),
        };
        self.report_name(name, d);
    }

    fn unknown_output(&mut self, stream: &StreamName, outputs: &Outputs) {
        let name = &stream.name.text;
        let names: Vec<String> =
            outputs.outputs.iter().filter(|(n, _)| !n.is_empty()).map(|(n, _)| format!("{name}.{n}")).collect();
        let names_list = list(names.iter().map(String::as_str));
        let span = stream.output.as_ref().map_or(stream.name.span, |o| o.span);
        let d = match (&stream.output, outputs.is_sink) {
            (None, true) => {
                Diagnostic::new(codes::SINK_AS_STREAM, span, format!("`{name}` is a sink: nothing comes out of it"))
                    .help(format!("the only stream it has is `{name}.rejected`"))
            }
            (None, false) => {
                Diagnostic::new(codes::UNKNOWN_OUTPUT, span, format!("`{name}` has several outputs: which one?"))
                    .help(format!("its outputs are {names_list}"))
            }
            (Some(output), _) => {
                let d =
                    Diagnostic::new(codes::UNKNOWN_OUTPUT, span, format!("`{name}` has no output `{}`", output.text));
                let spec = self.nodes.get(outputs.node).map(|n| n.name.clone());
                let earlier = output.text == "late" && spec.is_some();
                match (names.is_empty(), earlier) {
                    (true, true) => d.help(format!("outputs belong to the last stage: end `let {name}` at the window and begin another pipe with it")),
                    (true, false) => d.help(format!("its only output is `{name}` itself")),
                    (false, _) => d.help(format!("its outputs are {names_list}")),
                }
            }
        };
        self.report(d);
    }

    fn merge(&mut self, inputs: &[StreamName], span: Span, name: Option<&Name>, only: bool) -> Here {
        let heads: Vec<Here> = inputs.iter().map(|i| self.stream_head(i)).collect();
        let Some(first) = heads.iter().find(|h| h.port.is_some()) else { return self.broken(span, None) };
        let mut stream = first.stream.clone();
        for (input, head) in inputs.iter().zip(&heads).filter(|(_, h)| h.port.is_some()) {
            if head.stream.schema != stream.schema {
                let columns = |s: &Stream| {
                    list(s.schema.names().map(str::to_string).collect::<Vec<_>>().iter().map(String::as_str))
                };
                let title = "streams with different columns cannot be merged";
                let d = Diagnostic::new(codes::UNLIKE_STREAMS, input.span(), title)
                    .here(format!("this is a `{}`", head.stream.row.name()))
                    .label(first.span, format!("this is a `{}` with {}", stream.row.name(), columns(&stream)))
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
    fn add(
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

    fn source(&mut self, call: &Call, name: Option<&Name>, only: bool) -> Here {
        let Some(spec) = self.component(&call.name.text) else {
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

    fn unknown_component(&mut self, name: &Name, head: bool) {
        let fits = |c: &&&'static ComponentSpec| c.is_source() == head;
        let names: Vec<&str> = self.setting.components.iter().filter(fits).map(|c| c.name).collect();
        let what = if head { "source" } else { "component" };
        let d = Diagnostic::new(codes::UNKNOWN_COMPONENT, name.span, format!("there is no {what} `{}`", name.text));
        let d = match nearest(&name.text, names.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
            None => d.help(format!("there are {}", list(names.iter().copied()))),
        };
        self.report(d);
    }

    fn stage(&mut self, stage: &Stage, here: Here, name: Option<&Name>, last: bool) -> Here {
        let span = stage.span();
        let stream = here.stream.clone();
        let dead = here.dead;
        let (component, planned, outputs): (&'static str, Option<Planned>, Vec<(String, Stream)>) = match stage {
            Stage::Call(call) => return self.call_stage(call, here, name, last),
            Stage::Where { condition, .. } => {
                let typed = self.condition(condition, &mut Scope::rows(&stream));
                let never = super::constant::fold(&typed) == Some(Value::Bool(false));
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
                    let typed = self.expr(&field.expr, &mut Scope::rows(&after), None);
                    let mut schema = (*after.schema).clone();
                    schema.put(Field::new(name.text.clone(), typed.ty.clone()));
                    after = after.with_schema(schema);
                    set.push((name.text.clone(), typed));
                }
                ("set", Some(Planned::Set(set)), vec![(String::new(), after)])
            }
            Stage::Select { fields, .. } => {
                let selected = self.selected(fields, &stream);
                let schema =
                    Schema { fields: selected.iter().map(|(n, e)| Field::new(n.clone(), e.ty.clone())).collect() };
                let keys = stream.keys.clone();
                let mut after = Stream { row: RowKind::Record, ..stream.with_schema(schema) };
                after.keys = keys.into_iter().filter(|(c, _)| after.schema.field(c).is_some()).collect();
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

    fn call_stage(&mut self, call: &Call, here: Here, name: Option<&Name>, last: bool) -> Here {
        let Some(spec) = self.component(&call.name.text) else {
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

    fn component_stage(
        &mut self,
        spec: &'static ComponentSpec,
        call: &Call,
        here: Option<Here>,
        name: Option<&Name>,
        last: bool,
    ) -> Here {
        let input = here.as_ref().map(|h| h.stream.clone());
        let values = self.options(spec, call, input.as_ref());
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
        }
        let inputs: Vec<Stream> = input.iter().cloned().collect();
        let streams = values.as_ref().and_then(|values| match (spec.typing)(values, &inputs) {
            Ok(streams) => Some(streams),
            Err(error) => {
                let place = option_place(call, error.option);
                let d = Diagnostic::new(codes::OPTION_VALUE, place, error.message);
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

    /// The options that every node takes.
    fn common(&mut self, args: &[Arg], is_sink: bool) -> Common {
        let mut common = Common::default();
        for arg in args {
            let Some(name) = arg.name.as_ref().filter(|n| COMMON.contains(&n.text.as_str())) else { continue };
            match name.text.as_str() {
                "name" => {
                    let text = self.option_constant("name", OptionType::Str, false, &arg.value);
                    if let Some(Value::Str(text)) = text {
                        if !self.names.insert(text.clone()) {
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
                        self.allow(&codes);
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

    /// The options of a component, defaults filled in; `None` if any is wrong.
    fn options(&mut self, spec: &'static ComponentSpec, call: &Call, input: Option<&Stream>) -> Option<Values> {
        let mut values = Values::default();
        let mut places: Vec<(&'static str, Span)> = Vec::new();
        let mut positional = spec.options.iter().filter(|o| o.positional);
        let mut good = true;
        let broken = call.args.iter().any(|a| matches!(a.value.kind, ExprKind::Broken));
        if broken {
            // What was meant is not known, so neither is what is missing.
            return None;
        }
        for arg in &call.args {
            if arg.name.as_ref().is_some_and(|n| COMMON.contains(&n.text.as_str())) {
                continue;
            }
            let option = match &arg.name {
                None => positional.next(),
                Some(name) => spec.option(&name.text),
            };
            let Some(option) = option else {
                self.unknown_option(spec, arg);
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
                Some(value) => values.set(option.name, value),
                None => good = false,
            }
        }
        for option in spec.options.iter().filter(|o| o.required && !places.iter().any(|(n, _)| n == &o.name)) {
            good = false;
            let title = format!("`{}` needs `{}`", spec.name, option.name);
            let example = spec.examples.first().map_or(String::new(), |e| format!(", as in `{e}`"));
            let d = Diagnostic::new(codes::MISSING_OPTION, call.name.span, title);
            self.report(d.help(format!("{}{example}", option.doc.trim().trim_end_matches('.'))));
        }
        good.then(|| with_defaults(spec.options, values))
    }

    fn unknown_option(&mut self, spec: &ComponentSpec, arg: &Arg) {
        let names: Vec<&str> = spec.options.iter().map(|o| o.name).chain(COMMON.iter().copied()).collect();
        let Some(name) = &arg.name else {
            let title = format!("`{}` takes no further value without a name", spec.name);
            let d = Diagnostic::new(codes::UNKNOWN_OPTION, arg.value.span, title);
            return self.report(d.help(format!("its options are {}", list(spec.options.iter().map(|o| o.name)))));
        };
        let d =
            Diagnostic::new(codes::UNKNOWN_OPTION, name.span, format!("`{}` has no option `{}`", spec.name, name.text));
        let d = match nearest(&name.text, names.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
            None => d.help(format!("its options are {}", list(spec.options.iter().map(|o| o.name)))),
        };
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
            OptionType::Column => match &expr.kind {
                ExprKind::Name(name) => Some(Value::Str(name.clone())),
                ExprKind::Literal(Value::Str(name)) => Some(Value::Str(name.clone())),
                _ => {
                    let title = format!("`{}` is the name of a column", option.name);
                    self.report(Diagnostic::new(codes::OPTION_TYPE, expr.span, title));
                    None
                }
            },
            ty => self.option_constant(option.name, ty, option.none, expr),
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
                    let d = match nearest(name, names.clone()) {
                        Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
                        None => d.help(format!(
                            "the kinds are {}; columns of your own are `{{ name: string, … }}`",
                            list(names)
                        )),
                    };
                    self.report(d);
                    None
                }
            },
            ExprKind::Map(entries) => {
                let mut schema = Schema::default();
                for (name, ty) in entries {
                    let text = self.text(ty.span).to_string();
                    let ty = self.type_of(&TypeName { text, span: ty.span })?;
                    schema.put(Field::new(name.text.clone(), ty));
                }
                Some(Stream::record(schema))
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
        if let (OptionType::Word(words), ExprKind::Name(word)) = (ty, &expr.kind) {
            return self.word(name, words, word, expr.span);
        }
        if let OptionType::List(of) = ty {
            return match &expr.kind {
                ExprKind::List(items) => {
                    let values: Vec<_> = items.iter().map(|i| self.option_constant(name, *of, false, i)).collect();
                    values.into_iter().collect::<Option<Vec<_>>>().map(Value::List)
                }
                _ => match self.option_constant(name, *of, none, expr)? {
                    list @ Value::List(_) => Some(list),
                    one => Some(Value::List(vec![one])),
                },
            };
        }
        let hint = hint(ty);
        let typed = self.expr(expr, &mut Scope::constant(), hint.as_ref());
        let value = super::constant::fold(&typed);
        let value = match value {
            Some(Value::None) if typed.ty.is_unknown() && matches!(expr.kind, ExprKind::Literal(Value::None)) => {
                if none {
                    return Some(Value::None);
                }
                let title = format!("`{name}` cannot be `none`");
                self.report(Diagnostic::new(codes::OPTION_TYPE, expr.span, title));
                return None;
            }
            // A param without a value: it is known by its type, and given when run.
            Some(Value::None) | None if typed.ty.is_unknown() => return None,
            Some(value) => value,
            None => {
                let title = format!("`{name}` has to be known before start");
                self.report(Diagnostic::new(codes::NOT_CONSTANT, expr.span, title));
                return None;
            }
        };
        self.fit(name, ty, value, &typed.ty, expr)
    }

    fn word(&mut self, name: &str, words: &'static [&'static str], word: &str, span: Span) -> Option<Value> {
        if words.contains(&word) {
            return Some(Value::Word(word.into()));
        }
        let d = Diagnostic::new(codes::OPTION_VALUE, span, format!("`{name}` cannot be `{word}`"));
        let d = match nearest(word, words.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
            None => d.help(format!("it is one of {}", list(words.iter().copied()))),
        };
        self.report(d);
        None
    }

    /// A value in the place of an option: of its type, and in its range.
    fn fit(&mut self, name: &str, ty: OptionType, value: Value, found: &Type, expr: &Expr) -> Option<Value> {
        let span = expr.span;
        let wrong_type = |checker: &mut Self| {
            let wanted = describe(ty);
            let mut d = Diagnostic::new(
                codes::OPTION_TYPE,
                span,
                format!("`{name}` takes {wanted}, this is {}", weir_spec::function::article(found)),
            );
            if let (Some(unit), Value::Int(n)) = (missing_unit(ty), &value) {
                d = d.help(format!("give it a unit: `{n}{unit}`")).replace(format!("{n}{unit}"));
            }
            checker.report(d);
            None
        };
        match (ty, &value) {
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
            (_, Value::None) => Some(value),
            _ => wrong_type(self),
        }
    }

    fn range(&mut self, name: &str, range: &str, span: Span) -> Option<Value> {
        self.report(Diagnostic::new(codes::OPTION_VALUE, span, format!("`{name}` is {range}")));
        None
    }
}

fn option_place(call: &Call, option: &str) -> Span {
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
    }
}

fn missing_unit(ty: OptionType) -> Option<&'static str> {
    match ty {
        OptionType::Duration => Some("s"),
        OptionType::Size => Some("MiB"),
        OptionType::Percent => Some("%"),
        _ => None,
    }
}
