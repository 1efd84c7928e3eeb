//! Hosts on which not everything is there, or more than usual.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::super::dogstatsd::live::Live;
use super::super::support::{has_tools, text, weir};
use super::source::{open_to_all, wait_until_counting};
use super::{alone, is_allowed, send};

/// A kernel without its types takes no program.
const WITHOUT_TYPES: &str = "mount --bind /dev/null /sys/kernel/btf/vmlinux";

/// Lines of `weir plan` that are of the host, run as given.
fn plan(mut command: Command, pipeline: &str) -> String {
    let (code, stdout, stderr) = text(&command.args(["plan", "-e", pipeline]).output().unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let host = stdout.split_once("on this host\n").unwrap_or_else(|| panic!("{stdout}")).1;
    without_conntrack(host)
}

/// Whether connections are tracked is another thing.
fn without_conntrack(said: &str) -> String {
    said.lines().filter(|line| !line.contains("tracked")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_plan_says_what_it_would_stand_on() {
    if !is_allowed("the_plan_says_what_it_would_stand_on") {
        return;
    }
    let dir = open_to_all();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", &format!("{script} && exec \"$0\" \"$@\"")]).arg(weir().get_program());
        command
    };
    let all = [
        plan(weir(), "ebpf() | stdout"),
        plan(weir(), "ebpf(udp: false) | stdout"),
        plan(inside(WITHOUT_TYPES), "ebpf(udp: false) | stdout"),
        plan(inside("umount -l $(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2)"), "ebpf() | stdout"),
        plan(super::source::nobody(dir.path()), "ebpf() | stdout"),
        plan(super::source::nobody(dir.path()), "ebpf(record: \"x.flows\") | stdout"),
        plan(super::source::nobody(dir.path()), "ebpf(netns: \"/proc/self/ns/net\") | stdout"),
    ];
    insta::assert_snapshot!("standing", all.join("\n"));
    assert!(!dir.path().join("x.flows").exists(), "a plan writes nothing");
    let replayed =
        weir().args(["plan", "-e", "ebpf(replay: \"pipelines/data/shop.flows\") | stdout"]).output().unwrap();
    assert!(!text(&replayed).1.contains("on this host"));
}

/// Without a program, namespaces are entered to ask in each of them.
#[test]
fn without_types_every_namespace_is_asked() {
    const NAME: &str = "without_types_every_namespace_is_asked";
    if !is_allowed(NAME) || !has_tools(NAME, &["iperf3"]) {
        return;
    }
    let mut live = Live::start_after(WITHOUT_TYPES, "ebpf(200ms) | file(\"{dir}/rows\")");
    let path = live.path("rows");
    live.wait("the first look", || path.exists());
    // In a namespace of its own, through which nothing comes here.
    let script = "ip link set lo up; echo $$ $(stat -Lc %i /proc/$$/ns/net); iperf3 -s -1 -p 7400 >&2 & sleep 0.3
                  for try in $(seq 20); do iperf3 -c 127.0.0.1 -p 7400 -t 6 -b 8M >&2 && break; sleep 0.3; done; wait";
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "bash", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut other = unshare.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (_, netns) = line.trim().split_once(' ').unwrap();
    let netns: u64 = netns.parse().unwrap();
    let of_it = || -> Vec<Value> {
        let rows = std::fs::read_to_string(&path).unwrap_or_default();
        let rows = rows.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter(|row| [&row["src"]["netns"], &row["dst"]["netns"]].iter().any(|of| **of == netns)).collect()
    };
    let sent = |observer: &str, column: &str| -> u64 {
        let rows = of_it().into_iter().filter(|row| row["observer"] == observer);
        rows.map(|row| row[column].as_u64().unwrap_or(0)).sum()
    };
    live.wait("bytes of both ends", || {
        sent("src", "sent_payload_bytes") > 1_000_000 && sent("dst", "sent_payload_bytes") > 1_000_000
    });
    assert!(other.wait().unwrap().success());
    let ran = live.stop();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("namespaces"), "it saw them: {}", ran.stderr);
    let rows = of_it();
    let names = |end: &str| rows.iter().filter(|row| row[end]["process"] == "iperf3").count();
    assert!(names("src") > 0 && names("dst") > 0, "{rows:#?}");
    // 8 Mbit/s for six seconds, what was sent between the last look and the end apart.
    assert!(sent("src", "sent_payload_bytes") <= 6_300_000, "more than was sent: {rows:#?}");
}

#[test]
fn without_cgroups_tcp_counts_and_it_is_said_what_does_not() {
    let ran = alone("without_cgroups_tcp_counts_and_it_is_said_what_does_not", |_| {
        let script = "umount -l $(grep -m1 ' cgroup2 ' /proc/mounts | cut -d' ' -f2)";
        let mut live = Live::start_after(script, "ebpf(200ms, netns: \"own\") | file(\"{dir}/rows\")");
        wait_until_counting(&mut live, "rows");
        live.stop()
    });
    let Some(ran) = ran else { return };
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("without_cgroups", without_conntrack(&ran.stderr));
}

