//! Far ends over HTTP: stand-ins that answer as real ones do on good and bad days, and what is asked of
//! the program itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::dogstatsd::live::{Live, free_port};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What a stand-in does when it is asked.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Answers with a status and headers.
    Says(u16, &'static str),
    /// The same, after so long.
    Late(Duration, u16),
    /// Closes the connection.
    Breaks,
}
use Turn::{Breaks, Late, Says};

/// One turn after the other; the last one for ever.
type Script = Vec<Turn>;

/// A server of the test's own. Answers are by script, whatever is asked.
pub struct Stub {
    pub port: u16,
    pub asked: Arc<Mutex<Vec<(Asked, u16)>>>,
}

impl Stub {
    pub fn start(script: Script) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<(Asked, u16)>>> = Arc::default();
        let (seen, turn) = (asked.clone(), Arc::new(Mutex::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, turn, script) = (seen.clone(), turn.clone(), script.clone());
                std::thread::spawn(move || while answer(&stream, &seen, &turn, &script).is_some() {});
            }
        });
        Stub { port, asked }
    }

    /// Requests that were answered with a 2xx.
    fn taken(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, status)| (200..300).contains(status)).map(|(asked, _)| asked.clone()).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { at: Instant::now(), line: line.trim_end().to_string(), headers, body })
}

fn answer(mut stream: &TcpStream, seen: &Mutex<Vec<(Asked, u16)>>, turn: &Mutex<usize>, script: &Script) -> Option<()> {
    let asked = read(stream)?;
    let at = {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        (*turn - 1).min(script.len() - 1)
    };
    let (wait, status, headers) = match script[at] {
        Says(status, headers) => (Duration::ZERO, status, headers),
        Late(wait, status) => (wait, status, ""),
        Breaks => (Duration::ZERO, 0, ""),
    };
    seen.lock().unwrap().push((asked, status));
    if matches!(script[at], Breaks) {
        return None;
    }
    std::thread::sleep(wait);
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}Content-Length: 2\r\n\r\n{{}}").ok()
}

/// Asks the program something.
pub fn get(port: u16, path: &str, headers: &str) -> Option<(u16, String)> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"), b"")
}

fn ask(port: u16, head: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
}

/// Fields of a protobuf message, decoded from the wire format alone.
#[derive(Debug, Clone)]
enum Wire {
    Number(u64),
    Double(f64),
    Bytes(Vec<u8>),
}

type Message = Vec<(u64, Wire)>;

