//! Test blocks, checked: a plan of their own for each, and what is done with it step by step.

use std::sync::Arc;

use crate::component::{ComponentSpec, Shape};
use crate::diagnostic::Span;
use crate::expr::{Comparison, Expr};
use crate::plan::Plan;
use crate::schema::Schema;
use crate::value::Value;

/// Stands in a plan for what a test feeds: the outputs of the definition it replaces.
pub static FEED: ComponentSpec = ComponentSpec {
    name: "feed",
    summary: "stands for what a test feeds",
    shape: Shape::Source,
    makes: true,
    ..ComponentSpec::PLAIN
};

/// `rows [ … ]` in a feed.
pub static ROWS: ComponentSpec = ComponentSpec {
    name: "rows",
    summary: "rows as a test writes them",
    shape: Shape::Source,
    makes: true,
    ..ComponentSpec::PLAIN
};

/// Keeps what reaches it, for the expectations of a test.
pub static CAPTURE: ComponentSpec = ComponentSpec {
    name: "capture",
    summary: "keeps rows for the expectations of a test",
    shape: Shape::Stateful,
    outputs: &[],
    reads: |_, _| crate::component::Columns::All,
    ..ComponentSpec::PLAIN
};

/// One test block.
#[derive(Debug)]
pub struct TestCase {
    pub name: String,
    pub span: Span,
    /// The graph under test, with feeds for what is fed and captures for what is looked at.
    pub plan: Plan,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub span: Span,
    pub kind: StepKind,
}

#[derive(Debug)]
pub enum StepKind {
    /// Runs `plan` to its end; what its capture keeps comes out of the output of the node `feed`.
    Feed {
        feed: String,
        output: String,
        plan: Plan,
    },
    /// Moves the clock, in nanoseconds.
    Advance {
        nanos: i64,
    },
    /// Lets a sink's far end be away for so long.
    Fail {
        sink: String,
        nanos: i64,
    },
    Expect(Expect),
}

#[derive(Debug)]
pub struct Expect {
    /// As the test writes it: `talkers.late`.
    pub target: String,
    /// The node whose numbers are meant, as the ledger calls it; absent where a constant `where`
    /// leaves it out.
    pub node: Option<String>,
    /// The node that keeps its rows.
    pub capture: Option<String>,
    /// Whether it is a sink: rows count once they are delivered.
    pub is_sink: bool,
    pub schema: Arc<Schema>,
    pub what: Expected,
}

#[derive(Debug)]
pub enum Expected {
    /// A number: rows (`count`), or one of the ledger.
    Counter {
        name: String,
        op: Comparison,
        value: i64,
    },
    Dropped {
        reason: String,
        op: Comparison,
        value: i64,
    },
    Any(Vec<(Expr, Span)>),
    All(Vec<(Expr, Span)>),
    None(Vec<(Expr, Span)>),
    Rows {
        rows: Vec<Row>,
        in_order: bool,
    },
}

/// Column and value, for the columns that were written.
pub type Row = Vec<(String, Value)>;
