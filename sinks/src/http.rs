//! `http`: rows as JSON to any address; and what every sink over HTTP has in common.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use weir_core::component::{Batching, Delivery, Encoded, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Build, BuildCx, Entry, Fault, secret};
use weir_http::client::{Answer, Client};
use weir_http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use weir_spec::component::{Columns, OutputSpec, ReasonSpec, SENT};
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::value::Secret;
use weir_spec::{ComponentSpec, Shape, schema};

use crate::encode::json::NdJson;

/// Requests on their way at once.
const REQUESTS_MAX: usize = 4;
/// How long a payload is tried before it is given up.
const BUDGET: Duration = Duration::from_secs(900);
/// How long a far end that refuses our key is left alone.
const FORBIDDEN_WAIT: Duration = Duration::from_secs(60);

/// Why a far end refuses rows, as every sink over HTTP declares it.
pub const DROPS: &[ReasonSpec] = &[
    ReasonSpec { name: "refused", doc: "rows that the far end refuses for good (an answer of 4xx)" },
    ReasonSpec { name: "too_large", doc: "rows that alone are more than the far end takes at once" },
];

/// What an answer means for a payload; `help` is for a key that is refused.
pub fn judge(answer: Result<Answer, String>, host: &str, help: &str) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            let fault = Fault::environment(format!("cannot reach `{host}`: {why}"));
            return Outcome::RetryAfter(Duration::ZERO, fault);
        }
    };
    let status = answer.status;
    let said = match answer.line() {
        line if line.is_empty() => String::new(),
        line => format!(": {line}"),
    };
    let fault = |what: &str| Fault::environment(format!("`{host}` {what} ({status}){said}"));
    match status {
        _ if status.is_success() => Outcome::Delivered,
        StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Outcome::RetryAfter(FORBIDDEN_WAIT, fault("refuses our key").help(help))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Outcome::RetryAfter(
            FORBIDDEN_WAIT,
            fault("is behind a proxy that refuses us").help("write its user and password into `HTTPS_PROXY`"),
        ),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::RetryAfter(answer.retry_after.unwrap_or_default(), fault("asks to be left alone"))
        }
        _ if status.is_client_error() => Outcome::Refused(fault("refuses a payload")),
        _ if status.is_server_error() => {
            Outcome::RetryAfter(answer.retry_after.unwrap_or_default(), fault("is in trouble"))
        }
        // A redirect would take the key elsewhere; anything else is no answer of an intake.
        _ => Outcome::RetryAfter(FORBIDDEN_WAIT, fault("answers what no intake answers").help("is the address right?")),
    }
}

/// How a sink over HTTP is approached.
pub fn far_end(delivery: Arc<dyn Delivery>, batching: Batching, bounded: bool) -> FarEnd {
    let mut far_end = FarEnd::new(delivery);
    far_end.batching = batching;
    if !bounded {
        // A far end that is away for long costs what was for it then, not what comes later.
        far_end.retry.budget = BUDGET;
        far_end.retry.goes_on = true;
    }
    far_end
}

/// An address to send to; the error says what one looks like.
pub fn address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is no address: write `https://host/path`"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an address has no user and password: write them as `auth: secret(…)`".into());
    }
    if let Some(port) = uri.authority().and_then(|authority| port(authority.as_str()))
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(format!("`{port}` is no port: they go from 1 to 65535"));
    }
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(format!("`{text}` is no address: write `https://host/path`")),
    }
}

/// What stands behind the host and its colon; an address of IPv6 has colons of its own.
fn port(authority: &str) -> Option<&str> {
    authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.is_empty() && !port.contains(']'))
}

