//! Pipelines as a user writes them, their results and their ledgers.

use std::collections::BTreeSet;
use std::process::Command;

use super::support::{finish, root, run, run_tests, text, weir};

#[test]
fn the_quickstart_prints_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.json");
    let output = weir().args(["run", "pipelines/quickstart.weir", "--ledger"]).arg(&ledger).output().unwrap();
    let run = finish(&output, &ledger);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(run.stdout);
    assert_eq!(run.count("flows/pcap", "made"), 40_532);
}

#[test]
fn the_quickstart_checks_in_silence() {
    let output = weir().args(["check", "pipelines/quickstart.weir"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

/// Who reads a kind finds its columns as the kind has them, whatever computed them.
#[test]
fn columns_that_are_replaced_are_still_the_kinds() {
    let pipeline = r#"
        let d = dogstatsd()
        let renamed = d.metrics
          | set name = if(starts_with(name, "runtime."), name, format("shop.{}", name))
          | set kind = if(kind == "histogram", "distribution", kind), host = "web-1", unit = "second", sample_rate = 1
          | aggregate(10s)
        let all = renamed | set host = format("{}.example", host), interval = 60
        all | stdout
        test "names, types, hosts, units and rates" {
          feed d.metrics with dogstatsd("lat:3:4|h|@0.5\nruntime.heap:7|g\njobs:2|c|@0.1")
          advance 20s
          expect all count == 4
          expect all any { name == "shop.jobs", kind == "rate", value == 0.2, host == "web-1.example", interval == 60 }
          expect all any { name == "runtime.heap", kind == "gauge", value == 7.0, unit == "second" }
          expect all any { name == "shop.lat", kind == "sketch", host == "web-1.example" }
        }"#;
    let (code, stdout, stderr) = run_tests(pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// What `set` replaces may be used just before, be nothing, or be chosen among tags.
#[test]
fn what_is_replaced_may_be_used_before() {
    let pipeline = r#"
        let d = dogstatsd()
        let a = d.metrics | set sent_as = host, host = "web-1"
        let b = d.metrics | set twice = host, twice = "x" | select twice
        let c = d.metrics | set tags = if(kind == "gauge", with_tag(tags, "what", "gauge"), tags), host = none
        let e = pcap("a.pcap") | biflow | set initiated = none, protocol = format("{}!", protocol), src.tags = none
        a | stdout
        b | stdout
        c | stdout
        e | stdout
        test "used before it is replaced" {
          feed d.metrics with dogstatsd("a:1|g|#host:x,env:p")
          expect a any { sent_as == "x", host == "web-1" }
          expect b rows [{ twice: "x" }]
          expect c rows [{ tags: ["env:p", "what:gauge"] }]
        }"#;
    let (code, stdout, stderr) = run_tests(pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// What is computed can be made what the kind has there; and who only passes a column on takes whatever it is.
#[test]
fn what_is_computed_fits_the_kind_again() {
    let pipeline = r#"
        param bypass: string = "distribution"
        let d = dogstatsd()
        let chosen = d.metrics
          | set kind = if(name == "a", "gauge", coalesce(if(name == "b", param.bypass, none), "counter"))
          | aggregate(10s)
          | set value = value / 10s
        chosen | prometheus(listen: "127.0.0.1:9102")
        let seen = ndjson("a.ndjson", as: flow)
        let half = seen | set sent_bytes = round(sent_bytes / 2), src.ip = "2001:db8::1", src.x = rtt, dst.x = 5ms
        let ends = half | each_end | select src.ip, dst.ip, src.x, dst.x, sent_bytes, received_bytes
        let more = seen | set src.tags = none, sent_packets = sent_packets * 1.5 | resolve(src, from: [procfs()])
        ends | stdout
        more | where src.service == "x" | stdout
        test "of metrics" {
          feed d.metrics with dogstatsd("a:3|c\nb:1|c\nc:50|g")
          advance 20s
          expect chosen any { name == "a", kind == "gauge", value == 0.3 }
          expect chosen any { name == "b", kind == "sketch" }
          expect chosen any { name == "c", kind == "rate", value == 0.5 }
        }
        test "of flows" {
          feed seen with rows [{ end: "2026-01-01T00:00:01Z", observer: "both", dst.ip: 10.0.0.2, sent_bytes: 7B, received_bytes: 2B, rtt: 1ms }]
          expect ends count == 2
          expect ends any { src.ip == "2001:db8::1", src.x == 1ms, dst.x == 5ms, sent_bytes == 4B }
          expect ends any { dst.ip == "2001:db8::1", src.x == 5ms, dst.x == 1ms }
          expect more any { sent_bytes == 7B }
        }"#;
    let (code, stdout, stderr) = run_tests(pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// Exponents with a sign are a part of their number, and a minus behind a number is not.
#[test]
fn numbers_may_have_exponents() {
    let pipeline = r#"
        let d = dogstatsd()
        let a = d.metrics | select small = 1.5e-3, large = 2E+2, less = 5-3, far = sample_rate*1e-1
        a | stdout
        test "as they are" {
          feed d.metrics with dogstatsd("x:1|c")
          expect a rows [{ small: 0.0015, large: 200.0, less: 2, far: 0.1 }]
        }"#;
    let (code, stdout, stderr) = run_tests(pipeline);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// Settings may be what `let` has named, as anything else.
#[test]
fn settings_may_be_named() {
    let pipeline = "let most = 700MiB\nlet at = format(\"127.0.0.1:{}\", 5555)\nsettings(memory: most, admin: at)\n\
                    generate(flow) | stdout";
    let output = weir().args(["plan", "-e", pipeline]).output().unwrap();
    let (code, stdout, stderr) = text(&output);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("700 MiB") && stdout.contains("127.0.0.1:5555"), "{stdout}");
}

/// A list may be computed, as anything else; a port of 0 in the Agent's variables switches off what it is for.
#[test]
fn lists_may_be_computed() {
    let listens = |port: &str, health_port: &str| {
        let mut plan = weir();
        plan.args(["plan", "pipelines/node.weir"]).env("DD_DOGSTATSD_PORT", port).env("DD_HEALTH_PORT", health_port);
        let (code, stdout, stderr) = text(&plan.output().unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""));
        let listens = stdout.lines().filter(|line| line.contains(": listens on "));
        listens.map(|line| line.trim().to_string()).collect::<Vec<_>>()
    };
    let unixgram = "statsd: listens on unixgram:///var/run/datadog/dsd.socket";
    let info = "statsd: listens on tcp://127.0.0.1:8126";
    let udp = "statsd: listens on udp://127.0.0.1:18125";
    let admin = "settings: listens on tcp://127.0.0.1:15555";
    assert_eq!(listens("18125", "15555"), [admin, udp, unixgram, info]);
    assert_eq!(listens("0", "0"), [unixgram, info]);
}

#[test]
fn the_plan_says_what_will_be() {
    let output = weir().args(["plan", "pipelines/quickstart.weir"]).output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn rows_are_filtered_computed_routed_and_merged() {
    let run = run(r#"
        let all = generate(flow, rows: 10000)
        let split = all | route { web = dst.port == 443, dns = dst.port == 53 }
        let both = merge(split.web, split.dns)
        both | set twice = sent_packets * 2 | where twice > 100 | select dst.port, twice | stdout(ndjson)
        split.rest | blackhole
    "#);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.count("split", "in"), 10_000);
    assert_eq!(run.count("both", "in") + run.count("blackhole", "in"), 10_000);
    let rows = run.rows();
    assert_eq!(rows.len() as u64, run.count("stdout", "out"));
    assert!(rows.iter().all(|r| r["twice"].as_i64().unwrap() > 100));
}

#[test]
fn a_limit_ends_an_endless_input() {
    let run = run("generate(flow) | limit(5000) | stdout(ndjson)");
    assert_eq!((run.code, run.stdout.lines().count()), (0, 5000));
    assert_eq!(run.count("stdout", "out"), 5000);
}

#[test]
fn unread_late_rows_are_counted_under_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.ndjson");
    let at = |s: &str| format!("{{\"at\":\"2026-01-01T00:0{s}Z\",\"n\":1}}\n");
    let text: String = ["0:00", "7:00", "0:30", "7:30"].iter().map(|s| at(s)).collect();
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let run =
        run(&format!("ndjson({path:?}, as: {{ at: time, n: int }}) | window(5m) {{ n = sum(n) }} | stdout(ndjson)"));
    let sums: Vec<i64> = run.rows().iter().map(|r| r["n"].as_i64().unwrap()).collect();
    assert_eq!(sums, [1, 2]);
    assert_eq!(run.count("window", "dropped/unread_late"), 1);
}

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let with = |workers: usize| {
        run(&format!(
            "settings(workers: {workers})\n\
             generate(flow, rows: 50000) | window(7s, lateness: 1s) by src.ip, dst.port {{ n = count(), s = sum(sent_bytes), \
             p = p95(rtt), d = distinct(src.port), f = first(src.port) }} | stdout(ndjson)"
        ))
        .stdout
    };
    let one = with(1);
    assert!(one.lines().count() > 1000);
    assert!(one == with(2) && one == with(5));
}

/// What does not fit is the same as well: sums of floats show in which order rows were added.
#[test]
fn any_number_of_workers_gives_the_same_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.ndjson");
    let line = |i: u64| {
        let key = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51;
        let n = (i.wrapping_mul(0xd1b5_4a32_d192_ed03) >> 40) as f64 / 1e4;
        format!("{{\"at\":\"2026-11-21T00:00:{:02}Z\",\"key\":\"k{key}\",\"n\":{n}}}\n", i / 500)
    };
    std::fs::write(&path, (0..30_000).map(line).collect::<String>()).unwrap();
    let path = path.display().to_string();
    let with = |workers: usize| {
        run(&format!(
            "settings(workers: {workers}, memory: 43000KiB)\n\
             ndjson({path:?}, as: {{ at: time, key: string, n: float }}) \
             | window(20s, every: 10s) by key {{ c = count(), s = sum(n), a = avg(n), l = last(n) }} | stdout(ndjson)"
        ))
    };
    let one = with(1);
    let (overflow, groups): (Vec<_>, Vec<_>) = one.rows().into_iter().partition(|row| row["key"] == "overflow");
    assert_eq!(overflow.len(), 7, "one a window");
    assert!(groups.len() > 1000);
    let counted = |rows: &[serde_json::Value]| rows.iter().map(|row| row["c"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(counted(&overflow), one.count("window", "noted/overflow"));
    assert_eq!(counted(&overflow) + counted(&groups), 60_000, "every row is in two windows");
    for workers in [2, 3, 64] {
        assert!(one.stdout == with(workers).stdout, "{workers} workers give other bytes");
    }
}

#[test]
fn a_file_is_appended_to_or_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.ndjson");
    std::fs::write(&path, "before\n").unwrap();
    let quoted = format!("{:?}", path.display().to_string());
    let appended = run(&format!("generate(flow, rows: 3) | select dst.port | file({quoted})"));
    assert_eq!(appended.code, 0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n") && text.lines().count() == 4, "{text}");
    let replaced = run(&format!("generate(flow, rows: 2) | select dst.port | file({quoted}, mode: replace)"));
    assert_eq!(replaced.code, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// While a source offers far more than the sink takes, memory stays within the plan and a fifth.
#[test]
fn a_slow_sink_holds_its_source_back() {
    use std::io::Read;
    use std::process::Stdio;
    let pipeline = "settings(memory: 64MiB)\ngenerate(flow) | stdout(ndjson)";
    let mut child = weir().args(["run", "-e", pipeline]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let mut chunk = [0; 64 << 10];
    for _ in 0..100 {
        out.read_exact(&mut chunk).unwrap();
        // A reader that takes its time; the source could make a hundred times as much meanwhile.
        std::thread::park_timeout(std::time::Duration::from_millis(10));
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
        peak = peak.max(line.trim().split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let allowed = (64 << 10) * 12 / 10;
    assert!(peak > 0 && peak < allowed, "{peak} KiB resident, {allowed} allowed");
}

#[test]
fn a_signal_drains_and_the_ledger_balances() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.json");
    let pipeline = "generate(flow) | window(1s) by dst.port { n = count() } | blackhole";
    let mut child = weir().args(["run", "-e", pipeline, "--ledger"]).arg(&path).spawn().unwrap();
    let started = std::time::Instant::now();
    while std::fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|s| !used_cpu(&s)) {
        assert!(started.elapsed().as_secs() < 20, "it never ran");
        std::thread::yield_now();
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let ledger: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(ledger["balanced"], true);
}

/// Whether a process has used a tenth of a second, by its `/proc/PID/stat`.
fn used_cpu(stat: &str) -> bool {
    let after = stat.rsplit(')').next().unwrap_or("");
    let ticks: Vec<u64> = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    ticks.iter().sum::<u64>() >= 10
}

/// One UDP packet of a classic capture, `at` seconds after the epoch's first day.
fn udp(at: u32, host: u16, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0]);
    frame.extend(host.to_be_bytes());
    frame.extend([10, 9, 9, 9]);
    frame.extend([port.to_be_bytes(), 53u16.to_be_bytes(), 9u16.to_be_bytes(), [0, 0]].concat());
    frame.push(b'x');
    let length = (frame.len() as u32).to_le_bytes();
    [(86_400 + at).to_le_bytes(), [0; 4], length, length].concat().into_iter().chain(frame).collect()
}

/// A packet from long before reopens a conversation whose window has closed: its record is late, and
/// no window comes out twice however the batches fall.
#[test]
fn records_of_packets_from_long_before_are_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.pcap");
    let filler = |at: u32| (0..9000).flat_map(move |n| udp(at, 100 + n, 1)).collect::<Vec<u8>>();
    let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    let parts = [header.to_vec(), udp(0, 1, 1), filler(30), filler(100), udp(1, 1, 2), filler(130), filler(160)];
    std::fs::write(&path, parts.concat()).unwrap();
    let run = run(&format!(
        "let w = pcap({:?}) | biflow(idle: 5s, idle_established: 5s, active: none) \
         | window(10s, lateness: 0s) by src.ip {{ n = count() }}\nw | stdout(ndjson)\nw.late | blackhole",
        path.display().to_string()
    ));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("blackhole", "in"), 1);
    let mut seen = std::collections::BTreeSet::new();
    for row in run.rows() {
        assert!(seen.insert((row["window"]["start"].to_string(), row["src"]["ip"].to_string())), "{row} twice");
    }
    assert_eq!(seen.len(), 1 + 4 * 9000);
}

/// What a pipe has given is not kept until it gives more or ends: neither while it pauses nor while
/// it trickles, a packet a millisecond.
#[test]
fn rows_of_a_slow_input_come_through() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    for trickles in [false, true] {
        let mut child = weir()
            .args(["run", "-e", "pcap(\"-\") | stdout(ndjson)"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
        stdin.write_all(&[header.to_vec(), udp(0, 1, 1)].concat()).unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            send.send(line).unwrap();
            // What still comes has a reader.
            out.lines().for_each(drop);
        });
        // Fewer packets than a batch has rows, so that only patience can let them go.
        let mut line = None;
        for _ in 0..3000 {
            if trickles {
                stdin.write_all(&udp(1, 1, 1)).unwrap();
            }
            line = lines.recv_timeout(std::time::Duration::from_millis(if trickles { 1 } else { 10 })).ok();
            if line.is_some() {
                break;
            }
        }
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(line.expect("a row while the pipe is open").contains("10.9.9.9"));
    }
}

/// One key in a thousand windows at once has the whole memory, whatever range it is in.
#[test]
fn one_key_in_many_windows_does_not_overflow() {
    let run = run("settings(memory: 64MiB)\n\
         generate(flow, rows: 3000) | set k = 1 | window(1000s, every: 1s) by k { c = count() } | blackhole");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("window", "noted/overflow"), 0);
}

/// What is absent is so in any type, and a condition that is absent chooses nothing.
#[test]
fn none_has_every_type() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.ndjson");
    std::fs::write(&path, "\u{feff}{\"n\":1,\"b\":true,\"i\":[\"10.0.0.1\"]}\n{\"n\":2,\"b\":false}\n{\"n\":3}\n")
        .unwrap();
    let path = path.display().to_string();
    let run = run(&format!(
        "ndjson({path:?}, as: {{ n: int, b: bool, i: list<ip> }}) \
         | set x = if(b, none, 3), y = coalesce(none, n), z = if(b, 1, 2), w = min(n, none), inside = i in 10.0.0.0/8 \
         | select n, x, y, z, w, inside | stdout(ndjson)"
    ));
    insta::assert_snapshot!(run.stdout + &run.stderr, @r#"
    {"n":1,"y":1,"z":1,"inside":true}
    {"n":2,"x":3,"y":2,"z":2}
    {"n":3,"y":3}
    "#);
}

/// What `deploy/` starts checks, and fits into the memory that it is given there.
#[test]
fn what_is_deployed_can_be_planned() {
    let read = |name: &str| std::fs::read_to_string(root().join("deploy").join(name)).unwrap();
    let daemonset = read("daemonset.yaml");
    let line = |text: &str, begin: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(begin).map(str::to_string));
        found.unwrap_or_else(|| panic!("no {begin}"))
    };
    let of_pod: Vec<String> =
        line(&daemonset, "args: [").trim_end_matches(']').split(", ").map(str::to_string).collect();
    let unit = read("weir.service");
    let of_unit: Vec<String> = line(&unit, "ExecStart=/usr/bin/weir ").split(' ').map(str::to_string).collect();
    for args in [of_pod, of_unit] {
        let [run, pipeline, params @ ..] = &args[..] else { panic!("{args:?}") };
        assert_eq!((run.as_str(), pipeline.as_str()), ("run", "/etc/weir/node.weir"));
        let output = weir().args(["plan", "pipelines/node.weir"]).args(params).output().unwrap();
        let (code, stdout, stderr) = text(&output);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        // Nothing that shares what is left is starved.
        let shares = stdout.lines().filter(|line| ["conversations", "talkers"].iter().any(|name| line.contains(name)));
        let mib = |line: &str| line.trim().split(' ').next()?.parse::<f64>().ok();
        let shares: Vec<f64> = shares.filter(|line| line.ends_with("state")).filter_map(mib).collect();
        assert!(shares.len() == 2 && shares.iter().all(|mib| *mib >= 8.0), "{stdout}");
        // A fifth more under hostile input fits into what it may take, in a pod beside what the kernel holds for it.
        let planned = params.iter().find_map(|param| param.strip_prefix("memory=")?.strip_suffix("MiB"));
        let (planned, most) = match planned {
            Some(planned) => {
                (planned.parse::<f64>().unwrap() + 16.0, line(&daemonset, "limits: { cpu: 200m, memory: "))
            }
            None => (512.0, line(&unit, "MemoryMax=")),
        };
        let most: f64 = most.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        assert!(planned * 1.2 <= most, "{planned} of {most}");
    }
    // What the DaemonSet says of other ways out.
    let said = line(&daemonset, "# is scraped or sent: memory=");
    let (memory, limit) = said.split_once("MiB, and ").unwrap();
    let limit: f64 = limit.split_once("Mi ").unwrap().0.parse().unwrap();
    assert!((memory.parse::<f64>().unwrap() + 16.0) * 1.2 <= limit, "{said}");
    for to in ["prometheus", "datadog"] {
        let mut command = weir();
        command.args(["plan", "pipelines/node.weir", "--param", "contexts=50000", "--param"]);
        command.args([format!("memory={memory}MiB"), "--param".to_string(), format!("to={to}")]);
        let (code, _, stderr) = text(&command.env("DD_API_KEY", "x").output().unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{to}");
    }
}

/// The same rights are given everywhere.
#[test]
fn what_is_deployed_has_the_same_rights() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let unit = read("deploy/weir.service");
    let of_unit = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let rights: BTreeSet<&str> = of_unit.split(' ').map(|right| right.trim_start_matches("CAP_")).collect();
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    assert_eq!(bounding, of_unit);
    let daemonset = read("deploy/daemonset.yaml");
    let of_pod = daemonset.lines().find_map(|line| line.trim().strip_prefix("add: [")).unwrap();
    assert_eq!(of_pod.trim_end_matches(']').split(", ").collect::<BTreeSet<&str>>(), rights);
    let guide = read("docs/guides/flows.md");
    let of_docker = guide.split("--cap-add ").skip(1).map(|rest| rest.split_whitespace().next().unwrap());
    assert_eq!(of_docker.collect::<BTreeSet<&str>>(), rights);
    // Whoever has these can do all of it: `the_doctor_looks_at_every_hook_and_leaves_nothing_behind`.
    assert_eq!(rights, BTreeSet::from(["BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_PTRACE"]));
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(root().join("deploy/weir.service")).output()
    else {
        eprintln!("the unit was not verified: there is no systemd-analyze");
        return;
    };
    // The program and its page are not installed here.
    let said = text(&verified).2;
    let unknown = said.lines().filter(|line| !line.contains("/usr/bin/weir") && !line.contains("man weir"));
    assert_eq!(unknown.collect::<Vec<&str>>(), Vec::<&str>::new());
}
