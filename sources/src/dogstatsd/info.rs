//! What tracers ask of an Agent before they send: `/info`, and the way in that some take instead of UDP.
//!
//! Only what tells them where their metrics go is answered; every other path of the trace API is a quick
//! 404, with which they carry on.

use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use weir_core::Fault;
use weir_core::host::holder::{self, Place};
use weir_http::server::{self, Answers, Asked, Body, Said, Serving};
use weir_http::{Method, StatusCode};

/// Metrics by HTTP, as newer tracers send them to an Agent that names it in `/info`.
const PROXY: &str = "/dogstatsd/v2/proxy";
/// Bodies that wait to be read.
const BODIES_MAX: usize = 64;

/// A bound port that nobody answers at yet.
pub struct Info {
    listener: TcpListener,
    statsd_port: u16,
}

impl Info {
    pub fn bind(address: &str, statsd_port: Option<u16>) -> Result<Info, Fault> {
        let socket = weir_spec::address::socket(address).map_err(Fault::environment)?;
        let listener = server::bind(socket).map_err(|error| {
            let shown = format!("`{address}` for `/info`");
            holder::fault(Place::Tcp(socket), &shown, &error, "`info:`, or `info: none`")
        })?;
        Ok(Info { listener, statsd_port: statsd_port.unwrap_or(0) })
    }

    /// Begins to answer. What comes by the proxy is given to the other end.
    pub fn serve(self) -> Result<(Serving, mpsc::Receiver<Body>), Fault> {
        let (bodies, receiver) = mpsc::channel(BODIES_MAX);
        let desk = Desk { info: info(self.statsd_port), bodies };
        let serving = server::serve(self.listener, Arc::new(desk))
            .map_err(|error| Fault::environment(format!("cannot answer `/info`: {error}")))?;
        Ok((serving, receiver))
    }
}

/// The fields that tracers read. A port of 0 says that there is none.
fn info(statsd_port: u16) -> Bytes {
    let info = json!({
        "version": concat!("7.70.0-weir.", env!("CARGO_PKG_VERSION")),
        "git_commit": "",
        "endpoints": [PROXY],
        "feature_flags": [],
        "client_drop_p0s": false,
        "span_meta_structs": false,
        "long_running_spans": false,
        "span_events": false,
        "evp_proxy_allowed_headers": [],
        "peer_tags": [],
        "span_kinds_stats_computed": [],
        "obfuscation_version": 0,
        "config": { "default_env": "none", "statsd_port": statsd_port, "receiver_port": 0 },
    });
    Bytes::from(info.to_string())
}

struct Desk {
    info: Bytes,
    bodies: mpsc::Sender<Body>,
}

#[async_trait]
impl Answers for Desk {
    fn knows(&self, path: &str) -> bool {
        matches!(path, "/info" | PROXY)
    }

    async fn answer(&self, asked: Asked) -> Said {
        match (asked.path.as_str(), &asked.method) {
            ("/info", &Method::GET | &Method::HEAD) => Said::json(self.info.clone()),
            ("/info", _) => Said::not_allowed(),
            (PROXY, &Method::POST | &Method::PUT) => match self.bodies.try_send(asked.body) {
                Ok(()) => Said::json("{}"),
                // The client keeps what it has, or counts it as lost: it is told.
                Err(_) => Said::text(StatusCode::TOO_MANY_REQUESTS, "busy\n"),
            },
            _ => Said::not_found(),
        }
    }
}
