//! Real captures against truth tables that nobody here computed. `tests/pcap/SOURCES.md` has origin,
//! licence and the meaning of every column.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{root, run};

/// What one conversation adds up to, per direction: packets, IP bytes, payload, retransmits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Totals {
    counts: [[i64; 4]; 2],
    community_ids: BTreeSet<String>,
}

/// Protocol and both ends, the lower one first.
type Key = (i64, (String, i64), (String, i64));

fn captures(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/pcap").join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| !f.to_string_lossy().ends_with(".truth.csv"));
    files.sort();
    files
}

fn key(protocol: i64, a: (String, i64), b: (String, i64)) -> (Key, bool) {
    if a <= b { ((protocol, a, b), false) } else { ((protocol, b, a), true) }
}

fn metered(file: &Path) -> BTreeMap<Key, Totals> {
    let pipeline = format!(
        "pcap({:?}, decode: outer) | biflow(idle: none, active: none) | stdout(ndjson)",
        file.display().to_string()
    );
    let mut all: BTreeMap<Key, Totals> = BTreeMap::new();
    for row in run(&pipeline).rows() {
        let end = |side: &str| {
            let ip = row[side]["ip"].as_str().unwrap().to_string();
            (ip, row[side]["port"].as_i64().unwrap())
        };
        let (key, swapped) = key(protocol(&row), end("src"), end("dst"));
        let totals = all.entry(key).or_default();
        for (at, direction) in ["sent", "received"].iter().enumerate() {
            for (column, name) in ["packets", "bytes", "payload_bytes", "retransmits"].iter().enumerate() {
                let value = row[format!("{direction}_{name}")].as_i64().unwrap_or(0);
                totals.counts[at ^ usize::from(swapped)][column] += value;
            }
        }
        totals.community_ids.insert(row["community_id"].as_str().unwrap().to_string());
    }
    all
}

fn protocol(row: &Value) -> i64 {
    let text = row["protocol"].as_str().unwrap();
    (weir_spec::kinds::enums::PROTOCOL.parse)(text).unwrap().into()
}

fn truth(file: &Path) -> BTreeMap<Key, Totals> {
    let table = std::fs::read_to_string(format!("{}.truth.csv", file.display())).unwrap();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut all: BTreeMap<Key, Totals> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| cells[header.iter().position(|h| *h == name).unwrap()];
        let number = |name: &str| cell(name).parse::<i64>().unwrap_or(0);
        let end = |who: &str| (cell(&format!("{who}Address")).to_string(), number(&format!("{who}Port")));
        let (key, swapped) = key(number("protocolIdentifier"), end("initiator"), end("responder"));
        let totals = all.entry(key).or_default();
        for (at, who) in ["init", "resp"].iter().enumerate() {
            for (column, name) in ["Packets", "IpBytes", "L4PayloadBytes", "SeqRetransPkts"].iter().enumerate() {
                totals.counts[at ^ usize::from(swapped)][column] += number(&format!("{who}{name}"));
            }
        }
        totals.community_ids.extend(cell("communityId").split('|').map(str::to_string));
    }
    all
}

/// Files where the table and weir differ, with what decides: see the file itself.
fn exceptions() -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(root().join("tests/pcap/exceptions.tsv")).unwrap();
    let rows = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let parse = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), 5, "{line}");
        (cells[0].to_string(), (cells[1].to_string(), cells[4].to_string()))
    };
    rows.map(parse).collect()
}

#[test]
fn conversations_equal_the_truth_tables() {
    let exceptions = exceptions();
    let judged = exceptions.values().filter(|(kind, _)| kind == "rule").count();
    assert!(judged <= 12, "{judged} exceptions");
    let mut checked = 0;
    let mut differing = BTreeSet::new();
    for folder in ["basic", "tcp", "icmp", "format"] {
        for file in captures(folder) {
            let name = format!("{folder}/{}", file.file_name().unwrap().to_string_lossy());
            if metered(&file) != truth(&file) {
                assert!(exceptions.contains_key(&name), "{name}\n{:#?}\n{:#?}", metered(&file), truth(&file));
                differing.insert(name);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 98);
    let named: BTreeSet<String> = exceptions.into_keys().collect();
    assert_eq!(differing, named, "an exception that no longer differs has to go");
}

/// No capture of the corpus makes the program panic, hang, or answer with anything but 0 or 1.
#[test]
fn the_whole_corpus_is_survived() {
    for folder in ["basic", "tcp", "icmp", "format", "frag", "link", "tunnel", "malformed"] {
        for file in captures(folder) {
            let pipeline = format!("pcap({:?}) | biflow | blackhole", file.display().to_string());
            let run = run(&pipeline);
            assert!(matches!(run.code, 0 | 1), "{}: {} {}", file.display(), run.code, run.stderr);
            assert!(!run.stderr.contains("panicked"), "{}: {}", file.display(), run.stderr);
        }
    }
}

/// Whole, in slices, and through a pipe with pauses: byte for byte the same.
#[test]
fn replay_equals_live() {
    use std::io::Write;
    use std::process::Stdio;
    let file = root().join("tests/pcap/basic/netflix.pcap");
    let stages = "biflow(5s, active: 10s) | stdout(ndjson)";
    let whole = run(&format!("pcap({:?}) | {stages}", file.display().to_string())).stdout;
    assert!(whole.lines().count() > 50);
    let bytes = std::fs::read(&file).unwrap();
    for cuts in [3usize, 50] {
        let mut child = super::support::weir()
            .args(["run", "-e", &format!("pcap(\"-\") | {stages}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (slices, done) = (bytes.clone(), bytes.len() / cuts + 1);
        // A writer that waits between slices is what a live capture looks like from here.
        let writer = std::thread::spawn(move || {
            for slice in slices.chunks(done) {
                stdin.write_all(slice).unwrap();
                stdin.flush().unwrap();
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), whole);
    }
}
