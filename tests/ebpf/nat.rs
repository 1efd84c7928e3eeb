//! Addresses that the firewall translates on the way: both ends of a conversation still meet.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::dogstatsd::live::Live;
use super::super::support::run;
use super::source::wait_until_counting;
use super::{alone_with, send};

const HERE: &str = "10.9.9.1";
const CALLED: &str = "10.9.9.9";

fn ip(args: &str) {
    assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
}

/// What is called at port 80 and 53 is answered here, at others; who calls is seen under another address.
fn translate(tcp: u16, udp: u16) {
    ip(&format!("addr add {HERE}/32 dev lo"));
    ip("addr add 10.9.9.2/32 dev lo");
    ip(&format!("route add {CALLED}/32 dev lo src {HERE}"));
    let rules = format!(
        "table ip t {{\n chain out {{\n type nat hook output priority -100\n\
         ip daddr {CALLED} tcp dport 80 dnat to {HERE}:{tcp}\n ip daddr {CALLED} udp dport 53 dnat to {HERE}:{udp}\n }}\n\
         chain post {{\n type nat hook postrouting priority 100\n tcp dport {tcp} snat to 10.9.9.2\n }}\n}}\n"
    );
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

#[test]
fn both_ends_meet_by_the_address_that_was_called() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("x.flows");
    let rows = alone_with(&["nft"], "both_ends_meet_by_the_address_that_was_called", |_| {
        let listener = TcpListener::bind((HERE, 0)).or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let server = UdpSocket::bind("0.0.0.0:0").unwrap();
        translate(listener.local_addr().unwrap().port(), server.local_addr().unwrap().port());
        let pipeline = format!(
            "let halves = ebpf(200ms, netns: \"own\", record: \"{}\")\nhalves | file(\"{{dir}}/halves\")\n\
             halves | pair(1d, lateness: 1s) | file(\"{{dir}}/rows\")",
            recording.display()
        );
        let mut live = Live::start(&pipeline);
        wait_until_counting(&mut live, "halves");
        let client = TcpStream::connect((CALLED, 80)).unwrap();
        let accepted = listener.accept().unwrap().0;
        send(&client, &accepted, 30_000);
        // It is open for some intervals.
        std::thread::sleep(Duration::from_millis(700));
        send(&accepted, &client, 500);
        drop((client, accepted));
        // One that is over at once.
        drop((TcpStream::connect((CALLED, 80)).unwrap(), listener.accept().unwrap()));
        let asking = UdpSocket::bind((HERE, 0)).unwrap();
        asking.send_to(b"who?", (CALLED, 53)).unwrap();
        let (_, asker) = server.recv_from(&mut [0; 10]).unwrap();
        server.send_to(b"me", asker).unwrap();
        asking.recv(&mut [0; 10]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let ran = live.stop();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.stderr, "");
        live.rows("rows")
    });
    let Some(rows) = rows else { return };
    assert_met(&rows);
    // So they do when it is told again without a kernel.
    let again = run(&format!("ebpf(replay: \"{}\") | pair(1d, lateness: 1s) | stdout(ndjson)", recording.display()));
    assert_met(&again.rows());
}

/// A connection that was translated before anybody counted: the kernel is asked for those that there are.
#[test]
fn a_translation_from_before_is_known() {
    let rows = alone_with(&["nft"], "a_translation_from_before_is_known", |_| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        translate(listener.local_addr().unwrap().port(), 9_999);
        let client = TcpStream::connect((CALLED, 80)).unwrap();
        let accepted = listener.accept().unwrap().0;
        send(&client, &accepted, 9_000);
        let mut live = Live::start(
            "let halves = ebpf(200ms, netns: \"own\")\nhalves | file(\"{dir}/halves\")\n\
             halves | pair(1d, lateness: 1s) | file(\"{dir}/rows\")",
        );
        wait_until_counting(&mut live, "halves");
        send(&client, &accepted, 1_000);
        std::thread::sleep(Duration::from_millis(500));
        let ran = live.stop();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        live.rows("rows")
    });
    let Some(rows) = rows else { return };
    let of: Vec<&Value> = rows.iter().filter(|row| row["dst"]["original"]["ip"] == CALLED).collect();
    assert_eq!(of.len(), 1, "{rows:#?}");
    let told = (&of[0]["observer"], &of[0]["sent_payload_bytes"], &of[0]["dst_received_payload_bytes"]);
    assert_eq!(told, (&json!("both"), &json!(1_000), &json!(1_000)), "{:#}", of[0]);
}

/// A network namespace with a cable to here, for as long as somebody sleeps in it.
struct Neighbour(Child);

