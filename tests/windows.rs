//! Windows against a plain reference: any order within lateness, any cut into batches, any number
//! of workers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::support::run;

const WIDTH: i64 = 10;

#[derive(Clone, Debug)]
struct Row {
    /// Seconds.
    at: i64,
    key: u8,
    n: i64,
}

/// Count, sum and largest by window and key.
type Sums = BTreeMap<(i64, u8), (i64, i64, i64)>;

/// Sums by (window, key), and how many rows were late: written from the definition.
fn reference(rows: &[Row], lateness: i64) -> (Sums, usize) {
    let mut sums = Sums::new();
    let mut late = 0;
    let mut latest = i64::MIN;
    for row in rows {
        let start = row.at.div_euclid(WIDTH) * WIDTH;
        if latest >= start + WIDTH + lateness {
            late += 1;
        } else {
            let sum = sums.entry((start, row.key)).or_insert((0, 0, i64::MIN));
            *sum = (sum.0 + 1, sum.1 + row.n, sum.2.max(row.n));
        }
        latest = latest.max(row.at);
    }
    (sums, late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn windows_equal_the_reference(
        raw in prop::collection::vec((0i64..120, -15i64..1, 0u8..4, -50i64..50), 1..120),
        lateness in 1i64..10,
        workers in 1usize..4,
    ) {
        let rows: Vec<Row> = raw.iter().enumerate()
            .map(|(i, (_, jitter, key, n))| Row { at: (i as i64) + jitter + 100, key: *key, n: *n })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.ndjson");
        let line = |r: &Row| {
            let at = weir_spec::units::time(r.at * 1_000_000_000);
            format!("{{\"at\":\"{at}\",\"key\":\"k{}\",\"n\":{}}}\n", r.key, r.n)
        };
        std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
        let path = path.display().to_string();
        let pipeline = format!(
            "settings(workers: {workers})\n\
             let w = ndjson({path:?}, as: {{ at: time, key: string, n: int }}) \
             | window({WIDTH}s, lateness: {lateness}s) by key {{ c = count(), s = sum(n), m = max(n) }}\n\
             w | stdout(ndjson)\nw.late | blackhole"
        );
        let got = run(&pipeline);
        prop_assert_eq!(got.code, 0, "{}", got.stderr);
        let mut sums = BTreeMap::new();
        for row in got.rows() {
            let start = weir_spec::units::parse_time(row["window"]["start"].as_str().unwrap()).unwrap() / 1_000_000_000;
            let key = row["key"].as_str().unwrap()[1..].parse::<u8>().unwrap();
            let number = |name: &str| row[name].as_i64().unwrap();
            let before = sums.insert((start, key), (number("c"), number("s"), number("m")));
            prop_assert!(before.is_none(), "a window came twice");
        }
        let (expected, late) = reference(&rows, lateness);
        prop_assert_eq!(sums, expected);
        prop_assert_eq!(got.count("blackhole", "in"), late as u64);
    }
}

/// A client that sends lines with times of their own does not open windows without end, and others do not lose theirs.
#[test]
fn windows_far_ahead_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let stamped = (0..60_000).map(|n| format!("a:1|g|T{}\n", 10_000_000 + n * 10));
    std::fs::write(&path, stamped.collect::<String>()).unwrap();
    let pipeline = format!(
        r#"settings(memory: 64MiB)
           let d = dogstatsd()
           let points = d.metrics | aggregate(10s, contexts_max: 1000)
           let counted = points | window(10s) by name {{ n = count() }}
           counted | blackhole
           test "windows ahead" {{
             feed d.metrics with dogstatsd({path:?})
             expect counted dropped windows_full > 30000
             expect counted dropped windows_full < 58976
             feed d.metrics with dogstatsd("x:1|g")
             advance 1m
             expect counted any {{ name == "x", n == 1 }}
           }}"#
    );
    let (code, stdout, stderr) = super::support::run_tests(&pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// What comes all at once for a long time is not far ahead: points of half an hour, in windows of a second.
#[test]
fn windows_of_what_comes_at_once_are_not_far_ahead() {
    let stamped: String = (1..2_000).map(|n| format!(r"a:1|g|T{n}\n")).collect();
    let pipeline = format!(
        r#"let d = dogstatsd()
           let counted = d.metrics | aggregate(1h) | window(1s) by name {{ n = count(), half = p50(value) }}
           counted | blackhole
           test "each second" {{
             feed d.metrics with dogstatsd("{stamped}")
             advance 2h
             expect counted dropped windows_full == 0
             expect counted count == 1999
           }}"#
    );
    let (code, stdout, stderr) = super::support::run_tests(&pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// Each number is a point of its own; what is absent is none, durations are seconds, and sums of points are those
/// of the rows.
#[test]
fn numbers_of_a_window_become_series() {
    let flows = r#"let windows = pcap("pipelines/data/shop.pcap.gz") | biflow
        | window(1m) by src.ip, port = dst.port { bytes = sum(sent_bytes), n = count(), rtt = p95(rtt) }
        windows | stdout(ndjson)
        windows | to_series("net.", counts: [bytes, n], gauges: [rtt]) | file("{dir}/series")"#;
    let dir = tempfile::tempdir().unwrap();
    let run = run(&flows.replace("{dir}", dir.path().to_str().unwrap()));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let text = std::fs::read_to_string(dir.path().join("series")).unwrap();
    let points: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut expected = Vec::new();
    for row in run.rows() {
        let tags = [format!("port:{}", row["port"]), format!("src.ip:{}", row["src"]["ip"].as_str().unwrap())];
        for (name, kind, unit) in [("bytes", "count", "byte"), ("n", "count", ""), ("rtt", "gauge", "second")] {
            let Some(value) = row[name].as_f64() else { continue };
            expected.push((row["window"]["start"].clone(), format!("net.{name}"), kind, unit, value, tags.clone()));
        }
    }
    assert!(expected.len() > 3 && expected.iter().any(|(_, name, ..)| name == "net.rtt"), "{expected:?}");
    for (time, name, kind, unit, value, tags) in &expected {
        let is_it = |point: &&serde_json::Value| {
            point["name"] == *name && point["time"] == *time && point["tags"] == serde_json::json!(tags)
        };
        let found: Vec<_> = points.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{name} {tags:?}");
        assert_eq!((found[0]["kind"].as_str(), found[0]["unit"].as_str().unwrap_or("")), (Some(*kind), *unit));
        assert_eq!((found[0]["value"].as_f64(), found[0]["interval"].as_f64()), (Some(*value), Some(60.0)));
    }
    assert_eq!(points.len(), expected.len());
    assert_eq!(run.count("to_series", "made"), points.len() as u64);
}