fn decode(mut bytes: &[u8]) -> Message {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!()
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)),
            1 => {
                let (head, rest) = bytes.split_first_chunk::<8>().unwrap();
                bytes = rest;
                Wire::Double(f64::from_le_bytes(*head))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (head, rest) = bytes.split_at(length);
                bytes = rest;
                Wire::Bytes(head.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

fn each(message: &Message, field: u64) -> Vec<Wire> {
    message.iter().filter(|(number, _)| *number == field).map(|(_, value)| value.clone()).collect()
}

fn inner(message: &Message, field: u64) -> Vec<Message> {
    let bytes = each(message, field).into_iter();
    bytes.map(|wire| if let Wire::Bytes(bytes) = wire { decode(&bytes) } else { panic!("{wire:?}") }).collect()
}

fn strings(message: &Message, field: u64) -> Vec<String> {
    let bytes = each(message, field).into_iter();
    bytes.map(|wire| if let Wire::Bytes(bytes) = wire { String::from_utf8(bytes).unwrap() } else { panic!() }).collect()
}

fn number(message: &Message, field: u64) -> u64 {
    match each(message, field).first() {
        Some(Wire::Number(n)) => *n,
        None => 0,
        other => panic!("{other:?}"),
    }
}

fn double(message: &Message, field: u64) -> f64 {
    match each(message, field).first() {
        Some(Wire::Double(x)) => *x,
        None => 0.0,
        other => panic!("{other:?}"),
    }
}

fn packed(message: &Message, field: u64) -> Vec<u64> {
    let Some(Wire::Bytes(bytes)) = each(message, field).first().cloned() else { return Vec::new() };
    let mut values = Vec::new();
    let (mut value, mut shift) = (0u64, 0);
    for byte in bytes {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            values.push(value);
            (value, shift) = (0, 0);
        }
    }
    values
}

fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

const LINES: &str = "hits:30|c|@0.5|#env:prod,b:2\\ntemp:21.5|g|#host:web-1\\nwait:5|ms\\nsize:10:100:-3|d|@0.5\\n\
    nohost:1|g|#host:\\n\
    disk:1|g|#device:sda,env:a,dd.internal.resource:function:pay:1,dd.internal.resource:bad\\n\
    part:10|d|@0.3\\n";

#[test]
fn datadog_gets_what_its_agent_would_send() {
    let stub = Stub::start(vec![Says(202, "")]);
    let port = stub.port;
    let run = super::support::run(&format!(
        r#"let d = dogstatsd("{LINES}_e{{5,4}}:title|text|t:error|k:key|d:1700000000|#a:b\n_sc|db.up|2|m:slow|#a:b|h:db-1")
           param key: secret = secret("file:Cargo.toml")
           d.metrics | aggregate(10s) | datadog(api_key: key, url: "http://127.0.0.1:{port}", host: "here", compression: identity)
           d.events | datadog(api_key: key, url: "http://127.0.0.1:{port}", host: "here", compression: identity)
           d.checks | datadog(api_key: key, url: "http://127.0.0.1:{port}", host: "here", compression: identity)"#
    ));
    // A key of several lines cannot be one, and is refused before anything is sent.
    assert!(run.code == 1 && run.stderr.contains("no key has"), "{}", run.stderr);

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "abc\n").unwrap();
    let key = dir.path().join("key").display().to_string();
    let sink = format!(
        r#"datadog(api_key: secret("file:{key}"), url: "http://127.0.0.1:{port}", host: "here", compression: identity)"#
    );
    let run = super::support::run(&format!(
        r#"let d = dogstatsd("{LINES}_e{{5,4}}:title|text|t:error|k:key|d:1700000000|#b:2,a:b,b:2\n_sc|db.up|2|m:slow|#b:2,a:b,b:2|h:db-1\n_sc|bare|0")
           d.metrics | aggregate(10s) | {sink}
           d.events | {sink}
           d.checks | {sink}"#
    ));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let taken = stub.taken();
    let to = |path: &str| -> Vec<u8> {
        let found: Vec<&Asked> = taken.iter().filter(|asked| asked.line == format!("POST {path} HTTP/1.1")).collect();
        assert_eq!(found.len(), 1, "{path}");
        assert_eq!(found[0].headers["dd-api-key"], "abc");
        found[0].body.clone()
    };
    let series: BTreeMap<String, Message> = inner(&decode(&to("/api/v2/series")), 1)
        .into_iter()
        .map(|series| (strings(&series, 2)[0].clone(), series))
        .collect();
    let names: Vec<&str> = series.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["disk", "hits", "nohost", "temp", "wait.95percentile", "wait.avg", "wait.count", "wait.max", "wait.median"]
    );
    let hits = &series["hits"];
    assert_eq!(strings(hits, 3), ["b:2", "env:prod"]);
    assert_eq!((number(hits, 5), number(hits, 8), double(&inner(hits, 4)[0], 1)), (2, 10, 6.0));
    assert_eq!(number(&inner(hits, 4)[0], 2) % 10, 0);
    let host = |series: &Message| inner(series, 1).iter().map(|r| strings(r, 2)[0].clone()).collect::<Vec<_>>();
    assert_eq!(
        (host(hits), host(&series["temp"]), host(&series["nohost"])),
        (vec!["here".into()], vec!["web-1".into()], vec![])
    );
    // Every series has its interval, gauges too.
    assert_eq!(number(&series["temp"], 8), 10);
    // Tags that say what a series is of are no tags; one that is malformed is taken out.
    let resources: Vec<_> =
        inner(&series["disk"], 1).iter().map(|r| (strings(r, 1)[0].clone(), strings(r, 2)[0].clone())).collect();
    let resources: Vec<(&str, &str)> = resources.iter().map(|(kind, name)| (kind.as_str(), name.as_str())).collect();
    assert_eq!(resources, [("host", "here"), ("device", "sda"), ("function", "pay:1")]);
    assert_eq!(strings(&series["disk"], 3), ["env:a"]);
    assert_eq!((number(&series["temp"], 5), strings(&series["wait.max"], 6)), (3, vec!["millisecond".to_string()]));

    let sketches = decode(&to("/api/beta/sketches"));
    assert_eq!(each(&sketches, 2).len(), 1, "the empty metadata");
    let of = |name: &str| inner(&sketches, 1).into_iter().find(|sketch| strings(sketch, 1) == [name]).unwrap();
    // Its average lies among its values, though a third of one is in the sum.
    let part = &inner(&of("part"), 7)[0];
    assert_eq!((number(part, 2), double(part, 5), double(part, 6)), (3, 10.0, 10.0 / 0.3));
    let sketch = &of("size");
    let bins = &inner(sketch, 7)[0];
    assert_eq!((strings(sketch, 1), strings(sketch, 2)), (vec!["size".to_string()], vec!["here".to_string()]));
    assert_eq!((number(bins, 2), double(bins, 3), double(bins, 4), double(bins, 6)), (6, -3.0, 100.0, 214.0));
    let keys: Vec<i64> = packed(bins, 7).into_iter().map(zigzag).collect();
    assert_eq!((keys, packed(bins, 8)), (vec![-1409, 1487, 1635], vec![2, 2, 2]));

    let event = &inner(&decode(&to("/api/v1/events_batch")), 1)[0];
    assert_eq!(
        (strings(event, 1), strings(event, 2), number(event, 3)),
        (vec!["title".into()], vec!["text".into()], 1_700_000_000)
    );
    assert_eq!((strings(event, 7), strings(event, 8)), (vec!["error".to_string()], vec!["key".to_string()]));
    // In order, each once.
    assert_eq!(strings(event, 6), ["a:b", "b:2"]);
    let checks: Value = serde_json::from_slice(&to("/api/v1/check_run")).unwrap();
    assert_eq!(
        (&checks[0]["check"], &checks[0]["status"], &checks[0]["host_name"]),
        (&"db.up".into(), &2.into(), &"db-1".into())
    );
    assert_eq!((&checks[0]["tags"], &checks[1]["tags"]), (&serde_json::json!(["a:b", "b:2"]), &Value::Null));
}

