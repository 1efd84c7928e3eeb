//! Names, types and units, and from them the plan.
//!
//! Definitions are taken in the order of their uses; each pipe is followed stage by stage, its
//! stream's type known at every step. What is wrong is reported once, where it is to be changed;
//! what follows from it has the type `unknown`, which agrees with everything in silence.

mod call;
mod constant;
mod definitions;
mod expect;
mod expr;
mod names;
mod options;
mod pieces;
mod stages;
mod testing;
mod unknown;
mod unlike;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_spec::component::Need;
use weir_spec::plan::{Node, OnFull, Output, Port, Settings, Stage};
use weir_spec::testing::TestCase;
use weir_spec::{ComponentSpec, Diagnostic, Label, Plan, Span, Stream, Type, Value};

use crate::ast::{File, Item, Name, Piece};
use crate::{Setting, codes};

/// What checking gives, before errors are counted.
pub(crate) struct Found {
    pub diagnostics: Vec<Diagnostic>,
    pub plan: Option<Plan>,
    pub runs: bool,
    pub missing_params: Vec<String>,
    pub tests: Vec<TestCase>,
}

/// A param of the file or of the piece being called: its type, its value if it has one, and whether anything used it.
struct Known {
    span: Span,
    ty: Type,
    value: Option<Value>,
    used: bool,
}

/// A `let`: which item, and whether anything used it.
struct Definition {
    item: usize,
    span: Span,
    used: bool,
}

/// A warning that the author has allowed.
struct Allowed {
    code: String,
    span: Span,
    /// Where: a definition or pipe, or the whole file.
    scope: Option<Span>,
    is_used: bool,
}

/// What a definition turned out to be.
#[derive(Clone)]
enum Built {
    Stream(Outputs),
    Constant(Value, Type),
    /// Wrong somewhere, and reported there.
    Poisoned,
}

/// The outputs of the last stage of a pipe.
#[derive(Clone)]
struct Outputs {
    node: usize,
    /// Names and streams; the default one has the empty name.
    outputs: Vec<(String, Stream)>,
    is_sink: bool,
}

pub(crate) struct Checker<'a> {
    source: &'a str,
    file: &'a File,
    setting: &'a Setting<'a>,
    diagnostics: Vec<Diagnostic>,
    params: BTreeMap<String, Known>,
    /// Pieces of pipe: which item.
    pieces: BTreeMap<String, usize>,
    /// Params of pieces that their bodies use, by where they are declared.
    used_params: BTreeSet<Span>,
    /// Pieces that something calls.
    called: BTreeSet<String>,
    definitions: BTreeMap<String, Definition>,
    built: HashMap<String, Built>,
    nodes: Vec<Node>,
    /// Nodes behind a `where` that is never true: checked, not run.
    dead: Vec<bool>,
    names: BTreeSet<String>,
    /// The next number for a name that is taken.
    numbers: HashMap<String, usize>,
    /// Unknown names already reported in a pipe, with their diagnostic.
    reported: HashMap<(usize, String), usize>,
    /// The pipe being checked, to tell its names from those of others.
    pipe: usize,
    settings: Settings,
    allowed: Vec<Allowed>,
    /// Params, variables and constants that were looked up so far.
    looked_up: usize,
    /// No syntax error took anything out, and unused names were looked for.
    whole: bool,
    /// What a test changes; nothing when the file itself is checked.
    under: testing::Under<'a>,
    /// Pieces of pipe that are being called, from the outside in.
    calls: Vec<&'a Piece>,
    /// Windows for which the author has written a lateness, and where.
    lateness: Vec<(usize, Span)>,
}

/// `whole` is false if a syntax error took something out of the file: what seems unused may not be.
pub(crate) fn check(source: &str, file: &File, setting: &Setting, whole: bool) -> Found {
    let mut found = Checker::new(source, file, setting).run(whole);
    let sound = !found.diagnostics.iter().any(Diagnostic::is_error);
    let is_nameless = found.diagnostics.iter().any(|d| d.code == codes::UNKNOWN_STREAM);
    let (mut diagnostics, tests) = testing::check(source, file, setting, sound, is_nameless);
    found.diagnostics.append(&mut diagnostics);
    found.tests = tests;
    found
}

