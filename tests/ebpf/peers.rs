//! Against what others say of the same traffic: iperf3, and a capture that weir meters itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::dogstatsd::live::Live;
use super::super::support::run;
use super::alone_with;
use super::loss::{Firewall, one_by_one};
use super::source::wait_until_counting;

fn start() -> Live {
    let mut live = Live::start("ebpf(200ms, netns: \"own\") | file(\"{dir}/rows\")");
    wait_until_counting(&mut live, "rows");
    live
}

fn stop(mut live: Live) -> Vec<Value> {
    std::thread::sleep(Duration::from_millis(300));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    live.rows("rows").into_iter().filter(|row| row["dst"]["port"] != 9).collect()
}

fn sum<'a>(rows: impl Iterator<Item = &'a Value>, column: &str) -> u64 {
    rows.map(|row| row[column].as_u64().unwrap_or(0)).sum()
}

/// What iperf3 says of itself goes before its data, on each of its connections.
const COOKIE_BYTES: u64 = 37;

/// A run of client and server: what the client says.
fn iperf3() -> Value {
    let mut server = Command::new("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let said = loop {
        let output = Command::new("iperf3").args(["-c", "127.0.0.1", "-n", "20M", "--json"]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        // It may not be there yet.
        if said["error"].is_null() || begun.elapsed() > Duration::from_secs(10) {
            break said;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(server.wait().unwrap().success() && said["error"].is_null(), "{said:#}");
    said
}

#[test]
fn bytes_and_retransmits_are_those_of_iperf3() {
    const PORT: u64 = 5201;
    let measured = alone_with(&["iperf3"], "bytes_and_retransmits_are_those_of_iperf3", |_| {
        let live = start();
        Firewall::new(&["tcp dport 5201 meta length > 1000 numgen random mod 100 < 2 drop"]);
        // Where the server ends before all has come, what iperf3 counts as sent never was.
        let said = (0..20).map(|_| iperf3()).find(|said| {
            let stream = &said["end"]["streams"][0];
            let bytes = |end: &str| stream[end]["bytes"].as_u64();
            bytes("sender") == bytes("receiver") && stream["sender"]["retransmits"].as_u64() > Some(0)
        });
        (stop(live), said.expect("a run in which all arrived"))
    });
    let Some((rows, said)) = measured else { return };
    let stream = &said["end"]["streams"][0]["sender"];
    // The connection that the data went over; another one is for talking.
    let port = &said["start"]["connected"][0]["local_port"];
    let of = |observer: &str| -> Vec<&Value> {
        let is_it =
            |row: &&Value| row["observer"] == observer && row["src"]["port"] == *port && row["dst"]["port"] == PORT;
        rows.iter().filter(is_it).collect()
    };
    let (sent, arrived) = (of("src"), of("dst"));
    let once = sum(sent.iter().copied(), "sent_payload_bytes") - sum(sent.iter().copied(), "sent_retransmit_bytes");
    assert_eq!(once - COOKIE_BYTES, stream["bytes"].as_u64().unwrap(), "{said:#}");
    assert_eq!(sum(arrived.iter().copied(), "sent_payload_bytes"), once);
    // iperf3 asks for them when it has written its last byte, and some of those are sent again later.
    let retransmits = sum(sent.iter().copied(), "sent_retransmits");
    let theirs = stream["retransmits"].as_u64().unwrap();
    assert!(theirs > 0 && (theirs..=theirs + 5).contains(&retransmits), "{retransmits} and {theirs}");
    assert!(sent.iter().all(|row| row["src"]["process"] == "iperf3" && row["dst"]["ip"] == "127.0.0.1"));
}

fn capture(path: &str) -> Child {
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", "lo", "-U", "-B", "65536", "-w", path, "port 7100"]);
    let mut child = tcpdump.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 200];
    // It listens once it says so.
    let n = child.stderr.as_mut().unwrap().read(&mut said).unwrap();
    assert!(n > 0);
    std::thread::sleep(Duration::from_millis(300));
    child
}

/// Ends a capture; all that has come until now is in it.
fn end(mut capture: Child) {
    // What has come and is not written yet is lost when it ends; it writes once a second.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(Command::new("kill").args(["-INT", &capture.id().to_string()]).status().unwrap().success());
    assert!(capture.wait().unwrap().success());
}

/// What clients send; they get half of it back.
const TCP_SIZES: [usize; 4] = [0, 1, 5_000, 200_000];

#[test]
fn a_capture_of_the_same_traffic_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcap").display().to_string();
    let rows = alone_with(&["tcpdump"], "a_capture_of_the_same_traffic_agrees", |_| {
        one_by_one();
        let live = start();
        let capture = capture(&path);
        let listener = TcpListener::bind("127.0.0.1:7100").unwrap();
        for size in TCP_SIZES {
            let mut client = TcpStream::connect("127.0.0.1:7100").unwrap();
            let mut server = listener.accept().unwrap().0;
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                server.read_to_end(&mut all).unwrap();
                server.write_all(&vec![1; all.len() / 2]).unwrap();
                all.len()
            });
            client.write_all(&vec![7; size]).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            assert_eq!((reader.join().unwrap(), back.len()), (size, size / 2));
        }
        let (server, client) = (UdpSocket::bind("127.0.0.1:7100").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        for size in 0..200 {
            client.send_to(&vec![1; size], "127.0.0.1:7100").unwrap();
            let (_, from) = server.recv_from(&mut [0; 2000]).unwrap();
            server.send_to(b"answer", from).unwrap();
            client.recv(&mut [0; 10]).unwrap();
        }
        end(capture);
        stop(live)
    });
    let Some(rows) = rows else { return };
    let seen = run(&format!("pcap(\"{path}\") | biflow | stdout(ndjson)")).rows();
    for protocol in ["tcp", "udp"] {
        let counted = |observer: &'static str| {
            rows.iter().filter(move |row| {
                row["protocol"] == protocol && row["observer"] == observer && row["dst"]["port"] == 7100
            })
        };
        let captured = || seen.iter().filter(|row| row["protocol"] == protocol);
        for column in ["sent_payload_bytes", "received_payload_bytes", "sent_packets", "received_packets"] {
            let both = [sum(counted("src"), column), sum(counted("dst"), column)];
            let all = sum(captured(), column);
            // Who is called answers a SYN before there is a socket that counts.
            let answers = if (protocol, column) == ("tcp", "received_packets") { captured().count() as u64 } else { 0 };
            let expected = match (protocol, column) {
                // Where the host is busy something is sent again, and who receives it counts it once.
                ("tcp", "sent_payload_bytes") => [all, TCP_SIZES.iter().sum::<usize>() as u64],
                ("tcp", "received_payload_bytes") => [TCP_SIZES.iter().map(|size| size / 2).sum::<usize>() as u64, all],
                _ => [all, all - answers],
            };
            assert_eq!(both, expected, "{protocol} {column}");
        }
        assert!(sum(captured(), "sent_packets") > 100);
    }
    for column in ["sent_bytes", "received_bytes"] {
        let of = rows
            .iter()
            .filter(|row| row["protocol"] == "udp" && row["observer"] == "src" && row["dst"]["port"] == 7100);
        assert_eq!(sum(of, column), sum(seen.iter().filter(|row| row["protocol"] == "udp"), column), "{column}");
    }
}

