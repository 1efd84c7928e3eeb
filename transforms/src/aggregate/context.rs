//! Contexts: one name, kind, host and set of tags each, whatever order its tags came in.
//!
//! A row is known by a hash of 128 bits over what was sent, seeded when the program starts, and the hash
//! is trusted: comparing names and tags costs more than everything else (docs/design.md). A hash that is
//! new is looked at once: its tags are put in order, and it becomes another name of the context that it
//! belongs to.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A context's number.
pub type Id = u32;

/// Both halves are of seeds of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hash {
    pub high: u64,
    pub low: u64,
}

/// What rows are hashed with: secrets of this run, because local clients may be hostile.
pub struct Hashing {
    high: [u64; 2],
    low: [u64; 2],
    lengths: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        let random = foldhash::fast::RandomState::default();
        let secret = |n: u64| random.hash_one(n) | 1;
        Hashing { high: [secret(0), secret(1)], low: [secret(2), secret(3)], lengths: secret(4) }
    }
}

impl Hashing {
    /// Of some bytes, both halves in one pass: each takes in every byte, crosswise and under secrets of
    /// its own.
    pub fn bytes(&self, bytes: &[u8]) -> Hash {
        let length = (bytes.len() as u64).wrapping_mul(ODD);
        let (mut high, mut low) = (self.high[0] ^ length, self.low[0] ^ length.rotate_left(32));
        let mut take = |a: u64, b: u64| {
            (high, low) = (mix(high ^ a, self.high[1] ^ b), mix(low ^ b, self.low[1] ^ a));
        };
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut pairs = chunks.chunks_exact(2);
        for pair in &mut pairs {
            take(u64::from_le_bytes(pair[0]), u64::from_le_bytes(pair[1]));
        }
        let first = pairs.remainder().first().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        // Eight bytes that end where the text ends hold what is left of it; shorter text is put together.
        let last = match bytes.last_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        take(first ^ self.lengths, last);
        Hash { high, low }
    }

    /// Of a set of tags: its bytes, one after the other, and where each tag ends.
    pub fn tags(&self, bytes: &[u8], ends: &[i32]) -> Hash {
        let base = ends.first().copied().unwrap_or(0);
        let mix = |sum: u64, end: &i32| (sum ^ (end - base) as u64).wrapping_mul(self.lengths).rotate_left(29);
        let lengths = ends.iter().fold(ends.len() as u64, mix);
        let hash = self.bytes(bytes);
        Hash { high: hash.high ^ lengths, low: hash.low ^ lengths.rotate_left(32) }
    }

    /// Of all that makes a context.
    pub fn join(&self, kind: u8, name: Hash, host: Hash, tags: Hash) -> Hash {
        let with = |name: u64, host: u64, tags: u64| {
            mix(mix(name ^ self.lengths, tags.rotate_left(32) ^ ODD) ^ host, u64::from(kind) ^ self.lengths)
        };
        Hash { high: with(name.high, host.high, tags.high), low: with(name.low, host.low, tags.low) }
    }
}

/// An odd number without a pattern: the golden ratio's fraction.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of a product, so that every bit of both has its part.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// One hash of a context.
struct Alias {
    hash: Hash,
    /// The number, and above it in [`KIND_SHIFT`] its kind: looking the context up would cost a miss.
    id: Id,
    /// The bucket in which it was last used, by its number; [`CANONICAL`] for the hash of the tags in
    /// order, which stays as long as its context.
    used: u32,
}

const CANONICAL: u32 = u32::MAX;
/// Contexts are numbered in 28 bits; what they are of is in the four above, a stamped one by the highest.
const KIND_SHIFT: u32 = 28;
const NUMBERS: u32 = (1 << KIND_SHIFT) - 1;

fn pack(id: Id, kind: u8) -> u32 {
    let kind = u32::from(kind & 0x07) | u32::from(kind >> 7) << 3;
    id | kind << KIND_SHIFT
}

fn unpack(packed: u32) -> (Id, u8) {
    let kind = (packed >> KIND_SHIFT) as u8;
    (packed & NUMBERS, kind & 0x07 | (kind >> 3) << 7)
}

/// What a series is called. Text in one piece: name, host, unit and tags, one behind the other.
pub struct Context {
    pub kind: u8,
    /// Whether a host was given; an empty one says that there is none.
    has_host: bool,
    name_bytes: u16,
    host_bytes: u16,
    unit_bytes: u8,
    /// Before each tag its length in two bytes.
    text: Box<[u8]>,
}