impl Neighbour {
    /// At 10.7.NUMBER.2; here is 10.7.NUMBER.1, and the way to everywhere.
    fn new(number: u8) -> Neighbour {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let neighbour = Neighbour(child);
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", neighbour.0.id());
        while std::fs::read_link(&theirs).is_ok_and(|theirs| theirs == own) {
            std::thread::sleep(Duration::from_millis(5));
        }
        ip(&format!("link add weir{number} type veth peer name eth0 netns {}", neighbour.0.id()));
        ip(&format!("addr add 10.7.{number}.1/24 dev weir{number}"));
        ip(&format!("link set weir{number} up"));
        for args in [
            "ip link set lo up".to_string(),
            format!("ip addr add 10.7.{number}.2/24 dev eth0"),
            "ip link set eth0 up".to_string(),
            format!("ip route add default via 10.7.{number}.1"),
        ] {
            assert!(neighbour.command(&args).status().unwrap().success(), "{args}");
        }
        neighbour
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n"]).args(line.split(' ')).stdout(Stdio::null());
        command
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As containers are reached: a client and a server in namespaces of their own, and here, where both are seen from,
/// the address that is called becomes the server's.
#[test]
fn ends_in_other_namespaces_meet_through_a_translation_here() {
    let told = alone_with(&["nft"], "ends_in_other_namespaces_meet_through_a_translation_here", |_| {
        let (client, server) = (Neighbour::new(1), Neighbour::new(2));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let rules = "table ip t {\n chain pre {\n type nat hook prerouting priority -100\n\
                     ip daddr 10.7.0.100 tcp dport 80 dnat to 10.7.2.2:7600\n }\n}\n";
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
        let mut live = Live::start(
            "let halves = ebpf(200ms)\nhalves | where dst.port == 9 | file(\"{dir}/probe\")\n\
             halves | where coalesce(dst.original.port, 0) == 80 or dst.port == 7600 \
             | pair(1d, lateness: 1s) | file(\"{dir}/rows\")",
        );
        wait_until_counting(&mut live, "probe");
        let call = || client.command("iperf3 -c 10.7.0.100 -p 80 -n 500000").stderr(Stdio::null()).status().unwrap();
        // It serves once; a call may come before it listens, and end in a failure of both.
        live.wait("a call", || {
            let mut serving = server.command("iperf3 -s -1 -p 7600").stderr(Stdio::null()).spawn().unwrap();
            let has_called = (0..20).any(|_| {
                std::thread::sleep(Duration::from_millis(50));
                call().success()
            });
            let _ = serving.kill();
            serving.wait().is_ok() && has_called
        });
        std::thread::sleep(Duration::from_millis(400));
        let ran = live.stop();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        live.rows("rows")
    });
    let Some(rows) = told else { return };
    // What was called before the server was there failed.
    let met: Vec<&Value> = rows.iter().filter(|row| row["dst"]["pid"].is_number()).collect();
    assert!(met.len() >= 2, "{rows:#?}");
    for row in &met {
        assert_eq!((&row["observer"], &row["src"]["ip"]), (&json!("both"), &json!("10.7.1.2")), "{row:#}");
        assert_eq!((&row["dst"]["ip"], &row["dst"]["port"]), (&json!("10.7.2.2"), &json!(7600)), "{row:#}");
        assert_eq!(row["dst"]["original"], json!({"ip": "10.7.0.100", "port": 80}), "{row:#}");
        assert_eq!((&row["src"]["process"], &row["dst"]["process"]), (&json!("iperf3"), &json!("iperf3")));
        assert_ne!(row["src"]["netns"], row["dst"]["netns"]);
        // It may end before all has come.
        let bytes = |column: &str| row[column].as_u64().unwrap_or(0);
        assert!(bytes("dst_received_payload_bytes") <= bytes("sent_payload_bytes"), "{row:#}");
    }
    assert!(met.iter().any(|row| row["dst_received_payload_bytes"].as_u64() >= Some(400_000)), "{met:#?}");
}

fn assert_met(rows: &[Value]) {
    let of = |protocol: &str| -> Vec<&Value> {
        rows.iter().filter(|row| row["protocol"] == protocol && row["dst"]["original"].is_object()).collect()
    };
    let (tcp, udp) = (of("tcp"), of("udp"));
    assert!(tcp.len() >= 2 && udp.len() == 1, "{rows:#?}");
    for row in tcp.iter().chain(&udp) {
        assert_eq!(row["observer"], "both", "{row:#}");
        assert_eq!((&row["src"]["ip"], &row["dst"]["ip"]), (&json!(HERE), &json!(HERE)));
    }
    assert!(tcp.iter().all(|row| row["dst"]["original"] == json!({"ip": CALLED, "port": 80})));
    assert_eq!(udp[0]["dst"]["original"], json!({"ip": CALLED, "port": 53}));
    let counted =
        ["sent", "dst_received", "received", "dst_sent"].map(|way| udp[0][format!("{way}_payload_bytes")].as_u64());
    assert_eq!(counted, [Some(4), Some(4), Some(2), Some(2)], "{:#}", udp[0]);
    let sum = |column: &str| tcp.iter().map(|row| row[column].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!((sum("sent_payload_bytes"), sum("dst_received_payload_bytes")), (30_000, 30_000));
    assert_eq!((sum("received_payload_bytes"), sum("dst_sent_payload_bytes")), (500, 500));
}
