//! `ndjson`: JSON objects, one a line, of files or standard input, as declared columns.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use weir_core::acks::Tally;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::{arrow_schema, record};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_spec::component::{Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::kinds::rejected::REJECTED;
use weir_spec::memory::Memory;
use weir_spec::option::{OptionError, OptionType};
use weir_spec::schema::Delivery;
use weir_spec::{ComponentSpec, Schema, Shape, Stream, Type};

use crate::input::{Input, Next, Patience, resolve};
use crate::json::{Cell, cell, column, find};
use crate::rejected::{self, Bad, REJECTED_ROWS};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 1 << 20;

weir_spec::options! {
    pub struct NdjsonOptions {
        /// Files to read, one after the other; `*` and `?` match names, `-` is standard input.
        path: Vec<String> = (OptionType::List(&OptionType::Path), positional, required),
        /// What the lines hold: a kind of stream, or columns with their types.
        r#as: Arc<Stream> = (OptionType::Schema, required),
        /// The column that is a row's event time; without it the kind's, or the first time there is.
        time: Option<String> = (OptionType::Column),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "ndjson",
    summary: "JSON objects, one a line, as declared columns",
    shape: Shape::Source,
    options: NdjsonOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[
        OutputSpec { name: "", doc: "one row a line" },
        OutputSpec { name: "rejected", doc: "lines that could not be read so" },
    ],
    drops: &[ReasonSpec { name: "unread_rejected", doc: "bad lines that nobody reads" }],
    makes: true,
    delivers: Delivery::AtLeastOnce,
    typing: |values, _| {
        let NdjsonOptions { r#as: stream, time, .. } =
            NdjsonOptions::read(values).map_err(|why| OptionError::new("as", why))?;
        if let Some(time) = time.filter(|t| stream.schema.field(t).is_none_or(|f| f.ty != Type::Time)) {
            return Err(OptionError::new("time", format!("`{time}` is no column of type `time`")));
        }
        let rows = Stream { delivery: Delivery::AtLeastOnce, ..(*stream).clone() };
        Ok(vec![rows, Stream { delivery: Delivery::AtLeastOnce, ..Stream::of_kind(&REJECTED) }])
    },
    memory: |_| Memory::fixed(4 * LINE_BYTES_MAX as u64),
    needs: |values| values.get("path").items().iter().filter_map(|v| v.as_str()).map(Need::read).collect(),
    examples: &[
        "ndjson(\"flows.ndjson\", as: flow) | stdout",
        "ndjson(\"-\", as: { at: time, user: string }) | stdout",
    ],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = NdjsonOptions::read(&cx.values()).map_err(Fault::bug)?;
    let files = resolve(&options.path, cx.places)?;
    let time = options.time.or_else(|| options.r#as.time_column().map(str::to_string));
    Ok(Box::new(NdJson { files, time, schema: cx.outputs[0].clone(), rejected: cx.outputs[1].clone() }))
}

struct NdJson {
    files: Vec<PathBuf>,
    time: Option<String>,
    schema: Arc<Schema>,
    rejected: Arc<Schema>,
}

/// Rows collected, column by column.
struct Rows {
    cells: Vec<Vec<Cell>>,
    time: Vec<i64>,
    seen: Vec<i64>,
}

struct Run<'a> {
    source: &'a NdJson,
    rows: Rows,
    bad: Vec<Bad>,
    latest: Time,
    delivered: Arc<Tally>,
    batches: u64,
    patience: Patience,
    /// Rows of the file being read, and why its first bad line is bad.
    file_rows: u64,
    first_bad: Option<String>,
}

#[async_trait]
impl Source for NdJson {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let cells = vec![Vec::new(); self.schema.fields.len()];
        let rows = Rows { cells, time: Vec::new(), seen: Vec::new() };
        let delivered = Arc::default();
        let mut run = Run {
            source: &self,
            rows,
            bad: Vec::new(),
            latest: Time::START,
            delivered,
            batches: 0,
            patience: Patience::default(),
            file_rows: 0,
            first_bad: None,
        };
        for path in &self.files {
            if let Err(fault) = run.file(path, cx).await {
                cx.report(fault);
            }
            if !run.flush(cx).await {
                break;
            }
        }
        Ok(Finish::Flush)
    }
}

impl Run<'_> {
    async fn file(&mut self, path: &Path, cx: &mut SourceCx) -> Result<(), Fault> {
        let mut input = Input::open(path, cx.progress())?;
        let mut data: Vec<u8> = Vec::new();
        let mut skipping = false;
        self.file_rows = 0;
        self.first_bad = None;
        loop {
            let patience = (!self.is_empty()).then_some(&mut self.patience);
            let read = match input.next(&mut data, cx, patience).await {
                Next::Read(read) => read,
                Next::Stopped => return Ok(()),
                Next::Paused if self.flush(cx).await => continue,
                Next::Paused => return Ok(()),
            };
            let n = read.map_err(|e| Fault::input(format!("`{}`: {e}", path.display())))?;
            let mut start = 0;
            while let Some(length) = memchr::memchr(b'\n', &data[start..]) {
                if !std::mem::take(&mut skipping) {
                    self.line(&data[start..start + length], path, cx);
                }
                start += length + 1;
                let full = self.rows.time.len() >= BATCH_ROWS || self.bad.len() >= REJECTED_ROWS;
                if full && !self.flush(cx).await {
                    return Ok(());
                }
            }
            data.drain(..start);
            if n == 0 {
                if !skipping && !data.is_empty() {
                    self.line(&data, path, cx);
                }
                return self.nothing_read(path);
            }
            if data.len() > LINE_BYTES_MAX {
                if !skipping {
                    let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                    self.reject("too_long", detail, path, &data[..256]);
                }
                skipping = true;
                data.clear();
            }
        }
    }

    /// A file of which no line could be read is of no known kind.
    fn nothing_read(&self, path: &Path) -> Result<(), Fault> {
        match &self.first_bad {
            Some(why) if self.file_rows == 0 => {
                Err(Fault::input(format!("no line of `{}` can be read; the first: {why}", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.time.is_empty() && self.bad.is_empty()
    }

    fn line(&mut self, line: &[u8], path: &Path, cx: &SourceCx) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_first = self.file_rows == 0 && self.first_bad.is_none();
        let line = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| is_first).unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let object: serde_json::Value = match serde_json::from_slice(line) {
            Ok(object) => object,
            Err(error) => return self.reject("bad_json", error.to_string(), path, line),
        };
        if !object.is_object() {
            return self.reject("no_object", "the line is JSON, but no object".into(), path, line);
        }
        let mut cells = Vec::with_capacity(self.rows.cells.len());
        for field in &self.source.schema.fields {
            match cell(find(&object, &field.name), &field.ty) {
                Ok(cell) => cells.push(cell),
                Err(why) => return self.reject("bad_value", format!("`{}`: {why}", field.name), path, line),
            }
        }
        let time = self.source.time.as_ref().map(|name| cell(find(&object, name), &Type::Time));
        let time = match time {
            Some(Ok(Cell::Int(time))) => time,
            Some(Err(why)) => return self.reject("bad_value", why, path, line),
            // Nothing says when it was: as late as what came before; without any times, now.
            _ if self.source.time.is_some() && self.latest == Time::START => {
                let name = self.source.time.as_deref().unwrap_or_default();
                return self.reject("no_time", format!("no `{name}`, and no row before has one"), path, line);
            }
            _ if self.source.time.is_some() => self.latest.0,
            _ => cx.clock().now().0,
        };
        self.rows.cells.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
        self.file_rows += 1;
        self.rows.time.push(time);
        self.rows.seen.push(self.latest.0);
        self.latest = self.latest.max(Time(time));
    }

    fn reject(&mut self, reason: &'static str, detail: String, path: &Path, data: &[u8]) {
        self.first_bad.get_or_insert_with(|| detail.clone());
        self.bad.push(Bad { reason, detail: detail.into(), sender: path.display().to_string(), data: data.to_vec() });
    }

    /// Sends what was collected; `false` if nobody wants more.
    async fn flush(&mut self, cx: &mut SourceCx) -> bool {
        self.patience.reset();
        if !cx.ready().await {
            return false;
        }
        self.batches += 1;
        let ticket = Acks::new(self.delivered.clone(), self.batches);
        if !self.bad.is_empty() {
            let bad = std::mem::take(&mut self.bad);
            let rows = rejected::rows(&bad, cx.clock().now(), &self.source.rejected);
            let now = vec![self.latest.max(Time(0)).0; rows.num_rows()];
            cx.made(1, rows, Times::InOrder(now.into()), ticket.split());
        }
        let time = std::mem::take(&mut self.rows.time);
        if !time.is_empty() {
            let n = time.len();
            let fields = &self.source.schema.fields;
            let columns =
                self.rows.cells.iter_mut().zip(fields).map(|(cells, field)| column(&std::mem::take(cells), field));
            let rows = record(&arrow_schema(&self.source.schema), columns.collect(), n);
            let seen = std::mem::take(&mut self.rows.seen);
            cx.made(0, rows, Times::Seen { time: time.into(), seen: seen.into() }, ticket.split());
        }
        ticket.delivered();
        cx.advance(self.latest);
        true
    }
}
