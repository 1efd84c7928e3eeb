//! `rows [ { … }, … ]`: rows as a test writes them. In no table: only a test may have it.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use weir_core::batch::Times;
use weir_core::columns::{arrow_schema, record};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_spec::plan::{Stage, WINDOW_START};
use weir_spec::testing::{ROWS, Row};
use weir_spec::types::Type;
use weir_spec::{Schema, Value};

use crate::json::{Cell, column};

pub const ENTRY: Entry = Entry { spec: &ROWS, build: Build::Source(build) };

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let Stage::Rows(rows) = &cx.node.stage else { return Err(Fault::bug("`rows` without rows")) };
    let stream = &cx.node.outputs[0].stream;
    // A window's rows stand at its beginning, wherever that column is.
    let window = stream.schema.field(WINDOW_START).map(|field| field.name.as_str());
    let time = window.or(stream.time_column()).map(str::to_string);
    Ok(Box::new(Rows { rows: rows.clone(), time, schema: cx.outputs[0].clone() }))
}

struct Rows {
    rows: Arc<Vec<Row>>,
    time: Option<String>,
    schema: Arc<Schema>,
}

#[async_trait]
impl Source for Rows {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let (mut time, mut seen) = (Vec::new(), Vec::new());
        let mut latest = cx.clock().now();
        let mut first = true;
        for row in self.rows.iter() {
            let at = self.time.as_ref().and_then(|name| value(row, name)?.as_i64());
            let at = at.unwrap_or(latest.0);
            seen.push(if first { Time::START.0 } else { latest.0 });
            time.push(at);
            latest = if first { Time(at) } else { latest.max(Time(at)) };
            first = false;
        }
        if !time.is_empty() && cx.ready().await {
            let rows = batch(&self.rows, &self.schema);
            cx.made(0, rows, Times::Seen { time: time.into(), seen: seen.into() }, Acks::none());
        }
        Ok(Finish::Flush)
    }
}

fn value<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    row.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// Rows as columns of a schema; what a row does not name is absent.
pub fn batch(rows: &[Row], schema: &Schema) -> RecordBatch {
    let of = |field: &weir_spec::Field| -> ArrayRef {
        let cells: Vec<Cell> = rows.iter().map(|row| cell(value(row, &field.name), &field.ty)).collect();
        column(&cells, field)
    };
    record(&arrow_schema(schema), schema.fields.iter().map(of).collect(), rows.len())
}

fn cell(value: Option<&Value>, ty: &Type) -> Cell {
    match (value, ty) {
        (None | Some(Value::None), _) => Cell::Absent,
        (Some(Value::Str(text) | Value::Word(text)), Type::Enum(e)) => {
            (e.parse)(text).map_or(Cell::Absent, |b| Cell::Int(b.into()))
        }
        (Some(Value::Bool(b)), _) => Cell::Bool(*b),
        (Some(Value::Ip(ip)), _) => Cell::Ip(*ip),
        (Some(Value::List(items)), ty) => {
            let of = if *ty == Type::Tags { &Type::Str } else { ty.element() };
            Cell::List(items.iter().map(|item| cell(Some(item), of)).collect())
        }
        (Some(value), ty) if ty.is_float() => value.as_f64().map_or(Cell::Absent, Cell::Float),
        (Some(value), Type::Number { .. } | Type::Time) => value.as_i64().map_or(Cell::Absent, Cell::Int),
        (Some(value), _) => Cell::Text(value.as_str().map_or_else(|| value.to_string(), str::to_string)),
    }
}
