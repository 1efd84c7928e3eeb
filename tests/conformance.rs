//! What every component in the table has to keep, run over the table: bounds, ledger, end, watermark,
//! acks, cancelling. A component gets here by being in the table, with its first example as its use.

mod probes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weir::components::ENTRIES;
use weir_core::batch::BATCH_ROWS;
use weir_core::component::Places;
use weir_core::graph::Setup;
use weir_core::ledger::{Health, Ledger};
use weir_core::{Clock, Graph, Report};
use weir_dsl::Setting;
use weir_spec::memory::EDGE_BATCHES_MAX;
use weir_spec::{ComponentSpec, Shape};

use probes::{Behind, Ending, Scene};

const ROWS: usize = 12_000;

/// One run and what was seen of it.
struct Ran {
    scene: Arc<Scene>,
    report: Report,
}

impl Ran {
    fn ledger(&self) -> &Ledger {
        &self.report.ledger
    }

    /// The payloads as lines, in an order of their own: between keys and inputs none is promised.
    fn lines(&self) -> Vec<String> {
        let seen = self.scene.seen.lock().unwrap();
        let mut lines: Vec<String> = String::from_utf8_lossy(&seen.payload).lines().map(str::to_string).collect();
        lines.sort();
        lines
    }
}

/// Every component but the sources, with a pipeline that uses it on made-up packets.
fn uses(feed: &str) -> Vec<(&'static ComponentSpec, String)> {
    let stages = ENTRIES.iter().filter(|e| e.spec.shape != Shape::Source);
    stages.map(|e| (e.spec, probed(e.spec, feed))).collect()
}

/// The first example, fed by probes, watched, and written as JSON.
fn probed(spec: &ComponentSpec, feed: &str) -> String {
    let example = spec.examples.first().unwrap_or_else(|| panic!("`{}` has no example", spec.name));
    let mut text = String::new();
    let mut rest = *example;
    while let Some(at) = rest.find("pcap(\"") {
        let end = at + rest[at..].find(')').expect("an example closes its brackets") + 1;
        text += &rest[..at];
        text += feed;
        rest = &rest[end..];
    }
    text += rest;
    let text = text.replace("internal(10s)", &feed.replace("packet", "metric"));
    let text = text.replace("ebpf(replay: \"shop.flows\")", &feed.replace("packet", "flow"));
    let json = text.replace("| stdout(ndjson)", "| stdout").replace("| stdout", "| watch | stdout(ndjson)");
    match spec.shape {
        Shape::Sink if spec.name != "stdout" => {
            json.replace(&format!("| {}", spec.name), &format!("| watch | {}", spec.name))
        }
        _ => json,
    }
}

fn bounded_feed(batch_rows: usize) -> String {
    format!("generate(packet, rows: {ROWS}, every: 120ms) | ticket | cut({batch_rows})")
}

/// Runs a pipeline among probes, with time that jumps whenever nothing moves.
fn run(pipeline: &str, behind: Behind, ending: Ending, stop_after: Option<Duration>) -> Ran {
    let table = probes::table();
    let specs: Vec<&'static ComponentSpec> = table.iter().map(|e| e.spec).collect();
    let params = BTreeMap::new();
    let setting = Setting::alone("my.weir", &specs, &params);
    let checked = weir_dsl::check(pipeline.as_bytes(), &setting);
    let plan = checked.plan.unwrap_or_else(|| panic!("{pipeline}\n{:#?}", checked.diagnostics));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let scene = Scene::new(behind, ending);
    let dir = tempfile::tempdir().unwrap();
    let places = Places { read: fixtures(dir.path()), write: dir.path().to_path_buf() };
    let setup = Setup { table: &table, places: &places, clock: Clock::Real, stand_ins: None };
    let report = runtime.block_on(async {
        let graph = Graph::build(&plan, &setup).unwrap_or_else(|faults| panic!("{pipeline}\n{faults:?}"));
        let handle = graph.handle();
        let stopper = tokio::spawn(async move {
            if let Some(after) = stop_after {
                tokio::time::sleep(after).await;
                handle.stop.stop();
            }
        });
        let report = graph.run().await;
        stopper.abort();
        report
    });
    Ran { scene, report }
}

