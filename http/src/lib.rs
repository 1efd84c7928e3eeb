//! HTTP for components: one client for sinks, one small server for everything that is asked of weir.
//!
//! Not here: what is sent, and what an answer means to a sink.

#![forbid(unsafe_code)]

pub mod client;
pub mod server;

pub use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use hyper::{Method, StatusCode, Uri};
