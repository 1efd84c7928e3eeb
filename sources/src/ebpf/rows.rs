//! Conversations as columns of the kind `flow`.

use std::net::Ipv6Addr;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray, UInt8Array, UInt16Array};
use weir_core::build::valid;
use weir_core::columns::{WordBuilder, absent, ips};
use weir_core::community;
use weir_core::host::cgroup::Unit;
use weir_core::host::endpoint;
use weir_ebpf::records::Protocol;
use weir_spec::kinds::flow as kind;
use weir_spec::{Field, Schema};

use weir_ebpf::conntrack::End;

use super::meter::{Direction, Flow, Socket, errno_name};

/// A conversation, and the container that its own end is in.
pub type Placed = (Flow, Option<Arc<Unit>>);

/// The columns that somebody reads, in their order. `host` is the name of where it was counted.
pub fn build(flows: &[Placed], schema: &Schema, host: Option<&str>) -> Vec<ArrayRef> {
    let column = |field: &Field| one(flows, &field.name, host).unwrap_or_else(|| absent(field.repr, flows.len()));
    schema.fields.iter().map(column).collect()
}

fn one(flows: &[Placed], name: &str, host: Option<&str>) -> Option<ArrayRef> {
    if let Some(rest) = name.strip_prefix("sent_") {
        return counter(flows, rest, |flow| &flow.sent);
    }
    if let Some(rest) = name.strip_prefix("received_") {
        return counter(flows, rest, |flow| &flow.received);
    }
    if let Some(rest) = name.strip_prefix("src.") {
        return end(flows, rest, true, host);
    }
    if let Some(rest) = name.strip_prefix("dst.").filter(|rest| !rest.starts_with("original.")) {
        return end(flows, rest, false, host);
    }
    let int = |f: &dyn Fn(&Flow) -> Option<i64>| -> ArrayRef {
        Arc::new(flows.iter().map(|(flow, _)| f(flow)).collect::<Int64Array>())
    };
    let byte = |f: &dyn Fn(&Flow) -> Option<u8>| -> ArrayRef {
        Arc::new(flows.iter().map(|(flow, _)| f(flow)).collect::<UInt8Array>())
    };
    let of_socket = |f: &dyn Fn(&Socket) -> u8| byte(&|flow| flow.socket.as_ref().map(f));
    Some(match name {
        n if n == kind::START.name => int(&|flow| Some(flow.start)),
        n if n == kind::END.name => int(&|flow| Some(flow.end)),
        n if n == kind::PROTOCOL_.name => byte(&|flow| Some(flow.protocol.number())),
        n if n == kind::END_REASON_.name => byte(&|flow| Some(flow.end_reason)),
        n if n == kind::STATE_.name => byte(&|flow| flow.socket.as_ref()?.state),
        n if n == kind::INITIATOR_.name => of_socket(&|socket| socket.initiator),
        n if n == kind::OBSERVER_.name => of_socket(&Socket::observer),
        n if n == kind::RTT.name => int(&|flow| flow.socket.as_ref()?.rtt),
        n if n == kind::JITTER.name => int(&|flow| flow.socket.as_ref()?.jitter),
        n if n == kind::FLOW_ID.name => int(&|flow| Some(flow.socket.as_ref()?.cookie as i64)),
        n if n == kind::CONNECT_ERROR.name => words(flows, |socket, _| socket.connect_error.map(errno_name)),
        n if n == kind::DST_ORIGINAL_IP.name => {
            addresses(flows.iter().map(|(flow, _)| Some(flow.socket.as_ref()?.called?.0)).collect())
        }
        n if n == kind::DST_ORIGINAL_PORT.name => {
            let port = |(flow, _): &Placed| Some(flow.socket.as_ref()?.called?.1);
            Arc::new(flows.iter().map(port).collect::<UInt16Array>())
        }
        n if n == kind::COMMUNITY_ID.name => {
            let id = |(flow, _): &Placed| flow.socket.as_ref().map(|socket| community_id(flow.protocol, socket));
            Arc::new(flows.iter().map(id).collect::<StringArray>())
        }
        n if n == kind::UNATTRIBUTED.name => {
            let is_sum = |(flow, _): &Placed| flow.socket.is_none().then_some(true);
            Arc::new(flows.iter().map(is_sum).collect::<BooleanArray>())
        }
        _ => return None,
    })
}

