//! The source as a user runs it.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use weir_ebpf::records::{Counters, Losses};

use super::super::dogstatsd::live::Live;
use super::super::support::{now, root, run, text};
use super::space::tcp_info;
use super::{alone, is_allowed, send};

/// A run of the source on the namespace at hand, which is listening.
fn start(options: &str) -> Live {
    let mut live = Live::start(&format!("ebpf(200ms, netns: \"own\"{options}) | file(\"{{dir}}/rows\")"));
    wait_until_counting(&mut live, "rows");
    live
}

/// Waits until a run tells of a connection that is made for this: then it is there. None is made before the program
/// is attached: one that opens just before and closes just after is counted as unknown.
pub fn wait_until_counting(live: &mut Live, file: &str) {
    let rows = live.path(file);
    let files = format!("/proc/{}/fdinfo", live.pid());
    live.wait("the program", || {
        let files = std::fs::read_dir(&files).into_iter().flatten().flatten();
        let mut told = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        // Iterators are links before it, and see nothing by themselves.
        told.any(|file| file.contains("link_type:") && !file.contains("link_type:\titer"))
    });
    live.wait("a row", || {
        assert!(TcpStream::connect("127.0.0.1:9").is_err());
        std::fs::read_to_string(&rows).is_ok_and(|rows| rows.contains("ECONNREFUSED"))
    });
}

/// Ends it; the rows that came, but those of the probe.
fn stop(mut live: Live) -> Vec<Value> {
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ledger = run.ledger.unwrap();
    assert_eq!((&ledger["balanced"], &ledger["components"][0]["dropped"]), (&true.into(), &serde_json::json!({})));
    live.rows("rows").into_iter().filter(|row| row["dst"]["port"] != 9).collect()
}

pub fn sum(rows: &[Value], observer: &str, column: &str) -> u64 {
    let of = rows.iter().filter(|row| row["observer"] == observer);
    of.map(|row| row[column].as_u64().unwrap_or(0)).sum()
}

/// What rows tell of sockets that are open is what the kernel says of them.
fn assert_told(rows: &[Value], [client, server]: [Counters; 2]) {
    for (observer, own, [out, back]) in [("src", client, ["sent", "received"]), ("dst", server, ["received", "sent"])] {
        let told = |way: &str, what: &str| sum(rows, observer, &format!("{way}_{what}"));
        let counters = Counters {
            bytes_sent: told(out, "payload_bytes"),
            bytes_retransmitted: told(out, "retransmit_bytes"),
            bytes_received: told(back, "payload_bytes"),
            packets_sent: told(out, "packets") as u32,
            packets_received: told(back, "packets") as u32,
            retransmits: told(out, "retransmits") as u32,
        };
        assert_eq!(counters, own, "{observer} {rows:#?}");
    }
}

