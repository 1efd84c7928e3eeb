//! `dogstatsd`: metrics, events and service checks as Datadog's and plain StatsD's clients send them.
//!
//! Reading order: [`message`] (one line), [`etsy`] (the same in plain StatsD), [`decode`] (a datagram),
//! [`series`] (what is not read again), [`about`] and [`rows`] (columns), [`listener`] (sockets), [`origin`] (who a
//! process is), [`info`] (what tracers ask).

pub mod about;
pub mod decode;
pub mod etsy;
pub mod frames;
pub mod info;
pub mod listener;
pub mod mapper;
pub mod message;
pub mod number;
pub mod origin;
pub mod rows;
mod scan;
mod series;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use weir_core::batch::Times;
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_http::server::{self, Body};
use weir_spec::component::{Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::kinds::{check::CHECK, event::EVENT, metric::METRIC, rejected::REJECTED};
use weir_spec::memory::Memory;
use weir_spec::option::{self, OptionError, OptionType};
use weir_spec::schema::Delivery;
use weir_spec::value::Value;
use weir_spec::{ComponentSpec, Schema, Shape, Stream, Values};

use crate::net::address::Address;
use crate::rejected;
use about::Sender;
use decode::{Decoder, Dialect, Payload, Rules};
use info::Info;
use listener::{DATAGRAMS_MAX, Listeners, Listening, Setup, Woken, held_bytes};
use mapper::{MAPPINGS_MAX, Mapping};
use rows::Finished;

/// Where the Agent listens, if nothing is said.
const LISTEN_DEFAULT: &str = "udp://127.0.0.1:8125";
/// Listeners of one source.
const LISTENERS_MAX: usize = 64;
/// Sockets of one listener by `SO_REUSEPORT`.
const SOCKETS_MAX: i64 = 64;
/// The longest datagram there is.
const MESSAGE_BYTES_MAX: i64 = 64 << 10;
/// How long rows wait for more of them. It bounds how late a line is in its aggregate.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long there may be no room for what the sockets hold when the graph is to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long what is left then is read and counted.
const GRACE: Duration = Duration::from_secs(1);
/// How often event time is said to move on when nothing comes.
const TICK: Duration = Duration::from_millis(250);

const METRICS: usize = 0;
const EVENTS: usize = 1;
const CHECKS: usize = 2;
const REJECTED_: usize = 3;

weir_spec::options! {
    pub struct DogstatsdOptions {
        /// Lines to read instead of listening (a text with a `|` in it), or a file of them. For tests and replays.
        lines: Option<String> = (OptionType::Str, positional),
        /// Where to listen: `udp://127.0.0.1:8125`, `unixgram:///run/dsd.socket`, `unixstream:///run/dsd.stream`.
        listen: Vec<String> = (OptionType::List(&OptionType::Str), "[\"udp://127.0.0.1:8125\"]"),
        /// Where tracers ask for `/info`, as `127.0.0.1:8126`; they may send their metrics there, too.
        info: Option<String> = (OptionType::Str, none, "none"),
        /// Whose rules lines are read by: the Datadog Agent's, or plain StatsD's.
        dialect: String = (OptionType::Word(Dialect::WORDS), "dogstatsd"),
        /// Tags that every message gets, as `key:value`.
        tags: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
        /// Metrics that get another name, with parts of their own as tags: `jobs.*.* -> jobs {queue:$1,what:$2}`, where `*` is anything between two dots. A regular expression stands between slashes. The first that matches a whole name counts; names above 256 bytes are left as they are.
        mappings: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
        /// Asked of the kernel for each socket; `plan` and the log say what it grants.
        receive_buffer: option::Bytes = (OptionType::Size, "4MiB"),
        /// The longest datagram or frame that is read whole.
        message_bytes_max: option::Bytes = (OptionType::Size, "64KiB"),
        /// Sockets for each UDP address; the kernel divides the senders among them.
        sockets: i64 = (OptionType::Int { min: 1, max: SOCKETS_MAX }, "1"),
        /// Connections at once on each `unixstream://`.
        connections_max: usize = (OptionType::Int { min: 1, max: 65_536 }, "1024"),
        /// Whether a line needs a line feed behind it.
        eol_required: bool = (OptionType::Bool, "false"),
        /// Whether `T` is read: when the client measured.
        timestamps: bool = (OptionType::Bool, "true"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

/// What is counted while listening.
const LISTENING: &[ReasonSpec] = &[
    ReasonSpec { name: "datagrams", doc: "datagrams that were read" },
    ReasonSpec { name: "frames", doc: "frames of streams that were read" },
    ReasonSpec { name: "lines", doc: "lines in them; each is a row, or refused for a reason below" },
    ReasonSpec { name: "receive_errors", doc: "reads that failed for another reason than that nothing was there" },
    ReasonSpec { name: "accept_errors", doc: "connections that came and could not be taken" },
    ReasonSpec { name: "connections_refused", doc: "connections that came when there were `connections_max`" },
    ReasonSpec { name: "rebound", doc: "sockets that were made anew because their file was gone" },
    ReasonSpec { name: "rebind_errors", doc: "tries of that which failed" },
];

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "dogstatsd",
    summary: "metrics, events and service checks of StatsD clients, over UDP and unix sockets",
    shape: Shape::Source,
    options: DogstatsdOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[
        OutputSpec { name: "metrics", doc: "one row a metric line" },
        OutputSpec { name: "events", doc: "one row an event" },
        OutputSpec { name: "checks", doc: "one row a service check" },
        OutputSpec { name: "rejected", doc: "lines that could not be read" },
    ],
    drops: &[
        ReasonSpec { name: "kernel", doc: "datagrams that the kernel dropped because the receive buffer was full" },
        ReasonSpec { name: "truncated", doc: "datagrams longer than `message_bytes_max`: the line that was cut" },
        ReasonSpec {
            name: "too_long",
            doc: "frames of a stream longer than `message_bytes_max`; they end the connection",
        },
        ReasonSpec { name: "cut_off", doc: "frames whose connection ended inside them" },
        ReasonSpec { name: "stalled", doc: "frames inside which a connection stood still, and was closed for it" },
        ReasonSpec { name: "unsent", doc: "rows that were read at the end, and that nobody had room for in time" },
        ReasonSpec { name: "unread_metrics", doc: "metrics that nobody reads" },
        ReasonSpec { name: "unread_events", doc: "events that nobody reads" },
        ReasonSpec { name: "unread_checks", doc: "service checks that nobody reads" },
        ReasonSpec { name: "unread_rejected", doc: "bad lines that nobody reads" },
    ],
    notes: &[LISTENING, message::REFUSED],
    makes: true,
    delivers: Delivery::BestEffort,
    typing: |values, _| {
        let options = DogstatsdOptions::read(values).map_err(|why| OptionError::new("listen", why))?;
        addresses(&options)?;
        message::check_tags(&options.tags)?;
        if options.mappings.len() > MAPPINGS_MAX {
            return Err(OptionError::new("mappings", format!("more than {MAPPINGS_MAX} cannot be looked through")));
        }
        for mapping in &options.mappings {
            Mapping::parse(mapping).map_err(|wrong| OptionError::new("mappings", wrong.why).help(wrong.help))?;
        }
        if let Some(info) = &options.info {
            weir_spec::address::socket(info).map_err(|why| OptionError::new("info", why))?;
        }
        let bytes = options.message_bytes_max.0;
        if bytes > MESSAGE_BYTES_MAX {
            let why = format!("no datagram is longer than {}", weir_spec::units::size(MESSAGE_BYTES_MAX));
            return Err(OptionError::new("message_bytes_max", why));
        }
        let bounded = options.lines.is_some();
        let stream = |kind| Stream { bounded, ..Stream::of_kind(kind) };
        Ok(vec![stream(&METRIC), stream(&EVENT), stream(&CHECK), stream(&REJECTED)])
    },
    memory: |values| {
        let listen = values.get("listen").items();
        let sockets = listen.len() as i64 * values.get("sockets").as_i64().unwrap_or(1);
        let is_unixgram = |address: &&Value| address.as_str().is_some_and(|a| a.starts_with("unixgram:"));
        let message = values.get("message_bytes_max").as_i64().unwrap_or(MESSAGE_BYTES_MAX).max(0) as usize;
        let of_threads = held_bytes(message) * listen.iter().filter(is_unixgram).count();
        // Each may stand still inside a frame.
        let is_stream = |address: &&Value| address.as_str().is_some_and(|a| a.starts_with("unixstream:"));
        let connections = values.get("connections_max").as_i64().unwrap_or(0).max(0) as usize;
        let of_connections = message * connections * listen.iter().filter(is_stream).count();
        let of_mappings = mapper::held_bytes(values.get("mappings").items().len());
        let of_info = if values.get("info").as_str().is_some() { server::HELD_BYTES_MAX } else { 0 };
        let of_all = message * DATAGRAMS_MAX + of_threads + of_connections + of_mappings + of_info;
        Memory::cache(of_all as u64 + ((sockets.max(0) as u64) << 16), series::HELD_BYTES_MAX as u64)
    },
    needs,
    examples: &[
        "let statsd = dogstatsd(listen: [\"udp://127.0.0.1:8125\", \"unixgram:///var/run/datadog/dsd.socket\"])\nstatsd.metrics | aggregate(10s) | stdout",
        "let statsd = dogstatsd(\"page.views:1|c|#env:prod\")\nstatsd.metrics | stdout",
        "let statsd = dogstatsd(\"jobs.mail.send:1|c\", mappings: [\"jobs.*.* -> jobs {queue:$1,what:$2}\"])\nstatsd.metrics | stdout",
    ],
    ..ComponentSpec::PLAIN
};

fn needs(values: &Values) -> Vec<Need> {
    match values.get("lines").as_str() {
        Some(lines) if lines.contains('|') => Vec::new(),
        Some(path) => vec![Need::read(path)],
        None => {
            let listen = values.get("listen").items().iter().filter_map(|v| v.as_str().map(str::to_string));
            let info = values.get("info").as_str().map(|address| format!("tcp://{address}"));
            listen.chain(info).map(Need::Listen).collect()
        }
    }
}

/// Where to listen; the error names the option.
fn addresses(options: &DogstatsdOptions) -> Result<Vec<Address>, OptionError> {
    let all: Result<Vec<Address>, String> = options.listen.iter().map(|text| Address::parse(text)).collect();
    let all = all.map_err(|why| OptionError::new("listen", why))?;
    if all.is_empty() || all.len() > LISTENERS_MAX {
        let why = format!("there are {} addresses, and from 1 to {LISTENERS_MAX} can be", all.len());
        return Err(OptionError::new("listen", why).help(format!("write `listen: [\"{LISTEN_DEFAULT}\"]`")));
    }
    match all.iter().enumerate().find(|(at, address)| all[..*at].contains(address)) {
        Some((_, twice)) => Err(OptionError::new("listen", format!("`{twice}` is there twice"))),
        None => Ok(all),
    }
}

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = DogstatsdOptions::read(&cx.values()).map_err(Fault::bug)?;
    let from = match &options.lines {
        Some(lines) if lines.contains('|') => From::Lines(lines.clone().into_bytes()),
        Some(path) => From::File(cx.places.to_read(path)),
        None => {
            let addresses = addresses(&options).map_err(|why| Fault::environment(why.message))?;
            let setup = Setup {
                sockets: options.sockets.max(1) as usize,
                receive_buffer_bytes: options.receive_buffer.0.max(0) as usize,
                granted_bytes: usize::MAX,
                message_bytes_max: options.message_bytes_max.0.max(1) as usize,
                connections_max: options.connections_max,
            };
            let listeners = Listeners::bind(&addresses, setup)?;
            let info = options.info.as_deref().map(|info| Info::bind(info, listeners.udp_port())).transpose()?;
            From::Sockets(listeners, info)
        }
    };
    let decoder = Decoder::new(Rules::new(&options), cx.state_bytes as usize);
    Ok(Box::new(Dogstatsd { decoder, schemas: cx.outputs.clone(), from }))
}

enum From {
    Lines(Vec<u8>),
    File(PathBuf),
    Sockets(Listeners, Option<Info>),
}

struct Dogstatsd {
    decoder: Decoder,
    schemas: Vec<Arc<Schema>>,
    from: From,
}

#[async_trait]
impl Source for Dogstatsd {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let Dogstatsd { decoder, schemas, from } = *self;
        let mut run = Run { decoder, schemas, reached: cx.clock().now(), since: tokio::time::Instant::now() };
        match from {
            From::Lines(lines) => run.lines(&lines, "lines", cx).await,
            From::File(path) => {
                let lines = std::fs::read(&path)
                    .map_err(|error| Fault::environment(format!("cannot read `{}`: {error}", path.display())))?;
                run.lines(&lines, &path.display().to_string(), cx).await;
            }
            From::Sockets(listeners, info) => run.sockets(listeners, info, cx).await?,
        }
        Ok(Finish::Flush)
    }
}

/// What came by HTTP next; without `/info` nothing ever does.
async fn next(bodies: &mut Option<mpsc::Receiver<Body>>) -> Body {
    if let Some(bodies) = bodies
        && let Some(body) = bodies.recv().await
    {
        return body;
    }
    std::future::pending().await
}

/// What the source waits for.
enum Event {
    Woken(Woken),
    Body(Body),
    Tick,
}

/// Waits for room, and looks after the sockets meanwhile: what the kernel drops is dropped most while nobody reads.
/// `false` when there is nobody to read for, or the graph is to end.
async fn ready(listeners: &mut Listening, cx: &mut SourceCx) -> bool {
    loop {
        match tokio::time::timeout(TICK, cx.ready()).await {
            Ok(is_ready) => return is_ready,
            Err(_) => listeners.look_after(cx),
        }
    }
}

struct Run {
    decoder: Decoder,
    schemas: Vec<Arc<Schema>>,
    /// How far time has come: it does not go back when the machine's clock does, it goes on from there.
    reached: Time,
    since: tokio::time::Instant,
}

impl Run {
    fn now(&mut self, cx: &SourceCx) -> Time {
        let now = tokio::time::Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut self.since, now)).as_nanos() as i64;
        let clock = cx.clock().now();
        self.reached = if clock < self.reached { self.reached.plus(passed) } else { clock };
        self.reached
    }

    async fn lines(&mut self, lines: &[u8], name: &str, cx: &mut SourceCx) {
        let sender = Sender::default();
        let peer = || name.to_string();
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let now = self.now(cx);
            self.decoder.payload(&Payload { bytes: line, is_truncated: false, sender: &sender, peer: &peer }, now);
            if self.decoder.is_full() && !self.flush(cx).await {
                return;
            }
        }
        self.flush(cx).await;
    }

    /// Until stopped; what the sockets hold then is still read.
    async fn sockets(&mut self, listeners: Listeners, info: Option<Info>, cx: &mut SourceCx) -> Result<(), Fault> {
        let stop = cx.stop();
        let (serving, mut bodies) = info.map(Info::serve).transpose()?.unzip();
        let mut listeners = listeners.listen()?;
        let mut flush_at: Option<tokio::time::Instant> = None;
        let mut look_at = tokio::time::Instant::now();
        while ready(&mut listeners, cx).await {
            // Asked for, not waited for: a socket that is always busy must not put it off.
            if look_at <= tokio::time::Instant::now() {
                listeners.look_after(cx);
                look_at = tokio::time::Instant::now() + TICK;
            }
            let wait = flush_at.map_or(TICK, |at| at.saturating_duration_since(tokio::time::Instant::now()));
            let woken = tokio::select! {
                biased;
                () = stop.stopped() => break,
                woken = listeners.woken() => Event::Woken(woken),
                body = next(&mut bodies) => Event::Body(body),
                () = tokio::time::sleep(wait) => Event::Tick,
            };
            match woken {
                Event::Woken(woken) => {
                    // Nothing more comes from there in time.
                    if self.take(&mut listeners, woken, cx) >= PATIENCE {
                        flush_at = Some(tokio::time::Instant::now());
                    }
                }
                Event::Body(body) => self.body(&body, cx),
                Event::Tick => {}
            }
            if self.decoder.is_empty() {
                flush_at = None;
                let now = self.now(cx);
                cx.advance(now);
                continue;
            }
            let due = *flush_at.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
            if self.decoder.is_full() || due <= tokio::time::Instant::now() {
                flush_at = None;
                if !ready(&mut listeners, cx).await {
                    break;
                }
                self.send(cx);
            }
        }
        // Nobody is let in any more; who was told that his metrics were taken is right.
        drop(serving);
        while let Some(Ok(body)) = bodies.as_mut().map(mpsc::Receiver::try_recv) {
            self.body(&body, cx);
        }
        listeners.begin_to_end(cx);
        let until = tokio::time::Instant::now() + DRAIN_MAX;
        let mut has_room = true;
        loop {
            let now = self.now(cx);
            let decoder = &mut self.decoder;
            let mut take = |payload: &Payload| {
                decoder.payload(payload, now);
                !decoder.is_full()
            };
            let more = listeners.drain(cx, &mut take).await;
            has_room = has_room && tokio::time::timeout_at(until, cx.ready_to_end()).await.is_ok();
            match has_room {
                true => self.send(cx),
                false => self.discard(cx),
            }
            // Where a door could not be closed, who never stops sending must not put off the end.
            if !more || tokio::time::Instant::now() >= until + GRACE {
                break;
            }
            tokio::task::yield_now().await;
        }
        listeners.close_all(cx);
        listeners.look_after(cx);
        Ok(())
    }

    /// What came by HTTP.
    fn body(&mut self, body: &[u8], cx: &SourceCx) {
        let now = self.now(cx);
        let (sender, peer) = (Sender::default(), || "http".to_string());
        self.decoder.payload(&Payload { bytes: body, is_truncated: false, sender: &sender, peer: &peer }, now);
    }

    /// Reads what woke us, as far as one batch has room; says for how long nothing more comes from there.
    fn take(&mut self, listeners: &mut Listening, woken: Woken, cx: &mut SourceCx) -> Duration {
        let now = self.now(cx);
        let decoder = &mut self.decoder;
        listeners.take(woken, cx, &mut |payload| {
            decoder.payload(payload, now);
            !decoder.is_full()
        })
    }

    /// Sends what was read; `false` if nobody wants more.
    async fn flush(&mut self, cx: &mut SourceCx) -> bool {
        if !cx.ready().await {
            return false;
        }
        self.send(cx);
        true
    }

    /// What was read is counted and let go: nobody had room for it in time.
    fn discard(&mut self, cx: &mut SourceCx) {
        self.count(cx);
        let Decoder { metrics, events, checks, rejected, .. } = &mut self.decoder;
        let rows = metrics.len() + events.len() + checks.len() + rejected.len();
        // What they taught of series stays.
        drop(metrics.finish(&self.schemas[METRICS]));
        (*events, *checks) = Default::default();
        rejected.clear();
        if rows > 0 {
            cx.reject("unsent", rows);
        }
    }

    /// Tells of the lines that were read.
    fn count(&mut self, cx: &mut SourceCx) {
        let decoder = &mut self.decoder;
        cx.note("lines", std::mem::take(&mut decoder.lines));
        let truncated = std::mem::take(&mut decoder.truncated);
        if truncated > 0 {
            cx.reject("truncated", truncated);
        }
        // Each under its reason, whether anybody reads the rows or not.
        decoder.rejected.iter().for_each(|bad| cx.note(bad.reason, 1));
    }

    fn send(&mut self, cx: &mut SourceCx) {
        self.count(cx);
        let now = self.now(cx);
        let decoder = &mut self.decoder;
        let mut made = |port, (rows, times): Finished| cx.made(port, rows, Times::InOrder(times), Acks::none());
        if !decoder.metrics.is_empty() {
            made(METRICS, decoder.metrics.finish(&self.schemas[METRICS]));
        }
        if !decoder.events.is_empty() {
            made(EVENTS, decoder.events.finish(&self.schemas[EVENTS]));
        }
        if !decoder.checks.is_empty() {
            made(CHECKS, decoder.checks.finish(&self.schemas[CHECKS]));
        }
        if !decoder.rejected.is_empty() {
            let bad = std::mem::take(&mut decoder.rejected);
            let rows = rejected::rows(&bad, now, &self.schemas[REJECTED_]);
            made(REJECTED_, (rows.into(), vec![now.0; bad.len()].into()));
        }
        cx.advance(now);
    }
}
