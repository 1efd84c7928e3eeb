//! Tags of the ends of conversations: from files, and from processes that this test starts.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use super::dogstatsd::live::Live;
use super::support::{is_root, now, run, run_tests, text, weir};

const TABLES: &str = r#"
let seen = ndjson("seen.ndjson", as: flow)
let known = seen | resolve(src, dst, from: [
  table("{dir}/ports.csv", by: "port", tags: ["service"]),
  table("{dir}/teams.csv", key: "network", tags: ["team", "zone"]),
  table("{dir}/groups.json", by: "service", tags: ["group"]),
])

known | stdout(ndjson)

test "tags come by address, by port and by what another table said" {
  feed seen with rows [
    { end: "2026-01-01T00:00:01Z", src.ip: 10.1.2.3, src.port: 40000, dst.ip: 10.2.0.1, dst.port: 5432 },
    { end: "2026-01-01T00:00:01Z", src.ip: "2001:db8::1", src.port: 40001, dst.ip: 10.2.0.1, dst.port: 80 },
  ]
  expect known any { src.team == "web" and src.zone == "eu" and dst.service == "db" and dst.team == "infra" and has_tag(dst.tags, "group", "sg-1") and has_tag(dst.tags, "group", "sg-2") }
  expect known any { src.team == "six" and dst.service == "http" and not has_tag(dst.tags, "group") }
}

test "what a row says already holds" {
  feed seen with rows [{ end: "2026-01-01T00:00:01Z", src.ip: 10.1.2.3, src.tags: ["team:own", "x"] }]
  expect known rows [{ src.tags: ["team:own", "x", "zone:eu"] }]
}

test "an end of which nothing is known has no tags" {
  feed seen with rows [{ end: "2026-01-01T00:00:01Z", src.ip: 192.0.2.1 }]
  expect known all { coalesce(src.team, "none") == "none" and coalesce(dst.team, "none") == "none" }
}
"#;

fn tables(dir: &Path) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("teams.csv", "name,network,team,zone\na,10.0.0.0/8,infra,eu\nb,10.1.0.0/16,web,\nc,2001:db8::/32,six,\n");
    write("ports.csv", "port,service\n5432,db\n80,http\n");
    write("groups.json", r#"{"db": {"group": ["sg-1", "sg-2"]}}"#);
}

#[test]
fn tables_give_tags_to_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    let (code, stdout, stderr) = run_tests(&TABLES.replace("{dir}", dir.path().to_str().unwrap()));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("3 passed"));
}

#[test]
fn what_is_wrong_with_a_table_is_said_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    std::fs::write(dir.path().join("bad.csv"), "network,team\n10.0.0.0/8,a\n10.0.0.300,b\n").unwrap();
    let mut said = String::new();
    for table in ["none.csv\"", "bad.csv\"", "teams.csv\", tags: [\"owner\"]", "ports.csv\", key: \"network\""] {
        let path = dir.path().display();
        let ran = run(&format!(
            "ndjson(\"{path}/x\", as: flow) | resolve(src, from: [table(\"{path}/{table})]) | stdout(ndjson)"
        ));
        said += &format!("exit {}: {}", ran.code, ran.stderr.replace(&path.to_string(), "DIR"));
    }
    insta::assert_snapshot!("tables", said);
}

/// Lines that come one by one into a run that goes on.
struct Fed {
    live: Live,
    lines: usize,
}

impl Fed {
    fn start(stage: &str) -> (Fed, std::fs::File) {
        let dir = tempfile::tempdir().unwrap().keep();
        let fifo = dir.join("in");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let live = Live::start(&format!("ndjson(\"{}\", as: flow) | {stage} | file(\"{{dir}}/rows\")", fifo.display()));
        let input = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        (Fed { live, lines: 0 }, input)
    }