impl<'a> Checker<'a> {
    fn new(source: &'a str, file: &'a File, setting: &'a Setting<'a>) -> Checker<'a> {
        Checker {
            source,
            file,
            setting,
            diagnostics: Vec::new(),
            params: BTreeMap::new(),
            pieces: BTreeMap::new(),
            used_params: BTreeSet::new(),
            called: BTreeSet::new(),
            definitions: BTreeMap::new(),
            built: HashMap::new(),
            nodes: Vec::new(),
            dead: Vec::new(),
            names: BTreeSet::new(),
            numbers: HashMap::new(),
            reported: HashMap::new(),
            pipe: 0,
            settings: Settings::default(),
            allowed: Vec::new(),
            looked_up: 0,
            whole: false,
            under: testing::Under::default(),
            calls: Vec::new(),
            lateness: Vec::new(),
        }
    }

    fn run(mut self, whole: bool) -> Found {
        self.definitions();
        self.whole = whole;
        // What an error has taken out may be what uses the rest.
        if whole && !self.diagnostics.iter().any(Diagnostic::is_error) {
            self.unused();
        }
        let runs = self.nodes.iter().any(|n| n.spec.is_sink());
        let plan = self.plan();
        let missing = self.params.iter().filter(|(_, p)| p.value.is_none());
        let missing_params = missing.map(|(name, _)| name.clone()).collect();
        Found { diagnostics: self.told(), plan, runs, missing_params, tests: Vec::new() }
    }

    /// Checks every item, each after what it needs.
    fn definitions(&mut self) {
        self.collect();
        for item in self.order() {
            self.item(item);
        }
        // They may say what `let` has named.
        self.settings_items();
        self.uncalled_pieces();
    }

    /// The diagnostics that nobody has allowed, and what was allowed for nothing.
    fn told(mut self) -> Vec<Diagnostic> {
        let mut allowed = std::mem::take(&mut self.allowed);
        self.diagnostics.retain(|d| {
            let is_here = |a: &&mut Allowed| a.code == d.code.0 && a.scope.is_none_or(|s| s.contains(d.span()));
            let mut by = allowed.iter_mut().filter(is_here).peekable();
            let is_allowed = by.peek().is_some();
            by.for_each(|a| a.is_used = true);
            !is_allowed
        });
        // Behind an error not every warning is found.
        let sound = self.whole && !self.diagnostics.iter().any(Diagnostic::is_error);
        // Where one listens may depend on the environment, so that it is open on another host.
        let depends = |a: &Allowed| a.code == codes::OPEN_LISTENER.0;
        let is_unused = |a: &&Allowed| sound && !a.is_used && self.is_own(a.span) && !depends(a);
        let unused: Vec<&Allowed> = allowed.iter().filter(is_unused).collect();
        for unused in unused {
            let title = format!("there is no `{}` here to be allowed", unused.code);
            self.diagnostics.push(Diagnostic::new(codes::ALLOWED_FOR_NOTHING, unused.span, title).help("delete it"));
        }
        self.diagnostics
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports an unknown name once a pipe; later uses become labels.
    fn report_name(&mut self, name: &str, diagnostic: Diagnostic) {
        let key = (self.pipe, name.to_string());
        if let Some(at) = self.reported.get(&key) {
            let span = diagnostic.span();
            self.diagnostics[*at].labels.push(Label { span, text: "again here".into() });
            return;
        }
        self.reported.insert(key, self.diagnostics.len());
        self.diagnostics.push(diagnostic);
    }

    /// Whether a place is in the file itself, not in one that it uses.
    fn is_own(&self, span: Span) -> bool {
        let theirs = self.file.items.get(self.file.own);
        theirs.is_none_or(|item| span.start < item.span().start)
    }

    /// Reports an unknown name once a file.
    fn report_once(&mut self, name: &str, diagnostic: Diagnostic) {
        let pipe = std::mem::replace(&mut self.pipe, usize::MAX);
        self.report_name(name, diagnostic);
        self.pipe = pipe;
    }

    fn text(&self, span: Span) -> &'a str {
        self.source.get(span.start..span.end).unwrap_or("")
    }

    fn component(&self, name: &str) -> Option<&'static ComponentSpec> {
        // Words of the language have their own syntax and are no components to call.
        let stage = matches!(name, "where" | "set" | "select" | "drop" | "window" | "route" | "merge");
        self.stage_spec(name).filter(|_| !stage)
    }

    fn stage_spec(&self, name: &str) -> Option<&'static ComponentSpec> {
        self.setting.components.iter().copied().find(|c| c.name == name)
    }

    /// Adds a node to the graph.
    fn node(&mut self, new: NewNode) -> Option<usize> {
        let name = self.node_name(&new.name, new.named);
        let output = |(name, stream): (String, Stream)| Output { name, stream };
        let dead = new.dead || (!new.inputs.is_empty() && new.inputs.iter().all(|p| self.dead[p.node]));
        self.nodes.push(Node {
            name,
            spec: new.spec.or_else(|| self.stage_spec(new.component))?,
            stage: new.stage,
            inputs: new.inputs,
            outputs: new.outputs.into_iter().map(output).collect(),
            on_full: new.on_full,
            span: new.span,
        });
        self.dead.push(dead);
        Some(self.nodes.len() - 1)
    }

    /// A free name: a given one as it stands, another with `#2` where it is taken.
    fn node_name(&mut self, wanted: &str, named: bool) -> String {
        let taken = |names: &BTreeSet<String>, name: &str| names.contains(name);
        let mut name = wanted.to_string();
        // Numbers go on from where they were, so that many stages of one name stay linear.
        let mut n = self.numbers.get(wanted).copied().unwrap_or(2);
        while !named && taken(&self.names, &name) {
            name = format!("{wanted}#{n}");
            n += 1;
        }
        self.numbers.insert(wanted.to_string(), n);
        self.names.insert(name.clone());
        name
    }

    /// The nodes that lead to a sink and are not behind a `where` that is never true.
    fn plan(&mut self) -> Option<Plan> {
        let mut keep = vec![false; self.nodes.len()];
        for at in (0..self.nodes.len()).rev() {
            let is_end = self.nodes[at].spec.is_sink() || self.nodes[at].spec == &weir_spec::testing::CAPTURE;
            keep[at] |= is_end;
            keep[at] &= !self.dead[at];
            if keep[at] {
                self.nodes[at].inputs.iter().for_each(|p| keep[p.node] = true);
            }
        }
        let mut index = vec![usize::MAX; self.nodes.len()];
        let mut nodes: Vec<Node> = Vec::new();
        for (at, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if !keep[at] || self.dead[at] {
                continue;
            }
            node.inputs.retain(|p| index[p.node] != usize::MAX);
            node.inputs.iter_mut().for_each(|p| p.node = index[p.node]);
            index[at] = nodes.len();
            nodes.push(node);
        }
        let mut plan = Plan { settings: self.settings.clone(), nodes };
        weir_spec::demand::prune(&mut plan);
        self.shared_places(&plan);
        self.open_windows(&plan);
        if let Err(missing) = plan.divide() {
            let need = weir_spec::units::human_size((self.settings.memory_bytes + missing) as f64);
            let have = weir_spec::units::human_size(self.settings.memory_bytes as f64);
            let title = format!("the pipeline asks for {need} of memory, and {have} are allowed");
            let span = self.memory_span();
            self.report(
                Diagnostic::new(codes::MEMORY, span, title)
                    .help("raise `settings(memory: …)` or lower a limit that a stage sets"),
            );
        }
        Some(plan)
    }

    /// One file that two sinks write, or standard input that two sources read.
    fn shared_places(&mut self, plan: &Plan) {
        let mut taken: Vec<(Need, Span)> = Vec::new();
        for node in &plan.nodes {
            for need in node.needs() {
                let (title, help) = match &need {
                    Need::Write(path) => {
                        (format!("two sinks write `{path}`"), "bring both streams together with `merge`")
                    }
                    Need::StandardInput => {
                        ("two sources read standard input".to_string(), "read it once, `let x = …`, and use `x` twice")
                    }
                    _ => continue,
                };
                match taken.iter().find(|(other, _)| *other == need) {
                    Some((_, first)) => {
                        let d = Diagnostic::new(codes::OPTION_VALUE, node.span, title).label(*first, "the first one");
                        self.report(d.help(help));
                    }
                    None => taken.push((need, node.span)),
                }
            }
        }
    }

    /// Windows that stay open side by side have to fit in memory, each with its overflow group.
    fn open_windows(&mut self, plan: &Plan) {
        let Ok(division) = plan.divide() else { return };
        for (node, share) in plan.nodes.iter().zip(&division.state_bytes) {
            let Stage::Window(window) = &node.stage else { continue };
            let need = window.overflow_bytes_max();
            if need > *share {
                let size = |n: u64| weir_spec::units::human_size(n as f64);
                let title = format!("up to {} windows are open side by side", window.open_max());
                let d = Diagnostic::new(codes::BAD_WINDOW, node.span, title);
                let help = format!(
                    "one group each may take {}, and {} are there: shorten `lateness`, or raise `settings(memory: …)`",
                    size(need),
                    size(*share)
                );
                self.report(d.help(help));
            }
        }
    }

    fn memory_span(&self) -> Span {
        let settings = self.file.items.iter().find_map(|i| match i {
            Item::Settings { span, .. } => Some(*span),
            _ => None,
        });
        settings.unwrap_or_default()
    }
}