/// Every row is delivered once, through whatever the far end plays; what it refuses is counted.
#[test]
fn a_far_end_on_a_bad_day() {
    let flows = "generate(flow, rows: 3000)";
    let cases: [(Script, u64, u64); 6] = [
        (vec![Says(503, ""), Says(500, "Retry-After: 1\r\n"), Says(200, "")], 3000, 0),
        (vec![Says(429, "Retry-After: 1\r\n"), Says(200, "")], 3000, 0),
        (vec![Breaks, Breaks, Says(204, "")], 3000, 0),
        (vec![Says(413, ""), Says(413, ""), Says(200, "")], 3000, 0),
        (vec![Says(400, "")], 0, 3000),
        (vec![Says(413, "")], 0, 20),
    ];
    for (script, delivered, refused) in cases {
        let stub = Stub::start(script.clone());
        let rows = if refused == 20 { "generate(flow, rows: 20)" } else { flows };
        let run = super::support::run(&format!("{rows} | http(\"http://127.0.0.1:{}/x\", batch: 10000)", stub.port));
        let lines: usize = stub.taken().iter().map(|asked| asked.body.iter().filter(|b| **b == b'\n').count()).sum();
        assert_eq!(lines as u64, delivered, "{script:?}: {}", run.stderr);
        let reason = if refused == 20 { "too_large" } else { "refused" };
        assert_eq!(run.count("http", &format!("dropped/{reason}")), refused, "{script:?}");
        assert_eq!(run.count("http", "out"), delivered, "{script:?}");
    }
}

