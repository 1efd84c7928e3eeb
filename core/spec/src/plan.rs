//! The checked graph, ready to run.

use std::sync::Arc;

use crate::aggregate::AggregateCall;
use crate::component::{ComponentSpec, Need, Shape};
use crate::diagnostic::Span;
use crate::expr::Expr;
use crate::memory::{self, Division, Memory};
use crate::schema::{RowKind, Schema, Stream};
use crate::testing::Row;
use crate::value::Values;

/// A graph of nodes in an order in which every node stands after its inputs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub settings: Settings,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub memory_bytes: u64,
    /// Workers of a keyed stage.
    pub workers: usize,
    /// How long a shutdown may take before what is in flight is given up, in nanoseconds.
    pub drain_nanos: i64,
    /// Where the admin server listens.
    pub admin: Option<std::net::SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { memory_bytes: memory::MEMORY_DEFAULT_BYTES, workers: 1, drain_nanos: 10_000_000_000, admin: None }
    }
}

/// An output of a node, by position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    pub node: usize,
    pub output: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFull {
    #[default]
    Block,
    DropNewest,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// As the ledger, `top` and `tap` call it.
    pub name: String,
    pub spec: &'static ComponentSpec,
    pub stage: Stage,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Output>,
    pub on_full: OnFull,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Output {
    /// Empty for the default one.
    pub name: String,
    pub stream: Stream,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Stage {
    /// A component called with options.
    Options(Values),
    Where(Expr),
    Set(Vec<(String, Expr)>),
    Select(Vec<(String, Expr)>),
    Drop(Vec<String>),
    Window(Arc<Window>),
    /// The first condition that holds; what none takes goes to the last output, `rest`.
    Route(Vec<Expr>),
    Merge,
    /// Rows as a test writes them.
    Rows(Arc<Vec<Row>>),
}

/// How rows are assigned to windows. All in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Windowing {
    Tumbling { width: i64 },
    Hopping { width: i64, every: i64 },
    Session { gap: i64, max: i64 },
}

/// `window(…) by … { … }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    pub windowing: Windowing,
    pub lateness: i64,
    pub keys: Vec<GroupKey>,
    pub aggregates: Vec<AggregateCall>,
    /// Over the keys, the aggregates (`#0`, `#1`, …) and the fields before.
    pub fields: Vec<(String, Expr)>,
}

/// Bytes of a group beside its key and states.
pub const GROUP_BYTES: usize = 64;

impl Window {
    /// Windows that can be open at one time, for an input in order but for its lateness.
    pub fn open_max(&self) -> u64 {
        let (width, every) = match self.windowing {
            Windowing::Tumbling { width } => (width, width),
            Windowing::Hopping { width, every } => (width, every),
            Windowing::Session { gap, max } => (max, gap),
        };
        (width.saturating_add(self.lateness) / every.max(1)) as u64 + 1
    }

    /// What one group in each of them takes at most: that much is never refused.
    pub fn overflow_bytes_max(&self) -> u64 {
        let states: usize = self.aggregates.iter().map(|call| call.aggregate.bytes_max()).sum();
        self.open_max().saturating_mul((GROUP_BYTES + states) as u64)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct GroupKey {
    pub name: String,
    pub expr: Expr,
    /// Count a row once for each value.
    pub each: bool,
}

/// The column that stands for the n-th aggregate in a window's fields.
pub fn aggregate_column(n: usize) -> String {
    format!("#{n}")
}

/// Columns that every window adds.
pub const WINDOW_START: &str = "window.start";
pub const WINDOW_END: &str = "window.end";

/// A queue between two tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    pub from: Port,
    pub to: usize,
    /// Which of `to`'s inputs.
    pub input: usize,
}

/// Which nodes run together, and where queues are.
#[derive(Clone, Debug)]
pub struct Layout {
    /// For each node, the node at the head of its task.
    pub head: Vec<usize>,
    pub edges: Vec<Edge>,
}

impl Node {
    /// Whether it runs inside its upstream's task.
    pub fn is_inline(&self) -> bool {
        self.spec.shape == Shape::Inline && self.inputs.len() == 1
    }

    pub fn options(&self) -> Option<&Values> {
        match &self.stage {
            Stage::Options(values) => Some(values),
            _ => None,
        }
    }

    /// What it needs from the machine.
    pub fn needs(&self) -> Vec<Need> {
        self.options().map_or_else(Vec::new, |values| (self.spec.needs)(values))
    }

    pub fn memory(&self) -> Memory {
        match &self.stage {
            Stage::Options(values) => (self.spec.memory)(values),
            _ => (self.spec.memory)(&Values::default()),
        }
    }

    /// What the rows of its first output are.
    pub fn row(&self) -> RowKind {
        self.outputs.first().map_or(RowKind::Record, |output| output.stream.row)
    }

    pub fn schema(&self, output: usize) -> &Arc<Schema> {
        &self.outputs[output].stream.schema
    }
}

impl Plan {
    /// The readers of an output, as (node, input), in the order of the nodes.
    pub fn readers(&self, port: Port) -> Vec<(usize, usize)> {
        let inputs = |(at, node): (usize, &Node)| {
            let hits = node.inputs.iter().enumerate().filter(|(_, p)| **p == port);
            hits.map(|(input, _)| (at, input)).collect::<Vec<_>>()
        };
        self.nodes.iter().enumerate().flat_map(inputs).collect()
    }

    pub fn layout(&self) -> Layout {
        let mut head: Vec<usize> = (0..self.nodes.len()).collect();
        let mut edges = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.is_inline() {
                head[at] = head[node.inputs[0].node];
                continue;
            }
            let inputs = node.inputs.iter().enumerate();
            edges.extend(inputs.map(|(input, from)| Edge { from: *from, to: at, input }));
        }
        Layout { head, edges }
    }

    /// Divides the memory budget; the error is the number of bytes missing.
    pub fn divide(&self) -> Result<Division, u64> {
        let components: Vec<Memory> = self.nodes.iter().map(Node::memory).collect();
        memory::divide(self.settings.memory_bytes, self.layout().edges.len(), &components)
    }
}
