//! Rows by their entries: `aggregate` makes of them what it makes of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use weir_core::batch::{Batch, Times};
use weir_core::clock::Clock;
use weir_core::component::Places;
use weir_core::ledger::Counts;
use weir_core::{Acks, Build, BuildCx, Out, Time, Transform};
use weir_sources::dogstatsd::about::Sender;
use weir_sources::dogstatsd::decode::{Decoder, Dialect, Payload};
use weir_spec::kinds::metric::METRIC;

use super::plain_rules;

/// Whether rows come by their entries or as plain columns, in whatever kinds and order of tags: `aggregate` gives the
/// same, and refuses the same.
#[test]
fn rows_by_entries_are_aggregated_as_others_are() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut lines = String::new();
    for line in 0..20_000 {
        let (name, tag) = (random.u8(b'a'..b'k') as char, random.u8(0..3));
        // Hardly any name has two kinds, and some values are none.
        let kind = ["c", "g", "ms", "d", "s", "h"][(name as usize + usize::from(random.u8(0..60) == 0)) % 6];
        let value = if random.u8(0..50) == 0 { "nan".to_string() } else { random.u8(0..100).to_string() };
        let mut tags = [
            format!("x:{tag},y:1"),
            format!("y:1,x:{tag}"),
            format!("y:1,x:{tag},y:1"),
            format!(",x:{tag},,y:1"),
            format!("y:1,x:{tag},"),
        ];
        // More of new tags than are put in order at once.
        if (10_000..10_400).contains(&line) {
            tags.iter_mut().for_each(|tags| tags.insert_str(0, &format!("{},", "long".repeat(500))));
        }
        let stamp = if random.u8(0..30) == 0 { "|T1700000000" } else { "" };
        let rate = if random.u8(0..9) == 0 { "|@0.5" } else { "" };
        lines += &format!("{name}:{value}|{kind}{rate}|#{}{stamp}\n", tags[random.usize(0..tags.len())]);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    std::fs::write(&path, lines).unwrap();
    let run = |between: &str, contexts: usize| {
        let pipeline = format!(
            "let d = dogstatsd({path:?})\nd.metrics {between}| aggregate(1000h, contexts_max: {contexts}) | stdout(ndjson)"
        );
        let ledger = directory.path().join("ledger.json");
        let output =
            super::super::support::weir().args(["run", "-e", &pipeline, "--ledger"]).arg(&ledger).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut rows: Vec<Value> = text.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        rows.sort_by_key(Value::to_string);
        let ledger: Value = serde_json::from_slice(&std::fs::read(ledger).unwrap()).unwrap();
        let components = ledger["components"].as_array().unwrap().clone();
        let aggregate = components.into_iter().find(|c| c["component"] == "aggregate").unwrap();
        (rows, aggregate["dropped"].clone())
    };
    for contexts in [1000, 12] {
        let (rows, dropped) = run("", contexts);
        assert!(rows.len() > 10 && dropped["kind_conflict"].as_u64() > Some(10), "{dropped}");
        assert_eq!((rows, dropped), run("| set sample_rate = sample_rate ", contexts));
    }
}

/// A decoder, and the `aggregate` behind it.
struct Aggregating {
    decoder: Decoder,
    transform: Box<dyn Transform>,
    out: Out,
    counts: Arc<Counts>,
}

impl Aggregating {
    fn new() -> Aggregating {
        let params = BTreeMap::new();
        let setting = weir_dsl::Setting::alone("x.weir", &weir::components::SPECS, &params);
        let plan =
            weir_dsl::check(b"let d = dogstatsd()\nd.metrics | aggregate(10s) | blackhole", &setting).plan.unwrap();
        let node = plan.nodes.iter().find(|node| node.spec.name == "aggregate").unwrap();
        let counts = Arc::new(Counts::default());
        let cx = BuildCx {
            node,
            inputs: vec![Arc::new(METRIC.schema())],
            outputs: node.outputs.iter().map(|output| output.stream.schema.clone()).collect(),
            state_bytes: 1 << 20,
            workers: 1,
            places: &Places::default(),
            clock: &Clock::Real,
            bounded: false,
            counts: &counts,
        };
        let Build::Transform(build) = weir_transforms::aggregate::ENTRY.build else { unreachable!() };
        let transform = build(&cx).unwrap();
        let out = Out::new(counts.clone(), vec![(String::new(), vec![]), ("late".into(), vec![])]);
        Aggregating { decoder: Decoder::new(plain_rules(Dialect::Dogstatsd), 1 << 20), transform, out, counts }
    }

    /// Lines that came then, as one batch.
    fn feed(&mut self, lines: &str, now: Time) {
        let (sender, peer) = (Sender::default(), String::new);
        let payload = Payload { bytes: lines.as_bytes(), is_truncated: false, sender: &sender, peer: &peer };
        self.decoder.payload(&payload, now);
        let (rows, times) = self.decoder.metrics.finish(&METRIC.schema());
        assert!(rows.encoded().is_some());
        self.transform.on_batch(Batch::new(rows, Times::InOrder(times), Acks::none()), &mut self.out);
    }

    fn advance(&mut self, now: Time) {
        self.transform.on_watermark(now);
        while self.transform.due().is_some() {
            self.transform.emit(&mut self.out);
        }
    }
}

/// A context that another took the place of is not met again, whichever way rows lead to it.
#[test]
fn a_context_that_was_replaced_is_not_met_again() {
    let second = |seconds: i64| Time((1_700_000_000 + seconds) * 1_000_000_000);
    let mut aggregating = Aggregating::new();
    // A rate behind the tags has no entry.
    aggregating.feed("x:1|g|#t|@1\nx:1|g|#t\ny:1|g|#t|@1\ny:1|g|#t", second(1));
    aggregating.advance(second(10));
    // In the batch at hand, and in the next one.
    aggregating.feed("x:5|c|#t\nx:2|g|#t|@1\nx:2|g|#t\ny:5|c|#t", second(11));
    assert_eq!(aggregating.counts.dropped("kind_conflict"), 2);
    aggregating.feed("x:2|g|#t|@1\nx:2|g|#t\nx:5|c|#t\ny:2|g|#t|@1\ny:2|g|#t", second(12));
    assert_eq!(aggregating.counts.dropped("kind_conflict"), 6);
    // What was given out makes way.
    aggregating.advance(second(20));
    aggregating.feed("x:2|g|#t|@1\nx:2|g|#t", second(21));
    assert_eq!(aggregating.counts.dropped("kind_conflict"), 6);
}