/// The same of Datadog: each point is delivered once, or refused and counted.
#[test]
fn datadog_on_a_bad_day() {
    let slow = Duration::from_millis(1500);
    let cases: [(Script, u64, u64); 6] = [
        (vec![Late(slow, 202), Says(202, "")], 3000, 0),
        (vec![Says(500, ""), Says(503, "Retry-After: 1\r\n"), Says(202, "")], 3000, 0),
        (vec![Says(429, "Retry-After: 1\r\n"), Says(202, "")], 3000, 0),
        (vec![Breaks, Breaks, Says(202, "")], 3000, 0),
        (vec![Says(413, ""), Says(413, ""), Says(202, "")], 3000, 0),
        (vec![Says(400, "")], 0, 3000),
    ];
    let dir = tempfile::tempdir().unwrap();
    let lines = |name: &str, lines: String| {
        std::fs::write(dir.path().join(name), lines).unwrap();
        format!("let d = dogstatsd({:?})\n", dir.path().join(name))
    };
    let gauges = lines("gauges", (0..3000).map(|at| format!("gauge.{at}:1|g\n")).collect());
    let events = lines("events", "_e{5,4}:title|text\n".repeat(250));
    for (script, delivered, refused) in cases {
        let stub = Stub::start(script.clone());
        let run = super::support::run(&format!(
            "{gauges}d.metrics | aggregate(10s) | datadog(api_key: secret(\"env:PATH\"), \
             url: \"http://127.0.0.1:{}\", compression: identity)",
            stub.port
        ));
        let each = |asked: &Asked| each(&decode(&asked.body), 1).len() as u64;
        let points: u64 = stub.taken().iter().map(each).sum();
        assert_eq!((points, run.count("datadog", "out")), (delivered, delivered), "{script:?}: {}", run.stderr);
        assert_eq!(run.count("datadog", "dropped/refused"), refused, "{script:?}");
    }
    let stub = Stub::start(vec![Says(202, "")]);
    let run = super::support::run(&format!(
        "{events}d.events | datadog(api_key: secret(\"env:PATH\"), url: \"http://127.0.0.1:{}\")",
        stub.port
    ));
    assert_eq!((run.count("datadog", "out"), stub.taken().len()), (250, 3));
}

/// An answer that does not come in time is no answer, and its payload is sent again.
#[test]
fn who_does_not_answer_is_asked_again() {
    // Twice, so that the trouble lasts: what is over sooner is only counted.
    let never = Late(Duration::from_secs(60), 0);
    let stub = Stub::start(vec![never, never, Says(202, "")]);
    let run = super::support::run(&format!(
        "generate(flow, rows: 30) | http(\"http://127.0.0.1:{}/x\", timeout: 1s)",
        stub.port
    ));
    let asked = stub.asked.lock().unwrap();
    assert_eq!((run.code, run.count("http", "out"), asked.len()), (0, 30, 3), "{}", run.stderr);
    assert!(asked.iter().all(|(one, _)| one.body == asked[0].0.body));
    assert!(run.stderr.contains("no answer within 1 s"), "{}", run.stderr);
}

/// A key that is refused is said once, with what to do, and not shown again soon; nothing is thrown away for it.
#[test]
fn a_key_that_is_refused_is_kept_back() {
    let stub = Stub::start(vec![Says(403, "")]);
    let mut live = Live::start(&format!(
        "settings(drain: 1s) internal(200ms) | aggregate(200ms) | datadog(api_key: secret(\"env:PATH\"), url: \"http://127.0.0.1:{}\")",
        stub.port
    ));
    live.wait("a refusal", || !stub.asked.lock().unwrap().is_empty());
    // Payloads that are due meanwhile wait with the first.
    std::thread::sleep(Duration::from_secs(2));
    let run = live.stop();
    // As many as may be on their way before the first is answered.
    let asked = stub.asked.lock().unwrap().len();
    assert!((1..=4).contains(&asked), "{asked}");
    let told = &run.stderr;
    let warning = "refuses our key (403 Forbidden): {}; is `api_key:` of this organisation";
    assert_eq!(told.matches(warning).count(), 1, "{told}");
    assert_eq!((run.count("datadog", "out"), run.count("datadog", "dropped/refused")), (0, 0));
    assert!(run.code == 1 && told.contains("rows were not delivered: "), "{told}");
}

