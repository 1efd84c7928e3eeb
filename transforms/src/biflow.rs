//! `biflow`: packets into conversations, with what each direction sent again.
//!
//! Metering rules after RFC 5103 (biflows), 5470 and 7011 (expiry). Runs on the packets' own time,
//! so replaying a capture gives what watching it live gave.

mod columns;
mod flow;
mod sequence;
mod table;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::{Array, ListArray, RecordBatch, UInt8Array, UInt16Array, UInt32Array};
use arrow_buffer::ScalarBuffer;
use weir_core::batch::{BATCH_ROWS, Batch, Times};
use weir_core::columns::{addresses, arrow_schema, get};
use weir_core::ledger::Counts;
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{Columns, Inputs, OutputSpec, ReasonSpec};
use weir_spec::kinds::enums::icmp_counterpart;
use weir_spec::kinds::enums::protocol::{ICMP, ICMP6};
use weir_spec::kinds::flow::FLOW;
use weir_spec::kinds::packet as kind;
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionType};
use weir_spec::{ComponentSpec, Schema, Shape, Stream};

use flow::{Flow, Key, Seen, Tcp};
use table::{Table, Timeouts};

/// Memory of one conversation: its slot, its place in the index and on the wheel.
pub const FLOW_BYTES: u64 = (table::SLOT_BYTES + INDEX_BYTES + WHEEL_BYTES) as u64;
/// A slot number at the index's usual load, and its control byte.
const INDEX_BYTES: usize = 8;
/// A slot and its generation, in a vector that has doubled.
const WHEEL_BYTES: usize = 12;
/// Different VLAN and interface contexts that are told apart.
const CONTEXTS_MAX: usize = 65_536;

