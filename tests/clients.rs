//! Real clients and a real receiver against the running program. `tests/clients/install.sh` puts them into
//! a directory, which `WEIR_CLIENTS` names.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::dogstatsd::live::{BUCKET, BUCKET_SECONDS, Live, free_port};
use super::http::get;
use super::support::root;

/// Where the clients are; one line says why a test does not run.
fn clients(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("WEIR_CLIENTS").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("{test} was not run: WEIR_CLIENTS names no directory of tests/clients/install.sh");
    }
    dir.map(|dir| root().join(dir))
}

fn pipeline(listen: &str) -> String {
    format!(
        r#"let dsd = dogstatsd(listen: ["{listen}"])
           dsd.metrics | aggregate({BUCKET}) | file("{{dir}}/series")
           dsd.events | file("{{dir}}/events")
           dsd.checks | file("{{dir}}/checks")
           dsd.rejected | file("{{dir}}/rejected")"#
    )
}

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What both scripts send, under their prefix.
fn assert_all_came(live: &mut Live, prefix: &str, client: &str) {
    std::thread::sleep(Duration::from_millis(300));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = live.rows("series");
    let row = |name: &str| {
        let found = rows.iter().find(|row| row["name"] == format!("{prefix}.{name}"));
        found.unwrap_or_else(|| panic!("no {prefix}.{name} in {rows:#?}"))
    };
    let value = |name: &str| row(name)["value"].as_f64().unwrap();
    assert_eq!(value("hits"), 100.0 / BUCKET_SECONDS);
    assert_eq!(row("hits")["tags"], serde_json::json!(["a:1", "b:2", client]));
    assert_eq!((value("temp"), value("users"), value("took.max")), (99.0, 7.0, 12.0));
    assert_eq!((value("size.max"), value("size.avg"), value("size.95percentile")), (99.0, 49.5, 94.0));
    let sketch = &row("wait")["sketch"];
    assert_eq!((&sketch["count"], &sketch["max"]), (&100.into(), &serde_json::json!(99.0)));
    let events = live.rows("events");
    assert_eq!((events.len(), events[0]["text"].as_str()), (1, Some("of shop\nversion 2")));
    assert_eq!((live.rows("checks")[0]["status"].as_str(), live.rows("rejected").len()), (Some("ok"), 0));
}

#[test]
fn the_python_client_is_heard_on_every_way() {
    let Some(dir) = clients("the_python_client_is_heard_on_every_way") else { return };
    let port = free_port();
    for way in ["udp", "unixgram", "unixstream"] {
        let listen = match way {
            "udp" => format!("udp://127.0.0.1:{port}"),
            way => format!("{way}://{{dir}}/socket"),
        };
        let mut live = Live::start(&pipeline(&listen));
        let socket = live.path("socket");
        let to = match way {
            "udp" => {
                live.wait_for_port(port);
                format!("udp:{port}")
            }
            way => {
                live.wait_for_file(&socket);
                format!("{way}:{}", socket.display())
            }
        };
        ran(Command::new(dir.join("py/bin/python")).arg(root().join("tests/clients/client.py")).arg(to));
        assert_all_came(&mut live, "py", "client:python");
    }
}

#[test]
fn hot_shots_is_heard() {
    let Some(dir) = clients("hot_shots_is_heard") else { return };
    let port = free_port();
    let mut live = Live::start(&pipeline(&format!("udp://127.0.0.1:{port}")));
    live.wait_for_port(port);
    let script = root().join("tests/clients/client.js");
    ran(Command::new("node").env("NODE_PATH", dir.join("node_modules")).arg(script).arg(port.to_string()));
    assert_all_came(&mut live, "js", "client:node");
}

/// The tracer asks `/info` where its metrics go, and sends them there.
#[test]
fn the_go_tracer_finds_its_way() {
    let Some(dir) = clients("the_go_tracer_finds_its_way") else { return };
    let service = dir.join("go-service");
    if !service.exists() {
        return eprintln!("the_go_tracer_finds_its_way was not run: Go is not installed here");
    }
    let (port, info) = (free_port(), free_port());
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["udp://127.0.0.1:{port}"], info: "127.0.0.1:{info}")
           dsd.metrics | aggregate(10s) | file("{{dir}}/series")
           dsd.rejected | file("{{dir}}/rejected")"#
    ));
    live.wait_for_port(port);
    let url = format!("http://127.0.0.1:{info}");
    ran(Command::new(&service).env("DD_TRACE_AGENT_URL", url).env_remove("DD_DOGSTATSD_PORT"));
    let run = live.stop();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = live.rows("series");
    let has = |name: &str, kind: &str| rows.iter().any(|row| row["name"] == name && row["kind"] == kind);
    assert!(has("runtime.go.num_goroutine", "gauge"), "{} series", rows.len());
    assert!(has("runtime.go.metrics.gc_heap_live.bytes", "gauge"));
    assert!(has("runtime.go.metrics.sched_latencies.seconds", "sketch"));
    let tags = rows.iter().find(|row| row["name"] == "runtime.go.num_goroutine").map(|row| row["tags"].clone());
    let tags = tags.unwrap_or_default();
    assert!(tags.as_array().unwrap().contains(&Value::from("service:shop")), "{tags}");
    assert!(live.rows("rejected").is_empty());
}

/// Debian's Prometheus scrapes what is exposed, and answers queries with the values that were sent.
#[test]
fn prometheus_reads_what_is_exposed() {
    if clients("prometheus_reads_what_is_exposed").is_none() {
        return;
    }
    let (port, scrape, web) = (free_port(), free_port(), free_port());
    let mut live = Live::start(&format!(
        r#"let dsd = dogstatsd(listen: ["udp://127.0.0.1:{port}"])
           dsd.metrics | aggregate(1s) | prometheus("127.0.0.1:{scrape}")"#
    ));
    live.wait_for_port(port);
    let config = live.path("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 500ms}}\nscrape_configs: [{{job_name: weir, static_configs: [{{targets: ['127.0.0.1:{scrape}']}}]}}]\n"
        ),
    )
    .unwrap();
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", live.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{web}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = "shop.orders:7|c|@0.5|#env:a\"b\\c,odd-key:x\nshop.temp:-2.5|g\nshop.wait:1:2:300|d";
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(lines.as_bytes(), ("127.0.0.1", port)).unwrap();
    let query = |query: &str| -> Option<f64> {
        let body = get(web, &format!("/api/v1/query?query={query}"), "")?.1;
        let answer: Value = serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    live.wait("the samples", || query("shop_wait_count").is_some());
    let found = [
        "shop_orders_total%7Bodd_key%3D%22x%22%7D",
        "shop_temp",
        "shop_wait_sum",
        "shop_wait_bucket%7Ble%3D%222%22%7D",
    ]
    .map(query);
    prometheus.kill().unwrap();
    prometheus.wait().unwrap();
    assert_eq!(found, [Some(14.0), Some(-2.5), Some(303.0), Some(2.0)]);
    assert_eq!(live.stop().code, 0);
}
