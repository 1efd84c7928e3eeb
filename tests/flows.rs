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