/// A folder with the files that examples of sources name.
fn fixtures(dir: &Path) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/data");
    for name in ["shop.flows", "teams.csv"] {
        std::fs::copy(data.join(name), dir.join(name)).unwrap();
    }
    let capture = data.join("shop.pcap.gz");
    std::os::unix::fs::symlink(capture, dir.join("shop.pcap.gz")).unwrap();
    let flow = |n: u32| {
        format!(
            "{{\"start\":\"2026-01-01T00:00:{:02}Z\",\"end\":\"2026-01-01T00:01:{:02}Z\",\"protocol\":\"tcp\"}}\n",
            n % 7,
            n
        )
    };
    std::fs::write(dir.join("flows.ndjson"), (0..60).map(flow).collect::<String>()).unwrap();
    dir.to_path_buf()
}

/// Rows that went into tables and windows, told from the rows that came out of them where they can be.
fn recount(component: &str, rows: &[Value]) -> Option<u64> {
    let sum = |columns: &[&str]| {
        let each = rows.iter().flat_map(|row| columns.iter().map(move |c| row[*c].as_u64().unwrap_or(0)));
        each.sum()
    };
    match component {
        "biflow" => Some(sum(&["sent_packets", "received_packets"])),
        "window" => Some(sum(&["packets"])),
        // Made-up halves do not meet, and what is no half passes.
        "pair" => {
            Some(rows.iter().filter(|row| ["src", "dst"].iter().any(|told| row["observer"] == *told)).count() as u64)
        }
        _ => None,
    }
}

#[test]
fn every_component_shows_how_it_is_used() {
    for entry in ENTRIES.iter() {
        let spec = entry.spec;
        assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}: summary", spec.name);
        assert!(spec.examples.iter().any(|e| e.contains(spec.name)), "{}: no example shows it", spec.name);
        for option in spec.options {
            assert!(option.doc.ends_with('.'), "{}: option {}: `{}`", spec.name, option.name, option.doc);
        }
    }
}

/// Ledger and end: everything that went in is accounted for, nothing is held, and what went into
/// state comes out again.
#[test]
fn rows_are_accounted_for_to_the_end() {
    for (spec, pipeline) in uses(&bounded_feed(BATCH_ROWS)) {
        let ran = run(&pipeline, Behind::Delivers, Ending::Flush, None);
        let ledger = ran.ledger();
        assert!(ran.report.faults.is_empty(), "{}: {:?}", spec.name, ran.report.faults);
        assert!(ledger.balanced, "{}: {ledger:#?}", spec.name);
        assert!(ledger.components.iter().all(|c| c.held == 0), "{}: {ledger:#?}", spec.name);
        assert!(ledger.edges.iter().all(|e| e.queued == 0), "{}: {ledger:#?}", spec.name);
        let seen = ran.scene.seen.lock().unwrap();
        let tickets = ledger.components.iter().filter(|c| c.component == "ticket");
        assert_eq!(seen.fed, tickets.map(|c| c.out).sum::<u64>(), "{}", spec.name);
        let watched: u64 = ledger.components.iter().filter(|c| c.component == "watch").map(|c| c.input).sum();
        assert!(watched > 0 && seen.watched == watched, "{}: {} rows watched", spec.name, seen.watched);
        drop(seen);
        let rows: Vec<Value> = ran.lines().iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
        for component in ledger.components.iter().filter(|c| c.absorbed > 0 && c.component == spec.name) {
            match recount(spec.name, &rows) {
                Some(again) => assert_eq!(again, component.absorbed, "`{}` says it absorbed so many", spec.name),
                None => {
                    assert_eq!(component.absorbed, component.input, "`{}` absorbs all or tells how many", spec.name)
                }
            }
        }
    }
}

