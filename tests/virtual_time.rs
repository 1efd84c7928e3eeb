//! `weir test`: graphs run in virtual time, and what a failing test shows.

use std::time::{Duration, Instant};

use super::support::{root, text, weir};

/// Runs the tests of a pipeline given as text; times are taken out of what is printed.
fn run(pipeline: &str, args: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.weir");
    std::fs::write(&path, pipeline).unwrap();
    let output = weir().args(["test"]).arg(&path).args(args).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    let plain = |s: String| {
        let s = s.replace(&path.display().to_string(), "my.weir");
        let line = |l: &str| match l.trim_end().rsplit_once("  ") {
            Some((name, millis)) if millis.ends_with(" ms") => name.to_string(),
            _ => l.to_string(),
        };
        s.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    (code, plain(stdout), plain(stderr))
}

const GRAPH: &str = r#"
param port: int = 443
let flows = pcap("never-read.pcap") | biflow
let talkers = flows
  | where dst.port == port
  | window(5m, lateness: 30s) by src.ip { n = count(), bytes = sum(sent_bytes) }
let out = talkers | http_like
talkers.late | blackhole
"#;

fn graph() -> String {
    GRAPH.replace("http_like", "file(\"/nowhere/at/all\")")
}

const FED: &str = r#"
  feed flows with rows [
    { end: "2026-01-01T00:00:10Z", src.ip: 10.0.0.1, dst.port: 443, sent_bytes: 10KiB },
    { end: "2026-01-01T00:04:10Z", src.ip: 10.0.0.1, dst.port: 443, sent_bytes: 10KiB },
    { end: "2026-01-01T00:02:10Z", src.ip: 10.0.0.2, dst.port: 443, sent_bytes: 1KiB },
    { end: "2026-01-01T00:02:10Z", src.ip: 10.0.0.2, dst.port: 80, sent_bytes: 1KiB },
  ]
"#;

/// No source is read, no file written: neither is there.
#[test]
fn a_window_is_tested_without_waiting_for_it() {
    let pipeline = graph()
        + &format!(
            r#"test "late rows" {{ {FED}
  expect talkers count == 0
  advance 5m
  expect talkers count == 0
  advance 31s
  expect talkers rows [ {{ src.ip: 10.0.0.2, n: 1, bytes: 1KiB }}, {{ src.ip: 10.0.0.1, n: 2, bytes: 20KiB }} ]
  expect talkers any {{ n > 1, src.ip == 10.0.0.1 }}
  expect talkers all {{ n > 0 }}
  expect talkers none {{ src.ip == 10.0.0.3 }}
  expect out count == 2
  feed flows with rows [ {{ end: "2026-01-01T00:01:00Z", src.ip: 10.0.0.1, dst.port: 443 }} ]
  expect talkers.late count == 1
  expect talkers count == 2
}}"#
        );
    let (code, stdout, stderr) = run(&pipeline, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_eq!(stdout, "my.weir\n  ok    late rows\n1 passed, 0 failed");
}

#[test]
fn a_sink_that_fails_is_tried_again() {
    let pipeline = graph()
        + &format!(
            r#"test "away" {{ set port = 80 {FED}
  advance 5m
  fail out for 60s
  advance 31s
  expect out count == 0
  expect out held == 1
  expect out retries > 0
  advance 1m
  expect out count == 1
  expect out held == 0
  expect flows count == 4
}}"#
        );
    let (code, stdout, stderr) = run(&pipeline, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
}