/// What a context is made from. Tags are in order, each once.
pub struct Parts<'a> {
    pub kind: u8,
    pub name: &'a str,
    pub host: Option<&'a str>,
    pub unit: Option<&'a str>,
    pub tags: &'a [&'a str],
}

/// Text that is longer is cut: the longest datagram is of 64 KiB.
fn short<N: Into<usize>>(text: &str, max: N) -> &[u8] {
    let mut end = max.into().min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

impl Context {
    fn new(parts: &Parts) -> Context {
        let name = short(parts.name, u16::MAX);
        let host = short(parts.host.unwrap_or_default(), u16::MAX);
        let unit = short(parts.unit.unwrap_or_default(), u8::MAX);
        let tags: usize = parts.tags.iter().map(|tag| 2 + tag.len()).sum();
        let mut text = Vec::with_capacity(name.len() + host.len() + unit.len() + tags);
        [name, host, unit].iter().for_each(|part| text.extend_from_slice(part));
        for tag in parts.tags {
            let tag = short(tag, u16::MAX);
            text.extend_from_slice(&(tag.len() as u16).to_le_bytes());
            text.extend_from_slice(tag);
        }
        Context {
            kind: parts.kind,
            has_host: parts.host.is_some(),
            name_bytes: name.len() as u16,
            host_bytes: host.len() as u16,
            unit_bytes: unit.len() as u8,
            text: text.into_boxed_slice(),
        }
    }

    pub fn name(&self) -> &[u8] {
        &self.text[..self.name_bytes.into()]
    }

    pub fn host(&self) -> Option<&str> {
        let from = usize::from(self.name_bytes);
        let host = &self.text[from..from + usize::from(self.host_bytes)];
        self.has_host.then(|| std::str::from_utf8(host).unwrap_or_default())
    }

    pub fn unit(&self) -> Option<&str> {
        let from = usize::from(self.name_bytes) + usize::from(self.host_bytes);
        let unit = &self.text[from..from + usize::from(self.unit_bytes)];
        (!unit.is_empty()).then(|| std::str::from_utf8(unit).unwrap_or_default())
    }

    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = usize::from(self.name_bytes) + usize::from(self.host_bytes) + usize::from(self.unit_bytes);
        std::iter::from_fn(move || {
            let head = self.text.get(at..at + 2)?;
            let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
            at += 2 + length;
            self.text.get(at - length..at)
        })
    }
}

/// All contexts that are alive.
pub struct Contexts {
    aliases: HashTable<Alias>,
    /// What is beyond is put in order anew each time.
    aliases_max: usize,
    contexts: Vec<Option<Context>>,
    /// Arrival of the last value, in nanoseconds since the epoch.
    seen: Vec<i64>,
    /// Arrival of the first one; later than anything as long as none was taken in.
    first: Vec<i64>,
    /// The last value of each gauge, for those that are told by how much they change.
    gauges: Vec<f64>,
    free: Vec<Id>,
    alive: usize,
    max: usize,
    pub hashing: Hashing,
}

/// Hashes kept for each context that may be.
const ALIASES_EACH: usize = 2;
/// Bytes of a context beside its text: its own fields, the allocator's, its time and its hashes.
pub const CONTEXT_BYTES: usize =
    size_of::<Option<Context>>() + 16 + 8 + 8 + 8 + ALIASES_EACH * size_of::<Alias>() * 8 / 7;

/// What came of looking for a hash.
pub enum Found {
    Context(Id, u8),
    /// The hash is new.
    Unknown,
}

impl Contexts {
    pub fn new(max: usize) -> Contexts {
        Contexts {
            aliases: HashTable::new(),
            aliases_max: max.saturating_mul(ALIASES_EACH),
            contexts: Vec::new(),
            seen: Vec::new(),
            first: Vec::new(),
            gauges: Vec::new(),
            free: Vec::new(),
            alive: 0,
            max,
            hashing: Hashing::default(),
        }
    }

    /// Numbers that may be in use, from 0.
    pub fn numbers(&self) -> usize {
        self.contexts.len()
    }

    pub fn get(&self, id: Id) -> Option<&Context> {
        self.contexts[id as usize].as_ref()
    }

    pub fn seen(&self, id: Id) -> i64 {
        self.seen[id as usize]
    }

    pub fn first(&self, id: Id) -> i64 {
        self.first[id as usize]
    }