#[test]
fn rows_of_intervals_sum_to_what_the_sockets_counted() {
    let Some((told, rows, info, times)) = alone("rows_of_intervals_sum_to_what_the_sockets_counted", |_| {
        let mut live = start("");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let opening = now();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let opened = now();
        let server = listener.accept().unwrap().0;
        for _ in 0..8 {
            send(&client, &server, 123_457);
            send(&server, &client, 1_001);
            std::thread::sleep(Duration::from_millis(90));
        }
        // Nothing more happens, and all of it is told.
        let info = [&client, &server].map(tcp_info);
        let port = client.local_addr().unwrap().port();
        let path = live.path("rows");
        let mut told = Vec::new();
        live.wait("all of it", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            told = rows.filter(|row| row["src"]["port"] == port).collect();
            sum(&told, "dst", "sent_packets") >= u64::from(info[1].packets_received)
                && sum(&told, "src", "received_packets") >= u64::from(info[0].packets_received)
        });
        assert_eq!([&client, &server].map(tcp_info), info, "nothing has happened");
        let closing = now();
        drop((client, server));
        // On a busy host the last segments are dealt with after the sockets are closed.
        std::thread::sleep(Duration::from_millis(150));
        let closed = now();
        (told, stop(live), info, [opening, opened, closing, closed])
    }) else {
        return;
    };
    assert_told(&told, info);
    let [opening, opened, closing, closed] = times;
    for observer in ["src", "dst"] {
        let of: Vec<&Value> = rows.iter().filter(|row| row["observer"] == observer).collect();
        let at = |row: &Value, column: &str| row[column].as_str().unwrap().to_string();
        let [first, last] = [of[0], of[of.len() - 1]];
        assert!((opening.clone()..=opened.clone()).contains(&at(first, "start")), "{opening} {opened} {first:#}");
        assert!((closing.clone()..=closed.clone()).contains(&at(last, "end")), "{closing} {closed} {last:#}");
        // All others begin where an interval does.
        let is_cut = |row: &&Value| {
            let start = at(row, "start");
            let nanos =
                start.trim_end_matches('Z').rsplit_once('.').map_or(0, |(_, part)| part.parse::<u64>().unwrap());
            nanos % 200_000_000 == 0
        };
        assert!(of[1..].iter().all(is_cut), "{of:#?}");
    }
    let [client, server] = info;
    assert!(rows.len() > 6, "{rows:#?}");
    assert_eq!(sum(&rows, "src", "sent_payload_bytes"), client.bytes_sent);
    assert_eq!(sum(&rows, "src", "sent_retransmit_bytes"), client.bytes_retransmitted);
    assert_eq!(sum(&rows, "src", "received_payload_bytes"), client.bytes_received);
    assert_eq!(sum(&rows, "dst", "received_payload_bytes"), server.bytes_sent);
    assert_eq!(sum(&rows, "dst", "sent_payload_bytes"), server.bytes_received);
    // Behind what was asked come the packets of the end: at most a FIN and an ACK each way.
    let packets = sum(&rows, "src", "sent_packets") - u64::from(client.packets_sent);
    assert!((1..=2).contains(&packets), "{packets}");
    let last: Vec<&Value> = rows.iter().filter(|row| row["end_reason"] == "end_of_flow").collect();
    assert_eq!(last.len(), 2, "{last:#?}");
    for row in &rows {
        assert!(row["start"].as_str() <= row["end"].as_str(), "{row:#}");
        assert_eq!((&row["initiator"], &row["protocol"]), (&"kernel".into(), &"tcp".into()));
        let end = if row["observer"] == "src" { &row["src"] } else { &row["dst"] };
        assert_eq!(end["pid"], std::process::id(), "{row:#}");
    }
    let ids: std::collections::BTreeSet<String> = rows.iter().map(|row| row["community_id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "both ends have the same id");
}

#[test]
fn a_recording_gives_the_same_rows_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.flows");
    let recorded = alone("a_recording_gives_the_same_rows_again", |_| {
        let live = start(&format!(", record: \"{}\"", path.display()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..20 {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"hello").unwrap();
            std::thread::sleep(Duration::from_millis(25));
        }
        stop(live)
    });
    let Some(mut rows) = recorded else { return };
    let again = run(&format!("ebpf(replay: \"{}\") | where dst.port != 9 | stdout(ndjson)", path.display()));
    assert_eq!(again.code, 0, "{}", again.stderr);
    let mut again = again.rows();
    for row in rows.iter_mut().chain(&mut again) {
        for end in ["src", "dst"] {
            // These are of the host.
            let end = row[end].as_object_mut().unwrap();
            ["host", "id", "container"].iter().for_each(|column| drop(end.remove(*column)));
        }
    }
    assert!(rows.len() >= 40 && rows.len() == again.len(), "{} and {}", rows.len(), again.len());
    let other = rows.iter().zip(&again).find(|(row, again)| row != again);
    assert!(other.is_none(), "{other:#?}");
}

#[test]
fn recordings_that_are_none_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(root().join("pipelines/data/shop.flows")).unwrap();
    let mut bad = whole.clone();
    bad[13 + 17] = b'?';
    // An interval in which more was lost than can be.
    let mut lying = b"weir-flows 1\n|\0\0\0\0\0\0\0\0.".to_vec();
    lying.extend([0xff; 17 * 8]);
    let mut said = String::new();
    for (name, bytes) in
        [("empty", &b""[..]), ("other", b"GIF89a"), ("cut", &whole[..8_000]), ("damaged", &bad), ("lying", &lying)]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let ran = run(&format!("ebpf(replay: \"{}\") | stdout(ndjson)", path.display()));
        let words = ran.stderr.replace(&dir.path().display().to_string(), "DIR");
        said += &format!("exit {}, {} rows: {words}", ran.code, ran.stdout.lines().count());
    }
    insta::assert_snapshot!("recordings", said);
}