weir_spec::options! {
    pub struct BiflowOptions {
        /// Ends a conversation after so long without a packet.
        idle: Option<Dur> = (OptionType::Duration, positional, none, "1m"),
        /// The same for established TCP connections, which may be quiet for longer.
        idle_established: Option<Dur> = (OptionType::Duration, none, "5m"),
        /// Writes a record of a conversation at least so often; the next one counts from there.
        active: Option<Dur> = (OptionType::Duration, none, "5m"),
        /// Conversations held at once; when there are more, one of the quietest leaves early.
        flows_max: Option<u64> = (OptionType::Int { min: 1, max: 1 << 32 }, none, "none"),
        /// What does not tell conversations apart.
        ignore: Vec<String> = (OptionType::List(&OptionType::Word(&["vlan", "interface"])), "[]"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "biflow",
    summary: "packets into conversations, with retransmits and round trip",
    shape: Shape::Stateful,
    options: BiflowOptions::SPECS,
    inputs: Inputs::One(&["packet"]),
    outputs: &[OutputSpec { name: "", doc: "one row a conversation, or a part of a long one" }],
    notes: &[&[ReasonSpec {
        name: "evicted",
        doc: "flows that were given out before their time, the oldest first, because there were `flows_max`",
    }]],
    makes: true,
    typing: |_, inputs| {
        // Packets carry no tags; what is known of an endpoint comes from a later stage.
        let kind = Stream::of_kind(&FLOW).without_tags();
        Ok(inputs.iter().map(|i| Stream { delivery: i.delivery, bounded: i.bounded, ..kind.clone() }).collect())
    },
    reads: |values, wanted| {
        let mut reads = Columns::of(READS.iter().copied());
        let ignored = |what: &str| values.get("ignore").items().iter().any(|v| v.as_str() == Some(what));
        for context in ["vlan", "interface"] {
            if !ignored(context) || wanted.contains(context) {
                reads.join(Columns::of([context]));
            }
        }
        reads
    },
    memory: |values| match values.get("flows_max").as_i64() {
        Some(flows) => Memory::bytes(0, flows as u64 * FLOW_BYTES),
        None => Memory::share(0),
    },
    examples: &["pcap(\"shop.pcap.gz\") | biflow(30s, active: none) | stdout"],
    ..ComponentSpec::PLAIN
};

const READS: &[&str] = &[
    kind::SRC_IP.name,
    kind::DST_IP.name,
    kind::SRC_PORT.name,
    kind::DST_PORT.name,
    kind::PROTOCOL_.name,
    kind::IP_BYTES.name,
    kind::FRAME_BYTES.name,
    kind::PAYLOAD_BYTES.name,
    kind::TCP_FLAGS_.name,
    kind::TCP_SEQ.name,
    kind::TCP_ACK.name,
    kind::ICMP_ID.name,
    kind::FRAGMENT_ID.name,
];

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = BiflowOptions::read(&cx.values()).map_err(Fault::bug)?;
    let idle = options.idle.map(|d| d.0);
    let timeouts = Timeouts {
        idle,
        idle_established: idle.and(options.idle_established.map(|d| d.0)),
        active: options.active.map(|d| d.0),
    };
    let flows_max = options.flows_max.unwrap_or(cx.state_bytes / FLOW_BYTES);
    let schema = cx.outputs[0].clone();
    Ok(Box::new(Biflow {
        table: Table::new(timeouts, flows_max as usize),
        arrow: arrow_schema(&schema),
        schema,
        contexts: Contexts::new(&options.ignore),
        hashes: Vec::new(),
        held: Vec::new(),
        counts: cx.counts.clone(),
        input: Time::START,
    }))
}

struct Biflow {
    table: Table,
    schema: Arc<Schema>,
    arrow: arrow_schema::SchemaRef,
    contexts: Contexts,
    hashes: Vec<(Key, usize, u64)>,
    /// Acks of batches whose packets are not all reported: level by level, each level's acks being
    /// bundles of the one before. So a record carries few shares, however long a conversation lives.
    held: Vec<Vec<Acks>>,
    counts: Arc<Counts>,
    input: Time,
}

/// VLAN and interface contexts, as numbers that conversations carry and as text for their records.
struct Contexts {
    vlan: bool,
    interface: bool,
    hasher: foldhash::quality::FixedState,
    texts: HashMap<u32, Arc<str>>,
}

impl Contexts {
    fn new(ignore: &[String]) -> Contexts {
        let ignored = |what: &str| ignore.iter().any(|i| i == what);
        Contexts {
            vlan: !ignored("vlan"),
            interface: !ignored("interface"),
            hasher: foldhash::quality::FixedState::with_seed(7),
            texts: HashMap::new(),
        }
    }

    /// 0 where there is nothing to tell apart.
    fn of(&mut self, view: &View, row: usize) -> u32 {
        let vlans = view.vlan.filter(|v| self.vlan && v.is_valid(row));
        let interface = view.interface.filter(|i| self.interface && i.is_valid(row));
        if vlans.is_none() && interface.is_none() {
            return 0;
        }
        let ids = vlans.map(|v| {
            let ids = v.value(row);
            let ids = ids.as_any().downcast_ref::<arrow_array::Int64Array>().map(|a| a.values().to_vec());
            ids.unwrap_or_default().iter().map(i64::to_string).collect::<Vec<_>>().join(",")
        });
        let name = interface.map(|i| {
            let words = i.values().as_any().downcast_ref::<arrow_array::StringArray>();
            words.map_or("", |w| w.value(i.keys().value(row) as usize))
        });
        let text = format!("{}|{}", ids.unwrap_or_default(), name.unwrap_or(""));
        // Never 0, which means that there is nothing to tell apart.
        let number = self.hasher.hash_one(&text) as u32 | 1;
        if self.texts.len() < CONTEXTS_MAX {
            self.texts.entry(number).or_insert_with(|| text.into());
        }
        number
    }

    fn text(&self, flow: &Flow) -> Option<Arc<str>> {
        self.texts.get(&flow.key.context).cloned()
    }
}

/// The columns of one batch of packets, once for all rows.
struct View<'a> {
    src: &'a [[u8; 16]],
    dst: &'a [[u8; 16]],
    src_port: &'a UInt16Array,
    dst_port: &'a UInt16Array,
    protocol: &'a UInt8Array,
    ip_bytes: &'a UInt32Array,
    frame_bytes: &'a UInt32Array,
    payload_bytes: &'a UInt32Array,
    flags: &'a UInt8Array,
    seq: &'a UInt32Array,
    ack: &'a UInt32Array,
    icmp_id: Option<&'a UInt16Array>,
    fragment: Option<&'a UInt32Array>,
    vlan: Option<&'a ListArray>,
    interface: Option<&'a arrow_array::DictionaryArray<arrow_array::types::Int32Type>>,
}

