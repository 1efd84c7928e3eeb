//! What stages do with conversations.

use super::support::{root, run, run_tests};

const EACH_END: &str = r#"
let seen = ndjson("seen.ndjson", as: flow)
let views = seen | each_end

views | stdout(ndjson)

test "of both ends each tells what it counted itself" {
  feed seen with rows [
    {
      end: "2026-01-01T00:00:01Z", observer: "both",
      src.ip: 10.0.0.1, src.port: 5000, src.pid: 1, src.tags: ["team:a"],
      dst.ip: 10.0.0.2, dst.port: 80, dst.pid: 2, dst.tags: ["team:b"],
      sent_packets: 10, received_packets: 7, dst_received_packets: 8, dst_sent_packets: 9, sent_retransmits: 2,
    },
  ]
  expect views rows [
    { src.port: 5000, initiated: true, observer: "src", sent_packets: 10, received_packets: 7, src.pid: 1, sent_retransmits: 2 },
    { src.port: 80, initiated: false, observer: "src", sent_packets: 9, received_packets: 8, src.pid: 2 },
  ]
  expect views all { coalesce(dst_sent_packets, -1) == -1 and coalesce(dst_received_packets, -1) == -1 }
  expect views any { src.tags["team"] == "b" and dst.tags["team"] == "a" }
}

test "one end alone tells once" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "dst", src.port: 5000, dst.port: 80, dst.pid: 2, sent_packets: 3, received_packets: 4, dst.original.port: 8080 },
    { end: "2026-01-01T00:00:02Z", observer: "src", src.port: 5001, dst.port: 80, src.cgroup: 7, sent_packets: 5, received_packets: 6 },
    { end: "2026-01-01T00:00:03Z", unattributed: true, sent_packets: 1 },
  ]
  expect views count == 3
  expect views any { src.port == 80 and src.pid == 2 and sent_packets == 4 and received_packets == 3 and not initiated }
  expect views any { src.port == 5001 and initiated and src.cgroup == 7 and sent_packets == 5 }
  expect views any { unattributed and sent_packets == 1 and coalesce(src.port, 1) == 1 }
}
"#;

#[test]
fn each_end_tells_its_own_count() {
    let (code, stdout, stderr) = run_tests(EACH_END);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("2 passed"));
}

/// Of packets seen on the way both ends are told, and they agree.
#[test]
fn each_end_of_a_capture_is_the_other_ones_mirror() {
    let capture = root().join("pipelines/data/shop.pcap.gz");
    let rows = run(&format!("pcap(\"{}\") | biflow | each_end | stdout(ndjson)", capture.display())).rows();
    let sum = |initiated: bool, column: &str| -> u64 {
        let of = rows.iter().filter(|row| row["initiated"] == initiated);
        of.map(|row| row[column].as_u64().unwrap_or(0)).sum()
    };
    let count = |initiated: bool| rows.iter().filter(|row| row["initiated"] == initiated).count();
    assert!(count(true) > 0 && count(true) == count(false));
    for what in ["packets", "bytes", "payload_bytes", "retransmits", "retransmit_bytes"] {
        let (sent, received) = (format!("sent_{what}"), format!("received_{what}"));
        assert_eq!(sum(true, &sent), sum(false, &received), "{what}");
        assert_eq!(sum(true, &received), sum(false, &sent), "{what}");
    }
    assert!(sum(true, "sent_packets") > 0);
}

const PAIR: &str = r#"
let seen = ndjson("seen.ndjson", as: flow)
let pairs = seen | pair(30s)
let sums = seen | pair(30s, client_ports: sum)

pairs | stdout(ndjson)
pairs.late | blackhole
sums | stdout(ndjson)

test "what either end counted stands in one row" {
  feed seen with rows [
    {
      start: "2026-01-01T00:00:01Z", end: "2026-01-01T00:00:02Z", observer: "src", protocol: "tcp", initiator: "kernel",
      src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, src.id: "a", community_id: "1:x",
      sent_packets: 10, sent_retransmits: 2, received_packets: 7, sent_flags: "S", rtt: 5ms, state: "established",
    },
    {
      start: "2026-01-01T00:00:02Z", end: "2026-01-01T00:00:09Z", observer: "src", protocol: "tcp", initiator: "kernel",
      src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, src.id: "a", community_id: "1:x",
      sent_packets: 1, sent_retransmits: 0, received_packets: 1, sent_flags: "F", rtt: 6ms, state: "closed",
    },
    {
      start: "2026-01-01T00:00:01Z", end: "2026-01-01T00:00:08Z", observer: "dst", protocol: "tcp", initiator: "kernel",
      src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, dst.pid: 2, dst.id: "b", community_id: "1:x",
      sent_packets: 8, received_packets: 9, received_retransmits: 3, state: "established",
    },
  ]
  expect pairs count == 0
  advance 40s
  expect pairs rows [
    {
      start: "2026-01-01T00:00:01Z", end: "2026-01-01T00:00:09Z", observer: "both", protocol: "tcp",
      src.port: 5000, src.pid: 1, src.id: "a", dst.port: 80, dst.pid: 2, dst.id: "b", community_id: "1:x",
      sent_packets: 11, received_packets: 8, sent_retransmits: 2, received_retransmits: 3,
      dst_received_packets: 8, dst_sent_packets: 9, dst_sent_retransmits: 3, sent_flags: "FS", rtt: 6ms, state: "closed",
    },
  ]
}