/// Somebody without any right.
pub fn nobody(dir: &Path) -> Command {
    // A copy that anybody may run.
    let program = dir.join("weir");
    std::fs::copy(env!("CARGO_BIN_EXE_weir"), &program).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(&program).current_dir(dir).env("NO_COLOR", "1");
    command
}

pub fn open_to_all() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), all).unwrap();
    dir
}

/// What the kernel tells anybody is told, and what is missing from it.
#[test]
fn without_rights_the_kernel_is_asked_for_its_sockets() {
    let asked = alone("without_rights_the_kernel_is_asked_for_its_sockets", |_| {
        let dir = open_to_all();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        send(&client, &server, 50_000);
        let file = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        let mut run = nobody(dir.path());
        run.args(["run", "-e", "ebpf(200ms) | stdout(ndjson)", "--ledger"]).arg(dir.path().join("ledger.json"));
        let mut child = run.stdout(file("rows")).stderr(file("stderr")).spawn().unwrap();
        let rows = || -> Vec<Value> {
            let text = std::fs::read_to_string(dir.path().join("rows")).unwrap();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let wait = |what: &str, is_there: &dyn Fn(&[Value]) -> bool| {
            let begun = std::time::Instant::now();
            while !is_there(&rows()) {
                assert!(begun.elapsed() < Duration::from_secs(20), "waited for {what}: {:#?}", rows());
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        // It has begun when it tells of what is sent then; until then it is not its.
        std::thread::sleep(Duration::from_millis(700));
        send(&client, &server, 1_000);
        send(&server, &client, 7);
        wait("both ends", &|rows| {
            sum(rows, "src", "sent_payload_bytes") + sum(rows, "dst", "sent_payload_bytes") >= 2_000
        });
        let info = [&client, &server].map(tcp_info);
        drop((client, server));
        wait("the end", &|rows| rows.iter().filter(|row| row["end_reason"] == "end_of_flow").count() == 2);
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        let code = child.wait().unwrap().code();
        let ledger: Value = serde_json::from_slice(&std::fs::read(dir.path().join("ledger.json")).unwrap()).unwrap();
        assert_eq!((code, &ledger["balanced"]), (Some(0), &true.into()));
        (rows(), info, std::fs::read_to_string(dir.path().join("stderr")).unwrap())
    });
    let Some((rows, [client, server], stderr)) = asked else { return };
    // What was sent before it began is not told as new.
    assert_eq!(sum(&rows, "src", "sent_payload_bytes"), client.bytes_sent - 50_000, "{rows:#?}");
    assert_eq!(sum(&rows, "dst", "received_payload_bytes"), server.bytes_sent);
    assert_eq!(sum(&rows, "dst", "sent_payload_bytes"), server.bytes_received - 50_000);
    assert!(rows.iter().all(|row| row["initiator"] == "port" && row["protocol"] == "tcp"));
    insta::assert_snapshot!("polled", stderr);
}

#[test]
fn what_the_kernel_refuses_is_said_with_what_would_help() {
    if !is_allowed("what_the_kernel_refuses_is_said_with_what_would_help") {
        return;
    }
    let dir = open_to_all();
    let mut said = String::new();
    for options in [", netns: \"/proc/self/ns/net\"", ", record: \"x.flows\""] {
        let output = nobody(dir.path()).args(["run", "-e", &format!("ebpf(30s{options}) | stdout")]).output().unwrap();
        let (code, _, stderr) = text(&output);
        said += &format!("exit {code}: {stderr}");
    }
    let netns = run("ebpf(30s, netns: \"/etc/passwd\") | stdout");
    insta::assert_snapshot!("refused", format!("{said}exit {}: {}", netns.code, netns.stderr));
}

#[test]
fn the_doctor_looks_at_every_hook_and_leaves_nothing_behind() {
    if !is_allowed("the_doctor_looks_at_every_hook_and_leaves_nothing_behind") {
        return;
    }
    let said = |mut command: Command| -> Vec<Value> {
        let output = command.args(["doctor", "--format", "json"]).output().unwrap();
        let (code, stdout, stderr) = text(&output);
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let state = |all: &[Value], what: &str| -> String {
        let found = all.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("nothing of {what} in {all:#?}"))["state"].as_str().unwrap().to_string()
    };
    let root = said(super::super::support::weir());
    for hook in [
        "tp_btf/inet_sock_set_state",
        "tp_btf/tcp_destroy_sock",
        "iter/task_file",
        "cgroup_skb/egress",
        "iter/bpf_map_elem",
        "INET_DIAG",
    ] {
        assert_eq!(state(&root, hook), "fine", "{root:#?}");
    }
    let dir = open_to_all();
    let other = said(nobody(dir.path()));
    assert_eq!((state(&other, "CAP_BPF"), state(&other, "bpf(2)")), ("missing".into(), "missing".into()));
    let refused = other.iter().find(|finding| finding["what"] == "bpf(2)").unwrap();
    assert_eq!(refused["errno"], libc::EPERM, "{refused:#}");
    // What deploy/ gives is enough, and each of it is needed.
    let with = |rights: &[&str]| -> Vec<Value> {
        let rights: String = rights.iter().map(|right| format!("+{right},")).collect();
        let rights = rights.trim_end_matches(',');
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &format!("--inh-caps=-all,{rights}")]);
        command.args([format!("--ambient-caps={rights}"), format!("--bounding-set=-all,{rights}")]);
        command.arg(dir.path().join("weir"));
        said(command)
    };
    let all = with(&["bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"]);
    let flows = all.iter().filter(|finding| finding["theme"] == "flows" || finding["theme"] == "rights");
    assert!(flows.clone().count() > 8 && flows.into_iter().all(|finding| finding["state"] == "fine"), "{all:#?}");
    let tcp = with(&["bpf", "perfmon"]);
    let states = ["tp_btf/inet_sock_set_state", "iter/task_file", "cgroup_skb/ingress"].map(|hook| state(&tcp, hook));
    assert_eq!(states, ["fine", "fine", "missing"]);
    assert_eq!(state(&with(&["perfmon", "net_admin"]), "bpf(2)"), "missing");
    let helped = other.iter().filter(|finding| finding["state"] != "fine").all(|finding| finding["help"].is_string());
    assert!(helped, "{other:#?}");
}

#[test]
fn what_the_hooks_cost_is_measured_on_the_spot() {
    if !is_allowed("what_the_hooks_cost_is_measured_on_the_spot") {
        return;
    }
    let output = super::super::support::weir().args(["bench", "ebpf", "--json"]).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9, "{lines:#?}");
    let is_measured = |line: &Value| line["nanoseconds"].as_f64() > Some(1.0) && line["of"].as_u64() > Some(0);
    assert!(lines.iter().all(is_measured), "{lines:#?}");
    let dir = open_to_all();
    let (code, _, stderr) = text(&nobody(dir.path()).args(["bench", "ebpf"]).output().unwrap());
    assert_eq!(code, 1);
    insta::assert_snapshot!("bench_refused", stderr);
}

