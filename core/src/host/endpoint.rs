//! What tells the ends of conversations apart.

use sha1::{Digest, Sha1};

/// Bytes of the hash that an id keeps.
const ID_BYTES: usize = 8;

/// The id of a socket's end: a hash of where it is, whose it is and its port. `place` is a container's id, or
/// the host's name where it is in none.
pub fn id(place: &str, pid: u32, port: u16) -> String {
    let mut hash = Sha1::new();
    hash.update(place.as_bytes());
    hash.update([0]);
    hash.update(pid.to_be_bytes());
    hash.update(port.to_be_bytes());
    hash.finalize()[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts() {
        let ids = [id("a", 1, 2), id("b", 1, 2), id("a", 2, 2), id("a", 1, 3)];
        assert_eq!(ids[0].len(), 2 * ID_BYTES);
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(ids[0], id("a", 1, 2));
    }
}
