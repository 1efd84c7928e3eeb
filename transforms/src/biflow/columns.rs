//! Finished conversations as columns of the kind `flow`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray, UInt8Array, UInt16Array};
use weir_core::columns::{absent, ips};
use weir_core::community;
use weir_spec::Schema;
use weir_spec::kinds::enums::observer;
use weir_spec::kinds::flow as kind;

use super::flow::{Counters, Flow};

/// A record: the conversation and why it ended.
pub type Record = (Flow, u8);

/// The columns that somebody reads, in their order.
pub fn build(records: &[Record], schema: &Schema, context: &dyn Fn(&Flow) -> Option<Arc<str>>) -> Vec<ArrayRef> {
    let column = |field: &weir_spec::Field| {
        one(records, &field.name, context).unwrap_or_else(|| absent(field.repr, records.len()))
    };
    schema.fields.iter().map(column).collect()
}

fn one(records: &[Record], name: &str, context: &dyn Fn(&Flow) -> Option<Arc<str>>) -> Option<ArrayRef> {
    if let Some(rest) = name.strip_prefix("sent_") {
        return counter(records, rest, |flow| flow.initiator());
    }
    if let Some(rest) = name.strip_prefix("received_") {
        return counter(records, rest, |flow| 1 - flow.initiator());
    }
    let int = |f: &dyn Fn(&Flow) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(records.iter().map(|(flow, _)| f(flow))))
    };
    let byte =
        |f: &dyn Fn(&Record) -> Option<u8>| -> ArrayRef { Arc::new(records.iter().map(f).collect::<UInt8Array>()) };
    let port = |f: &dyn Fn(&Flow) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(records.iter().map(|(flow, _)| f(flow))))
    };
    let ip = |f: &dyn Fn(&Flow) -> [u8; 16]| -> ArrayRef {
        Arc::new(ips(records.iter().map(|(flow, _)| f(flow)).collect(), None))
    };
    let column = match name {
        n if n == kind::START.name => int(&|f| f.start),
        n if n == kind::END.name => int(&|f| f.end),
        n if n == kind::FLOW_ID.name => int(&|f| f.id as i64),
        n if n == kind::SRC_IP.name => ip(&|f| ends(f).0.0),
        n if n == kind::DST_IP.name => ip(&|f| ends(f).1.0),
        n if n == kind::SRC_PORT.name => port(&|f| ends(f).0.1),
        n if n == kind::DST_PORT.name => port(&|f| ends(f).1.1),
        n if n == kind::PROTOCOL_.name => byte(&|(f, _)| Some(f.key.protocol)),
        n if n == kind::STATE_.name => byte(&|(f, _)| f.state()),
        n if n == kind::INITIATOR_.name => byte(&|(f, _)| Some(f.initiator_how)),
        n if n == kind::END_REASON_.name => byte(&|(_, reason)| Some(*reason)),
        n if n == kind::OBSERVER_.name => byte(&|_| Some(observer::PATH)),
        n if n == kind::RTT.name => Arc::new(records.iter().map(|(f, _)| f.rtt()).collect::<Int64Array>()),
        n if n == kind::FRAGMENTS.name => {
            let some = |n: u32| (n > 0).then_some(i64::from(n));
            Arc::new(records.iter().map(|(f, _)| some(f.fragments)).collect::<Int64Array>())
        }
        n if n == kind::APPROXIMATE.name => {
            let some = |f: &Flow| f.is_approximate().then_some(true);
            Arc::new(records.iter().map(|(f, _)| some(f)).collect::<BooleanArray>())
        }
        n if n == kind::COMMUNITY_ID.name => {
            Arc::new(StringArray::from_iter_values(records.iter().map(|(f, _)| community_id(f))))
        }
        n if n == kind::VLAN.name || n == kind::INTERFACE.name => contexts(records, n, context),
        _ => return None,
    };
    Some(column)
}

/// Source and destination: who opened it comes first.
fn ends(flow: &Flow) -> (([u8; 16], u16), ([u8; 16], u16)) {
    let (a, b) = ((flow.key.a, flow.key.a_port), (flow.key.b, flow.key.b_port));
    if flow.initiator() == 0 { (a, b) } else { (b, a) }
}

/// Loss accounting only means something for TCP; elsewhere it is absent, not zero.
fn counter(records: &[Record], name: &str, side: impl Fn(&Flow) -> usize) -> Option<ArrayRef> {
    let always = |f: fn(&Counters) -> u64| -> ArrayRef {
        let value = |(flow, _): &Record| f(&flow.sides[side(flow)].counters) as i64;
        Arc::new(Int64Array::from_iter_values(records.iter().map(value)))
    };
    let tcp = |f: &dyn Fn(&Flow, usize) -> u64| -> ArrayRef {
        let value = |(flow, _): &Record| flow.state().map(|_| f(flow, side(flow)) as i64);
        Arc::new(records.iter().map(value).collect::<Int64Array>())
    };
    Some(match name {
        "packets" => always(|c| c.packets),
        "bytes" => always(|c| c.ip_bytes),
        "frame_bytes" => always(|c| c.frame_bytes),
        "payload_bytes" => always(|c| c.payload_bytes),
        "retransmits" => tcp(&|f, s| f.loss(s).retransmits),
        "retransmit_bytes" => tcp(&|f, s| f.loss(s).retransmit_bytes),
        "late" => tcp(&|f, s| f.loss(s).late),
        "keepalives" => tcp(&|f, s| f.loss(s).keepalives),
        "missed_bytes" => tcp(&|f, s| f.missed(s)),
        "flags" => {
            let value = |(flow, _): &Record| flow.state().map(|_| flow.flags(side(flow)));
            Arc::new(records.iter().map(value).collect::<UInt8Array>())
        }
        _ => return None,
    })
}

/// VLANs or the interface, out of the text that a context was made from.
fn contexts(records: &[Record], name: &str, context: &dyn Fn(&Flow) -> Option<Arc<str>>) -> ArrayRef {
    let is_vlan = name == kind::VLAN.name;
    let (mut offsets, mut values) = (vec![0], Vec::new());
    let mut words = weir_core::columns::WordBuilder::default();
    for (flow, _) in records {
        let text = context(flow);
        let (vlans, interface) = text.as_deref().and_then(|t| t.split_once('|')).unwrap_or(("", ""));
        values.extend(vlans.split(',').filter_map(|id| id.parse::<i64>().ok()));
        offsets.push(values.len() as i32);
        words.push((!interface.is_empty()).then_some(interface));
    }
    if is_vlan { weir_core::columns::int_lists(offsets, values) } else { words.finish() }
}

fn community_id(flow: &Flow) -> String {
    let key = &flow.key;
    community::id(key.protocol, [(key.a, key.a_port), (key.b, key.b_port)])
}