weir_spec::options! {
    pub struct HttpOptions {
        /// Where to send to.
        url: String = (OptionType::Str, positional, required),
        /// How it is sent.
        method: String = (OptionType::Word(&["post", "put", "patch"]), "post"),
        /// Sent along, each as `Name: value`.
        headers: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
        /// One object a line, or one list of all.
        encoding: String = (OptionType::Word(&["ndjson", "json_array"]), "ndjson"),
        /// Sent as `Authorization`: a bearer's token, or with its scheme in front, as `Basic …`.
        auth: Option<Secret> = (OptionType::Secret, none, "none"),
        /// How the body is packed.
        compression: String = (OptionType::Word(&["identity", "gzip", "zstd"]), "identity"),
        /// Rows of one request at most; one of 256 KiB is sent, too.
        batch: usize = (OptionType::Int { min: 1, max: 1 << 20 }, "1000"),
        /// How long rows wait for more of them.
        linger: Dur = (OptionType::Duration, "1s"),
        /// For a request and its answer.
        timeout: Dur = (OptionType::Duration, "20s"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(SinkBuild { encoder, far_end: build_far_end }) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "http",
    summary: "rows as JSON to an address",
    shape: Shape::Sink,
    options: HttpOptions::SPECS,
    outputs: &[OutputSpec { name: "rejected", doc: "rows that the far end refuses" }],
    drops: DROPS,
    notes: &[SENT],
    delivers: schema::Delivery::AtLeastOnce,
    typing: |values, inputs| {
        let options = HttpOptions::read(values).map_err(|why| OptionError::new("url", why))?;
        address(&options.url).map_err(|why| OptionError::new("url", why))?;
        headers(&options.headers).map_err(|why| OptionError::new("headers", why))?;
        Ok(inputs.to_vec())
    },
    reads: |_, _| Columns::All,
    memory: |_| Memory::fixed(16 << 20),
    examples: &[
        "pcap(\"shop.pcap.gz\") | biflow | http(\"https://flows.example/v1\", auth: secret(\"env:FLOWS_TOKEN\"))",
        "pcap(\"shop.pcap.gz\") | biflow | http(\"https://flows.example/v1\", encoding: json_array, batch: 500)",
    ],
    ..ComponentSpec::PLAIN
};

/// Headers that frame a message, or say which way it goes: another one would have rows taken for others, or lost.
const OURS: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

fn headers(texts: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for text in texts {
        let wrong = || format!("`{text}` is no header: write \"Name: value\"");
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        if OURS.contains(&name) {
            return Err(format!("`{name}` says how a request is sent, which is told from what is in it: leave it out"));
        }
        if name == header::HOST && headers.contains_key(&name) {
            return Err("a request has one `host`".into());
        }
        headers.append(name, value.trim().parse().map_err(|_| wrong())?);
    }
    Ok(headers)
}

fn encoder(cx: &BuildCx) -> Result<Box<dyn Encoder>, Fault> {
    let options = HttpOptions::read(&cx.values()).map_err(Fault::bug)?;
    let lines = NdJson::new(&cx.inputs[0]);
    Ok(match options.encoding.as_str() {
        "json_array" => Box::new(JsonArray(lines)),
        _ => Box::new(lines),
    })
}

/// All rows of a payload in one list.
struct JsonArray(NdJson);

impl Encoder for JsonArray {
    fn encode(&mut self, _: Route, rows: &arrow_array::RecordBatch, into: &mut BytesMut) -> Encoded {
        for row in 0..rows.num_rows() {
            into.put_u8(if into.is_empty() { b'[' } else { b',' });
            self.0.row(rows, row, into);
        }
        Encoded::All
    }

    fn close(&mut self, _: Route, payload: &mut BytesMut) {
        payload.put_u8(b']');
    }
}

/// Packs a body, and says how in its headers.
pub fn pack(body: &Bytes, compression: &str, headers: &mut HeaderMap) -> Result<Bytes, String> {
    let packed = match compression {
        "gzip" => {
            use std::io::Write;
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(body).and_then(|()| packer.finish())
        }
        "zstd" => zstd::bulk::compress(body, ZSTD_LEVEL),
        _ => return Ok(body.clone()),
    };
    let word = if compression == "gzip" { "gzip" } else { "zstd" };
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(word));
    packed.map(Bytes::from).map_err(|error| format!("cannot pack a payload: {error}"))
}

/// The Agent's.
const ZSTD_LEVEL: i32 = 1;

fn build_far_end(cx: &BuildCx) -> Result<FarEnd, Fault> {
    let options = HttpOptions::read(&cx.values()).map_err(Fault::bug)?;
    let mut headers = headers(&options.headers).map_err(Fault::bug)?;
    let content = if options.encoding == "ndjson" { "application/x-ndjson" } else { "application/json" };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content));
    if let Some(secret) = &options.auth {
        headers.insert(header::AUTHORIZATION, authorization(secret, cx)?);
    }
    let url = address(&options.url).map_err(Fault::bug)?;
    let delivery = Post {
        client: Client::new(&url, duration(options.timeout)).map_err(Fault::environment)?,
        method: options.method.to_uppercase().parse().unwrap_or(Method::POST),
        host: url.authority().map(ToString::to_string).unwrap_or_default(),
        url,
        headers,
        compression: options.compression,
    };
    let batching = Batching { rows_max: options.batch, linger: duration(options.linger), ..Batching::default() };
    Ok(far_end(Arc::new(delivery), batching, cx.bounded))
}

pub fn duration(dur: Dur) -> Duration {
    Duration::from_nanos(dur.0.max(0) as u64)
}

/// A token gets the scheme of bearers, if it has none.
fn authorization(secret: &Secret, cx: &BuildCx) -> Result<HeaderValue, Fault> {
    let text = secret::reveal(secret, cx.places)?;
    let text = if text.contains(' ') { text } else { format!("Bearer {text}") };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Fault::environment("the secret of `auth:` has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

struct Post {
    client: Client,
    method: Method,
    url: Uri,
    host: String,
    headers: HeaderMap,
    compression: String,
}

#[async_trait]
impl Delivery for Post {
    fn in_flight_max(&self) -> usize {
        REQUESTS_MAX
    }

    async fn deliver(&self, _: Route, payload: Bytes) -> Outcome {
        let mut headers = self.headers.clone();
        let body = match pack(&payload, &self.compression, &mut headers) {
            Ok(body) => body,
            Err(why) => return Outcome::Down(Fault::bug(why)),
        };
        let answer = self.client.send(self.method.clone(), &self.url, headers, body).await;
        judge(answer, &self.host, "is what `auth:` gives the right one?")
    }
}
