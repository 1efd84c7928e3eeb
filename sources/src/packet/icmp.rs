//! ICMP as a conversation: type and counterpart stand in for ports, as in Community ID v1.

use weir_spec::kinds::enums::icmp_counterpart;
use weir_spec::kinds::enums::protocol::ICMP;
use weir_spec::kinds::packet::faults;

use super::{Packet, be16};

pub(super) fn parse(data: &[u8], packet: &mut Packet) {
    let [kind, code, ..] = data else {
        packet.faults |= faults::CUT;
        return;
    };
    packet.src_port = u16::from(*kind);
    packet.dst_port = icmp_counterpart(packet.protocol, *kind).map_or(u16::from(*code), u16::from);
    // Only echo, timestamp, information and mask queries carry an identifier.
    let queries = if packet.protocol == ICMP { 0..=18 } else { 128..=129 };
    let query = queries.contains(kind) && !matches!((packet.protocol, kind), (ICMP, 9 | 10));
    if query && icmp_counterpart(packet.protocol, *kind).is_some() && data.len() >= 6 {
        packet.icmp_id = Some(be16(data, 4));
    }
}