fn counter(flows: &[Placed], name: &str, side: impl Fn(&Flow) -> &Direction) -> Option<ArrayRef> {
    let value: fn(&Direction) -> Option<i64> = match name {
        "packets" => |side| Some(side.packets),
        "payload_bytes" => |side| Some(side.payload_bytes),
        "bytes" => |side| side.bytes,
        "retransmits" => |side| side.retransmits,
        "retransmit_bytes" => |side| side.retransmit_bytes,
        _ => return None,
    };
    Some(Arc::new(flows.iter().map(|(flow, _)| value(side(flow))).collect::<Int64Array>()))
}

/// What is known of `src` or `dst`: more of the one that counted than of its peer.
fn end(flows: &[Placed], name: &str, is_src: bool, host: Option<&str>) -> Option<ArrayRef> {
    let own = |socket: &Socket| socket.is_src == is_src;
    // What is not known is 0.
    let int = |f: fn(&Socket) -> i64| -> ArrayRef {
        let value = |(flow, _): &Placed| flow.socket.as_ref().filter(|s| own(s)).map(f).filter(|n| *n != 0);
        Arc::new(flows.iter().map(value).collect::<Int64Array>())
    };
    Some(match name {
        "ip" => {
            let ip = |(flow, _): &Placed| flow.socket.as_ref().map(|socket| end_of(socket, is_src).0);
            addresses(flows.iter().map(ip).collect())
        }
        "port" => {
            let port = |(flow, _): &Placed| flow.socket.as_ref().map(|socket| end_of(socket, is_src).1);
            Arc::new(flows.iter().map(port).collect::<UInt16Array>())
        }
        "pid" => int(|socket| socket.pid.into()),
        "netns" => int(|socket| socket.netns.into()),
        "cgroup" => int(|socket| socket.cgroup as i64),
        "process" => {
            words(flows, |socket, _| Some(socket.command.clone()).filter(|command| own(socket) && !command.is_empty()))
        }
        "host" => words(flows, |socket, _| host.filter(|_| own(socket)).map(str::to_string)),
        "container" => words(flows, |socket, unit| unit.filter(|_| own(socket))?.container.clone()),
        "id" => {
            let id = |(flow, unit): &Placed| {
                let socket = flow.socket.as_ref().filter(|socket| own(socket) && socket.pid != 0)?;
                let container = unit.as_ref().and_then(|unit| unit.container.as_deref());
                Some(endpoint::id(container.or(host).unwrap_or_default(), socket.pid, socket.local.1))
            };
            Arc::new(flows.iter().map(id).collect::<StringArray>())
        }
        _ => return None,
    })
}

fn end_of(socket: &Socket, is_src: bool) -> End {
    if socket.is_src == is_src { socket.local } else { socket.remote }
}

fn addresses(values: Vec<Option<Ipv6Addr>>) -> ArrayRef {
    let nulls = valid(values.len(), |row| values[row].is_some());
    let bytes = values.iter().map(|ip| ip.map_or([0; 16], |ip| ip.octets())).collect();
    Arc::new(ips(bytes, nulls))
}

fn words(flows: &[Placed], word: impl Fn(&Socket, Option<&Unit>) -> Option<String>) -> ArrayRef {
    let mut words = WordBuilder::default();
    for (flow, unit) in flows {
        let word = flow.socket.as_ref().and_then(|socket| word(socket, unit.as_deref()));
        words.push(word.as_deref());
    }
    words.finish()
}

fn community_id(protocol: Protocol, socket: &Socket) -> String {
    let mut ends = [socket.local, socket.remote].map(|(ip, port)| (ip.octets(), port));
    ends.sort_unstable();
    community::id(protocol.number(), ends)
}
