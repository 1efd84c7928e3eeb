//! `generate`: made-up rows, the same for the same seed. For trying pipelines out and for tests.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::{arrow_schema, record};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_spec::component::{Inputs, OutputSpec};
use weir_spec::kinds::{self, enums::metric_kind, metric::METRIC};
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::schema::{Delivery, Repr};
use weir_spec::types::Type;
use weir_spec::value::ipv4;
use weir_spec::{ComponentSpec, Kind, Schema, Shape, Stream};

use crate::json::{Cell, column};

/// When made-up time begins: 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000_000;
/// Different hosts on each side.
const HOSTS: u64 = 100;

weir_spec::options! {
    pub struct GenerateOptions {
        /// What kind of rows to make.
        kind: String = (OptionType::Word(&["packet", "flow", "metric"]), positional, required),
        /// How many; `none` goes on until stopped.
        rows: Option<u64> = (OptionType::Int { min: 0, max: i64::MAX }, none, "none"),
        /// Event time between one row and the next.
        every: Dur = (OptionType::Duration, "1ms"),
        /// Other seeds make other rows.
        seed: i64 = (OptionType::Int { min: 0, max: i64::MAX }, "1"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "generate",
    summary: "made-up rows, the same for the same seed",
    shape: Shape::Source,
    options: GenerateOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[OutputSpec { name: "", doc: "the rows" }],
    makes: true,
    delivers: Delivery::AtLeastOnce,
    typing: |values, _| {
        let name = values.get("kind").as_str().unwrap_or_default();
        let Some(kind) = kinds::find(name) else {
            return Err(OptionError::new("kind", format!("there is no kind `{name}`")));
        };
        let bounded = values.get("rows").as_i64().is_some();
        Ok(vec![Stream { bounded, delivery: Delivery::AtLeastOnce, ..Stream::of_kind(kind).without_tags() }])
    },
    examples: &["generate(flow, rows: 1000) | stdout", "generate(packet, rows: 1000, seed: 2) | biflow | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = GenerateOptions::read(&cx.values()).map_err(Fault::bug)?;
    let random = fastrand::Rng::with_seed(options.seed as u64);
    Ok(Box::new(Generate { options, schema: cx.outputs[0].clone(), random }))
}

struct Generate {
    options: GenerateOptions,
    schema: Arc<Schema>,
    random: fastrand::Rng,
}

#[async_trait]
impl Source for Generate {
    async fn run(mut self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let mut made = 0;
        let total = self.options.rows.unwrap_or(u64::MAX);
        while made < total && cx.ready().await {
            let n = (total - made).min(BATCH_ROWS as u64);
            let times: Vec<i64> = (made..made + n).map(|row| self.time(row)).collect();
            let rows = self.rows(&times);
            made += n;
            let last = times.last().copied().unwrap_or(START);
            cx.made(0, rows, Times::InOrder(times.into()), Acks::none());
            cx.advance(Time(last));
            // Nothing here waits for the outside, so others are let in by hand.
            tokio::task::yield_now().await;
        }
        Ok(Finish::Flush)
    }
}

impl Generate {
    fn time(&self, row: u64) -> i64 {
        START.saturating_add((row as i64).saturating_mul(self.options.every.0))
    }

    /// Every column draws in each row whether it is read or not, so that pruning changes nothing.
    fn rows(&mut self, times: &[i64]) -> RecordBatch {
        let kind = kinds::find(&self.options.kind).map(Kind::schema).unwrap_or_default();
        let mut cells: Vec<Vec<Cell>> = vec![Vec::with_capacity(times.len()); kind.fields.len()];
        for time in times {
            for (field, cells) in kind.fields.iter().zip(&mut cells) {
                cells.push(self.cell(&field.name, &field.ty, field.repr, *time));
            }
        }
        let columns: Vec<ArrayRef> = self
            .schema
            .names()
            .filter_map(|name| kind.index(name))
            .map(|at| column(&cells[at], &kind.fields[at]))
            .collect();
        record(&arrow_schema(&self.schema), columns, times.len())
    }

    fn cell(&mut self, name: &str, ty: &Type, repr: Repr, time: i64) -> Cell {
        let draw = self.random.u64(..);
        let host = (draw % HOSTS) as u8;
        if self.options.kind == METRIC.name {
            return metric_cell(name, time, draw);
        }
        match (name, ty) {
            ("start", _) => Cell::Int(time - (draw % 1_000_000_000) as i64),
            ("src.ip", _) => Cell::Ip(ipv4([10, 0, 0, host])),
            ("dst.ip", _) => Cell::Ip(ipv4([10, 0, 1, host % 10])),
            ("src.port", _) => Cell::Int(32_768 + (draw % 28_000) as i64),
            ("dst.port", _) => Cell::Int([53, 80, 443, 5432][(draw % 4) as usize]),
            ("protocol", _) => Cell::Int(if draw.is_multiple_of(4) { 17 } else { 6 }),
            ("rtt", _) => Cell::Int(100_000 + (draw % 50_000_000) as i64),
            ("tcp.flags", _) => Cell::Int(0x10),
            ("faults", _) => Cell::Int(0),
            (_, Type::Time) => Cell::Int(time),
            (_, Type::Enum(e)) => Cell::Int((draw % e.labels.len().max(1) as u64) as i64),
            (name, Type::Number { .. })
                if name.starts_with("dst_") || name.contains("pid") || name.contains("netns") =>
            {
                Cell::Absent
            }
            (_, Type::Number { float: false, .. }) if repr == Repr::I64 || repr == Repr::U32 => {
                Cell::Int((draw % 1400) as i64)
            }
            (_, Type::Number { float: false, .. }) => Cell::Absent,
            _ => Cell::Absent,
        }
    }
}

/// A metric's cell. Which kind of metric a row is follows from its time, so that its cells agree.
fn metric_cell(name: &str, time: i64, draw: u64) -> Cell {
    /// Names of metrics, and values of their one tag that differs.
    const NAMES: u64 = 50;
    const PATHS: u64 = 20;
    let number = (time / 1_000).unsigned_abs() % NAMES;
    let kind = (number % 6) as i64;
    let is_set = kind == i64::from(metric_kind::SET);
    let list = |cell| Cell::List(vec![cell]);
    match name {
        "time" => Cell::Int(time),
        "name" => Cell::Text(format!("app.metric.{number}")),
        "kind" => Cell::Int(kind),
        "values" if !is_set => list(Cell::Float((draw % 1000) as f64)),
        "members" if is_set => list(Cell::Text(format!("user-{}", draw % 1000))),
        "sample_rate" => Cell::Float(1.0),
        "tags" => Cell::List(vec![Cell::Text("env:prod".into()), Cell::Text(format!("path:/{}", draw % PATHS))]),
        _ => Cell::Absent,
    }
}