/// Who asks to be left alone is left alone by all payloads, not only by the one that was answered so.
#[test]
fn who_asks_to_be_left_alone_is() {
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:39 GMT\r\n";
    for headers in ["Retry-After: 2\r\n", date] {
        let stub = Stub::start(vec![Says(429, headers), Says(200, "")]);
        let url = format!("http://127.0.0.1:{}/x", stub.port);
        let run = super::support::run(&format!("generate(flow, rows: 20000) | http(\"{url}\", batch: 100)"));
        assert_eq!((run.code, run.count("http", "out")), (0, 20_000), "{}", run.stderr);
        let asked = stub.asked.lock().unwrap();
        let since: Vec<Duration> = asked.iter().map(|(one, _)| one.at.duration_since(asked[0].0.at)).collect();
        // Those that were on their way already.
        let early = since.iter().filter(|since| **since < Duration::from_millis(1900)).count();
        assert!(since.len() >= 200 && early < 20, "{early} of {} with {headers:?}", since.len());
    }
}

/// No request has more rows than `batch`, whatever size batches come in.
#[test]
fn a_payload_has_the_rows_it_is_to_have() {
    let stub = Stub::start(vec![Says(200, "")]);
    let run = super::support::run(&format!(
        "generate(flow, rows: 3001) | http(\"http://127.0.0.1:{}/x\", batch: 10)",
        stub.port
    ));
    assert_eq!((run.code, run.count("http", "out")), (0, 3001));
    let rows: Vec<usize> =
        stub.taken().iter().map(|asked| asked.body.iter().filter(|b| **b == b'\n').count()).collect();
    assert_eq!((rows.iter().sum::<usize>(), rows.iter().max()), (3001, Some(&10)));
}

/// Nor many more bytes than fit, however long its rows are, and however much longer in JSON.
#[test]
fn a_payload_of_long_rows_has_few() {
    let stub = Stub::start(vec![Says(200, "")]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let tags = format!("k:{}", "\u{1}".repeat(7_700));
    std::fs::write(&path, (0..2_000).map(|n| format!("m{n}:1|c|#{tags}\n")).collect::<String>()).unwrap();
    let run = super::support::run(&format!(
        "let d = dogstatsd({path:?})\nd.metrics | http(\"http://127.0.0.1:{}/x\")",
        stub.port
    ));
    assert_eq!((run.code, run.count("http", "out")), (0, 2_000), "{}", run.stderr);
    let bytes: Vec<usize> = stub.taken().iter().map(|asked| asked.body.len()).collect();
    assert!(bytes.iter().sum::<usize>() > 2_000 * 6 * 7_700, "control characters take six bytes each");
    assert!(bytes.iter().all(|bytes| *bytes < 4 << 20), "{bytes:?}");
}

#[test]
fn a_refusal_is_said_and_fails_the_run() {
    let stub = Stub::start(vec![Says(404, "")]);
    let run = super::support::run(&format!("generate(flow, rows: 3) | http(\"http://127.0.0.1:{}/x\")", stub.port));
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("refuses a payload (404 Not Found)"), "{}", run.stderr);
}

#[test]
fn http_sends_what_it_is_told_to() {
    let stub = Stub::start(vec![Says(200, "")]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "abc\n").unwrap();
    let key = dir.path().join("key").display().to_string();
    let run = super::support::run(&format!(
        r#"generate(flow, rows: 3) | select src.ip, dst.port | http("http://127.0.0.1:{}/v1?x=1", method: put, encoding: json_array,
             headers: ["X-Team: net"], auth: secret("file:{key}"), compression: gzip)"#,
        stub.port
    ));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let asked = &stub.taken()[0];
    assert_eq!(asked.line, "PUT /v1?x=1 HTTP/1.1");
    let header = |name: &str| asked.headers[name].as_str();
    assert_eq!(
        (header("x-team"), header("authorization"), header("content-type"), header("content-encoding")),
        ("net", "Bearer abc", "application/json", "gzip")
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&asked.body[..]).read_to_string(&mut text).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(rows.len() == 3 && rows.iter().all(|row| row["dst"]["port"].is_number()), "{text}");
}