/// The watermark never goes back, no row comes after it unless it can be told to be late, and the
/// end is said once a reader.
#[test]
fn promises_of_time_are_kept() {
    for (spec, pipeline) in uses(&bounded_feed(700)) {
        let ran = run(&pipeline, Behind::Delivers, Ending::Flush, None);
        let seen = ran.scene.seen.lock().unwrap();
        assert_eq!(seen.broken, Vec::<String>::new(), "{}", spec.name);
        let watches = pipeline.matches("| watch").count() as u64;
        assert_eq!(seen.ends, watches, "{}: the end is said once", spec.name);
    }
}

/// However the input is cut into batches, the same rows come out.
#[test]
fn batches_may_be_cut_anywhere() {
    for (spec, pipeline) in uses(&bounded_feed(BATCH_ROWS)) {
        let whole = run(&pipeline, Behind::Delivers, Ending::Flush, None).lines();
        assert!(!whole.is_empty() || spec.name == "blackhole", "{}: nothing came out", spec.name);
        for rows in [1009, 64] {
            let pipeline = probed(spec, &bounded_feed(rows));
            let cut = run(&pipeline, Behind::Delivers, Ending::Flush, None).lines();
            assert!(whole == cut, "{}: other rows in batches of {rows}", spec.name);
        }
    }
}

/// Acks: a ticket is settled once, as delivered only if everything under it was.
#[test]
fn tickets_are_settled_as_the_sinks_say() {
    for (spec, pipeline) in uses(&bounded_feed(BATCH_ROWS)) {
        for behind in [Behind::Delivers, Behind::Comes, Behind::Leaves, Behind::Fails] {
            let ran = run(&pipeline, behind, Ending::Flush, None);
            let (delivered, failed) = ran.scene.tally.counts();
            let opened = ran.scene.seen.lock().unwrap().tickets;
            assert_eq!(delivered + failed, opened, "{}, {behind:?}: every ticket once", spec.name);
            let ledger = ran.ledger();
            assert!(ledger.balanced, "{}, {behind:?}: {ledger:#?}", spec.name);
            let sinks = ledger.components.iter().filter(|c| c.input > 0 && c.health.is_some());
            let health: Vec<Health> = sinks.filter_map(|c| c.health).collect();
            let expected = if behind == Behind::Fails { Health::Down } else { Health::Fine };
            assert!(
                !health.is_empty() && health.iter().all(|h| *h == expected),
                "{}, {behind:?}: {health:?}",
                spec.name
            );
            match behind {
                Behind::Fails => {
                    assert!(failed > 0 && !ran.report.faults.is_empty(), "{}: a failure is told", spec.name);
                    assert!(!ledger.undelivered().is_empty(), "{}: {ledger:#?}", spec.name);
                    assert!(delivered == 0 || ends_by_itself(spec), "{}: {delivered} of {opened} delivered", spec.name);
                }
                _ => assert_eq!((failed, ran.report.faults.len()), (0, 0), "{}, {behind:?}", spec.name),
            }
        }
    }
}

/// Whether a component ends its input by itself, so that what is behind its end is dealt with.
fn ends_by_itself(spec: &ComponentSpec) -> bool {
    spec.name == "limit"
}

/// Bounds and cancelling: behind a sink that hangs everything comes to rest within its limits, no
/// ticket is called delivered, and a stop ends the run at its deadline with every ticket settled.
#[test]
fn what_hangs_is_bounded_and_can_be_stopped() {
    let feed = "generate(packet, every: 20s) | ticket";
    for (spec, pipeline) in uses(feed) {
        let ran = run(&pipeline, Behind::Hangs, Ending::Flush, Some(Duration::from_secs(3600)));
        let ledger = ran.ledger();
        assert!(ledger.balanced, "{}: {ledger:#?}", spec.name);
        let room = ((EDGE_BATCHES_MAX + 1) * BATCH_ROWS) as u64;
        for edge in &ledger.edges {
            assert!(edge.queued <= room, "{}: {edge:?} above {room}", spec.name);
        }
        let (delivered, failed) = ran.scene.tally.counts();
        let opened = ran.scene.seen.lock().unwrap().tickets;
        assert_eq!(delivered + failed, opened, "{}: every ticket once", spec.name);
        assert!(
            delivered == 0 || ends_by_itself(spec),
            "{}: {delivered} delivered behind a sink that hangs",
            spec.name
        );
        if !ends_by_itself(spec) {
            assert!(!ran.report.faults.is_empty(), "{}: the deadline is told", spec.name);
        }
    }
}

