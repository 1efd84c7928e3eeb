//! Contexts: one name, kind, host and set of tags each, whatever order its tags came in.
//!
//! A row is known by a hash over what was sent, seeded when the program starts, and the hash
//! is trusted: comparing names and tags costs more than everything else (docs/design.md). A hash that is
//! new is looked at once: its tags are put in order, and it becomes another name of the context that it
//! belongs to.

use std::collections::BTreeSet;

use weir_core::hash::{Hash, Hashing};
use weir_core::index::{Index, Typed};
use weir_spec::kinds::enums::metric_kind;

use super::gauges::Gauges;

/// A context's number.
pub type Id = u32;

/// A context, and its kind: a stamped one's highest bit is the highest of four.
#[derive(Clone, Copy, Default)]
pub struct Ref(Typed);

impl Ref {
    fn new(id: Id, kind: u8) -> Ref {
        Ref(Typed::new(id, kind & 0x07 | kind >> 7 << 3))
    }

    pub fn id(self) -> Id {
        self.0.number()
    }

    pub fn kind(self) -> u8 {
        let kind = self.0.of();
        kind & 0x07 | (kind >> 3) << 7
    }
}

/// What a series is called. Text in one piece: name, host, unit and set of tags, one behind the other.
pub struct Context {
    pub kind: u8,
    /// Whether a host was given; an empty one says that there is none.
    has_host: bool,
    name_bytes: u16,
    host_bytes: u16,
    unit_bytes: u8,
    text: Box<[u8]>,
}

/// What a context is made from. Tags are in order, each once, as columns have them.
pub struct Parts<'a> {
    pub kind: u8,
    pub name: &'a str,
    pub host: Option<&'a str>,
    pub unit: Option<&'a str>,
    pub tags: &'a [u8],
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
        let text = [name, host, unit, parts.tags].concat();
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

    pub fn host(&self) -> Option<&[u8]> {
        let from = usize::from(self.name_bytes);
        self.has_host.then(|| &self.text[from..from + usize::from(self.host_bytes)])
    }

    pub fn unit(&self) -> Option<&[u8]> {
        let from = usize::from(self.name_bytes) + usize::from(self.host_bytes);
        Some(&self.text[from..from + usize::from(self.unit_bytes)]).filter(|unit| !unit.is_empty())
    }

    pub fn tags(&self) -> &[u8] {
        let from = usize::from(self.name_bytes) + usize::from(self.host_bytes) + usize::from(self.unit_bytes);
        &self.text[from..]
    }
}

/// What a hash of plain rows leads to.
#[derive(Clone, Copy, Default)]
struct Alias {
    of: Ref,
    /// The bucket in which it was last used, by its number.
    used: u32,
}

/// All contexts that are alive.
pub struct Contexts {
    aliases: Index<Alias>,
    /// Each context under the hash of its tags in order, which stays as long as the context. Rows hardly ever ask for
    /// it but to hear that they are new.
    canonical: Index<Ref>,
    /// What is beyond is put in order anew each time.
    aliases_max: usize,
    contexts: Vec<Option<Context>>,
    /// Arrival of the last value, in nanoseconds since the epoch.
    seen: Vec<i64>,
    /// Arrival of the first one; later than anything as long as none was taken in.
    first: Vec<i64>,
    /// The last value of each gauge, for those that are told by how much they change.
    gauges: Vec<f64>,
    /// Those of gauges that were forgotten.
    former_gauges: Gauges,
    free: Vec<Id>,
    alive: usize,
    max: usize,
    /// Of all contexts together.
    text_bytes: usize,
    text_bytes_max: usize,
    /// Whether a context found no room for its text since the last ones were forgotten.
    is_text_full: bool,
    pub hashing: Hashing,
}

/// Text of a context that is reckoned with: a name and its tags. Some may have more where others have less.
const TEXT_BYTES: usize = 256;
/// Text that there is room for, however few contexts there may be: that of the longest line.
const TEXT_BYTES_MIN: usize = 64 << 10;

/// Text that so many contexts may have together.
fn text_bytes_max(contexts: usize) -> usize {
    contexts.saturating_mul(TEXT_BYTES).max(TEXT_BYTES_MIN)
}

/// Hashes kept for each context that may be. What comes by its entry in a dictionary has none.
const ALIASES_EACH: usize = 1;
/// Bytes of a context beside its text and its hashes: its own fields, the allocator's, its times and its gauge.
/// One that is free takes less, with its number among the free ones.
const CONTEXT_BYTES: usize = size_of::<Option<Context>>() + 16 + 8 + 8 + 8;

/// Bytes that so many contexts take.
pub fn bytes_max(contexts: usize) -> usize {
    let hashes = Index::<Ref>::bytes(contexts) + Index::<Alias>::bytes(contexts * ALIASES_EACH);
    text_bytes_max(contexts) + contexts * CONTEXT_BYTES + hashes + Gauges::bytes(contexts)
}