/// A proxy named by the environment is asked, and not for what `NO_PROXY` names.
#[test]
fn proxies_of_the_environment_are_used() {
    let proxy = Stub::start(vec![Says(200, "")]);
    let direct = Stub::start(vec![Says(200, "")]);
    let run = |to: &str| {
        let output = super::support::weir()
            .args(["run", "-e", &format!("generate(flow, rows: 3) | http(\"{to}\")")])
            .env("HTTP_PROXY", format!("http://127.0.0.1:{}", proxy.port))
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("http://intake.invalid/v1");
    run(&format!("http://127.0.0.1:{}/v1", direct.port));
    assert_eq!(proxy.taken()[0].line, "POST http://intake.invalid/v1 HTTP/1.1");
    assert_eq!((proxy.taken().len(), direct.taken().len()), (1, 1));
}

/// Who speaks no TLS needs no certificates.
#[test]
fn certificates_are_for_tls() {
    let stub = Stub::start(vec![Says(200, "")]);
    let run = |to: &str| {
        let pipeline = format!("generate(flow, rows: 3) | http(\"{to}\")");
        let mut weir = super::support::weir();
        weir.args(["run", "-e", &pipeline]).env("SSL_CERT_FILE", "/nowhere.pem").env("SSL_CERT_DIR", "/nowhere");
        let output = weir.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&format!("http://127.0.0.1:{}/v1", stub.port)), (Some(0), String::new()));
    let (code, told) = run("https://127.0.0.1/v1");
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(told);
}

#[test]
fn tracers_find_their_way_by_info() {
    let (port, info) = (free_port(), free_port());
    let mut live = Live::start(&format!(
        r#"let d = dogstatsd(listen: ["udp://127.0.0.1:{port}"], info: "127.0.0.1:{info}")
           d.metrics | file("{{dir}}/metrics")"#
    ));
    live.wait("/info", || get(info, "/info", "").is_some());
    let (status, body) = get(info, "/info", "").unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["config"]["statsd_port"].as_u64()), (200, Some(port.into())));
    assert!(body["version"].is_string() && body["endpoints"].is_array());
    assert_eq!(get(info, "/v0.7/config", "").unwrap().0, 404);
    // Traces are not waited for.
    let traces = "PUT /v0.4/traces HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n";
    assert_eq!(ask(info, traces, b"the beginning").unwrap().0, 404);
    let sent = b"by.http:1|c\nby.http:2|c\n";
    let head = format!(
        "POST /dogstatsd/v2/proxy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        sent.len()
    );
    assert_eq!(ask(info, &head, sent).unwrap().0, 200);
    std::thread::sleep(Duration::from_millis(100));
    live.stop();
    assert_eq!(live.rows("metrics").len(), 2);
}

/// What `node.weir` promises its host: the Agent's variables, its ports, and somebody who says how it is.
#[test]
fn the_node_says_how_it_is() {
    let (port, admin, info) = (free_port(), free_port(), free_port());
    let node = std::fs::read_to_string(super::support::root().join("pipelines/node.weir")).unwrap();
    let node = node.replace(":8126", &format!(":{info}")).replace("/var/run/datadog/dsd.socket", "{dir}/dsd.socket");
    let tests = node.find("\ntest \"").unwrap();
    let mut live = Live::start_with(&node[..tests], |command| {
        command.env("DD_DOGSTATSD_PORT", port.to_string()).env("DD_HEALTH_PORT", admin.to_string())
    });
    live.wait("/health", || get(admin, "/health", "").is_some_and(|(status, _)| status == 200));
    live.wait("/ready", || get(admin, "/ready", "").is_some_and(|(status, _)| status == 200));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for line in ["good:1|c", "bad:one|c", "worse:1|x", "bad:two|c"] {
        socket.send_to(line.as_bytes(), ("127.0.0.1", port)).unwrap();
    }
    let noted = |what: &str| {
        let (_, ledger) = get(admin, "/ledger", "")?;
        let ledger: Value = serde_json::from_str(&ledger).ok()?;
        ledger["components"].as_array()?.iter().find(|one| one["name"] == "statsd")?["noted"][what].as_u64()
    };
    live.wait("the lines", || noted("lines") == Some(4));
    assert_eq!((noted("invalid_value"), noted("invalid_type")), (Some(2), Some(1)));
    let metrics = get(admin, "/metrics", "").unwrap().1;
    assert!(metrics.contains("invalid_value"), "{metrics}");
    assert!(get(info, "/info", "").unwrap().1.contains(&port.to_string()));
    live.stop();
}

