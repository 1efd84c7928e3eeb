//! Whether what was expected is so, and what to show if it is not.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use weir_core::eval::Compiled;
use weir_core::eval::text::{int, text};
use weir_core::ledger::{ComponentLedger, Counts, Ledger};
use weir_sources::rows::batch;
use weir_spec::testing::{Expect, Expected, Row};
use weir_spec::{Expr, Field, Schema, Span, Type, units};

use super::scene::Scene;
use super::table::{Mark, Table};

/// Rows that are shown of what was seen.
const SHOWN_MAX: usize = 20;
/// Floats that differ by less than this part of themselves are equal.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// A title and what was seen, if the expectation does not hold.
pub fn check(expect: &Expect, scene: &Scene, ledger: &Ledger) -> Option<(String, String)> {
    let component = expect.node.as_ref().and_then(|name| ledger.components.iter().find(|c| c.name == *name));
    let rows = seen(expect, scene, component);
    let target = &expect.target;
    match &expect.what {
        Expected::Counter { name, op, value } => {
            let found = match name.as_str() {
                "count" => rows.len() as i64,
                name => component.map_or(0, |c| counter(c, name)),
            };
            let what = if name == "count" { "rows".to_string() } else { format!("`{name}`") };
            let title = format!("`{target}` has {found} {what}, expected {} {value}", op.symbol());
            let fate = component.filter(|_| expect.is_sink).map_or_else(String::new, fate);
            (!op.holds(found.cmp(value))).then(|| (title, table(&expect.schema, &rows) + &fate))
        }
        Expected::Dropped { reason, op, value } => {
            let dropped = component.and_then(|c| c.dropped.get(reason)).copied().unwrap_or(0) as i64;
            let title = format!("`{target}` dropped {dropped} rows for `{reason}`, expected {} {value}", op.symbol());
            let all = component.map(|c| c.dropped.iter().map(|(why, n)| format!("dropped {why}: {n}\n")).collect());
            (!op.holds(dropped.cmp(value))).then(|| (title, all.unwrap_or_default()))
        }
        Expected::Any(conditions) => {
            let title = format!("no row of `{target}` meets all of this, {} seen", rows.len());
            let hit = meets(&rows, conditions, &expect.schema).contains(&true);
            (!hit).then(|| (title, table(&expect.schema, &rows)))
        }
        Expected::All(conditions) => {
            let bad = those(false, &rows, conditions, &expect.schema);
            let title = format!("{} of {} rows of `{target}` do not meet this", bad.len(), rows.len());
            (!bad.is_empty()).then(|| (title, table(&expect.schema, &bad)))
        }
        Expected::None(conditions) => {
            let bad = those(true, &rows, conditions, &expect.schema);
            let title = format!("{} of {} rows of `{target}` meet this, none should", bad.len(), rows.len());
            (!bad.is_empty()).then(|| (title, table(&expect.schema, &bad)))
        }
        Expected::Rows { rows: wanted, in_order } => exactly(expect, &rows, wanted, *in_order),
    }
}

/// A row and the batch it is in.
#[derive(Clone)]
struct RowAt {
    batch: Arc<RecordBatch>,
    at: usize,
}

/// The rows at a capture; of a sink, those it has delivered.
fn seen(expect: &Expect, scene: &Scene, component: Option<&ComponentLedger>) -> Vec<RowAt> {
    let captured = expect.capture.as_ref().map(|name| scene.captured(name)).unwrap_or_default();
    let batches = captured.into_iter().map(|c| Arc::new(c.rows));
    let rows = batches.flat_map(|b| (0..b.num_rows()).map(move |at| RowAt { batch: b.clone(), at }));
    let most = if expect.is_sink { component.map_or(0, |c| c.out as usize) } else { usize::MAX };
    rows.take(most).collect()
}

/// What a sink has done with the rows that it has not delivered.
fn fate(sink: &ComponentLedger) -> String {
    let mut fate = String::new();
    let mut line = |what: &str, n: u64| fate += &if n > 0 { format!("{what}: {n}\n") } else { String::new() };
    line("rows held", sink.held);
    line("retries", sink.noted.get("retries").copied().unwrap_or(0));
    sink.dropped.iter().for_each(|(why, n)| line(&format!("rows dropped, {why}"), *n));
    fate
}

fn counter(component: &ComponentLedger, name: &str) -> i64 {
    let n = match name {
        "in" => component.input,
        "out" => component.out,
        "made" => component.made,
        "absorbed" => component.absorbed,
        "held" => component.held,
        name => component.noted.get(name).copied().unwrap_or(0),
    };
    n as i64
}

/// Of each row whether it meets every condition.
fn meets(rows: &[RowAt], conditions: &[(Expr, Span)], schema: &Schema) -> Vec<bool> {
    let Some(first) = rows.first() else { return Vec::new() };
    let schema = in_order_of(&first.batch, schema);
    let counts = Arc::new(Counts::default());
    let conditions: Vec<Compiled> = conditions.iter().map(|(c, _)| Compiled::new(c, &schema, &counts)).collect();
    let meets = |row: &RowAt| {
        let one = row.batch.slice(row.at, 1);
        conditions.iter().all(|condition| condition.mask(&one).value(0))
    };
    rows.iter().map(meets).collect()
}

/// The columns as rows have them: `set` puts one behind the others where the one that it replaces was not made at all.
fn in_order_of(rows: &RecordBatch, schema: &Schema) -> Schema {
    let field = |name: &String| schema.field(name).cloned().unwrap_or_else(|| Field::new(name, Type::Unknown));
    Schema { fields: rows.schema().fields().iter().map(|column| field(column.name())).collect() }
}

