//! `packet`: one captured packet.

use super::enums::{PROTOCOL, TCP_FLAGS};
use crate::types::Type;

crate::kind! {
    /// One packet of a capture, as far as its headers tell.
    pub static PACKET = "packet", time "time";
    TIME: "time", I64, Type::Time, "when it was captured", "observationTimeNanoseconds (325)";
    INTERFACE: "interface", Word, Type::Str, "interface it was captured on", "interfaceName (82)";
    VLAN: "vlan", IntList, Type::List(&Type::INT), "VLAN ids from the outermost", "dot1qVlanId (243)";
    SRC_IP: "src.ip", Ip, Type::Ip, "sender", "sourceIPv4Address (8), sourceIPv6Address (27)";
    SRC_PORT: "src.port", U16, Type::INT, "its port; of ICMP as in Community ID v1", "sourceTransportPort (7)";
    DST_IP: "dst.ip", Ip, Type::Ip, "receiver", "destinationIPv4Address (12), destinationIPv6Address (28)";
    DST_PORT: "dst.port", U16, Type::INT, "its port; of ICMP as in Community ID v1", "destinationTransportPort (11)";
    PROTOCOL_: "protocol", U8, Type::Enum(&PROTOCOL), "IP protocol, by keyword or number", "protocolIdentifier (4)";
    IP_BYTES: "ip_bytes", U32, Type::SIZE, "length of the IP packet, headers included", "ipTotalLength (224)";
    FRAME_BYTES: "frame_bytes", U32, Type::SIZE, "length of the frame on the link", "dataLinkFrameSize (312)";
    PAYLOAD_BYTES: "payload_bytes", U32, Type::SIZE, "bytes above the transport header", "transportOctetDeltaCount (401)";
    TCP_FLAGS_: "tcp.flags", U8, Type::Enum(&TCP_FLAGS), "TCP flags", "tcpControlBits (6)";
    TCP_SEQ: "tcp.seq", U32, Type::INT, "TCP sequence number", "tcpSequenceNumber (184)";
    TCP_ACK: "tcp.ack", U32, Type::INT, "TCP acknowledgement number", "tcpAcknowledgementNumber (185)";
    TCP_WINDOW: "tcp.window", U16, Type::INT, "TCP window as sent, unscaled", "tcpWindowSize (186)";
    ICMP_ID: "icmp.id", U16, Type::INT, "identifier of an ICMP query", "";
    FRAGMENT_ID: "fragment.id", U32, Type::INT, "identification of a fragmented packet", "fragmentIdentification (54)";
    FRAGMENT_OFFSET: "fragment.offset", U16, Type::SIZE, "where the fragment begins in its packet", "fragmentOffset (88)";
    FRAGMENT_MORE: "fragment.more", Bool, Type::Bool, "whether more fragments follow", "fragmentFlags (197)";
    FAULTS: "faults", U8, Type::INT, "bits: 1 headers cut short, 2 a length that lies, 4 IP length 0 (offload)", "";
}

/// Bits of `faults`.
pub mod faults {
    /// The capture holds less of the packet than its headers need.
    pub const CUT: u8 = 1;
    /// A length field contradicts the packet.
    pub const LENGTH: u8 = 2;
    /// IP length 0: a segmentation-offload frame, its length taken from the link.
    pub const OFFLOAD: u8 = 4;
}
