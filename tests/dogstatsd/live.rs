//! The running program: what real clients sent, replayed into its sockets.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lines;
use super::reference::Reference;
use crate::support::{self, Run, weir};

/// Longer than any test: everything falls into one bucket, which is given out at the end.
pub const BUCKET: &str = "3650d";
pub const BUCKET_SECONDS: f64 = 3650.0 * 86_400.0;
/// How long the program may take to begin, and to read what was sent.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A running program.
pub struct Live {
    child: Child,
    pub dir: tempfile::TempDir,
}

/// A port that nobody holds, for TCP or UDP. It is below those that the kernel gives to whoever connects, so
/// nobody takes it before the program does.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Another run of the tests beside this one begins elsewhere.
    let next = || (FIRST + (std::process::id() * 97 + TAKEN.fetch_add(1, Relaxed)) % COUNT) as u16;
    let free =
        |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    (0..COUNT).map(|_| next()).find(free).unwrap()
}

impl Live {
    /// Starts a pipeline; `{dir}` in it is a directory of its own.
    pub fn start(pipeline: &str) -> Live {
        Live::start_with(pipeline, |command| command)
    }

    pub fn start_with(pipeline: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Live {
        let mut command = weir();
        change(&mut command);
        Live::start_as(command, pipeline)
    }

    /// Starts it on a host that a script has changed before, with mounts of its own.
    pub fn start_after(script: &str, pipeline: &str) -> Live {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", &format!("set -e; {script}; exec \"$0\" \"$@\"")]);
        command.arg(weir().get_program()).current_dir(support::root()).env("NO_COLOR", "1");
        Live::start_as(command, pipeline)
    }

    fn start_as(mut command: Command, pipeline: &str) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let file = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        command
            .args(["run", "-e", &pipeline.replace("{dir}", path), "--ledger"])
            .arg(dir.path().join("ledger.json"))
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Live { child, dir }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until a UDP port is bound. To try it would be in the program's way.
    pub fn wait_for_port(&mut self, port: u16) {
        let port = format!(":{port:04X}");
        let is_bound = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port));
        let is_in = |table: &str| std::fs::read_to_string(table).unwrap_or_default().lines().any(is_bound);
        self.wait("the port", || is_in("/proc/net/udp") || is_in("/proc/net/udp6"));
    }

    pub fn wait_for_file(&mut self, path: &Path) {
        self.wait("the socket", || path.exists());
    }

    pub fn wait(&mut self, what: &str, mut is_there: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_there() {
            let why = || std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
            assert!(begun.elapsed() < WAIT_MAX, "waited for {what}: {}", why());
            if self.child.try_wait().unwrap().is_some() {
                panic!("it has ended: {}", why());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end and gives what came.
    pub fn stop(&mut self) -> Run {
        self.signal("TERM");
        self.end()
    }

    /// Waits for its end and gives what came.
    pub fn end(&mut self) -> Run {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < WAIT_MAX, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |name: &str| std::fs::read(self.path(name)).unwrap_or_default();
        let output = std::process::Output { status, stdout: read("stdout"), stderr: read("stderr") };
        support::finish(&output, &self.path("ledger.json"))
    }

    /// Rows that a `file` sink wrote.
    pub fn rows(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a stream whose file is there: it is bound a moment before it is listened on.
fn connect(path: &Path) -> UnixStream {
    for _ in 0..200 {
        if let Ok(stream) = UnixStream::connect(path) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    UnixStream::connect(path).unwrap()
}

/// Where a recording goes to.
enum Way {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    /// By connection.
    Streams(PathBuf, BTreeMap<u64, UnixStream>),
}

impl Way {
    fn send(&mut self, message: &Value) {
        let text = message["text"].as_str().unwrap_or_default().as_bytes();
        match self {
            Way::Udp(socket) => drop(socket.send(text).unwrap()),
            Way::Unix(socket) => drop(socket.send(text).unwrap()),
            Way::Streams(path, open) => {
                let number = message["conn"].as_u64().unwrap();
                if message["end"].is_null() {
                    let stream = open.entry(number).or_insert_with(|| {
                        // Which of two connections is read first is nobody's promise: in the recording
                        // they were apart, too.
                        std::thread::sleep(Duration::from_millis(50));
                        connect(path)
                    });
                    stream.write_all(&(text.len() as u32).to_le_bytes()).unwrap();
                    stream.write_all(text).unwrap();
                } else {
                    open.remove(&number);
                }
            }
        }
    }
}

/// Sends a recording to the program, and compares what comes out with what the rules say.
fn replay(recording: &str) {
    let messages: Vec<Value> = lines(&format!("recordings/{recording}.jsonl"));
    let via = messages[0]["via"].as_str().unwrap();
    let port = free_port();
    let listen = match via {
        "udp" => format!("udp://127.0.0.1:{port}"),
        "uds" => "unixgram://{dir}/dsd.socket".to_string(),
        _ => "unixstream://{dir}/dsd.socket".to_string(),
    };
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["{listen}"])
           let series = dsd.metrics | aggregate({BUCKET})
           series | file("{{dir}}/series")
           dsd.events | file("{{dir}}/events")
           dsd.checks | file("{{dir}}/checks")
           dsd.rejected | file("{{dir}}/rejected")"#
    ));
    let path = live.path("dsd.socket");
    let mut way = match via {
        "udp" => {
            live.wait_for_port(port);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(("127.0.0.1", port)).unwrap();
            Way::Udp(socket)
        }
        "uds" => {
            live.wait_for_file(&path);
            let socket = UnixDatagram::unbound().unwrap();
            socket.connect(&path).unwrap();
            Way::Unix(socket)
        }
        _ => {
            live.wait_for_file(&path);
            Way::Streams(path, BTreeMap::new())
        }
    };
    let mut reference = Reference::new(BUCKET_SECONDS);
    for message in &messages {
        way.send(message);
        reference.packet(message["text"].as_str().unwrap_or_default());
        if let Way::Udp(_) = way {
            // The receive buffer of a machine may be small.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    drop(way);
    std::thread::sleep(Duration::from_millis(100));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let counts = [("rejected", reference.rejected), ("events", reference.events), ("checks", reference.checks)];
    for (name, count) in counts {
        assert_eq!(live.rows(name).len(), count, "{recording}: {name}: {:#?}", live.rows(name));
    }
    let not_finite = run.count("series", "dropped/not_finite");
    let wanted = reference.finish();
    let found: Vec<Value> = live.rows("series").iter().map(plain).collect();
    assert!(wanted.len() > 10 && (recording.contains("client") || not_finite == 0));
    compare(recording, wanted, found);
}

/// A row of the program in the reference's form: a time only where the client gave one.
fn plain(row: &Value) -> Value {
    let mut row = row.clone();
    let object = row.as_object_mut().unwrap();
    object.remove("interval");
    object.entry("tags").or_insert_with(|| Value::Array(Vec::new()));
    let nanos = weir_spec::units::parse_time(object["time"].as_str().unwrap()).unwrap();
    let bucket = (BUCKET_SECONDS * 1e9) as i64;
    match nanos % bucket {
        0 => object.remove("time"),
        _ => object.insert("time".into(), (nanos / 1_000_000_000).into()),
    };
    row
}

/// Whether two values are the same but for the last digits of fractions.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
        }
        (a, b) => a == b,
    }
}

fn compare(recording: &str, mut wanted: Vec<Value>, mut found: Vec<Value>) {
    let name = |row: &Value| format!("{} {} {} {} {}", row["name"], row["tags"], row["host"], row["time"], row["kind"]);
    // Several points of one time stay in their order.
    wanted.sort_by_key(name);
    found.sort_by_key(name);
    let names = |rows: &[Value]| rows.iter().map(name).collect::<Vec<_>>();
    let (w, f) = (names(&wanted), names(&found));
    let missing: Vec<_> = w.iter().filter(|name| !f.contains(name)).take(5).collect();
    let more: Vec<_> = f.iter().filter(|name| !w.contains(name)).take(5).collect();
    assert!(missing.is_empty() && more.is_empty(), "{recording}: missing {missing:#?}, too many {more:#?}");
    assert_eq!(wanted.len(), found.len(), "{recording}");
    for (wanted, found) in wanted.iter().zip(&found) {
        assert!(alike(wanted, found), "{recording}:\n wanted {wanted}\n found  {found}");
    }
}

#[test]
fn dotnet_runtime_metrics_come_out() {
    replay("dotnet-runtime-udp");
    replay("dotnet-runtime-udp-2");
}

#[test]
fn go_runtime_metrics_come_out() {
    replay("go-runtime-udp");
    replay("go-runtime-uds");
}

#[test]
fn what_the_go_client_sends_comes_out() {
    replay("go-client-udp");
    replay("go-client-uds");
    replay("go-client-stream");
}

#[test]
fn what_node_clients_send_comes_out() {
    replay("node-hotshots-udp");
}

fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket
}