/// What is read there is read as ever.
#[test]
fn a_proc_that_cannot_be_written_is_enough() {
    let rows = alone("a_proc_that_cannot_be_written_is_enough", |_| {
        let script = "mount --bind /proc /proc; mount -o remount,ro,bind /proc; ! echo 1 2>&- > /proc/self/comm";
        let pipeline = "ebpf(200ms, netns: \"own\") | resolve(src, from: [procfs()]) | file(\"{dir}/rows\")";
        let mut live = Live::start_after(script, pipeline);
        wait_until_counting(&mut live, "rows");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        send(&client, &server, 5_000);
        std::thread::sleep(Duration::from_millis(300));
        let ran = live.stop();
        // Processes that nobody may look at may be there as well.
        let said = without_conntrack(&ran.stderr);
        assert!(ran.code == 0 && said.lines().all(|line| line.contains("environ")), "{}", ran.stderr);
        let port = client.local_addr().unwrap().port();
        live.rows("rows").into_iter().filter(|row| row["src"]["port"] == port).collect::<Vec<Value>>()
    });
    let Some(rows) = rows else { return };
    assert_eq!(super::source::sum(&rows, "src", "sent_payload_bytes"), 5_000, "{rows:#?}");
    assert!(rows.iter().any(|row| row["src"]["tags"].to_string().contains("\"exe:")), "{rows:#?}");
}

/// Processes of others are hidden from somebody without rights.
#[test]
fn hidden_processes_are_missed_aloud() {
    if !is_allowed("hidden_processes_are_missed_aloud") {
        return;
    }
    let dir = open_to_all();
    let mut nobody = super::source::nobody(dir.path());
    nobody.args(["run", "-e", "generate(flow, rows: 1) | resolve(src, from: [procfs()]) | blackhole"]);
    let mut inside = Command::new("unshare");
    // The first process is somebody else's.
    let script = "mount -t proc -o hidepid=2 proc /proc; \"$@\"; exit $?";
    inside.args(["--pid", "--mount", "--fork", "bash", "-c", script, "bash"]).arg(nobody.get_program());
    inside.args(nobody.get_args()).current_dir(dir.path()).env("NO_COLOR", "1");
    let (code, _, stderr) = text(&inside.output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("hidden", stderr);
}

/// A process that opens as many connections and holds them until it is let go. The file limit is for each process.
fn client(address: &str, port: u16, connections: usize) -> Child {
    let script = format!(
        "ulimit -n {} || exit 1; for n in $(seq {connections}); do exec {{fd}}<>/dev/tcp/{address}/{port} || exit 1; done; echo all; read line",
        connections + 100
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_hundred_thousand_sockets_are_told_of() {
    const CLIENTS: [&str; 5] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    const EACH: usize = 10_000;
    let told = alone("a_hundred_thousand_sockets_are_told_of", |_| {
        // Nobody accepts them: whoever connects sees them as open, and so does the kernel.
        for path in ["/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/tcp_max_syn_backlog"] {
            std::fs::write(path, "65535").unwrap();
        }
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").unwrap();
        let pipeline = "let flows = ebpf(1s, netns: \"own\", udp: false)\n\
            flows | where dst.port == 9 | file(\"{dir}/probe\")\n\
            flows | where dst.port == 7500 and state == \"established\" \
            | select observer, src.port, dst.ip | file(\"{dir}/rows\")";
        let mut live = Live::start(pipeline);
        wait_until_counting(&mut live, "probe");
        let listener = TcpListener::bind("0.0.0.0:7500").unwrap();
        // SAFETY: a descriptor that is open, and a number.
        #[allow(unsafe_code)]
        let listens = unsafe { libc::listen(listener.as_raw_fd(), 65_535) };
        assert_eq!(listens, 0);
        let mut clients = CLIENTS.map(|address| client(address, 7500, EACH));
        for client in &mut clients {
            let mut line = String::new();
            BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "all\n");
        }
        let rows = live.path("rows");
        live.wait("a row of each end", || {
            std::thread::sleep(Duration::from_millis(200));
            let lines = std::fs::read(&rows).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
            lines >= 2 * CLIENTS.len() * EACH
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_string();
        let ran = live.stop();
        clients.iter_mut().for_each(|client| client.kill().unwrap());
        clients.into_iter().for_each(|mut client| assert!(!client.wait().unwrap().success()));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let ends: Vec<String> = live
            .rows("rows")
            .iter()
            .map(|row| format!("{} {} {}", row["observer"], row["src"]["port"], row["dst"]["ip"]))
            .collect();
        (ends, resident)
    });
    let Some((ends, resident)) = told else { return };
    let apart: std::collections::BTreeSet<&String> = ends.iter().collect();
    assert_eq!(apart.len(), 2 * CLIENTS.len() * EACH, "{resident}");
    let kib: u64 = resident.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 300 << 10, "{resident} resident");
}
