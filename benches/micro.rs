//! Micro benchmarks: what one thing costs, as the median of several runs.
//!
//!     cargo bench -p weir-benches

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use weir_benches::{RUNS, cpu, report};
use weir_core::batch::{BATCH_ROWS, Batch, Times};
use weir_core::columns::arrow_schema;
use weir_core::component::{Build, BuildCx, Places};
use weir_core::edge::{Limits, edge};
use weir_core::eval::Compiled;
use weir_core::ledger::{Counts, EdgeCounts};
use weir_core::{Acks, Clock, Out, Time};
use weir_sources::dogstatsd::about::Sender;
use weir_sources::dogstatsd::decode::{Decoder, Dialect, Payload, Rules};
use weir_sources::dogstatsd::rows::Finished;
use weir_spec::expr::{Comparison, Expr, Node};
use weir_spec::kinds::metric::METRIC;
use weir_spec::plan::OnFull;
use weir_spec::value::Cidr;
use weir_spec::{Field, Schema, Type};
use weir_transforms::resolve::ranges::Ranges;

/// What looking up an address may take.
const LOOKUP_NANOS_MAX: f64 = 200.0;

fn main() {
    hop();
    filter();
    lines();
    check(200);
    check(1000);
    networks();
    let flow = flow_bytes();
    println!("{:<44} {flow:>10} B", "one conversation in the table");
}

/// Addresses looked up among a million networks of a thousand teams.
fn networks() {
    const NETWORKS: u32 = 1_000_000;
    const LOOKUPS: u32 = 1_000_000;
    // Any odd number times another goes through all of them in an order without a pattern.
    let scattered = |n: u32| n.wrapping_mul(0x9e37_79b1);
    let network = |n: u32| {
        let [a, b, c, d] = scattered(n).to_be_bytes();
        let prefix = 96 + 20 + (n % 13) as u8;
        let base = weir_spec::value::ipv4([a, b, c, d]);
        ((u128::from_be_bytes(base) & (u128::MAX << (128 - prefix)), prefix), n % 1000)
    };
    let all: BTreeMap<(u128, u8), u32> = (0..NETWORKS).map(network).collect();
    let cidr = |((base, prefix), team): ((u128, u8), u32)| (Cidr { base: base.to_be_bytes(), prefix }, team);
    let ranges = Ranges::new(all.into_iter().map(cidr).collect(), |inner, _| inner);
    let run = || {
        let before = cpu();
        let found = (0..LOOKUPS).filter(|n| {
            let [a, b, c, d] = scattered(n.wrapping_add(77)).to_be_bytes();
            ranges.find(&weir_spec::value::ipv4([a, b, c, d])).is_some()
        });
        assert!(found.count() > 0);
        (cpu() - before).as_nanos() as f64 / f64::from(LOOKUPS)
    };
    let median = report("an address among a million networks", "ns", (0..RUNS).map(|_| run()).collect());
    assert!(median < LOOKUP_NANOS_MAX, "{median} ns, and {LOOKUP_NANOS_MAX} are allowed");
}

fn flow_bytes() -> u64 {
    let spec = weir::components::SPECS.iter().find(|s| s.name == "biflow");
    let mut values = weir_spec::Values::default();
    values.set("flows_max", weir_spec::Value::Int(1));
    spec.map_or(0, |s| match (s.memory)(&values).state {
        weir_spec::memory::StateMemory::Bytes(bytes) => bytes,
        _ => 0,
    })
}

fn rows(n: usize) -> (Schema, RecordBatch) {
    let fields = vec![Field::new("a", Type::INT), Field::new("b", Type::INT)];
    let schema = Schema { fields };
    let column = |step: i64| -> ArrayRef { Arc::new((0..n as i64).map(|i| i * step % 1000).collect::<Int64Array>()) };
    let batch = RecordBatch::try_new(arrow_schema(&schema), vec![column(7), column(11)]);
    (schema, batch.expect("two columns of one length"))
}

