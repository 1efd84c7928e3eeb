//! Networks to what is known of them: the most specific one that has an address.

use weir_spec::value::Cidr;

/// No entry.
const NONE: u32 = u32::MAX;
/// Where IPv4 begins among the addresses of IPv6.
const IPV4: u128 = 0xffff << 32;

/// Addresses cut into pieces, each with the number of what is known of it. Looking one up is a step into the
/// index and a search among the few pieces that share the first bits.
pub struct Ranges {
    v4: Pieces<u32>,
    v6: Pieces<u128>,
}

/// Pieces by where they begin; each ends where the next one begins.
struct Pieces<T> {
    /// The value beside where it begins: they are needed together.
    pieces: Vec<(T, u32)>,
    /// By the upper bits: the first piece that begins there or later.
    index: Vec<u32>,
    /// How many bits that are.
    bits: u32,
}

/// Bits of an address that the index is by, at most.
const INDEX_BITS_MAX: u32 = 22;

trait Address: Copy + Ord {
    const ZERO: Self;
    fn of(ip: u128) -> Self;
    /// The upper bits, so many of them.
    fn upper(self, bits: u32) -> usize;
}

impl Address for u32 {
    const ZERO: u32 = 0;
    fn of(ip: u128) -> u32 {
        ip as u32
    }
    fn upper(self, bits: u32) -> usize {
        (u64::from(self) >> (u32::BITS - bits)) as usize
    }
}

impl Address for u128 {
    const ZERO: u128 = 0;
    fn of(ip: u128) -> u128 {
        ip
    }
    fn upper(self, bits: u32) -> usize {
        self.checked_shr(u128::BITS - bits).unwrap_or(0) as usize
    }
}

impl<T: Address> Pieces<T> {
    fn new(mut pieces: Vec<(T, u32)>) -> Pieces<T> {
        // Of two that begin together the later one counts; what goes on as before is no piece of its own.
        pieces.reverse();
        pieces.dedup_by_key(|(start, _)| *start);
        pieces.reverse();
        pieces.dedup_by_key(|(_, value)| *value);
        if pieces.first().is_none_or(|(start, _)| *start > T::ZERO) {
            pieces.insert(0, (T::ZERO, NONE));
        }
        // A few pieces for each step of it.
        let bits = pieces.len().ilog2().saturating_sub(1).min(INDEX_BITS_MAX);
        let mut index = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for upper in 0..=1usize << bits {
            at += pieces[at..].iter().take_while(|(start, _)| start.upper(bits) < upper).count();
            index.push(at as u32);
        }
        Pieces { pieces, index, bits }
    }

    fn find(&self, ip: T) -> Option<u32> {
        let upper = ip.upper(self.bits);
        let (from, to) = (self.index[upper] as usize, self.index[upper + 1] as usize);
        let behind = from + self.pieces[from..to].partition_point(|(start, _)| *start <= ip);
        // The piece may have begun before these.
        let (_, value) = self.pieces[behind.checked_sub(1)?];
        (value != NONE).then_some(value)
    }
}

impl Ranges {
    /// `networks` with what is known of each, where nothing is said of a network twice. `below` makes, of what is
    /// known of a network and of the one around it, what holds inside.
    pub fn new(mut networks: Vec<(Cidr, u32)>, mut below: impl FnMut(u32, u32) -> u32) -> Ranges {
        networks.sort_unstable_by_key(|(network, _)| (network.first(), network.prefix));
        let mut pieces: Vec<(u128, u32)> = Vec::with_capacity(2 * networks.len());
        // Those around the one at hand, from the outermost: their last addresses, and what holds in them.
        let mut around: Vec<(u128, u32)> = Vec::new();
        let leave = |around: &mut Vec<(u128, u32)>, pieces: &mut Vec<(u128, u32)>, to: u128| {
            while let Some((last, _)) = around.last().copied().filter(|(last, _)| *last < to) {
                around.pop();
                let outside = around.last().map_or(NONE, |(_, value)| *value);
                pieces.push((last + 1, outside));
            }
        };
        for (network, value) in &networks {
            let first = network.first();
            leave(&mut around, &mut pieces, first);
            let value = around.last().map_or(*value, |(_, outer)| below(*value, *outer));
            pieces.push((first, value));
            around.push((network.last(), value));
        }
        leave(&mut around, &mut pieces, u128::MAX);
        let (v4_end, is_v4) = (IPV4 | u128::from(u32::MAX), |start: u128| start >> 32 == IPV4 >> 32);
        // What is around all of IPv4 holds in it.
        let at_v4 = pieces.iter().rev().find(|(start, _)| *start <= IPV4).map_or(NONE, |(_, value)| *value);
        let mut v4 = vec![(0, at_v4)];
        v4.extend(pieces.iter().filter(|(start, _)| is_v4(*start)).map(|(start, value)| (u32::of(*start), *value)));
        let at_end = pieces.iter().rev().find(|(start, _)| *start <= v4_end + 1).map_or(NONE, |(_, value)| *value);
        let mut v6: Vec<(u128, u32)> = pieces.iter().copied().filter(|(start, _)| !is_v4(*start)).collect();
        let place = v6.partition_point(|(start, _)| *start <= v4_end);
        v6.insert(place, (v4_end + 1, at_end));
        Ranges { v4: Pieces::new(v4), v6: Pieces::new(v6) }
    }