/// The rows that meet every condition, or those that do not.
fn those(meeting: bool, rows: &[RowAt], conditions: &[(Expr, Span)], schema: &Schema) -> Vec<RowAt> {
    let met = meets(rows, conditions, schema);
    rows.iter().zip(met).filter(|(_, met)| *met == meeting).map(|(row, _)| row.clone()).collect()
}

fn cells(row: &RowAt, fields: &[&Field]) -> Vec<String> {
    let cell = |field: &&Field| {
        let column = row.batch.column_by_name(&field.name)?;
        match &field.ty {
            // As the language writes it, so that it can be copied into the test.
            ty if *ty == Type::SIZE && column.is_valid(row.at) => Some(units::size(int(column, row.at))),
            ty => text(column, ty, row.at),
        }
    };
    fields.iter().map(|f| cell(f).unwrap_or_else(|| "none".into())).collect()
}

/// Columns in which any of these rows has a value.
fn shown<'a>(schema: &'a Schema, rows: &[RowAt]) -> Vec<&'a Field> {
    let has = |field: &&Field| {
        rows.iter().any(|row| row.batch.column_by_name(&field.name).is_some_and(|column| column.is_valid(row.at)))
    };
    schema.fields.iter().filter(has).collect()
}

fn table(schema: &Schema, rows: &[RowAt]) -> String {
    let few = &rows[..rows.len().min(SHOWN_MAX)];
    let fields = shown(schema, few);
    let mut table = Table::new(fields.iter().map(|f| f.name.clone()).collect());
    few.iter().for_each(|row| table.row(Mark::Plain, cells(row, &fields)));
    table.more(rows.len() - few.len());
    table.to_string()
}

fn exactly(expect: &Expect, seen: &[RowAt], wanted: &[Row], in_order: bool) -> Option<(String, String)> {
    let named = |f: &&Field| wanted.iter().any(|row| row.iter().any(|(name, _)| *name == f.name));
    let fields: Vec<&Field> = match wanted.is_empty() {
        true => shown(&expect.schema, seen),
        false => expect.schema.fields.iter().filter(named).collect(),
    };
    let written = Arc::new(batch(wanted, &expect.schema));
    let wants: Vec<RowAt> = (0..wanted.len()).map(|at| RowAt { batch: written.clone(), at }).collect();
    let have: Vec<Vec<String>> = seen.iter().map(|row| cells(row, &fields)).collect();
    let want: Vec<Vec<String>> = wants.iter().map(|row| cells(row, &fields)).collect();
    // A row is held to the columns that it names itself.
    let is_held = |at: usize, column: usize| wanted[at].iter().any(|(name, _)| *name == fields[column].name);
    let differ = |w: usize, h: usize| -> Vec<usize> {
        let differs = |column: &usize| is_held(w, *column) && !same(&want[w][*column], &have[h][*column]);
        (0..fields.len()).filter(differs).collect()
    };
    let pairs = match in_order {
        true => (0..wants.len().min(have.len())).map(|at| (at, at)).collect(),
        false => pair(wants.len(), have.len(), &differ),
    };
    let good = pairs.iter().all(|(w, h)| differ(*w, *h).is_empty());
    if good && pairs.len() == wants.len() && pairs.len() == have.len() {
        return None;
    }
    let mut table = Table::new(fields.iter().map(|f| f.name.clone()).collect());
    for (w, row) in want.iter().enumerate() {
        let blank = |row: &[String]| -> Vec<String> {
            let cell = |(at, text): (usize, &String)| if is_held(w, at) { text.clone() } else { String::new() };
            row.iter().enumerate().map(cell).collect()
        };
        match pairs.iter().find(|(pw, _)| *pw == w) {
            None => table.row(Mark::Missing, blank(row)),
            Some((_, h)) if differ(w, *h).is_empty() => table.row(Mark::Same, have[*h].clone()),
            Some((_, h)) => table.differing(blank(row), have[*h].clone(), &differ(w, *h)),
        }
    }
    let extra: Vec<usize> = (0..have.len()).filter(|h| !pairs.iter().any(|(_, ph)| ph == h)).collect();
    extra.iter().take(SHOWN_MAX).for_each(|h| table.row(Mark::Extra, have[*h].clone()));
    table.more(extra.len().saturating_sub(SHOWN_MAX));
    let title = match have.len() == wants.len() {
        true => format!("the rows of `{}` are others than expected", expect.target),
        false => format!("`{}` has {} rows, {} were expected", expect.target, have.len(), wants.len()),
    };
    Some((title, table.to_string()))
}

/// Which wanted row is which seen one: equal ones first, then those that differ least.
fn pair(wanted: usize, have: usize, differ: &dyn Fn(usize, usize) -> Vec<usize>) -> Vec<(usize, usize)> {
    let mut candidates: Vec<(usize, usize, usize)> = Vec::new();
    for w in 0..wanted.min(1000) {
        candidates.extend((0..have.min(1000)).map(|h| (differ(w, h).len(), w, h)));
    }
    candidates.sort_unstable();
    let (mut used_w, mut used_h) = (vec![false; wanted], vec![false; have]);
    let mut pairs = Vec::new();
    for (_, w, h) in candidates {
        if !used_w[w] && !used_h[h] {
            (used_w[w], used_h[h]) = (true, true);
            pairs.push((w, h));
        }
    }
    pairs.sort_unstable();
    pairs
}

fn same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => (x - y).abs() <= FLOAT_TOLERANCE * x.abs().max(y.abs()),
        _ => false,
    }
}