/// A far end that is away makes nobody unready who goes on without it.
#[test]
fn who_goes_on_without_a_far_end_is_ready() {
    let admin = free_port();
    let stub = Stub::start(vec![Says(503, "")]);
    let mut live = Live::start(&format!(
        "settings(admin: \"127.0.0.1:{admin}\", drain: 1s)
         internal(100ms) | http(\"http://127.0.0.1:{}/x\", linger: 10ms, on_full: drop_newest)",
        stub.port
    ));
    live.wait("the sink's trouble", || get(admin, "/ready", "").is_some_and(|(_, body)| body.contains("503")));
    let (status, body) = get(admin, "/ready", "").unwrap();
    assert!(status == 200 && body.contains("\"ready\":true"), "{status} {body}");
    live.stop();
}

#[test]
fn the_admin_server_says_how_it_is() {
    let (port, admin) = (free_port(), free_port());
    let stub = Stub::start(vec![Says(503, "")]);
    let mut live = Live::start(&format!(
        r#"settings(admin: "127.0.0.1:{admin}", drain: 1s)
           let d = dogstatsd(listen: ["udp://127.0.0.1:{port}"])
           d.metrics | http("http://127.0.0.1:{}/x", linger: 10ms)
           internal(100ms) | file("{{dir}}/internal")"#,
        stub.port
    ));
    live.wait("/health", || get(admin, "/health", "").is_some_and(|(status, _)| status == 200));
    assert_eq!(get(admin, "/ready", "").unwrap().0, 200);
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"a:1|c", ("127.0.0.1", port)).unwrap();
    live.wait("the sink's trouble", || get(admin, "/ready", "").is_some_and(|(status, _)| status == 503));
    let (status, health) = get(admin, "/health", "").unwrap();
    assert_eq!(status, 200, "a sink that tries again is alive: {health}");
    let ledger: Value = serde_json::from_str(&get(admin, "/ledger", "").unwrap().1).unwrap();
    assert_eq!(ledger["components"][0]["name"], "d");
    let graph: Value = serde_json::from_str(&get(admin, "/graph", "").unwrap().1).unwrap();
    assert_eq!(graph["edges"][0]["from"], "d");
    let metrics = get(admin, "/metrics", "").unwrap().1;
    assert!(
        metrics.contains("weir_component_made_total{component=\"d\",component_type=\"dogstatsd\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(get(admin, "/nowhere", "").unwrap().0, 404);
    let internal = live.path("internal");
    live.wait("weir's own numbers", || internal.metadata().is_ok_and(|meta| meta.len() > 0));
    let run = live.stop();
    assert!(run.code == 1 && run.stderr.contains("503"), "{}", run.stderr);
    let names = live.rows("internal");
    assert!(
        names.iter().any(|row| row["name"] == "weir.component.made" && row["kind"] == "counter"),
        "{names:?} {}",
        run.stderr
    );
}

#[test]
fn prometheus_scrapes_both_forms() {
    let scrape = free_port();
    let port = free_port();
    let mut live = Live::start(&format!(
        r#"let d = dogstatsd(listen: ["udp://127.0.0.1:{port}"])
           d.metrics | aggregate(1s, zero_fill: none) | prometheus("127.0.0.1:{scrape}", stale: 3s)"#
    ));
    live.wait_for_port(port);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let line = "app.hits:3|c|@0.5|#env:a\"b\\c,9x:1,env:two\napp.temp:-1.5|g\napp.wait:20|ms\napp.size:1:2:300|d";
    socket.send_to(line.as_bytes(), ("127.0.0.1", port)).unwrap();
    live.wait("the points", || get(scrape, "/metrics", "").is_some_and(|(_, text)| text.contains("app_size_count")));
    let classic = get(scrape, "/metrics", "").unwrap().1;
    let open = get(scrape, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").unwrap().1;
    live.wait("what is stale to go", || get(scrape, "/metrics", "").is_some_and(|(_, text)| text.is_empty()));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    insta::assert_snapshot!("prometheus_classic", classic);
    insta::assert_snapshot!("prometheus_openmetrics", open);
}
