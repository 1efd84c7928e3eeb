//! Calls of named pieces of pipe.
//!
//! A call is checked as if the piece stood in its place, its params bound: so a piece has whatever
//! types fit where it is called, and an error inside shows the call beside the definition.

use std::collections::BTreeMap;

use weir_spec::{Diagnostic, Label, Span, Stream};

use super::stages::Here;
use super::{Checker, Known};
use crate::ast::{Call, Head, Item, Name, Param, Piece, Stage};
use crate::codes;
use crate::nearest::{list, nearest};

/// Nodes that a pipeline becomes at most: pieces that call each other could make any number.
const NODES_MAX: usize = 10_000;

impl<'a> Checker<'a> {
    pub(super) fn piece(&self, name: &str) -> Option<&'a Piece> {
        match &self.file.items[*self.pieces.get(name)?] {
            Item::Piece(piece) => Some(piece),
            _ => None,
        }
    }

    /// Whether a piece begins with stages for what comes in, or with a source or stream of its own.
    /// Absent if it is defined by itself.
    fn reads_input(&self, piece: &'a Piece, depth: usize) -> Option<bool> {
        let first = match (&piece.body.head, piece.body.stages.first()) {
            (Head::Input(_), Some(Stage::Call(call))) | (Head::Call(call), _) => call.name.text.as_str(),
            (Head::Stream(stream), _)
                if stream.output.is_none() && !self.definitions.contains_key(&stream.name.text) =>
            {
                stream.name.text.as_str()
            }
            (Head::Input(_), Some(Stage::Broken(_))) => return None,
            (Head::Input(_), _) => return Some(true),
            _ => return Some(false),
        };
        match (self.piece(first), self.component(first)) {
            (Some(_), _) if depth > self.pieces.len() => None,
            (Some(inner), _) => self.reads_input(inner, depth + 1),
            (None, Some(spec)) => Some(!spec.is_source()),
            (None, None) => Some(matches!(piece.body.head, Head::Input(_))),
        }
    }

    pub(super) fn call_piece(
        &mut self,
        piece: &'a Piece,
        call: &'a Call,
        here: Option<Here>,
        name: Option<&Name>,
        last: bool,
    ) -> Here {
        self.called.insert(piece.name.text.clone());
        let input = here.as_ref().map(|h| h.stream.clone());
        if self.calls.iter().any(|outer| std::ptr::eq(*outer, piece)) {
            let title = format!("`{}` calls itself", piece.name.text);
            self.report(Diagnostic::new(codes::CYCLE, call.name.span, title).label(piece.name.span, "defined here"));
            return self.broken(call.span, None);
        }
        if self.nodes.len() > NODES_MAX {
            let title = format!("this pipeline has more than {NODES_MAX} stages");
            self.report(Diagnostic::new(codes::TOO_DEEP, call.name.span, title));
            return self.broken(call.span, None);
        }
        if self.reads_input(piece, 0).is_some_and(|reads| reads != here.is_some()) {
            self.misplaced(piece, call, here.is_some());
            return self.broken(call.span, None);
        }
        let Some(bound) = self.bind(piece, call) else {
            return self.broken(call.span, input.map(|_| Stream::poisoned()));
        };
        let before = self.diagnostics.len();
        let mut made = self.expand_with(bound, piece, here, name, last);
        self.called_here(before, piece, call);
        made.span = call.span;
        made
    }

    /// The stages of a piece while its params are bound, in the place of any that have their names.
    fn expand_with(
        &mut self,
        bound: BTreeMap<String, Known>,
        piece: &'a Piece,
        input: Option<Here>,
        name: Option<&Name>,
        last: bool,
    ) -> Here {
        let outer: Vec<(String, Option<Known>)> =
            bound.into_iter().map(|(name, known)| (name.clone(), self.params.insert(name, known))).collect();
        self.calls.push(piece);
        let made = self.expand(piece, input, name, last);
        self.calls.pop();
        self.note_used(piece);
        for (name, known) in outer {
            match known {
                Some(known) => drop(self.params.insert(name, known)),
                None => drop(self.params.remove(&name)),
            }
        }
        made
    }

    fn misplaced(&mut self, piece: &Piece, call: &Call, has_input: bool) {
        let name = &piece.name.text;
        let d = |title: String| Diagnostic::new(codes::WRONG_PLACE, call.name.span, title);
        let d = match has_input {
            true => d(format!("`{name}` begins a pipe and reads nothing")),
            false => d(format!("`{name}` reads something: what?")).help("begin the pipe with a source or a stream"),
        };
        self.report(d.label(piece.name.span, "defined here"));
    }

    /// The stages of a piece, as if they stood where it is called.
    fn expand(&mut self, piece: &'a Piece, input: Option<Here>, name: Option<&Name>, last: bool) -> Here {
        let body = &piece.body;
        let count = body.stages.len();
        let mut here = match (input, &body.head) {
            (None, Head::Input(span)) => match body.stages.first() {
                // A piece of another file that begins a pipe: read as a stage before it was known.
                Some(Stage::Call(call)) => {
                    let here = self.source(call, name, last && count == 1);
                    return self.rest(piece, 1, here, name, last);
                }
                _ => self.broken(*span, None),
            },
            (None, head) => self.head(head, name, last && count == 0),
            (Some(here), Head::Call(call)) => self.call_stage(call, here, name, last && count == 0),
            (Some(here), Head::Stream(stream)) => self.bare_stage(stream.name.clone(), here, name, last && count == 0),
            (Some(here), _) => here,
        };
        if body.broken {
            here.stream.poisoned = true;
            here.port = None;
        }
        self.rest(piece, 0, here, name, last)
    }

    fn rest(&mut self, piece: &'a Piece, from: usize, mut here: Here, name: Option<&Name>, last: bool) -> Here {
        let count = piece.body.stages.len();
        for (at, stage) in piece.body.stages.iter().enumerate().skip(from) {
            if self.is_behind_a_sink(&here, stage.span()) || self.is_unaddressed(&here, true) {
                return self.broken(stage.span(), None);
            }
            here = self.stage(stage, here, name, last && at + 1 == count);
        }
        here
    }

    /// A component without its parentheses as the first stage of a piece.
    fn bare_stage(&mut self, called: Name, here: Here, name: Option<&Name>, last: bool) -> Here {
        let span = called.span;
        if let Some(piece) = self.piece(&called.text) {
            let title = format!("`{}` is called with parentheses", called.text);
            self.report(Diagnostic::new(codes::MISSING_OPTION, span, title).label(piece.name.span, "defined here"));
            return self.broken(span, None);
        }
        let call = Call { name: called, args: Vec::new(), parens: false, span };
        match self.component(&call.name.text) {
            Some(spec) => self.component_stage(spec, &call, Some(here), name, last),
            None => self.broken(span, None),
        }
    }

    /// The params of a piece with their values in this call; `None` if any is wrong.
    fn bind(&mut self, piece: &'a Piece, call: &'a Call) -> Option<BTreeMap<String, Known>> {
        let mut bound: BTreeMap<String, Known> = BTreeMap::new();
        let mut places: BTreeMap<String, Span> = BTreeMap::new();
        let mut positional = piece.params.iter();
        let mut good = true;
        for arg in &call.args {
            let param = match &arg.name {
                None => positional.next(),
                Some(name) => piece.params.iter().find(|p| p.name.text == name.text),
            };
            let Some(param) = param else {
                self.unknown_param_of(piece, arg.name.as_ref(), arg.value.span);
                good = false;
                continue;
            };
            if let Some(before) = places.insert(param.name.text.clone(), arg.value.span) {
                let title = format!("`{}` is given twice", param.name.text);
                let d = Diagnostic::new(codes::OPTION_TWICE, arg.value.span, title).here("the second time");
                self.report(d.label(before, "the first time"));
                good = false;
                continue;
            }
            good &= self.bind_one(param, &arg.value, &mut bound).is_some();
        }
        for param in piece.params.iter().filter(|p| !places.contains_key(&p.name.text)) {
            let Some(default) = &param.default else {
                let title = format!("`{}` needs `{}`", piece.name.text, param.name.text);
                let d = Diagnostic::new(codes::MISSING_OPTION, call.name.span, title);
                self.report(d.label(param.name.span, "this param has no default"));
                good = false;
                continue;
            };
            good &= self.bind_one(param, default, &mut bound).is_some();
        }
        good.then_some(bound)
    }

    fn bind_one(
        &mut self,
        param: &Param,
        value: &'a crate::ast::Expr,
        bound: &mut BTreeMap<String, Known>,
    ) -> Option<()> {
        let declared = match &param.ty {
            Some(ty) => Some(self.type_of(ty)?),
            None => None,
        };
        let value = self.constant(value, declared.as_ref())?;
        let ty = declared.unwrap_or_else(|| value.ty());
        bound.insert(param.name.text.clone(), Known { span: param.name.span, ty, value: Some(value), used: false });
        Some(())
    }

    fn unknown_param_of(&mut self, piece: &Piece, name: Option<&Name>, value: Span) {
        let names: Vec<&str> = piece.params.iter().map(|p| p.name.text.as_str()).collect();
        let called = &piece.name.text;
        let d = match name {
            None => Diagnostic::new(codes::UNKNOWN_OPTION, value, format!("`{called}` takes no further value")),
            Some(name) => {
                let title = format!("`{called}` has no param `{}`", name.text);
                let d = Diagnostic::new(codes::UNKNOWN_OPTION, name.span, title);
                match nearest(&name.text, names.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")).replace(near),
                    None => d,
                }
            }
        };
        let d = match (d.help.is_some(), names.is_empty()) {
            (true, _) => d,
            (false, true) => d.help("it has no params"),
            (false, false) => d.help(format!("its params are {}", list(names))),
        };
        self.report(d.label(piece.name.span, "defined here"));
    }

    /// What is wrong inside a piece shows the call; the same mistake of several calls is one.
    fn called_here(&mut self, before: usize, piece: &Piece, call: &Call) {
        for mut d in self.diagnostics.split_off(before) {
            if !piece.span.contains(d.span()) {
                self.diagnostics.push(d);
                continue;
            }
            let label = Label { span: call.name.span, text: "called here".into() };
            let same =
                self.diagnostics.iter_mut().find(|o| o.code == d.code && o.title == d.title && o.span() == d.span());
            match same {
                Some(known) => known.labels.push(label),
                None => {
                    d.labels.push(label);
                    self.diagnostics.push(d);
                }
            }
        }
        // Labels of these would point behind what was moved.
        self.reported.retain(|_, at| *at < before);
    }

    /// Notes which params of a piece its body has used, while they are bound.
    fn note_used(&mut self, piece: &Piece) {
        let used = piece.params.iter().filter(|p| self.params.get(&p.name.text).is_some_and(|known| known.used));
        self.used_params.extend(used.map(|p| p.name.span));
    }

    /// Params of a piece: each once, with a default of its type.
    fn piece_params(&mut self, piece: &'a Piece) {
        for (at, param) in piece.params.iter().enumerate() {
            let first = piece.params[..at].iter().find(|other| other.name.text == param.name.text);
            if let Some(first) = first {
                self.report(super::duplicate(&param.name, first.name.span));
                continue;
            }
            let ty = param.ty.as_ref().and_then(|ty| self.type_of(ty));
            let before = self.diagnostics.len();
            param.default.iter().for_each(|default| drop(self.constant(default, ty.as_ref())));
            // A call that takes the default has said so already.
            for d in self.diagnostics.split_off(before) {
                if !self.diagnostics.iter().any(|o| o.code == d.code && o.span() == d.span()) {
                    self.diagnostics.push(d);
                }
            }
        }
    }

    /// Params that a piece never uses.
    pub(super) fn unused_piece_params(&mut self) {
        let file = self.file;
        for item in &file.items[..file.own] {
            let Item::Piece(piece) = item else { continue };
            for param in &piece.params {
                if self.used_params.contains(&param.name.span) {
                    continue;
                }
                let title = format!("the param `{}` of `{}` is never used", param.name.text, piece.name.text);
                self.report(Diagnostic::new(codes::UNUSED_PARAM, param.name.span, title).help("delete it"));
            }
        }
    }

    /// A piece that nothing calls is checked too, as far as its input need not be known.
    pub(super) fn uncalled_pieces(&mut self) {
        let file = self.file;
        for item in &file.items[..file.own] {
            let Item::Piece(piece) = item else { continue };
            self.piece_params(piece);
            if self.called.contains(&piece.name.text)
                || self.piece(&piece.name.text).is_none_or(|p| !std::ptr::eq(p, piece))
            {
                continue;
            }
            let mut bound = BTreeMap::new();
            for param in &piece.params {
                let ty = param.ty.as_ref().and_then(|ty| self.type_of(ty));
                let value = param.default.as_ref().and_then(|d| self.constant(d, ty.as_ref()));
                let ty = ty.or(value.as_ref().map(|v| v.ty())).unwrap_or(weir_spec::Type::Unknown);
                let known = Known { span: param.name.span, ty, value, used: false };
                bound.insert(param.name.text.clone(), known);
            }
            let input =
                self.reads_input(piece, 0).is_some_and(|reads| reads).then(|| self.broken(piece.name.span, None));
            let nodes = self.nodes.len();
            self.expand_with(bound, piece, input, Some(&piece.name), true);
            self.nodes.truncate(nodes);
            self.dead.truncate(nodes);
            self.lateness.retain(|(node, _)| *node < nodes);
        }
    }
}
