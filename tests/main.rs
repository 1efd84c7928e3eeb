//! What holds for the whole program. One binary, a module a theme.

// A test that cannot go on may panic.
#![allow(clippy::unwrap_used)]

mod architecture;
mod bad_input;
mod captures;
mod clients;
mod conformance;
mod dogstatsd;
mod ebpf;
mod flows;
mod fmt;
mod functions;
mod fuzz;
mod http;
mod messages;
mod mutation;
mod pipelines;
mod reference;
mod resolve;
mod support;
mod terminal;
mod used;
mod virtual_time;
mod windows;