/// Whatever is sent is read, or counted as dropped by the kernel; and every line that was read is a row or
/// a rejected one.
#[test]
fn every_datagram_and_every_line_is_accounted_for() {
    const DATAGRAMS: u64 = 60_000;
    let port = free_port();
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["udp://127.0.0.1:{port}"], receive_buffer: 4KiB)
           let series = dsd.metrics | aggregate({BUCKET})
           series | blackhole"#
    ));
    live.wait_for_port(port);
    let socket = udp(port);
    for n in 0..DATAGRAMS {
        let bad = if n % 10 == 0 { "bad:x|c\n" } else { "" };
        socket.send(format!("flood.hits:1|c|#n:{}\n{bad}flood.load:{n}|g", n % 100).as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let run = live.stop();
    let (read, lost) = (run.count("dsd", "noted/datagrams"), run.count("dsd", "dropped/kernel"));
    assert_eq!(read + lost, DATAGRAMS, "read {read}, dropped {lost}");
    assert!(lost > 0, "a buffer of 4 KiB was never full");
    let (lines, made) = (run.count("dsd", "noted/lines"), run.count("dsd", "made"));
    assert_eq!(lines, made);
    let rejected = run.count("dsd", "dropped/unread_rejected");
    assert_eq!(run.count("series", "in") + rejected, lines);
    assert!(rejected > 0);
}

/// At a rate that it can bear nothing is lost, and sums are exact.
#[test]
fn sums_are_exact_where_nothing_is_lost() {
    const DATAGRAMS: u64 = 5_000;
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["unixgram://{{dir}}/dsd.socket"])
           let series = dsd.metrics | aggregate({BUCKET})
           series | file("{{dir}}/series")"#
    ));
    let path = live.path("dsd.socket");
    live.wait_for_file(&path);
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(&path).unwrap();
    for n in 0..DATAGRAMS {
        socket.send(format!("hits:{n}|c\nhits:1:2:3|c|@0.5\nusers:{}|s", n % 777).as_bytes()).unwrap();
    }
    let run = live.stop();
    assert_eq!(run.count("dsd", "noted/datagrams"), DATAGRAMS);
    assert_eq!(run.count("dsd", "noted/lines"), 3 * DATAGRAMS);
    let rows = live.rows("series");
    let value = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["value"].as_f64().unwrap();
    let sum = (DATAGRAMS * (DATAGRAMS - 1) / 2 + 12 * DATAGRAMS) as f64;
    assert_eq!(value("hits"), sum / BUCKET_SECONDS);
    assert_eq!(value("users"), 777.0);
}