test "one end alone stays what it is, interval by interval" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "dst", protocol: "udp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 53, sent_packets: 3, received_packets: 4 },
    { end: "2026-01-01T00:00:31Z", observer: "src", protocol: "udp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 53, sent_packets: 5, received_packets: 6 },
    { end: "2026-01-01T00:00:31Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 53, sent_packets: 7 },
  ]
  advance 2m
  expect pairs count == 3
  expect pairs any { observer == "dst" and sent_packets == 3 and received_packets == 4 and coalesce(dst_sent_packets, -1) == -1 }
  expect pairs any { observer == "src" and sent_packets == 5 and received_packets == 6 and protocol == "udp" }
  expect pairs any { observer == "src" and sent_packets == 7 and protocol == "tcp" }
}

test "they meet by the address that was called" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.96.0.9, dst.port: 80, sent_packets: 3 },
    { end: "2026-01-01T00:00:01Z", observer: "dst", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 8080, dst.original.ip: 10.96.0.9, dst.original.port: 80, sent_packets: 2 },
  ]
  advance 40s
  expect pairs rows [
    { observer: "both", dst.ip: 10.0.0.2, dst.port: 8080, dst.original.ip: 10.96.0.9, dst.original.port: 80, sent_packets: 3, dst_received_packets: 2 },
  ]
}

test "who is surer about who called whom is believed" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", initiator: "port", src.ip: 10.0.0.2, src.port: 80, dst.ip: 10.0.0.1, dst.port: 5000, src.pid: 2, sent_packets: 9, received_packets: 8, src.tags: ["team:b"] },
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", initiator: "kernel", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, sent_packets: 10, received_packets: 7 },
  ]
  advance 40s
  expect pairs rows [
    { observer: "both", initiator: "kernel", src.port: 5000, dst.port: 80, src.pid: 1, dst.pid: 2, sent_packets: 10, received_packets: 7, dst_received_packets: 8, dst_sent_packets: 9 },
  ]
  expect pairs all { dst.tags["team"] == "b" }
}

test "what never leaves its namespace meets nobody of another one" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", src.ip: 127.0.0.1, src.port: 5000, dst.ip: 127.0.0.1, dst.port: 80, src.netns: 1, sent_packets: 1 },
    { end: "2026-01-01T00:00:01Z", observer: "dst", protocol: "tcp", src.ip: 127.0.0.1, src.port: 5000, dst.ip: 127.0.0.1, dst.port: 80, dst.netns: 2, sent_packets: 2 },
    { end: "2026-01-01T00:00:01Z", observer: "dst", protocol: "tcp", src.ip: 127.0.0.1, src.port: 5000, dst.ip: 127.0.0.1, dst.port: 80, dst.netns: 1, sent_packets: 3 },
  ]
  advance 40s
  expect pairs count == 2
  expect pairs any { observer == "both" and sent_packets == 1 and dst_received_packets == 3 and src.netns == 1 and dst.netns == 1 }
}

test "what is no half goes on as it came, and what is late is said to be" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", unattributed: true, sent_packets: 1 },
    { end: "2026-01-01T00:00:01Z", observer: "path", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, sent_packets: 2 },
  ]
  expect pairs count == 2
  expect pairs any { unattributed and sent_packets == 1 }
  advance 2m
  feed seen with rows [
    { end: "2026-01-01T00:00:02Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, sent_packets: 3 },
  ]
  expect pairs.late rows [{ sent_packets: 3 }]
}