    /// The row that comes of a line.
    fn row(&mut self, input: &mut std::fs::File, line: &str) -> serde_json::Value {
        writeln!(input, "{line}").unwrap();
        self.lines += 1;
        let (path, lines) = (self.live.path("rows"), self.lines);
        let all = || std::fs::read_to_string(&path).unwrap_or_default();
        self.live.wait("the row", || all().lines().count() >= lines);
        serde_json::from_str(all().lines().last().unwrap()).unwrap()
    }
}

#[test]
fn a_table_is_read_again_when_it_changes_and_not_when_it_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("teams.csv");
    let line = r#"{"end": "2026-01-01T00:00:01Z", "src": {"ip": "10.1.2.3"}}"#;
    std::fs::write(&path, "network,team\n10.0.0.0/8,first\n").unwrap();
    let (mut fed, mut input) = Fed::start(&format!("resolve(src, from: [table(\"{}\")])", path.display()));
    assert_eq!(fed.row(&mut input, line)["src"]["tags"], serde_json::json!(["team:first"]));
    std::fs::write(&path, "network,team\n10.0.0.0/8,second\n").unwrap();
    let begun = std::time::Instant::now();
    while fed.row(&mut input, line)["src"]["tags"] != serde_json::json!(["team:second"]) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not read again");
        std::thread::sleep(Duration::from_millis(200));
    }
    // Written in two steps: nobody sees the first of them.
    std::fs::write(&path, "network,team\n10.0.0.0/8,ha").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    std::fs::write(&path, "network,team\n10.0.0.0/8,half\n").unwrap();
    let begun = std::time::Instant::now();
    loop {
        let tags = fed.row(&mut input, line)["src"]["tags"].clone();
        assert_ne!(tags, serde_json::json!(["team:ha"]), "half of it was read");
        if tags == serde_json::json!(["team:half"]) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not read again");
        std::thread::sleep(Duration::from_millis(100));
    }
    std::fs::write(&path, "network,team\n10.0.0.0/8,third\nnonsense,x\n").unwrap();
    let begun = std::time::Instant::now();
    let stderr = fed.live.path("stderr");
    while !std::fs::read_to_string(&stderr).unwrap().contains("holds") {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody says that it is broken");
        assert_eq!(fed.row(&mut input, line)["src"]["tags"], serde_json::json!(["team:half"]));
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(input);
    let ran = fed.live.stop();
    assert_eq!(ran.code, 0);
    assert_eq!(ran.count("resolve", "noted/table_refused"), 1);
    let said = std::fs::read_to_string(&stderr).unwrap().replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!("table_broken", said.lines().filter(|l| l.contains("holds")).collect::<String>());
}

fn process(service: &str) -> Child {
    let mut command = Command::new("sleep");
    command.arg("60").env_clear().env("DD_SERVICE", service).env("OTEL_RESOURCE_ATTRIBUTES", "service.version=1.2");
    command.spawn().unwrap()
}

#[test]
fn a_process_is_known_by_its_environment_also_when_it_is_gone() {
    let (mut fed, mut input) = Fed::start("resolve(src, from: [procfs()])");
    let mut child = process("shop");
    let line = |pid: u32, from: &str, to: &str| {
        format!(r#"{{"start": "{from}", "end": "{to}", "src": {{"pid": {pid}, "process": "sleep"}}}}"#)
    };
    let begun = now();
    std::thread::sleep(Duration::from_millis(50));
    let tags = fed.row(&mut input, &line(child.id(), &begun, &now()))["src"]["tags"].clone();
    let has = |tags: &serde_json::Value, tag: &str| tags.as_array().unwrap().iter().any(|other| other == tag);
    assert!(["service:shop", "version:1.2", "process:sleep"].iter().all(|tag| has(&tags, tag)), "{tags}");
    let last = now();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fed.row(&mut input, &line(child.id(), &begun, &last))["src"]["tags"], tags);
    // Of a time before it began nothing is known but what the row says.
    let before = fed.row(&mut input, &line(child.id(), "2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z"));
    assert_eq!(before["src"]["tags"], serde_json::json!(["process:sleep"]));
    drop(input);
    let ran = fed.live.stop();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let noted = ["hits", "stale"].map(|what| ran.count("resolve", &format!("noted/procfs_{what}")));
    assert_eq!(noted, [2, 1]);
}