    /// What is known of an address, IPv4 as IPv6 has it.
    pub fn find(&self, ip: &[u8; 16]) -> Option<u32> {
        let ip = u128::from_be_bytes(*ip);
        if ip >> 32 == IPV4 >> 32 { self.v4.find(u32::of(ip)) } else { self.v6.find(ip) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn ip(text: &str) -> [u8; 16] {
        weir_spec::value::ip_bytes(text.parse().unwrap())
    }

    fn ranges(networks: &[&str]) -> Ranges {
        let all = networks.iter().enumerate().map(|(at, text)| (Cidr::parse(text).unwrap(), at as u32));
        Ranges::new(all.collect(), |inner, _| inner)
    }

    #[test]
    fn the_most_specific_network_is_found() {
        let ranges =
            ranges(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "255.255.255.255"]);
        let found = ["10.0.0.1", "10.1.0.0", "10.1.2.3", "10.1.2.4", "11.0.0.0", "2001:db8::1", "2001:db9::", "::1"];
        let found: Vec<Option<u32>> = found.iter().map(|text| ranges.find(&ip(text))).collect();
        assert_eq!(found, [Some(0), Some(1), Some(2), Some(1), Some(3), Some(4), None, None]);
        assert_eq!(ranges.find(&ip("255.255.255.255")), Some(5));
        assert_eq!(ranges.find(&ip("255.255.255.254")), Some(3));
    }

    #[test]
    fn nothing_finds_nothing() {
        let ranges = ranges(&[]);
        assert_eq!((ranges.find(&ip("10.0.0.1")), ranges.find(&ip("::"))), (None, None));
        let all = super::tests::ranges(&["::/0"]);
        assert_eq!((all.find(&ip("10.0.0.1")), all.find(&ip("ffff::"))), (Some(0), Some(0)));
    }

    /// Against looking through all of them, for networks in one another and side by side.
    #[test]
    fn it_finds_what_looking_through_all_finds() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let mut networks = HashMap::new();
            for _ in 0..random.usize(0..40) {
                let v4 = random.bool();
                let base =
                    if v4 { IPV4 | u128::from(random.u32(..) & 0xff0f_00ff) } else { random.u128(..) & 0xf << 124 };
                let prefix = if v4 { random.u8(90..=128) } else { random.u8(0..=128) };
                networks.insert(((base & weir_spec::value::mask(prefix)).to_be_bytes(), prefix), networks.len() as u32);
            }
            let all: Vec<(Cidr, u32)> = networks
                .iter()
                .map(|((base, prefix), value)| (Cidr { base: *base, prefix: *prefix }, *value))
                .collect();
            let ranges = Ranges::new(all.clone(), |inner, _| inner);
            for _ in 0..200 {
                let ip = match random.u8(0..4) {
                    0 => random.u128(..) & 0xf << 124,
                    1 => random.u128(..),
                    _ => IPV4 | u128::from(random.u32(..) & 0xff0f_01ff),
                };
                let ip = ip.wrapping_add_signed(i128::from(random.i8(-1..=1))).to_be_bytes();
                let inside = all.iter().filter(|(network, _)| network.contains(&ip));
                let expected = inside.max_by_key(|(network, _)| network.prefix).map(|(_, value)| *value);
                assert_eq!(ranges.find(&ip), expected, "{:?} {all:?}", std::net::Ipv6Addr::from(ip));
            }
        }
    }
}
