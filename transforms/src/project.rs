//! `set`, `select` and `drop`: other columns for the same rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use weir_core::columns::{arrow_schema, record};
use weir_core::eval::Compiled;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::plan::Stage;
use weir_spec::{ComponentSpec, Expr, Field, Schema};

pub const SET: Entry = Entry { spec: &SET_SPEC, build: Build::Transform(build) };
pub const SELECT: Entry = Entry { spec: &SELECT_SPEC, build: Build::Transform(build) };
pub const DROP: Entry = Entry { spec: &DROP_SPEC, build: Build::Transform(build) };

pub static SET_SPEC: ComponentSpec = ComponentSpec {
    name: "set",
    summary: "adds columns or replaces their values",
    examples: &["pcap(\"shop.pcap.gz\") | biflow | set total = sent_bytes + received_bytes | stdout"],
    ..ComponentSpec::PLAIN
};
pub static SELECT_SPEC: ComponentSpec = ComponentSpec {
    name: "select",
    summary: "keeps or computes just these columns",
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
    let input = &cx.inputs[0];
    let fields = match &cx.node.stage {
        Stage::Set(fields) => set(fields, input, cx),
        Stage::Select(fields) => {
            let one = |(name, expr): &(String, Expr)| {
                (Field::new(name.clone(), expr.ty.clone()), Compiled::new(expr, input, cx.counts))
            };
            fields.iter().map(one).collect()
        }
        Stage::Drop(_) => Vec::new(),
        _ => return Err(Fault::bug("a stage that computes no columns")),
    };
    let output = cx.outputs.first().cloned().unwrap_or_default();
    let chained = matches!(cx.node.stage, Stage::Set(_));
    Ok(Box::new(Project { fields, chained, input: input.clone(), schema: arrow_schema(&output), output }))
}

/// Each field may use the ones before it, so each is bound to the columns there are by then.
fn set(fields: &[(String, Expr)], input: &Schema, cx: &BuildCx) -> Vec<(Field, Compiled)> {
    let row = cx.node.row();
    let mut schema = input.clone();
    let mut bound = Vec::new();
    for (name, expr) in fields {
        let field = row.field(name, &expr.ty);
        bound.push((field.clone(), Compiled::new(expr, &schema, cx.counts)));
        schema.put(field);
    }
    bound
}

struct Project {
    fields: Vec<(Field, Compiled)>,
    /// Whether a field sees the ones before it (`set`) or only the input (`select`).
    chained: bool,
    input: Arc<Schema>,
    output: Arc<Schema>,
    schema: arrow_schema::SchemaRef,
}

impl Transform for Project {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        out.send(0, batch.map(|rows| self.project(rows)));
    }
}

impl Project {
    fn project(&self, rows: RecordBatch) -> RecordBatch {
        let mut schema = (*self.input).clone();
        let mut columns = rows.columns().to_vec();
        let mut values = Vec::new();
        for (field, compiled) in &self.fields {
            let value = match self.chained {
                true => compiled.held(&record(&arrow_schema(&schema), columns.clone(), rows.num_rows()), field),
                false => compiled.held(&rows, field),
            };
            values.push((field, value));
            if self.chained {
                values.drain(..).for_each(|(field, value)| put(&mut schema, &mut columns, field, value));
            }
        }
        values.into_iter().for_each(|(field, value)| put(&mut schema, &mut columns, field, value));
        let picked = self.output.names().filter_map(|name| schema.index(name).map(|at| columns[at].clone()));
        record(&self.schema, picked.collect(), rows.num_rows())
    }
}

fn put(schema: &mut Schema, columns: &mut Vec<ArrayRef>, field: &Field, value: ArrayRef) {
    match schema.index(&field.name) {
        Some(at) => columns[at] = value,
        None => columns.push(value),
    }
    schema.put(field.clone());
}
