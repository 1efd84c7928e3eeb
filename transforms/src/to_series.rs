//! `to_series`: numbers of a window as points of time series, which monitoring systems take.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt8Array};
use arrow_schema::SchemaRef;
use weir_core::batch::{Batch, Times};
use weir_core::build::{Texts, Words};
use weir_core::columns::{absent, arrow_schema, numbers, record};
use weir_core::eval::text::text;
use weir_core::tags::TagSets;
use weir_core::{Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::component::Columns;
use weir_spec::kinds::enums::series_kind;
use weir_spec::kinds::series::{self, SERIES};
use weir_spec::option::{OptionError, OptionType};
use weir_spec::plan::Windowing;
use weir_spec::schema::{TagKeys, Windowed};
use weir_spec::types::Unit;
use weir_spec::{ComponentSpec, Schema, Stream, Type};

weir_spec::options! {
    pub struct ToSeriesOptions {
        /// Stands before the column in each series' name, as `"flows."`.
        prefix: String = (OptionType::Str, positional, "\"\""),
        /// Columns that say how much came in the window, as `sum` and `count` do. Windows that overlap have none.
        counts: Vec<String> = (OptionType::List(&OptionType::Column), "[]"),
        /// Columns that say how something was, as `p95`, `max` and `distinct` do. Durations become seconds; what is absent gives no point.
        gauges: Vec<String> = (OptionType::List(&OptionType::Column), "[]"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "to_series",
    summary: "numbers of a window as points of time series, at its start and with its keys as their tags",
    options: ToSeriesOptions::SPECS,
    makes: true,
    typing: |values, inputs| {
        let options = ToSeriesOptions::read(values).map_err(|why| OptionError::new("counts", why))?;
        let inputs = inputs.iter().filter(|input| !input.poisoned);
        inputs.map(|input| series_of(&options, input)).collect()
    },
    // The window's keys are no option.
    reads: |_, _| Columns::All,
    examples: &[
        "pcap(\"shop.pcap.gz\") | window(1m) by src.ip { bytes = sum(ip_bytes) } | to_series(\"net.\", counts: [bytes]) | stdout",
    ],
    ..ComponentSpec::PLAIN
};

/// What comes of a stream, if it can be told as series.
fn series_of(options: &ToSeriesOptions, input: &Stream) -> Result<Stream, OptionError> {
    let error = |option, message: String, help: &str| Err(OptionError::new(option, message).help(help));
    let Some(windowed) = &input.windowed else {
        let help = "put a window before it: `| window(1m) by … { … } | to_series(…)`";
        return error("counts", "a point is of an interval, and these rows are of no window".into(), help);
    };
    if options.counts.is_empty() && options.gauges.is_empty() {
        let help = "name what is counted and what is measured: `to_series(counts: [bytes], gauges: [rtt])`";
        return error("counts", "no column becomes a series".into(), help);
    }
    for (option, columns) in [("counts", &options.counts), ("gauges", &options.gauges)] {
        columns.iter().try_for_each(|column| is_value(option, column, input))?;
    }
    let all: Vec<&String> = options.counts.iter().chain(&options.gauges).collect();
    if let Some((_, twice)) = all.iter().enumerate().find(|(at, column)| all[..*at].contains(column)) {
        let help = "`sum` and `count` are counts, what is of a moment or a middle is a gauge";
        let option = if options.gauges.contains(twice) { "gauges" } else { "counts" };
        return error(option, format!("`{twice}` is there twice"), help);
    }
    if let Some(gone) = windowed.by.iter().find(|key| input.schema.field(key).is_none()) {
        let help = "series that differ in it alone would be taken for one: put `to_series` before it is left out, or \
                    the window without it";
        return error("counts", format!("the window's key `{gone}` is not here any more"), help);
    }
    if let Some(why) = &windowed.spoiled {
        let help = "several points of one series and time would come out: put `to_series` right behind its window";
        return error("counts", why.clone(), help);
    }
    if !options.counts.is_empty() && matches!(windowed.windowing, Windowing::Hopping { .. }) {
        let help = "a window without `every:` counts each row once";
        return error("counts", "these windows overlap, and would be counted more than once".into(), help);
    }
    let keys = TagKeys { known: windowed.by.iter().cloned().collect(), open: false };
    Ok(Stream {
        keys: [(series::TAGS.name.to_string(), keys)].into(),
        delivery: input.delivery,
        bounded: input.bounded,
        windowed: input.windowed.clone(),
        ..Stream::of_kind(&SERIES)
    })
}

fn is_value(option: &'static str, column: &str, input: &Stream) -> Result<(), OptionError> {
    let columns: Vec<String> = input.schema.names().map(|name| format!("`{name}`")).collect();
    let Some(field) = input.schema.field(column) else {
        let error = OptionError::new(option, format!("there is no column `{column}` here"));
        return Err(error.help(format!("the columns are {}", columns.join(", "))));
    };
    match field.ty {
        Type::Number { .. } => Ok(()),
        _ => Err(OptionError::new(option, format!("`{column}` is of type `{}`, and a point is a number", field.ty))),
    }
}

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = ToSeriesOptions::read(&cx.values()).map_err(Fault::bug)?;
    let windowed = cx.node.outputs.first().and_then(|output| output.stream.windowed.clone());
    let Some(windowed) = windowed else { return Err(Fault::bug("`to_series` without a window")) };
    let (input, output) = (cx.inputs[0].clone(), cx.outputs[0].clone());
    let of = |kind: u8, columns: &[String]| -> Vec<Value> {
        columns.iter().filter_map(|column| Value::new(kind, column, &options.prefix, &input)).collect()
    };
    let mut values = of(series_kind::COUNT, &options.counts);
    values.extend(of(series_kind::GAUGE, &options.gauges));
    let keys = windowed.by.iter().filter_map(|key| Some((input.index(key)?, key.clone()))).collect();
    Ok(Box::new(ToSeries { values, keys, interval: interval(&windowed), arrow: arrow_schema(&output), input, output }))
}

/// How long a window is, in nanoseconds.
fn interval(windowed: &Windowed) -> i64 {
    match windowed.windowing {
        Windowing::Tumbling { width } | Windowing::Hopping { width, .. } => width,
        Windowing::Session { max, .. } => max,
    }
}

/// A column that becomes a series.
struct Value {
    column: usize,
    kind: u8,
    name: String,
    unit: Option<&'static str>,
    /// How many of the column's numbers are one of this unit.
    each: f64,
}

impl Value {
    fn new(kind: u8, column: &str, prefix: &str, input: &Schema) -> Option<Value> {
        let at = input.index(column)?;
        let (unit, each) = match input.fields[at].ty.unit() {
            Some(Unit::Nanos) => (Some("second"), 1e9),
            Some(Unit::Bytes) => (Some("byte"), 1.0),
            _ => (None, 1.0),
        };
        Some(Value { column: at, kind, name: format!("{prefix}{column}"), unit, each })
    }
}

struct ToSeries {
    values: Vec<Value>,
    /// Columns that tell rows of one window apart, with their names.
    keys: Vec<(usize, String)>,
    interval: i64,
    input: Arc<Schema>,
    output: Arc<Schema>,
    arrow: SchemaRef,
}

/// Points, column by column.
#[derive(Default)]
struct Points {
    time: Vec<i64>,
    seen: Vec<i64>,
    names: Texts,
    kinds: Vec<u8>,
    values: Vec<f64>,
    units: Words,
    tags: TagSets,
}

impl Transform for ToSeries {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let (time, seen) = (batch.time.clone(), batch.seen.clone());
        let (rows, acks) = out.absorb(batch);
        let numbers: Vec<(&Value, Vec<Option<f64>>)> =
            self.values.iter().map(|value| (value, numbers(rows.column(value.column)))).collect();
        let mut points = Points::default();
        for row in 0..rows.num_rows() {
            let mut there = numbers
                .iter()
                .filter_map(|(value, numbers)| Some((*value, numbers[row].filter(|number| number.is_finite())?)))
                .peekable();
            if there.peek().is_none() {
                continue;
            }
            let set = self.tags(&rows, row, &mut points.tags);
            for (value, number) in there {
                points.push(value, number, (time[row], seen[row]), set);
            }
        }
        match points.time.is_empty() {
            true => acks.delivered(),
            false => {
                let (rows, times) = self.rows(points);
                out.make(0, rows, times, acks);
            }
        }
    }
}

impl ToSeries {
    /// A row's keys as a set of tags: in order, and without those that are absent.
    fn tags(&self, rows: &RecordBatch, row: usize, sets: &mut TagSets) -> i32 {
        let tag = |(column, key): &(usize, String)| {
            let value = text(rows.column(*column), &self.input.fields[*column].ty, row)?;
            Some(format!("{key}:{value}"))
        };
        let mut tags: Vec<String> = self.keys.iter().filter_map(tag).collect();
        tags.sort_unstable();
        tags.iter().for_each(|tag| sets.tag(tag.as_bytes()));
        sets.end_set()
    }

    fn rows(&self, points: Points) -> (RecordBatch, Times) {
        let rows = points.time.len();
        let Points { time, seen, names, kinds, values, units, tags } = points;
        let times = Times::Seen { time: time.clone().into(), seen: seen.into() };
        let (mut units, mut tags, mut names) = (Some(units), Some(tags), Some(names));
        let (time, kinds): (ArrayRef, ArrayRef) = (Arc::new(Int64Array::from(time)), Arc::new(UInt8Array::from(kinds)));
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        let mut column = |name: &str| -> Option<ArrayRef> {
            match name {
                name if name == series::TIME.name => Some(time.clone()),
                name if name == series::INTERVAL.name => Some(Arc::new(Int64Array::from(vec![self.interval; rows]))),
                name if name == series::NAME.name => Some(Arc::new(names.take()?.finish())),
                name if name == series::KIND.name => Some(kinds.clone()),
                name if name == series::VALUE.name => Some(values.clone()),
                name if name == series::UNIT.name => Some(units.take()?.finish(rows)),
                name if name == series::TAGS.name => Some(tags.take()?.finish()),
                _ => None,
            }
        };
        let fields = self.output.fields.iter();
        let columns = fields.map(|field| column(&field.name).unwrap_or_else(|| absent(field.repr, rows))).collect();
        (record(&self.arrow, columns, rows), times)
    }
}

impl Points {
    fn push(&mut self, value: &Value, number: f64, (time, seen): (i64, i64), set: i32) {
        if let Some(unit) = value.unit {
            self.units.set(self.time.len(), unit.as_bytes());
        }
        self.time.push(time);
        self.seen.push(seen);
        self.names.push(value.name.as_bytes());
        self.kinds.push(value.kind);
        self.values.push(number / value.each);
        self.tags.row(set);
    }
}