test "clients' ports may not count" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 40001, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, src.id: "a", state: "closed", sent_packets: 1 },
    { end: "2026-01-01T00:00:02Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 40002, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, src.id: "b", state: "closed", sent_packets: 2 },
    { end: "2026-01-01T00:00:01Z", observer: "dst", protocol: "tcp", src.ip: 10.0.0.1, src.port: 40001, dst.ip: 10.0.0.2, dst.port: 80, dst.pid: 9, state: "closed", sent_packets: 10 },
    { end: "2026-01-01T00:00:02Z", observer: "dst", protocol: "tcp", src.ip: 10.0.0.1, src.port: 40002, dst.ip: 10.0.0.2, dst.port: 80, dst.pid: 9, state: "closed", sent_packets: 20 },
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 40003, dst.ip: 10.0.0.2, dst.port: 80, src.pid: 1, state: "refused", connect_error: "ECONNREFUSED", sent_packets: 4 },
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "udp", src.ip: 10.0.0.1, src.port: 123, dst.ip: 10.0.0.2, dst.port: 123, src.pid: 1, sent_packets: 8 },
  ]
  advance 40s
  expect sums count == 3
  expect sums any { observer == "both" and sent_packets == 3 and dst_received_packets == 30 and coalesce(src.port, 0) == 0 and src.pid == 1 and dst.pid == 9 and coalesce(src.id, "none") == "none" }
  expect sums any { connect_error == "ECONNREFUSED" and sent_packets == 4 }
  expect sums any { src.port == 123 and sent_packets == 8 }
}
"#;

/// What goes past it, or comes too late, has the columns that are asked for; and either end may have been changed.
const BESIDE: &str = r#"
let seen = ndjson("seen.ndjson", as: flow)
let lower = seen | set src.process = lower(src.process), sent_packets = round(sent_packets * 1.5)
let pairs = lower | pair(30s)
let late = pairs.late | select dst.port, sent_packets
let slim = pairs | select dst_received_packets, src.process, dst.process, sent_packets

late | stdout(ndjson)
slim | stdout(ndjson)

test "a row that both ends have told goes on with both counts" {
  feed seen with rows [{ end: "2026-01-01T00:00:01Z", observer: "both", src.process: "A", dst.process: "B", dst_received_packets: 7, sent_packets: 2 }]
  expect slim rows [{ dst_received_packets: 7, src.process: "a", dst.process: "B", sent_packets: 3 }]
}

test "a text that was computed meets one that was not, turned round or not" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", initiator: "kernel", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, src.process: "A", sent_packets: 2 },
    { end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp", initiator: "port", src.ip: 10.0.0.2, src.port: 80, dst.ip: 10.0.0.1, dst.port: 5000, src.process: "B", sent_packets: 4 },
  ]
  advance 40s
  expect slim rows [{ src.process: "a", dst.process: "b", sent_packets: 3 }]
}

test "what is late is told as it is asked for" {
  feed seen with rows [{ end: "2026-01-01T00:00:01Z", observer: "src", protocol: "tcp" }]
  advance 2m
  feed seen with rows [
    { end: "2026-01-01T00:00:02Z", observer: "src", protocol: "tcp", src.ip: 10.0.0.1, src.port: 5000, dst.ip: 10.0.0.2, dst.port: 80, sent_packets: 2 },
  ]
  expect late rows [{ dst.port: 80, sent_packets: 3 }]
}
"#;

#[test]
fn pair_lets_go_what_it_does_not_join() {
    let (code, stdout, stderr) = run_tests(BESIDE);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("3 passed"));
}

#[test]
fn pair_joins_the_halves_of_conversations() {
    let (code, stdout, stderr) = run_tests(PAIR);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("7 passed"));
}

/// However rows come, the same conversations come out: of a recording both ends of a host's connections.
#[test]
fn pairs_of_a_recording_keep_what_its_rows_counted() {
    let recording = root().join("pipelines/data/shop.flows");
    let of = |stages: &str| run(&format!("ebpf(replay: \"{}\") {stages} | stdout(ndjson)", recording.display())).rows();
    let sum = |rows: &[serde_json::Value], observer: &str, column: &str| -> u64 {
        let of = rows.iter().filter(|row| observer.is_empty() || row["observer"] == observer);
        of.map(|row| row[column].as_u64().unwrap_or(0)).sum()
    };
    let halves = of("");
    let pairs = of("| pair(30s)");
    assert!(pairs.iter().any(|row| row["observer"] == "both") && pairs.len() < halves.len());
    for what in ["packets", "payload_bytes"] {
        for way in ["sent", "received"] {
            let column = format!("{way}_{what}");
            let other = format!("dst_{}_{what}", if way == "sent" { "received" } else { "sent" });
            let src = sum(&pairs, "src", &column) + sum(&pairs, "both", &column);
            let dst = sum(&pairs, "dst", &column) + sum(&pairs, "both", &other);
            assert_eq!((src, dst), (sum(&halves, "src", &column), sum(&halves, "dst", &column)), "{column}");
        }
    }
    // What each end tells of itself is what it told before.
    let views = of("| pair(30s) | each_end");
    let sent = sum(&halves, "src", "sent_payload_bytes") + sum(&halves, "dst", "received_payload_bytes");
    assert_eq!(sum(&views, "", "sent_payload_bytes"), sent);
}