/// A batch through a bounded queue between two tasks on one thread.
fn hop() {
    const HOPS: usize = 200_000;
    let (_, rows) = rows(16);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let run = || {
        let limits = Limits { batches_max: 8, bytes_max: 4 << 20 };
        let (mut sender, mut receiver) =
            edge(limits, OnFull::Block, Arc::new(EdgeCounts::default()), Arc::new(Counts::default()));
        let time: Vec<i64> = vec![0; 16];
        let batches: Vec<Batch> =
            (0..HOPS).map(|_| Batch::new(rows.clone(), Times::InOrder(time.clone().into()), Acks::none())).collect();
        let before = cpu();
        runtime.block_on(async {
            let produce = async {
                for batch in batches {
                    std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
                    sender.push(batch);
                }
                sender.advance(Time::END);
            };
            let consume = async {
                let mut taken = 0;
                while let Ok(item) = std::future::poll_fn(|cx| receiver.poll_next(cx)).await {
                    taken += item.batch.map_or(0, |b| b.len());
                    if item.watermark == Time::END {
                        break;
                    }
                }
                assert_eq!(taken, HOPS * 16);
            };
            tokio::join!(produce, consume);
        });
        (cpu() - before).as_nanos() as f64 / HOPS as f64
    };
    report("a bounded hop of a batch", "ns", (0..RUNS).map(|_| run()).collect());
}

/// `where a > b` over two integer columns.
fn filter() {
    let (schema, rows) = rows(BATCH_ROWS);
    let column = |name| Box::new(Expr::column(name, Type::INT));
    let node = Node::Compare(Comparison::Greater, column("a"), column("b"));
    let condition = Compiled::new(&Expr { ty: Type::Bool, node }, &schema, &Arc::new(Counts::default()));
    let run = || {
        let before = cpu();
        let mut kept = 0;
        for _ in 0..5_000 {
            kept += condition.mask(&rows).true_count();
        }
        assert!(kept > 0);
        (5_000 * BATCH_ROWS) as f64 / (cpu() - before).as_secs_f64() / 1e6
    };
    report("`where` comparing two integer columns", "M rows/s", (0..RUNS).map(|_| run()).collect());
}

/// DogStatsD from datagrams to columns, and from columns into the aggregates of ten thousand contexts.
fn lines() {
    let datagrams = datagrams(200_000);
    let (mut decoded, mut aggregated) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (nanos, batches) = decode(&datagrams);
        decoded.push(nanos);
        aggregated.push(aggregate(batches));
    }
    report("a line of DogStatsD into columns", "ns", decoded);
    report("a metric into its aggregate", "ns", aggregated);
}

/// Nanoseconds a line, and what came of them.
fn decode(datagrams: &[Vec<u8>]) -> (f64, Vec<Finished>) {
    let (sender, peer) = (Sender::default(), String::new);
    let rules =
        Rules { dialect: Dialect::Dogstatsd, tags: vec![], eol_required: false, timestamps: true, mappings: vec![] };
    let mut decoder = Decoder::new(rules, 64 << 20);
    let schema = METRIC.schema();
    let mut batches = Vec::new();
    let before = cpu();
    for bytes in datagrams {
        decoder.payload(&Payload { bytes, is_truncated: false, sender: &sender, peer: &peer }, Time(1));
        if decoder.is_full() {
            batches.push(decoder.metrics.finish(&schema));
        }
    }
    batches.push(decoder.metrics.finish(&schema));
    ((cpu() - before).as_nanos() as f64 / decoder.lines as f64, batches)
}

