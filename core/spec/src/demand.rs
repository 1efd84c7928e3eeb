//! Which columns anybody reads: what nobody does is not built at the source.

use std::sync::Arc;

use crate::Expr;
use crate::component::Columns;
use crate::plan::{Node, Plan, Port, Stage};
use crate::schema::Schema;

/// Narrows every stream of the plan to the columns that are read somewhere downstream.
pub fn prune(plan: &mut Plan) {
    let wanted = demand(plan);
    for (at, wanted) in wanted.iter().enumerate() {
        narrow(plan, at, wanted);
    }
}

/// For each node and output, what its readers read; from the last node to the first.
fn demand(plan: &Plan) -> Vec<Vec<Columns>> {
    let mut wanted: Vec<Vec<Columns>> = plan.nodes.iter().map(|n| vec![Columns::none(); n.outputs.len()]).collect();
    for (at, node) in plan.nodes.iter().enumerate().rev() {
        for input in &node.inputs {
            let reads = reads(node, &wanted[at], &plan.nodes[input.node], input.output);
            wanted[input.node][input.output].join(reads);
        }
    }
    wanted
}

fn reads(node: &Node, wanted: &[Columns], upstream: &Node, output: usize) -> Columns {
    let mut all = Columns::none();
    wanted.iter().for_each(|w| all.join(w.clone()));
    match &node.stage {
        Stage::Options(values) => {
            let mut reads = (node.spec.reads)(values, &all);
            if !node.spec.makes && !node.spec.is_sink() {
                reads.join(all);
            }
            for (_, value) in values.iter() {
                if let crate::value::Value::Expr(expr) = value {
                    reads.join(expr.columns());
                }
            }
            reads
        }
        Stage::Where(condition) => {
            all.join(condition.columns());
            all
        }
        Stage::Rows(_) => Columns::none(),
        Stage::Route(conditions) => {
            conditions.iter().for_each(|c| all.join(c.columns()));
            all
        }
        Stage::Set(fields) => {
            // From the last to the first: a field may use an earlier one, or the column it replaces.
            let mut reads = named(all, upstream.schema(output), fields);
            needed(&mut reads, fields);
            reads
        }
        Stage::Select(fields) => {
            let mut reads = Columns::none();
            let used = fields.iter().filter(|(name, _)| all.contains(name));
            used.for_each(|(_, expr)| reads.join(expr.columns()));
            reads
        }
        Stage::Drop(_) | Stage::Merge => all,
        Stage::Window(window) => {
            // The `.late` output has the input's columns, so its readers' wishes count as they are.
            let mut reads = wanted.get(1).cloned().unwrap_or(Columns::none());
            window.keys.iter().for_each(|k| reads.join(k.expr.columns()));
            for call in &window.aggregates {
                call.argument.iter().chain(&call.filter).for_each(|e| reads.join(e.columns()));
            }
            reads
        }
    }
}

/// By name what is wanted behind a `set`.
fn named(wanted: Columns, schema: &Schema, fields: &[(String, Expr)]) -> Columns {
    match wanted {
        Columns::All => Columns::of(schema.names().chain(fields.iter().map(|(name, _)| name.as_str()))),
        some => some,
    }
}

/// Which fields of a `set` are needed for what is wanted, from the last to the first; turns what is wanted into what
/// they need.
fn needed(wanted: &mut Columns, fields: &[(String, Expr)]) -> Vec<bool> {
    let need = |(name, expr): &(String, Expr)| {
        let is_needed = wanted.remove(name);
        if is_needed {
            wanted.join(expr.columns());
        }
        is_needed
    };
    fields.iter().rev().map(need).collect()
}

/// The output of rows that came too late.
const LATE: &str = "late";

/// Sets what the node's outputs really carry, given that its inputs are already narrowed.
fn narrow(plan: &mut Plan, at: usize, wanted: &[Columns]) {
    let input = plan.nodes[at].inputs.first().copied();
    let upstream = input.map(|p: Port| plan.nodes[p.node].schema(p.output).clone());
    let row = plan.nodes[at].row();
    let node = &mut plan.nodes[at];
    let keep = |schema: &Schema, wanted: &Columns| -> Arc<Schema> {
        let fields = schema.fields.iter().filter(|f| wanted.contains(&f.name)).cloned();
        Arc::new(Schema { fields: fields.collect() })
    };
    let passed = upstream.unwrap_or_default();
    let set = |node: &mut Node, schema: Arc<Schema>| {
        node.outputs.iter_mut().for_each(|o| o.stream.schema = schema.clone());
    };
    match &mut node.stage {
        Stage::Options(_) if node.spec.makes => {
            for (output, wanted) in node.outputs.iter_mut().zip(wanted) {
                // What came too late goes on as it came.
                output.stream.schema = match output.name == LATE {
                    true => passed.clone(),
                    false => keep(&output.stream.schema, wanted),
                };
            }
        }
        Stage::Options(_) if node.spec.is_sink() => {}
        Stage::Options(_) | Stage::Where(_) | Stage::Route(_) => set(node, passed),
        Stage::Merge | Stage::Rows(_) => {
            for (output, wanted) in node.outputs.iter_mut().zip(wanted) {
                output.stream.schema = keep(&output.stream.schema, wanted);
            }
        }
        Stage::Set(fields) => {
            let mut schema = (*passed).clone();
            let mut wanted = named(wanted.first().cloned().unwrap_or(Columns::All), &schema, fields);
            let mut are_needed = needed(&mut wanted, fields);
            let mut kept = std::mem::take(fields);
            kept.retain(|_| are_needed.pop() == Some(true));
            kept.iter().for_each(|(name, e)| schema.put(row.field(name, &e.ty)));
            *fields = kept;
            set(node, Arc::new(schema));
        }
        Stage::Select(fields) => {
            let wanted = wanted.first().cloned().unwrap_or(Columns::All);
            fields.retain(|(name, _)| wanted.contains(name));
            if let Some(output) = node.outputs.first_mut() {
                output.stream.schema = keep(&output.stream.schema, &wanted);
            }
        }
        Stage::Drop(names) => {
            let mut schema = (*passed).clone();
            schema.fields.retain(|f| !names.contains(&f.name));
            set(node, Arc::new(schema));
        }
        Stage::Window(_) => {
            if let Some(late) = node.outputs.get_mut(1) {
                late.stream.schema = passed;
            }
        }
    }
}