/// What is dropped after it was captured is sent again: seen twice on the way, counted once by who received it.
#[test]
fn a_capture_of_what_was_sent_again_agrees() {
    const BYTES: usize = 2_000_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcap").display().to_string();
    let rows = alone_with(&["tcpdump", "nft"], "a_capture_of_what_was_sent_again_agrees", |_| {
        one_by_one();
        let live = start();
        let capture = capture(&path);
        let _firewall = Firewall::new(&["tcp dport 7100 meta length > 100 numgen random mod 100 < 2 counter drop"]);
        let listener = TcpListener::bind("127.0.0.1:7100").unwrap();
        for _ in 0..3 {
            let mut client = TcpStream::connect("127.0.0.1:7100").unwrap();
            let mut server = listener.accept().unwrap().0;
            let reader = std::thread::spawn(move || server.read_to_end(&mut Vec::new()).unwrap());
            client.write_all(&vec![7; BYTES]).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
            assert_eq!(reader.join().unwrap(), BYTES);
        }
        end(capture);
        stop(live)
    });
    let Some(rows) = rows else { return };
    let seen = run(&format!("pcap(\"{path}\") | biflow | stdout(ndjson)")).rows();
    assert_eq!(seen.len(), 3, "{seen:#?}");
    for captured in &seen {
        let of = |observer: &'static str| {
            let port = captured["src"]["port"].clone();
            rows.iter().filter(move |row| row["observer"] == observer && row["src"]["port"] == port)
        };
        for column in ["sent_packets", "sent_payload_bytes", "sent_retransmits", "sent_retransmit_bytes"] {
            assert_eq!(sum(of("src"), column), captured[column].as_u64().unwrap(), "{column} {captured:#}");
        }
        assert!(captured["sent_retransmits"].as_u64() > Some(0), "{captured:#}");
        let once = sum(of("src"), "sent_payload_bytes") - sum(of("src"), "sent_retransmit_bytes");
        assert_eq!((once, sum(of("dst"), "sent_payload_bytes")), (BYTES as u64, BYTES as u64));
    }
}

#[test]
fn a_connect_that_nobody_answers_is_an_attempt() {
    let rows = alone_with(&["nft"], "a_connect_that_nobody_answers_is_an_attempt", |_| {
        let live = start();
        let firewall = Firewall::new(&["tcp dport 7100 counter drop"]);
        std::fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").unwrap();
        let error = TcpStream::connect("127.0.0.1:7100").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        (stop(live), firewall.dropped())
    });
    let Some((rows, (dropped, _))) = rows else { return };
    let of: Vec<&Value> = rows.iter().filter(|row| row["dst"]["port"] == 7100).collect();
    assert!(of.iter().all(|row| row["state"] == "attempt"), "{of:#?}");
    let last = of.last().unwrap();
    assert_eq!((&last["connect_error"], &last["end_reason"]), (&"ETIMEDOUT".into(), &"end_of_flow".into()));
    let sent = (sum(of.iter().copied(), "sent_packets"), sum(of.iter().copied(), "sent_retransmits"));
    assert_eq!(sent, (dropped, dropped - 1));
}
