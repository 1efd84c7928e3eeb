//! `datadog`: series, sketches, events and service checks to Datadog's intake, as its Agent sends them.
//!
//! Series v2 and sketches are protobuf (`agent_payload.proto`), events protobuf, checks JSON.

mod payload;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_core::component::{Batching, Delivery, Encoded, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Build, BuildCx, Entry, Fault, secret};
use weir_http::client::Client;
use weir_http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use weir_spec::component::{Columns, Inputs, OutputSpec, SENT};
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::value::Secret;
use weir_spec::{ComponentSpec, Schema, Shape, schema};

use crate::http::{self, DROPS, address, duration, judge, pack};
use payload::Rows;

/// Requests on their way at once.
const REQUESTS_MAX: usize = 4;
/// Rows after which a payload is sent: with one more batch it stays below the intake's 10,000 points.
const ROWS_MAX: usize = 5_000;
/// Events of one payload, as the Agent sends them.
const EVENTS_MAX: usize = 100;
/// Bytes after which a payload is sent; with one more batch it stays below the intake's 5 MiB.
const BYTES_MAX: usize = 2 << 20;
/// A minute's points go together, as far as they come together.
const LINGER: Duration = Duration::from_millis(500);

weir_spec::options! {
    pub struct DatadogOptions {
        /// The key of your organisation.
        api_key: Secret = (OptionType::Secret, required),
        /// Which of Datadog's sites, as `datadoghq.eu`.
        site: String = (OptionType::Str, "\"datadoghq.com\""),
        /// Where to send to instead: a proxy, or a stand-in.
        url: Option<String> = (OptionType::Str, none, "none"),
        /// The host of rows that name none; this host's name, if nothing is said.
        host: Option<String> = (OptionType::Str, none, "none"),
        /// How payloads are packed.
        compression: String = (OptionType::Word(&["zstd", "gzip", "identity"]), "zstd"),
        /// For a request and its answer.
        timeout: Dur = (OptionType::Duration, "20s"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(SinkBuild { encoder, far_end }) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "datadog",
    summary: "series, events and service checks to Datadog",
    shape: Shape::Sink,
    options: DatadogOptions::SPECS,
    inputs: Inputs::One(&["series", "event", "check"]),
    outputs: &[OutputSpec { name: "rejected", doc: "rows that Datadog refuses" }],
    drops: DROPS,
    notes: &[SENT],
    delivers: schema::Delivery::AtLeastOnce,
    typing: |values, inputs| {
        let options = DatadogOptions::read(values).map_err(|why| OptionError::new("site", why))?;
        base(&options).map_err(|(option, why)| OptionError::new(option, why))?;
        Ok(inputs.to_vec())
    },
    reads: |_, _| Columns::All,
    memory: |_| Memory::fixed((REQUESTS_MAX as u64 + 1) * 2 * BYTES_MAX as u64),
    examples: &[
        "internal(10s) | aggregate(10s) | datadog(api_key: secret(\"env:DD_API_KEY\"))",
        "let statsd = dogstatsd(listen: [\"udp://127.0.0.1:8125\"])\nstatsd.metrics | aggregate(10s) | datadog(api_key: secret(\"env:DD_API_KEY\"))\nstatsd.events | datadog(api_key: secret(\"env:DD_API_KEY\"))",
    ],
    ..ComponentSpec::PLAIN
};

/// The beginning of every address; the error names its option.
fn base(options: &DatadogOptions) -> Result<String, (&'static str, String)> {
    if let Some(url) = &options.url {
        address(url).map_err(|why| ("url", why))?;
        if url.contains(['?', '#']) {
            return Err(("url", format!("`{url}` ends where paths begin: leave out what is behind `?` or `#`")));
        }
        return Ok(url.trim_end_matches('/').to_string());
    }
    let site = &options.site;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if site.is_empty() || !site.chars().all(is_name) || !site.contains('.') {
        return Err(("site", format!("`{site}` is no site: write `datadoghq.com` or `datadoghq.eu`")));
    }
    Ok(format!("https://api.{site}"))
}

/// What kind of rows come in, which is told by their columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Intake {
    Series,
    Events,
    Checks,
}

impl Intake {
    fn of(schema: &Schema) -> Intake {
        match (schema.field("title"), schema.field("status")) {
            (Some(_), _) => Intake::Events,
            (_, Some(_)) => Intake::Checks,
            _ => Intake::Series,
        }
    }

    /// Where each route goes, and what it carries.
    fn routes(self) -> &'static [(&'static str, &'static str, Limits)] {
        const PROTOBUF: &str = "application/x-protobuf";
        match self {
            Intake::Series => {
                &[("/api/v2/series", PROTOBUF, Limits::SERIES), ("/api/beta/sketches", PROTOBUF, Limits::OTHERS)]
            }
            Intake::Events => &[("/api/v1/events_batch", PROTOBUF, Limits::OTHERS)],
            Intake::Checks => &[("/api/v1/check_run", "application/json", Limits::OTHERS)],
        }
    }
}

