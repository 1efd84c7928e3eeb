//! Community ID v1 (corelight/community-id-spec): one hash that tools agree on for a conversation.

use std::net::IpAddr;

use base64::Engine;
use sha1::{Digest, Sha1};
use weir_spec::kinds::enums::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use weir_spec::value::ip_of;

use super::flow::Key;

/// The id of a conversation. Ports count only where the protocol has them.
pub fn id(key: &Key) -> Option<String> {
    let mut hash = Sha1::new();
    hash.update([0u8; 2]);
    for ip in [&key.a, &key.b] {
        match ip_of(ip) {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    hash.update([key.protocol, 0]);
    if matches!(key.protocol, TCP | UDP | SCTP | ICMP | ICMP6) {
        hash.update(key.a_port.to_be_bytes());
        hash.update(key.b_port.to_be_bytes());
    }
    let text = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    Some(format!("1:{text}"))
}