#[test]
fn after_a_kill_the_account_begins_anew_and_says_since_when() {
    let told = alone("after_a_kill_the_account_begins_anew_and_says_since_when", |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let killed = start("");
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        send(&client, &server, 70_000);
        assert!(Command::new("kill").args(["-9", &killed.pid().to_string()]).status().unwrap().success());
        drop(killed);
        // What is sent while nobody counts is not told later as if it were new.
        send(&client, &server, 5_000);
        let restarted = now();
        let live = start("");
        send(&client, &server, 1_234);
        std::thread::sleep(Duration::from_millis(300));
        (stop(live), client.local_addr().unwrap().port(), restarted)
    });
    let Some((rows, port, restarted)) = told else { return };
    let of: Vec<Value> = rows.into_iter().filter(|row| row["src"]["port"] == port).collect();
    for observer in ["src", "dst"] {
        assert_eq!(sum(&of, observer, "sent_payload_bytes"), 1_234, "{of:#?}");
    }
    assert!(of.iter().all(|row| row["start"].as_str() >= Some(restarted.as_str())), "{restarted} {of:#?}");
    assert!(of.iter().all(|row| row["initiator"] == "port"), "it was open before: {of:#?}");
}

/// A process that is gone when its row comes: what the kernel said of it is known, and it is counted that no more is.
#[test]
fn a_process_that_was_gone_at_once_is_named_and_counted() {
    let told = alone("a_process_that_was_gone_at_once_is_named_and_counted", |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pipeline = "ebpf(200ms, netns: \"own\") | where observer == \"src\" \
                        | resolve(src, from: [procfs()]) | file(\"{dir}/rows\")";
        let mut live = Live::start(pipeline);
        wait_until_counting(&mut live, "rows");
        let port = listener.local_addr().unwrap().port();
        for _ in 0..10 {
            let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3");
            assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
            drop(listener.accept().unwrap());
        }
        std::thread::sleep(Duration::from_millis(400));
        let ran = live.stop();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        (live.rows("rows"), ran, port)
    });
    let Some((rows, ran, port)) = told else { return };
    let of: Vec<&Value> = rows.iter().filter(|row| row["dst"]["port"] == port).collect();
    assert!(of.len() >= 10, "{rows:#?}");
    assert!(of.iter().all(|row| row["src"]["tags"].to_string().contains("process:bash")), "{of:#?}");
    let noted = |what: &str| ran.count("resolve", &format!("noted/procfs_{what}"));
    assert!(noted("misses") > 0, "{rows:#?}");
    // Ends that are alike in all that is asked for are asked for once.
    let asked = noted("hits") + noted("misses") + noted("stale");
    assert!(asked >= 10 && asked <= rows.len() as u64, "{asked} of {}", rows.len());
}