/// Every kind of expectation that does not hold, as a user reads it.
#[test]
fn failures_show_what_was_seen() {
    let expectations = [
        "expect talkers count == 3",
        "expect talkers rows [ { src.ip: 10.0.0.2, n: 1, bytes: 2KiB }, { src.ip: 10.0.0.9 }, { src.ip: 10.0.0.1, n: 2 } ]",
        "expect talkers rows in order [ { src.ip: 10.0.0.1 }, { src.ip: 10.0.0.2 } ]",
        "expect talkers rows [ { src.ip: 10.0.0.1 } ]",
        "expect talkers rows []",
        "expect talkers any { n > 5 }",
        "expect talkers all { n > 1 }",
        "expect talkers none { n > 1 }",
        "expect out retries > 0",
        "expect talkers dropped unread_late == 3",
        "expect talkers.late count > 0",
    ];
    let tests = expectations.iter().enumerate().map(|(n, e)| format!("test \"t{n}\" {{ {FED} advance 6m\n  {e}\n}}\n"));
    let (code, stdout, stderr) = run(&(graph() + &tests.collect::<String>()), &[]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    insta::assert_snapshot!(stdout);
}

#[test]
fn results_are_json_for_machines() {
    let pipeline =
        graph() + "test \"good\" { expect talkers count == 0 }\ntest \"bad\" { expect talkers count == 1 }\n";
    let (code, stdout, _) = run(&pipeline, &["--format", "json"]);
    let rows: Vec<serde_json::Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let said = |n: usize, field: &str| rows[n][field].clone();
    assert_eq!((code, rows.len()), (1, 2));
    assert_eq!((said(0, "test"), said(0, "outcome")), ("good".into(), "passed".into()));
    assert_eq!((said(1, "test"), said(1, "outcome"), said(1, "line")), ("bad".into(), "failed".into(), 10.into()));
}

#[test]
fn a_filter_chooses_by_name() {
    let pipeline =
        graph() + "test \"good\" { expect talkers count == 0 }\ntest \"bad\" { expect talkers count == 1 }\n";
    let (code, stdout, _) = run(&pipeline, &["--filter", "oo"]);
    assert_eq!((code, stdout.as_str()), (0, "my.weir\n  ok    good\n1 passed, 0 failed, 1 left out"));
}

#[test]
fn what_cannot_be_tested_is_a_mistake_like_any_other() {
    for (test, says) in [
        (
            "test \"t\" { feed flows with ndjson(\"fixtures/nothing.ndjson\") }",
            "the fixture `fixtures/nothing.ndjson` is not there",
        ),
        ("test \"t\" { expect nothing count == 1 }", "there is nothing called `nothing`"),
        ("test \"t\" { expect talkers count = 1 ", "is never closed"),
        ("test \"t\" { feed flows with generate(flow) }", "what is fed has to end by itself"),
    ] {
        let (code, _, stderr) = run(&(graph() + test), &[]);
        assert!(code == 2 && stderr.contains(says), "{code} {test}\n{stderr}");
    }
    let output = weir().args(["test", "no/such/place"]).output().unwrap();
    assert_eq!(text(&output).0, 2);
}

/// A fixture without a schema has that of what it stands for.
#[test]
fn a_feed_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let row = r#"{"end":"2026-01-01T00:00:10Z","src":{"ip":"10.0.0.1"},"dst":{"port":443},"sent_bytes":"2KiB"}"#;
    std::fs::write(dir.path().join("rows.ndjson"), format!("{row}\n{row}\n")).unwrap();
    let test = "test \"file\" { feed flows with ndjson(\"rows.ndjson\") | limit(1) advance 6m expect talkers all { bytes == 2KiB } expect flows count == 1 }";
    let path = dir.path().join("my.weir");
    std::fs::write(&path, graph() + test).unwrap();
    let output = weir().arg("test").arg(&path).output().unwrap();
    assert_eq!(text(&output).0, 0, "{:?}", text(&output));
}

/// The bars: a window with late rows under 100 ms, a file of twenty tests under a second.
#[test]
fn twenty_tests_take_less_than_a_second() {
    let tests = (0..20).map(|n| format!("test \"t{n}\" {{ {FED} advance 6m expect talkers count == 2 }}\n"));
    let pipeline = graph() + &tests.collect::<String>();
    let started = Instant::now();
    let (code, stdout, stderr) = run(&pipeline, &[]);
    let took = started.elapsed();
    assert_eq!(code, 0, "{stdout}{stderr}");
    // This program is not optimised, and other tests run beside it: the bar itself is in benches.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn shipped_pipelines_pass_their_tests() {
    let output = weir().args(["test", "pipelines"]).current_dir(root()).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
}