/// A healthy graph that is stopped drains: everything made is delivered.
#[test]
fn a_stop_drains() {
    // Time moves only where nothing else does, so this feed is asleep when the stop comes.
    for (spec, pipeline) in uses("generate(packet, rows: 5000, every: 50ms) | ticket") {
        // Each payload is tried four times, and there are several.
        let pipeline = format!("settings(drain: 1m)\n{pipeline}");
        let ran = run(&pipeline, Behind::Comes, Ending::Flush, Some(Duration::from_millis(1)));
        let ledger = ran.ledger();
        assert!(ran.report.faults.is_empty() && ledger.undelivered().is_empty(), "{}: {ledger:#?}", spec.name);
        let (_, failed) = ran.scene.tally.counts();
        assert_eq!(failed, 0, "{}", spec.name);
    }
}

/// An input that fails or will come again is no end: nothing half is given out as whole.
#[test]
fn what_has_not_ended_is_not_flushed() {
    for (spec, pipeline) in uses(&bounded_feed(BATCH_ROWS)) {
        let whole = run(&pipeline, Behind::Delivers, Ending::Flush, None);
        for ending in [Ending::Replayable, Ending::Panics] {
            let ran = run(&pipeline, Behind::Delivers, ending, None);
            let (delivered, failed) = ran.scene.tally.counts();
            let seen = ran.scene.seen.lock().unwrap();
            assert_eq!(delivered + failed, seen.tickets, "{}, {ending:?}: every ticket once", spec.name);
            // `limit` ends by itself, so what is behind it has ended.
            assert!(seen.ends == 0 || ends_by_itself(spec), "{}, {ending:?}: an end that was none", spec.name);
            assert_eq!(ran.report.faults.is_empty(), ending == Ending::Replayable, "{}, {ending:?}", spec.name);
            drop(seen);
            let keeps = whole.ledger().components.iter().any(|c| c.absorbed > 0);
            let (part, all) = (ran.lines(), whole.lines());
            assert!(part.iter().all(|line| all.binary_search(line).is_ok()), "{}, {ending:?}: half a row", spec.name);
            assert!(!keeps || failed > 0, "{}, {ending:?}: open state was acknowledged", spec.name);
        }
    }
}

/// Sources read to their end from what their example names, keep time's promises and their ledger.
#[test]
fn sources_end_and_account_for_what_they_read() {
    for entry in ENTRIES.iter().filter(|e| e.spec.shape == Shape::Source) {
        // What listens or asks the kernel is run on what is given to it, and what never ends is stopped.
        let ends = |example: &&&str| !example.contains("listen:") && !example.starts_with("ebpf(30s)");
        let ends = entry.spec.examples.iter().find(ends);
        let example = ends.unwrap_or_else(|| panic!("`{}` has no example", entry.spec.name));
        let stop = (entry.spec.name == "internal").then_some(Duration::from_secs(35));
        let pipeline = example.replace("| stdout", "| watch | stdout(ndjson)");
        for behind in [Behind::Delivers, Behind::Comes, Behind::Leaves, Behind::Fails] {
            let ran = run(&pipeline, behind, Ending::Flush, stop);
            let ledger = ran.ledger();
            assert!(ledger.balanced, "{}: {ledger:#?}", entry.spec.name);
            assert_eq!(ran.report.faults.is_empty(), behind != Behind::Fails, "{}: {behind:?}", entry.spec.name);
            let seen = ran.scene.seen.lock().unwrap();
            assert_eq!(seen.broken, Vec::<String>::new(), "{}", entry.spec.name);
            assert!(seen.watched > 0, "{}: the fixture has no rows", entry.spec.name);
        }
        let hung = run(&pipeline, Behind::Hangs, Ending::Flush, Some(Duration::from_secs(3600)));
        assert!(hung.ledger().balanced, "{}: {:#?}", entry.spec.name, hung.ledger());
    }
}