/// Permissions of a file; none while it is not there.
fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777)
}

/// A run that listens on a socket of each kind, and where they are.
fn on_unix_sockets() -> (Live, PathBuf, PathBuf) {
    let live = Live::start(
        r#"let dsd = dogstatsd(listen: ["unixgram://{dir}/gram", "unixstream://{dir}/stream"])
           dsd.metrics | file("{dir}/metrics")"#,
    );
    let (gram, stream) = (live.path("gram"), live.path("stream"));
    (live, gram, stream)
}

#[test]
fn unix_senders_are_known_by_their_pid() {
    let (mut live, gram, stream) = on_unix_sockets();
    // They are set just after the sockets are there.
    live.wait("the modes", || (mode(&gram), mode(&stream)) == (0o722, 0o722));
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"a:1|c", &gram).unwrap();
    let mut connection = connect(&stream);
    connection.write_all(b"\x05\0\0\0b:1|c").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    live.stop();
    let rows = live.rows("metrics");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["origin"]["pid"] == std::process::id()), "{rows:?}");
    assert!(!gram.exists() && !stream.exists(), "it leaves its sockets behind");
}

#[test]
fn a_socket_that_was_deleted_comes_back() {
    let mut live = Live::start(
        r#"let dsd = dogstatsd(listen: ["unixgram://{dir}/gram"])
           dsd.metrics | file("{dir}/metrics")"#,
    );
    let path = live.path("gram");
    live.wait_for_file(&path);
    let before = UnixDatagram::unbound().unwrap();
    before.connect(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    live.wait_for_file(&path);
    let after = UnixDatagram::unbound().unwrap();
    after.connect(&path).unwrap();
    before.send(b"before:1|c").unwrap();
    after.send(b"after:1|c").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let run = live.stop();
    assert_eq!(run.count("dsd", "noted/rebound"), 1);
    assert_eq!(live.rows("metrics").len(), 2);
}

/// Somebody deletes the files again and again: what is kept for who is connected does not grow, and whatever could be
/// sent is counted.
#[test]
fn sockets_that_are_deleted_again_and_again_do_not_add_up() {
    let (mut live, gram, stream) = on_unix_sockets();
    let files = format!("/proc/{}/fd", live.pid());
    let files = || std::fs::read_dir(&files).unwrap().count();
    // What is empty is no line.
    let refused = |grams: &[UnixDatagram]| grams.iter().filter(|client| client.send(b"").is_err()).count();
    let (mut streams, mut grams, mut open, mut taken) = (Vec::new(), Vec::new(), 0, 0);
    for round in 0..8 {
        // Who finds a file that is deleted before it is ready finds nobody.
        live.wait("the sockets", || (mode(&gram), mode(&stream)) == (0o722, 0o722));
        streams.push(connect(&stream));
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(&gram).unwrap();
        grams.push(socket);
        for client in &mut streams {
            client.write_all(b"\x05\0\0\0s:1|c").unwrap();
        }
        taken += grams.iter().filter(|client| client.send(b"g:1|c").is_ok()).count();
        if round == 2 {
            live.wait("the first to go", || refused(&grams) == 1);
            // The newest may not be taken in yet.
            open = files() + 1 - streams.len();
        }
        std::fs::remove_file(&gram).unwrap();
        std::fs::remove_file(&stream).unwrap();
    }
    live.wait("all but the last to go", || refused(&grams) == 7);
    live.wait("what they held", || files() <= open + streams.len());
    let run = live.stop();
    assert_eq!(run.count("dsd", "noted/rebound"), 16);
    assert_eq!(live.rows("metrics").len(), taken + (1..=8).sum::<usize>(), "{}", run.stderr);
}

/// Both families on one port, as a user writes who wants to be reached by everybody.
#[test]
fn both_families_have_the_same_port() {
    let port = free_port();
    let mut live = Live::start(&format!(
        r#"settings(allow: ["W0206"])
           let d = dogstatsd(listen: ["udp://[::]:{port}", "udp://0.0.0.0:{port}"])
           d.metrics | file("{{dir}}/metrics")"#
    ));
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("not run: this host has no IPv6");
        return;
    }
    let bound = |table: &str| std::fs::read_to_string(table).unwrap().contains(&format!(":{port:04X} 0"));
    live.wait("both ports", || bound("/proc/net/udp") && bound("/proc/net/udp6"));
    for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let to: std::net::IpAddr = to.parse().unwrap();
        UdpSocket::bind(from).unwrap().send_to(b"both:1|c", (to, port)).unwrap();
    }
    let path = live.path("metrics");
    live.wait("both", || std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 2));
    assert_eq!(live.stop().count("d", "noted/datagrams"), 2);
}

