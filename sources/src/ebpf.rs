//! `ebpf`: who talks to whom on this host, from where the kernel counts it.
//!
//! Reading order: [`meter`] (records of sockets into conversations), [`rows`] (these as columns), [`kernel`]
//! (where the records come from), [`polled`] (less of them, where the kernel takes no program), [`recording`]
//! (the same out of a file).

mod kernel;
pub mod meter;
mod polled;
pub mod recording;
mod rows;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::{arrow_schema, record};
use weir_core::host::{self, cgroup};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_ebpf::Wanted;
use weir_spec::component::{Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::kinds::flow::FLOW;
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::schema::Delivery;
use weir_spec::{ComponentSpec, Schema, Shape, Stream, Value, Values};

use crate::input::{CHUNK_BYTES, Input, Next, Patience, unreadable};
use kernel::Kernel;
use meter::{Event, Flow, Meter, SOCKET_BYTES};
use polled::Polled;
use recording::Step;
use rows::Placed;

/// Sockets with which memory is reckoned.
const SOCKETS_EXPECTED: usize = 20_000;
/// How often sockets that have closed are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// After so many the memory that they took is given back.
const MANY_EVENTS: usize = 4 * BATCH_ROWS;
/// No more sockets are lost at once: what a recording says is not to be believed.
const LOST_MAX: u64 = 1 << 32;
const SECOND: i64 = 1_000_000_000;
/// The shortest interval.
const INTERVAL_MIN: i64 = 100_000_000;

weir_spec::options! {
    pub struct EbpfOptions {
        /// A row of each open connection comes so often, at multiples of it: what was counted since the last one.
        interval: Dur = (OptionType::Duration, positional, "30s"),
        /// Whether UDP counts, which costs a little for every packet, of TCP as well. Without it no packet costs anything.
        udp: bool = (OptionType::Bool, "true"),
        /// Whose sockets: `all`, `own` for those in weir's own network namespace, or a namespace's file.
        netns: String = (OptionType::Str, "all"),
        /// Writes what the kernel tells to a file, to be replayed elsewhere.
        record: Option<String> = (OptionType::Path, none),
        /// Reads such a file instead of the kernel; needs no privileges.
        replay: Option<String> = (OptionType::Path, none),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "ebpf",
    summary: "TCP and UDP conversations of every process and container on this host, as the kernel counts them",
    shape: Shape::Source,
    options: EbpfOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[OutputSpec {
        name: "",
        doc: "one row a conversation and interval, and one when a connection ends: what was counted since the row before",
    }],
    drops: &[
        ReasonSpec { name: "no_memory", doc: "sockets for which the kernel had no memory" },
        ReasonSpec { name: "unknown", doc: "sockets that closed before anything was known of them" },
        ReasonSpec { name: "damaged", doc: "records of a recording that are none" },
    ],
    notes: &[&[
        ReasonSpec { name: "clock_steps", doc: "how often the machine's clock was set, forward or back" },
        ReasonSpec {
            name: "translations_dropped",
            doc: "translated addresses that did not fit, of which rows have only one side",
        },
        ReasonSpec {
            name: "unattributed_tcp_sockets",
            doc: "TCP sockets that did not fit; what they carried is in rows without ends",
        },
        ReasonSpec {
            name: "unattributed_udp_packets",
            doc: "UDP packets of sockets that did not fit; they are in rows without ends",
        },
    ]],
    makes: true,
    delivers: Delivery::BestEffort,
    typing: |values, _| {
        let options = EbpfOptions::read(values).map_err(|why| OptionError::new("interval", why))?;
        if options.interval.0 < INTERVAL_MIN {
            let why = format!("`{}` is too short", weir_spec::units::duration(options.interval.0));
            return Err(OptionError::new("interval", why).help("the shortest is 100ms"));
        }
        if options.record.is_some() && options.replay.is_some() {
            let why = "what is replayed has been recorded";
            return Err(OptionError::new("record", why).help("leave one of `record` and `replay` out"));
        }
        let bounded = options.replay.is_some();
        // The kernel knows no tags; what is known of an endpoint comes from a later stage.
        let flows = Stream::of_kind(&FLOW).without_tags();
        Ok(vec![Stream { bounded, delivery: Delivery::BestEffort, ..flows }])
    },
    memory: |_| Memory::fixed((SOCKETS_EXPECTED * SOCKET_BYTES + meter::TRANSLATIONS_BYTES + 2 * CHUNK_BYTES) as u64),
    needs: |values| match values.get("replay").as_str() {
        Some(path) => vec![Need::read(path)],
        None => [Need::Capability("CAP_BPF"), Need::Capability("CAP_PERFMON")]
            .into_iter()
            .chain((values.get("udp") != &Value::Bool(false)).then_some(Need::Capability("CAP_NET_ADMIN")))
            .chain(values.get("record").as_str().map(|path| Need::Write(path.into())))
            .collect(),
    },
    examples: &["ebpf(30s) | stdout", "ebpf(replay: \"shop.flows\") | where dst.port == 443 | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = EbpfOptions::read(&cx.values()).map_err(Fault::bug)?;
    let schema = cx.outputs[0].clone();
    let from = match &options.replay {
        Some(path) => From::Recording(cx.places.to_read(path)),
        None => {
            let to = options.record.as_ref().map(|path| cx.places.to_write(path));
            let cgroups = cgroup::mounted();
            let Rung { tells, warnings } = from_kernel(&options, cgroups.as_deref(), to.as_deref())?;
            warnings.into_iter().for_each(|warning| cx.counts.warn(warning));
            From::Kernel(tells, cgroups)
        }
    };
    Ok(Box::new(Ebpf { from, schema, interval: options.interval.0 }))
}

/// What it stands on: who tells of sockets, and what is missing there.
struct Rung {
    tells: Box<dyn Tells>,
    warnings: Vec<String>,
}

/// The program in the kernel, or what there is without it.
fn from_kernel(options: &EbpfOptions, cgroups: Option<&Path>, to: Option<&Path>) -> Result<Rung, Fault> {
    let wanted = Wanted { netns: kernel::namespace(&options.netns)?, udp: options.udp, ..Wanted::default() };
    let refused = match Kernel::open(wanted, cgroups, to)? {
        Ok(kernel) => {
            let missing = kernel.without_udp().filter(|_| options.udp).into_iter();
            let missing = missing.chain(kernel.without_conntrack()).chain(kernel.part_of_udp(cgroups));
            let warnings = missing.collect();
            return Ok(Rung { tells: Box::new(kernel), warnings });
        }
        Err(refused) => refused,
    };
    let help = kernel::help(&refused);
    let fault = || Fault::environment(refused.to_string()).help(help);
    // There is nothing to record without the program.
    if options.record.is_some() {
        return Err(fault());
    }
    let scope = kernel::scope(&options.netns);
    let polled = Polled::open(scope).map_err(|_| fault())?;
    let warnings = vec![polled.warning(&refused, help, scope)];
    Ok(Rung { tells: Box::new(polled), warnings })
}

/// What it would stand on here, and what is missing, a line each. It is tried and left as it was. Nothing for a replay.
pub fn standing(values: &Values) -> Vec<String> {
    let Ok(options) = EbpfOptions::read(values) else { return Vec::new() };
    if options.replay.is_some() {
        return Vec::new();
    }
    match from_kernel(&options, cgroup::mounted().as_deref(), None) {
        Ok(Rung { tells, warnings }) => [tells.what().to_string()].into_iter().chain(warnings).collect(),
        Err(Fault { message, help, .. }) => {
            vec![format!("cannot run: {message}{}", help.map(|help| format!("; {help}")).unwrap_or_default())]
        }
    }
}

/// Who tells of sockets, as events in their order.
trait Tells: Send {
    /// How it knows.
    fn what(&self) -> &'static str;
    /// What is open already, and what it has counted: it is not counted again.
    fn begin(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()>;
    /// What has closed since the last time.
    fn look(&mut self, now: i64, into: &mut Vec<Event>);
    /// All that is open, at the end of an interval.
    fn cut(&mut self, at: i64, into: &mut Vec<Event>) -> io::Result<()>;
    /// All that has happened until now, for the last time.
    fn end(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()>;
    /// What went wrong beside that.
    fn take_fault(&mut self) -> Option<Fault> {
        None
    }
    /// The same at the end.
    fn finish(&mut self) -> Option<Fault> {
        None
    }
}

enum From {
    /// With where cgroup2 is mounted.
    Kernel(Box<dyn Tells>, Option<PathBuf>),
    Recording(PathBuf),
}

struct Ebpf {
    from: From,
    schema: Arc<Schema>,
    interval: i64,
}

#[async_trait]
impl Source for Ebpf {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let Ebpf { from, schema, interval } = *self;
        let mut run = Run::new(schema);
        match from {
            From::Kernel(kernel, cgroups) => {
                run.host = Some(host::name());
                run.cgroups = cgroups.map(cgroup::Tree::new);
                run.live(kernel, interval, cx).await?;
            }
            From::Recording(path) => run.replay(&path, cx).await?,
        }
        Ok(Finish::Flush)
    }
}

struct Run {
    meter: Meter,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    /// Flows that are not sent yet.
    flows: Vec<Flow>,
    /// Until when all has been given.
    reached: Time,
    /// What was said of that.
    promised: Time,
    host: Option<String>,
    cgroups: Option<cgroup::Tree>,
}

impl Run {
    fn new(schema: Arc<Schema>) -> Run {
        Run {
            meter: Meter::new(),
            arrow: arrow_schema(&schema),
            schema,
            flows: Vec::new(),
            reached: Time::START,
            promised: Time::START,
            host: None,
            cgroups: None,
        }
    }

    /// Until stopped; then what the interval has counted so far is told.
    async fn live(&mut self, mut kernel: Box<dyn Tells>, interval: i64, cx: &mut SourceCx) -> Result<(), Fault> {
        let (stop, clock) = (cx.stop(), cx.clock().clone());
        let broken = |error: std::io::Error| Fault::environment(format!("the kernel's records ended: {error}"));
        let mut events = Vec::new();
        kernel.begin(clock.now().0, &mut events).map_err(broken)?;
        let mut next = next_cut(clock.now().0, interval);
        loop {
            if !self.take_all(&mut events, cx).await || !self.flush(cx).await {
                break;
            }
            let left = Duration::from_nanos(next.saturating_sub(clock.now().0).max(0) as u64);
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                () = clock.sleep(left.min(LOOK)) => {}
            }
            let now = clock.now().0;
            kernel.look(now, &mut events);
            // A clock that was put back must not put the next interval off.
            next = next.min(next_cut(now, interval));
            if now >= next {
                // Of several that were missed, one tells all.
                let at = now.div_euclid(interval) * interval;
                kernel.cut(at, &mut events).map_err(broken)?;
                next = next_cut(now, interval);
            }
            if let Some(fault) = kernel.take_fault() {
                cx.report(fault);
            }
        }
        kernel.end(clock.now().0, &mut events).map_err(broken)?;
        events.drain(..).for_each(|event| self.take(event));
        while !self.flows.is_empty() {
            cx.ready_to_end().await;
            self.send(cx);
        }
        self.count(cx);
        if let Some(fault) = kernel.finish() {
            cx.report(fault);
        }
        Ok(())
    }

    /// Reads a recording to its end.
    async fn replay(&mut self, path: &Path, cx: &mut SourceCx) -> Result<(), Fault> {
        let mut input = Input::open(path, cx.progress())?;
        let mut patience = Patience::default();
        let mut bytes = Vec::new();
        let mut is_begun = false;
        loop {
            let waits = (!self.flows.is_empty()).then_some(&mut patience);
            let read = match input.next(&mut bytes, cx, waits).await {
                Next::Read(read) => read.map_err(|error| unreadable(path, &error))?,
                Next::Stopped => return Ok(()),
                Next::Paused => {
                    patience.reset();
                    if self.flush(cx).await { continue } else { return Ok(()) }
                }
            };
            if !is_begun && (bytes.len() >= recording::MAGIC.len() || read == 0) {
                if !bytes.starts_with(recording::MAGIC) {
                    let fault = Fault::input(format!("`{}` is no recording of flows", path.display()));
                    return Err(fault.help("`ebpf(record: \"FILE\")` writes them"));
                }
                bytes.drain(..recording::MAGIC.len());
                is_begun = true;
            }
            let used = if is_begun { self.events(&bytes, path, cx).await? } else { Some(0) };
            let Some(used) = used else { return Ok(()) };
            bytes.drain(..used);
            if read == 0 {
                self.flush(cx).await;
                if !bytes.is_empty() {
                    cx.report(Fault::input(format!("`{}` is cut off: its last event is not whole", path.display())));
                }
                return Ok(());
            }
        }
    }

    /// Takes the whole events of a recording; how many bytes these are, nothing when nobody wants more.
    async fn events(&mut self, bytes: &[u8], path: &Path, cx: &mut SourceCx) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        loop {
            match recording::step(&bytes[at..]) {
                Step::Event { used, event } => {
                    let is_done = matches!(event, Event::Done(_));
                    self.take(event);
                    at += used;
                    // Rows of an interval go before the news that it is over.
                    if is_done && !self.flush(cx).await {
                        return Ok(None);
                    }
                }
                Step::Bad { used } => {
                    cx.reject("damaged", 1);
                    at += used;
                }
                Step::Need(_) => return Ok(Some(at)),
                Step::Broken => {
                    self.flush(cx).await;
                    return Err(Fault::input(format!("`{}` is damaged: what follows is no event", path.display())));
                }
            }
            if self.flows.len() >= BATCH_ROWS && !self.flush(cx).await {
                return Ok(None);
            }
        }
    }

    /// Takes what has been told, and sends rows as they fill batches; `false` when nobody wants more.
    async fn take_all(&mut self, events: &mut Vec<Event>, cx: &mut SourceCx) -> bool {
        // Of an interval there may be many: nothing of it stays.
        let are_many = events.len() > MANY_EVENTS;
        for event in std::mem::take(events) {
            self.take(event);
            if self.flows.len() >= BATCH_ROWS {
                if !cx.ready().await {
                    return false;
                }
                self.send(cx);
            }
        }
        if are_many {
            weir_ebpf::trim();
        }
        true
    }

    fn take(&mut self, event: Event) {
        if let Some(until) = self.meter.take(event, &mut self.flows) {
            self.reached = Time(until);
        }
    }

    /// Sends what there is, and how far time has come; `false` when nobody wants more.
    async fn flush(&mut self, cx: &mut SourceCx) -> bool {
        while !self.flows.is_empty() {
            if !cx.ready().await {
                return false;
            }
            self.send(cx);
        }
        self.count(cx);
        cx.advance(self.reached);
        // A clock that was set back takes no promise back.
        self.promised = self.promised.max(self.reached);
        true
    }

    /// Sends a batch.
    fn send(&mut self, cx: &mut SourceCx) {
        let rest = self.flows.split_off(self.flows.len().min(BATCH_ROWS));
        let flows = std::mem::replace(&mut self.flows, rest);
        let placed: Vec<Placed> = flows.into_iter().map(|flow| self.place(flow)).collect();
        let time: Vec<i64> = placed.iter().map(|(flow, _)| flow.end).collect();
        let columns = rows::build(&placed, &self.schema, self.host.as_deref());
        let rows = record(&self.arrow, columns, placed.len());
        // What has been promised, whatever the rows before say.
        let seen = vec![self.promised.0; placed.len()];
        cx.made(0, rows, Times::Seen { time: time.into(), seen: seen.into() }, Acks::none());
    }

    /// A flow with the container that its own end is in.
    fn place(&mut self, flow: Flow) -> Placed {
        let id = flow.socket.as_ref().map(|socket| socket.cgroup);
        let unit = id.zip(self.cgroups.as_mut()).and_then(|(id, cgroups)| cgroups.find(id).cloned());
        (flow, unit)
    }

    /// Counts the sockets that were lost, and tells of a clock that was set.
    fn count(&mut self, cx: &mut SourceCx) {
        if let Some(step) = self.meter.take_step() {
            cx.note("clock_steps", 1);
            cx.warn(set_clock(step));
        }
        let losses = self.meter.take_losses();
        cx.note("translations_dropped", self.meter.take_dropped());
        // What these counted is in rows without a socket.
        cx.note("unattributed_tcp_sockets", losses.tcp.sockets);
        cx.note("unattributed_udp_packets", losses.udp.packets_sent.saturating_add(losses.udp.packets_received));
        for (reason, lost) in [("no_memory", losses.no_memory), ("unknown", losses.unknown)] {
            if lost > 0 {
                cx.reject(reason, lost.min(LOST_MAX) as usize);
            }
        }
    }
}

/// What it means that a clock was set.
fn set_clock(step: i64) -> String {
    let by = weir_spec::units::duration(step.saturating_abs() / SECOND * SECOND);
    match step < 0 {
        true => format!(
            "the host's clock was set back by {by}: until it has come so far again, flows are late for windows that were \
             given already"
        ),
        false => format!("the host's clock was set forward by {by}, or the host slept: windows in between end now"),
    }
}

/// The next multiple of an interval.
fn next_cut(now: i64, interval: i64) -> i64 {
    (now.div_euclid(interval) + 1).saturating_mul(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told() {
        let said = [-3_600 * SECOND - 12_345, 90 * SECOND].map(set_clock);
        let back = "the host's clock was set back by 1h: until it has come so far again, flows are late for windows \
                    that were given already";
        let forward = "the host's clock was set forward by 1m30s, or the host slept: windows in between end now";
        assert_eq!(said, [back, forward]);
    }
}
