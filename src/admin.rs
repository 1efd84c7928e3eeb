//! The admin server: what a running pipeline says about itself.
//!
//! `/health` (is every task alive and moving), `/ready` (do sinks reach their far ends), `/metrics`
//! (Prometheus), `/ledger`, `/graph`.

mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use weir_core::Fault;
use weir_core::graph::Handle;
use weir_core::host::holder::{self, Place};
use weir_core::ledger::{Health, Ledger, Number};
use weir_core::sync::lock;
use weir_http::server::{self, Answers, Asked, Said, Serving};
use weir_http::{Method, StatusCode};
use weir_spec::Plan;
use weir_spec::plan::OnFull;

use queues::Queues;

/// How often the queues are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A server that answers until it is dropped.
pub struct Admin {
    _serving: Serving,
    watching: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Begins to answer for a graph.
pub fn serve(address: SocketAddr, plan: &Plan, handle: &Handle) -> Result<Admin, Fault> {
    let fail = |error: std::io::Error| {
        let fault = holder::fault(Place::Tcp(address), &format!("`{address}`"), &error, "`settings(admin: …)`");
        Fault { node: "settings".into(), ..fault }
    };
    let listener = server::bind(address).map_err(fail)?;
    let holds_back = plan.nodes.iter().filter(|node| node.on_full == OnFull::Block).map(|node| node.name.clone());
    let desk = Arc::new(Desk {
        handle: handle.clone(),
        graph: graph(plan),
        holds_back: holds_back.collect(),
        queues: Mutex::default(),
    });
    let watching = tokio::spawn(watch(desk.clone()));
    Ok(Admin { _serving: server::serve(listener, desk).map_err(fail)?, watching })
}

/// The plan as nodes and edges.
fn graph(plan: &Plan) -> Value {
    let nodes = plan.nodes.iter().map(|node| {
        let outputs = node.outputs.iter().map(|output| {
            json!({ "name": output.name, "kind": output.stream.row.name(), "columns": output.stream.schema.names().collect::<Vec<_>>() })
        });
        json!({ "name": node.name, "component": node.spec.name, "outputs": outputs.collect::<Vec<_>>() })
    });
    let edges = plan.nodes.iter().flat_map(|node| {
        node.inputs.iter().map(|from| {
            let upstream = &plan.nodes[from.node];
            json!({ "from": upstream.name, "output": upstream.outputs[from.output].name, "to": node.name })
        })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>() })
}

struct Desk {
    handle: Handle,
    graph: Value,
    /// Nodes that hold back what comes before them when they are full.
    holds_back: BTreeSet<String>,
    queues: Mutex<Queues>,
}

async fn watch(desk: Arc<Desk>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let ledger = desk.handle.ledger();
        lock(&desk.queues).look(&ledger, Instant::now());
    }
}

impl Desk {
    fn health(&self) -> Said {
        let ledger = self.handle.ledger();
        let stuck = {
            let mut queues = lock(&self.queues);
            queues.look(&ledger, Instant::now());
            queues.stuck(&ledger, Instant::now())
        };
        let dead = self.handle.dead();
        let is_well = stuck.is_empty() && dead.is_empty();
        answer(is_well, json!({ "healthy": is_well, "stuck": stuck, "dead": dead }))
    }

    fn ready(&self) -> Said {
        let ledger = self.handle.ledger();
        let away = ledger.components.iter().filter(|c| !matches!(c.health, None | Some(Health::Fine)));
        let away: BTreeMap<&str, &str> =
            away.map(|c| (c.name.as_str(), c.trouble.as_deref().unwrap_or("it is down"))).collect();
        // Listeners are bound before anything is answered. Who drops what is new goes on without its far end.
        let is_ready = !away.keys().any(|name| self.holds_back.contains(*name));
        answer(is_ready, json!({ "ready": is_ready, "away": away }))
    }
}

fn answer(is_well: bool, body: Value) -> Said {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Said { status, ..Said::json(body.to_string()) }
}

#[async_trait]
impl Answers for Desk {
    async fn answer(&self, asked: Asked) -> Said {
        let is_known = matches!(
            asked.path.as_str(),
            "/" | "/health" | "/live" | "/startup" | "/ready" | "/metrics" | "/ledger" | "/graph"
        );
        if is_known && !matches!(asked.method, Method::GET | Method::HEAD) {
            return Said::not_allowed();
        }
        match asked.path.as_str() {
            // The Agent's names for it.
            "/health" | "/live" | "/startup" => self.health(),
            "/ready" => self.ready(),
            "/ledger" => Said::json(serde_json::to_string(&self.handle.ledger()).unwrap_or_default()),
            "/graph" => Said::json(self.graph.to_string()),
            "/metrics" => Said {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Said::text(StatusCode::OK, metrics(&self.handle.ledger()))
            },
            "/" => Said::text(StatusCode::OK, "weir: /health /ready /metrics /ledger /graph\n"),
            _ => Said::not_found(),
        }
    }
}

/// What the ledger's numbers mean.
const FAMILIES: &[(&str, &str)] = &[
    ("component.in", "Rows that came in."),
    ("component.made", "Rows that it made."),
    ("component.out", "Rows that it passed on or delivered."),
    ("component.absorbed", "Rows that it took into its state."),
    ("component.held", "Rows that wait or are on their way."),
    ("component.dropped", "Rows that it dropped, by reason."),
    ("component.noted", "What is counted beside rows."),
    ("edge.queued", "Rows that wait in a queue."),
];

/// The ledger in Prometheus' text form.
pub fn metrics(ledger: &Ledger) -> String {
    let mut out = String::new();
    let mut family = |name: &str, ty: &str, help: &str, lines: Vec<(String, u64)>| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {ty}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    };
    let numbers = ledger.numbers();
    for (of, help) in FAMILIES {
        let own: Vec<&Number> = numbers.iter().filter(|number| number.of == *of).collect();
        let is_counter = own.first().is_some_and(|number| number.is_counter);
        let (ty, total) = if is_counter { ("counter", "_total") } else { ("gauge", "") };
        let name = format!("weir_{}{total}", of.replace('.', "_"));
        let line = |number: &&Number| {
            let labels = number.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
            (labels.collect::<Vec<_>>().join(","), number.value)
        };
        family(&name, ty, help, own.iter().map(line).collect());
    }
    family(
        "weir_ledger_balanced",
        "gauge",
        "Whether every row is accounted for.",
        vec![(String::new(), u64::from(ledger.balanced))],
    );
    out.replace("{} ", " ")
}