/// What cannot be listened on is a clear error, and a stale socket is none.
#[test]
fn sockets_that_are_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let _held = UnixDatagram::bind(dir.path().join("held")).unwrap();
    drop(UnixDatagram::bind(dir.path().join("stale")).unwrap());
    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let held = port.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    let by_us = format!("it is in use, by {} (pid {})", command.trim(), std::process::id());
    let dsd = |options: &str| format!("let d = dogstatsd({options})\nd.metrics | limit(1) | blackhole");
    let listen = |address: String| dsd(&format!("listen: [\"{address}\"]"));
    for (pipeline, why) in [
        (listen(format!("unixgram://{}", at("file"))), "a file that is no socket is there"),
        (listen(format!("unixgram://{}", at("held"))), &by_us),
        (listen(format!("unixgram://{}/x/y", at("none"))), "its directory does not exist"),
        (listen(format!("udp://{held}")), &by_us),
        (listen("udp://192.0.2.1:8125".to_string()), "this host has no such address"),
        (dsd(&format!("listen: [\"udp://127.0.0.1:0\"], info: \"{taken}\"")), &by_us),
        (format!("internal(1s) | aggregate(1s) | prometheus(\"{taken}\")"), &by_us),
        (format!("settings(admin: \"{taken}\")\ninternal(1s) | blackhole"), &by_us),
    ] {
        let (code, _, stderr) = support::text(&weir().args(["run", "-e", &pipeline]).output().unwrap());
        assert!(code == 1 && stderr.contains(why), "{pipeline}: {code} {stderr}");
    }
    let mut live =
        Live::start(&format!("let dsd = dogstatsd(listen: [\"unixgram://{}\"])\ndsd.metrics | blackhole", at("stale")));
    let socket = UnixDatagram::unbound().unwrap();
    live.wait("the stale socket's successor", || socket.send_to(b"a:1|c", at("stale")).is_ok());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(live.stop().count("dsd", "made"), 1);
}

