//! Names at the head of a pipe or behind a `|` that nothing has, and what may have been meant.

use weir_spec::{ComponentSpec, Diagnostic};

use super::{Checker, Outputs};
use crate::ast::{Arg, Name, StreamName};
use crate::codes;
use crate::nearest::{list, meant, nearest};

impl Checker<'_> {
    pub(super) fn unknown_stream(&mut self, stream: &StreamName) {
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
        let d = meant(d, near.as_deref(), || format!("define it: `let {name} = …`"));
        self.report_once(name, d);
    }

    pub(super) fn unknown_output(&mut self, stream: &StreamName, outputs: &Outputs) {
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

    /// What an unknown component would have used is not unused.
    pub(super) fn touch_args(&mut self, args: &[Arg]) {
        let mut names = Default::default();
        super::names::in_args(args, &mut names);
        names.iter().for_each(|name| self.touch(name));
    }

    pub(super) fn unknown_component(&mut self, name: &Name, head: bool) {
        let fits = |c: &&&'static ComponentSpec| c.is_source() == head;
        let pieces = self.pieces.keys().map(String::as_str);
        let names: Vec<&str> = self.setting.components.iter().filter(fits).map(|c| c.name).chain(pieces).collect();
        let what = if head { "source" } else { "component" };
        let d = Diagnostic::new(codes::UNKNOWN_COMPONENT, name.span, format!("there is no {what} `{}`", name.text));
        let settings = ["settings"].into_iter().filter(|_| head);
        let d = match nearest(&name.text, names.iter().copied().chain(settings)) {
            Some(near) => {
                let near = near.to_string();
                self.called.insert(near.clone());
                d.help(format!("did you mean `{near}`?")).replace(near)
            }
            None => d.help(format!("there are {}", list(names.iter().copied()))),
        };
        self.report(d);
    }
}