/// What a node is made from.
struct NewNode {
    name: String,
    /// Whether the user gave the name, so that it must stay as it is.
    named: bool,
    component: &'static str,
    /// Of a node that is in no table.
    spec: Option<&'static ComponentSpec>,
    stage: Stage,
    inputs: Vec<Port>,
    outputs: Vec<(String, Stream)>,
    on_full: OnFull,
    span: Span,
    dead: bool,
}

/// What names mean at a place in a pipe.
struct Scope<'s> {
    /// The stream whose columns are meant; none in constants.
    stream: Option<&'s Stream>,
    /// What a message calls it.
    label: String,
    /// In a window's block: what is collected.
    window: Option<&'s mut window::Collected>,
    /// Params that the whole expression names as `param.x`: the bare name is then the column.
    said: Option<BTreeSet<String>>,
}

impl<'s> Scope<'s> {
    fn constant() -> Scope<'s> {
        Scope { stream: None, label: String::new(), window: None, said: None }
    }

    fn rows(stream: &'s Stream) -> Scope<'s> {
        Scope { stream: Some(stream), label: stream.row.name().to_string(), window: None, said: None }
    }
}

fn duplicate(name: &Name, first: Span) -> Diagnostic {
    Diagnostic::new(codes::DUPLICATE, name.span, format!("`{}` is defined twice", name.text))
        .here("the second time")
        .label(first, "the first time")
        .help("give one of them another name")
}