/// Nanoseconds a row, once every context is known.
fn aggregate(batches: Vec<Finished>) -> f64 {
    let params = BTreeMap::new();
    let setting = weir_dsl::Setting::alone("my.weir", &weir::components::SPECS, &params);
    let checked = weir_dsl::check(b"let d = dogstatsd()\nd.metrics | aggregate(10s) | blackhole\n", &setting);
    let plan = checked.plan.expect("a pipeline without mistakes");
    let node = plan.nodes.iter().find(|node| node.spec.name == "aggregate").expect("the one that it has");
    let counts = Arc::new(Counts::default());
    let cx = BuildCx {
        node,
        inputs: vec![Arc::new(METRIC.schema())],
        outputs: node.outputs.iter().map(|output| output.stream.schema.clone()).collect(),
        state_bytes: 1 << 30,
        workers: 1,
        places: &Places { read: "".into(), write: "".into() },
        clock: &Clock::Real,
        bounded: false,
        counts: &counts,
    };
    let Build::Transform(build) = weir_transforms::aggregate::ENTRY.build else { unreachable!("it is a transform") };
    let mut aggregate = build(&cx).expect("all that it needs");
    let mut out = Out::new(counts.clone(), vec![(String::new(), vec![]), ("late".into(), vec![])]);
    let batch = |(rows, times)| Batch::new(rows, Times::InOrder(times), Acks::none());
    let mut first: Vec<Batch> = batches.into_iter().map(batch).collect();
    let rest = first.split_off(CONTEXTS / BATCH_ROWS + 1);
    first.into_iter().for_each(|batch| aggregate.on_batch(batch, &mut out));
    let rows: usize = rest.iter().map(Batch::len).sum();
    let before = cpu();
    rest.into_iter().for_each(|batch| aggregate.on_batch(batch, &mut out));
    let nanos = (cpu() - before).as_nanos() as f64 / rows as f64;
    assert_eq!(counts.dropped("kind_conflict"), 0, "every row is taken in");
    nanos
}

const CONTEXTS: usize = 10_000;

/// Datagrams of ten lines, as services send them: each context once, then in an order without a pattern.
fn datagrams(lines: usize) -> Vec<Vec<u8>> {
    let keys = ["status", "tenant", "route", "host", "version"];
    let names = ["http.requests", "queue.size", "db.latency", "cache.hits", "grpc.bytes"];
    let line = |at: usize| {
        let n = if at < CONTEXTS { at } else { (at as u32).wrapping_mul(0x9e37_79b1) as usize % CONTEXTS };
        // Each name has one type.
        let name = n % 250;
        let kind = ["c", "c", "c", "g", "d", "ms", "c|@0.5"][name % 7];
        let value = if name % 7 < 3 { format!("{}", at % 100) } else { format!("{}.{:03}", at % 977, n % 1000) };
        let mut text = format!("{}_{name}:{value}|{kind}|#env:e{},shard:{}", names[name % 5], n % 3, n / 250);
        (0..n % 6).for_each(|tag| {
            let key = keys[(tag + n) % 5];
            text += &format!(",{key}:{key}-{}", n * (tag + 7) % 400);
        });
        text
    };
    let lines: Vec<String> = (0..lines).map(line).collect();
    lines.chunks(10).map(|lines| lines.join("\n").into_bytes()).collect()
}

/// `weir check` of that many lines, without the process around it.
fn check(lines: usize) {
    let line =
        "let w0 = flows | where dst.port == 443 and rtt > 5ms | window(5m) by src.ip { n = count() }\nw0 | blackhole\n";
    let mut text = String::from("let flows = pcap(\"a.pcap\") | biflow\n");
    (0..lines / 2).for_each(|n| text += &line.replace("w0", &format!("w{n}")));
    let params = BTreeMap::new();
    let setting = weir_dsl::Setting::alone("my.weir", &weir::components::SPECS, &params);
    let run = || {
        let started = Instant::now();
        let checked = weir_dsl::check(text.as_bytes(), &setting);
        assert!(checked.diagnostics.iter().all(|d| d.code.0 == "E0317"), "{:?}", checked.diagnostics.first());
        started.elapsed().as_secs_f64() * 1e3
    };
    report(&format!("`check` of {} lines", text.lines().count()), "ms", (0..RUNS).map(|_| run()).collect());
}