impl<'a> View<'a> {
    fn new(rows: &'a RecordBatch) -> Option<View<'a>> {
        Some(View {
            src: addresses(get(rows, kind::SRC_IP)?),
            dst: addresses(get(rows, kind::DST_IP)?),
            src_port: get(rows, kind::SRC_PORT)?,
            dst_port: get(rows, kind::DST_PORT)?,
            protocol: get(rows, kind::PROTOCOL_)?,
            ip_bytes: get(rows, kind::IP_BYTES)?,
            frame_bytes: get(rows, kind::FRAME_BYTES)?,
            payload_bytes: get(rows, kind::PAYLOAD_BYTES)?,
            flags: get(rows, kind::TCP_FLAGS_)?,
            seq: get(rows, kind::TCP_SEQ)?,
            ack: get(rows, kind::TCP_ACK)?,
            icmp_id: some(get(rows, kind::ICMP_ID)),
            fragment: some(get(rows, kind::FRAGMENT_ID)),
            vlan: some(get(rows, kind::VLAN)),
            interface: some(get(rows, kind::INTERFACE)),
        })
    }

    /// The conversation's key, and which end sent this packet.
    fn key(&self, row: usize, context: u32) -> (Key, usize) {
        let protocol = self.protocol.value(row);
        let (src, dst) = (self.src[row], self.dst[row]);
        let (src_port, dst_port) = (self.src_port.value(row), self.dst_port.value(row));
        let icmp_id = self.icmp_id.filter(|ids| ids.is_valid(row)).map_or(0, |ids| ids.value(row));
        let forward = (src, src_port) <= (dst, dst_port) || is_one_way(protocol, src_port);
        let (a, a_port, b, b_port) = match forward {
            true => (src, src_port, dst, dst_port),
            false => (dst, dst_port, src, src_port),
        };
        (Key { a, b, a_port, b_port, protocol, icmp_id, context }, usize::from(!forward))
    }

    fn seen(&self, row: usize, time: i64, from: usize) -> Seen {
        let tcp = self.seq.is_valid(row).then(|| Tcp {
            flags: self.flags.value(row),
            seq: self.seq.value(row),
            ack: self.ack.value(row),
        });
        Seen {
            time,
            from,
            ip_bytes: self.ip_bytes.value(row),
            frame_bytes: self.frame_bytes.value(row),
            payload_bytes: self.payload_bytes.value(row),
            tcp,
            is_fragment: self.fragment.is_some_and(|f| f.is_valid(row)),
        }
    }
}

/// A column that has no value in the whole batch is as good as none.
fn some<A: Array>(column: Option<&A>) -> Option<&A> {
    column.filter(|c| c.null_count() < c.len())
}

/// ICMP messages that nothing answers: their two ends do not swap.
fn is_one_way(protocol: u8, kind: u16) -> bool {
    matches!(protocol, ICMP | ICMP6) && icmp_counterpart(protocol, kind as u8).is_none()
}

impl Transform for Biflow {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let time = batch.time.clone();
        let (rows, acks) = out.absorb(batch);
        let Some(view) = View::new(&rows) else {
            // The plan asks upstream for every column read here.
            unreachable!("biflow without its columns")
        };
        self.hashes.clear();
        for row in 0..rows.num_rows() {
            let context = self.contexts.of(&view, row);
            let (key, from) = view.key(row, context);
            self.hashes.push((key, from, self.table.hash(&key)));
        }
        for (row, (key, from, hash)) in self.hashes.iter().enumerate() {
            self.table.add(key, *hash, &view.seen(row, time[row], *from));
        }
        if !acks.is_empty() {
            self.hold(acks, 0);
        }
    }

    fn on_watermark(&mut self, now: Time) {
        self.input = now;
        if now == Time::END {
            self.table.finish();
        }
    }

    fn due(&self) -> Option<Time> {
        self.table.owes().then_some(self.input)
    }

    fn emit(&mut self, out: &mut Out) {
        let evicted = std::mem::take(&mut self.table.evicted);
        self.counts.add_noted("evicted", evicted);
        let records = self.table.take_owed(BATCH_ROWS);
        let (records, seen): (Vec<_>, Vec<i64>) =
            records.into_iter().map(|(f, reason, seen)| ((f, reason), seen)).unzip();
        let time: ScalarBuffer<i64> = records.iter().map(|(f, _)| f.end).collect::<Vec<_>>().into();
        let contexts = &self.contexts;
        let columns = columns::build(&records, &self.schema, &|flow| contexts.text(flow));
        let rows = weir_core::columns::record(&self.arrow, columns, records.len());
        let acks = self.acks();
        out.make(0, rows, Times::Seen { time, seen: seen.into() }, acks);
    }

    fn watermark(&self, input: Time) -> Time {
        self.table.watermark(input)
    }
}

impl Biflow {
    /// What a record's delivery answers for: every batch not yet settled, since any of them may
    /// have packets in it. When no conversation is left, nothing is held any more.
    fn acks(&mut self) -> Acks {
        let done = self.table.len() == 0 && !self.table.owes();
        let mut all = Acks::none();
        for acks in self.held.iter().flatten() {
            all.join(acks.split());
        }
        if done {
            self.held.drain(..).flatten().for_each(Acks::delivered);
        }
        all
    }

    fn hold(&mut self, acks: Acks, level: usize) {
        if self.held.len() <= level {
            self.held.push(Vec::new());
        }
        self.held[level].push(acks);
        if self.held[level].len() == HELD_PER_LEVEL {
            let mut all = Acks::none();
            self.held[level].drain(..).for_each(|acks| all.join(acks));
            self.hold(all.bundle(), level + 1);
        }
    }
}

/// Acks held on one level before they are bundled.
const HELD_PER_LEVEL: usize = 32;
