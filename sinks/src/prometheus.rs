//! `prometheus`: series for scraping, in the classic text form and as OpenMetrics.
//!
//! Reading order: [`names`] (what a series is called here), [`registry`] (what is exposed), [`text`] (how).

mod names;
mod registry;
mod text;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir_core::component::{Delivery, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::host::holder::{self, Place};
use weir_core::ledger::Counts;
use weir_core::sync::lock;
use weir_core::{Build, BuildCx, Clock, Entry, Fault};
use weir_http::server::{self, Answers, Asked, Said, Serving};
use weir_http::{Method, StatusCode, header};
use weir_spec::component::{Columns, Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::{ComponentSpec, Shape, schema};

use crate::encode::json::NdJson;
use registry::{Point, Put, Registry};
use text::Form;

/// Memory beside that of the series: what is written when it is scraped grows with them, and is not in it.
const FIXED_BYTES: u64 = 4 << 20;

weir_spec::options! {
    pub struct PrometheusOptions {
        /// Where it is scraped, at `/metrics`.
        listen: String = (OptionType::Str, positional, required),
        /// A series that got no point for so long is not exposed any more.
        stale: Dur = (OptionType::Duration, "5m"),
        /// Series exposed at once; points of others are refused.
        series_max: usize = (OptionType::Int { min: 1, max: 1 << 24 }, "100000"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(SinkBuild { encoder, far_end }) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "prometheus",
    summary: "series for scraping by Prometheus",
    shape: Shape::Sink,
    options: PrometheusOptions::SPECS,
    inputs: Inputs::One(&["series"]),
    outputs: &[OutputSpec { name: "rejected", doc: "points that are not exposed" }],
    drops: &[ReasonSpec {
        name: "refused",
        doc: "points of a name that is exposed with another type, or of new series when there were `series_max`, or when the names, labels and buckets of all took as much as 600 bytes for each of so many",
    }],
    notes: &[&[ReasonSpec {
        name: "mixed",
        doc: "points of a series that is one with another to Prometheus, as `a.b` is with `a_b`, each time they take turns",
    }]],
    delivers: schema::Delivery::BestEffort,
    typing: |values, inputs| {
        let listen = values.get("listen").as_str().unwrap_or_default();
        weir_spec::address::socket(listen).map_err(|why| OptionError::new("listen", why))?;
        Ok(inputs.to_vec())
    },
    reads: |_, _| Columns::All,
    memory: |values| {
        let series = values.get("series_max").as_i64().unwrap_or(0).max(0) as usize;
        Memory::fixed(FIXED_BYTES + registry::room_bytes(series) as u64)
    },
    needs: |values| values.get("listen").as_str().map(|a| Need::Listen(format!("tcp://{a}"))).into_iter().collect(),
    examples: &["internal(10s) | aggregate(10s) | prometheus(\"127.0.0.1:9125\")"],
    ..ComponentSpec::PLAIN
};

fn encoder(cx: &BuildCx) -> Result<Box<dyn Encoder>, Fault> {
    Ok(Box::new(NdJson::new(&cx.inputs[0])))
}

fn far_end(cx: &BuildCx) -> Result<FarEnd, Fault> {
    let options = PrometheusOptions::read(&cx.values()).map_err(Fault::bug)?;
    let address = weir_spec::address::socket(&options.listen).map_err(Fault::bug)?;
    let registry = Arc::new(Mutex::new(Registry::new(options.stale.0, options.series_max)));
    let listener = server::bind(address).map_err(|error| cannot_listen(address, &error))?;
    let scrape = Scrape { registry: registry.clone(), written: Arc::default() };
    let serving = server::serve(listener, Arc::new(scrape)).map_err(|error| cannot_listen(address, &error))?;
    Ok(FarEnd::new(Arc::new(Exposed { registry, counts: cx.counts.clone(), _serving: serving })))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Fault {
    holder::fault(Place::Tcp(address), &format!("`{address}`"), error, "`listen:`")
}

struct Exposed {
    registry: Arc<Mutex<Registry>>,
    counts: Arc<Counts>,
    _serving: Serving,
}

#[async_trait]
impl Delivery for Exposed {
    /// Off the runtime's threads: whoever is being told of many series holds the registry for long.
    async fn deliver(&self, _: Route, payload: Bytes) -> Outcome {
        let (registry, counts) = (self.registry.clone(), self.counts.clone());
        let taken = tokio::task::spawn_blocking(move || take(&registry, &counts, &payload));
        taken.await.unwrap_or_else(|error| Outcome::Down(Fault::bug(format!("a payload was not taken: {error}"))))
    }
}

/// Takes a payload's points in.
fn take(registry: &Mutex<Registry>, counts: &Counts, payload: &[u8]) -> Outcome {
    let now = Clock::Real.now().0;
    let mut registry = lock(registry);
    let lines = payload.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let mut refused = Vec::new();
    for (row, line) in lines.enumerate() {
        match Point::read(line).map_or(Put::Refused, |point| registry.put(&point, now)) {
            Put::Taken => {}
            Put::Mixed(news) => {
                counts.add_noted("mixed", 1);
                news.iter().for_each(|news| counts.warn_once(news));
            }
            Put::Refused => refused.push(row as u32),
        }
    }
    match refused.is_empty() {
        true => Outcome::Delivered,
        false => Outcome::Rejected { rows: refused, why: weir_core::ledger::reason::REFUSED.into() },
    }
}

/// For so long a text is given to whoever else asks for it.
const WRITTEN_MAX: Duration = Duration::from_millis(250);

struct Scrape {
    registry: Arc<Mutex<Registry>>,
    /// What was written just now in each form: all who ask hold one text, and one is written at a time.
    written: Arc<tokio::sync::Mutex<[Option<Bytes>; Form::ALL.len()]>>,
}

impl Scrape {
    /// The text, which is written off the runtime's threads: many series take long. Nothing, if that failed.
    async fn text(&self, form: Form) -> Option<Bytes> {
        let mut written = self.written.clone().lock_owned().await;
        if let Some(text) = &written[form as usize] {
            return Some(text.clone());
        }
        let registry = self.registry.clone();
        // Whoever asked may be gone before it is written: the lock is not, so that no two are.
        let writing = tokio::task::spawn_blocking(move || {
            let text = {
                let mut registry = lock(&registry);
                registry.expire(Clock::Real.now().0);
                Bytes::from(text::write(&registry, form))
            };
            written[form as usize] = Some(text.clone());
            text
        });
        let text = writing.await.ok()?;
        let written = self.written.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WRITTEN_MAX).await;
            written.lock().await[form as usize] = None;
        });
        Some(text)
    }
}

#[async_trait]
impl Answers for Scrape {
    async fn answer(&self, asked: Asked) -> Said {
        if asked.path != "/metrics" {
            return Said::not_found();
        }
        if !matches!(asked.method, Method::GET | Method::HEAD) {
            return Said::not_allowed();
        }
        let accept = asked.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = Form::asked_for(accept);
        match self.text(form).await {
            Some(body) => Said { status: StatusCode::OK, content_type: form.content_type(), body },
            None => Said::text(StatusCode::INTERNAL_SERVER_ERROR, "the series could not be written\n"),
        }
    }
}
