//! `set`, `select` and `drop`: other columns for the same rows.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_core::columns::{arrow_schema, record};
use weir_core::eval::Compiled;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::component::{COMPUTED, HELD};
use weir_spec::plan::Stage;
use weir_spec::{ComponentSpec, Expr, Field, Schema};

pub const SET: Entry = Entry { spec: &SET_SPEC, build: Build::Transform(build) };
pub const SELECT: Entry = Entry { spec: &SELECT_SPEC, build: Build::Transform(build) };
pub const DROP: Entry = Entry { spec: &DROP_SPEC, build: Build::Transform(build) };

pub static SET_SPEC: ComponentSpec = ComponentSpec {
    name: "set",
    summary: "adds columns or replaces their values",
    notes: &[COMPUTED, HELD],
    examples: &["pcap(\"shop.pcap.gz\") | biflow | set total = sent_bytes + received_bytes | stdout"],
    ..ComponentSpec::PLAIN
};
pub static SELECT_SPEC: ComponentSpec = ComponentSpec {
    name: "select",
    summary: "keeps or computes just these columns",
    notes: &[COMPUTED],
    examples: &["pcap(\"shop.pcap.gz\") | select src.ip, size = ip_bytes | stdout"],
    ..ComponentSpec::PLAIN
};
pub static DROP_SPEC: ComponentSpec = ComponentSpec {
    name: "drop",
    summary: "leaves columns out",
    examples: &["pcap(\"shop.pcap.gz\") | drop tcp.window, faults | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let mut columns = (*cx.inputs[0]).clone();
    let computed = match &cx.node.stage {
        Stage::Set(fields) => set(fields, &mut columns, cx),
        Stage::Select(fields) => select(fields, &mut columns, cx),
        Stage::Drop(_) => Vec::new(),
        _ => return Err(Fault::bug("a stage that computes no columns")),
    };
    let output = cx.outputs.first().cloned().unwrap_or_default();
    // The last of a name: what `select` computes stands behind the input's.
    let at = |name: &str| columns.fields.iter().rposition(|field| field.name == name);
    let given = output.names().filter_map(at).collect();
    Ok(Box::new(Project { computed, given, schema: arrow_schema(&output) }))
}

/// Each field may use the ones before it, so each is bound to the columns there are by then.
fn set(fields: &[(String, Expr)], columns: &mut Schema, cx: &BuildCx) -> Vec<Computed> {
    let row = cx.node.row();
    let mut computed = Vec::new();
    for (name, expr) in fields {
        let field = row.field(name, &expr.ty);
        let value = Compiled::new(expr, columns, cx.counts);
        let sees = arrow_schema(columns);
        columns.put(field.clone());
        computed.push(Computed { at: columns.index(name).unwrap_or_default(), field, value, sees });
    }
    computed
}

/// Each field sees the input alone, and stands behind it.
fn select(fields: &[(String, Expr)], columns: &mut Schema, cx: &BuildCx) -> Vec<Computed> {
    let input = columns.clone();
    let sees = arrow_schema(&input);
    let mut computed = Vec::new();
    for (name, expr) in fields {
        let field = Field::new(name.clone(), expr.ty.clone());
        let value = Compiled::new(expr, &input, cx.counts);
        computed.push(Computed { at: columns.fields.len(), field: field.clone(), value, sees: sees.clone() });
        columns.fields.push(field);
    }
    computed
}

struct Computed {
    field: Field,
    value: Compiled,
    /// The first of the columns there are by then, which are those it may use.
    sees: SchemaRef,
    /// Where it goes: the place of the one that it replaces, or behind the last.
    at: usize,
}

struct Project {
    computed: Vec<Computed>,
    /// Which of the columns leave, in this order.
    given: Vec<usize>,
    schema: SchemaRef,
}

impl Transform for Project {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        out.send(0, batch.map(|rows| self.project(&rows)));
    }
}

impl Project {
    fn project(&self, rows: &RecordBatch) -> RecordBatch {
        let mut columns = rows.columns().to_vec();
        for Computed { field, value, sees, at } in &self.computed {
            let seen = record(sees, columns[..sees.fields().len()].to_vec(), rows.num_rows());
            let value = value.held(&seen, field);
            match columns.get_mut(*at) {
                Some(replaced) => *replaced = value,
                None => columns.push(value),
            }
        }
        let given = self.given.iter().map(|at| columns[*at].clone()).collect();
        record(&self.schema, given, rows.num_rows())
    }
}
