//! Community ID v1 (corelight/community-id-spec): one hash that tools agree on for a conversation.

use std::net::IpAddr;

use base64::Engine;
use sha1::{Digest, Sha1};
use weir_spec::kinds::enums::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use weir_spec::value::ip_of;

/// The id of a conversation whose ends are in order: the smaller address and port first. Ports count
/// only where the protocol has them.
pub fn id(protocol: u8, ends: [([u8; 16], u16); 2]) -> String {
    let mut hash = Sha1::new();
    hash.update([0u8; 2]);
    for (ip, _) in &ends {
        match ip_of(ip) {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    hash.update([protocol, 0]);
    if matches!(protocol, TCP | UDP | SCTP | ICMP | ICMP6) {
        ends.iter().for_each(|(_, port)| hash.update(port.to_be_bytes()));
    }
    let text = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    format!("1:{text}")
}