impl Contexts {
    pub fn new(max: usize) -> Contexts {
        Contexts {
            aliases: Index::new(),
            canonical: Index::new(),
            aliases_max: max.saturating_mul(ALIASES_EACH),
            contexts: Vec::new(),
            seen: Vec::new(),
            first: Vec::new(),
            gauges: Vec::new(),
            former_gauges: Gauges::new(max),
            free: Vec::new(),
            alive: 0,
            max,
            text_bytes: 0,
            text_bytes_max: text_bytes_max(max),
            is_text_full: false,
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

    /// Has what [`Contexts::known`] tells new contexts by fetched from memory.
    pub fn reach_for_new(&self, hashes: impl Iterator<Item = Hash>) {
        self.canonical.reach_for(hashes);
    }

    /// Has what is looked for next fetched from memory.
    pub fn reach_for(&self, hashes: &[Hash]) {
        self.aliases.reach_for(hashes.iter().copied());
    }

    /// The context that a hash was found to belong to.
    #[inline]
    pub fn find(&mut self, hash: Hash, bucket: u32) -> Option<Ref> {
        let alias = self.aliases.find(hash)?;
        alias.used = bucket;
        Some(alias.of)
    }

    /// The context that has this hash of its tags in order.
    pub fn known(&self, canonical: Hash) -> Option<Ref> {
        self.canonical.get(canonical)
    }

    /// The context that a hash, if there is one, leads to from now on; absent if there is no room for another.
    /// `canonical` is the hash of the same tags in order. `old` is the context of another kind that it led to before: a
    /// new one takes its place, and it is forgotten as soon as may be.
    pub fn add(
        &mut self,
        hash: Option<Hash>,
        canonical: Hash,
        (time, bucket): (i64, u32),
        parts: &Parts,
        old: Option<Id>,
    ) -> Option<Ref> {
        // Under another of its hashes the old one may have been replaced already.
        let found = match self.known(canonical).filter(|found| old != Some(found.id())) {
            Some(found) => found,
            None => {
                if let Some(old) = old {
                    self.seen[old as usize] = i64::MIN;
                }
                let id = self.create(time, parts)?;
                if parts.kind == metric_kind::GAUGE {
                    self.gauges[id as usize] = self.former_gauges.take(canonical);
                }
                let of = Ref::new(id, parts.kind);
                match self.canonical.find(canonical) {
                    Some(known) => *known = of,
                    None => self.canonical.insert(canonical, of),
                }
                of
            }
        };
        if let Some(hash) = hash {
            self.lead(hash, Alias { of: found, used: bucket });
        }
        Some(found)
    }

    fn lead(&mut self, hash: Hash, to: Alias) {
        if let Some(alias) = self.aliases.find(hash) {
            *alias = to;
        } else if self.aliases.len() < self.aliases_max {
            self.aliases.insert(hash, to);
        }
    }

    /// Has no hash of plain rows lead to these contexts any more.
    pub fn forget_aliases(&mut self, of: &BTreeSet<Id>) {
        self.aliases.retain(|alias| !of.contains(&alias.of.id()));
    }

    pub fn is_alive(&self, id: Id) -> bool {
        self.contexts[id as usize].is_some()
    }

    pub fn is_full(&self) -> bool {
        self.alive >= self.max || self.is_text_full
    }

    fn create(&mut self, time: i64, parts: &Parts) -> Option<Id> {
        if self.alive >= self.max {
            return None;
        }
        let context = Context::new(parts);
        if context.text.len() > self.text_bytes_max - self.text_bytes {
            self.is_text_full = true;
            return None;
        }
        self.alive += 1;
        self.text_bytes += context.text.len();
        let context = Some(context);
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

    /// Forgets contexts that `is_over` says so of, and hashes that were not used since that bucket. Says whether any
    /// context was forgotten.
    pub fn expire(&mut self, since: u32, is_over: impl Fn(Id, &Context, i64) -> bool) -> bool {
        let before = self.alive;
        for (at, slot) in self.contexts.iter_mut().enumerate() {
            let is_over = |context: &mut Context| is_over(at as Id, context, self.seen[at]);
            if let Some(context) = slot.take_if(is_over) {
                self.alive -= 1;
                self.text_bytes -= context.text.len();
                self.free.push(at as Id);
            }
        }
        let contexts = &self.contexts;
        let is_alive = |of: Ref| contexts[of.id() as usize].is_some();
        self.aliases.retain(|alias| alias.used.wrapping_sub(since) < u32::MAX / 2 && is_alive(alias.of));
        self.is_text_full = false;
        if self.alive == before {
            return false;
        }
        let gone = self.canonical.entries().filter(|(_, of)| !is_alive(*of));
        for (key, of) in gone.filter(|(_, of)| of.kind() == metric_kind::GAUGE) {
            self.former_gauges.keep(key, self.gauges[of.id() as usize]);
        }
        self.canonical.retain(|of| is_alive(*of));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_limited_as_it_is_reckoned_with() {
        let mut contexts = Contexts::new(1_000);
        let mut number = 0;
        let mut add = |contexts: &mut Contexts, bytes: usize| {
            number += 1;
            let hash = Hash { high: number, low: number };
            let name = "n".repeat(bytes);
            contexts.add(
                Some(hash),
                hash,
                (0, 0),
                &Parts { kind: 0, name: &name, host: None, unit: None, tags: &[] },
                None,
            )
        };
        let taken = (0..10).filter(|_| add(&mut contexts, 60_000).is_some()).count();
        assert_eq!(taken, 1_000 * TEXT_BYTES / 60_000);
        assert!(contexts.is_full(), "of text");
        assert!(add(&mut contexts, 100).is_some(), "what is short finds room");
        contexts.expire(0, |_, context, _| context.name().len() > 100);
        assert!(!contexts.is_full());
        assert!(add(&mut contexts, 60_000).is_some());
    }

    #[test]
    fn a_kind_is_kept_beside_its_number() {
        for kind in [0, 1, 5, STAMPED_GAUGE] {
            let found = Ref::new(123_456_789, kind);
            assert_eq!((found.id(), found.kind()), (123_456_789, kind));
        }
    }

    const STAMPED_GAUGE: u8 = 0x81;
}