/// What is too long, cut off or garbage is counted under its own reason, and nothing else is lost.
#[test]
fn bad_bytes_cost_only_themselves() {
    let port = free_port();
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(
             listen: ["udp://127.0.0.1:{port}", "unixstream://{{dir}}/stream"],
             message_bytes_max: 1KiB,
           )
           dsd.metrics | file("{{dir}}/metrics")
           dsd.rejected | file("{{dir}}/rejected")"#
    ));
    live.wait_for_port(port);
    let path = live.path("stream");
    live.wait_for_file(&path);
    let socket = udp(port);
    let line = "long.line:1|c|#tag:value\n";
    socket.send(line.repeat(60).as_bytes()).unwrap();
    socket.send(&[0xff; 300]).unwrap();
    socket.send("odd.n\u{e4}me:1|c|#\u{57ce}:\u{5317}".as_bytes()).unwrap();
    socket.send(b"not.utf8.\xff:2|c|#bad:\xfe\xfe").unwrap();
    socket.send(b"fine:1|c").unwrap();
    for bytes in [&b"\xff\xff\xff\xffabc"[..], b"\x05\0\0\0a:1|c\x09\0\0\0b:1", b"\x05\0"] {
        connect(&path).write_all(bytes).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let run = live.stop();
    assert_eq!(run.count("dsd", "dropped/truncated"), 1);
    assert_eq!(run.count("dsd", "dropped/too_long"), 1);
    assert_eq!(run.count("dsd", "dropped/cut_off"), 2);
    let rows = live.rows("metrics");
    let named = |name: &str| rows.iter().filter(|row| row["name"] == name).count();
    assert_eq!(named("long.line"), 1024 / line.len());
    assert_eq!((named("odd.n\u{e4}me"), named("not.utf8.\u{fffd}"), named("fine"), named("a")), (1, 1, 1, 1));
    let rejected = live.rows("rejected");
    assert_eq!(rejected.len(), 1);
    assert!(
        rejected[0]["data_base64"].is_string() && rejected[0]["sender"].as_str().unwrap().starts_with("127.0.0.1:")
    );
}

