//! Link layers: where in the frame IP begins.

use super::{Packet, Refused, VLANS_MAX, be16};

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// Ethertypes below this are lengths of IEEE 802.3 frames.
const TYPE_MIN: u16 = 0x0600;

/// The offset of the IP header, within the frame; VLAN tags are noted on the way.
pub(super) fn strip(link: u16, frame: &[u8], packet: &mut Packet) -> Result<usize, Refused> {
    match link {
        ETHERNET => ethertype(frame, 12, packet),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => Ok(0),
        LINUX_SLL => ethertype(frame, 14, packet),
        LINUX_SLL2 => {
            let protocol = need(frame, 2).map(|()| be16(frame, 0))?;
            after_type(frame, protocol, 20, packet)
        }
        // An address family in the byte order of the machine that wrote it: only its size matters,
        // the IP header says its version itself.
        NULL | LOOP => need(frame, 5).map(|()| 4),
        _ => Err(Refused::Link),
    }
}

fn need(frame: &[u8], bytes: usize) -> Result<(), Refused> {
    if frame.len() < bytes { Err(Refused::Cut) } else { Ok(()) }
}

fn ethertype(frame: &[u8], at: usize, packet: &mut Packet) -> Result<usize, Refused> {
    need(frame, at + 2)?;
    after_type(frame, be16(frame, at), at + 2, packet)
}

/// Follows VLAN tags and LLC/SNAP from the type `kind`, whose content begins at `at`.
fn after_type(frame: &[u8], mut kind: u16, mut at: usize, packet: &mut Packet) -> Result<usize, Refused> {
    loop {
        match kind {
            TYPE_IPV4 | TYPE_IPV6 => return need(frame, at).map(|()| at),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 if usize::from(packet.vlan_count) < VLANS_MAX => {
                need(frame, at + 4)?;
                packet.vlans[usize::from(packet.vlan_count)] = be16(frame, at) & 0x0fff;
                packet.vlan_count += 1;
                kind = be16(frame, at + 2);
                at += 4;
            }
            length if length < TYPE_MIN => {
                // RFC 1042: LLC with SNAP and no organisation carries an ethertype.
                need(frame, at + 8)?;
                if frame[at..at + 6] != [0xaa, 0xaa, 0x03, 0, 0, 0] {
                    return Err(Refused::NotIp);
                }
                kind = be16(frame, at + 6);
                at += 8;
                if kind < TYPE_MIN {
                    return Err(Refused::NotIp);
                }
            }
            _ => return Err(Refused::NotIp),
        }
    }
}
