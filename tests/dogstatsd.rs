//! DogStatsD against what its own clients and servers say: vectors, framing, recordings of real clients.

mod ends;
mod entries;
pub mod live;
mod reference;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_core::Time;
use weir_sinks::encode::json::NdJson;
use weir_sources::dogstatsd::about::Sender;
use weir_sources::dogstatsd::decode::{Decoder, Dialect, Payload, Rules};
use weir_sources::dogstatsd::mapper::Mapping;
use weir_spec::kinds::{check::CHECK, event::EVENT, metric::METRIC};

use super::support::root;

/// Vectors whose outcome is another one here, each with its reason.
const DIFFERENCES: &[(&str, &str)] = &[("d058", "the inode in `c:` is a way to a container, not a column")];

pub fn lines(name: &str) -> Vec<Value> {
    let path = root().join("tests/dogstatsd").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mapping(text: &str) -> Mapping {
    Mapping::parse(text.trim()).unwrap_or_else(|wrong| panic!("{text}: {}", wrong.why))
}

fn rules(vector: &Value, dialect: Dialect) -> Rules {
    let config = &vector["config"];
    let tags = config["dogstatsd_tags"].as_array().into_iter().flatten();
    Rules {
        dialect,
        tags: tags.map(|tag| tag.as_str().unwrap().to_string()).collect(),
        eol_required: config["eol_required"].is_array(),
        timestamps: config["read_timestamps"] != false,
        mappings: config["mapper"].as_str().into_iter().flat_map(|all| all.split(';')).map(mapping).collect(),
    }
}

fn plain_rules(dialect: Dialect) -> Rules {
    Rules { dialect, tags: Vec::new(), eol_required: false, timestamps: true, mappings: Vec::new() }
}

fn objects(rows: &arrow_array::RecordBatch, kind: &'static weir_spec::Kind) -> Vec<Value> {
    let encoder = NdJson::new(&std::sync::Arc::new(kind.schema()));
    let row = |at| {
        let mut text = bytes::BytesMut::new();
        encoder.row(rows, at, &mut text);
        serde_json::from_slice(&text).unwrap()
    };
    (0..rows.num_rows()).map(row).collect()
}

/// What a payload is read as: one object a message in the form of the vectors. The same when it comes again, and what it
/// says is known.
fn read(bytes: &[u8], rules: Rules) -> Vec<Value> {
    let mut decoder = Decoder::new(rules, 1 << 20);
    let first = read_by(&mut decoder, bytes);
    assert_eq!(first, read_by(&mut decoder, bytes), "for the second time: {}", String::from_utf8_lossy(bytes));
    first
}

fn read_by(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Value> {
    let (sender, peer) = (Sender::default(), String::new);
    let payload = Payload { bytes, is_truncated: false, sender: &sender, peer: &peer };
    decoder.payload(&payload, Time(1_000_000_000));
    // NaN has no form in JSON, so values are taken from the column.
    let (metrics, _) = decoder.metrics.finish(&METRIC.schema());
    let values = values(&metrics);
    let metrics = objects(&metrics, &METRIC).into_iter().zip(values).map(|(row, values)| metric(&row, values));
    let events = objects(&decoder.events.finish(&EVENT.schema()).0, &EVENT).into_iter().map(|row| event(&row));
    let checks = objects(&decoder.checks.finish(&CHECK.schema()).0, &CHECK).into_iter().map(|row| check(&row));
    let bad = std::mem::take(&mut decoder.rejected).into_iter().map(|bad| json!({"error": bad.reason}));
    metrics.chain(events).chain(checks).chain(bad).collect()
}

/// What was read of one line is not taken for what another says.
#[test]
fn lines_that_are_alike_are_told_apart() {
    let lines = [
        "a:1|ms|#t:1",
        "a:2|m|#t:1",
        "a:2|mx|#t:1",
        "a:2|c|#t:1",
        "a:2|cs|#t:1",
        "a:2|c |#t:1",
        "a:|c|#t:1",
        "a:x|c|#t:1",
        "a:1:2|c|#t:1",
        "a:1|c|@0.5|#t:1",
        "a:1|c|#t:1|@0.5",
        "a:1|c|@|#t:1",
        "a:1|c|@x|#t:1",
        "a:y|c|@x|#t:1",
        "a:1|c|@0.5|@0.1|#t:1",
        "a:1|c|@0.5|#t:1|@0.1",
        "a:1|c|@0.1|#t:1",
        "a:1|c#t:1",
        "a:1|c|#t:1|T100",
        "a:1|c|#t:1|T101",
        "a:1|c|#t:1|Tx",
        "a:1|s|#t:1",
        "a:|s|#t:1",
        "a:b|s|#t:1",
        "a:1|c|#t:1|c:x",
        "a:1|c|#t:1|c:in-1",
        "a:1|c|#t:1|e:pu-x",
        "a:1|c|#host:h,t:1",
        "a:1|c|#t:1,dd.internal.card:low",
        "a:1|c|#t:1|card:low",
        "a:1|c|#t:1,",
        "a:1|c|#",
        "a:1|c|",
        "a:1|c",
        "a:1",
        "a|c",
        ":1|c",
        "a:1|",
        "_e:1|c",
        "_e:x|c",
        "_e|c:1|c",
        "a:1|g",
        "a:+1|g",
        "a:nan|c|#t:1",
        "a#t:1:1|c",
        "aa:1|c|#t:1",
    ];
    let alone: Vec<Vec<Value>> =
        lines.iter().map(|line| read(line.as_bytes(), plain_rules(Dialect::Dogstatsd))).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut decoder = Decoder::new(plain_rules(Dialect::Dogstatsd), 1 << 20);
    for _ in 0..5_000 {
        let at = random.usize(0..lines.len());
        assert_eq!(read_by(&mut decoder, lines[at].as_bytes()), alone[at], "{}", lines[at]);
    }
}

fn values(rows: &arrow_array::RecordBatch) -> Vec<Value> {
    use arrow_array::{Array, Float64Array};
    let lists = weir_core::columns::get(rows, weir_spec::kinds::metric::VALUES).unwrap();
    let number = |x: &f64| if x.is_finite() { json!(x) } else { json!(x.to_string()) };
    let of = |row: usize| {
        let list = lists.value(row);
        let list: &Float64Array = list.as_any().downcast_ref().unwrap();
        Value::Array(list.values().iter().map(number).collect())
    };
    (0..rows.num_rows()).map(of).collect()
}

fn seconds(row: &Value) -> Value {
    row["timestamp"]
        .as_str()
        .map_or(Value::Null, |text| json!(weir_spec::units::parse_time(text).unwrap() / 1_000_000_000))
}

fn or<'a>(value: &'a Value, other: &'a Value) -> Value {
    if value.is_null() { other.clone() } else { value.clone() }
}

fn metric(row: &Value, values: Value) -> Value {
    let word = row["kind"].as_str().unwrap();
    let kind = match word {
        "counter" => "count",
        "gauge_delta" => "gauge",
        other => other,
    };
    let mut object = json!({
        "kind": "metric", "type": kind, "name": row["name"], "rate": row["sample_rate"],
        "tags": or(&row["tags"], &json!([])), "timestamp": seconds(row),
    });
    match kind {
        "set" => object["set_value"] = row["members"][0].clone(),
        _ => object["values"] = values,
    }
    if word == "gauge_delta" {
        object["relative"] = json!(true);
    }
    for name in ["host", "unit"] {
        if let Some(value) = row.get(name) {
            object[name] = value.clone();
        }
    }
    with_origin(object, row)
}

/// What is told of where a message came from.
fn with_origin(mut object: Value, row: &Value) -> Value {
    for (from, to) in [("container", "container_id"), ("pod", "pod_uid"), ("cardinality", "cardinality")] {
        if let Some(value) = row["origin"].get(from) {
            object[to] = value.clone();
        }
    }
    if let Some(external) = row.pointer("/origin/external").and_then(Value::as_str) {
        let parts: BTreeMap<&str, &str> = external.split(',').filter_map(|part| part.split_once('-')).collect();
        let part = |name: &str| parts.get(name).copied().unwrap_or_default();
        let is_init = ["1", "t", "T", "true", "TRUE", "True"].contains(&part("it"));
        object["external_data"] = json!({"init": is_init, "container_name": part("cn"), "pod_uid": part("pu")});
        object.as_object_mut().unwrap().remove("pod_uid");
    }
    object
}

fn text(row: &Value, name: &str) -> Value {
    or(&row[name], &json!(""))
}

fn event(row: &Value) -> Value {
    let object = json!({
        "kind": "event", "title": row["title"], "text": row["text"], "timestamp": or(&seconds(row), &json!(0)),
        "priority": row["priority"], "alert_type": row["alert_type"], "aggregation_key": text(row, "aggregation_key"),
        "source_type": text(row, "source_type"), "hostname": text(row, "host"), "tags": or(&row["tags"], &json!([])),
    });
    with_origin(object, row)
}

fn check(row: &Value) -> Value {
    let object = json!({
        "kind": "service_check", "name": row["name"], "status": row["status"], "hostname": text(row, "host"),
        "timestamp": or(&seconds(row), &json!(0)), "message": text(row, "message"), "tags": or(&row["tags"], &json!([])),
    });
    with_origin(object, row)
}

/// Numbers as floats, so that 1 and 1.0 are alike.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => json!(n.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn vectors_are_read_as_they_say() {
    use base64::Engine;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for vector in lines("vectors.jsonl") {
        let dialect = match vector["impl"].as_str().unwrap() {
            "agent" | "datadog-go" => Dialect::Dogstatsd,
            "etsy" => Dialect::Etsy,
            _ => continue,
        };
        seen += 1;
        let bytes = match vector["line_b64"].as_str() {
            Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
            None => vector["line"].as_str().unwrap().as_bytes().to_vec(),
        };
        let found = read(&bytes, rules(&vector, dialect));
        let expected = match vector["expect"]["messages"].as_array() {
            Some(messages) => messages.clone(),
            None => vec![vector["expect"].clone()],
        };
        let error = |value: &Value| value["error"].as_str().map(|error| json!({"error": error}));
        // What is rejected stands behind what is read.
        let (bad, good): (Vec<_>, Vec<_>) = expected.iter().partition(|message| error(message).is_some());
        let expected: Vec<Value> =
            good.into_iter().cloned().chain(bad.into_iter().filter_map(error)).map(|message| plain(&message)).collect();
        let mut found: Vec<Value> = found.iter().map(plain).collect();
        // Only some vectors speak of these: the Agent asks its configuration first. Etsy's do not speak of units.
        let is_spoken_of = |name: &str| expected.iter().any(|message| message.get(name).is_some());
        let may_be_unspoken: &[&str] = match dialect {
            Dialect::Dogstatsd => &["cardinality", "container_id"],
            Dialect::Etsy => &["cardinality", "container_id", "unit"],
        };
        for name in may_be_unspoken.iter().copied().filter(|name| !is_spoken_of(name)) {
            found.iter_mut().filter_map(Value::as_object_mut).for_each(|message| drop(message.remove(name)));
        }
        let id = vector["id"].as_str().unwrap();
        if expected != found && !DIFFERENCES.iter().any(|(other, _)| *other == id) {
            wrong.push(format!("{id} {}\n  wanted {expected:?}\n  found  {found:?}", vector["line"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 79, "{seen}");
}

/// What the vectors do not have: lines at the edges of the rules, as the Agent and Etsy's server read them.
#[test]
fn lines_at_the_edges_are_read_as_the_servers_read_them() {
    let agents = [
        "_e{5,4,3}:title|text",
        "_e{5,4,}:title|text",
        "_e{5,-0}:title|",
        "_e{5,4}:title|textd:12345|#a,b",
        "_e{5,4}:title|textXt:error",
        "_e{5,4}:title|text|d:-5",
        "_e{5,4}:title|text|d:5|d:0",
        "_e{5,4}:title|text|d:1657100430000",
        "_e{5,4}:title|text|h:|#host:b",
        "_e{5,4}:title|text|h:a|h:",
        "_e{5,4}:title|text|c:abc,in-5",
        "_e{5,4}:title|text|c:in-5",
        "_e{5,4}:title|text|c:ci-a,in-5,ci-b",
        "_scXa|0",
        "_scXa|0|",
        "_sc|a|0|h:|#host:b",
        "a:1|c|card:bogus|#dd.internal.card:high",
        "a:1|c|#dd.internal.card:low,dd.internal.card:high",
        "a:1|c|card:orch",
        "a:1|c|card:|#dd.internal.card:high",
        "a:1|c|card:low|card:|#dd.internal.card:high",
        "a:1|c|#dd.internal.card:,dd.internal.card:low",
        "_e",
        "_e|text",
        "_error.rate:1|x",
        "_exec:1|c",
        "a:1|c|#dd.internal.entity_id:",
        "a:abc|c|Tx",
        "a:abc|c|@x",
        "a:b|s|@x",
    ];
    let etsys = [
        "a b/c!:1|c",
        "a \t b:1|c",
        "\u{e9}:1|c",
        "a|b:1|c",
        "k:1|c|#a:b,c:d:e",
        "k:1|c|#a:b|#c:d",
        "k|#t:1:5|c",
        "k:1|c|#",
        "k:1|",
        "k:1||@0.5",
        "k:|s",
        "k:5|g ",
        "k:+5| g",
        "k:-5|ms ",
        "k:-5|ms",
        "k: 5|c",
        "k: |c",
        "k:|c",
        "k:0x1A|c",
        "k:0b11|c",
        "k:0o17|c",
        "k:0x|c",
        "k:1_000|c",
        "k:0x1p2|c",
        "k:1e400|c",
        "k:Infinity|g",
        "k:inf|g",
        "k:1|c|@0.1|x",
        "k:1|c|@0.1|",
        "k:1|c|",
        "k:1|c|@inf",
        "k:1|c|@1_0",
        "k:1|c|@0.5 ",
        "k:1|c|@1e-3",
        "k:1|c|@-1",
        ":1|c",
        "k",
        "k:foo|s\r",
        "k:-5|ms\r",
        "k:5|g\r",
        "k:1|c|#a:b\r",
        "\r",
        "k\u{a0}x:1|c",
        "k \u{2003}x:1|c",
        "\u{feff}k:1|c",
        "k:\u{a0}5|c",
        "k:+5|g\u{3000}",
    ];
    let read_all = |lines: &[&str], dialect| -> String {
        let one = |line: &&str| {
            let read: Vec<String> = read(line.as_bytes(), plain_rules(dialect)).iter().map(Value::to_string).collect();
            format!("{line:?}\n  {}\n", read.join("\n  "))
        };
        lines.iter().map(one).collect()
    };
    insta::assert_snapshot!("lines_at_the_edges_agent", read_all(&agents, Dialect::Dogstatsd));
    insta::assert_snapshot!("lines_at_the_edges_etsy", read_all(&etsys, Dialect::Etsy));
}

/// Events and checks are cut at numbers of bytes, lines of metrics at bytes that are ASCII; what is no UTF-8 is replaced.
#[test]
fn text_that_is_cut_inside_a_character_is_mended() {
    let read = |line: &[u8]| {
        let read = read(line, plain_rules(Dialect::Dogstatsd));
        read.into_iter().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line)))
    };
    let check = read("_sc\u{e9}a|0|m:\u{e9}".as_bytes());
    assert_eq!((&check["name"], &check["message"]), (&json!("\u{fffd}a"), &json!("\u{e9}")));
    let check = read(b"_sc|\xffa|0|#h\xc3,host:\xfe");
    assert_eq!((&check["name"], &check["tags"]), (&json!("\u{fffd}a"), &json!(["h\u{fffd}"])));
    assert_eq!(check["hostname"], "\u{fffd}");
    let event = read("_e{1,1}:\u{e9}x\u{e9}".as_bytes());
    assert_eq!((&event["title"], &event["text"]), (&json!("\u{fffd}"), &json!("x")));
    let metric = read(b"a\xc3:\xff|s|#x\xe2\x82,host:\xfe,h:1");
    assert_eq!((&metric["name"], &metric["set_value"]), (&json!("a\u{fffd}"), &json!("\u{fffd}")));
    assert_eq!((&metric["tags"], &metric["host"]), (&json!(["x\u{fffd}", "h:1"]), &json!("\u{fffd}")));
}

/// In every vector, at every place, something that is no ASCII, or no text at all.
#[test]
fn whatever_stands_wherever_in_a_line_is_read_or_refused() {
    let mut seen = 0;
    for vector in lines("vectors.jsonl") {
        let Some(line) = vector["line"].as_str().map(str::as_bytes) else { continue };
        for put in ["\u{e9}".as_bytes(), "\u{20ac}".as_bytes(), b"\xff", b"\xe2\x82"] {
            let at = |at: usize| [&line[..at], put, &line[at..]].concat();
            let all: Vec<Vec<u8>> = (0..=line.len()).map(at).collect();
            let all = all.join(&b'\n');
            let lines = all.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            seen += lines;
            let read = |dialect| read(&all, plain_rules(dialect)).len();
            assert_eq!(read(Dialect::Dogstatsd), lines, "{}", vector["id"]);
            assert!(read(Dialect::Etsy) >= lines, "{}", vector["id"]);
        }
    }
    assert!(seen > 10_000, "{seen}");
}

/// A row has all of a name: one line must not become hundreds of megabytes of it.
#[test]
fn a_long_name_with_many_pairs_is_refused() {
    let rules = || plain_rules(Dialect::Etsy);
    let line = |name: usize, pairs: usize| format!("{}:{}", "n".repeat(name), ["1|c"; 1].repeat(pairs).join(":"));
    assert_eq!(read(line(32_000, 8_000).as_bytes(), rules()), [json!({"error": "bad_line"})]);
    assert_eq!(read(line(100, 8_000).as_bytes(), rules()).len(), 8_000);
}

#[test]
fn sketch_keys_are_the_agents() {
    for row in lines("sketch_keys.jsonl") {
        let (value, key) = (row["value"].as_f64().unwrap(), row["key"].as_i64().unwrap());
        assert_eq!(i64::from(weir_core::sketch::key(value)), key, "{value}");
    }
}

/// Every metric that the catalogue of the tracers has comes out with its type, value, tags and unit.
#[test]
fn every_runtime_metric_is_known() {
    let catalogue = lines("runtime_metrics.jsonl");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_string();
    let sent = catalogue.iter().enumerate().map(|(at, row)| {
        let stamp = if row["timestamped"] == true { "|T1700000000" } else { "" };
        format!("{}:{}|{}|#env:prod,service:shop{stamp}\n", text(row, "name"), at + 1, text(row, "wire"))
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lines"), sent.collect::<String>()).unwrap();
    let pipeline = format!(
        "let d = dogstatsd(\"{}\")\nd.metrics | aggregate(10s) | stdout(ndjson)",
        dir.path().join("lines").display()
    );
    let output = super::support::weir().args(["run", "-e", &pipeline]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|row| serde_json::from_slice(row).ok()).collect();
    assert!(catalogue.len() > 150);
    for (at, row) in catalogue.iter().enumerate() {
        let name = text(row, "name");
        let value = (at + 1) as f64;
        let (called, kind, value) = match text(row, "wire").as_str() {
            "g" => (name.clone(), "gauge", value),
            "c" => (name.clone(), "rate", value / 10.0),
            "d" => (name.clone(), "sketch", value),
            _ => (format!("{name}.max"), "gauge", value),
        };
        let found =
            rows.iter().find(|row| row["name"] == called.as_str()).unwrap_or_else(|| panic!("{called} is missing"));
        let seen = if kind == "sketch" { &found["sketch"]["sum"] } else { &found["value"] };
        assert_eq!((&found["kind"], seen.as_f64()), (&json!(kind), Some(value)), "{found}");
        assert_eq!(found["tags"], json!(["env:prod", "service:shop"]), "{found}");
        assert_eq!(found["unit"].as_str().unwrap_or_default(), text(row, "unit"), "{found}");
    }
}

/// A row that is refused takes no name from those that follow it, and one with a time of its own conflicts with none.
#[test]
fn what_is_refused_is_in_nobodys_way() {
    let lines = [
        "a:nan|g",
        "a:1|c",
        "b:1|c|@0",
        "b:2|g",
        "c:1|c|T1700000000",
        "c:7|g|T1700000000",
        "c:1|h|T1700000000",
        "c:nan|g|T1700000000",
        "d:1:nan:2|c",
    ]
    .join("\n");
    let run = super::support::run(&format!(
        "let d = dogstatsd({lines:?})\nlet series = d.metrics | aggregate(10s, contexts_max: 5)\nseries | stdout(ndjson)"
    ));
    let point = |row: &Value| format!("{} {} {}", row["name"], row["kind"], row["value"]).replace('"', "");
    let mut points: Vec<String> = run.rows().iter().map(point).collect();
    points.sort();
    assert_eq!(points, ["a rate 0.1", "b gauge 2.0", "c gauge 7.0", "c rate 0.1", "d rate 0.3"]);
    let dropped = ["not_finite", "sample_rate", "timestamped", "kind_conflict", "contexts_full"];
    assert_eq!(dropped.map(|why| run.count("series", &format!("dropped/{why}"))), [2, 1, 1, 0, 0]);
}

/// JSON has `null` for what is no number, and a recording is aggregated as what was live.
#[test]
fn what_was_no_number_is_none_when_it_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.ndjson");
    let rows = [("a", "gauge", "[null]"), ("b", "histogram", "[null,7]"), ("c", "counter", "[1]")];
    let row = |(name, kind, values): (&str, &str, &str)| {
        format!("{{\"time\":\"2026-01-01T00:00:01Z\",\"name\":\"{name}\",\"kind\":\"{kind}\",\"values\":{values}}}\n")
    };
    std::fs::write(&path, rows.map(row).concat()).unwrap();
    let run =
        super::support::run(&format!("let s = ndjson({path:?}, as: metric) | aggregate(10s)\ns | stdout(ndjson)"));
    let points: Vec<String> = run.rows().iter().map(|row| format!("{} {}", row["name"], row["value"])).collect();
    let expected = ["b.max 7.0", "b.median 7.0", "b.avg 7.0", "b.count 0.1", "b.95percentile 7.0", "c 0.1"];
    assert_eq!(points.iter().map(|point| point.replace('"', "")).collect::<Vec<_>>(), expected);
}

/// The four packets of the Agent's `TestMappingCases`, and plain StatsD, whose names hold everything.
#[test]
fn names_are_mapped_before_they_are_counted() {
    let lines = "test.job.duration.my_job_type.my_job_name:666|g\ntest.job.size.my_job_type.my_job_name:666|g\n\
        test.job.size.not_match:666|g\ntest.job.duration.my_job_type.my_job_name:666|g|#some:tag,more:tags";
    let mappings = [
        "test.job.duration.*.* -> test.job.duration {job_type:$1,job_name:$2}",
        "test.job.size.*.* -> test.job.size {foo:$1,bar:$2}",
    ];
    let told = |dialect: &str, lines: &str| {
        let run = super::support::run(&format!(
            "let d = dogstatsd({lines:?}, dialect: {dialect}, mappings: {mappings:?})\nd.metrics | stdout(ndjson)"
        ));
        let row = |row: &Value| format!("{} {}", row["name"].as_str().unwrap(), row["tags"]);
        run.rows().iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(
        told("dogstatsd", lines),
        [
            r#"test.job.duration ["job_type:my_job_type","job_name:my_job_name"]"#,
            r#"test.job.size ["foo:my_job_type","bar:my_job_name"]"#,
            "test.job.size.not_match []",
            r#"test.job.duration ["some:tag","more:tags","job_type:my_job_type","job_name:my_job_name"]"#,
        ]
    );
    assert_eq!(
        told("etsy", "test.job.size.a.b:1|c:5|ms"),
        [r#"test.job.size ["foo:a","bar:b"]"#, r#"test.job.size ["foo:a","bar:b"]"#]
    );
}

/// Sums of numbers that are too large for one are no points, and are counted.
#[test]
fn what_overflows_is_counted() {
    let lines = "a:1e308:1e308|c\nb:1e308:1e308|h\nc:1e308:1e308|d\nd:1e308|g\ne:1.7e308:-1.7e308|d";
    let run = super::support::run(&format!(
        "let d = dogstatsd({lines:?})\nlet series = d.metrics | aggregate(1s)\nseries | stdout(ndjson)"
    ));
    let rows = run.rows();
    let mut names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["b.95percentile", "b.count", "b.max", "b.median", "d"]);
    assert!(rows.iter().all(|row| row["value"].is_number()), "{rows:?}");
    assert_eq!(run.count("series", "noted/overflowed"), 4);
}

/// Rules of aggregation that need time, as test blocks of the language.
#[test]
fn time_passes_as_the_agent_lets_it() {
    let pipeline = r#"
let dsd = dogstatsd(listen: ["udp://127.0.0.1:8125"])
let series = dsd.metrics | aggregate(10s, contexts_max: 4)
series | blackhole

test "a counter is zero for 300 s, and no longer" {
  feed dsd.metrics with dogstatsd("x:10|c")
  advance 20m
  expect series any { name == "x", value == 1.0 }
  expect series count == 30
}

test "a counter's silence begins with a whole second" {
  feed dsd.metrics with dogstatsd("w:1|c")
  advance 10500ms
  feed dsd.metrics with dogstatsd("x:10|c")
  advance 20m
  expect series any { name == "x", time == "1970-01-01T00:05:00Z" }
  expect series none { name == "x", time > "1970-01-01T00:05:00Z" }
}

test "a counter was not zero before it came" {
  feed dsd.metrics with dogstatsd("x:10|c")
  advance 20m
  feed dsd.metrics with dogstatsd("y:10|c")
  advance 20s
  expect series none { name == "y", time < "1970-01-01T00:20:00Z" }
  expect series count <= 35
}

test "a gauge is given once" {
  feed dsd.metrics with dogstatsd("x:10|g")
  advance 5m
  expect series count == 1
}

test "a relative gauge stands on what it was, however long ago" {
  feed dsd.metrics with dogstatsd("x:10|g\nx:+5|g\ny:-3|g", dialect: etsy)
  advance 30m
  feed dsd.metrics with dogstatsd("x:+1|g\ny:-1|g\nz:+1|g", dialect: etsy)
  advance 20s
  expect series any { name == "x", value == 16.0 }
  expect series any { name == "y", value == -4.0 }
  expect series any { name == "z", value == 1.0 }
}

test "a row without a name is no series" {
  feed dsd.metrics with dogstatsd("$$:1|c\nx:1|c", dialect: etsy)
  advance 20s
  expect series dropped no_context == 1
  expect series all { name == "x" }
}

test "contexts of rows with times of their own are forgotten" {
  feed dsd.metrics with dogstatsd("a:1|g|T1700000000\nb:1|g|T1700000000\nc:1|g|T1700000000")
  advance 60s
  feed dsd.metrics with dogstatsd("d:1|g|T1700000000\ne:1|g|T1700000000")
  expect series dropped contexts_full == 0
  expect series count == 5
}

test "a name keeps its type" {
  feed dsd.metrics with dogstatsd("x:1|g\nx:2|c\nx:3|ms\nx:4|d")
  advance 20s
  expect series dropped kind_conflict == 2
  expect series count == 2
}

test "a row that is refused changes no type" {
  feed dsd.metrics with dogstatsd("x:1|c")
  advance 60s
  feed dsd.metrics with dogstatsd("x:nan|g\nx:30|c")
  advance 20s
  expect series dropped kind_conflict == 0
  expect series dropped not_finite == 1
  expect series any { name == "x", value == 3.0 }
}

test "a type may change with the interval, and then no zeros come of the old one" {
  feed dsd.metrics with dogstatsd("x:1|c|#a:1,b:2\nx:1|c|#b:2,a:1")
  advance 60s
  feed dsd.metrics with dogstatsd("x:3|g|#a:1,b:2\nx:7|g|#b:2,a:1")
  advance 60s
  expect series dropped kind_conflict == 0
  expect series none { value == 3.0 }
  expect series any { name == "x", kind == "gauge", value == 7.0 }
  expect series none { kind == "rate", time > "1970-01-01T00:01:20Z" }
}

test "who is new goes before counters that are nothing but zero" {
  feed dsd.metrics with dogstatsd("bad:1|c|#id:1\nbad:1|c|#id:2\nbad:1|c|#id:3\nbad:1|c|#id:4\nbad:1|c|#id:5")
  advance 60s
  feed dsd.metrics with dogstatsd("good:1|g")
  advance 20s
  expect series dropped contexts_full == 1
  expect series any { name == "good", value == 1.0 }
}

test "values that are none cost only themselves" {
  feed dsd.metrics with dogstatsd("x:NaN:4|c\ny:inf|g\nz:1|c|@0\nd:5|d|@0\nh:5|ms|@0")
  advance 20s
  expect series dropped not_finite == 1
  expect series dropped sample_rate == 1
  expect series any { name == "x", value == 0.4 }
  expect series any { name == "d" }
  expect series any { name == "h.max", value == 5.0 }
  expect series any { name == "h.count", value == 0.1 }
}
"#;
    let (code, stdout, _) = super::support::run_tests(pipeline);
    assert_eq!(code, 0, "{stdout}");
}

mod properties {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::support;

    /// A line of one of few contexts, with its tags in an order of its own.
    fn line() -> impl Strategy<Value = (usize, String)> {
        let tags = prop::sample::subsequence(vec!["a:1", "b:2", "c:3", "host:h"], 0..4).prop_shuffle();
        (0usize..6, 0u32..50, prop::sample::select(vec!["", "|@0.5", "|@0.1"]), tags).prop_map(
            |(context, value, rate, tags)| {
                let kind = ["c", "g", "ms", "d", "h", "s"][context];
                let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
                (context, format!("m{context}:{value}|{kind}{rate}{tags}"))
            },
        )
    }

    fn series(lines: &[String]) -> BTreeSet<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let run = support::run(&format!(
            "let d = dogstatsd(\"{}\")\nd.metrics | aggregate(3650d) | stdout(ndjson)",
            path.display()
        ));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let rows: Vec<String> = run.stdout.lines().map(str::to_string).collect();
        let all: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), all.len(), "a series came twice");
        all
    }

    /// A line with its tags in order, as another client would send it.
    fn in_order(line: &str) -> String {
        let Some((head, tags)) = line.split_once("|#") else { return line.to_string() };
        let mut tags: Vec<&str> = tags.split(',').collect();
        tags.sort_unstable();
        format!("{head}|#{}", tags.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Neither the order of tags nor how contexts are mixed changes what comes out.
        #[test]
        fn aggregates_do_not_depend_on_order(lines in prop::collection::vec(line(), 1..60)) {
            let mixed: Vec<String> = lines.iter().map(|(_, line)| line.clone()).collect();
            let mut apart = lines.clone();
            // Stable: the lines of one context stay in their order, which gauges depend on.
            apart.sort_by_key(|(context, _)| *context);
            let apart: Vec<String> = apart.iter().map(|(_, line)| in_order(line)).collect();
            prop_assert_eq!(series(&mixed), series(&apart));
        }
    }
}