/// Frames of a stream as the Agent's tests have them; a longer frame than its 8 KiB is none too long here.
#[test]
fn frames_are_read_as_the_agent_reads_them() {
    for case in lines("framing.jsonl").iter().filter(|case| case["transport"] == "uds_stream") {
        let mut live = Live::start(
            r#"let dsd = dogstatsd(listen: ["unixstream://{dir}/stream"])
               dsd.metrics | file("{dir}/metrics")"#,
        );
        let path = live.path("stream");
        live.wait_for_file(&path);
        let hex = case["bytes_hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        connect(&path).write_all(&bytes).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        live.stop();
        let packets = case["expect"]["packets"].as_array().into_iter().flatten();
        let told: usize = packets.map(|packet| packet.as_str().unwrap().lines().count()).sum();
        let wanted = case["expect"]["messages_ok"].as_u64().unwrap_or(told as u64);
        assert_eq!(live.rows("metrics").len() as u64, wanted, "{}", case["id"]);
    }
}

/// What waits in a socket when the program is asked to end is read, however much it is.
#[test]
fn what_waits_at_the_end_is_read() {
    const DATAGRAMS: u64 = 3000;
    let port = free_port();
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["udp://127.0.0.1:{port}", "unixstream://{{dir}}/stream"], receive_buffer: 16MiB)
           dsd.metrics | blackhole"#
    ));
    live.wait_for_port(port);
    let path = live.path("stream");
    live.wait_for_file(&path);
    live.signal("STOP");
    let socket = udp(port);
    for _ in 0..DATAGRAMS {
        socket.send(b"x:1|c").unwrap();
    }
    // One connection that is still to be let in, with a frame and half of one.
    let mut waiting = connect(&path);
    waiting.write_all(b"\x05\0\0\0y:1|c\x09\0\0\0y:").unwrap();
    live.signal("TERM");
    live.signal("CONT");
    let run = live.end();
    let read = run.count("dsd", "noted/datagrams");
    assert_eq!(read + run.count("dsd", "dropped/kernel"), DATAGRAMS);
    assert_eq!(run.count("dsd", "made"), read + 1);
    assert_eq!(run.count("dsd", "dropped/cut_off"), 1);
}

/// Senders that come and go leave nothing open.
#[test]
fn processes_that_have_ended_are_let_go() {
    let mut live = Live::start(
        r#"let dsd = dogstatsd(listen: ["unixgram://{dir}/gram"])
           dsd.metrics | blackhole"#,
    );
    let path = live.path("gram");
    live.wait_for_file(&path);
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.sendto(b'x:1|c', {:?})",
        path.display().to_string()
    );
    for _ in 0..10 {
        let sent = Command::new("python3").args(["-c", &script]).status();
        assert!(sent.is_ok_and(|status| status.success()), "python3 sends");
    }
    let files = format!("/proc/{}/fd", live.pid());
    let pidfds = || {
        let all = std::fs::read_dir(&files).unwrap().flatten();
        all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("pidfd"))).count()
    };
    live.wait("the descriptors to be closed", || pidfds() == 0);
    assert_eq!(live.stop().count("dsd", "made"), 10);
}

/// A client that knows no more than the inode of its cgroup is in the container that this is of.
#[test]
fn the_inode_of_a_cgroup_is_a_container() {
    use std::os::unix::fs::MetadataExt;
    if !support::is_root("the_inode_of_a_cgroup_is_a_container", "to make a cgroup") {
        return;
    }
    let id = "5f2c1f3a9b7e4d60a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081";
    let Some(root) = weir_core::host::cgroup::mounted() else { panic!("no cgroup2 is mounted") };
    let folder = root.join(format!("docker-{id}.scope"));
    std::fs::create_dir_all(&folder).unwrap();
    let inode = std::fs::metadata(&folder).unwrap().ino();
    let lines = format!("a:1|c|c:in-{inode}\nb:1|c|c:ci-told,in-{inode}\nc:1|c|c:in-1\n");
    let run = support::run(&format!("let d = dogstatsd({lines:?})\nd.metrics | stdout(ndjson)"));
    std::fs::remove_dir(&folder).unwrap();
    let containers: Vec<Value> = run.rows().iter().map(|row| row["origin"]["container"].clone()).collect();
    assert_eq!(containers, [Value::from(id), Value::from("told"), Value::Null], "{}", run.stderr);
}
