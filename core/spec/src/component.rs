//! What a component declares about itself, as constant data and pure functions.
//!
//! From this one declaration come checking, `--help`, completion, the reference, the plan's memory
//! and privileges, and the conformance suite's inputs.

use std::collections::BTreeSet;

use crate::memory::Memory;
use crate::option::{OptionError, OptionSpec};
use crate::schema::{Delivery, Stream};
use crate::value::Values;

/// Where a component stands in the graph and how the engine runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Has no input, runs in a task of its own.
    Source,
    /// Never owes output: runs inside its upstream's task.
    Inline,
    /// Keeps state and may owe output: a task of its own.
    Stateful,
    /// Stateful, by key: may run on several workers.
    Keyed,
    /// Ends a pipe.
    Sink,
}

/// What a component reads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Inputs {
    None,
    /// One stream, of any of these kinds; an empty list takes every kind.
    One(&'static [&'static str]),
    /// Several streams with the same columns.
    Many,
}

/// One output. The first has the empty name if it is the default one.
#[derive(Debug)]
pub struct OutputSpec {
    /// As in `x.late`; empty for what `x` alone means.
    pub name: &'static str,
    pub doc: &'static str,
}

/// One way in which rows are dropped, or something that is counted beside them.
#[derive(Debug)]
pub struct ReasonSpec {
    pub name: &'static str,
    pub doc: &'static str,
}

/// What whoever computes may count.
pub const COMPUTED: &[ReasonSpec] = &[ReasonSpec {
    name: "arithmetic",
    doc: "values that arithmetic cannot give, and that are absent: a division by zero, a sum that is too large",
}];
/// What whoever gives columns their values may count.
pub const HELD: &[ReasonSpec] = &[ReasonSpec {
    name: "out_of_range",
    doc: "computed values that their column cannot hold, and that are absent: 70000 as a port",
}];
/// What whoever sends something far away may count.
pub const SENT: &[ReasonSpec] = &[ReasonSpec { name: "retries", doc: "payloads that had to be sent again, each time" }];

/// What a component needs from the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// Reads files matching a path.
    Read(String),
    StandardInput,
    /// Writes a file.
    Write(String),
    /// Listens, as `udp://127.0.0.1:8125`.
    Listen(String),
    /// A capability of Linux, as `CAP_NET_RAW`.
    Capability(&'static str),
}

impl Need {
    /// Of a source's path, which is standard input as `-`.
    pub fn read(path: &str) -> Need {
        if path == "-" { Need::StandardInput } else { Need::Read(path.into()) }
    }
}

/// Columns by name: what somebody reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Columns {
    All,
    Some(BTreeSet<String>),
}

impl Columns {
    pub fn none() -> Columns {
        Columns::Some(BTreeSet::new())
    }

    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Columns {
        Columns::Some(names.into_iter().map(str::to_string).collect())
    }

    pub fn contains(&self, name: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Some(names) => names.contains(name),
        }
    }

    /// Takes one out, where they are by name; whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        match self {
            Columns::All => false,
            Columns::Some(names) => names.remove(name),
        }
    }

    pub fn join(&mut self, other: Columns) {
        match (&mut *self, other) {
            (Columns::All, _) => {}
            (_, Columns::All) => *self = Columns::All,
            (Columns::Some(names), Columns::Some(more)) => names.extend(more),
        }
    }
}

/// The declaration of a component.
pub struct ComponentSpec {
    pub name: &'static str,
    /// One line, lower case, no full stop.
    pub summary: &'static str,
    pub shape: Shape,
    pub options: &'static [OptionSpec],
    pub inputs: Inputs,
    pub outputs: &'static [OutputSpec],
    pub drops: &'static [ReasonSpec],
    /// What it counts beside rows, a group each.
    pub notes: &'static [&'static [ReasonSpec]],
    /// Whether it makes rows of its own (a source, a flow meter) instead of passing its input's on.
    /// What nobody reads of such rows is never built.
    pub makes: bool,
    /// The strongest promise this component keeps.
    pub delivers: Delivery,
    /// The streams it gives, one for each output, from its options and inputs.
    pub typing: fn(&Values, &[Stream]) -> Result<Vec<Stream>, OptionError>,
    /// What it reads of its input when `wanted` of its first output is read.
    pub reads: fn(&Values, &Columns) -> Columns,
    pub memory: fn(&Values) -> Memory,
    pub needs: fn(&Values) -> Vec<Need>,
    /// Uses that check and run, as text of the language.
    pub examples: &'static [&'static str],
}

impl std::fmt::Debug for ComponentSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComponentSpec({})", self.name)
    }
}

impl PartialEq for ComponentSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ComponentSpec {
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|o| o.name == name)
    }

    pub fn is_source(&self) -> bool {
        self.shape == Shape::Source
    }

    pub fn is_sink(&self) -> bool {
        self.shape == Shape::Sink
    }

    /// What a spec states where it has nothing to say.
    pub const PLAIN: ComponentSpec = ComponentSpec {
        name: "",
        summary: "",
        shape: Shape::Inline,
        options: &[],
        inputs: Inputs::One(&[]),
        outputs: &[OutputSpec { name: "", doc: "" }],
        drops: &[],
        notes: &[],
        makes: false,
        delivers: Delivery::ExactlyOnce,
        typing: |_, inputs| Ok(inputs.to_vec()),
        reads: |_, wanted| wanted.clone(),
        memory: |_| Memory::fixed(0),
        needs: |_| Vec::new(),
        examples: &[],
    };
}
