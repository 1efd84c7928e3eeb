//! How it ends: what was sent is explained, whoever asks and whatever is away.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::live::{Live, free_port};
use crate::http::{Stub, Turn};

/// A far end that takes nothing while much comes: each datagram was read or dropped by the kernel, each line of what
/// was read is a row that was not delivered, or one that nobody had room for.
#[test]
fn what_cannot_be_delivered_is_explained() {
    const DATAGRAMS: u64 = 12_000;
    const LINES: u64 = 20;
    let stub = Stub::start(vec![Turn::Says(503, "")]);
    let port = free_port();
    let mut live = Live::start(&format!(
        "let d = dogstatsd(listen: [\"udp://127.0.0.1:{port}\"], receive_buffer: 256KiB)
         d.metrics | http(\"http://127.0.0.1:{}/x\", linger: 10ms)",
        stub.port
    ));
    live.wait_for_port(port);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = "far.away:1|c\n".repeat(LINES as usize);
    for at in 0..DATAGRAMS {
        socket.send_to(datagram.as_bytes(), ("127.0.0.1", port)).unwrap();
        if at % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let run = live.stop();
    let (read, dropped) = (run.count("d", "noted/datagrams"), run.count("d", "dropped/kernel"));
    assert_eq!(read + dropped, DATAGRAMS, "read {read}, dropped {dropped}");
    assert!(dropped > 0, "a buffer of 256 KiB was never full");
    let (lines, unsent) = (run.count("d", "noted/lines"), run.count("d", "dropped/unsent"));
    assert_eq!(lines, read * LINES);
    assert_eq!(run.count("d", "out") + unsent, lines);
    assert!(unsent > 0 && run.code == 1, "{}", run.stderr);
}

/// Signals that come together are one, and a terminal that is closed is one as well.
#[test]
fn an_end_is_asked_for_in_many_ways() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_string();
    // Whoever started these tests may want it so, as `nohup` does.
    let is_hangup_ignored = u64::from_str_radix(&ignored, 16).unwrap() & 1 == 1;
    for signals in [&["TERM", "TERM", "INT"][..], &["HUP"]] {
        if signals == ["HUP"] && is_hangup_ignored {
            eprintln!("SIGHUP is ignored here, as it would be by weir");
            continue;
        }
        let mut live = Live::start(
            "let d = dogstatsd(listen: [\"unixgram://{dir}/socket\"])
             d.metrics | aggregate(3650d) | file(\"{dir}/series\")",
        );
        let path = live.path("socket");
        live.wait_for_file(&path);
        let socket = UnixDatagram::unbound().unwrap();
        live.wait("the socket", || socket.send_to(b"asked.to.end:1|c", &path).is_ok());
        // By one shell, so that they come together.
        let kills = signals.iter().map(|signal| format!("kill -{signal} {};", live.pid())).collect::<String>();
        assert!(Command::new("sh").args(["-c", &kills]).status().unwrap().success());
        let run = live.end();
        assert_eq!((run.code, live.rows("series").len()), (0, 1), "{signals:?}: {}", run.stderr);
        assert!(!path.exists(), "its file stays");
    }
}

/// Somebody else's file where our socket was is told: clients that come now do not reach us.
#[test]
fn a_path_that_was_taken_is_told() {
    let mut live = Live::start("let d = dogstatsd(listen: [\"unixgram://{dir}/socket\"])\nd.metrics | blackhole");
    let path = live.path("socket");
    live.wait_for_file(&path);
    let before = UnixDatagram::unbound().unwrap();
    live.wait("the socket", || before.connect(&path).is_ok());
    std::fs::remove_file(&path).unwrap();
    let other = UnixDatagram::bind(&path);
    let stderr = live.path("stderr");
    let is_told = || std::fs::read_to_string(&stderr).unwrap().contains("is not ours any more");
    // Where weir was quicker, its own socket stands there again.
    if other.is_ok() {
        live.wait("the warning", is_told);
    }
    before.send(b"still.read:1|c").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(live.stop().count("d", "made"), 1);
    assert_eq!(path.exists(), other.is_ok(), "what is not ours stays");
}