/// What the intake takes at once, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    packed_max: usize,
    plain_max: usize,
}

impl Limits {
    const SERIES: Limits = Limits { packed_max: 512_000, plain_max: 5_242_880 };
    const OTHERS: Limits = Limits { packed_max: 2_621_440, plain_max: 4_194_304 };
}

fn encoder(cx: &BuildCx) -> Result<Box<dyn Encoder>, Fault> {
    let options = DatadogOptions::read(&cx.values()).map_err(Fault::bug)?;
    let host = options.host.unwrap_or_else(weir_core::host::name);
    Ok(Box::new(Payloads { intake: Intake::of(&cx.inputs[0]), host }))
}

struct Payloads {
    intake: Intake,
    host: String,
}

impl Encoder for Payloads {
    fn routes(&self) -> usize {
        self.intake.routes().len()
    }

    fn route(&self, rows: &RecordBatch) -> Vec<u32> {
        let rows = Rows::new(rows, &self.host);
        (0..rows.len()).map(|row| u32::from(rows.is_sketch(row))).collect()
    }

    fn encode(&mut self, route: Route, rows: &RecordBatch, into: &mut BytesMut) -> Encoded {
        let rows = Rows::new(rows, &self.host);
        for row in 0..rows.len() {
            match (self.intake, route) {
                (Intake::Series, 0) => rows.series(row, into),
                (Intake::Series, _) => rows.sketch(row, into),
                (Intake::Events, _) => rows.event(row, into),
                (Intake::Checks, _) => rows.check(row, into),
            }
        }
        Encoded::All
    }

    fn close(&mut self, route: Route, payload: &mut BytesMut) {
        match (self.intake, route) {
            (Intake::Series, 1) => payload::sketches_end(payload),
            (Intake::Checks, _) => payload.extend_from_slice(b"]"),
            _ => {}
        }
    }
}

fn far_end(cx: &BuildCx) -> Result<FarEnd, Fault> {
    let options = DatadogOptions::read(&cx.values()).map_err(Fault::bug)?;
    let base = base(&options).map_err(|(_, why)| Fault::bug(why))?;
    let key = secret::reveal(&options.api_key, cx.places)?;
    let mut key = HeaderValue::from_str(&key)
        .map_err(|_| Fault::environment("the secret of `api_key:` has characters that no key has"))?;
    key.set_sensitive(true);
    let intake = Intake::of(&cx.inputs[0]);
    let routes = intake.routes().iter().map(|(path, content, limits)| {
        let url = address(&format!("{base}{path}")).map_err(Fault::bug)?;
        Ok((url, *content, *limits))
    });
    let delivery = Intakes {
        client: Client::new(&address(&base).map_err(Fault::bug)?, duration(options.timeout))
            .map_err(Fault::environment)?,
        routes: routes.collect::<Result<_, Fault>>()?,
        key,
        compression: options.compression,
    };
    let rows_max = if matches!(intake, Intake::Events) { EVENTS_MAX } else { ROWS_MAX };
    let batching = Batching { rows_max, bytes_max: BYTES_MAX, linger: LINGER, ..Batching::default() };
    Ok(http::far_end(Arc::new(delivery), batching, cx.bounded))
}

struct Intakes {
    client: Client,
    routes: Vec<(Uri, &'static str, Limits)>,
    key: HeaderValue,
    compression: String,
}

#[async_trait]
impl Delivery for Intakes {
    fn in_flight_max(&self) -> usize {
        REQUESTS_MAX
    }

    async fn deliver(&self, route: Route, payload: Bytes) -> Outcome {
        let (url, content, limits) = &self.routes[route];
        let mut headers = HeaderMap::new();
        let body = match pack(&payload, &self.compression, &mut headers) {
            Ok(body) => body,
            Err(why) => return Outcome::Down(Fault::bug(why)),
        };
        if payload.len() > limits.plain_max || body.len() > limits.packed_max {
            return Outcome::TooLarge;
        }
        headers.insert(HeaderName::from_static("dd-api-key"), self.key.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))));
        let answer = self.client.send(Method::POST, url, headers, body).await;
        let host = url.authority().map(ToString::to_string).unwrap_or_default();
        judge(answer, &host, "is `api_key:` of this organisation, and of this `site:`?")
    }
}
