//! `internal`: weir's own numbers as metrics: what every component did with its rows, and what the process
//! takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use weir_core::batch::Times;
use weir_core::ledger::{self, Ledger};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx};
use weir_spec::component::{Inputs, OutputSpec};
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::metric::METRIC;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::schema::Delivery;
use weir_spec::{ComponentSpec, Schema, Shape, Stream};

use crate::dogstatsd::about::{Around, Sender};
use crate::dogstatsd::message::{self, Metric, Origin};
use crate::dogstatsd::origin::Inodes;
use crate::dogstatsd::rows::Metrics;

weir_spec::options! {
    pub struct InternalOptions {
        /// How often.
        interval: Dur = (OptionType::Duration, positional, "10s"),
        /// Tags that every metric gets, as `key:value`.
        tags: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "internal",
    summary: "weir's own numbers, as metrics",
    shape: Shape::Source,
    options: InternalOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[OutputSpec { name: "", doc: "one row a number and interval; what was counted, since the last time" }],
    makes: true,
    delivers: Delivery::BestEffort,
    typing: |values, _| {
        let options = InternalOptions::read(values).map_err(|why| OptionError::new("interval", why))?;
        message::check_tags(&options.tags)?;
        Ok(vec![Stream { bounded: false, ..Stream::of_kind(&METRIC) }])
    },
    examples: &["internal(10s) | aggregate(10s) | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = InternalOptions::read(&cx.values()).map_err(Fault::bug)?;
    Ok(Box::new(Internal { options, schema: cx.outputs[0].clone() }))
}

struct Internal {
    options: InternalOptions,
    schema: Arc<Schema>,
}

/// What is measured: a counter by how far it has come in all, or a gauge.
struct Number {
    name: String,
    tags: String,
    is_counter: bool,
    value: f64,
}

#[async_trait]
impl Source for Internal {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let every = Duration::from_nanos(self.options.interval.0.max(1) as u64);
        let mut before: BTreeMap<(String, String), f64> = BTreeMap::new();
        let (stop, clock) = (cx.stop(), cx.clock().clone());
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => return Ok(Finish::Flush),
                () = clock.sleep(every) => {}
            }
            if !cx.ready().await {
                return Ok(Finish::Flush);
            }
            let now = clock.now();
            let mut metrics = Metrics::new(0);
            let sender = Sender::default();
            let (tags, inodes) = (&self.options.tags, &Inodes::default());
            let around = Around { time: now.0, sender: &sender, tags, inodes };
            for number in cx.ledger().iter().flat_map(of_ledger).chain(of_process()) {
                let value = match number.is_counter {
                    true => {
                        let last =
                            before.insert((number.name.clone(), number.tags.clone()), number.value).unwrap_or(0.0);
                        number.value - last
                    }
                    false => number.value,
                };
                let text = value.to_string();
                let metric = Metric {
                    name: number.name.as_bytes(),
                    kind: if number.is_counter { metric_kind::COUNTER } else { metric_kind::GAUGE },
                    values: text.as_bytes(),
                    sample_rate: 1.0,
                    timestamp: None,
                    tags: (!number.tags.is_empty()).then_some(number.tags.as_bytes()),
                    origin: Origin::default(),
                };
                // A number that was just written is one.
                let _ = metrics.push(&metric, None, &around);
            }
            let (rows, times) = metrics.finish(&self.schema);
            cx.made(0, rows, Times::InOrder(times), Acks::none());
            cx.advance(now);
        }
    }
}

fn of_ledger(ledger: &Ledger) -> Vec<Number> {
    let number = |number: ledger::Number| {
        let labels = number.labels.iter().filter(|(_, word)| !word.is_empty());
        let tags: Vec<String> = labels.map(|(name, word)| format!("{name}:{word}")).collect();
        let name = format!("weir.{}", number.of);
        Number { name, tags: tags.join(","), is_counter: number.is_counter, value: number.value as f64 }
    };
    ledger.numbers().into_iter().map(number).collect()
}

/// Of `/proc/self`, where there is one.
fn of_process() -> Vec<Number> {
    let gauge = |name: &str, value| Number { name: name.into(), tags: String::new(), is_counter: false, value };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let resident = kib.map(|kib: f64| gauge("weir.process.resident_bytes", kib * 1024.0));
    let files =
        std::fs::read_dir("/proc/self/fd").ok().map(|files| gauge("weir.process.open_files", files.count() as f64));
    resident.into_iter().chain(files).collect()
}
