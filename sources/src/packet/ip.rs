//! IP and what it carries.

use weir_spec::kinds::enums::protocol::*;
use weir_spec::kinds::packet::faults;

use super::{EXTENSIONS_MAX, Fragment, Packet, Refused, be16, be32, icmp};

/// Reads an IP packet. `wire_bytes` is how long it was on the link.
pub(super) fn parse(data: &[u8], wire_bytes: u32, packet: &mut Packet) -> Result<(), Refused> {
    match data.first().map(|b| b >> 4) {
        None => Err(Refused::Cut),
        Some(4) => v4(data, wire_bytes, packet),
        Some(6) => v6(data, wire_bytes, packet),
        Some(_) => Err(Refused::Malformed),
    }
}

fn v4(data: &[u8], wire_bytes: u32, packet: &mut Packet) -> Result<(), Refused> {
    if data.len() < 20 {
        return Err(Refused::Cut);
    }
    let header = usize::from(data[0] & 0x0f) * 4;
    if header < 20 {
        return Err(Refused::Malformed);
    }
    let total = u32::from(be16(data, 2));
    packet.ip_bytes = total;
    if total == 0 {
        packet.ip_bytes = wire_bytes;
        packet.faults |= faults::OFFLOAD;
    } else if total < header as u32 || total > wire_bytes {
        packet.faults |= faults::LENGTH;
    }
    packet.src = mapped(data, 12);
    packet.dst = mapped(data, 16);
    packet.protocol = data[9];
    let bits = be16(data, 6);
    let (offset, more) = ((bits & 0x1fff) * 8, bits & 0x2000 != 0);
    if offset != 0 || more {
        packet.fragment = Some(Fragment { id: u32::from(be16(data, 4)), offset, more });
    }
    // A header may claim more than was on the wire: payload is what was there.
    let body = packet.ip_bytes.min(wire_bytes).saturating_sub(header as u32);
    transport(data.get(header..).unwrap_or(&[]), body, packet);
    Ok(())
}

fn mapped(data: &[u8], at: usize) -> [u8; 16] {
    weir_spec::value::ipv4([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

fn v6(data: &[u8], wire_bytes: u32, packet: &mut Packet) -> Result<(), Refused> {
    if data.len() < 40 {
        return Err(Refused::Cut);
    }
    packet.src.copy_from_slice(&data[8..24]);
    packet.dst.copy_from_slice(&data[24..40]);
    let length = u32::from(be16(data, 4));
    packet.ip_bytes = 40 + length;
    if packet.ip_bytes > wire_bytes {
        packet.faults |= faults::LENGTH;
    }
    let (header, jumbo) = extensions(data, packet);
    if length == 0 {
        match jumbo {
            Some(jumbo) => packet.ip_bytes = jumbo.saturating_add(40),
            None if wire_bytes > 40 && packet.protocol != NO_NEXT && header == 40 => {
                packet.ip_bytes = wire_bytes;
                packet.faults |= faults::OFFLOAD;
            }
            None => {}
        }
    }
    // A header may claim more than was on the wire: payload is what was there.
    let body = packet.ip_bytes.min(wire_bytes).saturating_sub(header as u32);
    transport(data.get(header..).unwrap_or(&[]), body, packet);
    Ok(())
}

/// Follows the extension headers: where the transport begins, and a jumbo length if one was given.
fn extensions(data: &[u8], packet: &mut Packet) -> (usize, Option<u32>) {
    let mut next = data[6];
    let mut at = 40;
    let mut jumbo = None;
    packet.protocol = next;
    for _ in 0..EXTENSIONS_MAX {
        let here = data.get(at..).unwrap_or(&[]);
        let length = match (next, here) {
            (HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6, [_, units, ..]) => {
                8 + usize::from(*units) * 8
            }
            (AUTHENTICATION, [_, units, ..]) => 8 + usize::from(*units) * 4,
            (FRAGMENT, here) if here.len() >= 8 => {
                let bits = be16(here, 2);
                let fragment = Fragment { id: be32(here, 4), offset: bits & 0xfff8, more: bits & 1 != 0 };
                // An atomic fragment (RFC 6946) is a whole packet.
                if fragment.offset != 0 || fragment.more {
                    packet.fragment = Some(fragment);
                }
                8
            }
            _ => return (at, jumbo),
        };
        if next == HOP_BY_HOP {
            jumbo = jumbo_length(here.get(2..length).unwrap_or(&[])).or(jumbo);
        }
        next = here[0];
        packet.protocol = next;
        at += length;
        if packet.fragment.is_some_and(|f| f.offset != 0) {
            break;
        }
    }
    (at, jumbo)
}

/// The jumbo payload option (RFC 2675) among hop-by-hop options.
fn jumbo_length(mut options: &[u8]) -> Option<u32> {
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            options = rest;
            continue;
        }
        let length = usize::from(*rest.first()?);
        let value = rest.get(1..1 + length)?;
        if *kind == 0xc2 && length == 4 {
            return Some(be32(value, 0));
        }
        options = &rest[1 + length..];
    }
    None
}

/// Reads the transport header. `body` is the IP payload's length on the wire.
fn transport(data: &[u8], body: u32, packet: &mut Packet) {
    if packet.fragment.is_some_and(|f| f.offset != 0) {
        // A later fragment: all payload, its ports are those of the first.
        if matches!(packet.protocol, TCP | UDP) {
            packet.payload_bytes = body;
        }
        return;
    }
    let data = &data[..data.len().min(body as usize)];
    match packet.protocol {
        TCP => tcp(data, body, packet),
        UDP => {
            ports(data, 8, packet);
            packet.payload_bytes = body.saturating_sub(8);
        }
        SCTP => {
            ports(data, 4, packet);
        }
        ICMP | ICMP6 => icmp::parse(data, packet),
        _ => {}
    }
}

fn ports(data: &[u8], header: usize, packet: &mut Packet) -> bool {
    if data.len() < header {
        packet.faults |= faults::CUT;
    }
    if data.len() < 4 {
        return false;
    }
    packet.src_port = be16(data, 0);
    packet.dst_port = be16(data, 2);
    true
}

fn tcp(data: &[u8], body: u32, packet: &mut Packet) {
    if !ports(data, 20, packet) || data.len() < 14 {
        return;
    }
    packet.has_tcp = true;
    packet.seq = be32(data, 4);
    packet.ack = be32(data, 8);
    packet.flags = data[13];
    packet.window = if data.len() >= 16 { be16(data, 14) } else { 0 };
    let header = u32::from(data[12] >> 4) * 4;
    if header < 20 || header > body {
        packet.faults |= faults::LENGTH;
    }
    packet.payload_bytes = body.saturating_sub(header.max(20));
}
