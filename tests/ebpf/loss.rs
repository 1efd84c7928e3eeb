//! What was sent and did not arrive, against the firewall that dropped it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::super::dogstatsd::live::Live;
use super::alone_with;
use super::source::wait_until_counting;

pub const PORT: u16 = 7000;

/// Rules for what comes; the number of packets that they drop, and their bytes.
pub struct Firewall;

impl Firewall {
    /// Three in a hundred of what comes for the port; of TCP, of the packets with payload.
    pub fn of_some() -> Firewall {
        Firewall::new(&[
            &format!("udp dport {PORT} numgen random mod 100 < 3 counter drop"),
            &format!(
                "tcp dport {PORT} tcp flags & (syn | fin | rst) == 0 meta length > 100 \
                 numgen random mod 100 < 3 counter drop"
            ),
        ])
    }

    pub fn new(rules: &[&str]) -> Firewall {
        let rules = rules.join("\n");
        let table = format!("table inet t {{\n chain in {{\n type filter hook input priority 0\n{rules}\n }}\n}}\n");
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
        Firewall
    }

    /// Packets and bytes of all rules together.
    pub fn dropped(&self) -> (u64, u64) {
        let listed = Command::new("nft").args(["-j", "list", "table", "inet", "t"]).output().unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let rules = listed["nftables"].as_array().unwrap().iter().filter_map(|entry| entry["rule"]["expr"].as_array());
        let counters: Vec<&Value> = rules.flatten().map(|part| &part["counter"]).filter(|c| c.is_object()).collect();
        assert!(!counters.is_empty(), "{listed:#}");
        let sum = |what: &str| counters.iter().map(|counter| counter[what].as_u64().unwrap()).sum();
        (sum("packets"), sum("bytes"))
    }
}

/// Packets are then as the firewall and captures see them: one by one.
pub fn one_by_one() {
    let set = Command::new("ip").args("link set lo mtu 1500 gso_max_size 1500 gso_max_segs 1".split(' ')).status();
    assert!(set.unwrap().success());
}

fn start() -> Live {
    one_by_one();
    let pipeline = "let halves = ebpf(200ms, netns: \"own\")\n\
                    halves | file(\"{dir}/halves\")\n\
                    halves | pair(1d, lateness: 1s) | where dst.port == 7000 | file(\"{dir}/rows\")";
    let mut live = Live::start(pipeline);
    wait_until_counting(&mut live, "halves");
    live
}

fn stop(mut live: Live) -> Vec<Value> {
    std::thread::sleep(Duration::from_millis(100));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    live.rows("rows")
}

fn sum(rows: &[Value], column: &str) -> u64 {
    rows.iter().map(|row| row[column].as_u64().unwrap_or(0)).sum()
}

#[test]
fn packets_of_udp_that_were_lost_are_what_the_firewall_dropped() {
    alone_with(&["nft"], "packets_of_udp_that_were_lost_are_what_the_firewall_dropped", |_| {
        let live = start();
        let firewall = Firewall::of_some();
        let server = UdpSocket::bind(("127.0.0.1", PORT)).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for round in 0..2_000usize {
            client.send_to(&vec![1; round % 1400], server.local_addr().unwrap()).unwrap();
        }
        let (packets, bytes) = firewall.dropped();
        assert!(packets > 0);
        let rows = stop(live);
        assert!(rows.iter().all(|row| row["observer"] == "both"), "{rows:#?}");
        assert_eq!(sum(&rows, "sent_packets"), 2_000);
        assert_eq!(sum(&rows, "sent_packets") - sum(&rows, "dst_received_packets"), packets);
        assert_eq!(sum(&rows, "sent_bytes") - sum(&rows, "dst_received_bytes"), bytes);
    });
}

#[test]
fn packets_of_tcp_that_were_lost_are_what_the_firewall_dropped() {
    alone_with(&["nft"], "packets_of_tcp_that_were_lost_are_what_the_firewall_dropped", |_| {
        let live = start();
        let firewall = Firewall::of_some();
        let listener = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
        let server = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let mut client = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
        client.write_all(&vec![1; 2_000_000]).unwrap();
        // A socket that is closed before its peer's FIN comes answers from TIME_WAIT, which counts no more.
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((server.join().unwrap(), client.read(&mut [0]).unwrap()), (2_000_000, 0));
        drop(client);
        let (packets, _) = firewall.dropped();
        let rows = stop(live);
        let lost = sum(&rows, "sent_packets") - sum(&rows, "dst_received_packets");
        assert_eq!(lost, packets, "{rows:#?}");
        assert!(packets > 10 && sum(&rows, "sent_retransmits") >= packets);
        assert_eq!(sum(&rows, "sent_payload_bytes") - sum(&rows, "sent_retransmit_bytes"), 2_000_000);
        assert_eq!(sum(&rows, "dst_received_payload_bytes"), 2_000_000);
    });
}