/// A folder of processes, of which one hangs: its file is a pipe that nobody writes to.
fn with_one_that_hangs() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
    write("uptime", "1000.00 5.0\n");
    for pid in [1, 77, 78] {
        std::fs::create_dir(root.path().join(pid.to_string())).unwrap();
    }
    write("1/stat", &stat("init"));
    write("78/stat", &stat("quick"));
    assert!(Command::new("mkfifo").arg(root.path().join("77/stat")).status().unwrap().success());
    root
}

/// Lets the one that hangs go on, which is from then on a process like others.
fn lets_go(root: &Path, command: &str) {
    let path = |name: &str| root.join("77").join(name);
    std::fs::write(path("next"), stat(command)).unwrap();
    // Whoever reads it may not have come so far.
    let begun = std::time::Instant::now();
    let mut pipe = loop {
        let opened = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path("stat"));
        match opened {
            Ok(pipe) => break pipe,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "nobody reads it: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    std::fs::rename(path("next"), path("stat")).unwrap();
    pipe.write_all(stat(command).as_bytes()).unwrap();
}

fn stat(command: &str) -> String {
    format!("1 ({command}) S{} 100 0 0\n", " 0".repeat(18))
}

fn line_of(pid: u32, process: &str) -> String {
    format!(r#"{{"end": "{}", "src": {{"pid": {pid}, "process": "{process}"}}}}"#, now())
}

#[test]
fn rows_wait_for_a_slow_answer_and_go_on_in_their_order() {
    let root = with_one_that_hangs();
    let stage = format!("resolve(src, from: [procfs(\"{}\")], wait: 1h)", root.path().display());
    let (mut fed, mut input) = Fed::start(&stage);
    for (pid, process) in [(78, "quick"), (77, "slow"), (78, "quick")] {
        writeln!(input, "{}", line_of(pid, process)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    let path = fed.live.path("rows");
    let rows = || std::fs::read_to_string(&path).unwrap_or_default();
    assert!(!rows().contains("slow"), "it did not wait");
    lets_go(root.path(), "slow but there");
    fed.live.wait("all rows", || rows().lines().count() == 3);
    let tags: Vec<serde_json::Value> = rows()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["src"]["tags"][0].clone())
        .collect();
    assert_eq!(tags, ["process:quick", "process:slow but there", "process:quick"]);
    drop(input);
    let ran = fed.live.stop();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// Three processes are asked about; one hangs, and then the next is looked at by another thread.
#[test]
fn rows_go_on_without_an_answer_that_does_not_come() {
    let root = with_one_that_hangs();
    let stage = format!("resolve(src, from: [procfs(\"{}\")], wait: 200ms)", root.path().display());
    let (mut fed, mut input) = Fed::start(&stage);
    assert_eq!(fed.row(&mut input, &line_of(77, "slow"))["src"]["tags"], serde_json::json!(["process:slow"]));
    let begun = std::time::Instant::now();
    // What is asked says at first only what the row says itself.
    while fed.row(&mut input, &line_of(78, "qui"))["src"]["tags"] != serde_json::json!(["process:quick"]) {
        assert!(begun.elapsed() < Duration::from_secs(20), "everybody waits for the one that hangs");
    }
    assert_eq!(fed.row(&mut input, &line_of(77, "slow"))["src"]["tags"], serde_json::json!(["process:slow"]));
    drop(input);
    let ran = fed.live.stop();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.ledger.as_ref().unwrap()["balanced"], true);
    assert!(ran.count("resolve", "noted/unanswered") >= 1);
    let said = ran.stderr.replace(&root.path().display().to_string(), "DIR");
    let mut warnings: Vec<&str> = said.lines().filter(|line| line.contains("answer")).collect();
    warnings.sort_unstable();
    insta::assert_snapshot!("hangs", warnings.join("\n"));
    // Threads that hang end with the process; this lets go of them in any case.
    let _ = std::fs::remove_dir_all(root.path());
}

#[test]
fn only_so_many_rows_wait() {
    let root = with_one_that_hangs();
    let stage = format!("resolve(src, from: [procfs(\"{}\")], wait: 1h, pending_rows_max: 2)", root.path().display());
    let (mut fed, mut input) = Fed::start(&stage);
    for _ in 0..5 {
        writeln!(input, "{}", line_of(77, "slow")).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let path = fed.live.path("rows");
    let rows = || std::fs::read_to_string(&path).unwrap_or_default();
    // Some of them may have come together.
    fed.live.wait("the first three", || rows().lines().count() >= 3);
    lets_go(root.path(), "slow");
    fed.live.wait("the others", || rows().lines().count() == 5);
    drop(input);
    let ran = fed.live.stop();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let unanswered = ran.count("resolve", "noted/unanswered");
    assert!((3..=5).contains(&unanswered), "{unanswered}");
    assert!(ran.stderr.contains("2 rows wait already (`pending_rows_max:`)"), "{}", ran.stderr);
}

/// A pid that was given again, in a namespace so small that it soon is.
#[test]
fn a_pid_that_is_used_again_is_another_process() {
    if !is_root("a_pid_that_is_used_again_is_another_process", "to make a pid namespace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("in");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The next process in a pid namespace has the number that was written there, and one more.
    let script = format!(
        r#"
        mount -t proc proc /proc
        {weir} run -e 'ndjson("{fifo}", as: flow) | resolve(src, from: [procfs()]) | stdout(ndjson)' > {dir}/rows 2> {dir}/stderr &
        exec 3> {fifo}
        now() {{ date -u +%Y-%m-%dT%H:%M:%S.%NZ; }}
        tell() {{ echo '{{"start": "'$2'", "end": "'$3'", "src": {{"pid": '$1'}}}}' >&3; }}
        echo 999 > /proc/sys/kernel/ns_last_pid
        DD_SERVICE=first sleep 60 3>&- & first=$!
        sleep 0.3; a=$(now); sleep 0.1; b=$(now)
        tell $first $a $b
        sleep 0.5
        kill $first; wait $first
        # Others may take the number first.
        for try in $(seq 100); do
            echo $((first - 1)) > /proc/sys/kernel/ns_last_pid
            DD_SERVICE=second sleep 60 3>&- & second=$!
            [ $first = $second ] && break
            kill $second
        done
        [ $first = $second ] || {{ echo "$first is not $second"; exit 1; }}
        sleep 0.3; c=$(now); sleep 0.1; d=$(now)
        tell $second $c $d
        tell $first $a $b
        for try in $(seq 100); do
            [ $(wc -l < {dir}/rows) = 3 ] && break
            sleep 0.1
        done
        exec 3>&-
        kill $second
        wait %1
        "#,
        weir = env!("CARGO_BIN_EXE_weir"),
        fifo = fifo.display(),
        dir = dir.path().display(),
    );
    let mut unshare = Command::new("unshare");
    let output = unshare.args(["--pid", "--fork", "--mount", "--kill-child", "bash", "-c", &script]).output().unwrap();
    let (_, stdout, stderr) = text(&output);
    let rows = std::fs::read_to_string(dir.path().join("rows")).unwrap_or_default();
    let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let services: Vec<String> = rows
        .iter()
        .map(|row| row["src"]["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_string()))
        .map(|mut tags| tags.find(|tag| tag.starts_with("service:")).unwrap_or_default())
        .collect();
    assert_eq!(services, ["service:first", "service:second", "service:first"], "{stdout}{stderr}");
}

/// What is not there to be read is said in one line.
#[test]
fn a_proc_that_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = weir()
        .args(["run", "-e"])
        .arg(format!(
            "generate(flow, rows: 1) | resolve(src, from: [procfs(\"{}\")]) | blackhole",
            dir.path().display()
        ))
        .output()
        .unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("no_proc", stderr.replace(&dir.path().display().to_string(), "DIR"));
}