    pub fn see(&mut self, id: Id, time: i64) {
        let (seen, first) = (&mut self.seen[id as usize], &mut self.first[id as usize]);
        (*seen, *first) = ((*seen).max(time), (*first).min(time));
    }

    pub fn gauge(&self, id: Id) -> f64 {
        self.gauges[id as usize]
    }

    pub fn set_gauge(&mut self, id: Id, value: f64) {
        self.gauges[id as usize] = value;
    }

    /// The context that a hash was found to belong to.
    #[inline]
    pub fn find(&mut self, hash: Hash, bucket: u32) -> Found {
        match self.aliases.find_mut(hash.high, |alias| alias.hash == hash) {
            Some(alias) => {
                if alias.used != CANONICAL {
                    alias.used = bucket;
                }
                let (id, kind) = unpack(alias.id);
                Found::Context(id, kind)
            }
            None => Found::Unknown,
        }
    }

    /// The context of a hash that is new; absent if there is no room for another. `canonical` is the hash
    /// of the same tags in order.
    pub fn add(&mut self, hash: Hash, canonical: Hash, (time, bucket): (i64, u32), parts: &Parts) -> Option<(Id, u8)> {
        let (id, kind) = match self.find(canonical, bucket) {
            Found::Context(id, kind) => (id, kind),
            Found::Unknown => {
                let id = self.create(time, parts)?;
                self.name(canonical, (id, parts.kind), CANONICAL);
                (id, parts.kind)
            }
        };
        if hash != canonical && self.aliases.len() < self.aliases_max {
            self.name(hash, (id, kind), bucket);
        }
        Some((id, kind))
    }

    fn create(&mut self, time: i64, parts: &Parts) -> Option<Id> {
        if self.alive >= self.max {
            return None;
        }
        self.alive += 1;
        let context = Some(Context::new(parts));
        match self.free.pop() {
            Some(id) => {
                self.contexts[id as usize] = context;
                self.seen[id as usize] = time;
                self.first[id as usize] = i64::MAX;
                self.gauges[id as usize] = 0.0;
                Some(id)
            }
            None => {
                self.contexts.push(context);
                self.seen.push(time);
                self.first.push(i64::MAX);
                self.gauges.push(0.0);
                Some(self.contexts.len() as Id - 1)
            }
        }
    }

    fn name(&mut self, hash: Hash, (id, kind): (Id, u8), bucket: u32) {
        let entry = self.aliases.entry(hash.high, |alias| alias.hash == hash, |alias| alias.hash.high);
        if let Entry::Vacant(vacant) = entry {
            vacant.insert(Alias { hash, id: pack(id, kind), used: bucket });
        }
    }

    /// Forgets contexts that `is_over` says so of, and hashes that were not used since that bucket.
    pub fn expire(&mut self, since: u32, is_over: impl Fn(Id, &Context, i64) -> bool) {
        for (at, slot) in self.contexts.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|context| is_over(at as Id, context, self.seen[at])) {
                *slot = None;
                self.alive -= 1;
                self.free.push(at as Id);
            }
        }
        let contexts = &self.contexts;
        self.aliases.retain(|alias| {
            let is_used = alias.used == CANONICAL || alias.used.wrapping_sub(since) < u32::MAX / 2;
            is_used && contexts[unpack(alias.id).0 as usize].is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Texts that differ by a byte, by length or by where a tag ends have hashes that differ in both halves.
    #[test]
    fn what_differs_has_another_hash() {
        let hashing = Hashing::default();
        let (mut highs, mut lows) = (HashSet::new(), HashSet::new());
        let mut add = |hash: Hash, of: &str| {
            assert!(highs.insert(hash.high) && lows.insert(hash.low), "{of}");
        };
        for length in 0..70usize {
            let text = vec![b'a'; length];
            add(hashing.bytes(&text), &format!("{length}"));
            for at in 0..length {
                let mut other = text.clone();
                other[at] = b'b';
                add(hashing.bytes(&other), &format!("{length} {at}"));
            }
        }
        for ends in [[0, 3, 6].as_slice(), &[0, 4, 6], &[0, 6], &[0, 3, 3, 6]] {
            add(hashing.tags(b"abcdef", ends), &format!("{ends:?}"));
        }
    }

    #[test]
    fn a_kind_is_packed_beside_its_number() {
        for kind in [0, 1, 5, STAMPED_GAUGE] {
            assert_eq!(unpack(pack(123_456_789, kind)), (123_456_789, kind));
        }
    }

    const STAMPED_GAUGE: u8 = 0x81;
}