/// A recording of a host whose clock was put back by an hour: what comes then is late for what was promised before.
#[test]
fn a_clock_that_was_put_back_is_told_and_counted() {
    use weir_sources::ebpf::meter::Event;
    use weir_sources::ebpf::recording::{self, Step};
    const SECOND: i64 = 1_000_000_000;
    // An open connection of a real recording.
    let shop = std::fs::read(root().join("pipelines/data/shop.flows")).unwrap();
    let mut at = recording::MAGIC.len();
    let (open, active) = loop {
        let Step::Event { used, event } = recording::step(&shop[at..]) else { panic!("no open connection") };
        match event {
            Event::Open(record) if record.counters.bytes_sent > 0 => {
                break (&shop[at..at + used], record.active as i64);
            }
            _ => at += used,
        }
    };
    let begun = 1_700_000_000 * SECOND;
    let mut bytes = recording::MAGIC.to_vec();
    for (later, step, open) in [(0, 0, &[][..]), (30, -3_600, &[]), (60, -3_600, open)] {
        let wall = begun + (later + step) * SECOND;
        recording::clock(wall, (active + later * SECOND) as u64, &mut bytes);
        recording::cut(wall, &mut bytes);
        bytes.extend(open);
        recording::done(&Losses::default(), &mut bytes);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.flows");
    std::fs::write(&path, bytes).unwrap();
    let ran = run(&format!(
        "let all = ebpf(replay: \"{}\") | window(1m) by dst.port {{ n = count() }}\nall | blackhole\nall.late | stdout(ndjson)",
        path.display()
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("clock", ran.stderr);
    assert_eq!(ran.rows().len(), 1, "{}", ran.stdout);
    assert_eq!(ran.ledger.unwrap()["components"][0]["noted"]["clock_steps"], 1);
}
